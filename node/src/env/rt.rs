//! The async runtime: openraft's `AsyncRuntime`, used for our own spawn and sleep too.
//!
//! tokio and turmoil: tokio's, with openraft's generator seeded in a scope around the node. madsim: its
//! tasks and timers; openraft-rt-tokio's channels and mutex are runtime-free and serve there as well.

use engram_proto::transport::SharedTimer;
use std::{future::Future, sync::Arc};

/// The runtime of this build.
#[cfg(not(madsim))]
pub type Rt = openraft_rt::deterministic_rng::DeterministicRng<openraft_rt_tokio::TokioRuntime>;
#[cfg(madsim)]
pub use under_madsim::Rt;

/// Runs `work` with `seed` feeding openraft's election time-outs (madsim: its own seed does).
pub fn seeded<F: Future>(seed: u64, work: F) -> impl Future<Output = F::Output> {
    #[cfg(not(madsim))]
    return Rt::scope(seed, work);
    #[cfg(madsim)]
    return {
        let _ = seed;
        work
    };
}

/// hyper's timer.
pub fn timer() -> SharedTimer {
    #[cfg(not(madsim))]
    return SharedTimer(Arc::new(hyper_util::rt::TokioTimer::new()));
    #[cfg(madsim)]
    return SharedTimer(Arc::new(under_madsim::Timer));
}

#[cfg(madsim)]
mod under_madsim {
    use futures_util::future::BoxFuture;
    use openraft_rt::{AsyncRuntime, OptionalSend};
    use openraft_rt_tokio::{TokioMpsc, TokioMutex, TokioOneshot, TokioWatch};
    use rand::{SeedableRng, rngs::StdRng};
    use std::{
        future::Future,
        pin::Pin,
        task::{Context, Poll},
        time::{Duration, Instant},
    };

    /// madsim as openraft's runtime.
    #[derive(Debug)]
    pub struct Rt;

    impl AsyncRuntime for Rt {
        type JoinError = madsim::task::JoinError;
        type JoinHandle<T: OptionalSend + 'static> = madsim::task::JoinHandle<T>;
        type Sleep = madsim::time::Sleep;
        type Instant = Instant; // madsim overrides the system call under it
        type TimeoutError = madsim::time::error::Elapsed;
        type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
        type ThreadLocalRng = StdRng;

        #[track_caller]
        fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
        where
            T: Future + OptionalSend + 'static,
            T::Output: OptionalSend + 'static,
        {
            madsim::task::spawn(future)
        }
        fn sleep(duration: Duration) -> Self::Sleep {
            madsim::time::sleep(duration)
        }
        fn sleep_until(deadline: Instant) -> Self::Sleep {
            madsim::time::sleep_until(deadline)
        }
        fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Timeout<F> {
            Timeout { future: Box::pin(future), sleep: madsim::time::sleep(duration) }
        }
        fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Instant, future: F) -> Timeout<F> {
            Timeout { future: Box::pin(future), sleep: madsim::time::sleep_until(deadline) }
        }
        fn is_panic(error: &Self::JoinError) -> bool {
            error.is_panic()
        }
        fn thread_rng() -> StdRng {
            StdRng::seed_from_u64(madsim::rand::random())
        }
        type Mpsc = TokioMpsc;
        type Watch = TokioWatch;
        type Oneshot = TokioOneshot;
        type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

        fn new(_threads: usize) -> Self {
            Rt
        }
        fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
            madsim::runtime::Runtime::new().block_on(future)
        }
    }

    /// madsim's own time-out has a type that cannot be named. Boxed, so that polling needs no unsafe code.
    pub struct Timeout<F> {
        future: Pin<Box<F>>,
        sleep: madsim::time::Sleep,
    }

    impl<F: Future> Future for Timeout<F> {
        type Output = Result<F::Output, madsim::time::error::Elapsed>;
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            if let Poll::Ready(value) = self.future.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            Pin::new(&mut self.sleep).poll(cx).map(|()| Err(madsim::time::error::Elapsed))
        }
    }

    /// hyper's timer on madsim's time.
    pub struct Timer;
    struct Nap(BoxFuture<'static, ()>);
    impl Future for Nap {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            self.0.as_mut().poll(cx)
        }
    }
    impl hyper::rt::Sleep for NapSync {}
    struct NapSync(std::sync::Mutex<Nap>);
    impl Future for NapSync {
        type Output = ();
        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let nap = &mut *self.get_mut().0.lock().expect("no panic while it is held");
            Pin::new(nap).poll(cx)
        }
    }
    impl hyper::rt::Timer for Timer {
        fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
            Box::pin(NapSync(std::sync::Mutex::new(Nap(Box::pin(madsim::time::sleep(duration))))))
        }
        fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
            Box::pin(NapSync(std::sync::Mutex::new(Nap(Box::pin(madsim::time::sleep_until(deadline))))))
        }
    }
}
