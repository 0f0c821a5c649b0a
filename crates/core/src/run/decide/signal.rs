//! `Signal`: something happened outside. Queued by name, once per id, and taken by the first wait for it.

use super::{Refusal, Turn};
use crate::ids::WaitId;
use crate::run::event::{Event, Payload};
use crate::run::wait::{Resolution, WaitKind};

impl Turn<'_> {
    pub(super) fn signal(&mut self, name: &str, id: &str, value: &Payload) -> Result<(), Refusal> {
        if self.run.signal_ids.contains(&(name.to_owned(), id.to_owned())) {
            return Ok(());
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
            .min_by_key(|(id, wait)| (wait.opened_at, (*id).clone()))
            .map(|(id, _)| id.clone())
    }
}
