//! `stepwell events`: the journal of a run.

use stepwell_core::error::ErrorObject;
use stepwell_core::ids::Seq;
use stepwell_store::Recorded;

use crate::args::Shared;
use crate::exit::Exit;
use crate::{output, project, shape, text, values};

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
    const PAGE: usize = 1_000;
    let engine = project::open_idle(shared.store()).await?;
    let run = project::find_run(&**engine.store(), &args.run).await?;
    let mut after = Seq(args.after);
    if args.follow {
        let mut follow = engine.follow(&run, after);
        loop {
            let news = follow.next().await?;
            if news.is_empty() {
                return Ok(Exit::Ok);
            }
            for recorded in &news {
                print(recorded, shared.json);
            }
        }
    }
    loop {
        let page = engine.store().events(&run, after, PAGE).await.map_err(super::stored)?;
        let Some(last) = page.last() else { return Ok(Exit::Ok) };
        after = last.seq;
        for recorded in &page {
            print(recorded, shared.json);
        }
    }
}

fn print(recorded: &Recorded, json: bool) {
    let event = shape::event(recorded);
    if json {
        output::json(&event);
        return;
    }
    let step = match (event["step"].as_str(), event["execution"].as_u64()) {
        (Some(step), Some(1)) => format!(" {step}"),
        (Some(step), Some(ordinal)) => format!(" {step}#{ordinal}"),
        (Some(step), None) => format!(" {step}"),
        (None, _) => String::new(),
    };
    let attempt =
        event["attempt"].as_u64().map_or_else(String::new, |attempt| format!(", attempt {attempt}"));
    let error = event["data"]["error"]["message"].as_str();
    let error = error
        .and_then(|error| error.lines().next())
        .map_or_else(String::new, |error| format!(": {}", text::message(error)));
    let (at, kind) = (values::shown(recorded.at), event["type"].as_str().unwrap_or_default());
    output::data(&format!("{:>6} {at} {}{step}{attempt}{error}", recorded.seq, kind));
}
