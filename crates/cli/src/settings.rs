//! The settings of a project: what its `stepwell.toml` says. A flag wins over the environment, the environment over
//! this file, the file over the defaults.

mod keys;
mod read;

use std::path::{Path, PathBuf};

use stepwell::{AllowPrivate, PythonSettings};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::load::Invalid;
use stepwell_providers::sandbox::{Mode, Sandbox};

use crate::args::Work;
use crate::diagnostics::{self, Severity};
use crate::{output, workflow_file};

#[cfg(test)]
pub(crate) use keys::{KEYS, Key};

/// The name of the file; the directory that has one is a project.
pub(crate) const FILE: &str = "stepwell.toml";

/// What `data.reason` of errors of the settings is.
const REASON: &str = "settings";

/// What a project settles for all who work in it.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// URL of the store; a relative path starts at the project.
    pub(crate) store: Option<String>,
    /// Whether the kernel confines what scripts and programs may do.
    sandbox: Option<Mode>,
    http: Http,
    python: Python,
}

/// Where HTTP requests may go.
#[derive(Debug, Default)]
struct Http {
    /// Addresses, networks and names of hosts beside those of the internet.
    allow_private: Option<AllowPrivate>,
}

/// How Python scripts are run.
#[derive(Debug, Default)]
struct Python {
    /// A name looked up in `PATH`, or a path, which starts at the project.
    interpreter: Option<PathBuf>,
    /// Memory of one process of a script.
    memory: Option<Bytes>,
    /// Names of environment variables that scripts may see.
    env_allow: Option<Vec<String>>,
}

impl Settings {
    /// Reads the settings of a project; without a file all is as by default.
    pub(crate) fn of(project: &Path) -> Result<Self, ErrorObject> {
        let file = project.join(FILE);
        match text(&file)? {
            Some(text) => read::read(&text).map_err(|invalid| wrong(&file, &invalid)),
            None => Ok(Self::default()),
        }
    }

    /// Returns how the providers of a project work; what the arguments say comes first.
    pub(crate) fn of_providers(
        &self,
        project: &Path,
        work: &Work,
    ) -> Result<stepwell::Settings, ErrorObject> {
        let mut settings =
            stepwell::Settings { python: self.python(project), ..stepwell::Settings::default() };
        settings.python.isolation.sandbox = Sandbox::new(work.sandbox.or(self.sandbox).unwrap_or_default());
        settings.http.allow_private = match (&*work.http_allow_private, &self.http.allow_private) {
            ([], Some(allowed)) => allowed.clone(),
            (words, _) => AllowPrivate::read(words).map_err(|unknown| {
                ErrorObject::new(Code::INVALID_PARAMS, format!("--http-allow-private: {unknown}"))
                    .with("parameter", "--http-allow-private")
            })?,
        };
        Ok(settings)
    }

    /// Returns whether a project names the interpreter of its scripts.
    pub(crate) fn names_interpreter(&self) -> bool {
        self.python.interpreter.is_some()
    }

    /// Returns whether a project wants its steps in a sandbox.
    pub(crate) fn sandbox(&self) -> Option<Mode> {
        self.sandbox
    }

    /// Returns how the Python scripts of a project are run.
    pub(crate) fn python(&self, project: &Path) -> PythonSettings {
        let mut python = PythonSettings::default();
        if let Some(interpreter) = &self.python.interpreter {
            // A name without a slash is looked up in `PATH`.
            let is_path = interpreter.components().count() > 1;
            python.interpreter = if is_path { project.join(interpreter) } else { interpreter.clone() };
        }
        if let Some(Bytes(bytes)) = self.python.memory {
            python.isolation.memory_bytes = bytes;
        }
        if let Some(names) = &self.python.env_allow {
            python.isolation.env_allow.clone_from(names);
        }
        python
    }
}

/// Tells people what is wrong with the settings, each problem with its line. Returns whether that is what the error says:
/// it is read from the file once more.
pub(crate) fn tell(error: &ErrorObject) -> bool {
    let is_ours = error.data.get("reason").is_some_and(|reason| reason == REASON);
    let file = error.data.get("path").and_then(serde_json::Value::as_str).map(Path::new);
    let Some(file) = file.filter(|_| is_ours) else { return false };
    let Ok(Some(text)) = text(file) else { return false };
    let Err(invalid) = read::read(&text) else { return false };
    for problem in &invalid.problems {
        output::talk_rendered(&diagnostics::render(problem, Severity::Error, file, &text));
    }
    output::talk(&workflow_file::where_more_is_told(&invalid));
    true
}

/// Bytes of a file that can be one of settings.
const LARGEST: u64 = 1 << 20;

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes(u64);

/// Returns what a file says; none if it is not there.
fn text(file: &Path) -> Result<Option<String>, ErrorObject> {
    if file.metadata().is_ok_and(|there| !there.is_file()) {
        return Err(refusal(file, format!("{} is no regular file", file.display())));
    }
    if file.metadata().is_ok_and(|there| there.len() > LARGEST) {
        let message =
            format!("{} is larger than {} KiB: these are no settings", file.display(), LARGEST >> 10);
        return Err(refusal(file, message));
    }
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refusal(file, format!("{}: {error}", file.display()))),
    }
}

fn refusal(file: &Path, message: String) -> ErrorObject {
    ErrorObject::new(Code::CONFIGURATION_ERROR, message)
        .with("reason", REASON)
        .with("path", file.display().to_string())
}

/// Returns one error for all that is wrong with a file, in the words of one line.
fn wrong(file: &Path, invalid: &Invalid) -> ErrorObject {
    let told: Vec<String> = invalid
        .problems
        .iter()
        .map(|problem| {
            let at = problem.at.map_or_else(String::new, |at| format!("{}:{}: ", at.line, at.column));
            at + &problem.message
        })
        .collect();
    let message = match &told[..] {
        [only] => format!("{}:{only}", file.display()),
        several => format!("{}: {} problems: {}", file.display(), invalid.count(), several.join("; ")),
    };
    let error = output::in_file(invalid.to_error(), file);
    ErrorObject { message, ..error }.with("reason", REASON).with("path", file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, ErrorObject> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        Settings::of(dir.path())
    }

    #[test]
    fn settings_are_read_and_what_is_not_said_is_as_by_default() {
        let text =
            "store = \"sqlite://a.db\"\n[python]\ninterpreter = \".venv/bin/python\"\nmemory = \"512 MiB\"\n";
        let settings = read(text).unwrap();
        assert_eq!(settings.store.as_deref(), Some("sqlite://a.db"));
        let python = settings.python(Path::new("/p"));
        assert_eq!(python.interpreter, Path::new("/p/.venv/bin/python"));
        assert_eq!(
            (python.isolation.memory_bytes, python.isolation.env_allow),
            (512 << 20, PythonSettings::default().isolation.env_allow)
        );
        let python =
            read("python = { interpreter = \"python3.13\", memory = 7, env_allow = [\"HOME\"] }").unwrap();
        let python = python.python(Path::new("/p"));
        assert_eq!(python.interpreter, Path::new("python3.13"));
        assert_eq!((python.isolation.memory_bytes, python.isolation.env_allow), (7, vec!["HOME".to_owned()]));
    }

    #[test]
    fn arguments_come_before_the_file() {
        let text = "sandbox = \"require\"\n[http]\nallow_private = [\"10.0.0.0/8\"]\n";
        let of = |work: &Work| {
            let settings = read(text).unwrap().of_providers(Path::new("/p"), work).unwrap();
            (settings.python.isolation.sandbox.mode(), settings.http.allow_private)
        };
        let file = AllowPrivate::read(&["10.0.0.0/8"]).unwrap();
        assert_eq!(of(&Work::default()), (Mode::Require, file));
        let work = Work { sandbox: Some(Mode::Off), http_allow_private: vec!["all".into()] };
        assert_eq!(of(&work), (Mode::Off, AllowPrivate::Everywhere));
        for wrong in ["sandbox = \"on\"", "[http]\nallow_private = [\"localhost:80\"]"] {
            assert_eq!(read(wrong).unwrap_err().code, Code::CONFIGURATION_ERROR);
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_place_and_the_nearest_key() {
        let told = |text: &str| {
            let error = read(text).unwrap_err();
            assert_eq!((error.code, &error.data["reason"]), (Code::CONFIGURATION_ERROR, &"settings".into()));
            let problems = error.data["validation_errors"].as_array().unwrap().clone();
            let line = |problem: &serde_json::Value| {
                assert!(problem["file"].as_str().unwrap().ends_with(FILE));
                let hint = problem["hint"].as_str().map_or_else(String::new, |hint| format!(" ({hint})"));
                let message = problem["message"].as_str().unwrap();
                format!("{}:{}-{} {message}{hint}", problem["line"], problem["column"], problem["end_column"])
            };
            problems.iter().map(line).collect::<Vec<_>>()
        };
        assert_eq!(
            told(
                "colour = 1\nstore = 5\nsandbox = 'on'\n# mine\n[python]\n  interpretor = \"x\"\nmemory = \"lots\"\nenv_allow = ['A', 5, true]\n[http]\nallow_private = ['::1', 'a:1', 'b:2']"
            ),
            [
                "1:1-7 there is no setting 'colour' (known here: store, sandbox, http, python)",
                "2:9-10 'store' takes text, not a number",
                "3:11-15 'sandbox' takes 'off', 'auto' or 'require', not \"on\"",
                "6:3-14 there is no setting 'python.interpretor' (did you mean 'interpreter'?)",
                "7:10-16 'python.memory' takes a number of bytes from 1, or text such as '512 MiB' or '2 GiB', not \"lots\"",
                "8:19-20 'python.env_allow' takes a list of texts, not a number",
                "8:22-26 'python.env_allow' takes a list of texts, not true",
                "10:25-30 'http.allow_private' cannot have this: \"a:1\" is no address, network such as 10.0.0.0/8, or name of a host (without a port)",
                "10:32-37 'http.allow_private' cannot have this: \"b:2\" is no address, network such as 10.0.0.0/8, or name of a host (without a port)",
            ]
        );
        assert_eq!(told("python = 1"), ["1:10-11 'python' is a table, '[python]', not a number"]);
        assert_eq!(told("[python]\nmemory = 0").len(), 1);
        assert!(told("store = \"a")[0].starts_with("1:"));
        assert_eq!(
            read("a = 1").unwrap_err().message.split_once("toml").unwrap().1,
            ":1:1: there is no setting 'a'"
        );
        let message = read("a = 1\nb = 2").unwrap_err().message;
        assert_eq!(
            message.split_once("toml").unwrap().1,
            ": 2 problems: 1:1: there is no setting 'a'; 2:1: there is no setting 'b'"
        );
    }
}
