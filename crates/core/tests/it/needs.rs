//! The table of needs of spec/fluffy.md §3, cell by cell: every kind against every standing of the needed step, for a
//! dependent that is activated by its needs and for one that a route activates (A17, A18), and every lifecycle.

use std::fmt::Write;

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::run::command::Command;
use stepwell_core::run::event::{Event, SkipReason};
use stepwell_core::run::{Task, Work};
use stepwell_core::status::ExecutionStatus;
use stepwell_core::workflow::definition::{Definition, Join, Lifecycle, Need, NeedKind, OnFailure, Step};

use crate::support::{World, fail_with};

/// How the needed step `d` stands when the dependent `t` is looked at.
const STANDINGS: [&str; 12] = [
    "completed",
    "failed",
    "failed, continue",
    "failed, route",
    "failed, stop",
    "timed out",
    "cancelled",
    "skipped",
    "skipped, failure",
    "gone",
    "possible",
    "active",
];

/// Kinds that look at `d` alone.
const ALONE: [(&str, NeedKind); 8] = [
    ("required", NeedKind::Required),
    ("and", NeedKind::And),
    ("optional", NeedKind::Optional),
    ("parallel", NeedKind::Parallel),
    ("sequential", NeedKind::Sequential),
    ("conditional", NeedKind::Conditional),
    ("timeout", NeedKind::Timeout { timeout_ms: 500 }),
    // The same when its time has passed.
    ("time passed", NeedKind::Timeout { timeout_ms: 500 }),
];

/// Kinds that look at `d` and a second step `e` together, with how `e` stands.
const TOGETHER: [(&str, NeedKind, &str); 7] = [
    ("or:active", NeedKind::Or, "active"),
    ("or:failed", NeedKind::Or, "failed"),
    ("or:gone", NeedKind::Or, "gone"),
    ("xor:active", NeedKind::Xor, "active"),
    ("xor:failed", NeedKind::Xor, "failed"),
    ("xor:gone", NeedKind::Xor, "gone"),
    ("xor:done", NeedKind::Xor, "completed"),
];

fn function(name: &str, next: &[&str]) -> Step {
    Step::function(name).next(next)
}

/// `s` forks to whatever the standing takes. `other` can still lead to `d`; `idle` keeps the run alive and leads
/// nowhere; `gate` is needed too and completes last, so that `t` is decided on when `d` stands as it should.
fn scene(standing: &str, needs: Vec<Need>, e: Option<&str>, routed: bool) -> World {
    let mut d = function("d", &[]);
    match standing {
        "failed, continue" => d.on_failure = OnFailure::Continue,
        "failed, route" => d.on_failure = OnFailure::Route("h".into()),
        "failed, stop" => d.on_failure = OnFailure::Stop,
        "skipped" => d.when = vec!["${input}".into()],
        "skipped, failure" => d = d.needs(&["x"]),
        _ => {}
    }
    let mut next = vec!["d", "e", "x", "h", "other", "idle", "gate"];
    next.extend(routed.then_some("t"));
    let mut t = function("t", &[]);
    t.needs = needs;
    let leaf = |name| function(name, &[]);
    let mut world = World::of(Definition::new(
        "needs",
        vec![
            function("s", &next),
            d,
            leaf("e"),
            leaf("x"),
            leaf("h"),
            function("other", &["d"]),
            leaf("idle"),
            leaf("gate"),
            t,
        ],
    ));
    let mut to = vec!["idle", "gate"];
    to.extend(routed.then_some("t"));
    to.extend(e.is_some_and(|standing| standing != "gone").then_some("e"));
    match standing {
        "gone" => {}
        "possible" => to.push("other"),
        "skipped, failure" => to.extend(["d", "x"]),
        _ => to.push("d"),
    }
    world.done("s", &to);
    world
}

/// Brings `d` to its standing.
fn bring(world: &mut World, standing: &str) {
    match standing {
        "completed" => drop(world.done("d", &[])),
        "failed" | "failed, continue" | "failed, route" | "failed, stop" => drop(world.fails("d")),
        "timed out" => {
            let attempt = world.take("d");
            world.ok(fail_with(&attempt, ErrorObject::new(Code::TASK_TIMEOUT, "slow"), true));
        }
        "cancelled" => drop(world.ok(Command::CancelStep { step: "d".into() })),
        "skipped, failure" => drop(world.fails("x")),
        "skipped" | "gone" | "possible" => {}
        "active" => drop(world.take("d")),
        other => panic!("no such standing: {other}"),
    }
}

/// What became of `t`, in a word.
fn became(world: &World) -> &'static str {
    if world.error_code() == Some(Code::DEADLOCK) {
        return "deadlock";
    }
    if world.status().is_terminal() {
        return "over";
    }
    let asks = |work: &Work| work.task == Task::Judge && work.execution.step.as_str() == "t";
    match world.step_status("t") {
        None => "waits",
        Some(ExecutionStatus::Blocked) if world.run.due().work.iter().any(asks) => "asks",
        Some(ExecutionStatus::Blocked) => "waits",
        Some(ExecutionStatus::Ready) => "starts",
        Some(ExecutionStatus::Skipped) => {
            let reason = world.journal.iter().rev().find_map(|(event, _)| match event {
                Event::StepSkipped { step, reason, .. } if step.as_str() == "t" => Some(*reason),
                _ => None,
            });
            match reason.expect("a skip is journaled") {
                SkipReason::UpstreamFailed => "upstream",
                SkipReason::NeedSkipped => "skipped",
                SkipReason::NeedsUnmet => "unmet",
                SkipReason::Condition | SkipReason::ConditionFalse => "condition",
            }
        }
        Some(other) => panic!("t is {other}"),
    }
}

/// Plays one cell, with the gate before and after the need that it is about.
fn cell(standing: &str, needs: &[Need], e: Option<&str>, late: bool, routed: bool) -> &'static str {
    let play = |gate_first: bool| {
        let mut all = needs.to_vec();
        all.insert(if gate_first { 0 } else { all.len() }, Need::required("gate"));
        let mut world = scene(standing, all, e, routed);
        match e {
            Some("completed") => drop(world.done("e", &[])),
            Some("failed") => drop(world.fails("e")),
            Some("active") => drop(world.take("e")),
            _ => {}
        }
        bring(&mut world, standing);
        if late {
            world.wait_ms(500);
            world.fire_due();
        }
        if !world.status().is_terminal() {
            world.done("gate", &[]);
        }
        became(&world)
    };
    let (first, last) = (play(true), play(false));
    assert_eq!(first, last, "{standing}, {needs:?}: the order of the needs does not matter");
    first
}

/// The table as it is: a line for each standing, a column for each kind.
fn table(routed: bool) -> String {
    let mut table = format!("{:<17}", "");
    for name in ALONE.iter().map(|(name, _)| name).chain(TOGETHER.iter().map(|(name, ..)| name)) {
        write!(table, "{name:<12}").expect("text takes text");
    }
    for standing in STANDINGS {
        write!(table, "\n{standing:<17}").expect("text takes text");
        for (name, kind) in ALONE {
            let needs = [Need::of_kind("d", kind)];
            write!(table, "{:<12}", cell(standing, &needs, None, name == "time passed", routed))
                .expect("text takes text");
        }
        for (_, kind, e) in TOGETHER {
            let needs = [Need::of_kind("d", kind), Need::of_kind("e", kind)];
            write!(table, "{:<12}", cell(standing, &needs, Some(e), false, routed)).expect("text takes text");
        }
    }
    table
}

fn assert_table(found: &str, expected: &str) {
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    for (found, expected) in lines(found).iter().zip(lines(expected)) {
        assert_eq!(*found, expected);
    }
    assert_eq!(lines(found).len(), lines(expected).len());
}

// Words of the tables: `starts`, `waits`, `asks` (the predicate is run), skipped because of a failure `upstream`, of a
// skip `skipped`, of a loss `unmet`; `deadlock` and `over` end the run. A failure under `continue` meets a need
// (spec/gleitzeit.md §1.4), but for `xor` it is settled and no completion (spec/fluffy.md §3). For `or` and `xor` the
// column says how the second step stands.

#[test]
fn a18_each_kind_against_each_standing_for_a_step_that_its_needs_activate() {
    assert_table(&table(false), BY_NEEDS);
}

const BY_NEEDS: &str = "
                 required    and         optional    parallel    sequential  conditional timeout     time passed or:active   or:failed   or:gone     xor:active  xor:failed  xor:gone    xor:done
completed        starts      starts      starts      starts      starts      asks        starts      starts      starts      starts      starts      waits       starts      starts      skipped
failed           upstream    upstream    starts      starts      starts      asks        starts      starts      waits       upstream    upstream    waits       upstream    upstream    starts
failed, continue starts      starts      starts      starts      starts      asks        starts      starts      starts      starts      starts      waits       upstream    upstream    starts
failed, route    upstream    upstream    starts      starts      starts      asks        starts      starts      waits       upstream    upstream    waits       upstream    upstream    starts
failed, stop     over        over        over        over        over        over        over        over        over        over        over        over        over        over        over
timed out        upstream    upstream    starts      starts      starts      asks        starts      starts      waits       upstream    upstream    waits       upstream    upstream    starts
cancelled        upstream    upstream    starts      starts      starts      asks        starts      starts      waits       upstream    upstream    waits       upstream    upstream    starts
skipped          skipped     skipped     starts      starts      starts      asks        starts      starts      waits       upstream    skipped     waits       upstream    skipped     starts
skipped, failure upstream    upstream    starts      starts      starts      asks        starts      starts      waits       upstream    upstream    waits       upstream    upstream    starts
gone             unmet       unmet       starts      starts      starts      asks        starts      starts      waits       upstream    unmet       waits       upstream    unmet       starts
possible         waits       waits       starts      starts      waits       waits       waits       starts      waits       waits       waits       waits       waits       waits       waits
active           waits       waits       waits       starts      waits       waits       waits       starts      waits       waits       waits       waits       waits       waits       waits
";

/// The same but where a blocked step needs what is gone: that is a deadlock, and it is one for `required` and `and`
/// only.
#[test]
fn a18_each_kind_against_each_standing_for_a_step_that_a_route_activates() {
    let gone = |line: &str| line.starts_with("gone").then(|| line.replacen("unmet   ", "deadlock", 2));
    let expected: Vec<String> =
        BY_NEEDS.lines().map(|line| gone(line).unwrap_or_else(|| line.to_owned())).collect();
    assert_table(&table(true), &expected.join("\n"));
}

/// A step that a route activates, and again: `d` is needed with that lifecycle; `other` can still lead to `d`.
struct Lives {
    world: World,
}

impl Lives {
    fn of(lifecycle: Lifecycle) -> Self {
        let mut t = function("t", &["t", "$end"]);
        t.needs = vec![Need { lifecycle, ..Need::required("d") }];
        let s = function("s", &["d", "other", "way"]);
        let mut d = function("d", &[]);
        d.join = Join::Each;
        // It can fail so that the run can be retried.
        let mut way = function("way", &["t"]);
        way.on_failure = OnFailure::Stop;
        let mut world = World::steps(vec![s, d, function("other", &["d"]), way, t]);
        world.done("s", &["d", "other", "way"]);
        Self { world }
    }

    /// Lets `t` be activated, and says what became of that activation.
    fn activated(&mut self) -> &'static str {
        self.world.done("way", &["t"]);
        became(&self.world)
    }

    fn activated_again(&mut self) -> &'static str {
        self.world.done("t", &["t"]);
        became(&self.world)
    }
}

/// Plays a story and says what became of `t`.
type Story = fn(&mut Lives) -> &'static str;

/// What happens between a completion of `d` and the moment at which `t` looks at it.
const HAPPENINGS: [(&str, Story); 8] = [
    ("nothing", |lives| {
        lives.world.done("d", &[]);
        lives.activated()
    }),
    ("t started", |lives| {
        lives.world.done("d", &[]);
        lives.activated();
        lives.activated_again()
    }),
    ("t started, d again", |lives| {
        lives.world.done("d", &[]);
        lives.activated();
        lives.world.done("other", &["d"]);
        lives.world.done("d", &[]);
        lives.activated_again()
    }),
    ("operator resumed", |lives| {
        lives.world.done("d", &[]);
        lives.world.ok(Command::Pause { reason: None });
        lives.world.ok(Command::Resume { reason: None, answer: None });
        lives.activated()
    }),
    ("run retried", |lives| {
        lives.world.done("d", &[]);
        lives.world.fails("way");
        lives.world.ok(Command::Retry { input: None, reason: None });
        lives.activated()
    }),
    ("worker lost", |lives| {
        lives.world.done("d", &[]);
        let attempt = lives.world.take("way");
        lives.world.ok(Command::Lose { attempt, given_back: false });
        lives.activated()
    }),
    ("expiry passed", |lives| {
        lives.world.done("d", &[]);
        lives.world.wait_ms(1_000);
        lives.activated()
    }),
    ("then d again", |lives| {
        lives.world.done("d", &[]);
        lives.world.wait_ms(1_000);
        lives.world.ok(Command::Pause { reason: None });
        lives.world.ok(Command::Resume { reason: None, answer: None });
        lives.activated();
        lives.world.done("other", &["d"]);
        lives.world.done("d", &[]);
        became(&lives.world)
    }),
];

/// Lifecycles of spec/fluffy.md §3: which completion of the needed step counts.
#[test]
fn a18_each_lifecycle_counts_the_completions_that_the_table_says() {
    let lifecycles =
        [Lifecycle::Once, Lifecycle::Always, Lifecycle::Session, Lifecycle::Temporary { expiry_ms: 1_000 }];
    let mut table = format!("{:<20}once    always  session temporary", "");
    for (name, happens) in HAPPENINGS {
        write!(table, "\n{name:<20}").expect("text takes text");
        for lifecycle in lifecycles {
            write!(table, "{:<8}", happens(&mut Lives::of(lifecycle))).expect("text takes text");
        }
    }
    assert_table(
        &table,
        "
                    once    always  session temporary
nothing             starts  starts  starts  starts
t started           starts  waits   starts  starts
t started, d again  starts  starts  starts  starts
operator resumed    starts  starts  waits   starts
run retried         starts  starts  waits   starts
worker lost         starts  starts  starts  starts
expiry passed       starts  starts  starts  waits
then d again        starts  starts  starts  starts
",
    );
}
