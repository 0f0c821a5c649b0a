//! Moments in parameters: seconds from now, or a date.

use serde_json::Value;
use stepwell_core::ids::Timestamp;
use stepwell_engine::Task;

use crate::params::LONGEST;

/// Reads seconds from now (at most 100 years), or an RFC 3339 time with its offset. None: it is neither.
pub(crate) fn moment(value: &Value, now: Timestamp) -> Option<Timestamp> {
    match value {
        Value::Number(number) => {
            let seconds = number.as_f64().filter(|seconds| (0.0..=LONGEST).contains(seconds))?;
            Some(now.plus_ms((seconds * 1_000.0).round() as u64))
        }
        other => date(other),
    }
}

/// Reads an RFC 3339 time with its offset.
pub(crate) fn date(value: &Value) -> Option<Timestamp> {
    let moment: jiff::Timestamp = value.as_str()?.parse().ok()?;
    Some(Timestamp(moment.as_microsecond()))
}

/// Reads a parameter that was found to be a moment; none if it was not given.
pub(crate) fn given(task: &Task, parameter: &str) -> Option<Timestamp> {
    moment(task.params.get(parameter)?, task.report.now())
}
