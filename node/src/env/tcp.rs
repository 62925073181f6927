//! TCP of the runtime that `tokio` names: the machine's, or madsim's under its cfg.

use super::{Listener, Net};
use engram_proto::transport::BoxIo;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use std::io;
use tokio::net::{TcpListener, TcpStream};

/// Real sockets, or madsim's.
pub struct Tcp;

impl Net for Tcp {
    fn bind(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(&address).await?;
            Ok(Box::new(Bound(listener)) as Box<dyn Listener>)
        })
    }

    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        Box::pin(async move { wrap(TcpStream::connect(&address).await?) })
    }
}

struct Bound(TcpListener);

impl Listener for Bound {
    fn accept(&self) -> BoxFuture<'_, io::Result<BoxIo>> {
        Box::pin(async { wrap(self.0.accept().await?.0) })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(self.0.local_addr()?.to_string())
    }
}

fn wrap(stream: TcpStream) -> io::Result<BoxIo> {
    stream.set_nodelay(true)?;
    #[cfg(madsim)]
    let stream = quiet::Quiet::new(stream);
    Ok(Box::new(TokioIo::new(stream)))
}

/// madsim's stream sends a packet at every flush, even an empty one, each a millisecond or more, in order:
/// with HTTP/2's many flushes latency creeps up without bound. Only flushes that carry data pass.
#[cfg(madsim)]
mod quiet {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    pub struct Quiet<S> {
        stream: S,
        dirty: bool,
    }

    impl<S> Quiet<S> {
        pub fn new(stream: S) -> Self {
            Self { stream, dirty: false }
        }
    }

    impl<S: AsyncRead + Unpin> AsyncRead for Quiet<S> {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(cx, into)
        }
    }

    impl<S: AsyncWrite + Unpin> AsyncWrite for Quiet<S> {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.dirty = true;
            Pin::new(&mut self.stream).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match std::mem::take(&mut self.dirty) {
                true => Pin::new(&mut self.stream).poll_flush(cx),
                false => Poll::Ready(Ok(())),
            }
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }
}
