//! Checkpoints in files, and runs that go on from them.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepwell::core::run::wait::WaitKind;
use stepwell::core::status::{ExecutionStatus, PauseReason, RunStatus};
use stepwell::{
    Agent, AgentBuilder, AgentStatus, Ask, Checkpoint, Context, Engine, Human, Leases, Next, Options,
    Parallel, Pipeline, Registry, Retry, State, StateStatus, Step, StepError, Typed,
};

use crate::support::{always, answer, ends, on_each_store, questions, simulated};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Count {
    words: u32,
}

impl Typed for Count {
    const NAME: &str = "Count";
}

/// How often the states of an essay have run.
#[derive(Clone, Default)]
struct Done(Arc<[AtomicU32; 4]>);

impl Done {
    fn note(&self, state: usize) {
        self.0[state].fetch_add(1, Ordering::SeqCst);
    }

    fn counts(&self) -> [u32; 4] {
        [0, 1, 2, 3].map(|state| self.0[state].load(Ordering::SeqCst))
    }
}

/// `outline` leads to `draw`, which ends at once, and to `write`, which charges once and asks somebody; both lead to
/// `publish`.
fn essay(name: &str, done: &Done) -> AgentBuilder {
    let [outline, draw, write, publish] = [0, 1, 2, 3].map(|state| (state, done.clone()));
    Agent::new(name)
        .add_state(
            State::new("outline", move |cx: Context| {
                outline.1.note(outline.0);
                std::future::ready(
                    cx.set_typed("count", &Count { words: 400 }).map(|()| Next::all(["draw", "write"])),
                )
            })
            .next(["draw", "write"]),
        )
        .add_state(
            State::new("draw", move |cx: Context| {
                draw.1.note(draw.0);
                std::future::ready(cx.set("picture", &"well.png").map(|()| Next::to("publish")))
            })
            .next(["publish"]),
        )
        .add_state(
            State::new("write", move |cx: Context| {
                let done = write.1.clone();
                async move {
                    let charge = || async {
                        done.note(write.0);
                        Ok("receipt 17".to_owned())
                    };
                    let receipt: String = cx.once("charge", charge).await?;
                    let title: String = cx.ask_human(Ask::new("Title?")).await?;
                    cx.set("text", &format!("{title} ({receipt})"))?;
                    Ok(Next::to("publish"))
                }
            })
            .next(["publish"]),
        )
        .add_state(
            State::new("publish", move |cx: Context| {
                publish.1.note(publish.0);
                std::future::ready(page(&cx))
            })
            .next([] as [&str; 0]),
        )
}

fn page(cx: &Context) -> Result<Next, StepError> {
    let words = cx.typed::<Count>("count")?.map(|count| count.words);
    cx.set("page", &json!([cx.get::<Value>("text")?, cx.get::<Value>("picture")?, words]))?;
    Ok(Next::done())
}

/// Begins an essay and waits until it asks for its title.
async fn asked(agent: &Agent) -> stepwell::Run {
    let run = agent.start(json!({ "topic": "wells" })).await.unwrap();
    questions(&run).await;
    run
}

/// A31.
#[tokio::test]
async fn a_run_goes_on_from_a_file_under_another_name_and_nothing_is_done_again() {
    on_each_store(async |engine| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("essay.json");
        let done = Done::default();
        let first = essay("essay", &done).build(&engine).unwrap();
        let run = asked(&first).await;
        let taken = run.checkpoint().await.unwrap();
        taken.save(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        answer(&run, "Title?", json!("On wells")).await;
        let undisturbed = run.wait().await.unwrap();
        assert_eq!(run.metrics().await.unwrap().joins, 1);

        // Steps were added since.
        let second = essay("restored_workflow", &done).state("thank", ends).build(&engine).unwrap();
        let read = Checkpoint::load(&path).unwrap();
        assert_eq!(read, taken);
        assert_eq!(read.types["count"], "Count");
        assert_eq!(read.shared_state["count"], json!({ "words": 400 }));
        let restored = second.restore(&read).await.unwrap();
        assert_ne!(restored.id(), run.id());
        assert_eq!(restored.status().await.unwrap(), RunStatus::Paused);
        restored.resume().await.unwrap();
        answer(&restored, "Title?", json!("On wells")).await;
        let result = restored.wait().await.unwrap();
        assert_eq!(result.context, undisturbed.context);
        assert_eq!(result.completed_states, undisturbed.completed_states);
        assert_eq!(done.counts(), [1, 1, 1, 2], "only `publish` is done by both");
    })
    .await;
}

/// A31: another store, where nothing of the run is.
#[tokio::test]
async fn a_checkpoint_is_all_that_another_store_needs() {
    let done = Done::default();
    let text = {
        let engine = open_in_memory().await;
        let run = asked(&essay("essay", &done).build(&engine).unwrap()).await;
        let text = run.checkpoint().await.unwrap().to_json();
        engine.shutdown().await;
        text
    };
    let engine = open_in_memory().await;
    let agent = essay("essay", &done).build(&engine).unwrap();
    let run = agent.restore(&Checkpoint::from_json(&text).unwrap()).await.unwrap();
    run.resume().await.unwrap();
    answer(&run, "Title?", json!("On wells")).await;
    assert_eq!(run.wait().await.unwrap().context["page"], json!(["On wells (receipt 17)", "well.png", 400]));
    let row = engine.inspect(run.id()).await.unwrap();
    assert_eq!(row.metadata()["restored_from"], Checkpoint::from_json(&text).unwrap().run_id.as_str());
    engine.shutdown().await;
}

async fn open_in_memory() -> Engine {
    crate::support::open(&stepwell::open_store("memory:").await.unwrap()).await
}

/// A restored run is in the store like any other: it survives its process before and after it is resumed.
#[tokio::test]
async fn a_restored_run_outlives_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/s.db", dir.path().display());
    let open = async || {
        let store = stepwell::open_store(&url).await.unwrap();
        Engine::open(store, Registry::default(), Options::default()).await.unwrap()
    };
    let done = Done::default();
    let engine = open().await;
    let agent = essay("essay", &done).build(&engine).unwrap();
    let checkpoint = asked(&agent).await.checkpoint().await.unwrap();
    let id = agent.restore(&checkpoint).await.unwrap().id().clone();
    engine.shutdown().await;

    let engine = open().await;
    let run = essay("essay", &done).build(&engine).unwrap().find(id.clone()).await.unwrap();
    assert_eq!(run.status().await.unwrap(), RunStatus::Paused);
    run.resume().await.unwrap();
    engine.shutdown().await;

    let engine = open().await;
    let run = essay("essay", &done).build(&engine).unwrap().find(id).await.unwrap();
    answer(&run, "Title?", json!("On wells")).await;
    run.wait().await.unwrap();
    assert_eq!(done.counts(), [1, 1, 1, 1]);
    engine.shutdown().await;
}

/// A32.
#[tokio::test]
async fn another_definition_is_refused_unless_changes_are_allowed() {
    on_each_store(async |engine| {
        let done = Done::default();
        let checkpoint =
            asked(&essay("essay", &done).build(&engine).unwrap()).await.checkpoint().await.unwrap();
        let changed = essay("changed", &done).max_steps(7).build(&engine).unwrap();
        let refused = changed.restore(&checkpoint).await.unwrap_err();
        assert_eq!(refused.code.name(), "DEFINITION_MISMATCH");
        assert!(refused.message.contains("max_steps is another"), "{refused}");
        let run = changed.restore(&checkpoint).allow_changes().await.unwrap();
        run.resume().await.unwrap();
        answer(&run, "Title?", json!("On wells")).await;
        assert_eq!(run.wait().await.unwrap().status, RunStatus::Completed);

        let lacks = Agent::new("lacks").add_state(always("outline", &[])).build(&engine).unwrap();
        let refused = lacks.restore(&checkpoint).allow_changes().await.unwrap_err();
        assert_eq!(refused.code.name(), "DEFINITION_MISMATCH");
        assert_eq!(refused.data["missing"], json!(["publish", "write"]), "{refused}");
    })
    .await;
}

/// A32.
#[tokio::test]
async fn a_file_that_is_no_checkpoint_is_refused_by_what_is_wrong() {
    on_each_store(async |engine| {
        let agent = essay("../../x", &Done::default()).build(&engine).unwrap();
        let text = asked(&agent).await.checkpoint().await.unwrap().to_json();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.json");
        let load = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let error = Checkpoint::load(&path).unwrap_err();
            assert_eq!(error.code.name(), "CHECKPOINT_INVALID");
            assert!(error.message.contains("c.json"), "{error}");
            error.message
        };
        assert!(load(b"").contains("it is empty"));
        assert!(load(b"\xff\xfe\x00").contains("no JSON"));
        assert!(load(&text.as_bytes()[..text.len() / 2]).contains("no JSON"));
        assert!(load(b"{\"version\": 3}").contains("`schema_version` is missing"));
        assert!(
            load(text.replace("\"schema_version\": 1", "\"schema_version\": 9").as_bytes()).contains("is 9")
        );
        assert!(load(text.replace("\"waits\": [", "\"waits\": 1, \"x\": [").as_bytes()).contains("`waits`"));
        assert_eq!(Checkpoint::load(dir.path().join("none")).unwrap_err().code.name(), "CONFIGURATION_ERROR");

        // A name is never used as a path.
        Checkpoint::from_json(&text).unwrap().save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap().agent_name, "../../x");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    })
    .await;
}

/// A29: what `pause` returns, and that nothing starts after it.
#[tokio::test]
async fn pause_returns_how_the_run_stands() {
    on_each_store(async |engine| {
        let done = Done::default();
        let run = asked(&essay("essay", &done).build(&engine).unwrap()).await;
        let checkpoint = run.pause().await.unwrap();
        assert_eq!((checkpoint.agent_status, checkpoint.completed_states.len()), (AgentStatus::Paused, 2));
        assert_eq!(checkpoint.pause_reason, Some(PauseReason::Operator));
        answer(&run, "Title?", json!("On wells")).await;
        assert_eq!(done.counts(), [1, 1, 1, 0]);
        run.resume().await.unwrap();
        run.wait().await.unwrap();
        assert_eq!(done.counts(), [1, 1, 1, 1]);
    })
    .await;
}

#[tokio::test]
async fn from_a_failed_run_it_is_tried_again_and_from_a_completed_one_there_is_the_result() {
    let engine = open_in_memory().await;
    let is_broken = Arc::new(AtomicU32::new(1));
    let broken = is_broken.clone();
    let agent = Agent::new("broken")
        .state("ok", |cx: Context| async move {
            cx.set("ok", &true)?;
            Ok(Next::to("fragile"))
        })
        .state("fragile", move |_: Context| {
            let is_broken = broken.load(Ordering::SeqCst) > 0;
            std::future::ready(if is_broken { Err(StepError::new("no bread")) } else { Ok(Next::done()) })
        })
        .build(&engine)
        .unwrap();
    let failed = agent.run(()).await.unwrap_err().result.unwrap();
    let checkpoint = agent.find(failed.run_id).await.unwrap().checkpoint().await.unwrap();
    assert_eq!(checkpoint.agent_status, AgentStatus::Failed);
    assert_eq!(checkpoint.failures[0].message, "step 'fragile': no bread");
    is_broken.store(0, Ordering::SeqCst);
    let run = agent.restore(&checkpoint).await.unwrap();
    run.resume().await.unwrap();
    let result = run.wait().await.unwrap();
    assert_eq!(result.completed_states, ["ok", "fragile"]);

    let again = agent.restore(&run.checkpoint().await.unwrap()).await.unwrap();
    assert_eq!(again.wait().await.unwrap().context, result.context);
    engine.shutdown().await;
}

/// A33: an interval of 1 s, a run of 5 s.
#[tokio::test(start_paused = true)]
async fn a_run_with_an_interval_takes_checkpoints_while_it_runs_and_at_its_end() {
    let engine = simulated().await;
    let agent = Agent::new("long")
        .checkpoint_interval(Duration::from_secs(1))
        .state("first", |cx: Context| async move {
            cx.set("rows", &7)?;
            Ok(Next::to("second"))
        })
        .state("second", |_: Context| async {
            tokio::time::sleep(Duration::from_millis(4_900)).await;
            Ok(Next::done())
        })
        .build(&engine)
        .unwrap();
    let run = agent.start(()).await.unwrap();
    assert_eq!(run.latest_checkpoint().await.unwrap(), None);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let latest = run.latest_checkpoint().await.unwrap().unwrap();
    assert_eq!((latest.agent_status, &latest.shared_state["rows"]), (AgentStatus::Running, &json!(7)));
    assert_eq!(latest.running_states[0].as_str(), "second");
    run.wait().await.unwrap();
    assert_eq!(marks(&engine, &run).await, 4);
    let end = run.latest_checkpoint().await.unwrap().unwrap();
    assert_eq!(end.agent_status, AgentStatus::Completed);

    // From the middle the second half is done again.
    let again = agent.restore(&latest).await.unwrap();
    again.resume().await.unwrap();
    assert_eq!(again.wait().await.unwrap().get("rows").unwrap(), Some(7));
    engine.shutdown().await;
}

async fn marks(engine: &Engine, run: &stepwell::Run) -> usize {
    let journal = engine.store().events(run.id(), stepwell::core::ids::Seq(0), 1_000).await.unwrap();
    journal.iter().filter(|recorded| recorded.event.kind() == "CheckpointTaken").count()
}

/// A33: the interval is in the store, so the next process keeps it; a run without one has none.
#[tokio::test(start_paused = true)]
async fn the_interval_outlives_the_process() {
    let store = stepwell::open_store("memory:").await.unwrap();
    let nobody = Options { leases: Leases::None, ..Options::default() };
    let idle = Engine::open_with_clock(
        store.clone(),
        Registry::default(),
        nobody,
        Arc::new(stepwell_engine::testing::SimClock::new(1)),
    )
    .await
    .unwrap();
    let build = |engine: &Engine| {
        let gate = |cx: Context| async move {
            cx.sleep(Duration::from_secs(10)).await?;
            Ok(Next::done())
        };
        Agent::new("gate")
            .checkpoint_interval(Duration::from_secs(1))
            .state("gate", gate)
            .build(engine)
            .unwrap()
    };
    // The process that begins it carries nothing out.
    let run = build(&idle).start(()).run_id("night").await.unwrap();
    idle.shutdown().await;
    let clock = Arc::new(stepwell_engine::testing::SimClock::new(2));
    let engine =
        Engine::open_with_clock(store, Registry::default(), Options::default(), clock).await.unwrap();
    let found = build(&engine).find(run.id().clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert!(marks(&engine, &found).await >= 3);
    found.wait().await.unwrap();

    let plain = Agent::new("plain").state("a", ends).build(&engine).unwrap().start(()).await.unwrap();
    plain.wait().await.unwrap();
    assert_eq!(plain.latest_checkpoint().await.unwrap(), None);
    engine.shutdown().await;
}

/// §10: how states stand, in the words of agents and in those of runs.
#[tokio::test]
async fn states_stand_as_their_latest_execution_does() {
    let engine = open_in_memory().await;
    let agent = essay("essay", &Done::default())
        .add_state(State::new("thank", ends).next([] as [&str; 0]).retry(Retry::times(2)))
        .build(&engine)
        .unwrap();
    let run = asked(&agent).await;
    let states = run.states().await.unwrap();
    let stands = |name: &str| (states[name].status, states[name].detail);
    assert_eq!(stands("outline"), (StateStatus::Completed, Some(ExecutionStatus::Completed)));
    assert_eq!(stands("write"), (StateStatus::Blocked, Some(ExecutionStatus::Waiting)));
    assert_eq!(stands("publish"), (StateStatus::Pending, None));
    assert_eq!(states["thank"].max_retries, 2);
    assert!(states["outline"].last_success.is_some() && states["write"].last_success.is_none());
    assert_eq!(run.checkpoint().await.unwrap().state_metadata, states);
    engine.shutdown().await;
}

/// A child run belongs to the run that began it: a restored run begins its own.
#[tokio::test]
async fn a_child_run_that_is_waited_for_is_begun_anew() {
    let engine = open_in_memory().await;
    let begun = Arc::new(AtomicU32::new(0));
    let counted = begun.clone();
    let child = Agent::new("child")
        .state("ask", move |cx: Context| {
            let counted = counted.clone();
            async move {
                cx.once("begin", || async { Ok(counted.fetch_add(1, Ordering::SeqCst)) }).await?;
                let speed: u32 = cx.signal("speed").await?;
                cx.set("speed", &speed)?;
                Ok(Next::done())
            }
        })
        .build(&engine)
        .unwrap();
    let called = child.clone();
    let parent = Agent::new("parent")
        .state("call", move |cx: Context| {
            let child = called.clone();
            async move {
                cx.set("speed", &cx.run_agent(&child, json!({})).await?.get::<u32>("speed")?)?;
                Ok(Next::done())
            }
        })
        .build(&engine)
        .unwrap();
    let run = parent.start(()).await.unwrap();
    run.rest().await.unwrap();
    let restored = parent.restore(&run.checkpoint().await.unwrap()).await.unwrap();
    run.cancel().await.unwrap();
    restored.resume().await.unwrap();
    restored.rest().await.unwrap();
    let waiting = engine.inspect(restored.id()).await.unwrap();
    let own = waiting.open_waits().iter().find_map(|wait| match &wait.spec.kind {
        WaitKind::Child(child) => Some(child.run.clone()),
        _ => None,
    });
    engine.signal(&own.unwrap(), "speed", json!(3), None).await.unwrap();
    assert_eq!(restored.wait().await.unwrap().get("speed").unwrap(), Some(3));
    assert_eq!(begun.load(Ordering::SeqCst), 2);
    engine.shutdown().await;
}

/// States that the other run had added come along, and wait for their functions.
#[tokio::test]
async fn states_that_a_run_added_come_along() {
    let url = "memory:";
    let split = |cx: Context| async move {
        cx.add_state(chunk())?;
        Ok(Next::to("chunk"))
    };
    let build = |engine: &Engine| {
        Agent::new("chunks").add_state(State::new("split", split).next(["chunk*"])).build(engine).unwrap()
    };
    let first = crate::support::open(&stepwell::open_store(url).await.unwrap()).await;
    let run = build(&first).start(()).await.unwrap();
    run.rest().await.unwrap();
    let checkpoint = run.checkpoint().await.unwrap();
    assert_eq!(checkpoint.added_states[0].as_str(), "chunk");
    first.shutdown().await;

    let second = crate::support::open(&stepwell::open_store(url).await.unwrap()).await;
    let agent = build(&second);
    let restored = agent.restore(&checkpoint).await.unwrap();
    agent.add_state(&restored, chunk()).await.unwrap();
    restored.resume().await.unwrap();
    second.signal(restored.id(), "go", json!(1), None).await.unwrap();
    assert_eq!(restored.wait().await.unwrap().completed_states, ["split", "chunk"]);
    second.shutdown().await;
}

fn chunk() -> State {
    State::new("chunk", |cx: Context| async move {
        let _: u32 = cx.signal("go").await?;
        Ok(Next::done())
    })
    .next([] as [&str; 0])
}

#[tokio::test]
async fn a_pipeline_goes_on_from_between_its_branches() {
    on_each_store(async |engine| {
        let doubled = |_: Context, n: u32| async move { Ok(2 * n) };
        // Branches that all have begun, and one that begins when the question is answered.
        for at_once in [3, 1] {
            let noted = Step::new("note", |cx: Context, n: u32| async move {
                cx.set("noted", &n)?;
                Ok(n)
            });
            let both = Parallel::new("both")
                .branch("done", noted)
                .branch("ask", Human::ask("sure", Ask::new("Sure?")))
                .branch("later", Step::new("double", doubled))
                .max_concurrent(at_once);
            let pipeline = Pipeline::new(&format!("branches {at_once}")).step("double", doubled).then(both);
            let workflow = pipeline.build(&engine).unwrap();
            let run = workflow.start(4).await.unwrap();
            run.rest().await.unwrap();
            let text = run.checkpoint().await.unwrap().to_json();
            run.cancel().await.unwrap();

            let restored = workflow.restore(&Checkpoint::from_json(&text).unwrap()).await.unwrap();
            restored.resume().await.unwrap();
            answer(&restored, "Sure?", json!("yes")).await;
            let result = restored.wait().await.unwrap();
            let expected = json!({ "done": 8, "ask": "yes", "later": 16 });
            assert_eq!(result.output::<Value>().unwrap(), expected);
            assert_eq!(result.context, *json!({ "noted": 8 }).as_object().unwrap());
        }
    })
    .await;
}
