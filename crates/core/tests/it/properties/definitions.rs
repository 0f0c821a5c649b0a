//! Random definitions: declarative, routed and mixed, with every kind of need and policy.

use serde_json::json;
use stepwell_core::policy::retry::RetryPolicy;
use stepwell_core::workflow::definition::{
    Definition, END, Effect, ForEach, HandsOn, Join, Lifecycle, Need, NeedKind, OnFailure, Priority, Reducer,
    Step, Successors,
};

use crate::support::Rng;

pub(super) fn random(rng: &mut Rng) -> Definition {
    let count = 1 + rng.below(7);
    let style = rng.below(3);
    let mut steps: Vec<Step> = (0..count).map(|i| step(rng, style, i, count)).collect();
    for step in &mut steps {
        policies(rng, step, count);
    }
    if rng.chance(25) {
        steps.push(Step::provided("undo", "python/v1", "python/execute", serde_json::Value::Null));
        for step in &mut steps[..count] {
            if rng.chance(40) {
                step.compensation = Some("undo".into());
            }
        }
    }
    let mut definition = Definition::new("random", steps);
    definition.max_concurrent = rng.chance(35).then(|| 1 + rng.below(3) as u32);
    definition.timeout_ms = rng.chance(15).then_some(2_000);
    definition.max_steps = if rng.chance(10) { 5 } else { 60 };
    definition.checkpoint_interval_ms = (definition.max_steps == 5).then_some(400);
    definition.reducers.insert("sum".into(), Reducer::Sum);
    definition.reducers.insert("list".into(), Reducer::Extend);
    definition
}

fn name(i: usize) -> String {
    format!("s{i}")
}

fn step(rng: &mut Rng, style: usize, i: usize, count: usize) -> Step {
    let declarative = style == 0 || (style == 2 && rng.chance(50));
    let mut step = if declarative {
        Step::provided(&name(i), "python/v1", "python/execute", serde_json::Value::Null)
    } else {
        routed(rng, i, count)
    };
    if i > 0 && (declarative || (style == 2 && rng.chance(30))) && rng.chance(80) {
        for _ in 0..=rng.below(3) {
            let need =
                Need { step: name(rng.below(i)).as_str().into(), kind: kind(rng), lifecycle: lifecycle(rng) };
            step.needs.push(need);
        }
    }
    if declarative && rng.chance(20) {
        let items = (0..rng.below(4)).map(|item| json!(item)).collect();
        step.for_each =
            Some(ForEach { items, max_concurrent: rng.chance(40).then(|| 1 + rng.below(2) as u32) });
    }
    step.entry = style > 0 && (i == 0 || rng.chance(10));
    step
}

fn routed(rng: &mut Rng, i: usize, count: usize) -> Step {
    let mut step = Step::function(&name(i));
    let target =
        |rng: &mut Rng| if rng.chance(70) { (i + 1 + rng.below(2)).min(count - 1) } else { rng.below(count) };
    let mut names: Vec<String> = (0..=rng.below(2)).map(|_| name(target(rng))).collect();
    if rng.chance(50) {
        names.push(END.into());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    step = step.next(&names);
    if let (true, Successors::Declared(names)) = (rng.chance(20), step.next.clone()) {
        step.next = Successors::Inferred(names);
    }
    if rng.chance(8) {
        step.next = Successors::Unknown;
    }
    step.hands_on = *rng.pick(&[HandsOn::Nothing, HandsOn::Nothing, HandsOn::Value, HandsOn::Unknown]);
    step.join = match rng.below(10) {
        0 => Join::Each,
        1 => Join::Any,
        _ => Join::All,
    };
    step
}

fn kind(rng: &mut Rng) -> NeedKind {
    match rng.below(12) {
        0 => NeedKind::And,
        1 => NeedKind::Optional,
        2 => NeedKind::Parallel,
        3 => NeedKind::Sequential,
        4 => NeedKind::Conditional,
        5 => NeedKind::Timeout { timeout_ms: 100 },
        6 => NeedKind::Or,
        7 => NeedKind::Xor,
        _ => NeedKind::Required,
    }
}

fn lifecycle(rng: &mut Rng) -> Lifecycle {
    match rng.below(10) {
        0 => Lifecycle::Always,
        1 => Lifecycle::Session,
        2 => Lifecycle::Temporary { expiry_ms: 120 },
        _ => Lifecycle::Once,
    }
}

fn policies(rng: &mut Rng, step: &mut Step, count: usize) {
    step.retry = rng.chance(40).then(|| RetryPolicy::fixed(rng.below(3) as u32, 50));
    step.on_failure = match rng.below(10) {
        0..=1 => OnFailure::Continue,
        2 => OnFailure::Stop,
        3 => OnFailure::Route(name(rng.below(count)).as_str().into()),
        _ => OnFailure::Fail,
    };
    if rng.chance(15) {
        step.effect = Effect::AtMostOnce;
    }
    step.priority = *rng.pick(&[Priority::Normal, Priority::Normal, Priority::High, Priority::Low]);
}
