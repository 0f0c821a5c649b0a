//! What a state ends with when it does not end well.

use std::any::{Any, type_name};
use std::error::Error;

use stepwell_core::error::{Code, ErrorObject};

/// Why a state has no [`Next`](crate::Next) to return.
///
/// `?` makes one of every error. It remembers the type, so that a [`Retry`](crate::Retry) can name those that are tried
/// once. A `Box<dyn Error>` and an `anyhow::Error` are no errors themselves:
///
/// ```
/// use std::error::Error;
/// use stepwell::StepError;
///
/// fn fetch() -> Result<String, Box<dyn Error>> {
///     Err("no network".into())
/// }
///
/// fn work() -> Result<String, StepError> {
///     fetch().map_err(|error| StepError::new(error.to_string()))
/// }
/// assert_eq!(work().unwrap_err().into_error().unwrap().message, "no network");
/// ```
///
/// What is worth another attempt is for the function to say:
///
/// ```
/// use stepwell::StepError;
///
/// fn parse(text: &str) -> Result<u32, StepError> {
///     if text.is_empty() {
///         return Err(StepError::never_again("there is nothing to parse"));
///     }
///     Ok(text.parse()?)
/// }
///
/// let error = parse("seven").unwrap_err().into_error().unwrap();
/// assert_eq!(error.message, "invalid digit found in string");
/// assert_eq!(error.data["exception_type"], "core::num::error::ParseIntError");
/// assert!(error.retryable);
/// assert!(!parse("").unwrap_err().into_error().unwrap().retryable);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum StepError {
    /// The attempt failed.
    Failed(Box<ErrorObject>),
    /// The state waits, for a person, a signal, a time or another run. Pass this on with `?`: the state is let go, and
    /// runs again from its start when it need not wait any longer.
    Suspended,
    /// What carried the function out is gone, for reasons that need not be its own, and nobody knows how far it came. As if
    /// the process had died: the next attempt begins at once, and this one does not count as a try.
    Lost,
}

impl StepError {
    /// Returns a failure that another attempt may mend.
    pub fn new(message: impl Into<String>) -> Self {
        ErrorObject::new(Code::TASK_EXECUTION_FAILED, message).into()
    }

    /// Returns a failure that would only happen again.
    pub fn never_again(message: impl Into<String>) -> Self {
        ErrorObject::new(Code::TASK_EXECUTION_FAILED, message).never_again().into()
    }

    /// Returns what went wrong; nothing did if the state waits, and nobody knows if it is lost.
    pub fn error(&self) -> Option<&ErrorObject> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Suspended | Self::Lost => None,
        }
    }

    /// Returns what went wrong; nothing did if the state waits, and nobody knows if it is lost.
    pub fn into_error(self) -> Option<ErrorObject> {
        match self {
            Self::Failed(error) => Some(*error),
            Self::Suspended | Self::Lost => None,
        }
    }

    /// Returns whether it is a failure of that code.
    ///
    /// ```
    /// use stepwell::{Code, StepError};
    ///
    /// assert!(StepError::new("no answer").is(Code::TASK_EXECUTION_FAILED));
    /// assert!(!StepError::Suspended.is(Code::HUMAN_TIMEOUT));
    /// ```
    pub fn is(&self, code: Code) -> bool {
        self.error().is_some_and(|error| error.code == code)
    }
}

/// An error that names neither a state nor a code becomes a failure of the state; an [`ErrorObject`], boxed or not, stays what it is.
impl<E: Error + 'static> From<E> for StepError {
    fn from(error: E) -> Self {
        let any: &dyn Any = &error;
        let boxed = || any.downcast_ref::<Box<ErrorObject>>().map(|boxed| &**boxed);
        let object = any.downcast_ref::<ErrorObject>().or_else(boxed).cloned().unwrap_or_else(|| {
            ErrorObject::new(Code::TASK_EXECUTION_FAILED, with_causes(&error))
                .with("exception_type", type_name::<E>())
        });
        Self::Failed(Box::new(object))
    }
}

/// Returns the error and everything behind it, in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(behind) = cause {
        let said = behind.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = behind.source();
    }
    text
}
