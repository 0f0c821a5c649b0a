//! The trees of runs that a worker carries: those that its process began or took up.

use std::sync::{Arc, PoisonError, RwLock};

use foldhash::HashSet;
use stepwell_core::ids::RunId;

/// A set of trees of runs, each named by the run at its top. Clones are the same set, so that a request for work costs the same
/// however many there are.
#[derive(Clone, Debug, Default)]
pub struct Trees {
    roots: Arc<RwLock<HashSet<RunId>>>,
}

impl Trees {
    /// Adds a tree.
    pub fn add(&self, root: &RunId) {
        self.roots.write().unwrap_or_else(PoisonError::into_inner).insert(root.clone());
    }

    /// Removes a tree.
    pub fn remove(&self, root: &RunId) {
        self.roots.write().unwrap_or_else(PoisonError::into_inner).remove(root);
    }

    /// Returns whether that tree is among them.
    pub fn contain(&self, root: &RunId) -> bool {
        self.roots.read().unwrap_or_else(PoisonError::into_inner).contains(root)
    }
}

impl FromIterator<RunId> for Trees {
    fn from_iter<I: IntoIterator<Item = RunId>>(roots: I) -> Self {
        Self { roots: Arc::new(RwLock::new(roots.into_iter().collect())) }
    }
}
