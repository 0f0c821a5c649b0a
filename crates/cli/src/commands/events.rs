//! `stepwell events`: the journal of a run.

use serde_json::Value;
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{Ordinal, RunId, Seq};
use stepwell_store::{Recorded, Store};

use crate::args::Shared;
use crate::exit::Exit;
use crate::{output, project, shape, steps, text, values};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, or its beginning
    run: String,
    /// Only events after this number
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    after: u64,
    /// Goes on as the journal grows, until the run has ended
    #[arg(long)]
    follow: bool,
}

pub(crate) async fn events(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let engine = project::open_idle(shared.store()).await?;
    let run = project::find_run(&**engine.store(), &args.run).await?;
    let after = Seq(args.after);
    if args.follow {
        let mut follow = engine.follow(&run, after);
        loop {
            let news = follow.next().await?;
            if news.is_empty() || output::is_unread() {
                return Ok(Exit::Ok);
            }
            for recorded in &news {
                print(recorded, shared.json);
            }
        }
    }
    each(&**engine.store(), &run, after, |recorded| print(recorded, shared.json)).await?;
    Ok(Exit::Ok)
}

/// Reads the journal of a run after a number.
pub(super) async fn each(
    store: &dyn Store,
    run: &RunId,
    mut after: Seq,
    mut tell: impl FnMut(&Recorded),
) -> Result<(), ErrorObject> {
    const PAGE: usize = 1_000;
    loop {
        let page = store.events(run, after, PAGE).await.map_err(super::stored)?;
        let Some(last) = page.last().filter(|_| !output::is_unread()) else { return Ok(()) };
        after = last.seq;
        page.iter().for_each(&mut tell);
    }
}

fn print(recorded: &Recorded, json: bool) {
    if json {
        output::json(&shape::event(recorded));
    } else {
        output::data(&line(recorded));
    }
}

/// Returns an event as people are told of it.
pub(super) fn line(recorded: &Recorded) -> String {
    let event = shape::event(recorded);
    let step = match (event["step"].as_str(), event["execution"].as_u64()) {
        (Some(step), Some(ordinal)) => format!(" {}", steps::name(step, Ordinal(ordinal as u32))),
        (Some(step), None) => format!(" {step}"),
        (None, _) => String::new(),
    };
    let attempt =
        event["attempt"].as_u64().map_or_else(String::new, |attempt| format!(", attempt {attempt}"));
    let data = &event["data"];
    let said =
        [&data["error"]["message"], &data["reason"], &data["note"]].into_iter().filter_map(Value::as_str);
    let mut why = String::new();
    for said in said.filter_map(|said| said.lines().next()) {
        why.extend([": ", &*text::message(said)]);
    }
    let (at, kind) = (values::shown(recorded.at), event["type"].as_str().unwrap_or_default());
    format!("{:>6} {at} {kind}{step}{attempt}{why}", recorded.seq)
}
