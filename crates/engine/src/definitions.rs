//! Workflows that this process has read or started: no definition is read twice while it is in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use stepwell_core::error::ErrorObject;
use stepwell_core::workflow::Workflow;

/// Together they have no more steps than this; one alone may have more.
const MAX_STEPS: usize = 20_000;

/// Known workflows by digest.
#[derive(Debug, Default)]
pub(crate) struct Definitions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_digest: HashMap<String, Arc<Workflow>>,
    steps: usize,
}

impl Definitions {
    /// Takes note of a workflow.
    pub(crate) fn know(&self, workflow: &Arc<Workflow>) {
        let mut known = self.0.lock().expect("no panic happens under this lock");
        if known.by_digest.contains_key(workflow.digest()) {
            return;
        }
        // One step at least for each, so that their number is bounded too.
        let steps = workflow.len().max(1);
        if known.steps + steps > MAX_STEPS {
            *known = Known::default();
        }
        known.steps += steps;
        known.by_digest.insert(workflow.digest().to_owned(), workflow.clone());
    }

    /// Returns the workflow of that digest, read from the text if it is not known.
    pub(crate) fn read(&self, digest: &str, text: &str) -> Result<Arc<Workflow>, ErrorObject> {
        let known = |known: &Known| known.by_digest.get(digest).cloned();
        if let Some(known) = known(&self.0.lock().expect("no panic happens under this lock")) {
            return Ok(known);
        }
        let workflow = Workflow::from_json_text(text)?;
        self.know(&workflow);
        Ok(workflow)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stepwell_core::workflow::definition::{Definition, Step};

    use super::*;

    fn workflow(name: &str, steps: usize) -> Arc<Workflow> {
        let step = |i: usize| Step::provided(&format!("s{i}"), "test/v1", "test/do", json!({}));
        Workflow::new(Definition::new(name, (0..steps).map(step).collect())).unwrap()
    }

    #[test]
    fn what_is_known_is_not_read_again() {
        let known = Definitions::default();
        let first = workflow("first", 2);
        known.know(&first);
        let found = known.read(first.digest(), "this is no definition").unwrap();
        assert!(Arc::ptr_eq(&found, &first));
        let read = known.read("another digest", &workflow("other", 1).to_json_text()).unwrap();
        assert_eq!(read.name(), "other");
    }

    #[test]
    fn memory_is_bounded_by_steps() {
        let known = Definitions::default();
        let large = workflow("large", MAX_STEPS);
        for workflow in [workflow("small", 1), large.clone()] {
            known.know(&workflow);
        }
        let inner = known.0.lock().unwrap();
        assert_eq!(inner.by_digest.keys().collect::<Vec<_>>(), [large.digest()]);
        assert_eq!(inner.steps, MAX_STEPS);
    }
}
