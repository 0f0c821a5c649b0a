//! One file a command.

pub(crate) mod answer;
pub(crate) mod backup;
pub(crate) mod batch;
pub(crate) mod cancel;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod graph;
pub(crate) mod inbox;
pub(crate) mod init;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod pause;
pub(crate) mod prune;
pub(crate) mod resume;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod settle;
pub(crate) mod show;
pub(crate) mod signal;
pub(crate) mod state;
pub(crate) mod validate;
pub(crate) mod worker;

use stepwell_core::error::ErrorObject;
use stepwell_core::ids::RunId;
use stepwell_core::status::RunStatus;
use stepwell_engine::Engine;

use crate::args::{Args, Command};
use crate::call::Call;
use crate::exit::Exit;
use crate::{functions, output, text};

/// Carries a command out and returns how the process ends.
pub(crate) async fn carry_out(call: &Call, args: Args) -> Result<Exit, ErrorObject> {
    let shared = &args.shared;
    match &args.command {
        Command::Run(args) => run::run(shared, args).await,
        Command::Batch(args) => batch::batch(shared, args).await,
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
        Command::Settle(args) => settle::settle(shared, args).await,
        Command::Worker(args) => worker::worker(shared, args).await,
        Command::State(args) => state::state(shared, args).await,
        Command::Prune(args) => prune::prune(shared, args).await,
        Command::Backup(args) => backup::backup(shared, args).await,
        Command::Validate(args) => validate::validate(shared, args).await,
        Command::Graph(args) => graph::graph(shared, args).await,
        Command::Doctor(args) => doctor::doctor(shared, args).await,
        Command::Demo(args) => demo::demo(call, shared, args).await,
        Command::Init(args) => init::init(shared, args),
        Command::Completions(args) => Ok(completions::completions(args)),
        Command::Man(args) => man::man(args),
        Command::Schema => schema::schema(),
        Command::Explain(args) => explain::explain(shared, args),
    }
}

/// Says how a run stands after a person moved it, and who would go on with it.
async fn say_standing(engine: &Engine, run: &RunId, status: RunStatus) -> Result<(), ErrorObject> {
    if status.is_terminal() {
        output::talk(&format!("run {run} is {status}"));
        return Ok(());
    }
    let root = engine.store().run(run).await.map_err(stored)?.root;
    let known = engine.inspect(run).await?;
    if !functions::is_carried(&**engine.store(), &known, &root).await? {
        output::talk(&match functions::who_has(known.workflow()) {
            Some(who) => format!("nobody is carrying the run: {who} goes on with it"),
            None => {
                format!("nobody is carrying the run; `stepwell resume {}` goes on", text::word(root.as_str()))
            }
        });
    }
    Ok(())
}

/// Turns a store's failure into the error users see.
#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn stored(error: stepwell_store::Error) -> ErrorObject {
    stepwell_engine::error::from_store(&error)
}
