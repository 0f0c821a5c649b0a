//! What must be settled before a state starts.

use std::fmt;
use std::time::Duration;

use stepwell_core::workflow::definition::{Lifecycle, NeedKind};

use super::handler::{self, Condition};
use crate::context::Context;
use crate::error::StepError;
use crate::millis;

/// What a state asks of another before it starts.
///
/// A state that no route names starts by its needs, once they are met. One that a route leads to waits there for its
/// needs.
///
/// ```
/// use std::time::Duration;
/// use stepwell::{Context, Lifecycle, Need, Next, State};
///
/// let state = State::new("report", |_: Context| async { Ok(Next::done()) })
///     .needs("load", Need::required())
///     .needs("pictures", Need::timeout(Duration::from_secs(30)))
///     .needs("rates", Need::required().lifecycle(Lifecycle::Temporary { expiry_ms: 60_000 }))
///     .needs("audit", Need::conditional(|cx| Ok(cx.get::<u32>("findings")?.unwrap_or(0) > 0)));
/// # let _ = state;
/// ```
#[derive(Clone)]
#[must_use]
pub struct Need {
    pub(super) kind: NeedKind,
    pub(super) lifecycle: Lifecycle,
    pub(super) condition: Option<Condition>,
}

impl Need {
    fn of(kind: NeedKind) -> Self {
        Self { kind, lifecycle: Lifecycle::Once, condition: None }
    }

    /// It must have completed; without that the state is skipped.
    pub fn required() -> Self {
        Self::of(NeedKind::Required)
    }

    /// It is waited for if it is under way.
    pub fn optional() -> Self {
        Self::of(NeedKind::Optional)
    }

    /// It is not waited for; the need is only drawn.
    pub fn parallel() -> Self {
        Self::of(NeedKind::Parallel)
    }

    /// It must have ended, well or not.
    pub fn sequential() -> Self {
        Self::of(NeedKind::Sequential)
    }

    /// It must have ended, and the condition must hold then; else the state is skipped. The condition is asked once, when
    /// everything else is met. It only looks: what it writes to the context, or adds, is not kept.
    pub fn conditional(
        condition: impl Fn(&Context) -> Result<bool, StepError> + Send + Sync + 'static,
    ) -> Self {
        Self { condition: Some(handler::looks(condition)), ..Self::of(NeedKind::Conditional) }
    }

    /// As [`Need::conditional`], with a condition that waits for others. As with [`State::cooperative`](crate::State), it is
    /// not dropped when it should end early.
    pub fn conditional_on<F, Fut>(condition: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<bool, StepError>> + Send + 'static,
    {
        Self { condition: Some(handler::cooperative(condition)), ..Self::of(NeedKind::Conditional) }
    }

    /// It must have ended, or so much time must have passed.
    pub fn timeout(time: Duration) -> Self {
        Self::of(NeedKind::Timeout { timeout_ms: millis(time) })
    }

    /// One of all needs of this kind must have completed, or have failed under [`OnFailure::Continue`](crate::OnFailure).
    ///
    /// ```
    /// use stepwell::{Context, Need, Next, State};
    ///
    /// // Begins when the first of the two has found something, and `licence` has completed.
    /// let state = State::new("show", |_: Context| async { Ok(Next::done()) })
    ///     .needs("search_web", Need::or())
    ///     .needs("search_files", Need::or())
    ///     .needs("licence", Need::required());
    /// # let _ = state;
    /// ```
    pub fn or() -> Self {
        Self::of(NeedKind::Or)
    }

    /// Exactly one of all needs of this kind must have completed, when all have ended. One that failed has not, whatever
    /// its [`OnFailure`](crate::OnFailure) says.
    pub fn xor() -> Self {
        Self::of(NeedKind::Xor)
    }

    /// Says which completions count; by default any in this run.
    pub fn lifecycle(mut self, lifecycle: Lifecycle) -> Self {
        self.lifecycle = lifecycle;
        self
    }
}

impl fmt::Debug for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Need")
            .field("kind", &self.kind)
            .field("lifecycle", &self.lifecycle)
            .finish_non_exhaustive()
    }
}
