//! Batch files (spec/gleitzeit.md §1.5): a template and many files become a workflow with one step per file.
//!
//! The template is judged once for each way in which a path is put in, and never once per file. Paths are data: whatever
//! a file is called, nothing in its name is a reference.

mod files;
mod pattern;
mod template;

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use stepwell_core::error::Code;
use stepwell_core::workflow::bad_name;
use stepwell_core::workflow::definition::{Action, Definition, OnFailure, Step};
use stepwell_core::workflow::path::Path;

use super::Loaded;
use super::fields::{Field, Object, Problems};
use super::keys::batch as keys;
use super::keys::workflow::STEPS;
use super::node::Position;
use super::problem::{Invalid, Problem};
use super::protocols::Protocols;
use super::step::Defaults;
use super::workflow::{self, Settings};
use files::{Found, FoundFile, Roots};
use pattern::Pattern;
use template::{Slot, Template};

/// Keys of the run's metadata that a batch sets.
const METADATA: [&str; 5] = ["batch", "file_count", "directory", "pattern", "template"];

/// Parameters that are larger are left out of the metadata, which every listing reads.
const MAX_SHOWN: usize = 4 << 10;

const DEFAULT_CONCURRENT: u32 = 5;

/// Names are no longer.
const MAX_NAME: usize = 200;

/// A batch that stands in no file.
#[derive(Clone, Debug)]
pub struct BatchRequest {
    /// What the workflow is called.
    pub id: String,
    /// Which files.
    pub files: Files,
    /// So many at once; none: 5.
    pub max_concurrent: Option<u32>,
    /// What is done with each, such as `python/execute`.
    pub method: String,
    /// Its parameters beside the path of the file. Text in them is literal: nothing in it is a reference.
    pub params: Map<String, Value>,
}

/// Which files a batch is about. Relative paths start at the first root.
#[derive(Clone, Debug)]
pub enum Files {
    /// Those below a directory that a pattern means.
    Below {
        /// The directory.
        directory: PathBuf,
        /// The pattern.
        pattern: String,
    },
    /// These, each once.
    Listed(Vec<PathBuf>),
}

/// Makes the workflow of a batch: one step per file.
///
/// # Errors
/// Every problem; a directory that is not there is `CONFIGURATION_ERROR` with `data.reason` `not_found`.
pub fn batch(request: &BatchRequest, protocols: &dyn Protocols) -> Result<Loaded, Invalid> {
    let mut problems = Problems::default();
    let settings = Settings {
        id: Some(request.id.clone()),
        max_concurrent: request.max_concurrent,
        ..Settings::default()
    };
    let place = Path::root().join("batch");
    let pattern = match &request.files {
        Files::Below { pattern, .. } => Pattern::parse(pattern).map(Some),
        Files::Listed(_) => Ok(None),
    };
    let pattern = pattern.unwrap_or_else(|why| {
        problems.push(Problem::new(place.join("pattern"), None, format!("the pattern {why}")));
        None
    });
    let source = Source { files: Some(request.files.clone()), pattern, path: place, at: None };
    let template = Template::of(&request.method, &request.params);
    assemble(settings, &source, &template, protocols, problems).map_err(|invalid| {
        // Where there are no files, nothing is done with them.
        let is_missing = |problem: &Problem| problem.code == Code::CONFIGURATION_ERROR;
        match invalid.problems.iter().find(|problem| is_missing(problem)) {
            Some(missing) => Invalid::one(missing.clone()),
            None => invalid,
        }
    })
}

/// Returns whether a document is a batch file. Keys that have a meaning only there are problems elsewhere.
pub(super) fn is_batch(object: &Object, problems: &mut Problems) -> bool {
    let kind = object.field(&keys::TYPE, problems);
    let is_named = kind.as_ref().is_some_and(|kind| kind.node.as_str() == Some("batch"));
    if let Some(kind) = kind.filter(|_| !is_named) {
        problems.at(&kind, "can only be 'batch'");
    }
    if is_named || object.field(&keys::BATCH, problems).is_some() {
        return true;
    }
    for key in [&keys::TEMPLATE, &keys::PROTOCOL] {
        if let Some(field) = object.field(key, problems) {
            problems.at(&field, "has a meaning only in a batch file");
        }
    }
    false
}

/// Reads a batch file from its root.
pub(super) fn read(
    object: &Object,
    protocols: &dyn Protocols,
    strict: bool,
    mut problems: Problems,
) -> Result<Loaded, Invalid> {
    refuse_keys(object, &mut problems);
    let mut settings = workflow::settings(object, protocols, &mut problems);
    settings.strict |= strict;
    for name in ["metadata", "tags"] {
        let Some(field) = object.get(&[name], &mut problems) else { continue };
        for key in METADATA.into_iter().filter(|key| field.node.position(key).is_some()) {
            let (path, at) = (field.path.join(key), field.node.position_of(&[key.into()]));
            let message = format!("'{key}' in '{name}' is what a batch sets itself");
            problems.push(Problem::new(path, at, message));
        }
    }
    let (source, max_concurrent) = section(object, &mut problems);
    settings.max_concurrent = [max_concurrent, settings.max_concurrent].into_iter().flatten().min();
    let says = object.get(&["on_failure"], &mut problems).is_some();
    let on_failure = if says { settings.defaults.on_failure.clone() } else { OnFailure::Continue };
    let defaults = Defaults { on_failure, ..settings.defaults.clone() };
    match Template::read(object, defaults, protocols, &mut problems) {
        Some(template) => assemble(settings, &source, &template, protocols, problems),
        None => Err(problems.into_invalid().expect("a template that cannot be read has a problem")),
    }
}

fn refuse_keys(object: &Object, problems: &mut Problems) {
    let mut found = Problems::default();
    object.only_of(keys::FILE, &mut found);
    for mut problem in found.list {
        let key = problem.path.to_string();
        if STEPS.names.contains(&key.as_str()) {
            problem.message = format!("'{key}' cannot stand in a batch file");
            let hint = "each of its files becomes a step; a workflow file has steps and no 'batch'";
            problem = problem.hint(hint);
        }
        problems.push(problem);
    }
}

/// Where the files come from, as far as it could be read.
struct Source {
    files: Option<Files>,
    pattern: Option<Pattern>,
    /// Where that was said.
    path: Path,
    at: Option<Position>,
}

/// Reads `batch`: where the files come from, and how many are worked on at once.
fn section(object: &Object, problems: &mut Problems) -> (Source, Option<u32>) {
    let mut source = Source { files: None, pattern: None, path: Path::root().join("batch"), at: object.at };
    let Some(field) = object.field(&keys::BATCH, problems) else {
        let message = "'batch' is missing: it says which files, by 'directory' or 'files'";
        problems.push(Problem::new(Path::root(), object.at, message));
        return (source, None);
    };
    let Some(batch) = field.object(problems) else { return (source, None) };
    batch.only_of(keys::SECTION, problems);
    let max_concurrent = batch.read(&keys::MAX_CONCURRENT, problems);
    let pattern = batch.field(&keys::PATTERN, problems);
    match (batch.field(&keys::DIRECTORY, problems), batch.field(&keys::FILES, problems)) {
        (Some(directory), None) => {
            (source.path, source.at) = (directory.path.clone(), directory.node.at);
            let text = pattern.as_ref().map_or(Some("*"), |field| field.text(problems));
            match text.map(Pattern::parse) {
                Some(Ok(parsed)) => source.pattern = Some(parsed),
                Some(Err(why)) => problems.at(pattern.as_ref().expect("a star can be read"), why),
                None => {}
            }
            let pattern = text.unwrap_or_default().to_owned();
            source.files = directory
                .text(problems)
                .map(|directory| Files::Below { directory: directory.into(), pattern });
        }
        (None, Some(listed)) => {
            (source.path, source.at) = (listed.path.clone(), listed.node.at);
            if let Some(pattern) = &pattern {
                problems.at(pattern, "chooses in a 'directory'; 'files' names each itself");
            }
            source.files = paths(&listed, problems).map(Files::Listed);
        }
        (Some(_), Some(listed)) => {
            let message = "'files' cannot stand beside 'directory'; give one of them";
            problems.push(Problem::new(listed.path, listed.key_at, message));
        }
        (None, None) => problems.at(&field, "needs 'directory' or 'files'"),
    }
    (source, max_concurrent)
}

fn paths(field: &Field, problems: &mut Problems) -> Option<Vec<PathBuf>> {
    let nodes = field.list(problems)?;
    let mut paths = Vec::with_capacity(nodes.len());
    for (i, node) in nodes.iter().enumerate() {
        match node.as_str() {
            Some(path) if !path.is_empty() => paths.push(path.into()),
            _ => {
                let found = if node.as_str().is_some() { "empty" } else { node.kind_name() };
                let message = format!("a file is a path, not {found}");
                problems.push(Problem::new(field.path.join(i), node.at, message));
            }
        }
    }
    Some(paths)
}

impl Source {
    /// Finds the files; a directory that cannot be gone through is a problem.
    fn find(&self, roots: &Roots, problems: &mut Problems) -> Found {
        match (&self.files, &self.pattern) {
            (Some(Files::Listed(listed)), _) => files::listed(roots, listed),
            (Some(Files::Below { directory, .. }), Some(pattern)) => files::below(roots, directory, pattern)
                .unwrap_or_else(|(reason, why)| {
                    let is_outside = reason == "outside_roots";
                    let code = if is_outside { Code::INVALID_PARAMS } else { Code::CONFIGURATION_ERROR };
                    let problem = Problem::new(self.path.clone(), self.at, why).code(code);
                    let problem = problem.with("parameter", "directory").with("reason", reason);
                    problems.push(problem.with("path", directory.to_string_lossy()));
                    Found::default()
                }),
            _ => Found::default(),
        }
    }

    /// Returns what was left out, and that nothing is left if so.
    fn warnings(&self, found: &Found) -> Vec<Problem> {
        let mut warnings = found.warnings.clone();
        if found.files.is_empty() {
            warnings.push(match &self.files {
                Some(Files::Below { directory, pattern }) => {
                    format!("no file in '{}' matches '{pattern}'", directory.display())
                }
                _ => "no files are listed".into(),
            });
        }
        warnings.into_iter().map(|told| Problem::new(self.path.clone(), self.at, told)).collect()
    }
}

/// Finds the files, judges the template, and makes a step for each file.
fn assemble(
    mut settings: Settings,
    source: &Source,
    template: &Template,
    protocols: &dyn Protocols,
    mut problems: Problems,
) -> Result<Loaded, Invalid> {
    let known = problems.list.len();
    let found = source.find(&Roots::new(protocols.roots()), &mut problems);
    let mut warnings = if problems.list.len() == known { source.warnings(&found) } else { Vec::new() };
    let slots: Vec<Slot> = found.files.iter().map(|found| template.slot(&found.path)).collect();
    let steps = judged(template, &slots, &found.files, protocols, &mut problems);
    if settings.strict {
        problems.list.append(&mut warnings);
    }
    if let Some(invalid) = problems.into_invalid() {
        return Err(invalid);
    }
    settings.metadata.extend(metadata(source, &found, template, &steps[0].1));
    settings.max_concurrent.get_or_insert(DEFAULT_CONCURRENT);
    let step = |(number, (found, slot)): (usize, (FoundFile, Slot))| {
        let (_, judged) = steps.iter().find(|(known, _)| *known == slot).expect("each slot was judged");
        let mut step = judged.clone();
        template.put(slot, &found.path, &mut step);
        step.name = id(number, &found.name).into();
        step.title = Some(format!("Process {}", found.name)).filter(|title| bad_name(title).is_none());
        step.file = Some(Box::new(found.file));
        step
    };
    let steps = found.files.into_iter().zip(slots).enumerate().map(step).collect();
    workflow::finish(Definition::new("batch", steps), settings, warnings)
}

/// Judges the template once for each way in which a path is put in; without a file, for any.
fn judged(
    template: &Template,
    slots: &[Slot],
    files: &[FoundFile],
    protocols: &dyn Protocols,
    problems: &mut Problems,
) -> Vec<(Slot, Step)> {
    let mut specimens: Vec<(Slot, &str)> = Vec::new();
    for (slot, found) in slots.iter().zip(files) {
        if !specimens.iter().any(|(known, _)| known == slot) {
            specimens.push((*slot, &found.path));
        }
    }
    if specimens.is_empty() {
        specimens.push((template.slot("file"), "file"));
    }
    let judge = |(slot, path)| Some((slot, template.judge(slot, path, protocols, problems)?));
    specimens.into_iter().filter_map(judge).collect()
}

/// Returns what a run of the batch can be found by.
fn metadata(source: &Source, found: &Found, template: &Template, step: &Step) -> Map<String, Value> {
    let Action::Provider { protocol, method, .. } = &step.action else {
        unreachable!("a step of a file is carried out by a provider")
    };
    let mut shown = json!({ "protocol": protocol, "method": method });
    let params = Value::Object(template.shown().clone());
    if params.to_string().len() <= MAX_SHOWN {
        shown["params"] = params;
    }
    let mut metadata = Map::from_iter([
        ("batch".to_owned(), json!(true)),
        ("file_count".to_owned(), json!(found.files.len())),
        ("template".to_owned(), shown),
    ]);
    if let Some(Files::Below { directory, pattern }) = &source.files {
        metadata.insert("directory".into(), files::shown(directory.as_os_str()).into());
        metadata.insert("pattern".into(), pattern.as_str().into());
    }
    metadata
}

/// Returns the id of a file's step; of a long name its end.
fn id(number: usize, name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let room = MAX_NAME - format!("process--{number}").len();
    format!("process-{}-{number}", &name[name.len().saturating_sub(room)..])
}

#[cfg(test)]
mod tests;
