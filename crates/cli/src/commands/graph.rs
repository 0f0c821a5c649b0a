//! `stepwell graph`: a workflow file or a run as a picture.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::load;
use stepwell_store::{Page, WaitFilter, WaitState};

use crate::args::Shared;
use crate::exit::Exit;
use crate::graph::{Graph, dot, mermaid, svg, text};
use crate::{output, project, standing, whole_file};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Workflow file, or the id of a run or its beginning
    #[arg(value_name = "FILE|RUN")]
    target: String,
    /// As what it is drawn [default: text]
    #[arg(long, value_name = "FORMAT", conflicts_with = "json")]
    format: Option<Format>,
    /// Where the picture goes [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Lines for a terminal
    Text,
    /// A flowchart for Markdown
    Mermaid,
    /// For Graphviz
    Dot,
    /// A picture of its own, for light and dark
    Svg,
}

pub(crate) async fn graph(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    if let Some(file) = &args.output {
        whole_file::has_place("--output", file)?;
    }
    let graph = match file(&args.target) {
        Some(file) => of_file(file)?,
        None => of_run(shared, &args.target).await?,
    };
    let drawn = match args.format {
        _ if shared.json => crate::text::json(&graph.to_json()) + "\n",
        None | Some(Format::Text) => text(&graph).join("\n") + "\n",
        Some(Format::Mermaid) => mermaid(&graph),
        Some(Format::Dot) => dot(&graph),
        Some(Format::Svg) => svg(&graph),
    };
    match &args.output {
        None => drawn.lines().for_each(output::data),
        Some(file) => std::fs::write(file, drawn).map_err(|error| {
            let message = format!("{} cannot be written: {error}", file.display());
            ErrorObject::new(Code::CONFIGURATION_ERROR, message).with("path", file.display().to_string())
        })?,
    }
    Ok(Exit::Ok)
}

/// Returns the file that is meant: one that is there, or whose name is that of a workflow file.
fn file(target: &str) -> Option<&Path> {
    let file = Path::new(target);
    let is_named =
        file.extension().is_some_and(|suffix| ["yaml", "yml", "json"].iter().any(|known| suffix == *known));
    (is_named || file.is_file()).then_some(file)
}

fn of_file(file: &Path) -> Result<Graph, ErrorObject> {
    let registry = project::registry(&[file.to_owned()])?;
    let loaded =
        load::file(file, &registry, false).map_err(|invalid| output::in_file(invalid.to_error(), file))?;
    Ok(Graph::of(&loaded.workflow))
}

async fn of_run(shared: &Shared, target: &str) -> Result<Graph, ErrorObject> {
    let engine = project::open_idle(shared.store()).await.map_err(|mut error| {
        if error.data.get("reason").is_some_and(|reason| reason == "not_found") {
            error.message = format!("{target} is no workflow file, and {}", error.message);
        }
        error
    })?;
    let run = project::find_run(&**engine.store(), target).await?;
    let known = engine.inspect(&run).await?;
    let open = WaitFilter { state: Some(WaitState::Open), run: Some(run), ..WaitFilter::default() };
    let waits = engine.store().waits(&open, &Page::first(1_000)).await.map_err(super::stored)?.items;
    let kinds = waits.iter().map(|wait| wait.kind.as_str());
    Ok(Graph::of_run(&known, standing::in_words(known.status(), known.pause_reason(), kinds)))
}
