//! `stepwell pause`: no attempt of a run starts from now on, until it is resumed.

use serde_json::json;
use stepwell_core::error::ErrorObject;

use crate::args::{One, Shared};
use crate::exit::Exit;
use crate::{hints, output, project, text};

pub(crate) async fn pause(shared: &Shared, args: &One) -> Result<Exit, ErrorObject> {
    let engine = project::open_idle(shared.store()).await?;
    let run = project::find_run(&**engine.store(), &args.run).await?;
    let receipt = engine.pause(&run, args.reason.clone()).await.map_err(hints::about(&run))?;
    output::is_done(format!("run {run} itself is {}", receipt.status));
    if shared.json {
        output::json(&json!({ "run_id": run, "status": receipt.status.as_str() }));
    } else {
        output::talk(&format!(
            "run {run} is {}; `stepwell resume {}` lifts that",
            receipt.status,
            text::word(run.as_str())
        ));
    }
    Ok(Exit::Ok)
}
