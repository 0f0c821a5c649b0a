//! The tour that `stepwell demo` gives: a real workflow, run by this program as a child that is really killed, in a project of
//! its own. What the narration claims is read from the journal and from the files that the steps wrote; a claim that does
//! not hold is a failure of the demo.
//!
//! `stage.rs` has the project, the children and the pauses, `journal.rs` what is read from a journal; here is what is shown.

mod journal;
pub(crate) mod stage;

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::run::event::Event;

use journal::{Journal, sorted};
use stage::Stage;

use crate::values::counted;

const TOUR: &str = include_str!("tour.yaml");

/// The id of the run that is shown.
const RUN: &str = "tour";

/// What is finished when it is killed, by name.
const FINISHED: [&str; 4] = ["credit", "order", "rates", "stock"];

/// Something that was said, and whether it is so.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) says: String,
    pub(crate) holds: bool,
}

/// Shows all, and returns what was claimed.
pub(crate) async fn tour(stage: &mut Stage) -> Result<Vec<Claim>, ErrorObject> {
    let mut claims = Vec::new();
    opening(stage).await?;
    let killed = it_is_killed(stage).await?;
    let mut claim = |says: &str, holds: bool| claims.push(told(stage, says, holds));
    claim("four steps are finished: order, rates, stock, credit", killed.completed() == FINISHED);
    claim(
        "the three branches were begun by the commit that finished `order`",
        killed.begins_branches_at_once(),
    );
    let refused = killed.count(|event| matches!(event, Event::AttemptFailed { retry_at: Some(_), .. }));
    claim(
        "`rates` failed once and was tried again after a while",
        refused == 1 && killed.attempts("rates") == 2,
    );
    stage.pause().await;

    stage.title("2. It says why it stands still");
    stage.command(&["show", RUN]).await?;
    stage.pause().await;

    let exit = it_goes_on(stage).await?;
    stage.pause().await;

    stage.title("4. What the journal says");
    let journal = Journal(stage.events(RUN).await?);
    let effects = stage.read("effects.log")?;
    let wrote = |step: &str| effects.lines().filter(|line| *line == step).count();
    let mut claim = |says: &str, holds: bool| claims.push(told(stage, says, holds));
    let ended = journal.count(|event| matches!(event, Event::RunCompleted { .. }));
    claim("the run is completed", exit == Some(0) && ended == 1);
    for step in ["order", "stock", "credit", "letter"] {
        let is_once = journal.attempts(step) == 1 && wrote(step) == 1;
        claim(&format!("`{step}` was attempted once and had its effect once"), is_once);
    }
    let is_twice = |step: &str| journal.attempts(step) == 2 && wrote(step) == 2;
    claim("`rates` was attempted twice, and not again after the kill", is_twice("rates"));
    let lost = journal.count(|event| matches!(event, Event::AttemptLost { .. }));
    let says = "`offer` was attempted twice: the first attempt is journaled as lost with its process";
    claim(says, is_twice("offer") && lost == 1);
    let answered = journal.answered_by();
    let by = answered.first().map_or("nobody", String::as_str);
    claim(&format!("the question was answered once, by {by}"), answered.len() == 1);
    let all = [&FINISHED[..], &["offer", "approve", "letter"]].concat();
    claim("no step was completed twice, by two processes and a kill", journal.completed() == sorted(all));
    let events = counted(journal.0.len(), "event");
    claim(&format!("the journal has {events} without a gap"), journal.has_no_gap());
    Ok(claims)
}

async fn opening(stage: &mut Stage) -> Result<(), ErrorObject> {
    stage.write("tour.yaml", TOUR)?;
    stage.say("Stepwell runs workflows so that no finished step is ever lost. Here is one, in a project of its own:");
    stage.say(&format!("{}\n", stage.dir().display()));
    TOUR.lines().for_each(|line| stage.say(&format!("    {line}")));
    stage.pause().await;
    Ok(())
}

/// Runs the workflow up to its slow step, kills it there, and returns what is known then.
async fn it_is_killed(stage: &mut Stage) -> Result<Journal, ErrorObject> {
    stage.title("1. It runs");
    stage.say("`order` leads to three branches; `rates` is refused once and tried again; `offer` needs all of them.");
    stage.say("While `offer` is under way, the process that runs it is killed: kill -9, nothing can be saved first.");
    stage.pause().await;
    stage.start(&["run", "tour.yaml", "--run-id", RUN], false)?;
    stage.until_file("interrupted").await?;
    let pid = stage.kill().await?;
    stage.say(&format!("\nkill -9 {pid}. What stands in its store is what is known of it now:"));
    Ok(Journal(stage.events(RUN).await?))
}

/// Resumes the run, has its question answered, and returns how it exited.
async fn it_goes_on(stage: &mut Stage) -> Result<Option<i32>, ErrorObject> {
    stage.title("3. It goes on where it was, and asks");
    stage.say(
        "What was finished stays finished; `offer` was under way and is tried again. Then a person is asked.",
    );
    stage.pause().await;
    let is_attended = stage.is_attended();
    stage.start(&["resume", RUN], is_attended)?;
    if !is_attended {
        let wait = loop {
            let journal = Journal(stage.news(RUN).await?);
            if let Some(wait) = journal.question() {
                break wait;
            }
        };
        stage.command(&["answer", &wait, "--text", "yes", "--by", "demo"]).await?;
    }
    stage.wait().await
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

fn told(stage: &Stage, says: &str, holds: bool) -> Claim {
    stage.say(&format!("  {} {says}", if holds { "✓" } else { "✗ it is not so that" }));
    Claim { says: says.to_owned(), holds }
}
