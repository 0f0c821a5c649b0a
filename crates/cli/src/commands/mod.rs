//! One file a command.

pub(crate) mod answer;
pub(crate) mod cancel;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod inbox;
pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod resume;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod signal;
pub(crate) mod validate;
pub(crate) mod worker;

use stepwell_core::error::ErrorObject;

use crate::args::{Args, Command};
use crate::exit::Exit;

/// Carries a command out and returns how the process ends.
pub(crate) async fn carry_out(args: Args) -> Result<Exit, ErrorObject> {
    let shared = &args.shared;
    match &args.command {
        Command::Run(args) => run::run(shared, args).await,
        Command::Resume(args) => resume::resume(shared, args).await,
        Command::Retry(args) => retry::retry(shared, args).await,
        Command::Pause(args) => pause::pause(shared, args).await,
        Command::Show(args) => show::show(shared, args).await,
        Command::List(args) => list::list(shared, args).await,
        Command::Events(args) => events::events(shared, args).await,
        Command::Inbox(args) => inbox::inbox(shared, args).await,
        Command::Answer(args) => answer::answer(shared, args).await,
        Command::Signal(args) => signal::signal(shared, args).await,
        Command::Cancel(args) => cancel::cancel(shared, args).await,
        Command::Worker(args) => worker::worker(shared, args).await,
        Command::Validate(args) => validate::validate(shared, args).await,
        Command::Explain(args) => explain::explain(shared, args),
    }
}

/// Turns a store's failure into the error users see.
#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn stored(error: stepwell_store::Error) -> ErrorObject {
    stepwell_engine::error::from_store(&error)
}
