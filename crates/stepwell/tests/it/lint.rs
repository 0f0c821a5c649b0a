//! What an agent can do and was hardly meant to.

use stepwell::{Agent, AgentBuilder, Engine, Join, Lifecycle, Need, OnFailure, Resources, State};

use crate::support::{always, ends, simulated, simulated_with};

/// Returns what is found: `code state`.
fn found(engine: &Engine, states: Vec<State>) -> Vec<String> {
    let agent = states.into_iter().fold(Agent::new("linted"), AgentBuilder::add_state).build(engine).unwrap();
    agent.lint().iter().map(|finding| format!("{} {}", finding.code, finding.step)).collect()
}

fn opaque(name: &str) -> State {
    State::new(name, ends)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_found_where_everything_is_declared() {
    let engine = simulated().await;
    let states = vec![
        always("s", &["a", "b"]),
        always("a", &["m"]),
        always("b", &["m"]),
        always("m", &[]),
        always("later", &[]).needs("m", Need::required()),
        always("beside", &[]).needs("later", Need::parallel()),
    ];
    assert!(found(&engine, states).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a5_states_that_lead_only_to_each_other_are_unreachable() {
    let engine = simulated().await;
    let states = vec![always("a", &["b"]), always("b", &[]), always("x", &["y"]), always("y", &["x"])];
    assert_eq!(found(&engine, states), ["unreachable x", "unreachable y"]);
}

#[tokio::test(start_paused = true)]
async fn states_that_may_lead_anywhere_hide_entries_and_hold_up_merges() {
    let engine = simulated().await;
    assert_eq!(
        found(&engine, vec![opaque("first"), opaque("second")]),
        ["first_added_is_entry first", "entry_hidden second"]
    );
    assert_eq!(found(&engine, vec![opaque("first").entry(), opaque("second")]), Vec::<String>::new());
    let forked = vec![always("s", &["a", "b"]).entry(), opaque("a"), always("b", &["m"]), always("m", &[])];
    assert_eq!(found(&engine, forked), ["opaque_join a"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_several_branches_takes_them_together_unless_it_says_otherwise() {
    let engine = simulated().await;
    let states = |join| {
        let fails = |name| always(name, &[]).on_failure(OnFailure::Route("h".into()));
        vec![always("s", &["a", "b"]), fails("a"), fails("b"), always("h", &[]).join(join)]
    };
    assert_eq!(found(&engine, states(Join::All)), ["shared_handler h"]);
    assert!(found(&engine, states(Join::Each)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn needs_that_no_round_meets_again_and_needs_of_routed_states_are_told() {
    let engine = simulated().await;
    let anew = || Need::required().lifecycle(Lifecycle::Always);
    let once = vec![always("a", &[]), always("b", &[]).needs("a", anew())];
    assert_eq!(found(&engine, once), ["needs_outside_loop b"]);
    let round = vec![
        always("s", &["a"]),
        always("a", &["b"]),
        always("b", &["a", stepwell::END]),
        always("c", &[]).needs("a", anew()),
    ];
    assert!(found(&engine, round).is_empty());
    let routed = vec![always("a", &["b"]), always("b", &[]).needs("a", Need::required())];
    assert_eq!(found(&engine, routed), ["needs_and_route b"]);
}

#[tokio::test(start_paused = true)]
async fn a_loop_with_two_ways_in_is_told() {
    let engine = simulated().await;
    let rework = |to: &'static [&'static str]| {
        vec![
            always("s", &["research", "outline"]),
            always("outline", &["draft"]),
            always("research", to),
            always("draft", &["review"]),
            always("review", &["draft", stepwell::END]),
        ]
    };
    assert_eq!(found(&engine, rework(&["review"])), ["loop_entered_twice review"]);
    assert!(found(&engine, rework(&["draft"])).is_empty());
    let begun = vec![always("a", &["b"]).entry(), always("b", &["a", stepwell::END]).entry()];
    assert_eq!(found(&engine, begun), ["loop_entered_twice b"]);
    assert!(found(&engine, vec![always("a", &["a", stepwell::END])]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a15_resources_that_nobody_counts_are_told() {
    let engine = simulated_with(Resources::cpu(4)).await;
    let state = always("a", &[]).resources(Resources::cpu(1).gpu(1).custom("licences", 2));
    let agent = Agent::new("books").add_state(state).add_state(always("b", &[])).build(&engine).unwrap();
    let told: Vec<_> = agent.lint().iter().map(ToString::to_string).collect();
    let message = "advisory_resource: state 'a' asks for gpu_units, licences, which this engine does not count \
                   (say how much there is in `Options::pool`)";
    assert_eq!(told, [message]);
}
