//! What of a request nobody else may read: passwords in URLs, keys and tokens in headers and queries.
//!
//! An error shows a URL without its user, query and fragment, and in what a server said the secrets of the request are
//! replaced by `***`.

use reqwest::{Request, Url};
use stepwell_engine::Secrets;
use url::form_urlencoded;

/// Collects the secrets of a request, given the URL as it was written.
pub(super) fn secrets_of(written: &Url, request: &Request) -> Secrets {
    let mut values = Vec::new();
    for part in [Some(written.username()), written.password()].into_iter().flatten() {
        // Decoded as the name of a form's field, in which these two would mean something.
        let name = part.replace('+', "%2B").replace('&', "%26");
        values.extend(form_urlencoded::parse(name.as_bytes()).map(|(name, _)| name.into_owned()));
        values.push(part.to_owned());
    }
    for pair in written.query().unwrap_or_default().split('&') {
        for (_, value) in form_urlencoded::parse(pair.as_bytes()).filter(|(name, _)| is_secret(name)) {
            // As it was written, as a form writes it, and as it is meant.
            values.extend(pair.split_once('=').map(|(_, written)| written.to_owned()));
            values.push(form_urlencoded::byte_serialize(value.as_bytes()).collect());
            values.push(value.into_owned());
        }
    }
    for (_, value) in request.headers().iter().filter(|(name, _)| is_secret(name.as_str())) {
        let value = String::from_utf8_lossy(value.as_bytes());
        let behind_the_scheme = value.split_once(' ').map(|(_, rest)| rest.to_owned());
        let cookies = value.split(';').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value.trim());
        values.extend(behind_the_scheme.into_iter().chain(cookies.map(str::to_owned)));
        values.push(value.into_owned());
    }
    Secrets::of(values)
}

/// Returns whether a header or query parameter of that name holds a secret, such as `Authorization` or `X-Api-Key`.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if name == "idempotency-key" {
        return false;
    }
    let within =
        ["authorization", "cookie", "token", "secret", "password", "apikey", "credential", "signature"];
    let words = ["auth", "key", "pass", "pwd", "session", "sid", "sig", "jwt"];
    within.iter().any(|part| name.contains(part))
        || name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| words.contains(&word))
}

/// Returns a URL as errors show it: without user, query and fragment.
pub(super) fn shown(url: &Url) -> String {
    format!("{}{}", endpoint(url), url.path())
}

/// Returns scheme, host and port of a URL.
pub(super) fn endpoint(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_and_others_are_not() {
        for name in [
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "X-Api-Key",
            "api_key",
            "apiKey",
            "key",
            "X-Auth-Token",
            "access_token",
            "X-Amz-Signature",
            "sig",
            "PHPSESSID-session",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["Accept", "Idempotency-Key", "X-Author", "keyword", "Content-Type", "page", "user"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    /// spec/gleitzeit.md §8, G35.
    #[test]
    fn nothing_secret_is_left_in_a_text() {
        let written: Url =
            "https://anna:p%40ss+word@example.com/a?api_key=k%20ey1&page=2222#x".parse().expect("a URL");
        let client =
            reqwest::Client::builder().tls_backend_preconfigured(super::super::client::trust()).build();
        let request = client
            .expect("a client")
            .get(written.clone())
            .header("X-Token", "t0ken")
            .header("Cookie", "id=c00kie; a=b");
        let secrets = secrets_of(&written, &request.build().expect("a request"));
        let said =
            "p%40ss+word p@ss+word k%20ey1 k ey1 k+ey1 t0ken c00kie anna YW5uYTpwQHNzK3dvcmQ= 2222 page";
        assert_eq!(secrets.mask(said), "*** *** *** *** *** *** *** *** *** 2222 page");
        assert_eq!(shown(&written), "https://example.com/a");
    }
}
