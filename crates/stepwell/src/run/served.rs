//! Who carries out a run that is to go on.

use std::collections::BTreeSet;

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::RunId;
use stepwell_core::run::Run as CoreRun;
use stepwell_core::workflow::StepIx;
use stepwell_core::workflow::definition::Action;
use stepwell_engine::error::from_store;
use stepwell_engine::{Engine, Leases, Options, handler_of};
use stepwell_store::RunRow;

/// Returns an engine of its own for a run of providers that every Stepwell has, and none where the run is served: by this
/// engine, by a process that is alive and carried a step of it before, or by whoever comes. That is so if this engine carries
/// nothing out, and of the run of an agent, whose functions nobody can give to who lets it go on.
///
/// # Errors
/// `HANDLER_UNAVAILABLE` with the steps, if nobody carries them out; or the store failed.
pub(super) async fn carrier(engine: &Engine, row: &RunRow) -> Result<Option<Engine>, ErrorObject> {
    if *engine.leases() == Leases::None {
        return Ok(None);
    }
    let run = engine.inspect(&row.run).await?;
    let missing = steps_without_handler(engine, &run);
    if missing.is_empty() || is_carried(engine, &run).await? {
        return Ok(None);
    }
    let registry = crate::registry(Vec::new());
    let has = |step: &StepIx| registry.get(&handler_of(run.workflow(), *step)).is_some();
    if row.parent.is_none() && missing.iter().all(has) {
        let label = format!("pid {} (resume {})", std::process::id(), row.root);
        let options = Options { leases: Leases::Own, label, ..Options::default() };
        let carrier = Engine::open(engine.store().clone(), registry, options).await?;
        carrier.carry(&row.run).await?;
        return Ok(Some(carrier));
    }
    if missing.iter().all(|step| is_of_agent(&run, *step)) {
        return Ok(None);
    }
    let names: BTreeSet<&str> = missing.iter().map(|step| run.workflow().step(*step).name.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let message = format!(
        "nobody can carry out run {}: this process has not the steps {} of '{}', and no worker that had them is alive",
        row.run,
        names.join(", "),
        row.workflow
    );
    Err(ErrorObject::new(Code::HANDLER_UNAVAILABLE, message)
        .with("steps", names)
        .with_hint("give the pipeline of the run, or a registry that has it by its name"))
}

/// Returns whether a run that is not over lacks functions of an agent: this engine does not carry them out, and no process is
/// alive that carried a step of the run before.
///
/// # Errors
/// The store failed, or holds no such run.
pub(crate) async fn is_left(engine: &Engine, id: &RunId) -> Result<bool, ErrorObject> {
    let run = engine.inspect(id).await?;
    let is_missing =
        |step: &StepIx| *engine.leases() == Leases::None || !engine.handles(run.workflow(), *step);
    let lacks = steps_of(&run).into_iter().filter(is_missing).any(|step| is_of_agent(&run, step));
    Ok(lacks && !run.status().is_terminal() && !is_carried(engine, &run).await?)
}

/// Takes a run up that somebody waits for here, if this engine can carry out steps of it and nobody is alive that carried one before:
/// who waits would wait for ever.
///
/// # Errors
/// The store failed, or holds no such run.
pub(super) async fn take_up_if_left(engine: &Engine, id: &RunId) -> Result<(), ErrorObject> {
    if *engine.leases() != Leases::Own || engine.carries(id) {
        return Ok(());
    }
    let row = engine.store().run(id).await.map_err(|error| from_store(&error))?;
    if row.state.status.is_terminal() {
        return Ok(());
    }
    let run = engine.inspect(id).await?;
    let is_ours = steps_of(&run).into_iter().any(|step| engine.handles(run.workflow(), step));
    if is_ours && !is_carried(engine, &run).await? {
        engine.carry(id).await?;
    }
    Ok(())
}

/// Lets an engine carry a run until it rests.
pub(super) fn carry(carrier: Engine, row: &RunRow) {
    let run = row.run.clone();
    drop(tokio::spawn(async move {
        // Whatever keeps it from hearing, it cannot carry on without the store either.
        let _rested = carrier.rest(&run, true).await;
        carrier.shutdown().await;
    }));
}

fn steps_without_handler(engine: &Engine, run: &CoreRun) -> Vec<StepIx> {
    steps_of(run).into_iter().filter(|step| !engine.handles(run.workflow(), *step)).collect()
}

fn steps_of(run: &CoreRun) -> Vec<StepIx> {
    let workflow = run.workflow();
    workflow.definition().steps.iter().filter_map(|step| workflow.find(step.name.as_str())).collect()
}

fn is_of_agent(run: &CoreRun, step: StepIx) -> bool {
    matches!(run.workflow().step(step).action, Action::Function)
}

/// Returns whether another process is alive that carried out a step of a run.
async fn is_carried(engine: &Engine, run: &CoreRun) -> Result<bool, ErrorObject> {
    let sessions: BTreeSet<u64> = run.executions().iter().map(|execution| execution.session).collect();
    for session in sessions.into_iter().filter(|session| *session != 0 && engine.session() != Some(*session))
    {
        if engine.store().holder(session).await.map_err(|error| from_store(&error))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
