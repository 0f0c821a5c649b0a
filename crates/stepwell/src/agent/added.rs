//! States that are added while a run goes on. They are journaled: the run has them after a restart too.

use std::sync::Arc;

use stepwell_core::error::ErrorObject;
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_core::workflow::{Workflow, problems_error};
use stepwell_engine::Task;

use super::Agent;
use super::builder::{Defaults, own_problems};
use super::state::State;
use crate::context::Context;
use crate::error::StepError;
use crate::run::Run;

impl Context {
    /// Adds a state to this run, together with everything else that the state it is called in leaves behind: if that fails,
    /// nothing was added. It begins when a route names it, at once if it is an [entry](State::entry), or when what it
    /// needs is met. The other runs of the agent do not have it. If the agent has the very same state, that one stays, with
    /// its function. The functions of added states are found by their names: what differs from run to run belongs into the
    /// context or a payload, for two runs that add a state of one name share the function that was given last.
    ///
    /// A state that declares its [`next`](State::next) may name states that it adds, or a pattern for them.
    ///
    /// The run has the state after a restart as well, and waits for its function: [`Agent::add_state`] gives it again, or an
    /// agent that is built with a state of that name.
    ///
    /// ```
    /// # use stepwell::{Agent, Engine, Options, Registry};
    /// use serde_json::json;
    /// use stepwell::{Context, Next, Reducer, State};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let agent = Agent::new("chunks")
    ///     .add_state(State::new("split", |cx: Context| async move {
    ///         let chunks: u32 = cx.get("chunks")?.unwrap_or(1);
    ///         for i in 0..chunks {
    ///             let chunk = move |cx: Context| async move {
    ///                 cx.set("sum", &(cx.get::<u32>("sum")?.unwrap_or(0) + i))?;
    ///                 Ok(Next::to("merge"))
    ///             };
    ///             cx.add_state(State::new(&format!("chunk_{i}"), chunk).next(["merge"]))?;
    ///         }
    ///         Ok(Next::all((0..chunks).map(|i| format!("chunk_{i}"))))
    ///     }).next(["chunk_*"]))
    ///     .state("merge", |_: Context| async { Ok(Next::done()) })
    ///     .reducer("sum", Reducer::Sum)
    ///     .build(&engine)?;
    ///
    /// let result = agent.run(json!({ "chunks": 4 })).await?;
    /// assert_eq!(result.get("sum")?, Some(6));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The attempt has ended. What is wrong with the state fails the attempt when it ends.
    pub fn add_state(&self, state: State) -> Result<(), StepError> {
        self.with(|left| left.states.push(state))
    }
}

impl Agent {
    /// Adds a state to a run of this agent that goes on, durably; or gives a run that has it already, after a restart, its
    /// function again.
    ///
    /// # Errors
    /// `WORKFLOW_VALIDATION_FAILED` if it cannot be added, or the run has another state of that name; the run is over; or
    /// the store failed.
    pub async fn add_state(&self, run: &Run, state: State) -> Result<(), ErrorObject> {
        let known = self.engine.inspect(run.id()).await?;
        let mut state = state;
        self.defaults.complete(&mut state, |name| known.workflow().find(name).is_some());
        check(known.workflow().definition(), &state.step)?;
        let (step, function) = state.into_parts(&self.defaults);
        let name = step.name.clone();
        let is_own = is_own(known.workflow(), &step)?;
        self.engine.define(run.id(), vec![step]).await?;
        if !is_own {
            self.engine.register(self.workflow.name(), name.as_str(), Arc::new(function));
        }
        Ok(())
    }
}

/// Lets the engine carry out the states that an attempt adds, and returns them as steps.
pub(super) fn take_in(
    mut states: Vec<State>,
    defaults: &Arc<Defaults>,
    task: &Task,
) -> Result<Vec<Step>, ErrorObject> {
    let workflow = &task.run.workflow;
    let names: Vec<_> = states.iter().map(|state| state.step.name.clone()).collect();
    for state in &mut states {
        let is_there = |name: &str| workflow.find(name).is_some() || names.iter().any(|n| n.as_str() == name);
        defaults.complete(state, is_there);
        check(workflow.definition(), &state.step)?;
    }
    // All are looked at before the first gets its function, which other runs have as well.
    let own: Vec<bool> =
        states.iter().map(|state| is_own(workflow, &state.step)).collect::<Result<_, _>>()?;
    let mut steps = Vec::with_capacity(states.len());
    for (state, is_own) in states.into_iter().zip(own) {
        let (step, function) = state.into_parts(defaults);
        if !is_own {
            task.report.register(workflow.name(), &step, Arc::new(function))?;
        }
        steps.push(step);
    }
    Ok(steps)
}

/// Returns whether a run has a step that nobody added to it: the function of such a one belongs to all runs of the agent.
///
/// # Errors
/// The run has another step of that name.
fn is_own(workflow: &Workflow, step: &Step) -> Result<bool, ErrorObject> {
    let was_added = || workflow.added_steps().iter().any(|added| added.name == step.name);
    Ok(workflow.has(step)? && !was_added())
}

/// Holds one more state to what those of the agent were held to.
fn check(of: &Definition, step: &Step) -> Result<(), ErrorObject> {
    let limits = of.limits.clone();
    let alone = Definition { limits, ..Definition::new(of.name.as_str(), vec![step.clone()]) };
    match &own_problems(&alone)[..] {
        [] => Ok(()),
        problems => Err(problems_error(problems)),
    }
}
