//! A node's one source of randomness, split into a stream for each purpose.

use rand::{SeedableRng, rngs::StdRng};
use std::io;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Equal seeds give equal streams.
#[derive(Clone, Copy, Debug)]
pub struct Seed(pub u64);

impl Seed {
    /// From the operating system.
    pub fn from_os() -> io::Result<Self> {
        let mut bytes = [0; 8];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(u64::from_le_bytes(bytes)))
    }

    /// A generator for one purpose: draws for one do not move the others.
    pub fn stream(self, name: &str) -> StdRng {
        StdRng::seed_from_u64(xxh3_64_with_seed(name.as_bytes(), self.0))
    }
}
