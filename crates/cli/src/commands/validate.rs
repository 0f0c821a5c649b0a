//! `stepwell validate`: checks workflow files. It touches no store and calls no provider.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::{Outside, Registry, load};

use crate::args::{Reach, Shared};
use crate::exit::Exit;
use crate::values::counted;
use crate::{output, project, scripts};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Workflow files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Warnings are errors
    #[arg(long)]
    strict: bool,
}

pub(crate) async fn validate(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let registry = project::registry(&args.files, &Reach::default())?;
    let dir = project::working_dir()?;
    let mut shown = Vec::new();
    let mut exit = Exit::Ok;
    for file in &args.files {
        let name = file.display().to_string();
        match loaded(file, &registry, args.strict, &dir).await {
            Ok(loaded) => {
                let warnings: Vec<Value> =
                    loaded.warnings.iter().map(|w| in_file(&w.to_json(), &name)).collect();
                if !shared.json {
                    for warning in &loaded.warnings {
                        output::warning(warning, file);
                    }
                    output::data(&format!("{name}: ok, {}", counted(loaded.workflow.len(), "step")));
                }
                shown.push(json!({
                    "file": name, "ok": true, "workflow": loaded.workflow.name(),
                    "version": loaded.workflow.version(), "warnings": warnings, "error": null,
                }));
            }
            Err(invalid) => {
                let error = output::in_file(invalid.to_error(), file);
                if exit == Exit::Ok {
                    exit = Exit::of(&error);
                }
                if !shared.json {
                    report(&invalid.problems, &error, &name);
                }
                shown.push(json!({ "file": name, "ok": false, "warnings": [], "error": error.to_json() }));
            }
        }
    }
    if shared.json {
        output::json(&json!({ "files": shown }));
    }
    Ok(exit)
}

/// Reads a file and the workflow files that it names; scripts that are not there are among its warnings.
async fn loaded(
    file: &Path,
    registry: &Registry,
    strict: bool,
    dir: &Path,
) -> Result<load::Loaded, load::Invalid> {
    let mut loaded = load::file(file, registry, strict)?;
    let base_dir = dir.display().to_string();
    let outside = Outside { base_dir: Some(&base_dir), store: None };
    registry.check_outside(&loaded.workflow, &outside).await?;
    let missing = scripts::missing(&loaded.workflow, dir);
    if strict && !missing.is_empty() {
        return Err(load::Invalid { problems: missing });
    }
    loaded.warnings.extend(missing);
    Ok(loaded)
}

fn report(problems: &[load::Problem], error: &ErrorObject, name: &str) {
    if error.code == Code::CONFIGURATION_ERROR {
        let _exit = output::error(error, false);
        return;
    }
    for problem in problems {
        output::talk(&format!(
            "error[{} {}]: {}",
            problem.code.name(),
            problem.code.number(),
            output::problem_line(&in_file(&problem.to_json(), name))
        ));
    }
}

fn in_file(problem: &Value, file: &str) -> Value {
    let mut problem = problem.clone();
    if let Value::Object(map) = &mut problem {
        map.insert("file".into(), file.into());
    }
    problem
}
