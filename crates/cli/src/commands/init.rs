//! `stepwell init`: makes a project that runs, to be read and changed. What is there already stays as it is.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use stepwell_core::error::{Code, ErrorObject};

use crate::args::Shared;
use crate::exit::Exit;
use crate::{output, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where; made if it is not there [default: here]
    #[arg(default_value = ".", hide_default_value = true)]
    dir: PathBuf,
}

/// What a project begins with.
const FILES: [(&str, &str); 3] = [
    ("stepwell.toml", include_str!("init/stepwell.toml")),
    ("hello.yaml", include_str!("init/hello.yaml")),
    ("look.py", include_str!("init/look.py")),
];

const README: &str = include_str!("init/README.md");

/// What to type next, in this order.
const NEXT: [(&str, &str); 4] = [
    ("stepwell graph hello.yaml", "what needs what"),
    ("stepwell run hello.yaml --run-id hello-1", "runs it, and waits for an answer"),
    ("stepwell answer hello-1 --text yes", "in another terminal"),
    ("stepwell show hello-1", "what became of each step"),
];

pub(crate) fn init(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let dir = &args.dir;
    let is_there = |name: &&str| dir.join(name).symlink_metadata().is_ok();
    let there: Vec<&str> = FILES.iter().map(|(name, _)| *name).filter(is_there).collect();
    if !there.is_empty() {
        let message =
            format!("the directory {} has {} already; nothing was written", dir.display(), there.join(", "));
        return Err(ErrorObject::new(Code::INVALID_PARAMS, message)
            .with("parameter", "DIR")
            .with("files", there)
            .with_hint("name another directory, or move them away"));
    }
    std::fs::create_dir_all(dir).map_err(|error| not_written(dir, &error))?;
    let mut made = Vec::new();
    for (name, content) in FILES {
        write(&dir.join(name), content)?;
        made.push(name);
    }
    if !is_there(&"README.md") {
        write(&dir.join("README.md"), README)?;
        made.push("README.md");
    }
    if ignore(&dir.join(".gitignore"))? {
        made.push(".gitignore");
    }
    if shared.json {
        let next: Vec<&str> = NEXT.iter().map(|(command, _)| *command).collect();
        output::json(&json!({ "dir": dir.display().to_string(), "files": made, "next": next }));
        return Ok(Exit::Ok);
    }
    let in_place = dir == Path::new(".");
    for name in made {
        let file = if in_place { name.into() } else { dir.join(name) };
        output::data(&file.display().to_string());
    }
    output::talk("next:");
    if !in_place {
        output::talk(&format!("  cd {}", text::word(&dir.display().to_string())));
    }
    for (command, what) in NEXT {
        output::talk(&format!("  {command:<42} # {what}"));
    }
    Ok(Exit::Ok)
}

/// Writes a file that is not there; what somebody else makes in the same moment stays.
fn write(file: &Path, content: &str) -> Result<(), ErrorObject> {
    std::fs::File::create_new(file)
        .and_then(|mut new| new.write_all(content.as_bytes()))
        .map_err(|error| not_written(file, &error))
}

/// Adds the store to what git leaves alone. Returns whether that was not there yet.
fn ignore(file: &Path) -> Result<bool, ErrorObject> {
    let known = match std::fs::read_to_string(file) {
        Ok(known) => known,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(not_written(file, &error)),
    };
    if known.lines().any(|line| line.trim().trim_matches('/') == ".stepwell") {
        return Ok(false);
    }
    let line = if known.is_empty() || known.ends_with('\n') { ".stepwell/\n" } else { "\n.stepwell/\n" };
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(|error| not_written(file, &error))?;
    Ok(true)
}

fn not_written(file: &Path, error: &std::io::Error) -> ErrorObject {
    ErrorObject::new(Code::CONFIGURATION_ERROR, format!("{} cannot be written: {error}", file.display()))
        .with("path", file.display().to_string())
}
