//! A WebSocket client on simulated TCP: memory messages in, memory messages out.
//!
//! The frames are tungstenite's; the connection is not, because it draws its keys and masks from the machine's
//! entropy, and every byte here must come from the seed.

use bytes::{Buf, BytesMut};
use engram_node::env::Net;
use engram_proto::transport::BoxIo;
use engram_proto::wire::v1::{MemoryRequest, MemoryResponse};
use hyper_util::rt::TokioIo;
use prost::Message;
use rand::RngExt;
use rand::rngs::StdRng;
use std::io::{self, Cursor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

/// One open connection.
pub struct Socket {
    io: TokioIo<BoxIo>,
    read: BytesMut,
    masks: StdRng,
    /// Answers no ping.
    pub mute: bool,
}

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

impl Socket {
    /// Connects to `/v1/stream` at `address`.
    pub async fn connect(net: &dyn Net, address: String, masks: StdRng) -> io::Result<Self> {
        let io = TokioIo::new(net.connect(address.clone()).await?);
        let mut socket = Self { io, read: BytesMut::new(), masks, mute: false };
        let request = format!(
            "GET /v1/stream HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: engram.v1\r\n\r\n"
        );
        socket.write(request.as_bytes()).await?;
        loop {
            if let Some(end) = socket.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = socket.read.split_to(end + 4);
                return match head.starts_with(b"HTTP/1.1 101 ") {
                    true => Ok(socket),
                    false => Err(other(String::from_utf8_lossy(&head))),
                };
            }
            if socket.io.read_buf(&mut socket.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends one message.
    pub async fn send(&mut self, request: &MemoryRequest) -> io::Result<()> {
        self.frame(OpCode::Data(Data::Binary), request.encode_to_vec()).await
    }

    async fn frame(&mut self, opcode: OpCode, payload: Vec<u8>) -> io::Result<()> {
        let header = FrameHeader { opcode, mask: Some(self.masks.random()), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        Frame::from_payload(header, payload.into()).format(&mut bytes).map_err(other)?;
        self.write(&bytes).await
    }

    /// madsim sends what is flushed.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// The next message; `None` when the server has closed. Cancel safe, but for a pong on its way.
    pub async fn next(&mut self) -> io::Result<Option<MemoryResponse>> {
        loop {
            let mut cursor = Cursor::new(&self.read[..]);
            let header = FrameHeader::parse(&mut cursor).map_err(other)?;
            let start = cursor.position() as usize;
            let Some((header, length)) = header.filter(|(_, length)| self.read.len() >= start + *length as usize)
            else {
                if self.io.read_buf(&mut self.read).await? == 0 {
                    return Ok(None);
                }
                continue;
            };
            self.read.advance(start);
            let payload = self.read.split_to(length as usize);
            match header.opcode {
                OpCode::Data(_) => return MemoryResponse::decode(payload.freeze()).map(Some).map_err(other),
                OpCode::Control(Control::Ping) if !self.mute => {
                    self.frame(OpCode::Control(Control::Pong), payload.to_vec()).await?;
                }
                OpCode::Control(Control::Close) => return Ok(None),
                OpCode::Control(_) => {}
            }
        }
    }
}
