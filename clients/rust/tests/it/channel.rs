//! Connections: dialled when they are needed, by whoever needs them.

use crate::fake::{Fake, Faults};
use engram_proto::transport::{Channel, timeout};
use std::sync::Arc;
use std::time::Duration;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test(start_paused = true)]
async fn callers_with_less_time_than_a_dial_takes_have_a_connection_in_the_end() {
    let fake = Fake::new();
    fake.fault("a:1", Faults { dial: ms(350), ..Faults::default() });
    let channel = Channel::new(Arc::new(fake.clone()), "a:1", ms(1000));
    let mut tries = 1;
    while timeout(&fake, ms(100), channel.connect()).await.is_none() {
        tries += 1;
    }
    assert_eq!((tries, fake.with(|state| state.dials)), (4, 1));
    channel.reset();
    channel.connect().await.expect("dialled anew");
    assert_eq!(fake.with(|state| state.dials), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_fails_fails_for_all_who_wait_and_is_made_again_by_the_next() {
    let fake = Fake::new();
    let channel = Channel::new(Arc::new(fake.clone()), "a:1", ms(300));
    for (faults, said) in [
        (Faults { down: true, dial: ms(10), ..Faults::default() }, "no connection to a:1: connection refused"),
        (Faults { dial: ms(400), ..Faults::default() }, "no connection to a:1 within 300ms"),
    ] {
        fake.fault("a:1", faults);
        let before = fake.with(|state| state.dials);
        let (one, two) = futures_util::future::join(channel.connect(), channel.connect()).await;
        assert_eq!((one.expect_err("one").to_string(), two.expect_err("two").to_string()), (said.into(), said.into()));
        assert_eq!(fake.with(|state| state.dials), before + 1);
    }
    fake.fault("a:1", Faults::default());
    channel.connect().await.expect("a dial of its own");
}
