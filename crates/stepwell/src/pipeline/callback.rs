//! What its user gives a pipeline for what it decides and makes by itself: conditions, keys of branches, values on their way.

use std::fmt;
use std::future::ready;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stepwell_core::run::event::Payload;

use super::stage::{Input, mapped};
use crate::context::Context;
use crate::error::StepError;
use crate::json::from_json;

/// A function that decides or makes something for a pipeline and waits for others meanwhile, where a closure would have to block:
/// one that asks a service, or one of another language.
///
/// It is given what the closure in its place would be, as a tuple. Like the closure it is called once, in a step of the pipeline; a
/// restart does not ask it again.
///
/// ```
/// # use stepwell::{Context, Engine, Options, Registry};
/// use stepwell::{Callback, Pipeline, Repeat, Step};
///
/// # async fn is_enough(n: u64) -> bool { n > 100 }
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
/// let double = Step::new("double", |_, n: u64| async move { Ok(n * 2) });
/// let enough = Callback::new(|_: Context, (n,): (u64,)| async move { Ok(is_enough(n).await) });
/// let pipeline = Pipeline::new("power").then(Repeat::until_called("grow", double, enough).max(10)).build(&engine)?;
///
/// assert_eq!(pipeline.run(3).await?.output::<u64>()?, 192);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Callback(Given<Value>);

/// A function that its user gave: of the context, what comes in, and what else it is told.
pub(super) type Given<T> =
    Arc<dyn Fn(Context, Input, Vec<Value>) -> BoxFuture<'static, Result<T, StepError>> + Send + Sync>;

impl Callback {
    /// Returns one that calls this. Its arguments are a tuple, of which each is read from JSON.
    pub fn new<Args, Out, F, Fut>(function: F) -> Self
    where
        Args: DeserializeOwned,
        Out: Serialize,
        F: Fn(Context, Args) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, StepError>> + Send + 'static,
    {
        let function = Arc::new(function);
        Self(Arc::new(move |cx, input, more| {
            let function = function.clone();
            Box::pin(async move {
                let given = Value::Array([vec![(*input).clone()], more].concat());
                let args: Args = from_json(&given, || "what a function of the pipeline is given".into())?;
                mapped(&function(cx, args).await?)
            })
        }))
    }

    /// Returns it as one that makes a value.
    pub(super) fn made(self) -> Given<Value> {
        self.0
    }

    /// Returns it as one that decides.
    pub(super) fn decided<T: DeserializeOwned + Send + 'static>(self) -> Given<T> {
        Arc::new(move |cx, input, more| {
            let made = (self.0)(cx, input, more);
            Box::pin(async move { from_json(&made.await?, || "what it decided".into()) })
        })
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

/// Returns a closure as a function that waits for nothing.
pub(super) fn given<T: Send + 'static>(
    function: impl Fn(&Input, &Context, &[Value]) -> Result<T, StepError> + Send + Sync + 'static,
) -> Given<T> {
    Arc::new(move |cx, input, more| Box::pin(ready(function(&input, &cx, &more))))
}

/// Returns what a function makes of a value on its way; without one, the value.
pub(super) async fn made_of(
    function: Option<&Given<Value>>,
    cx: &Context,
    value: &Input,
    more: Vec<Value>,
) -> Result<Payload, StepError> {
    match function {
        Some(function) => Ok(Payload::new(function(cx.clone(), value.clone(), more).await?)),
        None => Ok(value.payload()),
    }
}
