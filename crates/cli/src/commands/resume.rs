//! `stepwell resume`: continues a run here and now, and follows it as `run` does.

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::status::{PauseReason, RunStatus};
use stepwell_engine::Leases;
use stepwell_engine::batch::is_batch;

use crate::args::{One, Shared, Work};
use crate::exit::Exit;
use crate::follow::Begin;
use crate::{batch, follow, functions, hints, output, project};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    work: Work,
    #[command(flatten)]
    how: follow::How,
}

pub(crate) async fn resume(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let opened = project::open_existing(shared.store()).await?;
    let run = project::find_run(&*opened, &args.one.run).await?;
    let row = opened.run(&run).await.map_err(super::stored)?;
    if row.state.status.is_terminal() {
        let message = format!("run {run} is {} and cannot be resumed", row.state.status);
        let error = ErrorObject::new(Code::WORKFLOW_INVALID_STATE, message)
            .with("reason", "terminal")
            .with("status", row.state.status.as_str());
        return Err(hints::about(&run)(error));
    }
    let registry = project::registry_at_work(&[], &args.work)?;
    let engine = project::engine_over(opened, Leases::Own, registry, &format!("resume {}", row.root)).await?;
    engine.carry(&run).await?;
    let done = match row.state.status {
        RunStatus::Pending => {
            engine.release(&run).await?;
            say_unkept(&args.one);
            format!("run {run} is started")
        }
        _ if row.state.pause_reason == Some(PauseReason::Operator) => {
            engine.resume(&run, args.one.reason.clone()).await?;
            format!("run {run} is resumed")
        }
        status => {
            say_unkept(&args.one);
            format!("run {run} is {status}")
        }
    };
    let known = engine.inspect(&run).await?;
    if is_batch(known.workflow().definition()) {
        return batch::go_on(&engine, &run, row.seq, shared.json).await;
    }
    if !args.how.is_live(shared.json) {
        follow::say_done(&known);
        follow::say_waits(&known);
    }
    functions::say_missing(&engine, &known, &done).await?;
    follow::to_the_end(&engine, &run, Begin::After(row.seq), &args.how, shared.json).await
}

/// Says that a reason is not kept, since the journal has no place for it.
fn say_unkept(args: &One) {
    if args.reason.is_some() {
        output::talk("nobody had paused the run, so the journal does not keep the reason");
    }
}
