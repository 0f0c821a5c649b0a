//! `Signal`: something happened outside. Queued by name, once per id, and taken by the first wait for it. The same
//! id with another value is no repetition but a mistake, and refused.

use super::{Refusal, Turn};
use crate::ids::{WaitId, digest_of};
use crate::run::event::{Event, Payload};
use crate::run::wait::{Resolution, WaitKind};

impl Turn<'_> {
    pub(super) fn signal(&mut self, name: &str, id: &str, value: &Payload) -> Result<(), Refusal> {
        if let Some(known) = self.run.signal_ids.get(&(name.to_owned(), id.to_owned())) {
            if *known == digest_of(value) {
                return Ok(());
            }
            let message = format!("run {} has signal '{name}' {id} with another value", self.run.id());
            return Err(self.refuse("signal_exists", message).with_hint("give each signal an id of its own"));
        }
        self.refuse_terminal("signalled")?;
        self.emit(Event::SignalReceived { name: name.to_owned(), id: id.to_owned(), value: value.clone() });
        if let Some(wait) = self.first_wait_for(name) {
            self.finish_wait(&wait, Resolution::Signalled { id: id.to_owned(), value: value.clone() });
        }
        Ok(())
    }

    fn first_wait_for(&self, signal: &str) -> Option<WaitId> {
        self.run
            .waits
            .iter()
            .filter(|(_, wait)| wait.resolution.is_none() && !wait.has_expired(self.at))
            .filter(|(_, wait)| matches!(&wait.spec.kind, WaitKind::Signal { name } if name == signal))
            .min_by_key(|(id, wait)| (wait.opened_at, wait.execution, wait.spec.position, (*id).clone()))
            .map(|(id, _)| id.clone())
    }
}
