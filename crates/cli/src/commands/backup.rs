//! `stepwell backup`: a copy of the store, made and checked while others go on writing.

use std::path::PathBuf;

use serde_json::json;
use stepwell_core::error::{Code, ErrorObject};

use crate::args::Shared;
use crate::exit::Exit;
use crate::values::size;
use crate::{output, project, whole_file};

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
    whole_file::has_place("FILE", &args.file)?;
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
