//! Where a state leads.

use serde::Serialize;
use serde_json::Map;
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{RunId, StepName};
use stepwell_core::run::event::{Payload, Target};
use stepwell_core::run::wait::ChildStart;

use super::Agent;
use crate::error::StepError;
use crate::json::to_json;

/// Where a state leads: nowhere, to one state, or to several at once.
///
/// ```
/// use stepwell::Next;
///
/// let ends = Next::done();
/// let one = Next::to("publish");
/// // A fork: both run side by side and meet again at the next state that both lead to, as far as
/// // they say where they can lead (`State::next`).
/// let both = Next::all(["check_quality", "make_pictures"]);
/// // The same state once per payload, each an execution of its own.
/// let chunks = Next::each("process_chunk", [0..10, 10..20])?;
/// let mixed = chunks.and(Next::to("watch"));
/// # let _ = (ends, one, both, mixed);
/// # Ok::<(), stepwell::StepError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Next {
    pub(super) targets: Vec<Target>,
    pub(super) children: Vec<ChildStart>,
}

impl Next {
    /// The branch ends here.
    pub fn done() -> Self {
        Self::default()
    }

    /// Goes on with that state.
    pub fn to(state: impl AsRef<str>) -> Self {
        Self::all([state])
    }

    /// Forks: goes on with each of those states.
    pub fn all(states: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let targets = states.into_iter().map(|state| Target::to(state.as_ref())).collect();
        Self { targets, children: Vec::new() }
    }

    /// Goes on with that state once per payload, which it reads by [`Context::payload`](crate::Context::payload) or, if it
    /// is an object, key by key. What carries a payload waits for no other branch.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// use serde_json::json;
    /// use stepwell::Reducer;
    ///
    /// let agent = Agent::new("thumbnails")
    ///     .reducer("pixels", Reducer::Sum)
    ///     .state("find", |_: Context| async {
    ///         Next::each("shrink", [json!({ "file": "a.png", "size": 64 }), json!({ "file": "b.png", "size": 32 })])
    ///     })
    ///     .add_state(State::new("shrink", |cx: Context| async move {
    ///         let size: u32 = cx.get("size")?.unwrap_or(16);
    ///         cx.set("pixels", &(cx.get::<u32>("pixels")?.unwrap_or(0) + size * size))?;
    ///         Ok(Next::to("index")) // once, when all have come there
    ///     }).next(["index"]))
    ///     .state("index", |_: Context| async { Ok(Next::done()) })
    ///     .build(&engine)?;
    /// let run = agent.start(()).await?;
    /// assert_eq!(run.wait().await?.get("pixels")?, Some(64 * 64 + 32 * 32));
    /// assert_eq!(run.metrics().await?.attempts, 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A payload is not JSON.
    pub fn each(
        state: impl AsRef<str>,
        payloads: impl IntoIterator<Item = impl Serialize>,
    ) -> Result<Self, StepError> {
        let state = state.as_ref();
        let mut targets = Vec::new();
        for payload in payloads {
            let payload = to_json(&payload, || format!("a payload for '{state}'"))?;
            targets.push(Target::with_payload(state, payload));
        }
        Ok(Self { targets, children: Vec::new() })
    }

    /// Another agent goes on, from that state, in a run of its own: it begins with a copy of the context, and what it writes
    /// stays there. This branch ends when that run completes; other branches do not wait for it. If it fails or is
    /// cancelled, that is a failure of the state that named it, `CHILD_FAILED`, under its policy.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let billing = Agent::new("billing")
    ///     .state("invoice", |_: Context| async { Ok(Next::done()) })
    ///     .build(&engine)?;
    /// let order = Agent::new("order")
    ///     .state("ship", move |_: Context| {
    ///         let billing = billing.clone();
    ///         async move { Next::agent(&billing, "invoice") }
    ///     })
    ///     .build(&engine)?;
    /// order.run(()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `UNKNOWN_STEP` if the agent has no such state.
    pub fn agent(agent: &Agent, state: impl AsRef<str>) -> Result<Self, StepError> {
        let entry = StepName::from(state.as_ref());
        agent.workflow().check_entry(Some(&entry)).map_err(ErrorObject::never_again)?;
        let child = ChildStart {
            run: RunId::from(""),
            definition: agent.workflow().to_json(),
            input: Payload::default(),
            context: Map::new(),
            metadata: Map::new(),
            entry: Some(entry),
        };
        Ok(Self { targets: Vec::new(), children: vec![child] })
    }

    /// Goes on with those states as well.
    pub fn and(mut self, more: Self) -> Self {
        self.targets.extend(more.targets);
        self.children.extend(more.children);
        self
    }
}
