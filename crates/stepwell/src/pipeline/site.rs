//! Where parts of a pipeline stand: what their steps are called, what they see of the context, and what a failure there does.

use stepwell_core::workflow::definition::OnFailure;

use super::stage::{Stage, Work};
use crate::context::scope::Scope;

/// Where parts stand.
#[derive(Clone)]
pub(super) struct Site {
    /// Their names begin with it.
    prefix: String,
    /// In a map, the scope of the map: which item it is, the payload tells.
    scope: Scope,
    in_map: bool,
    /// What a final failure there does.
    on_failure: OnFailure,
}

impl Site {
    /// Returns the site of the parts of a whole pipeline, where a failure ends everything.
    pub(super) fn whole() -> Self {
        Self { prefix: String::new(), scope: Scope::default(), in_map: false, on_failure: OnFailure::Stop }
    }

    /// Returns the site of what is inside of a part.
    pub(super) fn inside(&self, part: &str) -> Self {
        Self { prefix: format!("{}/", self.path(part)), ..self.clone() }
    }

    /// Returns the site of a branch, whose writes are kept apart.
    pub(super) fn branch(&self, name: &str, scope: Scope, on_failure: OnFailure) -> Self {
        Self { scope, on_failure, ..self.inside(name) }
    }

    /// Returns the site of the body of a map.
    pub(super) fn items(&self, map: &str) -> Self {
        let scope = self.scope.branch(self.path(map), None);
        Self { scope, in_map: true, ..self.inside(map) }
    }

    /// Returns the name of a step there.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns the path of something there within its scope, which may be that of an item.
    pub(super) fn within_scope(&self, name: &str) -> String {
        let path = self.path(name);
        let scope = self.scope.path();
        let within = path.strip_prefix(scope).and_then(|rest| rest.strip_prefix('/'));
        within.map(str::to_owned).unwrap_or(path)
    }

    /// Returns what carries out a step there.
    pub(super) fn stage(&self, work: Work) -> Stage {
        Stage::new(self.scope.clone(), self.in_map, work)
    }

    /// Returns whether it is within an item of a map.
    pub(super) fn is_in_map(&self) -> bool {
        self.in_map
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn on_failure(&self) -> &OnFailure {
        &self.on_failure
    }
}
