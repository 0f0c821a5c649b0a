//! `stepwell worker`: carries out the work of every run of the store.

use stepwell_core::error::ErrorObject;
use stepwell_engine::{Engine, Leases, Options};

use crate::args::{Shared, Work};
use crate::exit::Exit;
use crate::stop::{Asked, Stop, consequence};
use crate::values::at_least_one;
use crate::{output, project};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Attempts at once [default: cores × 4]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    concurrency: Option<usize>,
    #[command(flatten)]
    work: Work,
}

pub(crate) async fn worker(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let opened = project::open_store(shared.store()).await?;
    let mut options = Options {
        leases: Leases::All,
        label: format!("pid {} (worker)", std::process::id()),
        ..Options::default()
    };
    if let Some(slots) = args.concurrency {
        options.slots = slots;
    }
    let mut stop = Stop::listen()?;
    let engine = tokio::select! {
        engine = Engine::open(opened, project::registry_at_work(&[], &args.work)?, options) => engine?,
        // Another process may be writing for long; nothing is under way yet.
        asked = stop.asked() => return Ok(exit(asked)),
    };
    output::talk(&format!("worker {} is waiting for work", std::process::id()));
    let asked = tokio::select! {
        asked = stop.asked() => asked,
        error = store_is_gone(&engine) => {
            // What is under way could not be kept: whoever has the store makes it again.
            engine.abort();
            engine.shutdown().await;
            return Err(error);
        }
    };
    output::talk(&format!("worker {} ends{}", std::process::id(), consequence(&engine)));
    stop.shut_down(&engine).await;
    Ok(exit(asked))
}

/// Waits until the files of the store were taken away. Of any other trouble a worker waits for the end.
async fn store_is_gone(engine: &Engine) -> ErrorObject {
    let mut fault = engine.fault();
    loop {
        let gone = fault.borrow_and_update().clone();
        if let Some(gone) = gone.filter(|error| error.data.get("reason").is_some_and(|r| r == "not_there")) {
            return gone;
        }
        if fault.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn exit(asked: Asked) -> Exit {
    match asked {
        // How service managers stop what they started: it did as it was told.
        Asked::Terminate => Exit::Ok,
        Asked::Interrupt | Asked::HangUp => Exit::Interrupted,
    }
}
