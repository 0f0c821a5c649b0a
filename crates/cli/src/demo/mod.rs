//! The tour that `stepwell demo` gives: a real workflow, run by this program as a child that is really killed, in a project of
//! its own. What the narration claims is read from the journal and from the files that the steps wrote; a claim that does
//! not hold is a failure of the demo.
//!
//! `stage.rs` has the project, the children and the pauses; here is what is shown.

pub(crate) mod stage;

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::run::event::Event;
use stepwell_core::run::wait::Resolution;
use stepwell_store::Recorded;

use stage::Stage;

use crate::values::counted;

const TOUR: &str = include_str!("tour.yaml");

/// The id of the run that is shown.
const RUN: &str = "tour";

/// Something that was said, and whether it is so.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) says: String,
    pub(crate) holds: bool,
}

/// Shows all, and returns what was claimed.
pub(crate) async fn tour(stage: &mut Stage) -> Result<Vec<Claim>, ErrorObject> {
    stage.write("tour.yaml", TOUR)?;
    stage.say("Stepwell runs workflows so that no finished step is ever lost. Here is one, in a project of its own:");
    stage.say(&format!("{}\n", stage.dir().display()));
    TOUR.lines().for_each(|line| stage.say(&format!("    {line}")));
    stage.pause().await;

    stage.title("1. It runs");
    stage.say("`order` leads to three branches; `rates` is refused once and tried again; `offer` needs all of them.");
    stage.say("While `offer` is under way, the process that runs it is killed: kill -9, nothing can be saved first.");
    stage.pause().await;
    stage.start(&["run", "tour.yaml", "--run-id", RUN], false)?;
    stage.until(RUN, |journal| attempts(journal, "offer") == 1).await?;
    stage.until_file("interrupted").await?;
    let pid = stage.kill().await?;
    let killed = stage.events(RUN).await?;
    stage.say(&format!("\nkill -9 {pid}. What stands in its store is what is known of it now:"));
    let mut claims = Vec::new();
    let done = ["order", "rates", "stock", "credit"];
    claim(stage, &mut claims, "four steps are finished: order, rates, stock, credit", {
        done.iter().all(|step| completions(&killed, step) == 1) && completions(&killed, "offer") == 0
    });
    claim(stage, &mut claims, "the three branches were begun by the commit that finished `order`", {
        let begun = |step: &str| {
            position(
                &killed,
                |event| matches!(event, Event::StepActivated { step: of, .. } if of.as_str() == step),
            )
        };
        let first = position(&killed, |event| matches!(event, Event::StepCompleted { .. }));
        let mut begun: Vec<usize> = done[1..].iter().filter_map(|step| begun(step)).collect();
        begun.sort_unstable();
        first.is_some_and(|first| begun == [first + 1, first + 2, first + 3])
    });
    claim(stage, &mut claims, "`rates` failed once and was tried again after a while", {
        let refused = |event: &Event| matches!(event, Event::AttemptFailed { step, retry_at: Some(_), .. } if step.as_str() == "rates");
        attempts(&killed, "rates") == 2
            && killed.iter().filter(|recorded| refused(&recorded.event)).count() == 1
    });
    stage.pause().await;

    stage.title("2. It says why it stands still");
    stage.command(&["show", RUN]).await?;
    stage.pause().await;

    stage.title("3. It goes on where it was, and asks");
    stage.say(
        "What was finished stays finished; `offer` was under way and is tried again. Then a person is asked.",
    );
    stage.pause().await;
    let is_asked = stage.is_attended();
    stage.start(&["resume", RUN], is_asked)?;
    let journal = stage.until(RUN, |journal| question(journal).is_some()).await?;
    if !is_asked && let Some(wait) = question(&journal) {
        stage.command(&["answer", &wait, "--text", "yes", "--by", "demo"]).await?;
    }
    let exit = stage.wait().await?;
    stage.pause().await;

    stage.title("4. What the journal says");
    let journal = stage.events(RUN).await?;
    let effects = stage.read("effects.log")?;
    let wrote = |step: &str| effects.lines().filter(|line| *line == step).count();
    claim(stage, &mut claims, "the run is completed", {
        exit == Some(0) && matches!(journal.last().map(|last| &last.event), Some(Event::RunCompleted { .. }))
    });
    for step in ["order", "stock", "credit", "letter"] {
        let says = format!("`{step}` was attempted once and had its effect once");
        claim(stage, &mut claims, &says, attempts(&journal, step) == 1 && wrote(step) == 1);
    }
    claim(stage, &mut claims, "`rates` was attempted twice, and not again after the kill", {
        attempts(&journal, "rates") == 2 && wrote("rates") == 2
    });
    claim(
        stage,
        &mut claims,
        "`offer` was attempted twice: the first attempt is journaled as lost with its process",
        {
            let lost =
                |event: &Event| matches!(event, Event::AttemptLost { step, .. } if step.as_str() == "offer");
            attempts(&journal, "offer") == 2
                && wrote("offer") == 2
                && journal.iter().any(|recorded| lost(&recorded.event))
        },
    );
    let answers: Vec<&Event> =
        journal.iter().map(|recorded| &recorded.event).filter(|event| answer(event).is_some()).collect();
    let by = answers.first().and_then(|event| answer(event)).unwrap_or_default();
    claim(stage, &mut claims, &format!("the question was answered once, by {by}"), answers.len() == 1);
    claim(stage, &mut claims, "no step was completed twice, by two processes and a kill", {
        ["order", "rates", "stock", "credit", "offer", "letter"]
            .iter()
            .all(|step| completions(&journal, step) == 1)
    });
    claim(
        stage,
        &mut claims,
        &format!("the journal has {} without a gap", counted(journal.len(), "event")),
        journal.iter().zip(1..).all(|(recorded, seq)| recorded.seq.0 == seq),
    );
    Ok(claims)
}

/// Returns the claims as programs read them.
pub(crate) fn to_json(claims: &[Claim]) -> Value {
    let all: Vec<Value> =
        claims.iter().map(|claim| json!({ "claim": claim.says, "holds": claim.holds })).collect();
    json!({ "claims": all, "holds": claims.iter().all(|claim| claim.holds) })
}

/// Returns the error of a demo that claimed what is not so.
pub(crate) fn refuted(claims: &[Claim]) -> Option<ErrorObject> {
    let wrong: Vec<&str> = claims.iter().filter(|claim| !claim.holds).map(|claim| &*claim.says).collect();
    let first = wrong.first()?;
    let message = format!("{} of the demo is not so: {first}", counted(wrong.len(), "claim"));
    Some(ErrorObject::new(Code::INTERNAL_ERROR, message).with("claims", wrong))
}

fn claim(stage: &Stage, claims: &mut Vec<Claim>, says: &str, holds: bool) {
    stage.say(&format!("  {} {says}", if holds { "✓" } else { "✗ it is not so that" }));
    claims.push(Claim { says: says.to_owned(), holds });
}

fn attempts(journal: &[Recorded], name: &str) -> usize {
    let of = |event: &Event| matches!(event, Event::AttemptStarted(started) if started.step.as_str() == name);
    journal.iter().filter(|recorded| of(&recorded.event)).count()
}

fn completions(journal: &[Recorded], name: &str) -> usize {
    let of = |event: &Event| matches!(event, Event::StepCompleted { step, .. } if step.as_str() == name);
    journal.iter().filter(|recorded| of(&recorded.event)).count()
}

fn position(journal: &[Recorded], is: impl Fn(&Event) -> bool) -> Option<usize> {
    journal.iter().position(|recorded| is(&recorded.event))
}

/// Returns the id of the question that the run asks.
fn question(journal: &[Recorded]) -> Option<String> {
    journal.iter().find_map(|recorded| match &recorded.event {
        Event::WaitOpened { wait, .. } => Some(wait.to_string()),
        _ => None,
    })
}

/// Returns who answered, if somebody did.
fn answer(event: &Event) -> Option<String> {
    match event {
        Event::WaitResolved { resolution: Resolution::Answered { by, .. }, .. } => {
            Some(by.clone().unwrap_or_else(|| "nobody in particular".into()))
        }
        _ => None,
    }
}
