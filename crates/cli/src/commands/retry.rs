//! `stepwell retry`: opens the next epoch of a run in which something failed, and follows it. What is completed stays.

use stepwell_core::error::ErrorObject;
use stepwell_engine::Leases;
use stepwell_engine::batch::is_batch;

use crate::args::{Shared, Work};
use crate::exit::Exit;
use crate::follow::Begin;
use crate::{batch, follow, functions, hints, project};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, or its beginning
    run: String,
    /// Replaces the input of the run, as JSON or @FILE
    #[arg(long, value_name = "JSON|@FILE")]
    input: Option<String>,
    /// Why; kept in the journal
    #[arg(long, value_name = "S")]
    reason: Option<String>,
    #[command(flatten)]
    work: Work,
    #[command(flatten)]
    how: follow::How,
}

pub(crate) async fn retry(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let opened = project::open_existing(shared.store()).await?;
    let run = project::find_run(&*opened, &args.run).await?;
    let row = opened.run(&run).await.map_err(super::stored)?;
    let input = args.input.as_deref().map(|text| project::json_argument("--input", text)).transpose()?;
    let registry = project::registry_at_work(&[], &args.work)?;
    let engine = project::engine_over(opened, Leases::Own, registry, &format!("retry {}", row.root)).await?;
    let before = engine.inspect(&run).await?;
    engine.retry(&run, input, args.reason.clone()).await.map_err(hints::about(&run))?;
    if is_batch(before.workflow().definition()) {
        return batch::go_on(&engine, &run, row.seq, shared.json).await;
    }
    if !args.how.is_live(shared.json) {
        follow::say_done(&before);
    }
    let known = engine.inspect(&run).await?;
    functions::say_missing(&engine, &known, &format!("run {run} is tried again")).await?;
    follow::to_the_end(&engine, &run, Begin::After(row.seq), &args.how, shared.json).await
}
