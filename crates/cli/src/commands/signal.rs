//! `stepwell signal`: tells a run that something happened, durable when the command returns.

use serde_json::{Value, json};
use stepwell_core::error::ErrorObject;

use crate::args::Signal;
use crate::exit::Exit;
use crate::{output, project};

pub(crate) async fn signal(store: Option<&str>, args: &Signal) -> Result<Exit, ErrorObject> {
    let engine = project::open_idle(store).await?;
    let run = project::find_run(&**engine.store(), &args.run).await?;
    let value = match (&args.text, &args.input) {
        (Some(text), _) => Value::String(text.clone()),
        (None, Some(input)) => project::json_argument("--input", input)?,
        (None, None) => Value::Null,
    };
    let receipt = engine.signal(&run, &args.name, value, args.id.clone()).await?;
    output::is_done(format!("run {run} itself has the signal"));
    if args.json {
        output::json(&json!({ "run_id": run, "name": args.name, "status": receipt.status.as_str() }));
    } else {
        output::talk(&format!("run {run} has signal '{}'", args.name));
    }
    Ok(Exit::Ok)
}
