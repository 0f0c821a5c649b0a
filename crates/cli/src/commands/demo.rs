//! `stepwell demo`: a tour of two minutes, in a project of its own.

use std::path::PathBuf;

use stepwell_core::error::ErrorObject;

use crate::args::Shared;
use crate::call::Call;
use crate::demo::stage::Stage;
use crate::exit::Exit;
use crate::stop::Stop;
use crate::{demo, output, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keeps the project of the demo in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Goes on by itself and asks nothing, also on a terminal
    #[arg(short, long)]
    yes: bool,
}

pub(crate) async fn demo(call: &Call, shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let mut stop = Stop::listen()?;
    let mut stage = Stage::set_up(call.program()?, args.keep.as_deref(), args.yes, shared.json).await?;
    let shown = tokio::select! {
        shown = demo::tour(&mut stage) => Some(shown),
        _ = stop.asked() => None,
    };
    let struck = stage.strike().await;
    let Some(shown) = shown else {
        output::talk("the demo is ended; nothing of it is left running");
        return struck.map(|()| Exit::Interrupted);
    };
    let claims = shown?;
    struck?;
    if shared.json {
        output::json(&demo::to_json(&claims));
    }
    if let Some(error) = demo::refuted(&claims) {
        return Err(error);
    }
    output::talk(&format!("all {} claims hold: the demo has looked", claims.len()));
    match &args.keep {
        Some(dir) => {
            let dir = dir.display().to_string();
            output::talk(&format!("the project is kept: cd {} && stepwell events tour", text::word(&dir)));
        }
        None => output::talk("the project of the demo is removed; `stepwell demo --keep DIR` keeps it"),
    }
    output::talk("next: `stepwell run FILE`, `stepwell --help`");
    Ok(Exit::Ok)
}
