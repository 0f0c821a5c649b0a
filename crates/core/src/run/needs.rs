//! When the needs of a step are met: the table of spec/fluffy.md §3.

use super::{NeedsState, Run};
use crate::ids::{StepName, Timestamp};
use crate::run::event::SkipReason;
use crate::status::ExecutionStatus;
use crate::workflow::StepIx;
use crate::workflow::definition::{Lifecycle, Need, NeedKind, OnFailure};

/// No single need is known to stand in the way: every change must be looked at.
pub(super) const ANY_NEED: u32 = u32::MAX;

/// The cursor of a step whose needs are asked anew.
pub(super) fn any_need() -> u32 {
    ANY_NEED
}

/// What the needs of a step say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may start.
    Met,
    /// All are met but the predicate of a conditional one has not spoken.
    Judge,
    /// Not yet. The position of a need that is not met, or [`ANY_NEED`].
    Wait(u32),
    /// Never: the execution is skipped.
    Skip { reason: SkipReason, behind: Vec<StepName> },
}

/// Which needed steps that are not there will not come either.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lost<'a> {
    /// None is known to be lost.
    Nothing,
    /// Those that no live token can come to.
    These(&'a [StepIx]),
    /// All: nothing else in the run can move.
    Everything,
}

impl Lost<'_> {
    fn holds(self, needed: StepIx) -> bool {
        match self {
            Self::Nothing => false,
            Self::These(steps) => steps.contains(&needed),
            Self::Everything => true,
        }
    }
}

/// How a needed step stands, as far as a need cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A completion counts and nothing of it is live.
    Completed,
    /// Failed, and `continue` makes up for it.
    Accepted,
    /// Failed, timed out or cancelled, and `continue` does not make up for it.
    Failed,
    /// Skipped because of a failure.
    SkippedByFailure,
    /// Skipped without a failure.
    Skipped,
    /// Nothing can activate it any more.
    Gone,
    /// It may still come.
    Possible,
    /// A token or live execution is there.
    Active,
}

/// Returns what one need of that kind says: `Some(true)` met, `Some(false)` never, `None` not yet.
/// Not for `or` and `xor`, which speak together.
pub(super) fn one(kind: NeedKind, standing: Standing, timed_out: bool) -> Option<bool> {
    use Standing::{Accepted, Active, Completed, Failed, Gone, Possible, Skipped, SkippedByFailure};
    match (kind, standing) {
        (NeedKind::Parallel, _) => Some(true),
        (NeedKind::Required | NeedKind::And, Completed | Accepted) => Some(true),
        (NeedKind::Required | NeedKind::And, Failed | SkippedByFailure | Skipped | Gone) => Some(false),
        (NeedKind::Required | NeedKind::And, Possible | Active) => None,
        (NeedKind::Optional, Active) => None,
        (NeedKind::Optional, _) => Some(true),
        (NeedKind::Sequential | NeedKind::Conditional, Possible | Active) => None,
        (NeedKind::Sequential | NeedKind::Conditional, _) => Some(true),
        (NeedKind::Timeout { .. }, Possible | Active) => timed_out.then_some(true),
        (NeedKind::Timeout { .. }, _) => Some(true),
        (NeedKind::Or | NeedKind::Xor, _) => unreachable!("or and xor are asked together"),
    }
}

/// Returns what all `or` needs of a step say together.
pub(super) fn any_of(standings: &[Standing]) -> Option<bool> {
    if standings.iter().any(|s| matches!(s, Standing::Completed | Standing::Accepted)) {
        return Some(true);
    }
    let open = standings.iter().any(|s| matches!(s, Standing::Possible | Standing::Active));
    (!open).then_some(false)
}

/// Returns what all `xor` needs of a step say together. They ask which one completed, so that a failure is none, also
/// where `continue` makes up for it.
pub(super) fn one_of(standings: &[Standing]) -> Option<bool> {
    if standings.iter().any(|s| matches!(s, Standing::Possible | Standing::Active)) {
        return None;
    }
    Some(standings.iter().filter(|s| **s == Standing::Completed).count() == 1)
}

impl Run {
    /// Returns what the needs of `step` say. `judged`: what its predicate said. `lost`: what is not
    /// active and will not come. `from`: needs before it are known to be met.
    pub(super) fn verdict(
        &self,
        step: StepIx,
        judged: Option<bool>,
        at: Timestamp,
        lost: Lost<'_>,
        from: u32,
    ) -> Verdict {
        let needs = &self.workflow.step(step).needs;
        let mut waiting = None;
        let mut reason = None;
        let mut behind = Vec::new();
        let mut groups: [Vec<Standing>; 2] = Default::default();
        let mut conditional = false;
        for (position, need) in needs.iter().enumerate().skip(from as usize) {
            let Some(needed) = self.workflow.find(need.step.as_str()) else { continue };
            let standing = self.standing(step, needed, need, at, lost);
            match need.kind {
                NeedKind::Or => groups[0].push(standing),
                NeedKind::Xor => groups[1].push(standing),
                kind => {
                    conditional |= kind == NeedKind::Conditional;
                    let timed_out = self.steps[step.at()].timed_out_needs.contains(&needed);
                    match one(kind, standing, timed_out) {
                        Some(true) => {}
                        Some(false) => {
                            reason = stronger(reason, skip_reason(standing));
                            behind.push(need.step.clone());
                        }
                        // Asked from a cursor, the needs after it are asked when its own is met.
                        None if from > 0 => return Verdict::Wait(position as u32),
                        None if waiting.is_none() => waiting = Some(position as u32),
                        None => {}
                    }
                }
            }
        }
        let [or, xor] = groups;
        let together = [(NeedKind::Or, &or, any_of(&or)), (NeedKind::Xor, &xor, one_of(&xor))];
        for (kind, standings, verdict) in together.into_iter().filter(|(_, all, _)| !all.is_empty()) {
            match verdict {
                Some(true) => {}
                Some(false) => {
                    let of_kind = needs.iter().filter(|need| need.kind == kind);
                    behind.extend(of_kind.map(|need| need.step.clone()));
                    let worst = standings.iter().map(|s| skip_reason(*s)).fold(None, stronger);
                    reason = stronger(reason, worst.unwrap_or(SkipReason::NeedSkipped));
                }
                None => waiting = waiting.or(Some(ANY_NEED)),
            }
        }
        if let Some(reason) = reason {
            return Verdict::Skip { reason, behind };
        }
        if let Some(position) = waiting {
            return Verdict::Wait(position);
        }
        match judged {
            None if conditional => Verdict::Judge,
            Some(false) => Verdict::Skip { reason: SkipReason::ConditionFalse, behind },
            _ => Verdict::Met,
        }
    }

    fn standing(&self, of: StepIx, needed: StepIx, need: &Need, at: Timestamp, lost: Lost<'_>) -> Standing {
        let state = &self.steps[needed.at()];
        if state.live > 0 || self.tokens.has_arrived_at(needed) {
            return Standing::Active;
        }
        if state.completions > 0 && self.counts(of, needed, need.lifecycle, at) {
            return Standing::Completed;
        }
        let latest = self.latest(needed);
        let accepted = self.workflow.step(needed).on_failure == OnFailure::Continue;
        match latest.map(|execution| (execution.status, execution)) {
            // Its compensation goes on: the policy of the failure has not taken effect.
            Some((status, failed)) if status.is_failure() && failed.has_token => Standing::Active,
            Some((status, _)) if status.is_failure() && state.completions == 0 => {
                if accepted {
                    Standing::Accepted
                } else {
                    Standing::Failed
                }
            }
            Some((ExecutionStatus::Cancelled, _)) if state.completions == 0 => Standing::Failed,
            Some((ExecutionStatus::Skipped, _)) if matches!(state.needs, NeedsState::Waiting { .. }) => {
                Standing::Possible
            }
            Some((ExecutionStatus::Skipped, execution)) if execution.error.is_some() => {
                Standing::SkippedByFailure
            }
            Some((ExecutionStatus::Skipped, _)) => Standing::Skipped,
            _ if lost.holds(needed) && !matches!(state.needs, NeedsState::Waiting { .. }) => Standing::Gone,
            _ => Standing::Possible,
        }
    }

    /// Returns whether a step can never start because one that it requires is gone: `or` and `xor` look for
    /// another way first, and the step is skipped if there is none.
    pub(super) fn requires_what_is_gone(&self, step: StepIx, at: Timestamp, lost: Lost<'_>) -> bool {
        let needs = &self.workflow.step(step).needs;
        let required = needs.iter().filter(|need| matches!(need.kind, NeedKind::Required | NeedKind::And));
        required
            .filter_map(|need| Some((self.workflow.find(need.step.as_str())?, need)))
            .any(|(needed, need)| self.standing(step, needed, need, at, lost) == Standing::Gone)
    }

    /// Returns whether a needed step is not there but may still come.
    pub(super) fn is_possible(&self, of: StepIx, needed: StepIx, need: &Need, at: Timestamp) -> bool {
        self.standing(of, needed, need, at, Lost::Nothing) == Standing::Possible
    }

    fn counts(&self, of: StepIx, needed: StepIx, lifecycle: Lifecycle, at: Timestamp) -> bool {
        let done = &self.steps[needed.at()];
        match lifecycle {
            Lifecycle::Once => true,
            Lifecycle::Always => done.completed_tick > self.steps[of.at()].started_tick,
            Lifecycle::Session => done.completed_tick > self.session_tick,
            Lifecycle::Temporary { expiry_ms } => at < done.completed_at.plus_ms(expiry_ms),
        }
    }
}

fn skip_reason(standing: Standing) -> SkipReason {
    match standing {
        Standing::Failed | Standing::Accepted | Standing::SkippedByFailure => SkipReason::UpstreamFailed,
        Standing::Skipped | Standing::Completed => SkipReason::NeedSkipped,
        Standing::Gone | Standing::Possible | Standing::Active => SkipReason::NeedsUnmet,
    }
}

/// A failure explains a skip better than anything else does, and a skip better than nothing.
fn stronger(a: Option<SkipReason>, b: impl Into<Option<SkipReason>>) -> Option<SkipReason> {
    let rank = |reason: &SkipReason| match reason {
        SkipReason::UpstreamFailed => 3,
        SkipReason::NeedSkipped => 2,
        SkipReason::NeedsUnmet => 1,
        SkipReason::Condition | SkipReason::ConditionFalse => 0,
    };
    [a, b.into()].into_iter().flatten().max_by_key(rank)
}
