//! The project a command works in, its store, and the engine over it.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use stepwell::LaterRoots;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, WaitId};
use stepwell_engine::{Engine, Leases, Options, Registry};
use stepwell_store::{Page, Store, WaitFilter, WaitRow, WaitState};

use crate::args::Work;
use crate::output;
use crate::settings::{self, Settings};

/// Returns the nearest directory upward with `stepwell.toml` or `.stepwell/`, else the working directory.
pub(crate) fn root(from: &Path) -> PathBuf {
    let is_project = |dir: &&Path| dir.join(settings::FILE).is_file() || dir.join(".stepwell").is_dir();
    from.ancestors().find(is_project).unwrap_or(from).to_owned()
}

/// Returns the working directory.
pub(crate) fn working_dir() -> Result<PathBuf, ErrorObject> {
    std::env::current_dir().map_err(|error| {
        ErrorObject::new(Code::CONFIGURATION_ERROR, format!("the working directory cannot be read: {error}"))
    })
}

/// A store, and who chose it.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) url: String,
    pub(crate) by: Chooser,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chooser {
    /// `--store` or the environment.
    Given,
    /// `stepwell.toml`.
    Settings,
    /// The place of a project's own store.
    Default,
}

/// Returns the store of a command: as given by flag or environment, else by the settings of the project, else its own.
pub(crate) fn store(given: Option<&str>) -> Result<Chosen, ErrorObject> {
    if let Some(url) = given.filter(|url| !url.is_empty()) {
        return Ok(Chosen { url: url.to_owned(), by: Chooser::Given });
    }
    let root = root(&working_dir()?);
    if let Some(url) = Settings::of(&root)?.store {
        return Ok(Chosen { url: below(&root, &url), by: Chooser::Settings });
    }
    let file = root.join(".stepwell").join("stepwell.db");
    Ok(Chosen { url: format!("sqlite://{}", file.display()), by: Chooser::Default })
}

/// Returns the URL of the store of a command.
pub(crate) fn store_url(given: Option<&str>) -> Result<String, ErrorObject> {
    store(given).map(|chosen| chosen.url)
}

/// Returns a URL with its file, if it is relative, below a directory.
fn below(dir: &Path, url: &str) -> String {
    match url.strip_prefix("sqlite://") {
        Some(file) if !file.is_empty() && !file.starts_with('/') => {
            format!("sqlite://{}", dir.join(file).display())
        }
        _ => url.to_owned(),
    }
}

/// Returns the file that a URL names, if it is one of a file.
pub(crate) fn file_of(url: &str) -> Option<&Path> {
    let file = url.strip_prefix("sqlite://")?.split('?').next().filter(|file| !file.is_empty())?;
    Some(Path::new(file))
}

/// Opens the store of a command that reads: one that does not exist is not made.
pub(crate) async fn open_existing(given: Option<&str>) -> Result<Arc<dyn Store>, ErrorObject> {
    let url = store_url(given)?;
    if let Some(file) = file_of(&url)
        && !file.exists()
    {
        let (why, hint) = match unfit(file) {
            Some((why, hint)) => (format!(": {why}"), hint),
            None => (" yet".into(), "`stepwell run FILE` makes one; `--store` names another".into()),
        };
        let message = format!("there is no store {}{why}", file.display());
        return Err(ErrorObject::new(Code::CONFIGURATION_ERROR, message)
            .with("reason", "not_found")
            .with("path", file.display().to_string())
            .with_hint(hint));
    }
    open_store(given).await
}

/// Opens the store of a command that lists; none: it is the project's own, and nothing has run there yet.
pub(crate) async fn open_to_list(given: Option<&str>) -> Result<Option<Arc<dyn Store>>, ErrorObject> {
    let chosen = store(given)?;
    let is_to_come = |file: &Path| !file.exists() && unfit(file).is_none();
    if chosen.by == Chooser::Default && file_of(&chosen.url).is_some_and(is_to_come) {
        return Ok(None);
    }
    open_existing(given).await.map(Some)
}

/// Opens the store of a command, making it if it does not exist.
pub(crate) async fn open_store(given: Option<&str>) -> Result<Arc<dyn Store>, ErrorObject> {
    let url = store_url(given)?;
    if let Some(file) = file_of(&url) {
        if let Some(dir) = file.parent().filter(|dir| dir.ends_with(".stepwell")) {
            std::fs::create_dir_all(dir).map_err(|error| {
                let message = format!("{} cannot be made: {error}", dir.display());
                ErrorObject::new(Code::CONFIGURATION_ERROR, message)
            })?;
        }
        if let Some((why, hint)) = unfit(file) {
            let message = format!("the store {} cannot be opened: {why}", file.display());
            return Err(ErrorObject::new(Code::PERSISTENCE_CONNECTION_FAILED, message)
                .with("path", file.display().to_string())
                .with_hint(hint)
                .never_again());
        }
    }
    stepwell_store::open(&url).await.map_err(|error| stepwell_engine::error::from_store(&error))
}

/// Returns why no file of a store can be in that place and what to do about it, as far as its directory tells.
fn unfit(file: &Path) -> Option<(String, String)> {
    if file.is_dir() {
        let inside = file.join("stepwell.db");
        let hint = format!("name a file in it: `--store sqlite://{}`", inside.display());
        return Some((format!("{} is a directory", file.display()), hint));
    }
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if dir.is_file() {
        let why = format!("{} is not a directory", dir.display());
        return Some((why, "name another place with `--store`".into()));
    }
    // Whatever else is wrong, opening it tells. The directory of a project is made with its first store.
    let is_made = dir.ends_with(".stepwell") && dir.parent().is_some_and(Path::is_dir);
    (!is_made && matches!(dir.try_exists(), Ok(false))).then(|| {
        let why = format!("the directory {} does not exist", dir.display());
        (why, "make it, or name another place with `--store`".into())
    })
}

/// Returns the providers of a command that carries out no steps.
pub(crate) fn registry(beside: &[PathBuf]) -> Result<Registry, ErrorObject> {
    let dir = working_dir()?;
    let project = root(&dir);
    let settings = Settings::of(&project)?.of_providers(&project, &Work::default())?;
    Ok(stepwell::registry_with(settings, roots(dir, beside)))
}

/// Returns the providers of a command that carries out steps, as the settings of the project and the arguments want them.
pub(crate) fn registry_at_work(beside: &[PathBuf], work: &Work) -> Result<Registry, ErrorObject> {
    registry_within(roots(working_dir()?, beside), work)
}

/// Returns the same for files in these directories; relative paths start at the first.
pub(crate) fn registry_within(roots: Vec<PathBuf>, work: &Work) -> Result<Registry, ErrorObject> {
    let project = root(&working_dir()?);
    let settings = Settings::of(&project)?.of_providers(&project, work)?;
    if let Some(missing) = settings.python.isolation.sandbox.shortfall()? {
        output::talk(&format!("steps run without a sandbox: {missing}"));
    }
    Ok(stepwell::registry_with(settings, roots))
}

/// Returns the same for a program of its own, whose interpreter scripts get unless the project names one, and where it may say
/// later which other directories files lie in.
pub(crate) fn registry_of_program(
    interpreter: &Path,
    also: &[PathBuf],
) -> Result<(Registry, LaterRoots), ErrorObject> {
    let dir = working_dir()?;
    let project = root(&dir);
    let settings = Settings::of(&project)?;
    let mut of_providers = settings.of_providers(&project, &Work::default())?;
    if !settings.names_interpreter() {
        interpreter.clone_into(&mut of_providers.python.interpreter);
    }
    let later = of_providers.python.isolation.later_roots.clone();
    let roots = std::iter::once(dir).chain(also.iter().cloned()).collect();
    Ok((stepwell::registry_with(of_providers, roots), later))
}

/// Returns where files may lie: in the working directory and in those of the workflow files that were named.
fn roots(dir: PathBuf, beside: &[PathBuf]) -> Vec<PathBuf> {
    let named = beside.iter().filter_map(|file| file.canonicalize().ok()?.parent().map(Path::to_owned));
    std::iter::once(dir).chain(named).collect()
}

/// Opens an engine over the store of a command that takes no work.
pub(crate) async fn open_idle(given: Option<&str>) -> Result<Engine, ErrorObject> {
    let store = open_existing(given).await?;
    engine_over(store, Leases::None, registry(&[])?, "stepwell").await
}

/// Opens an engine over an open store.
pub(crate) async fn engine_over(
    store: Arc<dyn Store>,
    leases: Leases,
    registry: Registry,
    what: &str,
) -> Result<Engine, ErrorObject> {
    let label = format!("pid {} ({what})", std::process::id());
    let options = Options { leases, label, ..Options::default() };
    Engine::open(store, registry, options).await
}

/// Returns whether a process is there that carries the runs of that tree: a worker, or one that follows the tree.
pub(crate) async fn is_carried(store: &dyn Store, root: &RunId) -> Result<bool, ErrorObject> {
    let others = store.others().await.map_err(|error| stepwell_engine::error::from_store(&error))?;
    Ok(others.iter().any(|other| carries(other, root.as_str())))
}

/// Returns whether a process is there that may have functions of agents and pipelines.
pub(crate) async fn has_program(store: &dyn Store) -> Result<bool, ErrorObject> {
    let others = store.others().await.map_err(|error| stepwell_engine::error::from_store(&error))?;
    Ok(others.iter().any(|other| has_functions(other)))
}

/// How a worker that serves agents of modules begins to say what it does; they follow.
pub(crate) const SERVES: &str = "worker of ";

/// Reads how the store names a process, `pid 4711 (pid 4711 (worker))` or `… (resume ROOT))`: what a command does. None: it
/// is a program of somebody else's.
fn command(process: &str) -> Option<&str> {
    process.splitn(3, " (").nth(2)?.strip_suffix("))")
}

/// A program of somebody else's is taken to carry all.
fn carries(process: &str, root: &str) -> bool {
    let Some(what) = command(process).filter(|what| !what.starts_with(SERVES)) else { return true };
    what.split_once(' ').is_none_or(|(_, tree)| tree == root)
}

/// A command has no functions, unless it serves those of modules.
fn has_functions(process: &str) -> bool {
    command(process).is_none_or(|what| what.starts_with(SERVES))
}

/// Reads a JSON argument: the text itself, or `@FILE`.
pub(crate) fn json_argument(name: &str, given: &str) -> Result<Value, ErrorObject> {
    let bad = |why: String| {
        ErrorObject::new(Code::INVALID_PARAMS, format!("{name}: {why}")).with("parameter", name)
    };
    let text = match given.strip_prefix('@') {
        None => given.to_owned(),
        Some(file) => read_given(Path::new(file), bad)?,
    };
    serde_json::from_str(&text).map_err(|error| {
        let refused = bad(format!("not JSON: {error}"));
        if Path::new(given).is_file() {
            return refused.with_hint(format!("the content of the file is meant by `@{given}`"));
        }
        ErrorObject { hint: json_hint(&error), ..refused }
    })
}

/// Returns what people forget who write JSON by hand. What is cut off may lack anything.
pub(crate) fn json_hint(error: &serde_json::Error) -> Option<String> {
    let hint = r#"keys and texts stand in double quotes, as in '{"key": "text"}'"#;
    error.is_syntax().then(|| hint.to_owned())
}

/// Reads a file that is named on the command line. It may be a pipe, as `<(…)` of a shell is one; a device never ends.
///
/// # Errors
/// `CONFIGURATION_ERROR` with `data.reason` `not_found` if there is none, else what `bad` makes of the cause.
pub(crate) fn read_given(
    file: &Path,
    bad: impl FnOnce(String) -> ErrorObject,
) -> Result<String, ErrorObject> {
    let shown = file.display();
    text_of(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            ErrorObject::new(Code::CONFIGURATION_ERROR, format!("there is no file '{shown}'"))
                .with("reason", "not_found")
                .with("path", shown.to_string())
        }
        _ => bad(format!("{shown}: {error}")),
    })
}

fn text_of(file: &Path) -> io::Result<String> {
    let kind = std::fs::metadata(file)?.file_type();
    if kind.is_char_device() || kind.is_block_device() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a device and no file"));
    }
    std::fs::read_to_string(file)
}

/// Finds the question that an argument means: by its id, or as the only open one whose id begins like it.
pub(crate) async fn find_wait(store: &dyn Store, given: &str) -> Result<Option<WaitRow>, ErrorObject> {
    let fail = |error| stepwell_engine::error::from_store(&error);
    match store.wait(&WaitId::from(given)).await {
        Ok(row) => return Ok(Some(row)),
        Err(stepwell_store::Error::NotFound(_)) => {}
        Err(error) => return Err(fail(error)),
    }
    let filter =
        WaitFilter { state: Some(WaitState::Open), kind: Some("human".into()), ..WaitFilter::default() };
    let mut found = Vec::new();
    let mut page = Page::first(1_000);
    loop {
        let waits = store.waits(&filter, &page).await.map_err(fail)?;
        found.extend(waits.items.into_iter().filter(|row| row.wait.as_str().starts_with(given)));
        match waits.next {
            Some(next) if found.len() < 2 => page.cursor = Some(next),
            _ => break,
        }
    }
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|row| row.wait.as_str()).collect();
        let message = format!("{given} is the beginning of several questions: {}", names.join(", "));
        return Err(ErrorObject::new(Code::INVALID_PARAMS, message)
            .with("candidates", names)
            .with_hint("give more of its id"));
    }
    Ok(found.pop())
}

/// Finds the run that an argument means: an id, or the only one that begins like it.
pub(crate) async fn find_run(
    store: &dyn Store,
    given: &str,
) -> Result<stepwell_core::ids::RunId, ErrorObject> {
    let fail = |error| stepwell_engine::error::from_store(&error);
    let id = stepwell_core::ids::RunId::from(given);
    match store.run(&id).await {
        Ok(_) => return Ok(id),
        Err(stepwell_store::Error::NotFound(_)) => {}
        Err(error) => return Err(fail(error)),
    }
    let mut found = store.runs_with_prefix(given, 6).await.map_err(fail)?;
    match found.len() {
        0 => Err(ErrorObject::new(Code::WORKFLOW_NOT_FOUND, format!("no run {given} is in the store"))
            .with("run_id", given)
            .with_hint("`stepwell list` shows the runs; `--store` names another store")),
        1 => Ok(found.remove(0)),
        _ => {
            let names: Vec<&str> = found.iter().map(stepwell_core::ids::RunId::as_str).collect();
            let message = format!("{given} is the beginning of several runs: {}", names.join(", "));
            Err(ErrorObject::new(Code::INVALID_PARAMS, message)
                .with("candidates", names)
                .with_hint("give more of its id"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_follows_a_tree_carries_it_and_no_other() {
        assert!(carries("pid 7 (pid 7 (worker))", "r1") && carries("pid 7 (pid 7)", "r1"));
        assert!(carries("pid 7 (pid 7 (resume r1))", "r1") && carries("pid 7 (pid 7 (run a (b)))", "a (b)"));
        assert!(!carries("pid 7 (pid 7 (run r2))", "r1"));
        assert!(carries("pid 7 (pid 7 (worker of shop:agent, shop:other))", "r1"));
    }

    #[test]
    fn only_programs_and_workers_of_modules_have_functions() {
        assert!(has_functions("pid 7 (pid 7)") && has_functions("pid 7 (pid 7 (worker of shop:agent))"));
        assert!(
            !has_functions("pid 7 (pid 7 (worker))") && !has_functions("pid 7 (pid 7 (run worker of r1))")
        );
    }
}
