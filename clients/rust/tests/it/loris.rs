//! Connections that say nothing, or too little: the server drops each after its time, by the world's clock.

use crate::fake::Fake;
use engram_proto::transport::{HEADER_READ_TIMEOUT, serve_connection};
use hyper_util::rt::TokioIo;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

/// Sends bytes a second apart and keeps the connection open; how long it is served.
async fn served_for(fake: &Fake, bytes: &[u8]) -> Duration {
    let (mut near, far) = tokio::io::duplex(1024);
    let begun = Instant::now();
    let serving = serve_connection(Arc::new(fake.clone()), Box::new(TokioIo::new(far)), fake.routes("a:1"));
    let sending = async {
        for byte in bytes {
            // The server may hang up in between.
            drop(near.write_all(&[*byte]).await);
            fake.pass(Duration::from_secs(1)).await;
        }
        std::future::pending::<()>().await;
    };
    let (serving, sending) = (pin!(serving), pin!(sending));
    let ended = futures_util::future::select(serving, sending);
    drop(tokio::time::timeout(Duration::from_secs(300), ended).await.expect("dropped in the end"));
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn slow_and_silent_connections_are_dropped_in_time() {
    let fake = Fake::new();
    for bytes in [
        &b""[..],
        b"PRI * HTTP/2",
        // One byte a second, never done.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: x\r\n",
        b"G",
    ] {
        let served = served_for(&fake, bytes).await;
        let most = HEADER_READ_TIMEOUT + Duration::from_secs(1);
        assert!(served >= HEADER_READ_TIMEOUT && served <= most, "{served:?} for {:?}", String::from_utf8_lossy(bytes));
    }
}

#[tokio::test(start_paused = true)]
async fn a_preface_without_a_request_is_dropped_when_its_pings_stay_unanswered() {
    let fake = Fake::new();
    let (mut near, far) = tokio::io::duplex(1 << 16);
    near.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("room");
    let begun = Instant::now();
    let serving = serve_connection(Arc::new(fake.clone()), Box::new(TokioIo::new(far)), fake.routes("a:1"));
    drop(tokio::time::timeout(Duration::from_secs(300), serving).await.expect("dropped in the end"));
    assert!(begun.elapsed() <= Duration::from_secs(20), "{:?}", begun.elapsed());
}
