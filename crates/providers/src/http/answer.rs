//! An answer: its body read in pieces within the limit, and the result object made of it.

use std::time::Duration;

use encoding_rs::{Encoding, UTF_8};
use jiff::fmt::rfc2822;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER, SET_COOKIE};
use serde_json::{Map, Value};
use stepwell_core::ids::Timestamp;

use super::failure::Fault;

/// So much of an answer that was not expected goes into the error, in bytes.
const EXCERPT: usize = 2_000;
const EXCERPT_TIME: Duration = Duration::from_secs(1);

/// Reads the whole body of an answer.
pub(super) async fn body(answer: &mut Response, limit: usize) -> Result<Vec<u8>, Fault> {
    let too_large = || {
        let why = format!("the body is over the limit of {limit} bytes");
        Fault::Unfit { reason: "too_large", why, body: None }
    };
    let coding = coding(answer.headers());
    if answer.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| Fault::of(&error))? {
        if let Some(coding) = &coding {
            let why = format!("the body is compressed ({coding}), which was not asked for");
            return Err(Fault::Unfit { reason: "content_encoding", why, body: None });
        }
        if body.len() + piece.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Reads the beginning of a body, to be shown: as much as comes soon, nothing of what is compressed.
pub(super) async fn excerpt(answer: &mut Response) -> String {
    let mut body = Vec::new();
    let reading = async {
        while body.len() < EXCERPT && coding(answer.headers()).is_none() {
            let Ok(Some(piece)) = answer.chunk().await else { break };
            body.extend_from_slice(&piece);
        }
    };
    // Whatever does not come soon, the status says what happened.
    let _passed = tokio::time::timeout(EXCERPT_TIME, reading).await;
    shortened(&body)
}

/// Returns how a body is compressed.
fn coding(headers: &HeaderMap) -> Option<String> {
    let coding = headers.get(CONTENT_ENCODING)?.to_str().unwrap_or("unknown");
    (!coding.eq_ignore_ascii_case("identity")).then(|| coding.to_owned())
}

fn shortened(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]).into_owned()
}

/// Returns the result of a body: JSON if its type says so, else text.
pub(super) fn result(headers: &HeaderMap, body: &[u8]) -> Result<Value, Fault> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = Kind::read(kind);
    if kind.is_json() && body.is_empty() {
        return Ok(Value::Null);
    }
    let (text, _, is_damaged) = kind.charset.unwrap_or(UTF_8).decode(body);
    if kind.is_json() {
        return serde_json::from_str(&text).map_err(|error| Fault::Unfit {
            reason: "not_json",
            why: format!("the body is no JSON, though its type says so: {error}"),
            body: Some(shortened(body)),
        });
    }
    if is_damaged && !kind.is_text() {
        let why = "the body is no text; only texts and JSON can be results".into();
        return Err(Fault::Unfit { reason: "not_text", why, body: None });
    }
    Ok(text.into_owned().into())
}

/// What a `Content-Type` says.
struct Kind {
    /// Type and subtype, in lower case.
    essence: String,
    charset: Option<&'static Encoding>,
}

impl Kind {
    fn read(text: &str) -> Self {
        let mut parts = text.split(';');
        let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let charset = parts.filter_map(|part| part.split_once('=')).find_map(|(name, value)| {
            let is_it = name.trim().eq_ignore_ascii_case("charset");
            Encoding::for_label(value.trim().trim_matches('"').as_bytes()).filter(|_| is_it)
        });
        Self { essence, charset }
    }

    fn is_json(&self) -> bool {
        matches!(self.essence.as_str(), "application/json" | "text/json") || self.essence.ends_with("+json")
    }

    /// Returns whether bad bytes in it are those of a text.
    fn is_text(&self) -> bool {
        self.charset.is_some() || self.essence.starts_with("text/") || self.essence.ends_with("xml")
    }
}

/// Returns the headers as a result has them: names in lower case, several of one name joined by commas as HTTP allows.
/// `set-cookie`, which cannot be joined, is a list.
pub(super) fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut shown = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let value = if *name == SET_COOKIE {
            values.map(Value::from).collect()
        } else {
            Value::from(values.collect::<Vec<_>>().join(", "))
        };
        shown.insert(name.as_str().to_owned(), value);
    }
    shown
}

/// Returns how long `Retry-After` asks to wait, given as seconds or as a date.
pub(super) fn retry_after_ms(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<u64>().ok()?.checked_mul(1_000);
    }
    let date = rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    Some(u64::try_from(date - now.0 / 1_000).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;
    use serde_json::json;

    fn typed(kind: &'static str) -> HeaderMap {
        [(CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect()
    }

    #[test]
    fn a_result_is_what_the_type_of_the_body_says() {
        let of = |kind, body: &[u8]| result(&typed(kind), body).map_err(|fault| format!("{fault:?}"));
        for kind in
            ["application/json", "APPLICATION/JSON; charset=utf-8", "application/problem+json", "text/json"]
        {
            assert_eq!(of(kind, br#"{"a": [1]}"#), Ok(json!({"a": [1]})), "{kind}");
            assert_eq!(of(kind, b""), Ok(Value::Null), "{kind}");
            assert!(of(kind, b"<html>").unwrap_err().contains("not_json"), "{kind}");
        }
        assert_eq!(of("application/json", b"\xEF\xBB\xBF1"), Ok(json!(1)));
        assert_eq!(of("text/plain", br#"{"a": 1}"#), Ok(json!(r#"{"a": 1}"#)));
        assert_eq!(of("application/x-ndjson", b"1\n2"), Ok(json!("1\n2")));
        assert_eq!(of("text/html; charset=\"ISO-8859-1\"", b"sch\xF6n"), Ok(json!("schön")));
        assert_eq!(of("text/plain", b"a\xFFb"), Ok(json!("a\u{fffd}b")));
        assert_eq!(of("text/plain", b""), Ok(json!("")));
        assert!(of("image/png", b"\x89PNG\xFF").unwrap_err().contains("not_text"));
        assert_eq!(result(&HeaderMap::new(), b"a").ok(), Some(json!("a")));
    }

    #[test]
    fn headers_of_one_name_are_joined_but_cookies() {
        let mut given = HeaderMap::new();
        for (name, value) in [("vary", "a"), ("set-cookie", "x=1, 2"), ("vary", "b"), ("set-cookie", "y=2")] {
            given.append(name, HeaderValue::from_static(value));
        }
        assert_eq!(Value::from(headers(&given)), json!({"vary": "a, b", "set-cookie": ["x=1, 2", "y=2"]}));
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        // 2027-01-31T09:00:00Z
        let now = Timestamp(1_801_386_000_000_000);
        let of = |value| {
            retry_after_ms(&[(RETRY_AFTER, HeaderValue::from_static(value))].into_iter().collect(), now)
        };
        assert_eq!(of("7"), Some(7_000));
        assert_eq!(of("Sun, 31 Jan 2027 09:01:30 GMT"), Some(90_000));
        assert_eq!(of("Sun, 31 Jan 2027 08:00:00 GMT"), Some(0));
        for nothing in ["soon", "", "-1", "99999999999999999999"] {
            assert_eq!(of(nothing), None, "{nothing:?}");
        }
    }
}
