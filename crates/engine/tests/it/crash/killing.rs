//! Processes that end themselves right before or right after one of their writes.

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::process;
use crate::hooked::Hooks;

/// Where a process ends itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kill {
    /// Before the n-th commit.
    Before(u32),
    /// After the n-th write: commits, and leases that found work.
    After(u32),
    /// In the first attempt of that step.
    In(String),
}

/// Counts the writes of a store, and kills the process at one of them.
#[derive(Debug)]
pub(super) struct Killer {
    kill: Option<Kill>,
    begun: AtomicU32,
    done: AtomicU32,
}

impl Killer {
    pub(super) fn new(kill: Option<Kill>) -> Self {
        Self { kill, begun: AtomicU32::new(0), done: AtomicU32::new(0) }
    }

    /// Returns how many commits were begun and how many writes done.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.begun.load(Ordering::SeqCst), self.done.load(Ordering::SeqCst))
    }

    fn written(&self) {
        let done = self.done.fetch_add(1, Ordering::SeqCst) + 1;
        if self.kill == Some(Kill::After(done)) {
            process::die();
        }
    }
}

#[async_trait]
impl Hooks for Killer {
    async fn before_commit(&self) {
        let begun = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        if self.kill == Some(Kill::Before(begun)) {
            process::die();
        }
    }

    async fn after_commit(&self) {
        self.written();
    }

    async fn after_lease(&self) {
        self.written();
    }
}
