//! `stepwell doctor`: looks at everything a run needs and says what is wrong, and what to do. It changes nothing and makes
//! no store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::Timestamp;
use stepwell_core::status::{PauseReason, RunStatus};
use stepwell_providers::python::{PythonPool, PythonTask, Source};
use stepwell_providers::sandbox::{Mode, Sandbox};
use stepwell_store::Survey;
use tokio_util::sync::CancellationToken;

use crate::args::Shared;
use crate::exit::Exit;
use crate::project::{self, Chooser, Chosen};
use crate::settings::{self, Settings};
use crate::values::{counted, shown, size, time_or_null};
use crate::{machine, output, standing};

/// By it the environment says whether steps run in a sandbox.
const VARIABLE: &str = "STEPWELL_SANDBOX";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// What came of looking at one thing.
#[derive(Debug)]
struct Check {
    name: &'static str,
    state: State,
    /// What was found.
    said: String,
    /// What to do about it; empty: nothing.
    remedy: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    /// Nothing is broken, and somebody may want to know.
    Note,
    Broken,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Broken => "broken",
        }
    }
}

/// The report, as it is written.
#[derive(Debug, Default)]
struct Report {
    checks: Vec<Check>,
    facts: Value,
}

impl Report {
    fn add(&mut self, name: &'static str, state: State, said: impl Into<String>, remedy: impl Into<String>) {
        self.checks.push(Check { name, state, said: said.into(), remedy: remedy.into() });
    }

    fn ok(&mut self, name: &'static str, said: impl Into<String>) {
        self.add(name, State::Ok, said, "");
    }

    fn broken(&mut self, name: &'static str, error: &ErrorObject) {
        let remedy =
            error.hint.clone().unwrap_or_else(|| format!("`stepwell explain {}`", error.code.name()));
        self.add(name, State::Broken, error.message.clone(), remedy);
    }
}

pub(crate) async fn doctor(shared: &Shared, _args: &Args) -> Result<Exit, ErrorObject> {
    let mut report = Report::default();
    report.ok("version", format!("stepwell {}", env!("CARGO_PKG_VERSION")));
    let dir = project::working_dir()?;
    let root = project::root(&dir);
    let settings = project(&mut report, &root);
    match project::store(shared.store()) {
        Ok(chosen) => {
            store(&mut report, &chosen);
            walls(&mut report, settings.as_ref(), &chosen, [&root, &dir]);
        }
        // The settings were told as broken already.
        Err(_) if settings.is_none() => {}
        Err(error) => report.broken("store", &error),
    }
    python(&mut report, settings.unwrap_or_default(), &root, &dir).await;
    limits(&mut report);
    let is_broken = report.checks.iter().any(|check| check.state == State::Broken);
    tell(&report, shared.json, is_broken);
    Ok(if is_broken { Exit::Failed } else { Exit::Ok })
}

fn tell(report: &Report, as_json: bool, is_broken: bool) {
    if as_json {
        let checks = report.checks.iter().map(|check| {
            let remedy = Some(&check.remedy).filter(|remedy| !remedy.is_empty());
            json!({ "name": check.name, "state": check.state.as_str(), "said": check.said, "remedy": remedy })
        });
        output::json(&json!({
            "ok": !is_broken, "checks": checks.collect::<Vec<_>>(), "store": report.facts,
        }));
        return;
    }
    for check in &report.checks {
        output::data(&format!("{:<6}  {:<10}  {}", check.state.as_str(), check.name, check.said));
        if !check.remedy.is_empty() {
            output::data(&format!("{:20}→ {}", "", check.remedy));
        }
    }
    let broken = report.checks.iter().filter(|check| check.state == State::Broken).count();
    output::talk(&match broken {
        0 => "nothing is broken".to_owned(),
        1 => "1 thing is broken".to_owned(),
        several => format!("{several} things are broken"),
    });
}

/// Looks at the project and its settings; none: they cannot be read.
fn project(report: &mut Report, root: &Path) -> Option<Settings> {
    let why = if root.join(settings::FILE).is_file() {
        format!("has a {}", settings::FILE)
    } else if root.join(".stepwell").is_dir() {
        "has a .stepwell".to_owned()
    } else {
        format!("the working directory; no directory above has a {} or .stepwell", settings::FILE)
    };
    match Settings::of(root) {
        Ok(settings) => {
            report.ok("project", format!("{} ({why})", root.display()));
            Some(settings)
        }
        Err(error) => {
            report.broken("settings", &error);
            None
        }
    }
}

fn store(report: &mut Report, chosen: &Chosen) {
    let by = match chosen.by {
        Chooser::Given if std::env::var("STEPWELL_STORE").is_ok_and(|url| url == chosen.url) => {
            "chosen by STEPWELL_STORE"
        }
        Chooser::Given => "chosen by --store",
        Chooser::Settings => "chosen by stepwell.toml",
        Chooser::Default => "the project's own",
    };
    let said = format!("{} ({by})", chosen.url);
    let Some(file) = project::file_of(&chosen.url) else {
        if chosen.url == "memory:" {
            report.add("store", State::Note, said, "it ends with each command; sqlite:// keeps runs");
        } else {
            report.add("store", State::Broken, said, "a store is sqlite://PATH or memory:");
        }
        return;
    };
    let found = if file.exists() { Some(stepwell_store::survey(file)) } else { None };
    match &found {
        None => {
            report.add("store", State::Note, format!("{said}: not made yet"), "`stepwell run FILE` makes it");
        }
        Some(Ok(_)) => report.ok("store", said),
        Some(Err(error)) => report.broken("store", &stepwell_engine::error::from_store(error)),
    }
    disk(report, file);
    clock(report, found.as_ref().and_then(|found| found.as_ref().ok()?.updated_at));
    if let Some(Ok(survey)) = found {
        report.facts = facts(&survey);
        health(report, &survey);
        work(report, &survey);
    }
}

/// Looks at the disk that a store lies on, or would.
fn disk(report: &mut Report, file: &Path) {
    const LOW: u64 = 1 << 30;
    const FULL: u64 = 64 << 20;
    let dir = nearest_dir(file);
    for (what, path) in [("directory", Some(&*dir)), ("file", Some(file).filter(|file| file.exists()))] {
        if let Some(path) = path.filter(|path| !machine::is_writable(path)) {
            let said = format!("the {what} {} cannot be written", path.display());
            report.add(
                "disk",
                State::Broken,
                said,
                "give yourself the right to, or name another store with --store",
            );
        }
    }
    let kind = machine::file_system(&dir).unwrap_or_else(|| "unknown".into());
    match machine::free_bytes(&dir) {
        Ok(free) => {
            let said = format!("{} free in {}, file system {kind}", size(free as usize), dir.display());
            let (state, remedy) = match free {
                0..FULL => (State::Broken, "free some space, or name a store on another disk with --store"),
                FULL..LOW => (State::Note, "`stepwell prune --older-than AGE` deletes old runs"),
                _ => (State::Ok, ""),
            };
            report.add("disk", state, said, remedy);
        }
        Err(error) => {
            report.add("disk", State::Broken, format!("{}: {error}", dir.display()), "is it there?");
        }
    }
    if ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"].contains(&kind.as_str()) {
        let said = format!("{} lies on a network file system ({kind})", dir.display());
        report.add(
            "disk",
            State::Broken,
            said,
            "put the store on a local disk: SQLite cannot keep it safe there",
        );
    }
}

/// Returns the nearest directory upward that is there.
fn nearest_dir(file: &Path) -> PathBuf {
    let above =
        file.ancestors().skip(1).map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
    above.into_iter().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn health(report: &mut Report, survey: &Survey) {
    const LARGE_LOG: u64 = 256 << 20;
    match &survey.damage {
        None => report.ok("integrity", "a quick check finds no damage"),
        Some(damage) => report.add(
            "integrity",
            State::Broken,
            format!("the file is damaged: {damage}"),
            "copy it away, then go back to a backup",
        ),
    }
    let (stands, newest) = survey.schema;
    if stands < newest {
        let said = format!("its schema has version {stands}; the next command brings it to {newest}");
        report.add(
            "schema",
            State::Note,
            said,
            "`stepwell backup FILE` of the older version first, if you may go back",
        );
    }
    let said = format!("{}, log {}", size(survey.bytes as usize), size(survey.wal_bytes as usize));
    if survey.wal_bytes > LARGE_LOG {
        report.add("size", State::Note, said, "a reader keeps the log from being put into the file: end it");
    } else {
        report.ok("size", said);
    }
}

/// Compares the clock with the last moment that a store knows of.
fn clock(report: &mut Report, last: Option<Timestamp>) {
    let now = super::list::now();
    match last {
        Some(last) if last > now => report.add(
            "clock",
            State::Broken,
            format!("it is {}, and the store was last written at {}", shown(now), shown(last)),
            "set the clock: timers wait for it",
        ),
        _ => report.ok("clock", shown(now)),
    }
}

/// Tells what is to be done, and whether anybody is there to do it.
fn work(report: &mut Report, survey: &Survey) {
    let is_carried = !survey.sessions.is_empty();
    report.ok(
        "sessions",
        if is_carried { survey.sessions.join(", ") } else { "nobody carries runs now".to_owned() },
    );
    let standing = survey.runs.iter().flat_map(|(status, count)| match status {
        RunStatus::Paused => vec![
            (standing::in_a_word(*status, Some(PauseReason::Input)), survey.waiting),
            (status.as_str(), count.saturating_sub(survey.waiting)),
        ],
        _ => vec![(status.as_str(), *count)],
    });
    let runs: Vec<String> =
        standing.filter(|(_, count)| *count > 0).map(|(word, count)| format!("{count} {word}")).collect();
    report.ok("runs", if runs.is_empty() { "none yet".to_owned() } else { runs.join(", ") });
    if survey.lost_leases > 0 {
        let attempts = counted(survey.lost_leases, "attempt");
        let remedy = if is_carried {
            ""
        } else {
            "`stepwell worker`, `stepwell resume RUN` or the program of the run makes them again"
        };
        report.add("leases", State::Note, format!("the workers of {attempts} are gone"), remedy);
    }
    if survey.open_questions > 0 {
        let asked = counted(survey.open_questions as usize, "question");
        report.add("questions", State::Note, format!("{asked} open"), "`stepwell inbox` lists them");
    }
    let Some(next) = survey.next_timer else { return };
    let is_late = next < Timestamp(super::list::now().0 - 60_000_000);
    if is_late && !is_carried {
        let said = format!("the oldest timer was due at {}", shown(next));
        report.add("timers", State::Note, said, "`stepwell worker` goes on with what waits for it");
    } else {
        report.ok("timers", format!("the next is due at {}", shown(next)));
    }
}

fn facts(survey: &Survey) -> Value {
    let runs: serde_json::Map<String, Value> =
        survey.runs.iter().map(|(status, count)| (status.to_string(), json!(count))).collect();
    json!({
        "path": survey.path.display().to_string(),
        "schema": survey.schema.0,
        "size_bytes": survey.bytes,
        "wal_bytes": survey.wal_bytes,
        "sessions": survey.sessions,
        "lost_leases": survey.lost_leases,
        "runs": runs,
        "open_questions": survey.open_questions,
        "next_timer": time_or_null(survey.next_timer),
    })
}

/// Looks at the walls that steps run within, as the environment or the project wants them, and whether the store lies in
/// one of the directories that steps may write to.
fn walls(report: &mut Report, settings: Option<&Settings>, store: &Chosen, roots: [&Path; 2]) {
    let given = std::env::var(VARIABLE).ok().filter(|word| !word.is_empty()).map(|word| word.parse());
    let mode = match given {
        Some(Err(why)) => {
            let remedy = format!("set {VARIABLE} to one of them, or to nothing");
            return report.add("sandbox", State::Broken, format!("{VARIABLE}: {why}"), remedy);
        }
        Some(Ok(mode)) => Some(mode),
        None => settings.and_then(Settings::sandbox),
    };
    let mode = mode.unwrap_or_default();
    match Sandbox::new(mode).shortfall() {
        Err(error) => return report.broken("sandbox", &error),
        Ok(Some(missing)) => {
            let said = format!("steps run without one: {missing}");
            return report.add("sandbox", State::Note, said, "docs/sandbox.md says what it needs");
        }
        Ok(None) => report.ok("sandbox", mode.as_str()),
    }
    let dir = project::file_of(&store.url).and_then(|file| nearest_dir(file).canonicalize().ok());
    let is_writable = dir.is_some_and(|dir| {
        roots.iter().any(|root| root.canonicalize().is_ok_and(|root| dir.starts_with(root)))
    });
    if mode != Mode::Off && is_writable {
        report.add(
            "sandbox",
            State::Note,
            "sandboxed steps can write to the store: it lies in a directory that they work in",
            "name a store elsewhere, with --store or in stepwell.toml: store = \"sqlite:///PATH\"",
        );
    }
}

/// Lets the interpreter carry out a task, as a step would.
async fn python(report: &mut Report, settings: Settings, root: &Path, dir: &Path) {
    let settings = settings.python(root);
    let interpreter = settings.interpreter.display().to_string();
    let pool = PythonPool::new(settings);
    let task = PythonTask {
        source: Source::Code("import sys; result = [sys.version.split()[0], sys.executable]".into()),
        args: json!({}),
        bindings: Vec::new(),
        timeout: Duration::from_secs(20),
        base_dir: dir.to_owned(),
        alone: false,
    };
    let outcome = pool.run(task, CancellationToken::new()).await;
    pool.shutdown().await;
    match outcome {
        Ok(outcome) => {
            let said = |at: usize| outcome.result[at].as_str().unwrap_or_default().to_owned();
            report.ok("python", format!("{} ({}), a script ran", said(0), said(1)));
        }
        Err(error) => report.add(
            "python",
            State::Broken,
            format!("{interpreter}: {error}"),
            "install Python 3.10 or later, or name an interpreter in stepwell.toml: [python] interpreter = \"PATH\"",
        ),
    }
}

fn limits(report: &mut Report) {
    const FEW: u64 = 256;
    match machine::open_files() {
        Ok(files) if files < FEW => {
            report.add(
                "limits",
                State::Note,
                format!("{files} open files"),
                "`ulimit -n 1024` before a worker",
            );
        }
        Ok(files) => report.ok("limits", format!("{files} open files")),
        Err(error) => report.add("limits", State::Note, format!("open files: {error}"), ""),
    }
}
