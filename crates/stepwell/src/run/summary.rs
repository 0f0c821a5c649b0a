//! Runs as they are listed.

use std::time::SystemTime;

use serde_json::{Map, Value};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::RunId;
use stepwell_core::status::{PauseReason, RunStatus};
use stepwell_store::RunRow;

use crate::context::system_time;

/// A run as it is listed; [`Client::runs`](crate::Client::runs) returns them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RunSummary {
    /// Its id.
    pub run_id: RunId,
    /// The agent or workflow that it is a run of.
    pub workflow: String,
    /// Which version of it: a hash of what it declares.
    pub version: String,
    /// How it stands.
    pub status: RunStatus,
    /// Why it is paused, if it is: somebody paused it, or only people and signals can move it.
    pub pause_reason: Option<PauseReason>,
    /// Its tags.
    pub metadata: Map<String, Value>,
    /// The run that began it, if one did.
    pub parent: Option<RunId>,
    /// What ended it, unless it completed.
    pub error: Option<ErrorObject>,
    /// When it was created.
    pub created_at: SystemTime,
    /// When a status or an outcome of it changed last.
    pub updated_at: SystemTime,
    /// When it began.
    pub started_at: Option<SystemTime>,
    /// When it ended.
    pub finished_at: Option<SystemTime>,
}

impl From<RunRow> for RunSummary {
    fn from(row: RunRow) -> Self {
        Self {
            run_id: row.run,
            workflow: row.workflow,
            version: row.version,
            status: row.state.status,
            pause_reason: row.state.pause_reason,
            metadata: row.metadata,
            parent: row.parent,
            error: row.state.error,
            created_at: system_time(row.created_at),
            updated_at: system_time(row.updated_at),
            started_at: row.state.started_at.map(system_time),
            finished_at: row.state.finished_at.map(system_time),
        }
    }
}
