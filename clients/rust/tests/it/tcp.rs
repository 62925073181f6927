//! The real world: the same client over TCP on loopback, against the fake's services.
#![expect(clippy::disallowed_methods, reason = "a real server needs a task of its own")]

use crate::fake::{Fake, SPACE, row};
use engram_client::{Client, ObserveOptions, Recall};
use engram_proto::transport::serve_connection;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::net::TcpListener;

#[tokio::test]
async fn rows_and_recalls_go_over_loopback() {
    let fake = Fake::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    // Nobody listens there: the client must get by.
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound").to_string();
    let (served, node) = (fake.clone(), address.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (world, routes) = (Arc::new(served.clone()), served.routes(&node));
            tokio::spawn(serve_connection(world, Box::new(TokioIo::new(stream)), routes));
        }
    });
    fake.with(|state| state.leader = address.clone());
    let client = Client::connect([closed, address]).expect("endpoints are fine");
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("open");
    for number in 0..500 {
        observer.push(row(format!("row {number}"))).await.expect("taken");
    }
    let summary = observer.finish().await.expect("acked");
    assert_eq!((summary.acked, fake.texts().len()), (500, 500));
    assert_eq!(client.recall(Recall::new(SPACE, vec![1.0, 0.0], 2)).await.expect("an answer").hits.len(), 2);
}

#[test]
fn outside_of_a_runtime_connecting_is_an_error_and_no_panic() {
    assert!(Client::connect(["127.0.0.1:7101"]).is_err());
}
