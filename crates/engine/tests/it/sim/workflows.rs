//! Random workflows: chains, forks with merges, loops, retries, questions, signals, timers, children.

use serde_json::{Value, json};
use stepwell_core::policy::retry::RetryPolicy;
use stepwell_core::workflow::definition::{Definition, Effect, OnFailure, Step};

use super::dice::Dice;

pub(super) const PROTOCOL: &str = "sim/v1";

/// Returns a definition; `depth` says how many generations of children it may have.
pub(super) fn random(dice: &mut Dice, name: &str, depth: u32) -> Definition {
    let steps = match dice.below(5) {
        0 => looping(dice),
        1 => chain(dice, depth),
        _ => web(dice, depth),
    };
    let mut definition = Definition::new(name, steps);
    if dice.chance(20) {
        definition.max_concurrent = Some(dice.between(1, 2));
    }
    if dice.chance(5) {
        definition.timeout_ms = Some(dice.between(10_000, 40_000).into());
    }
    definition
}

fn chain(dice: &mut Dice, depth: u32) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for i in 0..dice.between(2, 5) {
        let step = provided(dice, &format!("s{i}"), depth);
        steps.push(match steps.last() {
            Some(before) => step.needs(&[before.name.clone().as_str()]),
            None => step,
        });
    }
    steps
}

/// Each step needs some of those before it: forks, merges and independent branches.
fn web(dice: &mut Dice, depth: u32) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for i in 0..dice.between(3, 7) {
        let needs: Vec<String> =
            steps.iter().filter(|_| dice.chance(40)).map(|step| step.name.to_string()).collect();
        let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
        let mut step = provided(dice, &format!("s{i}"), depth).needs(&needs);
        if dice.chance(15) {
            step.on_failure = OnFailure::Continue;
        }
        steps.push(step);
    }
    steps
}

/// Goes round as often as the input says, with a fork in each round.
fn looping(dice: &mut Dice) -> Vec<Step> {
    let mut steps = vec![
        Step::function("head").next(&["left", "right"]),
        Step::function("left").next(&["tally"]),
        Step::function("right").next(&["tally"]),
        Step::function("tally").next(&["head", "done"]),
        Step::function("done").next(&[]),
    ];
    for step in &mut steps {
        step.retry = Some(RetryPolicy::fixed(2, dice.between(10, 2_000).into()));
    }
    steps
}

fn provided(dice: &mut Dice, name: &str, depth: u32) -> Step {
    let params = match dice.below(if depth > 0 { 20 } else { 18 }) {
        0..=7 => work(dice),
        8 | 9 => json!({ "do": "once" }),
        10 | 11 => json!({ "do": "ask" }),
        12 => json!({ "do": "ask", "deadline_ms": dice.between(1_000, 20_000) }),
        13 | 14 => json!({ "do": "await", "name": if dice.chance(50) { "red" } else { "blue" } }),
        15 | 16 => json!({ "do": "nap", "ms": dice.between(1, 8_000) }),
        17 => json!({ "do": "talk" }),
        _ => {
            let child = random(dice, "child", depth - 1);
            json!({ "do": "child", "workflow": serde_json::to_value(child).expect("a definition is JSON") })
        }
    };
    let mut step = Step::provided(name, PROTOCOL, "sim/do", params);
    if dice.chance(60) {
        step.retry = Some(RetryPolicy::fixed(dice.between(1, 3), dice.between(1, 3_000).into()));
    }
    if dice.chance(10) {
        step.timeout_ms = Some(dice.between(500, 4_000).into());
    }
    if dice.chance(10) {
        step.effect = Effect::AtMostOnce;
    }
    step
}

fn work(dice: &mut Dice) -> Value {
    let fails = if dice.chance(35) { dice.between(1, 3) } else { 0 };
    let takes_ms = if dice.chance(30) { dice.between(1_000, 6_000) } else { dice.between(0, 50) };
    let is_stubborn = dice.chance(10);
    let losses = if dice.chance(15) { dice.between(1, 2) } else { 0 };
    json!({ "do": "work", "takes_ms": takes_ms, "fails": fails, "losses": losses, "stubborn": is_stubborn })
}
