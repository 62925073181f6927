//! What all clones of a client share: its world, its channels, the leader it last heard of, its read token.

use crate::{Timing, seed::Rng};
use engram_proto::Error;
use engram_proto::transport::{Channel, World};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Channels kept, hinted addresses included; over it the hinted ones are forgotten.
const CHANNELS_MAX: usize = 64;
/// Bytes of an address that a server hints.
const ADDRESS_BYTES_MAX: usize = 261;

/// A point in the log that a later read must not fall behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadToken {
    /// Highest log index acked or seen; 0: none yet.
    pub log_index: u64,
    /// The cluster's incarnation, which a restore changes; 0: not known, not checked.
    pub incarnation: u64,
}

impl ReadToken {
    /// The later of both. Another incarnation's index means nothing here, so the newcomer then replaces it.
    pub fn raise(&mut self, newer: ReadToken) {
        let same = newer.incarnation == 0 || self.incarnation == 0 || newer.incarnation == self.incarnation;
        if !same {
            *self = newer;
            return;
        }
        self.log_index = self.log_index.max(newer.log_index);
        self.incarnation = self.incarnation.max(newer.incarnation);
    }
}

pub(crate) struct Pool {
    pub world: Arc<dyn World>,
    pub timing: Timing,
    pub endpoints: Vec<String>,
    seed: u64,
    streams: AtomicU64,
    channels: Mutex<BTreeMap<String, Channel>>,
    leader: Mutex<Option<String>>,
    token: Mutex<ReadToken>,
}

impl Pool {
    pub fn new(world: Arc<dyn World>, timing: Timing, seed: u64, endpoints: Vec<String>) -> Result<Self, Error> {
        if endpoints.is_empty() {
            return Err(Error::invalid("no endpoints; name at least one as host:port"));
        }
        endpoints.iter().try_for_each(|endpoint| check_address(endpoint))?;
        Ok(Self::empty(world, timing, seed, endpoints))
    }

    /// The same endpoints with other waits; shares nothing.
    pub fn with_timing(&self, timing: Timing) -> Self {
        Self::empty(self.world.clone(), timing, self.seed, self.endpoints.clone())
    }

    fn empty(world: Arc<dyn World>, timing: Timing, seed: u64, endpoints: Vec<String>) -> Self {
        Self {
            world,
            timing,
            endpoints,
            seed,
            streams: AtomicU64::new(0),
            channels: Mutex::default(),
            leader: Mutex::default(),
            token: Mutex::default(),
        }
    }

    /// A stream of randomness for one operation, and the operation's number.
    pub fn operation(&self) -> (u64, Rng) {
        let number = self.streams.fetch_add(1, Ordering::Relaxed);
        (number, Rng::new(self.seed, number))
    }

    pub fn channel(&self, address: &str) -> Channel {
        let mut channels = hold(&self.channels);
        if channels.len() >= CHANNELS_MAX && !channels.contains_key(address) {
            channels.retain(|known, _| self.endpoints.contains(known));
        }
        let new = || Channel::new(self.world.clone(), address, self.timing.connect);
        channels.entry(address.to_string()).or_insert_with(new).clone()
    }

    pub fn leader(&self) -> Option<String> {
        hold(&self.leader).clone()
    }

    /// Remembers a hint; one that is no address is dropped. The answer is the hint, if it is usable.
    pub fn hint(&self, address: &str) -> Option<String> {
        if address.is_empty() || check_address(address).is_err() {
            return None;
        }
        *hold(&self.leader) = Some(address.to_string());
        Some(address.to_string())
    }

    /// Forgets a leader that did not behave like one.
    pub fn forget(&self, address: &str) {
        let mut leader = hold(&self.leader);
        if leader.as_deref() == Some(address) {
            *leader = None;
        }
    }

    pub fn token(&self) -> ReadToken {
        *hold(&self.token)
    }

    pub fn raise(&self, token: ReadToken) {
        hold(&self.token).raise(token);
    }
}

/// `host:port`, nothing else: no scheme, no path.
pub(crate) fn check_address(address: &str) -> Result<(), Error> {
    let bad = |why: &str| Err(Error::invalid(format!("endpoint {address:?} {why}; write host:port")));
    if address.len() > ADDRESS_BYTES_MAX {
        return Err(Error::invalid(format!("an endpoint has {} bytes; write host:port", address.len())));
    }
    if address.contains("://") || address.contains(['/', '@', ' ', '?', '#']) {
        return bad("is no plain address");
    }
    match address.rsplit_once(':') {
        None => bad("has no port"),
        Some(("", _)) => bad("has no host"),
        Some((_, port)) if port.parse::<u16>().is_err() => bad("has a bad port"),
        Some(_) => Ok(()),
    }
}

/// Nothing panics while it holds one of these locks; if something did, the value is still whole.
pub(crate) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_and_port_make_an_endpoint() {
        for good in ["a:1", "127.0.0.1:7101", "[::1]:7101", "node-1.example.org:65535"] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "a:", ":1", "a:70000", "http://a:1", "a:1/x"] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_only_rises_within_an_incarnation() {
        let mut token = ReadToken { log_index: 9, incarnation: 1 };
        token.raise(ReadToken { log_index: 5, incarnation: 1 });
        token.raise(ReadToken { log_index: 7, incarnation: 0 });
        assert_eq!(token, ReadToken { log_index: 9, incarnation: 1 });
        token.raise(ReadToken { log_index: 3, incarnation: 2 });
        assert_eq!(token, ReadToken { log_index: 3, incarnation: 2 });
    }
}
