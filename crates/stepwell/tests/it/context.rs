//! What states share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepwell::core::error::Code;
use stepwell::{Agent, Context, Engine, Next, Reducer, State, StepError, Typed};
use tokio::sync::Barrier;

use crate::support::{ends, on_each_store, run_of};

#[tokio::test]
async fn a2_values_are_read_as_they_were_written() {
    on_each_store(async |engine| {
        let values = json!({
            "text": "Größe ✓ 大",
            "list": [95, 87.5, null, true],
            "nested": { "a": { "b": [{}, []] } },
            "nothing": null,
            "large": 1_u64 << 60,
            "long": "x".repeat(1 << 20),
        });
        let written = values.clone();
        let write = move |cx: Context| {
            let values = written.clone();
            async move {
                for (key, value) in values.as_object().unwrap() {
                    cx.set(key, value)?;
                    assert_eq!(cx.get::<Value>(key)?.as_ref(), Some(value), "own writes are seen at once");
                }
                cx.set("gone", &1)?;
                cx.remove("gone")?;
                Ok(Next::to("read"))
            }
        };
        let read = move |cx: Context| {
            let values = values.clone();
            async move {
                for (key, value) in values.as_object().unwrap() {
                    assert_eq!(cx.get::<Value>(key)?.as_ref(), Some(value));
                }
                assert!(cx.has("nothing")? && !cx.has("gone")? && !cx.has("never")?);
                assert_eq!(cx.get::<Value>("never")?, None);
                assert_eq!(cx.keys()?.len(), 6);
                Ok(Next::done())
            }
        };
        run_of(&engine, vec![State::new("write", write), State::new("read", read)]).await;
    })
    .await;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UserProfile {
    name: String,
    age: u32,
    scores: Vec<f64>,
}

impl Typed for UserProfile {
    const NAME: &'static str = "UserProfile";
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Ticket {
    name: String,
}

impl Typed for Ticket {
    const NAME: &'static str = "Ticket";
}

#[tokio::test]
async fn a3_a_typed_value_is_read_as_its_own_type_and_as_no_other() {
    on_each_store(async |engine| {
        let store = |cx: Context| async move {
            let alice = UserProfile { name: "Alice".into(), age: 28, scores: vec![95.0, 87.5] };
            cx.set_typed("user", &alice)?;
            cx.update_typed("user", |user: &mut UserProfile| user.age += 1)?;
            cx.set("plain", &1)?;
            Ok(Next::to("use"))
        };
        let read = |cx: Context| async move {
            let user: UserProfile = cx.typed("user")?.unwrap();
            assert_eq!((user.name.as_str(), user.age), ("Alice", 29));
            assert_eq!(cx.typed::<Ticket>("user")?, None);
            assert_eq!(cx.typed::<Ticket>("plain")?, None);
            let refused = [
                cx.get::<Value>("user").err(),
                cx.set("user", &1).err(),
                cx.set_typed("plain", &user).err(),
                cx.update_typed("plain", |_: &mut UserProfile| {}).err(),
                cx.update_typed("never", |_: &mut UserProfile| {}).err(),
            ];
            assert!(refused.iter().all(|error| error.as_ref().is_some_and(|e| e.error().is_some())));
            cx.remove("plain")?;
            cx.set_typed("plain", &user)?;
            Ok(Next::done())
        };
        let result = run_of(&engine, vec![State::new("store", store), State::new("use", read)]).await;
        assert_eq!(result.typed::<UserProfile>("plain").unwrap().unwrap().age, 29);
        assert_eq!(result.typed::<Ticket>("plain").unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a4_what_is_no_json_is_refused_at_its_line_and_the_run_goes_on_if_that_is_caught() {
    on_each_store(async |engine| {
        let agent = Agent::new("values")
            .state("a", |cx: Context| async move {
                let error = cx.set("ratio", &f64::NAN).unwrap_err().into_error().unwrap();
                assert_eq!(
                    error.message,
                    "context key 'ratio' cannot be kept as JSON: NaN is not a finite number"
                );
                assert!(!error.retryable);
                assert!(cx.set("pairs", &HashMap::from([((1, 2), 3)])).is_err());
                assert!(cx.set("huge", &u128::MAX).is_err());
                assert!(cx.keys()?.is_empty(), "nothing was written");
                Ok(Next::to("b"))
            })
            .state("b", |cx: Context| async move {
                cx.set("ratio", &f64::INFINITY)?;
                Ok(Next::done())
            })
            .build(&engine)
            .unwrap();
        let error = agent.run(()).await.unwrap_err();
        assert_eq!(error.error.code, Code::TASK_RESULT_INVALID);
        assert!(error.error.message.starts_with("step 'b': context key 'ratio'"), "{error}");
        assert_eq!(error.result.unwrap().completed_states, ["a"]);
    })
    .await;
}

/// Two branches that both change `n`, `list` and `map`, and a step after them that does so too.
async fn changed_side_by_side(engine: &Engine, with_reducers: bool) -> (stepwell::RunResult, usize) {
    async fn change(cx: Context, both_have_read: Arc<Barrier>) -> Result<Next, StepError> {
        let n: u32 = cx.get("n")?.unwrap();
        let mut list: Vec<String> = cx.get("list")?.unwrap();
        let mut map: serde_json::Map<String, Value> = cx.get("map")?.unwrap();
        list.push(cx.step().to_owned());
        map.insert(cx.step().to_owned(), json!(cx.ordinal()));
        if cx.step() != "after" {
            both_have_read.wait().await;
        }
        cx.set("n", &(n + 1))?;
        cx.set("list", &list)?;
        cx.set("map", &map)?;
        Ok(if cx.step() == "after" { Next::done() } else { Next::to("after") })
    }
    let barrier = Arc::new(Barrier::new(2));
    let change = move |cx| change(cx, barrier.clone());
    let mut agent = Agent::new("counter")
        .add_state(State::new("fork", |_| async { Ok(Next::all(["one", "other"])) }).next(["one", "other"]))
        .add_state(State::new("one", change.clone()).next(["after"]))
        .add_state(State::new("other", change.clone()).next(["after"]))
        .state("after", change);
    if with_reducers {
        agent =
            agent.reducer("n", Reducer::Sum).reducer("list", Reducer::Extend).reducer("map", Reducer::Merge);
    }
    let agent = agent.build(engine).unwrap();
    let result = agent.run(json!({ "n": 0, "list": [], "map": {} })).await.unwrap();
    let journal = engine.store().events(&result.run_id, stepwell::core::ids::Seq(0), 1_000).await.unwrap();
    let conflicts = journal.iter().filter(|recorded| recorded.event.kind() == "Conflict").count();
    (result, conflicts)
}

#[tokio::test]
async fn a13_changes_made_side_by_side_are_united_by_their_reducers() {
    on_each_store(async |engine| {
        let (result, conflicts) = changed_side_by_side(&engine, true).await;
        assert_eq!((result.get("n").unwrap(), conflicts), (Some(3), 0));
        let mut list: Vec<String> = result.get("list").unwrap().unwrap();
        list[..2].sort();
        assert_eq!(list, ["one", "other", "after"]);
        assert_eq!(result.context["map"], json!({ "one": 1, "other": 1, "after": 1 }));
    })
    .await;
}

#[tokio::test]
async fn a13_without_a_reducer_the_last_one_wins_and_the_journal_says_so() {
    on_each_store(async |engine| {
        let (result, conflicts) = changed_side_by_side(&engine, false).await;
        assert_eq!((result.get("n").unwrap(), conflicts), (Some(2), 3));
    })
    .await;
}

#[tokio::test]
async fn a13_a_write_that_does_not_fit_its_reducer_is_refused_at_its_line() {
    on_each_store(async |engine| {
        let agent = Agent::new("misfit")
            .reducer("n", Reducer::Sum)
            .state("a", |cx: Context| async move {
                assert!(cx.set("n", "many").unwrap_err().is(Code::TASK_RESULT_INVALID));
                cx.set("n", &1)?;
                Ok(Next::done())
            })
            .build(&engine)
            .unwrap();
        assert_eq!(agent.run(()).await.unwrap().get("n").unwrap(), Some(1));
    })
    .await;
}

#[tokio::test]
async fn a_context_that_is_used_after_its_attempt_is_stale() {
    on_each_store(async |engine| {
        let kept: Arc<Mutex<Option<Context>>> = Arc::default();
        let keep = kept.clone();
        let function = move |cx: Context| {
            *keep.lock().unwrap() = Some(cx);
            std::future::ready(Ok::<_, StepError>(Next::done()))
        };
        run_of(&engine, vec![State::new("a", function)]).await;
        let cx = kept.lock().unwrap().take().unwrap();
        assert!(cx.set("late", &1).unwrap_err().is(Code::STALE_CONTEXT));
        assert!(cx.get::<u32>("late").unwrap_err().is(Code::STALE_CONTEXT));
    })
    .await;
}

#[tokio::test]
async fn a_state_is_told_who_it_is_and_what_the_run_was_given() {
    on_each_store(async |engine| {
        let tell = |cx: Context| async move {
            let input: Value = cx.input()?;
            let told = json!({
                "run": cx.run_id(), "step": cx.step(), "ordinal": cx.ordinal(), "attempt": cx.attempt(), "input": input,
                "metadata": cx.metadata(), "has_deadline": cx.deadline().is_some(), "key": cx.idempotency_key().len(),
                "payload": cx.payload::<Value>()?, "cancelled": cx.is_cancelled(),
            });
            cx.set("told", &told)?;
            cx.emit("progress", &0.5)?;
            Ok(Next::done())
        };
        let agent = Agent::new("who").state("tell", tell).build(&engine).unwrap();
        let tags = serde_json::Map::from_iter([("team".to_owned(), json!("blue"))]);
        let result = agent.run(json!({ "n": 1 })).run_id("who-1").metadata(tags).await.unwrap();
        assert_eq!(
            result.context["told"],
            json!({
                "run": "who-1", "step": "tell", "ordinal": 1, "attempt": 1, "input": { "n": 1 },
                "metadata": { "team": "blue" }, "has_deadline": false, "key": 32, "payload": null, "cancelled": false,
            })
        );
    })
    .await;
}

#[tokio::test]
async fn an_input_that_is_no_object_is_refused() {
    on_each_store(async |engine| {
        let agent = Agent::new("input").state("a", ends).build(&engine).unwrap();
        for input in [json!(7), json!([1])] {
            assert_eq!(agent.run(input).await.unwrap_err().error.code, Code::INVALID_PARAMS);
        }
        assert_eq!(agent.run(f64::NAN).await.unwrap_err().error.code, Code::TASK_RESULT_INVALID);
    })
    .await;
}

#[tokio::test]
async fn an_input_with_a_reserved_key_is_refused() {
    on_each_store(async |engine| {
        let agent = Agent::new("input").state("a", ends).build(&engine).unwrap();
        let error = agent.run(json!({ "ok": 1, "$pipeline/0": 2 })).await.unwrap_err().error;
        assert_eq!((error.code, error.data["key"].as_str()), (Code::INVALID_PARAMS, Some("$pipeline/0")));
        assert_eq!(
            error.message,
            "the input has key '$pipeline/0', which is reserved: no key begins with '$pipeline/'"
        );
        assert_eq!(error.hint.as_deref(), Some("give the key another name"));
    })
    .await;
}

/// Two branches that add so much to `n` side by side, and the run that comes of it.
async fn added_side_by_side(
    engine: &Engine,
    start: Value,
    added: Value,
) -> Result<stepwell::RunResult, stepwell::RunError> {
    let both_have_read = Arc::new(Barrier::new(2));
    let add = move |cx: Context| {
        let (both_have_read, added) = (both_have_read.clone(), added.clone());
        async move {
            both_have_read.wait().await;
            cx.set("n", &added)?;
            Ok(Next::done())
        }
    };
    let agent = Agent::new("sums").reducer("n", Reducer::Sum);
    let agent = agent.add_state(State::new("one", add.clone()).next([stepwell::END]).entry());
    let agent = agent.add_state(State::new("other", add).next([stepwell::END]).entry());
    agent.build(engine).unwrap().run(json!({ "n": start })).await
}

#[tokio::test]
async fn a13_a_sum_that_leaves_the_range_of_numbers_fails_the_state_that_makes_it() {
    on_each_store(async |engine| {
        let half = 1_u64 << 63;
        let fits = added_side_by_side(&engine, json!(0), json!(half - 1)).await.unwrap();
        assert_eq!(fits.get("n").unwrap(), Some(u64::MAX - 1));
        for (start, added) in
            [(json!(0), json!(half)), (json!(0), json!(i64::MIN)), (json!(0.0), json!(1.5e308))]
        {
            let failed = added_side_by_side(&engine, start, added.clone()).await.unwrap_err();
            assert_eq!(failed.error.code, Code::TASK_RESULT_INVALID, "{added}");
            let told =
                "the write to 'n' does not fit its reducer 'sum': the sum is beyond what a number can hold";
            assert!(failed.error.message.ends_with(told), "{}", failed.error.message);
            let result = failed.result.unwrap();
            assert_eq!(
                (result.completed_states.len(), &result.context["n"]),
                (1, &added),
                "the other's stands"
            );
        }
    })
    .await;
}
