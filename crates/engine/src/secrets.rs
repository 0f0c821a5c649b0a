//! Texts that nobody else may read, and what stands in their place where a message would show them.

use std::fmt;

use serde_json::Value;
use stepwell_core::error::ErrorObject;

const MASK: &str = "***";

/// What is shorter is not looked for: no secret is so short, and a text would be full of masks.
const SHORTEST: usize = 4;

/// Texts that nobody else may read.
///
/// ```
/// use stepwell_engine::Secrets;
///
/// let secrets = Secrets::of(["k3y".to_owned(), "t0ken".to_owned(), "t0ken-of-anna".to_owned()]);
/// assert_eq!(secrets.mask("k3y, t0ken-of-anna and t0ken"), "k3y, *** and ***", "a text of three letters is no secret");
/// ```
#[derive(Clone, Default)]
pub struct Secrets {
    /// The longest first, so that no end of one is left standing behind the mask of another.
    values: Vec<String>,
}

impl Secrets {
    /// Returns those texts as secrets, as far as they are long enough.
    pub fn of(values: impl IntoIterator<Item = String>) -> Self {
        let mut secrets = Self::default();
        secrets.extend(values);
        secrets
    }

    /// Takes a text, and the form that it has in quotes.
    pub(crate) fn add(&mut self, value: &str) {
        let quoted = value.escape_debug().to_string();
        self.extend([value.to_owned(), quoted]);
    }

    fn extend(&mut self, values: impl IntoIterator<Item = String>) {
        for value in values.into_iter().filter(|value| value.len() >= SHORTEST) {
            if !self.values.contains(&value) {
                self.values.push(value);
            }
        }
        self.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    }

    /// Returns a text with every secret in it replaced by `***`.
    pub fn mask(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, value| text.replace(value, MASK))
    }

    /// Returns a value with every secret in its texts and keys replaced.
    pub(crate) fn mask_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => self.mask(&text).into(),
            Value::Array(list) => list.into_iter().map(|value| self.mask_value(value)).collect(),
            Value::Object(map) => {
                map.into_iter().map(|(key, value)| (self.mask(&key), self.mask_value(value))).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    /// Returns an error with every secret in it replaced.
    pub(crate) fn mask_error(&self, error: ErrorObject) -> ErrorObject {
        let ErrorObject { code, message, hint, data, retryable } = error;
        let data = data.into_iter().map(|(key, value)| (key, self.mask_value(value))).collect();
        let hint = hint.map(|hint| self.mask(&hint));
        ErrorObject { code, message: self.mask(&message), hint, data, retryable }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stepwell_core::error::Code;

    use super::*;

    #[test]
    fn no_part_of_an_error_shows_a_secret() {
        let mut secrets = Secrets::default();
        secrets.add("pass \"word\"");
        let said = r#"it is pass "word", or "pass \"word\"" in quotes"#;
        let error = ErrorObject::new(Code::TASK_EXECUTION_FAILED, said)
            .with_hint(said)
            .with("cause", json!([{ said: said, "n": 1 }]));
        let masked = secrets.mask_error(error);
        let clean = r#"it is ***, or "***" in quotes"#;
        assert_eq!((masked.message.as_str(), masked.hint.as_deref()), (clean, Some(clean)));
        assert_eq!(masked.data["cause"], json!([{ clean: clean, "n": 1 }]));
        assert_eq!(format!("{secrets:?}"), "2 secrets");
    }
}
