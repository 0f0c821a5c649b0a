//! What can carry steps out: which protocols and methods are known, and what their parameters must be.

use std::path::PathBuf;

use serde_json::Value;
use stepwell_core::error::Code;
use stepwell_core::spelling::nearest;
use stepwell_core::workflow::path::Path;

use super::node::Position;
use super::problem::Problem;
use crate::provider::{ParamProblem, Registry};

/// The protocols that a definition may use. The registry of an engine is one.
pub trait Protocols {
    /// Returns the registered protocols with their versions, such as `python/v1`.
    fn protocols(&self) -> Vec<&str>;

    /// Returns the methods of a registered protocol, aliases included. One that ends with `*` stands for all that
    /// begin like it; an empty list for any.
    fn methods(&self, protocol: &str) -> Vec<&str>;

    /// Returns the parameters in which `${…}` is nothing that the loader should read.
    fn raw_params(&self, protocol: &str, method: &str) -> &'static [&'static str];

    /// Returns the names of the parameters of a method; an empty list: nobody knows.
    fn params(&self, protocol: &str, method: &str) -> Vec<&'static str>;

    /// Returns the keys that the result object of a method has; an empty list: nobody knows.
    fn result_keys(&self, protocol: &str, method: &str) -> &'static [&'static str];

    /// Returns what is wrong with literal parameters; what holds a reference is checked when an attempt starts.
    fn check(&self, protocol: &str, method: &str, params: &Value) -> Vec<ParamProblem>;

    /// Returns the directories in which the files of a batch are looked for; relative paths start at the first.
    fn roots(&self) -> &[PathBuf] {
        &[]
    }
}

impl Protocols for Registry {
    fn protocols(&self) -> Vec<&str> {
        Registry::protocols(self).collect()
    }

    fn methods(&self, protocol: &str) -> Vec<&str> {
        self.protocol(protocol).map_or_else(Vec::new, |provider| provider.methods())
    }

    fn raw_params(&self, protocol: &str, method: &str) -> &'static [&'static str] {
        self.protocol(protocol).map_or(&[], |provider| provider.raw_params(method))
    }

    fn params(&self, protocol: &str, method: &str) -> Vec<&'static str> {
        let described = self.protocol(protocol).and_then(|provider| provider.params(method));
        described.unwrap_or_default().into_iter().map(|param| param.name).collect()
    }

    fn result_keys(&self, protocol: &str, method: &str) -> &'static [&'static str] {
        self.protocol(protocol).map_or(&[], |provider| provider.result_keys(method))
    }

    fn check(&self, protocol: &str, method: &str, params: &Value) -> Vec<ParamProblem> {
        self.protocol(protocol).map_or_else(Vec::new, |provider| provider.check(method, params))
    }

    fn roots(&self) -> &[PathBuf] {
        Registry::roots(self)
    }
}

/// Returns the registered protocol that `asked` means: itself, or its newest version if it names none.
pub(super) fn find(
    protocols: &dyn Protocols,
    asked: &str,
    path: &Path,
    at: Option<Position>,
) -> Result<String, Box<Problem>> {
    let known = protocols.protocols();
    if known.contains(&asked) {
        return Ok(asked.to_owned());
    }
    let (name, version) = split_version(asked);
    let mut versions: Vec<(u64, &str)> = known
        .iter()
        .filter_map(|k| split_version(k).1.filter(|_| split_version(k).0 == name).map(|v| (v, *k)))
        .collect();
    versions.sort_unstable();
    let Some((_, newest)) = versions.last() else {
        let near = nearest(name, known.iter().map(|k| split_version(k).0));
        let hint = match near {
            Some(near) => format!("did you mean '{near}'?"),
            None if known.is_empty() => {
                "this engine has no providers: open it with those that `stepwell::registry` returns"
                    .to_owned()
            }
            None => format!("registered: {}", known.join(", ")),
        };
        let problem = Problem::new(path.clone(), at, format!("no provider speaks '{asked}'"))
            .code(Code::PROTOCOL_NOT_FOUND)
            .hint(hint)
            .with("protocol_id", asked);
        return Err(Box::new(problem));
    };
    if version.is_none() {
        return Ok((*newest).to_owned());
    }
    let problem = Problem::new(path.clone(), at, format!("'{asked}' is not registered, but '{newest}' is"))
        .code(Code::PROTOCOL_VERSION_MISMATCH)
        .hint(format!("ask for '{newest}' or '{name}'"))
        .with("protocol_id", asked)
        .with("registered", versions.iter().map(|(_, known)| *known).collect::<Vec<_>>());
    Err(Box::new(problem))
}

/// Returns the name and the number of the version, if there is one.
pub(super) fn split_version(protocol: &str) -> (&str, Option<u64>) {
    match protocol.rsplit_once("/v") {
        Some((name, version)) => (name, version.parse().ok()),
        None => (protocol, None),
    }
}

/// Returns whether a text is `^[a-z][a-z0-9_-]*(/v\d+)?$`.
pub(super) fn is_protocol(text: &str) -> bool {
    let name = match text.split_once('/') {
        Some((name, version)) => {
            let Some(digits) = version.strip_prefix('v') else { return false };
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return false;
            }
            name
        }
        None => text,
    };
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// Returns whether a text can be a method.
pub(super) fn is_method(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_./:-".contains(&b))
        && !text.contains("..")
        && !text.ends_with('.')
}

/// Reports a method that its protocol does not have.
pub(super) fn check_method(
    protocols: &dyn Protocols,
    protocol: &str,
    method: &str,
    path: &Path,
    at: Option<Position>,
) -> Option<Problem> {
    let known = protocols.methods(protocol);
    let has = |known: &&str| match known.strip_suffix('*') {
        Some(beginning) => method.starts_with(beginning),
        None => *known == method,
    };
    if known.is_empty() || known.iter().any(has) {
        return None;
    }
    let near = nearest(method, known.iter().copied());
    Some(
        Problem::new(path.clone(), at, format!("'{protocol}' has no method '{method}'"))
            .code(Code::METHOD_NOT_SUPPORTED)
            .hint(near.map_or_else(
                || format!("it has {}", known.join(", ")),
                |near| format!("did you mean '{near}'?"),
            ))
            .with("protocol_id", protocol)
            .with("method", method)
            .with("supported_methods", known),
    )
}
