//! `stepwell validate`: checks workflow files. It touches no store and calls no provider.

use std::path::PathBuf;

use serde_json::json;
use stepwell_core::error::ErrorObject;

use crate::args::Shared;
use crate::exit::Exit;
use crate::values::counted;
use crate::{output, project, workflow_file};

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
    let registry = project::registry(&args.files)?;
    let dir = project::working_dir()?;
    let mut shown = Vec::new();
    let mut exit = Exit::Ok;
    for path in &args.files {
        let name = path.display().to_string();
        let file = workflow_file::read(path, &registry, args.strict, &dir).await;
        if !shared.json {
            file.tell();
        }
        match &file.outcome {
            Ok(loaded) => {
                if !shared.json {
                    let warnings = match loaded.warnings.len() {
                        0 => String::new(),
                        count => format!(", {}", counted(count, "warning")),
                    };
                    output::data(&format!(
                        "{name}: ok, {}{warnings}",
                        counted(loaded.workflow.len(), "step")
                    ));
                }
                shown.push(json!({
                    "file": name, "ok": true, "workflow": loaded.workflow.name(),
                    "version": loaded.workflow.version(), "warnings": file.warnings(), "error": null,
                }));
            }
            Err(invalid) => {
                let error = file.error(invalid);
                if exit == Exit::Ok {
                    exit = Exit::of(&error);
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
