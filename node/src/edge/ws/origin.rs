//! Which pages may open a WebSocket: those of this host, and those of the configured origins.
//!
//! Browsers let any page try, and say in `Origin` whose page it is. Programs send none, and are not asked.
//!
//! Leaves out: authentication, and a name that an attacker points at this host (a proxy in front checks names).

use http::Uri;
use http::uri::Authority;

/// Whether a page of `origin` may, on a host that it called `host`.
pub fn may_enter(origin: &str, host: Option<&str>, allowed: &[String]) -> bool {
    allowed.iter().any(|known| known.eq_ignore_ascii_case(origin)) || host.is_some_and(|host| is_same(origin, host))
}

/// The same host and port; a port that is not said is the scheme's.
fn is_same(origin: &str, host: &str) -> bool {
    let (Ok(origin), Ok(host)) = (origin.parse::<Uri>(), host.parse::<Authority>()) else { return false };
    let default = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let port = |port: Option<u16>| port.unwrap_or(default);
    origin.host().is_some_and(|name| name.eq_ignore_ascii_case(host.host()))
        && port(origin.port_u16()) == port(host.port_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_host_and_of_listed_origins_may_enter() {
        let listed = ["https://app.example".to_string()];
        let may = |origin, host| may_enter(origin, Some(host), &listed);
        assert!(may("http://node:7600", "node:7600"));
        assert!(may("https://Node.example", "node.example:443"));
        assert!(may("http://node", "node"));
        assert!(may("https://app.example", "node:7600"));
        assert!(may_enter("https://app.example", None, &listed));
        assert!(!may("http://node:3000", "node:7600"), "another port is another origin");
        assert!(!may("https://evil.example", "node:7600"));
        assert!(!may("https://app.example.evil.example", "node:7600"));
        assert!(!may("null", "null"), "a sandboxed page has no host");
        assert!(!may("file://node:7600", "node:7600"));
        assert!(!may_enter("http://node:7600", None, &[]));
    }
}
