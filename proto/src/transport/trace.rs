//! W3C's `traceparent`: to which trace a call belongs, and under which span of it.

/// The header.
pub const TRACEPARENT: &str = "traceparent";

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Not zero.
    pub trace: [u8; 16],
    /// The caller's span; not zero.
    pub span: [u8; 8],
    /// Whether the caller records it.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads the header's value; `None` if it is not as the specification says.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let shaped = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
        let shaped = shaped.iter().all(|(text, length)| text.len() == *length && hex(text));
        // Version 0 has no further part, later ones may have some; 255 is none.
        if !shaped || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
        let whole = trace != 0 && span != 0;
        whole.then(|| Self { trace: trace.to_be_bytes(), span: span.to_be_bytes(), sampled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_w3c_says_is_none() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let good = TraceParent::parse(&format!("00-{trace}-00f067aa0ba902b7-01")).expect("the specification's example");
        assert_eq!((good.trace[..2].to_vec(), good.span[7], good.sampled), (vec![0x4b, 0xf9], 0xb7, true));
        let later = TraceParent::parse(&format!("01-{trace}-00f067aa0ba902b7-02-later")).expect("a later version");
        assert!(!later.sampled);
        for bad in [
            format!("00-{trace}-00f067aa0ba902b7-01-more"),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            format!("00-{trace}-00f067aa0ba902b7"),
            format!("00-{trace}+00f067aa0ba902b7-01"),
            String::new(),
        ] {
            assert_eq!(TraceParent::parse(&bad), None, "{bad}");
        }
    }
}
