//! `stepwell worker`: carries out the work of every run of the store.

use std::slice;

use futures_util::future::{join_all, select_all};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::{Engine, Leases, Options};

use crate::args::{Shared, Work};
use crate::exit::Exit;
use crate::stop::{Asked, Stop, consequence};
use crate::values::at_least_one;
use crate::{output, project};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Agents of Python modules that it serves too, each as MODULE:NAME
    ///
    /// The module is imported as Python does, the working directory first. An agent that has a store of its own is served
    /// in that one. Only the `stepwell` of the Python package can do this.
    #[arg(value_name = "MODULE:AGENT", value_parser = agent)]
    pub(crate) agents: Vec<String>,
    /// Attempts at once [default: cores × 4; with agents 1024]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) concurrency: Option<usize>,
    #[command(flatten)]
    pub(crate) work: Work,
}

fn agent(word: &str) -> Result<String, String> {
    match word.split_once(':') {
        Some((module, name)) if !module.is_empty() && !name.is_empty() => Ok(word.to_owned()),
        _ => Err("an agent is named as MODULE:NAME, such as my_package.my_module:agent".into()),
    }
}

pub(crate) async fn worker(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    if let Some(agent) = args.agents.first() {
        let message = format!("'{agent}' is an agent of a Python module, which this program cannot import");
        let error = ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", "MODULE:AGENT");
        return Err(error.with_hint(format!(
            "install the Python package where the module is: `python -m stepwell worker {agent}`"
        )));
    }
    let mut stop = Stop::listen()?;
    let engine = tokio::select! {
        engine = open_with(shared, args.concurrency, &args.work, "worker") => engine?,
        // Another process may be writing for long; nothing is under way yet.
        asked = stop.asked() => return Ok(exit(asked)),
    };
    work(slice::from_ref(&engine), &mut stop).await
}

/// Opens the engine that takes the work of all runs of the store, by what it is to be known as.
pub(crate) async fn open_with(
    shared: &Shared,
    concurrency: Option<usize>,
    work: &Work,
    what: &str,
) -> Result<Engine, ErrorObject> {
    let opened = project::open_store(shared.store()).await?;
    let mut options = Options {
        leases: Leases::All,
        label: format!("pid {} ({what})", std::process::id()),
        ..Options::default()
    };
    if let Some(slots) = concurrency {
        options.slots = slots;
    }
    Engine::open(opened, project::registry_at_work(&[], work)?, options).await
}

/// Lets engines work until the process is asked to end or a store is taken away, and shuts them down.
pub(crate) async fn work(engines: &[Engine], stop: &mut Stop) -> Result<Exit, ErrorObject> {
    output::talk(&format!("worker {} is waiting for work", std::process::id()));
    let asked = tokio::select! {
        asked = stop.asked() => asked,
        (error, ..) = select_all(engines.iter().map(|engine| Box::pin(store_is_gone(engine)))) => {
            // What is under way could not be kept: whoever has the store makes it again.
            engines.iter().for_each(Engine::abort);
            join_all(engines.iter().map(Engine::shutdown)).await;
            return Err(error);
        }
    };
    output::talk(&format!("worker {} ends{}", std::process::id(), consequence(engines)));
    stop.shut_down(engines).await;
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
