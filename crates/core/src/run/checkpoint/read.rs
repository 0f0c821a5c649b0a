//! Reading what may have been cut off, edited or written by something else: each member is looked at on its own, so that
//! the one is named that is wrong.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Checkpoint, invalid};
use crate::error::ErrorObject;
use crate::nesting::{MAX_NESTING, is_deeper};

/// Reads a checkpoint that came as a value.
pub(super) fn of_value(value: Value) -> Result<Checkpoint, ErrorObject> {
    let Value::Object(members) = value else { return Err(invalid("it is no JSON object")) };
    Checkpoint::try_from(members)
}

impl TryFrom<Map<String, Value>> for Checkpoint {
    type Error = ErrorObject;

    fn try_from(members: Map<String, Value>) -> Result<Self, ErrorObject> {
        let mut members = Members(members);
        let schema_version = members.one("schema_version")?;
        if schema_version != Self::SCHEMA_VERSION {
            let own = Self::SCHEMA_VERSION;
            return Err(invalid(format!(
                "`schema_version` is {schema_version}, and this version reads {own}"
            ))
            .with("member", "schema_version"));
        }
        Ok(Self {
            schema_version,
            run_id: members.one("run_id")?,
            seq: members.one("seq")?,
            epoch: members.one("epoch")?,
            timestamp: members.one("timestamp")?,
            agent_name: members.one("agent_name")?,
            agent_status: members.one("agent_status")?,
            pause_reason: members.one("pause_reason")?,
            definition: members.one("definition")?,
            definition_hash: members.one("definition_hash")?,
            completed_states: members.list("completed_states")?,
            running_states: members.list("running_states")?,
            priority_queue: members.list("priority_queue")?,
            state_metadata: members.one("state_metadata")?,
            shared_state: members.one("shared_state")?,
            types: members.one("types")?,
            executions: members.list("executions")?,
            tokens: members.list("tokens")?,
            waits: members.list("waits")?,
            timers: members.list("timers")?,
            failures: members.list("failures")?,
            session_start: members.one("session_start")?,
            metadata: members.one("metadata")?,
            input: members.one("input")?,
            entry: members.one("entry")?,
            added_states: members.list("added_states")?,
            tick: members.one("tick")?,
            started_at: members.one("started_at")?,
            routed: members.one("routed")?,
            signals: members.list("signals")?,
            failed_by: members.one("failed_by")?,
            undoing: members.one("undoing")?,
        })
    }
}

struct Members(Map<String, Value>);

impl Members {
    fn one<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, ErrorObject> {
        read(name, self.take(name)?)
    }

    fn list<T: DeserializeOwned>(&mut self, name: &str) -> Result<Vec<T>, ErrorObject> {
        let items: Vec<Value> = self.one(name)?;
        items.into_iter().enumerate().map(|(i, item)| read(&format!("{name}[{i}]"), item)).collect()
    }

    fn take(&mut self, name: &str) -> Result<Value, ErrorObject> {
        let value = self.0.get_mut(name).map(Value::take);
        let value = value.ok_or_else(|| invalid(format!("`{name}` is missing")).with("member", name))?;
        // Values of the run lie some levels deep in their member.
        if is_deeper(&value, MAX_NESTING + 6) {
            return Err(invalid(format!("`{name}` is nested too deep")).with("member", name));
        }
        Ok(value)
    }
}

fn read<T: DeserializeOwned>(member: &str, value: Value) -> Result<T, ErrorObject> {
    serde_json::from_value(value)
        .map_err(|error| invalid(format!("`{member}`: {error}")).with("member", member))
}
