//! `stepwell prune`: deletes old runs that have ended. Nothing goes unless an age is given.

use serde_json::json;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::status::RunStatus;
use stepwell_store::Prune;

use crate::args::Shared;
use crate::exit::Exit;
use crate::values::{counted, moment, shown, size, statuses, time};
use crate::{output, project};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only runs that ended before: a day, a time, or an age such as 30d
    #[arg(long, value_name = "AGE")]
    older_than: String,
    /// Only runs of this status: completed, failed or cancelled; may be repeated
    #[arg(long, value_name = "S")]
    status: Vec<String>,
    /// Only tells what would be deleted
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn prune(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let now = super::list::now();
    let before = moment("--older-than", &args.older_than, now)?;
    if before > now {
        let message = format!("--older-than wants an age, and {} is still to come", shown(before));
        return Err(ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", "--older-than"));
    }
    let status = statuses(&args.status)?;
    if let Some(live) = status.iter().find(|status| !status.is_terminal()) {
        let ends = RunStatus::TERMINAL.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(", ");
        let message = format!("--status: a run that is {live} has not ended and is never deleted");
        return Err(ErrorObject::new(Code::INVALID_PARAMS, message)
            .with("parameter", "--status")
            .with_hint(format!("runs end as one of: {ends}")));
    }
    let opened = project::open_existing(shared.store()).await?;
    let prune = Prune { status, dry_run: args.dry_run, ..Prune::before(before) };
    let pruned = opened.prune(&prune).await.map_err(super::stored)?;
    output::is_done(format!("{} themselves are deleted", counted(pruned.runs as usize, "run")));
    if shared.json {
        output::json(&json!({
            "runs": pruned.runs, "bytes": pruned.bytes, "before": time(before), "dry_run": args.dry_run,
        }));
        return Ok(Exit::Ok);
    }
    let (runs, bytes) = (counted(pruned.runs as usize, "run"), size(pruned.bytes as usize));
    let before = shown(before);
    if args.dry_run {
        output::data(&format!("{runs} that ended before {before} would be deleted, {bytes} freed"));
    } else {
        output::data(&format!("{runs} that ended before {before} deleted, {bytes} freed"));
        if pruned.runs > 0 {
            output::talk("the file of the store keeps its size; new runs use what was freed");
        }
    }
    Ok(Exit::Ok)
}
