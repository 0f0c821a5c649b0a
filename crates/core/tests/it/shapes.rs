//! The table of shapes of spec/fluffy.md §2.4 (A7, A8, A10, A11): each step runs exactly as often as the
//! structure says, with whatever durations.

use std::collections::BTreeMap;

use stepwell_core::run::event::Target;
use stepwell_core::workflow::definition::{Definition, Join, Step};

use crate::driver::{Dice, World, functions, to};

const SEEDS: u64 = 300;

type Route<'a> = &'a dyn Fn(&str, u32) -> Vec<Target>;

/// Carries the shape out under many random durations and checks the counts each time.
fn check(definition: &Definition, route: Route<'_>, expected: &[(&str, u32)], also: &dyn Fn(&World)) {
    let expected: BTreeMap<String, u32> = expected.iter().map(|(s, n)| ((*s).to_owned(), *n)).collect();
    for seed in 0..SEEDS {
        let mut world = World::new(definition.clone());
        world.carry_out(&mut Dice(seed), route);
        world.assert_completed();
        assert_eq!(world.counts(), expected, "seed {seed}: {:?}", world.activated());
        also(&world);
    }
}

fn nothing(_: &World) {}

fn ends_before(world: &World, earlier: (&str, u32), later: (&str, u32)) {
    let end = world.at(earlier.0, earlier.1).finished_at;
    let begin = world.at(later.0, later.1).started_at;
    assert!(end <= begin, "{earlier:?} must end before {later:?} starts");
}

#[test]
fn plain_merge() {
    let route = |step: &str, _| match step {
        "s" => to(&["a", "b"]),
        "a" | "b" => to(&["m"]),
        _ => vec![],
    };
    check(
        &functions(&["s: a b", "a: m", "b: m", "m:"]),
        &route,
        &[("s", 1), ("a", 1), ("b", 1), ("m", 1)],
        &|w| {
            ends_before(w, ("a", 1), ("m", 1));
            ends_before(w, ("b", 1), ("m", 1));
        },
    );
}

#[test]
fn a_merge_waits_for_uneven_branches() {
    let route = |step: &str, _| match step {
        "s" => to(&["a", "b"]),
        "a" | "b2" => to(&["m"]),
        "b" => to(&["b2"]),
        _ => vec![],
    };
    let expected = [("s", 1), ("a", 1), ("b", 1), ("b2", 1), ("m", 1)];
    check(&functions(&["s: a b", "a: m", "b: b2", "b2: m", "m:"]), &route, &expected, &|w| {
        ends_before(w, ("b2", 1), ("m", 1));
    });
}

#[test]
fn a_fast_branch_is_not_stalled_by_a_slow_sibling_that_leads_elsewhere() {
    let mut world = World::new(functions(&["s: f1 w", "f1: f2", "f2: f3", "f3:", "w:"]));
    let take = |world: &mut World, step: &str, next: &[&str]| {
        let work = world.ready().into_iter().find(|w| w.execution.step.as_str() == step);
        let work = work.unwrap_or_else(|| panic!("{step} is ready"));
        world.start(&work);
        world.complete(&work, to(next));
    };
    take(&mut world, "s", &["f1", "w"]);
    for (step, next) in [("f1", vec!["f2"]), ("f2", vec!["f3"]), ("f3", vec![])] {
        take(&mut world, step, &next);
    }
    take(&mut world, "w", &[]);
    world.assert_completed();
}

#[test]
fn a_branch_that_ends_releases_the_merge() {
    let route = |step: &str, _| match step {
        "s" => to(&["a", "b"]),
        "a" => to(&["m"]),
        _ => vec![],
    };
    let expected = [("s", 1), ("a", 1), ("b", 1), ("m", 1)];
    check(&functions(&["s: a b", "a: m", "b: m $end", "m:"]), &route, &expected, &|w| {
        ends_before(w, ("b", 1), ("m", 1));
    });
}

#[test]
fn nested_forks_join_from_the_inside() {
    let route = |step: &str, _| match step {
        "s" => to(&["x", "y"]),
        "x" => to(&["x1", "x2"]),
        "x1" | "x2" => to(&["n"]),
        "n" | "y" => to(&["m"]),
        _ => vec![],
    };
    let shape = functions(&["s: x y", "x: x1 x2", "x1: n", "x2: n", "n: m", "y: m", "m:"]);
    let expected = [("s", 1), ("x", 1), ("y", 1), ("x1", 1), ("x2", 1), ("n", 1), ("m", 1)];
    check(&shape, &route, &expected, &|w| {
        ends_before(w, ("x1", 1), ("n", 1));
        ends_before(w, ("x2", 1), ("n", 1));
        ends_before(w, ("n", 1), ("m", 1));
        ends_before(w, ("y", 1), ("m", 1));
    });
}

#[test]
fn loops_run_as_often_as_they_return() {
    let route = |step: &str, n| match (step, n) {
        ("a", 1..=5) => to(&["b"]),
        ("b", _) => to(&["a"]),
        ("c", 1..=3) => to(&["c"]),
        _ => vec![],
    };
    check(&functions(&["a: b $end", "b: a"]), &route, &[("a", 6), ("b", 5)], &nothing);
    check(&functions(&["c: c $end"]), &route, &[("c", 4)], &nothing);
}

#[test]
fn a_loop_round_a_fork_merges_once_a_round() {
    let route = |step: &str, n| match (step, n) {
        ("s", _) => to(&["a", "b"]),
        ("a" | "b2", _) => to(&["m"]),
        ("b", _) => to(&["b2"]),
        ("m", 1..=2) => to(&["s"]),
        _ => vec![],
    };
    let shape = functions(&["s: a b", "a: m", "b: b2", "b2: m", "m: s $end"]);
    check(&shape, &route, &[("s", 3), ("a", 3), ("b", 3), ("b2", 3), ("m", 3)], &nothing);
}

#[test]
fn a_loop_in_a_branch_then_a_merge() {
    let route = |step: &str, n| match (step, n) {
        ("s", _) => to(&["a", "b"]),
        ("a", 3 | 6) | ("b", _) => to(&["m"]),
        ("a", _) => to(&["a"]),
        ("m", 1) => to(&["s"]),
        _ => vec![],
    };
    let shape = functions(&["s: a b", "a: a m", "b: m", "m: s $end"]);
    check(&shape, &route, &[("s", 2), ("a", 6), ("b", 2), ("m", 2)], &nothing);
}

#[test]
fn reworking_one_branch() {
    let route = |step: &str, n| match (step, n) {
        ("s", _) => to(&["research", "outline"]),
        ("research" | "draft", _) => to(&["review"]),
        ("outline", _) => to(&["draft"]),
        ("review", 1..=2) => to(&["draft"]),
        ("review", _) => to(&["publish"]),
        _ => vec![],
    };
    let shape = functions(&[
        "s: research outline",
        "research: review",
        "outline: draft",
        "draft: review",
        "review: draft publish",
        "publish:",
    ]);
    let expected = [("s", 1), ("research", 1), ("outline", 1), ("draft", 3), ("review", 3), ("publish", 1)];
    check(&shape, &route, &expected, &nothing);
}

#[test]
fn regenerating_until_it_is_good() {
    let route = |step: &str, n| match (step, n) {
        ("g", _) => to(&["q", "i"]),
        ("q", 1..=2) => to(&["r"]),
        ("q" | "i", _) => to(&["w"]),
        ("r", _) => to(&["q"]),
        _ => vec![],
    };
    let shape = functions(&["g: q i", "q: r w", "r: q", "i: w", "w:"]);
    check(&shape, &route, &[("g", 1), ("q", 3), ("r", 2), ("i", 1), ("w", 1)], &nothing);

    let from_the_start = |step: &str, n: u32| if step == "r" { to(&["g"]) } else { route(step, n) };
    let shape = functions(&["g: q i", "q: r w", "r: g", "i: w", "w:"]);
    check(&shape, &from_the_start, &[("g", 3), ("q", 3), ("r", 2), ("i", 3), ("w", 1)], &nothing);
}

#[test]
fn only_what_a_conditional_route_names_runs() {
    let shape = functions(&["r: c1 c2 seq simple", "c1:", "c2:", "seq:", "simple:"]);
    for (names, expected) in [
        (vec!["c1", "c2"], vec![("r", 1), ("c1", 1), ("c2", 1)]),
        (vec!["seq"], vec![("r", 1), ("seq", 1)]),
        (vec!["simple"], vec![("r", 1), ("simple", 1)]),
    ] {
        let route = |step: &str, _| if step == "r" { to(&names) } else { vec![] };
        check(&shape, &route, &expected, &nothing);
    }
}

#[test]
fn chunks_that_nobody_names_all_start_and_merge_once() {
    let mut steps: Vec<Step> =
        (0..20).map(|i| Step::function(&format!("chunk_{i}")).next(&["merge"])).collect();
    steps.push(Step::function("merge").next(&[]));
    let definition = Definition { max_concurrent: Some(5), ..Definition::new("chunks", steps) };
    let route = |step: &str, _| if step == "merge" { vec![] } else { to(&["merge"]) };
    for seed in 0..SEEDS {
        let mut world = World::new(definition.clone());
        assert_eq!(world.ready().len(), 5, "no more than max_concurrent are issued");
        world.carry_out(&mut Dice(seed), &route);
        world.assert_completed();
        assert_eq!(world.counts()["merge"], 1);
        assert_eq!(world.counts().len(), 21);
    }
}

#[test]
fn payload_chunks_each_run_and_merge_once() {
    let route = |step: &str, _| match step {
        "s" => (0..20).map(|i| Target::with_payload("p", serde_json::json!({ "chunk_id": i }))).collect(),
        "p" => to(&["m"]),
        _ => vec![],
    };
    check(&functions(&["s: p", "p: m", "m:"]), &route, &[("s", 1), ("p", 20), ("m", 1)], &nothing);
}

#[test]
fn of_two_steps_that_wait_for_each_other_the_earlier_arrival_goes_first() {
    let route = |step: &str, _| match step {
        "s" => to(&["a", "b"]),
        "a" => to(&["x"]),
        "b" => to(&["y"]),
        _ => vec![],
    };
    let shape = functions(&["s: a b", "a: x", "b: y", "x: y $end", "y: x $end"]);
    let expected = [("s", 1), ("a", 1), ("b", 1), ("x", 1), ("y", 1)];
    check(&shape, &route, &expected, &|w| {
        let (first, second) =
            if w.at("a", 1).finished_at < w.at("b", 1).finished_at { ("x", "y") } else { ("y", "x") };
        ends_before(w, (first, 1), (second, 1));
    });
}

#[test]
fn an_opaque_branch_is_waited_for() {
    let route = |step: &str, _| match step {
        "s" => to(&["a", "b"]),
        "a" => to(&["m"]),
        "b" => to(&["b2"]),
        _ => vec![],
    };
    let mut shape = functions(&["s: a b", "a: ?", "b: b2", "b2:", "m:"]);
    shape.steps[0].entry = true;
    check(&shape, &route, &[("s", 1), ("a", 1), ("b", 1), ("b2", 1), ("m", 1)], &|w| {
        ends_before(w, ("a", 1), ("b2", 1));
    });
}

#[test]
fn a_shared_handler_runs_once_when_all_are_settled_or_once_per_arrival() {
    let route = |step: &str, _| match step {
        "s" => to(&["a", "b", "c"]),
        "a" => to(&["h"]),
        "b" | "c" => to(&["ok"]),
        _ => vec![],
    };
    let mut shape = functions(&["s: a b c", "a: ok h", "b: ok h", "c: ok h", "ok:", "h:"]);
    let expected = [("s", 1), ("a", 1), ("b", 1), ("c", 1), ("ok", 1), ("h", 1)];
    check(&shape, &route, &expected, &|w| {
        ends_before(w, ("b", 1), ("h", 1));
        ends_before(w, ("c", 1), ("h", 1));
    });
    let all_fail = |step: &str, _| match step {
        "s" => to(&["a", "b", "c"]),
        "a" | "b" | "c" => to(&["h"]),
        _ => vec![],
    };
    shape.steps[5].join = Join::Each;
    check(&shape, &all_fail, &[("s", 1), ("a", 1), ("b", 1), ("c", 1), ("h", 3)], &nothing);
}

#[test]
fn join_any_takes_the_first_and_absorbs_the_rest() {
    let route = |step: &str, _| match step {
        "s" => to(&["a", "b", "c"]),
        "a" | "b" | "c" => to(&["m"]),
        _ => vec![],
    };
    let mut shape = functions(&["s: a b c", "a: m", "b: m", "c: m", "m:"]);
    shape.steps[4].join = Join::Any;
    check(&shape, &route, &[("s", 1), ("a", 1), ("b", 1), ("c", 1), ("m", 1)], &|w| {
        let absorbed = w.journal.iter().filter(|(event, _)| event.kind() == "TokenAbsorbed").count();
        assert_eq!(absorbed, 2);
    });
}

/// What arrives after the first has started is late only if it was under way at that moment: the next round of a loop
/// is an execution of its own.
#[test]
fn join_any_takes_the_first_of_every_round() {
    let route = |step: &str, round| match (step, round) {
        ("s", _) => to(&["a", "b"]),
        ("a" | "b", _) => to(&["m"]),
        ("m", 1 | 2) => to(&["s"]),
        _ => vec![],
    };
    let mut shape = functions(&["s: a b", "a: m", "b: m", "m: s $end"]);
    shape.steps[3].join = Join::Any;
    check(&shape, &route, &[("s", 3), ("a", 3), ("b", 3), ("m", 3)], &|w| {
        let absorbed = w.journal.iter().filter(|(event, _)| event.kind() == "TokenAbsorbed").count();
        assert_eq!(absorbed, 3, "one late branch a round");
    });
}

#[test]
fn a_diamond_of_needs() {
    let steps = vec![
        Step::provided("a", "p/v1", "p/x", serde_json::Value::Null),
        Step::provided("b", "p/v1", "p/x", serde_json::Value::Null).needs(&["a"]),
        Step::provided("m", "p/v1", "p/x", serde_json::Value::Null).needs(&["a", "b"]),
    ];
    let none = |_: &str, _| vec![];
    check(&Definition::new("diamond", steps), &none, &[("a", 1), ("b", 1), ("m", 1)], &|w| {
        ends_before(w, ("a", 1), ("b", 1));
        ends_before(w, ("b", 1), ("m", 1));
    });
}
