//! The parameters of `http/request`, and the request they make.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Map, Value};
use stepwell_engine::ParamProblem;
use url::form_urlencoded::Serializer;

use crate::params::problem;

/// The request of a step, before anything of ours is added.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Vec<u8>>,
    pub(super) expected: Expected,
}

/// The statuses that a step takes for a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// 200 to 299.
    AnySuccess,
    /// Exactly these.
    These(Vec<u16>),
}

impl Expected {
    pub(super) fn includes(&self, status: u16) -> bool {
        match self {
            Self::AnySuccess => (200..300).contains(&status),
            Self::These(list) => list.contains(&status),
        }
    }
}

/// Returns every problem of parameters that a table cannot tell. What is `open` is not looked at.
pub(super) fn problems(params: &Value, open: fn(&Value) -> bool) -> Vec<ParamProblem> {
    let given = |name: &str| params.get(name).filter(|value| !open(value));
    let mut problems = Vec::new();
    problems.extend(given("url").and_then(Value::as_str).and_then(|text| url(text).err()));
    problems.extend(given("method").and_then(Value::as_str).and_then(|text| method(text).err()));
    problems.extend(given("expect_status").and_then(|value| expected(value, open).err()));
    for (name, value) in given("headers").and_then(Value::as_object).into_iter().flatten() {
        problems.extend(header(name, value, open).err());
    }
    for parameter in ["query", "form"] {
        if let Some(object) = given(parameter).and_then(Value::as_object) {
            problems.extend(pairs(parameter, object, open).err());
        }
    }
    let bodies = ["json", "body", "form"].into_iter().filter(|name| params.get(*name).is_some());
    if let [_, second, ..] = bodies.collect::<Vec<_>>()[..] {
        let message = "only one of 'json', 'body' and 'form' may be given".into();
        problems.push(problem(second, "exclusive", message));
    }
    problems
}

/// Reads the parameters of an attempt.
pub(super) fn read(params: &Value) -> Result<Asked, ParamProblem> {
    let text = |name: &str| params.get(name).and_then(Value::as_str);
    let object = |name: &str| params.get(name).and_then(Value::as_object);
    let mut target = url(text("url").unwrap_or_default())?;
    if let Some(query) = object("query") {
        let pairs = pairs("query", query, nothing)?;
        if !pairs.is_empty() {
            target.query_pairs_mut().extend_pairs(pairs);
        }
    }
    let mut headers = HeaderMap::new();
    for (name, value) in object("headers").into_iter().flatten() {
        let (name, values) = header(name, value, nothing)?;
        for value in values {
            headers.append(&name, value);
        }
    }
    let body = if let Some(value) = params.get("json") {
        Some((value.to_string(), "application/json"))
    } else if let Some(form) = object("form") {
        let form = Serializer::new(String::new()).extend_pairs(pairs("form", form, nothing)?).finish();
        Some((form, "application/x-www-form-urlencoded"))
    } else {
        text("body").map(|body| (body.to_owned(), "text/plain; charset=utf-8"))
    };
    if let Some((_, kind)) = &body {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
    }
    Ok(Asked {
        method: text("method").map_or(Ok(Method::GET), method)?,
        url: target,
        headers,
        body: body.map(|(body, _)| body.into_bytes()),
        expected: params.get("expect_status").map_or(Ok(Expected::AnySuccess), |v| expected(v, nothing))?,
    })
}

fn nothing(_: &Value) -> bool {
    false
}

fn url(text: &str) -> Result<Url, ParamProblem> {
    let refuse = |reason, message: String| Err(problem("url", reason, message));
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            return refuse("url", "parameter 'url' must begin with http:// or https://".into());
        }
        Err(error) => return refuse("url", format!("parameter 'url' is no URL: {error}")),
    };
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => refuse("scheme", format!("parameter 'url' must be of http or https, not of {other}")),
    }
}

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

fn method(text: &str) -> Result<Method, ParamProblem> {
    METHODS.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
        let known = METHODS.map(|known| known.to_string()).join(", ");
        problem("method", "method", format!("parameter 'method' must be one of {known}, not {text:?}"))
    })
}

/// Headers that say how a message is delimited and where it goes: they follow from the request itself.
const OURS: [&str; 10] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

/// Reads a header: a text, number or truth value, or a list of them for one that comes several times.
fn header(
    name: &str,
    value: &Value,
    open: fn(&Value) -> bool,
) -> Result<(HeaderName, Vec<HeaderValue>), ParamProblem> {
    let refuse = |message: String| problem("headers", "header", message);
    let known = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| refuse(format!("{name:?} is no name of a header")))?;
    if OURS.contains(&known.as_str()) {
        return Err(refuse(format!("the header '{name}' cannot be set: it follows from the request")));
    }
    let values = scalars(value, open).ok_or_else(|| {
        refuse(format!("the header '{name}' must be a text, number or truth value, or a list of them"))
    })?;
    let read = values.iter().map(|value| {
        let mut read = HeaderValue::from_str(value).map_err(|_| {
            refuse(format!("the header '{name}' has a line break or another character that cannot be sent"))
        })?;
        read.set_sensitive(super::secrets::is_secret(name));
        Ok(read)
    });
    Ok((known, read.collect::<Result<_, _>>()?))
}

/// Reads the fields of a query or form: a list is a field that comes several times.
fn pairs<'a>(
    parameter: &str,
    object: &'a Map<String, Value>,
    open: fn(&Value) -> bool,
) -> Result<Vec<(&'a str, String)>, ParamProblem> {
    let mut pairs = Vec::new();
    for (name, value) in object {
        let Some(values) = scalars(value, open) else {
            let message = format!(
                "'{name}' in parameter '{parameter}' must be a text, number or truth value, or a list of them"
            );
            return Err(problem(parameter, "type", message));
        };
        pairs.extend(values.into_iter().map(|value| (name.as_str(), value)));
    }
    Ok(pairs)
}

/// Returns the texts that a value stands for: one, those of a list, none for `null` and for what is open.
fn scalars(value: &Value, open: fn(&Value) -> bool) -> Option<Vec<String>> {
    let one = |value: &Value| match value {
        value if open(value) => Some(None),
        Value::String(text) => Some(Some(text.clone())),
        Value::Number(_) | Value::Bool(_) => Some(Some(value.to_string())),
        Value::Null => Some(None),
        Value::Array(_) | Value::Object(_) => None,
    };
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    Some(list.iter().map(one).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
}

fn expected(value: &Value, open: fn(&Value) -> bool) -> Result<Expected, ParamProblem> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let status =
        |value: &Value| value.as_u64().filter(|status| (200..600).contains(status)).map(|s| s as u16);
    let known = list.iter().filter(|value| !open(value)).map(status).collect::<Option<Vec<_>>>();
    match known {
        Some(known) if !list.is_empty() => Ok(Expected::These(known)),
        _ => {
            let message = "parameter 'expect_status' must be a status from 200 to 599, or a list of them";
            Err(problem("expect_status", "type", message.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::holds_reference;
    use serde_json::json;

    fn reasons(params: &Value) -> Vec<(String, &'static str)> {
        problems(params, holds_reference).into_iter().map(|p| (p.parameter, p.reason)).collect()
    }

    #[test]
    fn what_can_be_no_request_is_refused_with_parameter_and_reason() {
        let refused = [
            (json!({"url": "example.com"}), ("url", "url")),
            (json!({"url": "http://"}), ("url", "url")),
            (json!({"url": "http://a b/"}), ("url", "url")),
            (json!({"url": "http://a:99999/"}), ("url", "url")),
            (json!({"url": "file:///etc/passwd"}), ("url", "scheme")),
            (json!({"url": "ftp://a/"}), ("url", "scheme")),
            (json!({"url": "unix:/run/x"}), ("url", "scheme")),
            (json!({"method": "CONNECT"}), ("method", "method")),
            (json!({"method": "GET / HTTP/1.1\r\nX:"}), ("method", "method")),
            (json!({"method": ""}), ("method", "method")),
            (json!({"headers": {"A B": "x"}}), ("headers", "header")),
            (json!({"headers": {"": "x"}}), ("headers", "header")),
            (json!({"headers": {"A": "x\r\nEvil: 1"}}), ("headers", "header")),
            (json!({"headers": {"A": "x\0"}}), ("headers", "header")),
            (json!({"headers": {"A": {}}}), ("headers", "header")),
            (json!({"headers": {"A": ["x", ["y"]]}}), ("headers", "header")),
            (json!({"headers": {"Host": "other"}}), ("headers", "header")),
            (json!({"headers": {"Transfer-Encoding": "chunked"}}), ("headers", "header")),
            (json!({"query": {"a": {}}}), ("query", "type")),
            (json!({"form": {"a": [[1]]}}), ("form", "type")),
            (json!({"json": 1, "body": "x"}), ("body", "exclusive")),
            (json!({"expect_status": 199}), ("expect_status", "type")),
            (json!({"expect_status": "200"}), ("expect_status", "type")),
            (json!({"expect_status": []}), ("expect_status", "type")),
            (json!({"expect_status": [200, 600]}), ("expect_status", "type")),
        ];
        for (params, (parameter, reason)) in refused {
            assert_eq!(reasons(&params), [(parameter.to_owned(), reason)], "{params}");
            if params.get("url").is_some() {
                assert!(read(&params).is_err(), "{params}");
            }
        }
    }

    #[test]
    fn references_pass_in_a_definition() {
        let params = json!({
            "url": "${input.base}/a", "method": "${input.method}", "headers": {"A": "x ${input.a}", "B": ["${b}"]},
            "query": {"a": "${input.a}"}, "expect_status": ["${input.status}", 404],
        });
        assert_eq!(reasons(&params), []);
    }

    #[test]
    fn parameters_make_a_request() {
        let asked = read(&json!({
            "url": "https://example.com/a?x=1", "method": "put", "query": {"q": ["a b", true, null], "n": 2.5},
            "headers": {"X-N": 1, "X-L": ["a", "b"], "X-None": null}, "form": {"k": "a&b", "none": null},
            "expect_status": [204, 404],
        }));
        let asked = asked.unwrap_or_else(|problem| panic!("{problem:?}"));
        assert_eq!(asked.url.as_str(), "https://example.com/a?x=1&q=a+b&q=true&n=2.5");
        assert_eq!(asked.method, Method::PUT);
        let sent: Vec<(&str, &str)> =
            asked.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().expect("ASCII"))).collect();
        assert_eq!(
            sent,
            [("x-n", "1"), ("x-l", "a"), ("x-l", "b"), ("content-type", "application/x-www-form-urlencoded")]
        );
        assert_eq!(asked.body.as_deref(), Some(&b"k=a%26b"[..]));
        assert!(asked.expected.includes(404) && !asked.expected.includes(200));
        let own =
            read(&json!({"url": "http://a", "json": null, "headers": {"content-type": "application/x"}}));
        let own = own.unwrap_or_else(|problem| panic!("{problem:?}"));
        assert_eq!(
            (own.body.as_deref(), &own.headers[CONTENT_TYPE]),
            (Some(&b"null"[..]), &HeaderValue::from_static("application/x"))
        );
    }
}
