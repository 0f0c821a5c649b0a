//! `workflow/v1`: a step that starts a child run and ends with what came of it.
//!
//! The child's workflow is written in the step, or named: by a file inside the roots, or by the id of one that was run in
//! the store before, perhaps with its version. What is named literally is looked at when a run is submitted, and again
//! when the step starts: what it then says is what the child is given, and is in the journal.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::RunId;
use stepwell_core::run::wait::{ChildStart, WaitKind, WaitSpec};
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::Action;
use stepwell_core::workflow::path::Path as Place;
use stepwell_engine::load::{Invalid, Problem, Source, format_of};
use stepwell_engine::{Outcome, Outside, Param, ParamProblem, Provider, Task};
use stepwell_store::Store;

use crate::files::FileError;
use crate::isolation::Isolation;
use crate::params::{self, Kind, Table};

/// A workflow as its author wrote it.
#[derive(Clone, Copy, Debug)]
pub enum Written<'a> {
    /// In a step: a file's content as JSON.
    Inline(&'a Value),
    /// In a file.
    File(&'a Source),
}

/// Reads a workflow as its author wrote it. The files of a batch lie in these directories; relative paths start at the
/// first.
pub type ReadWorkflow = dyn Fn(Written<'_>, &[PathBuf]) -> Result<Arc<Workflow>, Invalid> + Send + Sync;

/// Starts child runs.
pub struct ChildRuns {
    read: Arc<ReadWorkflow>,
    isolation: Isolation,
}

impl ChildRuns {
    /// Returns a provider that reads workflows with `read`, and files of them where scripts may lie.
    pub fn new(read: Arc<ReadWorkflow>, isolation: Isolation) -> Self {
        Self { read, isolation }
    }
}

impl std::fmt::Debug for ChildRuns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChildRuns")
    }
}

/// Size of a workflow file.
const FILE_LIMIT: u64 = 16 << 20;

const EXECUTE: &Table = &[
    (
        "workflow",
        Kind::Workflow,
        false,
        "a workflow as on this page, checked with the file. References in it are to its own steps and input",
    ),
    (
        "workflow_ref",
        Kind::Text,
        false,
        "a workflow file, which ends in `.yaml`, `.yml` or `.json`; or the `id` of a workflow that was run in this store, as its \
         newest run had it; or `id@version` for the one of that version (`show` tells it)",
    ),
    ("inputs", Kind::Object, false, "its `${input}`"),
];

#[async_trait]
impl Provider for ChildRuns {
    fn methods(&self) -> Vec<&'static str> {
        vec!["workflow/execute"]
    }

    fn raw_params(&self, _method: &str) -> &'static [&'static str] {
        // References in the child's steps are the child's own.
        &["workflow"]
    }

    fn result_keys(&self, _method: &str) -> &'static [&'static str] {
        &["result", "run_id"]
    }

    fn params(&self, _method: &str) -> Option<Vec<Param>> {
        Some(params::described(EXECUTE))
    }

    fn check(&self, _method: &str, params: &Value) -> Vec<ParamProblem> {
        let mut problems = params::check(params, EXECUTE);
        problems.extend(unfit_together(params));
        if let Some(workflow) = params.get("workflow").filter(|w| w.is_object())
            && let Err(invalid) = (self.read)(Written::Inline(workflow), &self.isolation.roots)
        {
            problems.push(params::problem("workflow", "invalid", invalid.to_error().message));
        }
        problems
    }

    async fn check_outside(&self, _method: &str, params: &Value, outside: &Outside<'_>) -> Vec<Problem> {
        let place =
            Place::root().join(if params.get("workflow").is_some() { "workflow" } else { "workflow_ref" });
        let (mut problems, mut seen) = (Vec::new(), HashSet::new());
        // Files may name each other, and themselves: each is read once.
        let mut open = vec![(String::new(), params.clone())];
        while let Some((within, params)) = open.pop() {
            if let Some(workflow) = params.get("workflow").filter(|workflow| workflow.is_object())
                // What is wrong with it was told with the file it stands in.
                && let Ok(workflow) = self.inline(workflow.clone(), outside.base_dir).await
            {
                open.extend(children(&workflow).map(|params| (within.clone(), params)));
            }
            let Some(text) = params.get("workflow_ref").filter(|text| !params::holds_reference(text)) else {
                continue;
            };
            let mut tell = |mut problem: Problem| {
                problem.message.insert_str(0, &within);
                problem.path = place.clone();
                problems.push(problem);
            };
            match Named::read(text.as_str().unwrap_or_default()) {
                Named::File(path) => match self.file(outside.base_dir, path).await {
                    Err(error) => tell(Problem::of(error)),
                    Ok((place, content)) => {
                        if !seen.insert(place) {
                            continue;
                        }
                        match self.workflow(path, content, outside.base_dir).await {
                            Err(invalid) => invalid.problems.into_iter().for_each(tell),
                            Ok(workflow) => {
                                let within = format!("{}: ", path.display());
                                open.extend(children(&workflow).map(|params| (within.clone(), params)));
                            }
                        }
                    }
                },
                Named::Stored { id, version } => {
                    let Some(store) = outside.store else { continue };
                    if let Err(error) = find_stored(store, id, version).await {
                        tell(Problem::of(error));
                    }
                }
            }
        }
        problems
    }

    async fn execute(&self, task: Task) -> Outcome {
        let mut problems = params::check_resolved(&task.params, EXECUTE);
        problems.extend(unfit_together(&task.params));
        if let Err(error) = params::refuse(&task, problems) {
            return error.into();
        }
        let definition = match self.definition(&task).await {
            Ok(definition) => definition,
            // The store fails for a while; the step is not at fault.
            Err(error) if error.retryable => return Outcome::Lost { reason: error.message },
            Err(error) => {
                let message = format!("step '{}': {}", task.step, error.message);
                return ErrorObject { message, ..error.with("task_id", task.step.as_str()) }.into();
            }
        };
        let input = task.params.get("inputs").cloned().unwrap_or_else(|| json!({}));
        let start = ChildStart {
            run: RunId::from(""),
            definition,
            input: Arc::new(input),
            context: Map::new(),
            metadata: task.run.metadata.clone(),
            entry: None,
        };
        Outcome::Suspend(vec![WaitSpec::step(WaitKind::Child(Box::new(start)))])
    }
}

impl ChildRuns {
    /// Returns the definition of the child that an attempt starts.
    async fn definition(&self, task: &Task) -> Result<Value, ErrorObject> {
        let base_dir = task.run.base_dir.as_deref();
        let Some(text) = task.params.get("workflow_ref").and_then(Value::as_str) else {
            let workflow = self.inline(task.params["workflow"].clone(), base_dir).await;
            return Ok(workflow.map_err(|invalid| invalid.to_error())?.to_json());
        };
        match Named::read(text) {
            Named::File(path) => {
                let (_, content) = self.file(base_dir, path).await?;
                let workflow = self.workflow(path, content, base_dir).await;
                Ok(workflow.map_err(|invalid| invalid.to_error())?.to_json())
            }
            Named::Stored { id, version } => {
                let found = task.report.newest_definition(id, version).await?;
                read_stored(&found.ok_or_else(|| unknown(id, version))?)
            }
        }
    }

    /// Reads a workflow file, and returns where it really is as well.
    async fn file(&self, base_dir: Option<&str>, path: &Path) -> Result<(PathBuf, Vec<u8>), ErrorObject> {
        let base_dir = self.isolation.base_dir(base_dir);
        let (roots, wanted) = (self.isolation.roots_at(&base_dir), path.to_owned());
        let read = move || {
            let opened = roots.open(&base_dir, &wanted)?;
            Ok((opened.path.clone(), opened.read(FILE_LIMIT)?))
        };
        aside(read).await.map_err(|error| unreadable(&error, path))
    }

    /// Reads a workflow that stands in a step.
    async fn inline(&self, workflow: Value, base_dir: Option<&str>) -> Result<Arc<Workflow>, Invalid> {
        let (read, roots) = (self.read.clone(), self.roots(base_dir));
        aside(move || read(Written::Inline(&workflow), &roots)).await
    }

    /// Reads what a file holds; its problems are told with its name.
    async fn workflow(
        &self,
        path: &Path,
        content: Vec<u8>,
        base_dir: Option<&str>,
    ) -> Result<Arc<Workflow>, Invalid> {
        let (read, roots) = (self.read.clone(), self.roots(base_dir));
        let source = Source::of(path, content);
        let read = match source {
            Ok(source) => aside(move || read(Written::File(&source), &roots)).await,
            Err(invalid) => Err(invalid),
        };
        read.map_err(|mut invalid| {
            for problem in &mut invalid.problems {
                let colon = if problem.at.is_some() { ":" } else { ": " };
                problem.message = format!("{}{colon}{problem}", path.display());
                (problem.at, problem.end_column) = (None, None);
            }
            invalid
        })
    }

    /// Returns where the files of a batch may lie, first where relative paths start.
    fn roots(&self, base_dir: Option<&str>) -> Vec<PathBuf> {
        let base_dir = self.isolation.base_dir(base_dir);
        let roots = self.isolation.roots_at(&base_dir);
        let mut all = roots.directories().to_vec();
        if roots.contain(&base_dir) {
            all.insert(0, base_dir);
        }
        all
    }
}

/// Reads files on a thread that may wait.
async fn aside<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(read).await.expect("reading a workflow does not panic")
}

/// What a `workflow_ref` names.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    /// A path that ends as workflow files do.
    File(&'a Path),
    /// A workflow that was run in the store.
    Stored { id: &'a str, version: Option<&'a str> },
}

/// Digits of a version.
const VERSION_LENGTH: usize = 32;

impl<'a> Named<'a> {
    fn read(text: &'a str) -> Self {
        if format_of(Path::new(text)).is_some() {
            return Self::File(Path::new(text));
        }
        let is_version =
            |text: &str| text.len() == VERSION_LENGTH && text.bytes().all(|b| b.is_ascii_hexdigit());
        match text.rsplit_once('@').filter(|(_, version)| is_version(version)) {
            Some((id, version)) => Self::Stored { id, version: Some(version) },
            None => Self::Stored { id: text, version: None },
        }
    }
}

fn unfit_together(params: &Value) -> Option<ParamProblem> {
    match (params.get("workflow"), params.get("workflow_ref")) {
        (None, None) => {
            let message = "one of 'workflow' and 'workflow_ref' is needed".into();
            Some(params::problem("workflow", "missing", message))
        }
        (Some(_), Some(_)) => {
            let message = "only one of 'workflow' and 'workflow_ref' may be given".into();
            Some(params::problem("workflow_ref", "exclusive", message))
        }
        _ => None,
    }
}

/// Returns the parameters of all steps that start a child run.
fn children(workflow: &Workflow) -> impl Iterator<Item = Value> {
    let actions = workflow.definition().steps.iter().map(|step| &step.action);
    actions.filter_map(|action| match action {
        Action::Provider { protocol, params, .. } if protocol == "workflow/v1" => Some(params.clone()),
        Action::Provider { .. } | Action::Function | Action::VersionedFunction => None,
    })
}

async fn find_stored(store: &dyn Store, id: &str, version: Option<&str>) -> Result<(), ErrorObject> {
    let found = store.newest_definition(id, version).await;
    let found = found.map_err(|error| stepwell_engine::error::from_store(&error))?;
    found.map(|_| ()).ok_or_else(|| unknown(id, version))
}

fn read_stored(definition: &str) -> Result<Value, ErrorObject> {
    serde_json::from_str(definition).map_err(|error| {
        let message = format!("the stored definition cannot be read: {error}");
        ErrorObject::new(Code::PERSISTENCE_INTEGRITY_ERROR, message)
    })
}

fn unknown(id: &str, version: Option<&str>) -> ErrorObject {
    let of_version = version.map_or_else(String::new, |version| format!(" in version {version}"));
    let message = format!("parameter 'workflow_ref': no workflow '{id}' was run in this store{of_version}");
    ErrorObject::new(Code::WORKFLOW_NOT_FOUND, message)
        .with("parameter", "workflow_ref")
        .with_hint("a file is named with its ending: .yaml, .yml or .json")
}

fn unreadable(error: &FileError, path: &Path) -> ErrorObject {
    let code = match error.reason() {
        "not_found" => Code::WORKFLOW_NOT_FOUND,
        _ => Code::INVALID_PARAMS,
    };
    let told = ErrorObject::new(code, format!("parameter 'workflow_ref': {error}"))
        .with("parameter", "workflow_ref")
        .with("reason", error.reason())
        .with("path", path.display().to_string());
    match error.reason() {
        "not_found" => told.with_hint("relative paths start at the directory that the run is started in"),
        _ => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_a_file_or_what_was_run() {
        let version = "0123456789abcdef0123456789abcdef";
        let stored = |id, version| Named::Stored { id, version };
        for file in ["a.yaml", "../b.YML", "/x/c.json", "a@b.yaml"] {
            assert_eq!(Named::read(file), Named::File(Path::new(file)));
        }
        assert_eq!(Named::read(&format!("Daily report@{version}")), stored("Daily report", Some(version)));
        for id in ["report", "a@b", "a@0123", "v1.5", "yaml", "@"] {
            assert_eq!(Named::read(id), stored(id, None));
        }
    }
}
