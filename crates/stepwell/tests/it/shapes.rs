//! The shapes of flow (A7, A8): each runs its states exactly as often as its routes say and in their order, at once over each
//! store, and on the simulated clock however long each state takes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use stepwell::core::ids::Ordinal;
use stepwell::core::run::Run;
use stepwell::{Agent, AgentBuilder, Context, Engine, Join, Next, State};

use crate::support::{on_each_store, simulated, told};

type Names = &'static [&'static str];

struct Shape {
    name: &'static str,
    /// The first is the entry. None: it declares nothing.
    states: &'static [(&'static str, Option<Names>)],
    /// Where an execution leads, by the name of its state and its number; elsewhere its state leads to all that it declares.
    route: fn(&str, u32) -> Option<Names>,
    /// How each arrival at the last state is taken.
    join: Join,
    expected: &'static str,
    /// The first of each pair ends before the second begins.
    order: &'static [(&'static str, &'static str)],
}

fn everywhere(_: &str, _: u32) -> Option<Names> {
    None
}

const END: &str = stepwell::END;

const SHAPES: &[Shape] = &[
    Shape {
        name: "plain merge",
        states: &[("s", Some(&["a", "b"])), ("a", Some(&["m"])), ("b", Some(&["m"])), ("m", Some(&[]))],
        route: everywhere,
        join: Join::All,
        expected: "a 1 b 1 m 1 s 1",
        order: &[("a", "m"), ("b", "m")],
    },
    Shape {
        name: "uneven branches",
        states: &[
            ("s", Some(&["a", "b"])),
            ("a", Some(&["m"])),
            ("b", Some(&["b2"])),
            ("b2", Some(&["m"])),
            ("m", Some(&[])),
        ],
        route: everywhere,
        join: Join::All,
        expected: "a 1 b 1 b2 1 m 1 s 1",
        order: &[("b2", "m")],
    },
    Shape {
        name: "ended branch",
        states: &[("s", Some(&["a", "b"])), ("a", Some(&["m"])), ("b", Some(&["m", END])), ("m", Some(&[]))],
        route: |state, _| (state == "b").then_some(&[]),
        join: Join::All,
        expected: "a 1 b 1 m 1 s 1",
        order: &[("b", "m")],
    },
    Shape {
        name: "nested forks",
        states: &[
            ("s", Some(&["x", "y"])),
            ("x", Some(&["x1", "x2"])),
            ("x1", Some(&["n"])),
            ("x2", Some(&["n"])),
            ("n", Some(&["m"])),
            ("y", Some(&["m"])),
            ("m", Some(&[])),
        ],
        route: everywhere,
        join: Join::All,
        expected: "m 1 n 1 s 1 x 1 x1 1 x2 1 y 1",
        order: &[("x1", "n"), ("x2", "n"), ("n", "m"), ("y", "m")],
    },
    Shape {
        name: "loop and self-loop",
        states: &[("a", Some(&["b", "c"])), ("b", Some(&["a"])), ("c", Some(&["c", END]))],
        route: |state, round| match (state, round) {
            ("a", 1..=5) => Some(&["b"]),
            ("a", _) => Some(&["c"]),
            ("c", 4) => Some(&[]),
            ("c", _) => Some(&["c"]),
            _ => None,
        },
        join: Join::All,
        expected: "a 6 b 5 c 4",
        order: &[("b", "c")],
    },
    Shape {
        name: "loop round a fork",
        states: &[
            ("s", Some(&["a", "b"])),
            ("a", Some(&["m"])),
            ("b", Some(&["b2"])),
            ("b2", Some(&["m"])),
            ("m", Some(&["s", END])),
        ],
        route: |state, round| match (state, round) {
            ("m", 3) => Some(&[]),
            ("m", _) => Some(&["s"]),
            _ => None,
        },
        join: Join::All,
        expected: "a 3 b 3 b2 3 m 3 s 3",
        order: &[("a", "m"), ("b", "b2"), ("b2", "m")],
    },
    Shape {
        name: "loop in a branch, then a merge",
        states: &[
            ("s", Some(&["a", "b"])),
            ("a", Some(&["a", "m"])),
            ("b", Some(&["m"])),
            ("m", Some(&["s", END])),
        ],
        route: |state, round| match (state, round) {
            ("a", 3 | 6) => Some(&["m"]),
            ("a", _) => Some(&["a"]),
            ("m", 1) => Some(&["s"]),
            ("m", _) => Some(&[]),
            _ => None,
        },
        join: Join::All,
        expected: "a 6 b 2 m 2 s 2",
        order: &[("b", "m")],
    },
    Shape {
        name: "rework one branch",
        states: &[
            ("s", Some(&["research", "outline"])),
            ("research", Some(&["review"])),
            ("outline", Some(&["draft"])),
            ("draft", Some(&["review"])),
            ("review", Some(&["draft", "publish"])),
            ("publish", Some(&[])),
        ],
        route: |state, round| match (state, round) {
            ("review", 3) => Some(&["publish"]),
            ("review", _) => Some(&["draft"]),
            _ => None,
        },
        join: Join::All,
        expected: "draft 3 outline 1 publish 1 research 1 review 3 s 1",
        order: &[("outline", "draft"), ("review", "publish")],
    },
    Shape {
        name: "regenerate",
        states: &[
            ("g", Some(&["q", "i"])),
            ("q", Some(&["r", "w"])),
            ("r", Some(&["q"])),
            ("i", Some(&["w"])),
            ("w", Some(&[])),
        ],
        route: |state, round| match (state, round) {
            ("q", 3) => Some(&["w"]),
            ("q", _) => Some(&["r"]),
            _ => None,
        },
        join: Join::All,
        expected: "g 1 i 1 q 3 r 2 w 1",
        order: &[("i", "w"), ("q", "w")],
    },
    Shape {
        name: "regenerate from the beginning",
        states: &[
            ("g", Some(&["q", "i"])),
            ("q", Some(&["r", "w"])),
            ("r", Some(&["g"])),
            ("i", Some(&["w"])),
            ("w", Some(&[])),
        ],
        route: |state, round| match (state, round) {
            ("q", 3) => Some(&["w"]),
            ("q", _) => Some(&["r"]),
            _ => None,
        },
        join: Join::All,
        expected: "g 3 i 3 q 3 r 2 w 1",
        order: &[("i", "w"), ("q", "w")],
    },
    Shape {
        name: "conditional",
        states: &[
            ("r", Some(&["c1", "c2", "seq", "simple"])),
            ("c1", Some(&[])),
            ("c2", Some(&[])),
            ("seq", Some(&[])),
            ("simple", Some(&[])),
        ],
        route: |state, _| (state == "r").then_some(&["c1", "c2"]),
        join: Join::All,
        expected: "c1 1 c2 1 r 1",
        order: &[("r", "c1"), ("r", "c2")],
    },
    Shape {
        name: "mutual wait",
        states: &[
            ("s", Some(&["a", "b"])),
            ("a", Some(&["x"])),
            ("b", Some(&["y"])),
            ("x", Some(&["y", END])),
            ("y", Some(&["x", END])),
        ],
        route: |state, _| matches!(state, "x" | "y").then_some(&[]),
        join: Join::All,
        expected: "a 1 b 1 s 1 x 1 y 1",
        order: &[],
    },
    Shape {
        name: "opaque branch",
        states: &[
            ("s", Some(&["a", "b"])),
            ("a", None),
            ("b", Some(&["b2"])),
            ("b2", Some(&[])),
            ("m", Some(&[])),
        ],
        route: |state, _| (state == "a").then_some(&["m"]),
        join: Join::All,
        expected: "a 1 b 1 b2 1 m 1 s 1",
        order: &[("a", "b2"), ("a", "m")],
    },
    Shape {
        name: "shared handler",
        states: &[
            ("s", Some(&["a", "b", "c"])),
            ("a", Some(&["ok", "h"])),
            ("b", Some(&["ok", "h"])),
            ("c", Some(&["ok", "h"])),
            ("ok", Some(&[])),
            ("h", Some(&[])),
        ],
        route: |state, _| match state {
            "a" => Some(&["h"]),
            "b" | "c" => Some(&["ok"]),
            _ => None,
        },
        join: Join::All,
        expected: "a 1 b 1 c 1 h 1 ok 1 s 1",
        order: &[("b", "h"), ("c", "h")],
    },
    Shape {
        name: "handler of each",
        states: &[
            ("s", Some(&["a", "b", "c"])),
            ("a", Some(&["h"])),
            ("b", Some(&["h"])),
            ("c", Some(&["h"])),
            ("h", Some(&[])),
        ],
        route: everywhere,
        join: Join::Each,
        expected: "a 1 b 1 c 1 h 3 s 1",
        order: &[("s", "h")],
    },
    Shape {
        name: "any",
        states: &[
            ("s", Some(&["a", "b", "c"])),
            ("a", Some(&["m"])),
            ("b", Some(&["m"])),
            ("c", Some(&["m"])),
            ("m", Some(&[])),
        ],
        route: everywhere,
        join: Join::Any,
        expected: "a 1 b 1 c 1 m 1 s 1",
        order: &[("s", "m")],
    },
];

/// How long an execution takes.
type Takes = fn(u64, &str, u32) -> Duration;

fn nothing(_: u64, _: &str, _: u32) -> Duration {
    Duration::ZERO
}

/// Up to a tenth of a second, another for each execution and seed.
fn random(seed: u64, state: &str, round: u32) -> Duration {
    let mut hasher = DefaultHasher::new();
    (seed, state, round).hash(&mut hasher);
    Duration::from_millis(hasher.finish() % 100)
}

impl Shape {
    fn agent(&self, engine: &Engine, seed: u64, takes: Takes) -> Agent {
        let route = self.route;
        let states = self.states.iter().map(|&(name, declared)| {
            let state = State::new(name, move |cx: Context| async move {
                let time = takes(seed, name, cx.ordinal());
                if !time.is_zero() {
                    tokio::time::sleep(time).await;
                }
                Ok(Next::all(route(name, cx.ordinal()).or(declared).unwrap()))
            });
            let state = if name == self.states[0].0 { state.entry() } else { state };
            let state = if name == self.states.last().unwrap().0 { state.join(self.join) } else { state };
            if let Some(names) = declared { state.next(names) } else { state }
        });
        states.fold(Agent::new(self.name), AgentBuilder::add_state).build(engine).unwrap()
    }

    async fn check(&self, engine: &Engine, seed: u64, takes: Takes) {
        let name = self.name;
        let result = self.agent(engine, seed, takes).run(()).await.unwrap();
        assert_eq!(told(engine, &result).await, self.expected, "{name}, seed {seed}");
        let run = engine.inspect(&result.run_id).await.unwrap();
        for (first, second) in self.order {
            self.check_order(&run, first, second, seed);
        }
        if self.join == Join::Any {
            let absorbed = engine.store().events(&result.run_id, stepwell::core::ids::Seq(0), 1_000).await;
            let absorbed =
                absorbed.unwrap().iter().filter(|known| known.event.kind() == "TokenAbsorbed").count();
            assert_eq!(absorbed, 2, "{name}, seed {seed}");
        }
    }

    /// If the first runs as often as the second, each of its rounds ends before that of the second begins; else its last that
    /// was before the last of the second.
    fn check_order(&self, run: &Run, first: &str, second: &str, seed: u64) {
        let times = |name: &str| {
            let of = run.executions().iter().filter(|execution| execution.step.as_str() == name);
            of.map(|execution| (execution.started_at.unwrap(), execution.finished_at.unwrap()))
                .collect::<Vec<_>>()
        };
        let (first_at, second_at) = (times(first), times(second));
        let pairs: Vec<_> = if first_at.len() == second_at.len() {
            first_at.iter().zip(&second_at).collect()
        } else {
            vec![(first_at.last().unwrap(), second_at.last().unwrap())]
        };
        for ((_, ended), (began, _)) in pairs {
            assert!(ended <= began, "{}, seed {seed}: {first} before {second}", self.name);
        }
        assert!(run.execution(first, Ordinal(1)).is_some());
    }
}

#[tokio::test]
async fn a8_every_shape_runs_its_states_as_often_and_in_the_order_that_it_says() {
    on_each_store(async |engine| {
        for shape in SHAPES {
            shape.check(&engine, 0, nothing).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a8_every_shape_does_so_however_long_each_state_takes() {
    /// The core goes over hundreds of them.
    const SEEDS: u64 = 16;
    let engine = simulated().await;
    for shape in SHAPES {
        for seed in 0..SEEDS {
            shape.check(&engine, seed, random).await;
        }
    }
}

/// A8: of two that wait for each other the earlier arrival goes first.
#[tokio::test(start_paused = true)]
async fn a8_of_two_that_wait_for_each_other_the_earlier_goes_first() {
    let engine = simulated().await;
    let shape = SHAPES.iter().find(|shape| shape.name == "mutual wait").unwrap();
    let a_is_slow: Takes = |_, state, _| Duration::from_millis(if state == "a" { 20 } else { 10 });
    let b_is_slow: Takes = |_, state, _| Duration::from_millis(if state == "b" { 20 } else { 10 });
    for (takes, first, second) in [(a_is_slow, "y", "x"), (b_is_slow, "x", "y")] {
        let result = shape.agent(&engine, 0, takes).run(()).await.unwrap();
        shape.check_order(&engine.inspect(&result.run_id).await.unwrap(), first, second, 0);
    }
}
