//! Not all at once: `name` begins so many lanes, and a lane comes to `name/next` for one item or branch after the other,
//! until none is left and it goes to `name/join`. An item that has ended so lets the next begin, whoever it is.
//!
//! Which item a lane is given, nobody has to count: the executions of `name/next` are numbered by the run, one by one. What of
//! them there was before this map or fork began, in an earlier round of a loop, its first lane knows.

use stepwell_core::run::event::{Payload, Target};

use super::stage::{Work, ended, work};
use crate::context::Context;
use crate::error::StepError;

/// What the step is called that lanes come to.
pub(super) const NEXT: &str = "next";

/// Returns where a fork leads that has so much to begin.
pub(super) fn lanes(next: &str, count: usize, at_once: u32) -> Vec<Target> {
    let lanes = u64::from(at_once).min(count as u64);
    (0..lanes).map(|lane| Target { payload: Some(Payload::new(lane.into())), ..Target::to(next) }).collect()
}

/// Returns what gives each lane the next of what the part of that path begins, as long as there is one.
pub(super) fn gives_out(
    path: &str,
    join: &str,
    begin: impl Fn(&Context, usize) -> Result<Option<Target>, StepError> + Send + Sync + 'static,
) -> Work {
    let (before, join) = (kept(path, "before"), Target::to(join));
    work(move |cx, lane| {
        let so_far = u64::from(cx.ordinal()) - 1;
        let known = cx.kept_below(&before).any().and_then(|given| given.as_u64());
        let given_before = match known {
            Some(given) => given,
            // The lanes begin in one commit, and so one behind the other.
            None => lane.as_u64().and_then(|lane| so_far.checked_sub(lane)).ok_or_else(lost)?,
        };
        if known.is_none() {
            // Each lane on its own, or their equal writes would be told as a conflict.
            cx.keep(&format!("{before}/{}", *lane), Some(Payload::new(given_before.into())))?;
        }
        let number = so_far.saturating_sub(given_before);
        let to = begin(&cx, usize::try_from(number).unwrap_or(usize::MAX))?;
        Ok(ended(number.into(), vec![to.unwrap_or_else(|| join.clone())]))
    })
}

fn lost() -> StepError {
    StepError::never_again("how many there were before is not kept any more")
}

/// Returns where a part of that path keeps something for its lanes. No branch has such a name.
pub(super) fn kept(path: &str, what: &str) -> String {
    format!("{path}/${what}")
}
