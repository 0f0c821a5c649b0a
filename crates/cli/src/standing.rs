//! How a run stands, in the words of people: `paused` is what an operator did; what waits for somebody says for whom.

use stepwell_core::error::ErrorObject;
use stepwell_core::status::{PauseReason, RunStatus};

use crate::values::statuses;

const WAITING: &str = "waiting";

/// Returns the word for a run in a list.
pub(crate) fn in_a_word(status: RunStatus, reason: Option<PauseReason>) -> &'static str {
    match (status, reason) {
        (RunStatus::Paused, Some(PauseReason::Input)) => WAITING,
        _ => status.as_str(),
    }
}

/// Reads the words of `--status`: those of [`RunStatus`], and the one for runs that wait for somebody. The reason is that
/// of the paused ones among them.
pub(crate) fn read(words: &[String]) -> Result<(Vec<RunStatus>, Option<PauseReason>), ErrorObject> {
    let (waiting, others): (Vec<_>, Vec<_>) =
        words.iter().cloned().partition(|word| word.eq_ignore_ascii_case(WAITING));
    let mut status = statuses(&others)
        .map_err(|error| error.with_hint("`waiting` are those that wait for an answer or a signal"))?;
    if waiting.is_empty() || status.contains(&RunStatus::Paused) {
        return Ok((status, None));
    }
    status.push(RunStatus::Paused);
    Ok((status, Some(PauseReason::Input)))
}

/// Returns how a run stands whose open waits are of these kinds.
pub(crate) fn in_words<'k>(
    status: RunStatus,
    reason: Option<PauseReason>,
    kinds: impl Iterator<Item = &'k str>,
) -> &'static str {
    if in_a_word(status, reason) != WAITING {
        return status.as_str();
    }
    let (mut human, mut signal) = (false, false);
    for kind in kinds {
        human |= kind == "human";
        signal |= kind == "signal";
    }
    match (human, signal) {
        (true, true) => "waiting for an answer or a signal",
        (true, false) => "waiting for an answer",
        (false, true) => "waiting for a signal",
        (false, false) => "waiting for input to a child run",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_operator_paused_is_paused() {
        let told = |reason, kinds: &[&str]| in_words(RunStatus::Paused, Some(reason), kinds.iter().copied());
        assert_eq!(told(PauseReason::Operator, &["human"]), "paused");
        assert_eq!(told(PauseReason::Input, &["child", "human"]), "waiting for an answer");
        assert_eq!(told(PauseReason::Input, &["signal"]), "waiting for a signal");
        assert_eq!(told(PauseReason::Input, &["human", "signal"]), "waiting for an answer or a signal");
        assert_eq!(told(PauseReason::Input, &["child"]), "waiting for input to a child run");
        assert_eq!(in_words(RunStatus::Running, None, ["timer"].into_iter()), "running");
    }
    #[test]
    fn waiting_is_a_part_of_what_is_paused() {
        let read = |words: &[&str]| read(&words.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        let input = Some(PauseReason::Input);
        assert_eq!(read(&[]), (vec![], None));
        assert_eq!(read(&["Waiting"]), (vec![RunStatus::Paused], input));
        assert_eq!(read(&["waiting", "failed"]), (vec![RunStatus::Failed, RunStatus::Paused], input));
        assert_eq!(read(&["waiting", "paused"]), (vec![RunStatus::Paused], None));
    }
}
