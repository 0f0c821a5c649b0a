//! What really happened, written down by those it happened to: what clients asked and were told, what attempts were
//! carried out, which sessions died when. Held against the journals in the end.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, Seq, WaitId};

/// A request of a client.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ask {
    Start(RunId),
    Answer { run: RunId, wait: WaitId, value: Value },
    Signal { run: RunId, name: String, id: String },
    Pause(RunId),
    Resume(RunId),
    Cancel(RunId),
    Retry(RunId),
}

/// What a client was told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// Nothing: it went away, or still waits.
    Nothing,
    /// It was taken.
    Taken,
    /// It does not fit the run.
    Refused(ErrorObject),
    /// The store failed.
    Failed,
}

impl Told {
    pub(super) fn of<T>(outcome: Result<T, ErrorObject>) -> Self {
        match outcome {
            Ok(_) => Self::Taken,
            Err(error) => match error.code {
                Code::PERSISTENCE_CONNECTION_FAILED
                | Code::PERSISTENCE_TRANSACTION_FAILED
                | Code::SYSTEM_SHUTDOWN => Self::Failed,
                _ => Self::Refused(error),
            },
        }
    }
}

/// A request and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) ask: Ask,
    pub(super) told: Told,
    /// When it was made and when its client was told, as a count of both.
    pub(super) began: u64,
    pub(super) ended: u64,
}

/// An attempt, as its provider saw it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    pub(super) run: RunId,
    pub(super) step: String,
    pub(super) ordinal: u32,
    pub(super) number: u32,
}

/// A session that was judged dead, and how far each journal had come.
#[derive(Clone, Debug)]
pub(super) struct Death {
    pub(super) session: u64,
    pub(super) ends: HashMap<RunId, Seq>,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) asks: Vec<Asked>,
    /// Attempts that were begun, with the process that did.
    pub(super) begun: Vec<(Attempt, usize)>,
    /// Attempts that were carried out to the end, by what they returned.
    pub(super) done: HashMap<u64, Attempt>,
    /// Results of `once` that were recorded.
    pub(super) recorded: HashSet<(RunId, String, u32)>,
    pub(super) deaths: Vec<Death>,
    /// Which process opened a session.
    pub(super) sessions: HashMap<u64, usize>,
    /// For people, when something is wrong.
    pub(super) story: Vec<String>,
    /// Promises that were seen broken where nobody could fail for it.
    pub(super) broken: Vec<String>,
    numbers: u64,
}

impl Book {
    fn next(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Book>);

impl Ledger {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        // A check that fails while it reads must not hide behind a poisoned lock.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn tell(&self, line: String) {
        self.book().story.push(line);
    }

    pub(super) fn broken(&self, what: String) {
        self.book().broken.push(what);
    }

    /// Writes down a request before it is made; [`Ledger::told`] says what came of it.
    pub(super) fn asked(&self, ask: Ask) -> usize {
        let mut book = self.book();
        let began = book.next();
        book.asks.push(Asked { ask, told: Told::Nothing, began, ended: u64::MAX });
        book.asks.len() - 1
    }

    pub(super) fn told(&self, number: usize, told: Told) {
        let mut book = self.book();
        let ended = book.next();
        let asked = &mut book.asks[number];
        (asked.told, asked.ended) = (told, ended);
    }

    pub(super) fn began(&self, attempt: Attempt, process: usize) {
        self.book().begun.push((attempt, process));
    }

    /// Writes down that an attempt is about to return; the number is its own.
    pub(super) fn done(&self, attempt: Attempt) -> u64 {
        let mut book = self.book();
        let number = book.next();
        book.done.insert(number, attempt);
        number
    }
}
