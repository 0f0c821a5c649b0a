//! Where a state leads.

use serde::Serialize;
use stepwell_core::run::event::Target;

use crate::error::StepError;
use crate::json::to_json;

/// Where a state leads: nowhere, to one state, or to several at once.
///
/// ```
/// use stepwell::Next;
///
/// let ends = Next::done();
/// let one = Next::to("publish");
/// // A fork: both run side by side and meet again at the next state that both lead to.
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
        Self { targets: states.into_iter().map(|state| Target::to(state.as_ref())).collect() }
    }

    /// Goes on with that state once per payload, which it reads by [`Context::payload`](crate::Context::payload) or, if it
    /// is an object, key by key. What carries a payload waits for no other branch.
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
        Ok(Self { targets })
    }

    /// Goes on with those states as well.
    pub fn and(mut self, more: Self) -> Self {
        self.targets.extend(more.targets);
        self
    }
}
