//! What a scalar is: by the core schema of YAML 1.2 where it is plain, else by its tag.

use std::borrow::Cow;

use granit_parser::{ScalarStyle, Span, Tag};
use serde_json::{Number, Value};

use super::{place, tag};
use crate::load::unreadable::{NoNumber, Unreadable};

/// Returns the value of a scalar: what its tag says, else what it is without quotes, else a text.
///
/// # Errors
/// A number that cannot be held, or a tag that does not fit.
pub(super) fn value(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
    span: Span,
) -> Result<Value, Unreadable> {
    let no_number = |why| Unreadable::no_number(&text, why, place(span));
    let value = match tag {
        None if style == ScalarStyle::Plain => plain(&text).map_err(no_number)?,
        None => None,
        Some(tag) => match tag::kind(tag, "str", span)? {
            "str" => None,
            kind => Some(tagged(&text, kind).map_err(no_number)?.ok_or_else(|| tag::unfit(tag, span))?),
        },
    };
    Ok(value.unwrap_or_else(|| Value::String(text.into_owned())))
}

/// Returns what a scalar without quotes and tag is; none: a text.
fn plain(text: &str) -> Result<Option<Value>, NoNumber> {
    let Some(first) = text.bytes().next() else { return Ok(Some(Value::Null)) };
    match first {
        b'0'..=b'9' | b'+' | b'-' | b'.' => match integer(text)? {
            Some(integer) => Ok(Some(Value::Number(integer))),
            None => Ok(fraction(text)?.map(Value::Number)),
        },
        b'~' | b'n' | b'N' => Ok(null(text)),
        b't' | b'T' | b'f' | b'F' => Ok(truth(text)),
        _ => Ok(None),
    }
}

/// Returns what a scalar with a tag is; none: not what the tag says.
fn tagged(text: &str, kind: &str) -> Result<Option<Value>, NoNumber> {
    match kind {
        "null" => Ok(null(text)),
        "bool" => Ok(truth(text)),
        "int" => Ok(integer(text)?.map(Value::Number)),
        "float" => Ok(fraction(text)?.map(Value::Number)),
        _ => Ok(None),
    }
}

fn null(text: &str) -> Option<Value> {
    matches!(text, "" | "~" | "null" | "Null" | "NULL").then_some(Value::Null)
}

fn truth(text: &str) -> Option<Value> {
    match text {
        "true" | "True" | "TRUE" => Some(true.into()),
        "false" | "False" | "FALSE" => Some(false.into()),
        _ => None,
    }
}

/// Returns the integer, if it is one: `[-+]?[0-9]+`, `0o[0-7]+` or `0x[0-9a-fA-F]+`.
fn integer(text: &str) -> Result<Option<Number>, NoNumber> {
    let (digits, radix) = match (text.strip_prefix("0o"), text.strip_prefix("0x")) {
        (Some(octal), _) => (octal, 8),
        (None, Some(hexadecimal)) => (hexadecimal, 16),
        (None, None) => (text.strip_prefix(['-', '+']).unwrap_or(text), 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Ok(None);
    }
    let number = if text.starts_with('-') {
        text.parse::<i64>().map(Number::from)
    } else {
        u64::from_str_radix(digits, radix).map(Number::from)
    };
    number.map(Some).map_err(|_| NoNumber::Over64Bits)
}

/// Returns the number with a fraction or exponent, if it is one: `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`,
/// an infinity or NaN.
fn fraction(text: &str) -> Result<Option<Number>, NoNumber> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(NoNumber::NotFinite);
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_mantissa = are_digits(whole) && are_digits(part) && !(whole.is_empty() && part.is_empty());
    if !is_mantissa || exponent.is_some_and(|digits| digits.is_empty() || !are_digits(digits)) {
        return Ok(None);
    }
    let value: f64 = text.parse().expect("what the schema takes for a number is one for Rust");
    Number::from_f64(value).map(Some).ok_or(NoNumber::TooLarge)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(plain(text), Ok(Some(Value::Null)), "{text:?}");
        }
        for (text, value) in [
            ("true", json!(true)),
            ("True", json!(true)),
            ("TRUE", json!(true)),
            ("false", json!(false)),
            ("False", json!(false)),
            ("FALSE", json!(false)),
            ("0", json!(0)),
            ("-0", json!(0)),
            ("+12", json!(12)),
            ("010", json!(10)),
            ("0o17", json!(15)),
            ("0x1fF", json!(511)),
            ("18446744073709551615", json!(u64::MAX)),
            ("0xffffffffffffffff", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1.", json!(1.0)),
            (".5", json!(0.5)),
            ("-.5", json!(-0.5)),
            ("+1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            ("12e03", json!(12000.0)),
            ("-2.5E-1", json!(-0.25)),
            ("1e-400", json!(0.0)),
            ("123456789012345678901234567890.0", json!(1.234_567_890_123_456_8e29)),
        ] {
            assert_eq!(plain(text), Ok(Some(value)), "{text:?}");
        }
    }

    #[test]
    fn everything_else_is_a_text() {
        for text in [
            "no",
            "yes",
            "on",
            "y",
            "nUll",
            "nil",
            "tRue",
            "1_000",
            "0b1",
            "0o8",
            "0o",
            "0x",
            "-0x1",
            "+0o1",
            "0xg",
            "1.2.3",
            "1e",
            "1e+",
            "e1",
            ".",
            "+",
            "-",
            "-.",
            "+.e1",
            "1 2",
            "--1",
            "+-1",
            "1-",
            "inf",
            "nan",
            "+.nan",
            ".iNf",
            "infinity",
            "NaN",
            "2024-01-01",
            "1:30",
            "٣",
            "0o٣",
            "é",
            "<<",
            "=",
        ] {
            assert_eq!(plain(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn numbers_that_would_change_are_refused() {
        for text in [
            "18446744073709551616",
            "-9223372036854775809",
            "0x10000000000000000",
            "0o7777777777777777777777",
        ] {
            assert_eq!(plain(text), Err(NoNumber::Over64Bits), "{text:?}");
        }
        for text in ["1e999", "-1e999"] {
            assert_eq!(plain(text), Err(NoNumber::TooLarge), "{text:?}");
        }
        for text in [".inf", "-.Inf", "+.INF", ".nan", ".NaN", ".NAN"] {
            assert_eq!(plain(text), Err(NoNumber::NotFinite), "{text:?}");
        }
    }
}
