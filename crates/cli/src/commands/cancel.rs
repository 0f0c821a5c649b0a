//! `stepwell cancel`: ends a run by request.

use serde_json::json;
use stepwell_core::error::ErrorObject;

use crate::args::{One, Shared};
use crate::exit::Exit;
use crate::{hints, output, project};

pub(crate) async fn cancel(shared: &Shared, args: &One) -> Result<Exit, ErrorObject> {
    let engine = project::open_idle(shared.store()).await?;
    let run = project::find_run(&**engine.store(), &args.run).await?;
    let receipt = engine.cancel(&run, args.reason.clone()).await.map_err(hints::about(&run))?;
    output::is_done(format!("run {run} itself is {}", receipt.status));
    // Its child runs end with it, also when nobody carries them.
    engine.deliver().await?;
    if shared.json {
        output::json(&json!({ "run_id": run, "status": receipt.status.as_str() }));
    } else {
        output::talk(&format!("run {run} is {}", receipt.status));
    }
    Ok(Exit::Ok)
}
