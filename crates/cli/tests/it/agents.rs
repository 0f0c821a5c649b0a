//! Runs of a Rust program's agents, as the command line shows and moves them.

use serde_json::json;
use stepwell::{Agent, Ask, Context, Engine, Next, Options, Registry, Run};

use crate::sandbox::Sandbox;

async fn open(sandbox: &Sandbox) -> Engine {
    let dir = sandbox.path().join(".stepwell");
    std::fs::create_dir(&dir).unwrap();
    let url = format!("sqlite://{}/stepwell.db", dir.display());
    let store = stepwell::open_store(&url).await.unwrap();
    Engine::open(store, Registry::default(), Options::default()).await.unwrap()
}

/// Waits until a run asks what was not asked before, and returns the id of the question.
async fn asks(run: &Run, but: Option<&str>) -> String {
    loop {
        run.rest().await.unwrap();
        let asked = run.questions().await.unwrap();
        if let Some(asked) = asked.iter().find(|asked| Some(asked.wait.as_str()) != but) {
            return asked.wait.to_string();
        }
        tokio::task::yield_now().await;
    }
}

/// spec/fluffy.md §12, A38.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_whose_answer_was_rejected_is_shown_with_the_reason_and_answered_again() {
    let sandbox = Sandbox::new();
    let engine = open(&sandbox).await;
    let agent = Agent::new("review")
        .state("review", |cx: Context| async move {
            let ask = Ask::new("What of it?").check(|text: &String| {
                if text.len() > 10 { Ok(()) } else { Err("write a little more".into()) }
            });
            cx.set("text", &cx.ask_human::<String>(ask).await?)?;
            Ok(Next::done())
        })
        .build(&engine)
        .unwrap();
    let run = agent.start(()).run_id("r1").await.unwrap();
    let first = asks(&run, None).await;
    let shown = sandbox.run(&["inbox", "--json"]).json()["waits"][0].clone();
    assert_eq!((&shown["try"], &shown["rejected"]), (&json!(1), &json!(null)));

    assert_eq!(sandbox.run(&["answer", &first, "--text", "short"]).code, 0);
    let second = asks(&run, Some(&first)).await;
    let shown = sandbox.run(&["show", "r1", "--json"]).json()["open_waits"][0].clone();
    assert_eq!(shown["try"], 2);
    assert_eq!(shown["rejected"], json!({ "answer": "short", "message": "write a little more" }));
    assert_eq!(sandbox.run(&["inbox", "--json"]).json()["waits"][0], shown);
    let told = sandbox.run(&["inbox", &second]).out;
    assert!(told.contains("rejected  \"short\": write a little more"), "{told}");

    assert_eq!(sandbox.run(&["answer", "r1", "--text", "I approve of it"]).code, 0);
    assert_eq!(run.wait().await.unwrap().context["text"], "I approve of it");
    engine.shutdown().await;
}
