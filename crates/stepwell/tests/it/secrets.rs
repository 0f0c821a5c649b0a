//! Secrets stay secret (A34).

use std::path::Path;

use serde_json::{Value, json};
use stepwell::core::error::Code;
use stepwell::core::ids::Seq;
use stepwell::{Agent, Ask, Context, Engine, Next, RunError, Secret, State, StepError};

use crate::support::{on_each_store, open};

/// A variable that every test of Cargo has and nothing here says: it stands for a secret.
const NAME: &str = "CARGO_MANIFEST_DIR";

fn text() -> String {
    std::env::var(NAME).unwrap()
}

fn secret(cx: &Context) -> Secret {
    cx.secret(NAME).unwrap()
}

async fn fails(engine: &Engine, state: State) -> RunError {
    Agent::new("secrets").add_state(state).build(engine).unwrap().run(()).await.unwrap_err()
}

/// Everything that is kept and told of a run that ended with that error.
async fn told(engine: &Engine, ended: &RunError) -> String {
    let id = &ended.result.as_ref().unwrap().run_id;
    let journal = engine.store().events(id, Seq(0), 1_000).await.unwrap();
    let run = engine.inspect(id).await.unwrap();
    format!("{ended:?} {journal:?} {run:?} {:?}", engine.store().run(id).await.unwrap())
}

#[tokio::test]
async fn a34_a_secret_is_in_no_error_journal_or_emitted_line() {
    on_each_store(async |engine| {
        let errs = State::new("errs", |cx: Context| async move {
            let key = secret(&cx);
            cx.emit(
                "log",
                &json!({ "url": format!("/?key={}", key.reveal()), key.reveal(): [key.reveal()] }),
            )?;
            Err(StepError::new(format!("401 for {} ({key} {key:?})", key.reveal())))
        });
        let panics = State::new("panics", |cx: Context| async move {
            let key = secret(&cx);
            std::panic::resume_unwind(Box::new(format!("no {:?} here", key.reveal())));
        });
        let blocks = State::blocking("blocks", |cx| {
            std::fs::read(Path::new(secret(&cx).reveal()).join("nothing"))
                .map_err(|error| StepError::new(format!("{}: {error}", secret(&cx).reveal())))?;
            Ok(Next::done())
        });
        for (state, message) in [
            (errs, "step 'errs': 401 for *** (*** ***)"),
            (panics, "step 'panics' panicked: no \"***\" here"),
            (blocks, "step 'blocks': ***: No such file or directory (os error 2)"),
        ] {
            let ended = fails(&engine, state).await;
            assert_eq!(ended.error.message, message);
            assert!(!told(&engine, &ended).await.contains(&text()));
        }
    })
    .await;
}

#[tokio::test]
async fn a34_a_secret_is_in_no_dead_letter_rejection_checkpoint_or_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = stepwell::open_store(&format!("sqlite://{}/s.db", dir.path().display())).await.unwrap();
    let engine = open(&store).await;
    let state = |cx: Context| async move {
        let key = secret(&cx);
        cx.emit("log", key.reveal())?;
        let said = key.reveal().to_owned();
        let ask = Ask::new("Sure?").check(move |sure: &bool| if *sure { Ok(()) } else { Err(said.clone()) });
        let _: bool = cx.ask_human(ask).await?;
        Err(StepError::never_again(key.reveal()))
    };
    let run = Agent::new("asks").state("a", state).build(&engine).unwrap().start(()).await.unwrap();
    for sure in [false, true] {
        run.rest().await.unwrap();
        run.answer(&run.questions().await.unwrap()[0].wait, sure).await.unwrap();
    }
    run.wait().await.unwrap_err();
    assert_eq!(run.dead_letters().await.unwrap()[0].error.message, "step 'a': ***");
    let checkpoint = run.checkpoint().await.unwrap().to_json();
    assert!(checkpoint.contains("step 'a': ***") && !checkpoint.contains(&text()), "{checkpoint}");
    engine.shutdown().await;
    store.close().await.unwrap();
    let text = text();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(text.len()).any(|part| part == text.as_bytes()));
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_an_error_with_the_name_of_its_variable() {
    on_each_store(async |engine| {
        let state = State::new("a", |cx: Context| async move {
            let _ = cx.secret("STEPWELL_HAS_NO_SUCH_SECRET")?;
            Ok(Next::done())
        });
        let error = fails(&engine, state).await.error;
        assert_eq!(error.code, Code::CONFIGURATION_ERROR);
        let message = "step 'a': the environment of this worker has no variable 'STEPWELL_HAS_NO_SUCH_SECRET', which is to \
                       hold a secret";
        assert_eq!(error.message, message);
        assert_eq!(error.data["variable"], Value::from("STEPWELL_HAS_NO_SUCH_SECRET"));
    })
    .await;
}
