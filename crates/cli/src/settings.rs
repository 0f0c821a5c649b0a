//! The settings of a project: what its `stepwell.toml` says. A flag wins over the environment, the environment over
//! this file, the file over the defaults.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use stepwell::{AllowPrivate, PythonSettings};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::workflow::distance;
use stepwell_providers::sandbox::{Mode, Sandbox};

use crate::args::Work;

/// The name of the file; the directory that has one is a project.
pub(crate) const FILE: &str = "stepwell.toml";

/// What a project settles for all who work in it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// URL of the store; a relative path starts at the project.
    pub(crate) store: Option<String>,
    /// Whether the kernel confines what scripts and programs may do.
    #[serde(deserialize_with = "mode")]
    sandbox: Option<Mode>,
    http: Http,
    python: Python,
}

/// Where HTTP requests may go.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Http {
    /// Addresses, networks and names of hosts beside those of the internet.
    #[serde(deserialize_with = "allow_private")]
    allow_private: Option<AllowPrivate>,
}

/// How Python scripts are run.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
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
        match std::fs::read_to_string(&file) {
            Ok(text) => toml::from_str(&text).map_err(|error| wrong(&file, &text, &error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(refusal(&file, format!("{}: {error}", file.display()))),
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

fn mode<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Mode>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(D::Error::custom)
}

fn allow_private<'de, D: Deserializer<'de>>(from: D) -> Result<Option<AllowPrivate>, D::Error> {
    AllowPrivate::read(&Vec::<String>::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

/// An amount of memory: a number of bytes, or text such as `512 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes(u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or text such as \"512 MiB\" or \"2 GiB\"")
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Bytes, E> {
                let bytes = u64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
                bytes.map(Bytes).ok_or_else(|| E::custom("memory must be more than 0 bytes"))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
                let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
                let (count, unit) = (text[..at].parse::<u64>(), text[at..].trim());
                let unit = match unit {
                    "" | "B" => Some(1),
                    "KiB" => Some(1 << 10),
                    "MiB" => Some(1 << 20),
                    "GiB" => Some(1 << 30),
                    _ => None,
                };
                let bytes =
                    count.ok().zip(unit).and_then(|(count, unit): (u64, u64)| count.checked_mul(unit));
                bytes
                    .filter(|bytes| *bytes > 0)
                    .map(Bytes)
                    .ok_or_else(|| E::custom(format!("{text:?} is no amount of memory such as \"512 MiB\"")))
            }
        }
        from.deserialize_any(Reader)
    }
}

fn refusal(file: &Path, message: String) -> ErrorObject {
    ErrorObject::new(Code::CONFIGURATION_ERROR, message)
        .with("reason", "settings")
        .with("path", file.display().to_string())
}

/// Returns the error of a file that says something else than settings: its line, its key, and the key that may be meant.
fn wrong(file: &Path, text: &str, error: &toml::de::Error) -> ErrorObject {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count();
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let said = error.message();
    let (message, hint) = if let Some((key, known)) = unknown(said) {
        let hint = match nearest(key, &known) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("known here: {}", known.join(", ")),
        };
        (format!("there is no setting '{key}'"), hint)
    } else {
        let key = text.lines().nth(line).and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
        let key = key.filter(|key| !key.is_empty()).map_or_else(String::new, |key| format!("'{key}': "));
        (format!("{key}{said}"), format!("`stepwell init` writes a {FILE} that can be looked at"))
    };
    let line = line + 1;
    refusal(file, format!("{}:{line}:{column}: {message}", file.display()))
        .with("line", line)
        .with("column", column)
        .with_hint(hint)
}

/// Reads what serde says of a key that nobody knows: the key, and those that are known there.
fn unknown(said: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = said.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = known.iter().min_by_key(|other| distance(key, other))?;
    (distance(key, near) <= key.chars().count().max(3) / 3 + 1).then_some(near)
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
    fn what_cannot_be_read_is_told_with_its_place_its_key_and_the_nearest_one() {
        let told = |text: &str| {
            let error = read(text).unwrap_err();
            assert_eq!((error.code, &error.data["reason"]), (Code::CONFIGURATION_ERROR, &"settings".into()));
            let place = error.message.split_once("stepwell.toml:").unwrap().1.to_owned();
            format!("{place} ({})", error.hint.unwrap_or_default())
        };
        assert_eq!(
            told("# mine\n[python]\n  interpretor = \"x\"\n"),
            "3:3: there is no setting 'interpretor' (did you mean 'interpreter'?)"
        );
        assert_eq!(
            told("colour = 1"),
            "1:1: there is no setting 'colour' (known here: store, sandbox, http, python)"
        );
        assert!(
            told("store = 5").starts_with("1:9: 'store': invalid type: integer `5`, expected a string (")
        );
        assert!(
            told("[python]\nmemory = \"lots\"")
                .starts_with("2:10: 'memory': \"lots\" is no amount of memory")
        );
        assert!(told("[python]\nmemory = 0").contains("'memory': memory must be more than 0 bytes"));
        assert!(told("store = \"a").starts_with("1:"));
    }
}
