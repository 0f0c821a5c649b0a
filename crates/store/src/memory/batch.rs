//! Committing a batch: checked first, then applied as a whole.

use std::collections::BTreeSet;

use foldhash::HashMap;
use stepwell_core::ids::{RunId, Seq, Timestamp};
use stepwell_core::run::command::TimerKey;

use super::state::{State, StoredRun};
use crate::error::CommitError;
use crate::model::{
    Base, Batch, Committed, LazyEvent, LeaseRef, Revision, RunRow, TimerChange, WaitChange, WorkChange,
};

impl State {
    pub(super) fn commit(&mut self, batch: Batch) -> Result<Committed, CommitError> {
        self.check(&batch)?;
        if let Base::New(new) = &batch.base {
            let workflow = &new.workflow;
            let digest = workflow.digest().to_owned();
            self.definitions.entry(digest.clone()).or_insert_with(|| workflow.to_json_text().into());
            let row = RunRow {
                run: batch.run.clone(),
                workflow: workflow.name().to_owned(),
                version: workflow.version().to_owned(),
                digest,
                metadata: new.metadata.clone(),
                parent: new.parent.clone(),
                root: new.root.clone(),
                created_at: batch.at,
                updated_at: batch.at,
                state: batch.row.clone(),
                revision: Revision::default(),
                seq: Seq(0),
            };
            self.by_creation.insert((batch.at, batch.run.clone()));
            let stored = StoredRun {
                row,
                journal: Vec::new(),
                committed: Vec::new(),
                commands: HashMap::default(),
                work: HashMap::default(),
                timers: HashMap::default(),
                snapshot: None,
            };
            self.runs.insert(batch.run.clone(), stored);
        }
        for lazy in batch.lazy {
            self.append_if_held(lazy);
        }
        let run = self.runs.get_mut(&batch.run).expect("it was checked or made above");
        for lease in batch.answered.iter().chain(&batch.lost) {
            self.leases.remove(run, &lease.execution);
        }
        for event in batch.events {
            run.append(batch.at, event);
        }
        let number = run.row.revision.number + 1;
        run.row.revision = Revision { number, batch: batch.id };
        run.row.state = batch.row;
        run.row.updated_at = batch.at;
        let committed = Committed { revision: run.row.revision, seq: run.row.seq };
        run.committed.push(committed);
        for id in batch.commands {
            run.commands.insert(id, committed.seq);
        }
        for change in batch.work {
            self.leases.change(run, batch.at, change);
        }
        for change in batch.timers {
            change_timer(&mut self.timers, run, change);
        }
        for change in batch.waits {
            match change {
                WaitChange::Open(row) => {
                    self.waits.insert(row.wait.clone(), *row);
                }
                WaitChange::Close { wait, state, by } => {
                    if let Some(row) = self.waits.get_mut(&wait) {
                        row.state = state;
                        row.closed_by = by;
                        row.closed_at = Some(batch.at);
                    }
                }
            }
        }
        for message in batch.outbox {
            self.next_message += 1;
            self.outbox.insert(self.next_message, (batch.run.clone(), message));
        }
        for id in batch.delivered {
            self.outbox.remove(&id);
        }
        Ok(committed)
    }

    fn check(&self, batch: &Batch) -> Result<(), CommitError> {
        let stored = self.runs.get(&batch.run);
        match (&batch.base, stored) {
            (Base::New(_), Some(_)) => return Err(CommitError::Exists(batch.run.clone())),
            (Base::New(_), None) => {}
            (Base::On(_), None) => return Err(CommitError::NotFound(batch.run.clone())),
            (Base::On(given), Some(stored)) if *given != stored.row.revision => {
                return Err(CommitError::Stale {
                    run: batch.run.clone(),
                    given: *given,
                    current: stored.row.revision,
                });
            }
            (Base::On(_), Some(_)) => {}
        }
        if let Some(stored) = stored {
            self.check_answers(batch, stored)?;
        }
        let gone = batch.work.iter().find_map(|change| match change {
            WorkChange::HandOver(_, session) => {
                Some(*session).filter(|session| !self.leases.is_alive(*session))
            }
            WorkChange::Put(_) | WorkChange::Remove(_) => None,
        });
        gone.map_or(Ok(()), |session| Err(CommitError::SessionGone(session)))
    }

    fn check_answers(&self, batch: &Batch, stored: &StoredRun) -> Result<(), CommitError> {
        if let Some((id, seq)) = batch.commands.iter().find_map(|id| Some((id, stored.commands.get(id)?))) {
            return Err(CommitError::Repeated { run: batch.run.clone(), id: id.clone(), seq: *seq });
        }
        let is_lost = |lease: &LeaseRef| {
            stored.standing(lease).map(|work| work.is_stray || !self.leases.is_alive(lease.session))
        };
        let unanswerable = batch.answered.iter().find(|lease| is_lost(lease) != Some(false));
        if let Some(lease) = unanswerable.or_else(|| batch.lost.iter().find(|l| is_lost(l) != Some(true))) {
            return Err(CommitError::LeaseLost {
                run: batch.run.clone(),
                execution: lease.execution.clone(),
            });
        }
        Ok(())
    }

    pub(super) fn append_if_held(&mut self, lazy: LazyEvent) {
        if let Some(run) = self.runs.get_mut(&lazy.run)
            && run.standing(&lazy.lease).is_some()
        {
            run.append(lazy.at, lazy.event);
        }
    }
}

fn change_timer(
    timers: &mut BTreeSet<(Timestamp, RunId, TimerKey)>,
    run: &mut StoredRun,
    change: TimerChange,
) {
    let (key, at) = match change {
        TimerChange::Put(key, at) => (key, Some(at)),
        TimerChange::Remove(key) => (key, None),
    };
    let id = &run.row.run;
    if let Some(before) = run.timers.remove(&key) {
        timers.remove(&(before, id.clone(), key.clone()));
    }
    if let Some(at) = at {
        timers.insert((at, id.clone(), key.clone()));
        run.timers.insert(key, at);
    }
}
