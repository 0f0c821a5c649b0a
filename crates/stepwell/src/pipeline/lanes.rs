//! Not all at once: `name` begins so many lanes, and a lane comes to `name/next` for one item or branch after the other,
//! until none is left and it goes to `name/join`. An item that has ended so lets the next begin, whoever it is.
//!
//! Which item a lane is given, nobody has to count: the executions of `name/next` are numbered by the run, one by one. How many
//! of them there were before, in earlier rounds of a loop, the lanes know by the numbers that they begin with.

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
    work(move |cx, _| {
        let so_far = u64::from(cx.ordinal()) - 1;
        let kept = |lane: u64| format!("{before}/{lane}");
        let given_before = if let Some(lane) = &cx.task().payload {
            // The lanes begin in one commit, and so one behind the other. Each keeps what it knows: equal writes to one key would
            // be told as a conflict.
            let lane = lane.as_u64().ok_or_else(lost)?;
            let given = so_far.checked_sub(lane).ok_or_else(lost)?;
            cx.keep(&kept(lane), Some(Payload::new(given.into())))?;
            given
        } else {
            let known = (0..so_far).find_map(|lane| cx.kept(&kept(lane))?.as_u64());
            known.ok_or_else(lost)?
        };
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
