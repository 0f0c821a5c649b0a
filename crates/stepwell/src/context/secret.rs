//! Secrets of the worker, and how they stay secret.

use std::fmt;

use stepwell_core::error::{Code, ErrorObject};

use super::Context;
use crate::error::StepError;

/// A text that nobody else may read; [`Context::secret`] returns it.
///
/// It shows itself as `***` and is no JSON, so it gets into no context, payload or answer by accident:
///
/// ```compile_fail
/// # use stepwell::{Context, StepError};
/// fn leak(cx: &Context) -> Result<(), StepError> {
///     cx.set("key", &cx.secret("API_KEY")?)
/// }
/// ```
///
/// What [`Secret::reveal`] returns is a text like any other, and whoever writes it somewhere has written it.
#[derive(Clone)]
pub struct Secret {
    text: String,
}

impl Secret {
    /// Returns the text, for whoever must be shown it.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("***")
    }
}

impl Context {
    /// Returns a secret from the environment of the process that carries out the state. Nothing keeps it.
    ///
    /// In errors of this attempt, panics included, in what it [emits](Context::emit) and in what a
    /// [check](crate::Ask::check) says, the text is replaced by `***`, if it has four letters or more. What a panic prints
    /// by itself is not.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, StepError};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let agent = Agent::new("client")
    ///     .state("call", |cx: Context| async move {
    ///         let key = cx.secret("PATH")?; // or rather API_KEY
    ///         assert_eq!(format!("{key} {key:?}"), "*** ***");
    ///         Err(StepError::new(format!("401 for key {}", key.reveal())))
    ///     })
    ///     .build(&engine)?;
    /// assert_eq!(agent.run(()).await.unwrap_err().error.message, "step 'call': 401 for key ***");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `CONFIGURATION_ERROR` if the environment has no such variable, an empty one, or one that is no text; the attempt has
    /// ended.
    pub fn secret(&self, name: &str) -> Result<Secret, StepError> {
        let refused = |what: &str| {
            let message =
                format!("the environment of this worker has {what} '{name}', which is to hold a secret");
            ErrorObject::new(Code::CONFIGURATION_ERROR, message)
                .with_hint("set it where the worker is started, and retry the run")
                .with("variable", name)
        };
        let text = match std::env::var(name) {
            Ok(text) if text.is_empty() => return Err(refused("an empty variable").into()),
            Ok(text) => text,
            Err(std::env::VarError::NotPresent) => return Err(refused("no variable").into()),
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(refused("a variable that is no text,").into());
            }
        };
        self.with(|_| self.task().report.keep_secret(&text))?;
        Ok(Secret { text })
    }
}
