//! `stepwell worker`: carries out the work of every run of the store.

use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::{Engine, Leases, Options};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Worker;
use crate::exit::Exit;
use crate::{output, project};

pub(crate) async fn worker(store: Option<&str>, args: &Worker) -> Result<Exit, ErrorObject> {
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| {
        ErrorObject::new(Code::INTERNAL_ERROR, format!("signals cannot be received: {error}"))
    })?;
    let opened = project::open_store(store).await?;
    let mut options = Options {
        leases: Leases::All,
        label: format!("pid {} (worker)", std::process::id()),
        ..Options::default()
    };
    if let Some(slots) = args.concurrency {
        options.slots = slots.max(1);
    }
    let engine = Engine::open(opened, project::registry(&[])?, options).await?;
    output::talk(&format!("worker {} is waiting for work", std::process::id()));
    let interrupted = tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.is_ok(),
        _ = terminated.recv() => false,
    };
    output::talk("finishing what is under way");
    engine.shutdown().await;
    Ok(if interrupted { Exit::Interrupted } else { Exit::Ok })
}
