//! `stepwell worker`: carries out the work of every run of the store.

use stepwell_core::error::ErrorObject;
use stepwell_engine::{Engine, Leases, Options};

use crate::args::Worker;
use crate::exit::Exit;
use crate::stop::{Asked, Stop, consequence};
use crate::values::at_least_one;
use crate::{output, project};

pub(crate) async fn worker(store: Option<&str>, args: &Worker) -> Result<Exit, ErrorObject> {
    let slots = args.concurrency.map(|count| at_least_one("--concurrency", count)).transpose()?;
    let opened = project::open_store(store).await?;
    let mut options = Options {
        leases: Leases::All,
        label: format!("pid {} (worker)", std::process::id()),
        ..Options::default()
    };
    if let Some(slots) = slots {
        options.slots = slots;
    }
    let mut stop = Stop::listen()?;
    let engine = tokio::select! {
        engine = Engine::open(opened, project::registry(&[])?, options) => engine?,
        // Another process may be writing for long; nothing is under way yet.
        asked = stop.asked() => return Ok(exit(asked)),
    };
    output::talk(&format!("worker {} is waiting for work", std::process::id()));
    let asked = stop.asked().await;
    output::talk(&format!("worker {} ends; {}", std::process::id(), consequence()));
    stop.shut_down(&engine).await;
    Ok(exit(asked))
}

fn exit(asked: Asked) -> Exit {
    match asked {
        // How service managers stop what they started: it did as it was told.
        Asked::Terminate => Exit::Ok,
        Asked::Interrupt | Asked::HangUp => Exit::Interrupted,
    }
}
