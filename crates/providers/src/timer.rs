//! `timer/v1`: durable time. The step holds nothing while it waits and survives any restart.

use async_trait::async_trait;
use serde_json::Value;
use stepwell_core::run::wait::{WaitKind, WaitSpec};
use stepwell_engine::{Outcome, Param, ParamProblem, Provider, Task};

use crate::moment;
use crate::params::{self, Kind, Table};

/// Lets time pass.
#[derive(Debug, Default)]
pub struct Timer;

const SLEEP: &Table = &[("seconds", Kind::Seconds, true, "how long")];
const WAIT_UNTIL: &Table = &[("until", Kind::Date, true, "until when; a time in the past goes on at once")];

fn table(method: &str) -> &'static Table {
    if method == "timer/sleep" { SLEEP } else { WAIT_UNTIL }
}

#[async_trait]
impl Provider for Timer {
    fn methods(&self) -> Vec<&'static str> {
        vec!["timer/sleep", "timer/wait_until"]
    }

    fn result_keys(&self, _method: &str) -> &'static [&'static str] {
        &["result", "due_at", "fired_at"]
    }

    fn params(&self, method: &str) -> Option<Vec<Param>> {
        Some(params::described(table(method)))
    }

    fn check(&self, method: &str, params: &Value) -> Vec<ParamProblem> {
        params::check(params, table(method))
    }

    async fn execute(&self, task: Task) -> Outcome {
        if let Err(error) = params::require(&task, table(&task.method)) {
            return error.into();
        }
        let name = if task.method == "timer/sleep" { "seconds" } else { "until" };
        Outcome::Suspend(vec![WaitSpec {
            deadline: moment::given(&task, name),
            ..WaitSpec::step(WaitKind::Timer)
        }])
    }
}
