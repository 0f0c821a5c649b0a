//! Workflow files as commands take them: read, with whatever is wrong with them told.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::load::{self, Invalid, Loaded, Problem};
use stepwell_engine::{Outside, Registry};

use crate::diagnostics::{self, Severity};
use crate::exit::Exit;
use crate::{output, scripts};

/// A file and what came of reading it.
#[derive(Debug)]
pub(crate) struct WorkflowFile {
    path: PathBuf,
    text: String,
    /// The definition with its warnings, or all that is wrong with it.
    pub(crate) outcome: Result<Loaded, Invalid>,
}

/// Reads a file and the workflow files that it names, from `dir`. Scripts that its steps name and that are not there are
/// among its warnings; with `strict` warnings are problems.
pub(crate) async fn read(path: &Path, registry: &Registry, strict: bool, dir: &Path) -> WorkflowFile {
    let (text, outcome) = match load::open(path) {
        Ok(source) => {
            let outcome = match source.load(registry, strict) {
                Ok(loaded) => with_others(loaded, registry, dir).await,
                Err(invalid) => Err(invalid),
            };
            (source.text, outcome.and_then(|loaded| with_scripts(loaded, strict, dir)))
        }
        Err(invalid) => (String::new(), Err(invalid)),
    };
    WorkflowFile { path: path.to_owned(), text, outcome }
}

/// Reads the file of a command that needs its definition, and tells what there is to tell about it.
///
/// # Errors
/// How the command ends where there is no definition, which is told already.
pub(crate) async fn load(
    path: &Path,
    registry: &Registry,
    dir: &Path,
    as_json: bool,
) -> Result<Loaded, Exit> {
    let file = read(path, registry, false, dir).await;
    match &file.outcome {
        Err(invalid) if as_json => return Err(output::error(&file.error(invalid), true)),
        _ => file.tell(),
    }
    file.outcome.map_err(|invalid| Exit::of(&invalid.to_error()))
}

/// Looks at the workflow files that steps name. What only the store knows is looked at when the run is submitted.
async fn with_others(loaded: Loaded, registry: &Registry, dir: &Path) -> Result<Loaded, Invalid> {
    let base_dir = dir.display().to_string();
    let outside = Outside { base_dir: Some(&base_dir), store: None };
    match registry.check_outside(&loaded.workflow, &outside).await {
        Ok(()) => Ok(loaded),
        Err(Invalid { problems, more }) => {
            let problems = problems.into_iter().map(|problem| loaded.placed(problem)).collect();
            Err(Invalid { problems, more })
        }
    }
}

fn with_scripts(mut loaded: Loaded, strict: bool, dir: &Path) -> Result<Loaded, Invalid> {
    let missing = scripts::missing(&loaded, dir);
    if strict && !missing.is_empty() {
        return Err(Invalid::of(missing));
    }
    loaded.warnings.extend(missing);
    Ok(loaded)
}

impl WorkflowFile {
    /// Returns one error for all that is wrong with the file.
    pub(crate) fn error(&self, invalid: &Invalid) -> ErrorObject {
        output::in_file(invalid.to_error(), &self.path)
    }

    /// Returns the warnings as data.
    pub(crate) fn warnings(&self) -> Vec<Value> {
        let warnings = self.outcome.as_ref().map_or(&[][..], |loaded| &loaded.warnings);
        let shown = |warning: &Problem| {
            let mut shown = warning.to_json();
            shown["file"] = self.path.display().to_string().into();
            shown
        };
        warnings.iter().map(shown).collect()
    }

    /// Tells people every problem or warning.
    pub(crate) fn tell(&self) {
        match &self.outcome {
            Ok(loaded) => self.tell_each(&loaded.warnings, Severity::Warning),
            Err(invalid) => {
                // What is no text has no places.
                if let [Problem { code: Code::CONFIGURATION_ERROR, .. }] = invalid.problems[..] {
                    output::error(&self.error(invalid), false);
                    return;
                }
                self.tell_each(&invalid.problems, Severity::Error);
                output::talk(&where_more_is_told(invalid));
            }
        }
    }

    fn tell_each(&self, problems: &[Problem], severity: Severity) {
        for problem in problems {
            output::talk_rendered(&diagnostics::render(problem, severity, &self.path, &self.text));
        }
    }
}

/// Counts the problems and names the commands that explain them.
pub(crate) fn where_more_is_told(invalid: &Invalid) -> String {
    let mut told = String::new();
    if invalid.more > 0 {
        write!(told, "and {} more; ", invalid.more).expect("a String takes all");
    }
    if invalid.count() > 1 {
        write!(told, "{} problems; ", invalid.count()).expect("a String takes all");
    }
    let mut codes: Vec<Code> = Vec::new();
    for problem in &invalid.problems {
        if !codes.contains(&problem.code) {
            codes.push(problem.code);
        }
    }
    let commands: Vec<String> =
        codes.iter().map(|code| format!("`stepwell explain {}`", code.name())).collect();
    told + &commands.join(", ") + if codes.len() == 1 { " tells more" } else { " tell more" }
}
