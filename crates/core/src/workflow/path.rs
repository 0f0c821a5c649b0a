//! Where something stands inside a JSON document: `params.args.files[0]`.

use std::fmt;

/// One step from a container to a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// A member of an object.
    Key(String),
    /// An element of a list.
    Index(usize),
}

impl From<&str> for Part {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Part {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// A place in a JSON document, from its root.
///
/// ```
/// use stepwell_core::workflow::path::Path;
/// let path = Path::root().join("tasks").join(2).join("params").join("a key");
/// assert_eq!(path.to_string(), r#"tasks[2].params["a key"]"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Vec<Part>);

impl Path {
    /// Returns the root of the document.
    pub fn root() -> Self {
        Self::default()
    }

    /// Returns the place of a member of this place.
    pub fn join(&self, part: impl Into<Part>) -> Self {
        let mut longer = self.clone();
        longer.push(part);
        longer
    }

    /// Returns the place that `inner` has if this place is its root.
    pub fn concat(&self, inner: &Self) -> Self {
        Self(self.0.iter().chain(&inner.0).cloned().collect())
    }

    /// Goes to a member.
    pub fn push(&mut self, part: impl Into<Part>) {
        self.0.push(part.into());
    }

    /// Goes back to the container.
    pub fn pop(&mut self) -> Option<Part> {
        self.0.pop()
    }

    /// Returns the steps from the root.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.iter().enumerate() {
            match part {
                Part::Index(index) => write!(f, "[{index}]")?,
                Part::Key(key) if !is_plain(key) => write!(f, "[{}]", serde_json::Value::from(key.as_str()))?,
                Part::Key(key) if i == 0 => f.write_str(key)?,
                Part::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// Returns whether a key can be written after a dot.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}
