//! Batches: many inputs, one run, one summary. What a batch is made of is read by [`load::batch`](fn@crate::load::batch) and
//! by batch files; here is what came of it, and how it is written down.

mod markdown;
mod save;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, Timestamp};
use stepwell_core::run::event::Payload;
use stepwell_core::run::{Execution, Run};
use stepwell_core::status::ExecutionStatus;
use stepwell_core::workflow::definition::{Action, Definition, Step};
use stepwell_core::workflow::template::Template;

/// What came of a batch (spec/gleitzeit.md §5).
#[derive(Clone, Debug, PartialEq)]
pub struct BatchResult {
    /// Its run.
    pub batch_id: RunId,
    /// When the run was created.
    pub created_at: Timestamp,
    /// How many files it has.
    pub total_files: usize,
    /// How many were processed well.
    pub successful: usize,
    /// How many were not.
    pub failed: usize,
    /// Seconds from the start of the run to its end, by the clock on the wall.
    pub processing_time: f64,
    /// What was asked for: `method`, `prompt`, `model`, `protocol`, `directory` and `pattern`; null where nothing was.
    pub parameters: Map<String, Value>,
    /// What came of each file, by its path.
    pub results: BTreeMap<String, FileResult>,
    /// What people call it.
    title: String,
}

/// What came of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum FileResult {
    /// The result object of its step.
    Success(Payload),
    /// Why it was not processed.
    Failed(ErrorObject),
}

/// Returns whether a definition is that of a batch.
pub fn is_batch(definition: &Definition) -> bool {
    definition.metadata.get("batch") == Some(&json!(true))
        && definition.steps.iter().all(|step| step.file.is_some())
}

/// What differs between the files of a batch and those that it would have if it were started now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedFiles<'d> {
    /// There are now and were not.
    pub new: Vec<&'d str>,
    /// Were there and are not.
    pub gone: Vec<&'d str>,
}

/// Compares a batch that was started with the same one made now. `None`: they differ in more than their files.
pub fn changed_files<'d>(started: &'d Definition, now: &'d Definition) -> Option<ChangedFiles<'d>> {
    if !is_batch(started) || !is_batch(now) || !is_same_but_for_files(started, now) {
        return None;
    }
    let by_path = |definition: &'d Definition| -> HashMap<&'d str, &'d Step> {
        definition.steps.iter().filter_map(|step| Some((path_of(step)?, step))).collect()
    };
    let (before, after) = (by_path(started), by_path(now));
    // All steps of a batch are made of one template, so one file that both have tells of all.
    let common = before.iter().find_map(|(path, step)| Some((*step, *after.get(path)?)));
    if common.is_some_and(|(before, after)| of_template(before) != of_template(after)) {
        return None;
    }
    let not_in = |definition: &'d Definition, known: &HashMap<&str, &Step>| {
        definition.steps.iter().filter_map(path_of).filter(|path| !known.contains_key(path)).collect()
    };
    Some(ChangedFiles { new: not_in(now, &before), gone: not_in(started, &after) })
}

fn is_same_but_for_files(one: &Definition, other: &Definition) -> bool {
    let metadata = |definition: &Definition| {
        let mut metadata = definition.metadata.clone();
        metadata.shift_remove("file_count");
        metadata
    };
    // Who has no name of its own is called by its content.
    let is_unnamed = |definition: &Definition| definition.name.starts_with("workflow-");
    (one.name == other.name || (is_unnamed(one) && is_unnamed(other)))
        && one.title == other.title
        && one.description == other.description
        && one.max_concurrent == other.max_concurrent
        && one.timeout_ms == other.timeout_ms
        && metadata(one) == metadata(other)
}

/// Returns a step without what its file and its number make of it.
fn of_template(step: &Step) -> Step {
    Step { name: "template".into(), title: None, file: None, ..step.clone() }
}

fn path_of(step: &Step) -> Option<&str> {
    step.file.as_ref().map(|file| file.path.as_str())
}

impl BatchResult {
    /// Returns what came of the files of a run that is over. `None`: it is no run of a batch.
    pub fn of(run: &Run) -> Option<Self> {
        let definition = run.workflow().definition();
        if !is_batch(definition) {
            return None;
        }
        let mut latest: HashMap<&str, &Execution> = HashMap::with_capacity(definition.steps.len());
        latest.extend(run.executions().iter().map(|execution| (execution.step.as_str(), execution)));
        let mut results = BTreeMap::new();
        for step in &definition.steps {
            let result = FileResult::of(step, latest.get(step.name.as_str()).copied());
            results.insert(path_of(step).unwrap_or_default().to_owned(), result);
        }
        let successful = results.values().filter(|result| matches!(result, FileResult::Success(_))).count();
        let took = match (run.started_at(), run.finished_at()) {
            (Some(from), Some(to)) => to.ms_since(from),
            _ => 0,
        };
        Some(Self {
            batch_id: run.id().clone(),
            created_at: run.created_at(),
            total_files: results.len(),
            successful,
            failed: results.len() - successful,
            processing_time: took as f64 / 1_000.0,
            parameters: parameters(definition),
            results,
            title: definition.title.as_ref().unwrap_or(&definition.name).clone(),
        })
    }

    /// Returns all of it as one value.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("a result holds nothing that JSON cannot hold")
    }

    /// Returns all of it as a page of Markdown.
    pub fn to_markdown(&self) -> String {
        let mut page = Vec::new();
        markdown::write(self, &mut page).expect("memory takes all");
        String::from_utf8(page).expect("it is made of texts")
    }

    /// Writes all of it to a file. Whatever happens meanwhile, the file is the old one or the new one.
    ///
    /// # Errors
    /// The directory is missing, or the file cannot be written.
    pub fn save_to_json(&self, path: &Path) -> io::Result<()> {
        save::whole(path, |out| {
            serde_json::to_writer_pretty(&mut *out, self)?;
            out.write_all(b"\n")
        })
    }

    /// Writes all of it to a file, as [`BatchResult::save_to_json`] does.
    ///
    /// # Errors
    /// The directory is missing, or the file cannot be written.
    pub fn save_to_markdown(&self, path: &Path) -> io::Result<()> {
        save::whole(path, |out| markdown::write(self, out))
    }
}

impl FileResult {
    fn of(step: &Step, execution: Option<&Execution>) -> Self {
        match execution.map(|execution| (execution.status, &execution.output, &execution.error)) {
            Some((ExecutionStatus::Completed, Some(output), _)) => Self::Success(output.clone()),
            Some((_, _, Some(error))) => Self::Failed((**error).clone()),
            _ => {
                let message = format!("step '{}': the run ended before the file was processed", step.name);
                Self::Failed(ErrorObject::new(Code::TASK_CANCELLED, message))
            }
        }
    }
}

/// Returns the main value of a result object.
fn main_value(output: &Value) -> &Value {
    output.get("result").unwrap_or(output)
}

/// Returns a value as text: JSON if it is none.
fn content(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns what was asked for. Steps tell it in full; a batch of no file has it from its metadata.
fn parameters(definition: &Definition) -> Map<String, Value> {
    let metadata = |key: &str| definition.metadata.get(key).cloned().unwrap_or(Value::Null);
    let template = metadata("template");
    let (protocol, method, params) = match definition.steps.first().map(|step| &step.action) {
        Some(Action::Provider { protocol, method, params }) => (json!(protocol), json!(method), params),
        _ => (template["protocol"].clone(), template["method"].clone(), &template["params"]),
    };
    let given = |key: &str| {
        let written = params.get(key).cloned().unwrap_or(Value::Null);
        // What was literal text is shown as it was given.
        Template::parse(&written, &())
            .ok()
            .and_then(|template| template.as_literal().cloned())
            .unwrap_or(written)
    };
    Map::from_iter([
        ("method".to_owned(), method),
        ("prompt".to_owned(), given("prompt")),
        ("model".to_owned(), given("model")),
        ("protocol".to_owned(), protocol),
        ("directory".to_owned(), metadata("directory")),
        ("pattern".to_owned(), metadata("pattern")),
    ])
}

impl Serialize for BatchResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("batch_id", &self.batch_id)?;
        map.serialize_entry("created_at", &self.created_at.rfc3339())?;
        map.serialize_entry("total_files", &self.total_files)?;
        map.serialize_entry("successful", &self.successful)?;
        map.serialize_entry("failed", &self.failed)?;
        map.serialize_entry("processing_time", &self.processing_time)?;
        map.serialize_entry("parameters", &self.parameters)?;
        map.serialize_entry("results", &self.results)?;
        let summary = json!({
            "total": self.total_files, "successful": self.successful, "failed": self.failed,
            "processing_time": self.processing_time,
        });
        map.serialize_entry("summary", &summary)?;
        map.end()
    }
}

impl Serialize for FileResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Success(output) => {
                let result = main_value(output);
                map.serialize_entry("status", "success")?;
                map.serialize_entry("content", &content(result))?;
                map.serialize_entry("result", result)?;
                if let Some(printed) = output.get("output").filter(|printed| printed.is_string()) {
                    map.serialize_entry("output", printed)?;
                }
            }
            Self::Failed(error) => {
                map.serialize_entry("status", "failed")?;
                map.serialize_entry("error", &error.message)?;
                map.serialize_entry("code", &error.code)?;
                map.serialize_entry("data", &error.data)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
