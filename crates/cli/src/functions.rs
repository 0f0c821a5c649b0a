//! Runs whose steps are functions of a program. This one has none of them: it tells who goes on with such a run, and says so at
//! once where nobody does.

use std::collections::BTreeSet;

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::RunId;
use stepwell_core::run::Run;
use stepwell_core::run::wait::WaitKind;
use stepwell_core::status::ExecutionStatus;
use stepwell_core::workflow::definition::Action;
use stepwell_core::workflow::{StepIx, Workflow};
use stepwell_engine::Engine;
use stepwell_store::Store;

use crate::{output, project, values};

/// Returns who has the functions of a workflow, as the subject of a sentence; none: it has no functions.
pub(crate) fn who_has(workflow: &Workflow) -> Option<String> {
    let name = workflow.name();
    let mut actions = workflow.definition().steps.iter().map(|step| &step.action);
    match actions.find(|action| matches!(action, Action::Function | Action::VersionedFunction))? {
        // What a worker of modules serves are agents.
        Action::VersionedFunction => Some(format!("the program of pipeline '{name}'")),
        _ => Some(format!("the program of '{name}', or `stepwell worker MODULE:AGENT` if that is Python,")),
    }
}

/// Returns whether a step is a function.
pub(crate) fn is_one(run: &Run, step: StepIx) -> bool {
    matches!(run.workflow().step(step).action, Action::Function | Action::VersionedFunction)
}

/// Returns whether a process is there that carries a run; of one that has functions, one that may have them.
pub(crate) async fn is_carried(store: &dyn Store, run: &Run, root: &RunId) -> Result<bool, ErrorObject> {
    match who_has(run.workflow()) {
        Some(_) => project::has_program(store).await,
        None => project::is_carried(store, root).await,
    }
}

/// Says which steps of a run that is followed this program cannot carry out, unless another one is alive that may.
///
/// # Errors
/// `HANDLER_UNAVAILABLE` if they are all that could go on now, so that following the run would be waiting in vain; what was done
/// with it stands, as `done` says. Or the store failed.
pub(crate) async fn say_missing(engine: &Engine, run: &Run, done: &str) -> Result<(), ErrorObject> {
    if run.status().is_terminal() || project::has_program(&**engine.store()).await? {
        return Ok(());
    }
    let stuck = Stuck::of(engine, run).await?;
    if stuck.steps.is_empty() || stuck.others_move {
        let to_come = to_come(run);
        if let Some(who) = who_has(run.workflow()).filter(|_| !to_come.is_empty()) {
            let steps = values::named(&to_come);
            output::talk(&format!(
                "no process is alive that has the functions of {steps}: {who} goes on there"
            ));
        }
        return Ok(());
    }
    let names: Vec<String> = stuck.steps.iter().map(|(_, step)| format!("'{step}'")).collect();
    let message = format!(
        "{done}, but nobody carries it out: no process is alive that has the functions of {}",
        values::named(&names)
    );
    let steps: Vec<&str> = stuck.steps.iter().map(|(_, step)| step.as_str()).collect();
    let programs: BTreeSet<&str> = stuck.steps.iter().map(|(program, _)| program.as_str()).collect();
    let programs = programs.into_iter().collect::<Vec<_>>().join(" and ");
    Err(ErrorObject::new(Code::HANDLER_UNAVAILABLE, message)
        .with("run_id", run.id().as_str())
        .with("status", run.status().as_str())
        .with("steps", steps)
        .with_hint(format!("start {programs} and it goes on")))
}

/// Returns the functions of a run that have something to do in it, or have had nothing yet.
fn to_come(run: &Run) -> Vec<String> {
    let is_done = |step: StepIx| {
        let mut of_step = run.executions().iter().filter(|execution| execution.step_ix() == step).peekable();
        of_step.peek().is_some() && of_step.all(|execution| execution.status.is_terminal())
    };
    let steps = run.workflow().definition().steps.iter();
    let to_come = steps.filter(|step| {
        run.workflow().find(step.name.as_str()).is_some_and(|step| is_one(run, step) && !is_done(step))
    });
    to_come.map(|step| format!("'{}'", step.name)).collect()
}

/// What of a run, and of the runs below it that it waits for, cannot go on here.
#[derive(Debug, Default)]
struct Stuck {
    /// Functions that this program has not, each behind who has it.
    steps: BTreeSet<(String, String)>,
    /// Something else moves the run: a step that this program carries out, a time, or an answer.
    others_move: bool,
}

impl Stuck {
    async fn of(engine: &Engine, run: &Run) -> Result<Self, ErrorObject> {
        let mut stuck = Self::default();
        let mut below = stuck.note(run);
        while let Some(child) = below.pop() {
            below.extend(stuck.note(&engine.inspect(&child).await?));
        }
        Ok(stuck)
    }

    /// Takes note of what of a run is under way, and returns the runs that it waits for.
    fn note(&mut self, run: &Run) -> Vec<RunId> {
        let mut below = Vec::new();
        for wait in run.open_waits() {
            match &wait.spec.kind {
                WaitKind::Child(child) => below.push(child.run.clone()),
                WaitKind::Human(_) | WaitKind::Signal { .. } | WaitKind::Timer => self.others_move = true,
            }
        }
        for execution in run.executions().iter().filter(|execution| !execution.status.is_terminal()) {
            match who_has(run.workflow()) {
                _ if execution.status == ExecutionStatus::Waiting => {}
                Some(who) if is_one(run, execution.step_ix()) => {
                    self.steps.insert((who, execution.step.to_string()));
                }
                _ => self.others_move = true,
            }
        }
        below
    }
}
