//! One file a command.

mod answer;
mod cancel;
mod events;
mod explain;
mod inbox;
mod list;
mod pause;
mod resume;
mod retry;
mod run;
mod show;
mod signal;
mod validate;
mod worker;

use stepwell_core::error::ErrorObject;

use crate::args::{Args, Command};
use crate::exit::Exit;

/// Carries a command out and returns how the process ends.
pub(crate) async fn carry_out(args: Args) -> Result<Exit, ErrorObject> {
    let store = args.store.as_deref();
    match &args.command {
        Command::Run(args) => run::run(store, args).await,
        Command::Resume(args) => resume::resume(store, args).await,
        Command::Retry(args) => retry::retry(store, args).await,
        Command::Pause(args) => pause::pause(store, args).await,
        Command::Show(args) => show::show(store, args).await,
        Command::List(args) => list::list(store, args).await,
        Command::Events(args) => events::events(store, args).await,
        Command::Inbox(args) => inbox::inbox(store, args).await,
        Command::Answer(args) => answer::answer(store, args).await,
        Command::Signal(args) => signal::signal(store, args).await,
        Command::Cancel(args) => cancel::cancel(store, args).await,
        Command::Worker(args) => worker::worker(store, args).await,
        Command::Validate(args) => validate::validate(args),
        Command::Explain(args) => explain::explain(args),
    }
}

/// Turns a store's failure into the error users see.
#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn stored(error: stepwell_store::Error) -> ErrorObject {
    stepwell_engine::error::from_store(&error)
}
