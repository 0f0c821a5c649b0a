//! What cannot be built.

use std::time::Duration;

use stepwell::core::error::Code;
use stepwell::{Agent, Lifecycle, Need, OnFailure, Resources, State};

use crate::support::{ends, on_each_store};

#[tokio::test]
async fn a20_everything_that_is_wrong_with_a_definition_is_told_at_once() {
    on_each_store(async |engine| {
        let state = |name| State::new(name, ends);
        let error = Agent::new("wrong")
            .max_concurrent(0)
            .limit("none", 0)
            .limit("printer", 1)
            .add_state(state("a").needs("b", Need::required()))
            .add_state(state("b").needs("a", Need::required()))
            .add_state(state("self").needs("self", Need::required()))
            .add_state(state("c").needs("d", Need::required()).needs("prepair", Need::required()))
            .add_state(state("d").needs("c", Need::required()))
            .add_state(state("prepare").resources(Resources::cpu(-1)))
            .add_state(state("chunk_*"))
            .add_state(state("twice"))
            .add_state(state("twice"))
            .add_state(state("late").needs("a", Need::required().lifecycle(Lifecycle::Temporary { expiry_ms: 0 })))
            .add_state(state("format").next(["formt"]).compensation("undoo").limit("printer", 2))
            .add_state(state("undo").on_failure(OnFailure::Route("formats".into())).timeout(Duration::ZERO))
            .build(&engine)
            .unwrap_err();
        let told: Vec<String> = error
            .problems
            .iter()
            .map(|problem| match &problem.hint {
                Some(hint) => format!("{} ({hint})", problem.message),
                None => problem.message.clone(),
            })
            .collect();
        assert_eq!(
            told,
            [
                "limit 'none' must be at least 1",
                "state name 'chunk_*' holds a '*' or begins with a '$'",
                "step 'format' takes 2 of limit 'printer', which has 1",
                "two steps are named 'twice'",
                "max_concurrent must be at least 1",
                "step 'prepare': cpu_units must be a number that is not negative, not -1",
                "step 'late': the time of its need 'a' must be more than 0",
                "step 'undo': the timeout must be more than 0",
                "step 'c' needs 'prepair', which no step is named (did you mean 'prepare'?)",
                "step 'format' leads to 'formt', which no step is named (did you mean 'format'?)",
                "step 'format' is compensated by 'undoo', which no step is named (did you mean 'undo'?)",
                "step 'undo' routes its failure to 'formats', which no step is named (did you mean 'format'?)",
                "needs form a cycle: a → b → a",
                "needs form a cycle: self → self",
                "needs form a cycle: c → d → c",
            ]
        );
        assert_eq!(error.to_error().code, Code::WORKFLOW_VALIDATION_FAILED);
    })
    .await;
}

#[tokio::test]
async fn an_agent_without_states_is_refused_and_told_what_to_write() {
    on_each_store(async |engine| {
        let error = Agent::new("empty").build(&engine).unwrap_err();
        assert_eq!(error.problems[0].path, "steps");
        assert_eq!(
            error.to_string(),
            "agent 'empty' has no states (add one before `build`: \
             `.state(\"first\", |cx: Context| async move { Ok(Next::done()) })`)"
        );
        assert_eq!(error.to_error().code, Code::WORKFLOW_VALIDATION_FAILED);
    })
    .await;
}
