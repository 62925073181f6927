//! The standard library's clocks on simulated time, for libraries that read them: h2 does, of streams that it has reset.
//!
//! Place: under the turmoil world (madsim does the same for its own). `std::time` asks the C library's `clock_gettime`; a
//! program that links this crate has one that goes first. A thread that holds a [`Simulated`] reads its time; all others read
//! the kernel's, by a system call. Linux on x86-64 and AArch64; elsewhere nothing changes.
//! Invariant: between two calls of [`Simulated::at`] no time passes. Leaves out: clocks of processor time, which are the kernel's.
#![expect(unsafe_code, reason = "a function of the C library is defined, and the kernel asked in its place")]

use std::{cell::Cell, marker::PhantomData, time::Duration};

/// The wall clock at the beginning of a simulation, seconds after 1970: 2020-01-01.
const WALL_S: u64 = 1_577_836_800;
/// The monotonic clock there: not 0, so that there is a time before.
const MONOTONIC_S: u64 = 1_000_000;

thread_local! {
    static ELAPSED: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// This thread's clocks stand still, but for what `at` says, until it is dropped.
pub struct Simulated {
    /// It is of one thread.
    _thread: PhantomData<*const ()>,
}

impl Simulated {
    /// Begins a simulation, at zero.
    pub fn begin() -> Self {
        ELAPSED.set(Some(Duration::ZERO));
        Self { _thread: PhantomData }
    }

    /// So much has passed since the beginning.
    pub fn at(&self, elapsed: Duration) {
        ELAPSED.set(Some(elapsed));
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        ELAPSED.set(None);
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod door {
    use super::{ELAPSED, MONOTONIC_S, WALL_S};
    use std::ffi::{c_int, c_long};

    const REALTIME: c_int = 0;
    const MONOTONIC: c_int = 1;
    #[cfg(target_arch = "x86_64")]
    const CLOCK_GETTIME: c_long = 228;
    #[cfg(target_arch = "aarch64")]
    const CLOCK_GETTIME: c_long = 113;

    /// The C library's, of a 64-bit Linux.
    #[repr(C)]
    pub struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }

    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }

    /// As the C library's.
    ///
    /// # Safety
    /// `out` is null, or there is room for a time.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_gettime(clock: c_int, out: *mut Timespec) -> c_int {
        let begun = match clock {
            REALTIME => WALL_S,
            MONOTONIC => MONOTONIC_S,
            _ => 0,
        };
        match ELAPSED.get() {
            Some(elapsed) if begun > 0 && !out.is_null() => {
                let (seconds, nanoseconds) = ((begun + elapsed.as_secs()) as i64, i64::from(elapsed.subsec_nanos()));
                // SAFETY: the caller has room for it.
                unsafe { out.write(Timespec { seconds, nanoseconds }) };
                0
            }
            // SAFETY: the kernel takes these arguments, and says itself what is wrong with them.
            _ => unsafe { syscall(CLOCK_GETTIME, c_long::from(clock), out) as c_int },
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the clocks themselves are looked at")]
mod tests {
    use super::*;
    use std::time::{Instant, SystemTime};

    #[test]
    fn in_a_simulation_the_clocks_go_as_they_are_told_and_elsewhere_as_the_kernel_says() {
        let (real, wall) = (Instant::now(), SystemTime::now());
        std::thread::sleep(Duration::from_millis(2));
        assert!(real.elapsed() >= Duration::from_millis(2) && wall.elapsed().is_ok_and(|time| !time.is_zero()));
        if !cfg!(target_os = "linux") {
            return;
        }
        let simulated = Simulated::begin();
        let (begun, wall) = (Instant::now(), SystemTime::now());
        let since = |then: SystemTime| SystemTime::now().duration_since(then).expect("later");
        assert_eq!(since(SystemTime::UNIX_EPOCH), Duration::from_secs(WALL_S));
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!((begun.elapsed(), since(wall)), (Duration::ZERO, Duration::ZERO));
        let passed = Duration::from_millis(1500);
        simulated.at(passed);
        assert_eq!((begun.elapsed(), since(wall)), (passed, passed));
        let elsewhere = std::thread::spawn(SystemTime::now).join().expect("a time");
        assert!(elsewhere > wall + Duration::from_secs(86_400 * 365));
        drop(simulated);
        assert!(real.elapsed() < Duration::from_secs(3600), "the kernel's again");
    }
}
