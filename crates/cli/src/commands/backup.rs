//! `stepwell backup`: a copy of the store, made and checked while others go on writing.

use std::path::PathBuf;

use serde_json::json;
use stepwell_core::error::{Code, ErrorObject};

use crate::args::Shared;
use crate::exit::Exit;
use crate::values::size;
use crate::{output, project};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the copy goes
    file: PathBuf,
    /// Replaces a file that is there
    #[arg(long)]
    force: bool,
}

pub(crate) async fn backup(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let file = args.file.display();
    if args.file.symlink_metadata().is_ok() && !args.force {
        let message = format!("{file} exists");
        return Err(ErrorObject::new(Code::INVALID_PARAMS, message)
            .with("path", file.to_string())
            .with_hint("name a new file, or replace it with --force"));
    }
    let dir = args.file.parent().filter(|dir| !dir.as_os_str().is_empty());
    if let Some(dir) = dir.filter(|dir| !dir.is_dir()) {
        let message = format!("there is no directory {} for the backup", dir.display());
        return Err(ErrorObject::new(Code::CONFIGURATION_ERROR, message)
            .with("reason", "not_found")
            .with("path", dir.display().to_string())
            .with_hint("make it first"));
    }
    let opened = project::open_existing(shared.store()).await?;
    opened.backup(&args.file, args.force).await.map_err(super::stored)?;
    output::is_done(format!("the backup itself is {file}"));
    let bytes = std::fs::metadata(&args.file).map_or(0, |meta| meta.len());
    if shared.json {
        output::json(&json!({ "file": file.to_string(), "bytes": bytes }));
    } else {
        output::data(&format!("{file}: {}, checked", size(bytes as usize)));
    }
    Ok(Exit::Ok)
}
