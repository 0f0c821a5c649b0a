//! Who carries out what in an engine: the registry it was opened with, and the functions added since.

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::HashMap;
use stepwell_store::Handlers as Names;

use crate::provider::{Provider, Registry};

pub(crate) struct Handlers {
    opened_with: Registry,
    /// They go before those of the registry.
    added: RwLock<Functions>,
    /// What leases are asked for, until something is added.
    names: RwLock<Option<Arc<Names>>>,
}

/// By handler.
type Functions = HashMap<String, Arc<dyn Provider>>;

impl Handlers {
    pub(crate) fn new(opened_with: Registry) -> Self {
        Self { opened_with, added: RwLock::default(), names: RwLock::default() }
    }

    pub(crate) fn opened_with(&self) -> &Registry {
        &self.opened_with
    }

    pub(crate) fn add(&self, handler: String, function: Arc<dyn Provider>) {
        let replaced = self.added_mut().insert(handler, function);
        if replaced.is_none() {
            *self.names.write().expect("no panic happens under this lock") = None;
        }
        // Only now, without a lock: what the function holds is the host's, and may panic or come back here as it goes.
        drop(replaced);
    }

    /// Returns who carries out work of that handler.
    pub(crate) fn get(&self, handler: &str) -> Option<Arc<dyn Provider>> {
        self.added().get(handler).or_else(|| self.opened_with.get(handler)).cloned()
    }

    /// Returns the names that leases are asked for.
    pub(crate) fn names(&self) -> Arc<Names> {
        if let Some(known) = &*self.names.read().expect("no panic happens under this lock") {
            return known.clone();
        }
        // Whatever is added from here on waits for this lock, and makes them anew.
        let added = self.added();
        let names = self.opened_with.handlers().into_iter().chain(added.keys().cloned());
        let names: Arc<Names> = Arc::new(names.collect());
        *self.names.write().expect("no panic happens under this lock") = Some(names.clone());
        names
    }

    /// Ends what is kept running, and lets the functions go that were added: they may hold the engine themselves.
    pub(crate) async fn shutdown(&self) {
        self.opened_with.shutdown().await;
        let added = std::mem::take(&mut *self.added_mut());
        for function in added.into_values() {
            function.shutdown().await;
        }
    }

    fn added_mut(&self) -> RwLockWriteGuard<'_, Functions> {
        self.added.write().expect("no panic happens under this lock")
    }

    fn added(&self) -> RwLockReadGuard<'_, Functions> {
        self.added.read().expect("no panic happens under this lock")
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::provider::{Outcome, Task};

    struct Bomb;

    #[async_trait::async_trait]
    impl Provider for Bomb {
        async fn execute(&self, _: Task) -> Outcome {
            unreachable!("nobody runs it")
        }
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("not like this");
        }
    }

    #[test]
    fn a_function_that_panics_as_it_is_replaced_harms_nobody() {
        let handlers = Handlers::new(Registry::default());
        handlers.add("fn:a/s".into(), Arc::new(Bomb));
        let replaced = catch_unwind(AssertUnwindSafe(|| handlers.add("fn:a/s".into(), Arc::new(Bomb))));
        assert!(replaced.is_err());
        assert!(handlers.names().contain("fn:a/s"));
        std::mem::forget(handlers);
    }
}
