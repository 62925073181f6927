//! Numbers of EDN: those that JSON holds exactly, and the others as they are written.
//!
//! Leaves out: arithmetic; numbers are compared and never reckoned with.

/// A number.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Number {
    /// An integer of 64 bits, signed or not.
    Integer(serde_json::Number),
    /// A double that is no integer, and small enough to be exact.
    Float(f64),
    /// Anything else, in one spelling: a larger integer, a ratio, a decimal, a double without a fraction.
    Other(String),
}

/// Reads a number; `None` if it is none.
pub(super) fn number(token: &str) -> Option<Number> {
    let (sign, digits) = match token.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", token.strip_prefix('+').unwrap_or(token)),
    };
    if let Some(whole) = integer(digits.strip_suffix('N').unwrap_or(digits)) {
        let text = if whole == "0" { "0".to_string() } else { format!("{sign}{whole}") };
        let small = text.parse::<i64>().map(serde_json::Number::from).ok();
        return Some(match small.or_else(|| text.parse::<u64>().map(serde_json::Number::from).ok()) {
            Some(number) => Number::Integer(number),
            None => Number::Other(format!("{text}N")),
        });
    }
    if let Some((numerator, denominator)) = digits.split_once('/') {
        let (numerator, denominator) = (integer(numerator)?, integer(denominator)?);
        return (denominator != "0").then(|| Number::Other(format!("{sign}{numerator}/{denominator}")));
    }
    if let Some(decimal) = digits.strip_suffix('M') {
        return (is_float(decimal) || integer(decimal).is_some()).then(|| Number::Other(format!("{sign}{decimal}M")));
    }
    let float = is_float(digits).then(|| format!("{sign}{digits}").parse::<f64>().ok()).flatten()?;
    // Clojure's (= 1 1.0) is false; a JSON 1.0 would be read as 1.
    match float.fract() != 0.0 && float.abs() < 9_007_199_254_740_992.0 {
        true => Some(Number::Float(float)),
        false => Some(Number::Other(format!("{float:?}"))),
    }
}

/// Digits without a needless zero in front.
fn integer(text: &str) -> Option<&str> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (text == "0" || !text.starts_with('0'))).then_some(text)
}

fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(one, two)| (one, Some(two)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        !text.is_empty() && digits(text)
    });
    let marked = text.contains(['.', 'e', 'E']);
    marked && integer(whole).is_some() && digits(fraction) && exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_integers_have_one_form_and_unequal_numbers_have_two() {
        for (text, expected) in
            [("5", "5"), ("+5", "5"), ("5N", "5"), ("-0", "0"), ("18446744073709551615", "18446744073709551615")]
        {
            assert_eq!(number(text), Some(Number::Integer(expected.parse().expect("an integer"))), "{text}");
        }
        assert_eq!(number("18446744073709551616"), Some(Number::Other("18446744073709551616N".into())));
        assert_eq!(number("1.0"), Some(Number::Other("1.0".into())));
        assert_eq!(number("1e3"), Some(Number::Other("1000.0".into())));
        assert_eq!(number("1/2"), Some(Number::Other("1/2".into())));
        assert_eq!(number("-2.5"), Some(Number::Float(-2.5)));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["007", "1x", "1.2.3", "1/0", "0x10", "1e", "--1", "1N2"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
