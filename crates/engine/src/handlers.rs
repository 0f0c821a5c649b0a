//! Who carries out what in an engine: the registry it was opened with, and the functions added since.

use std::collections::HashMap;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use crate::provider::{Provider, Registry, function_handler};

pub(crate) struct Handlers {
    opened_with: Registry,
    /// By handler; they go before those of the registry.
    added: RwLock<HashMap<String, Arc<dyn Provider>>>,
}

impl Handlers {
    pub(crate) fn new(opened_with: Registry) -> Self {
        Self { opened_with, added: RwLock::default() }
    }

    pub(crate) fn opened_with(&self) -> &Registry {
        &self.opened_with
    }

    pub(crate) fn add(&self, workflow: &str, step: &str, function: Arc<dyn Provider>) {
        let mut added = self.added.write().expect("no panic happens under this lock");
        added.insert(function_handler(workflow, step), function);
    }

    /// Returns who carries out work of that handler.
    pub(crate) fn get(&self, handler: &str) -> Option<Arc<dyn Provider>> {
        self.added().get(handler).or_else(|| self.opened_with.get(handler)).cloned()
    }

    /// Returns the names that leases are asked for.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = self.opened_with.handlers();
        names.extend(self.added().keys().filter(|name| self.opened_with.get(name).is_none()).cloned());
        names
    }

    pub(crate) async fn shutdown(&self) {
        self.opened_with.shutdown().await;
        let added: Vec<_> = self.added().values().cloned().collect();
        for function in added {
            function.shutdown().await;
        }
    }

    fn added(&self) -> RwLockReadGuard<'_, HashMap<String, Arc<dyn Provider>>> {
        self.added.read().expect("no panic happens under this lock")
    }
}
