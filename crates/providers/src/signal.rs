//! `signal/v1`: a step that waits for a signal and ends with its value.

use async_trait::async_trait;
use serde_json::Value;
use stepwell_core::run::wait::{WaitKind, WaitSpec};
use stepwell_engine::{Outcome, Param, ParamProblem, Provider, Task};

use crate::params::{self, Kind, Table};

/// Waits for signals.
#[derive(Debug, Default)]
pub struct Signal;

const WAIT: &Table = &[
    ("name", Kind::Text, true, "which signal"),
    ("timeout", Kind::Seconds, false, "how long to wait"),
    (
        "default",
        Kind::Any,
        false,
        "stands in afterwards. Without it the step ends as `timed_out`, SIGNAL_TIMEOUT",
    ),
];

#[async_trait]
impl Provider for Signal {
    fn methods(&self) -> Vec<&'static str> {
        vec!["signal/wait"]
    }

    fn result_keys(&self, _method: &str) -> &'static [&'static str] {
        &["result", "signal_id", "defaulted"]
    }

    fn params(&self, _method: &str) -> Option<Vec<Param>> {
        Some(params::described(WAIT))
    }

    fn check(&self, _method: &str, params: &Value) -> Vec<ParamProblem> {
        params::check(params, WAIT)
    }

    async fn execute(&self, task: Task) -> Outcome {
        if let Err(error) = params::require(&task, WAIT) {
            return error.into();
        }
        let name = task.params["name"].as_str().unwrap_or_default().to_owned();
        let timeout = task.params.get("timeout").and_then(Value::as_f64);
        Outcome::Suspend(vec![WaitSpec {
            deadline: timeout.map(|seconds| task.report.now().plus_ms((seconds * 1_000.0).round() as u64)),
            default: task.params.get("default").cloned().map(std::sync::Arc::new),
            ..WaitSpec::step(WaitKind::Signal { name })
        }])
    }
}
