//! Which file a command means: found before anything runs.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use stepwell_engine::ParamProblem;

use crate::files::{FileError, Roots};
use crate::params::problem;

/// Where programs are looked for if nothing says where.
pub(super) const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Returns whether a command is a path, and not a name to be looked up.
pub(super) fn is_path(command: &str) -> bool {
    command.contains('/')
}

/// Finds the program of that name. Relative directories on the search path are passed over: what lies where a step works
/// is data.
pub(super) fn on_path(name: &str, search: &OsStr) -> Result<PathBuf, ParamProblem> {
    let mut unfit = None;
    for dir in std::env::split_paths(search).filter(|dir| dir.is_absolute()) {
        let file = dir.join(name);
        match file.metadata() {
            Ok(found) if found.is_file() && is_executable(&found) => return Ok(file),
            Ok(found) if found.is_file() => unfit = unfit.or(Some(file)),
            _ => {}
        }
    }
    if let Some(file) = unfit {
        return Err(not_executable(&file, "its mode does not allow it"));
    }
    let message = format!("there is no program '{name}' on the PATH");
    Err(ParamProblem { hint: without_shell(name), ..problem("command", "not_found", message) })
}

/// Returns what to write instead of a line that a shell would understand.
fn without_shell(command: &str) -> Option<String> {
    let (program, _) = command.trim().split_once(char::is_whitespace)?;
    let is_script = command.contains(['|', '&', ';', '<', '>', '$', '`', '*', '?', '(']);
    Some(if is_script {
        "there is no shell here; run 'sh' with the args ['-c', '…']".into()
    } else {
        format!("there is no shell here; run '{program}' and write what follows it into 'args'")
    })
}

/// Finds the program at that path, which starts at `base` if it is relative and lies in the roots.
///
/// What is returned is where the file really is. Somebody could put another one there before it runs; but whoever can do
/// that could have put anything there before.
pub(super) fn in_roots(command: &str, roots: &Roots, base: &Path) -> Result<PathBuf, ParamProblem> {
    let found = roots.find(base, Path::new(command)).map_err(|error| match &error {
        FileError::OutsideRoots { .. } => problem(
            "command",
            error.reason(),
            format!("{error}; a program on the PATH is named without its directory"),
        ),
        FileError::NotAFile { path } => not_executable(path, "it is not a regular file"),
        _ => problem("command", error.reason(), error.to_string()),
    })?;
    let metadata = found.file.metadata().map_err(|error| not_executable(&found.path, &error.to_string()))?;
    if !is_executable(&metadata) {
        return Err(not_executable(&found.path, "its mode does not allow it; `chmod +x` does"));
    }
    Ok(found.path)
}

pub(super) fn not_executable(file: &Path, why: &str) -> ParamProblem {
    problem("command", "not_executable", format!("{} cannot be executed: {why}", file.display()))
}

fn is_executable(file: &Metadata) -> bool {
    file.permissions().mode() & 0o111 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_shell_is_told_that_there_is_none() {
        let hint = |command: &str| on_path(command, OsStr::new(DEFAULT_PATH)).unwrap_err().hint;
        assert_eq!(
            hint("ls -la").as_deref(),
            Some("there is no shell here; run 'ls' and write what follows it into 'args'")
        );
        assert_eq!(
            hint("ls -la | wc").as_deref(),
            Some("there is no shell here; run 'sh' with the args ['-c', '…']")
        );
        assert_eq!(hint("no-such-program"), None);
    }
    use std::fs;

    fn file(dir: &Path, name: &str, mode: u32) {
        fs::create_dir_all(dir).expect("a new directory");
        fs::write(dir.join(name), "#!/bin/true\n").expect("a new file");
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).expect("a mode");
    }

    #[test]
    fn a_name_is_the_first_program_on_the_path_that_can_be_executed() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let [first, second] = ["first", "second"].map(|dir| home.path().join(dir));
        file(&first, "tool", 0o644);
        file(&second, "tool", 0o755);
        file(&first, "plain", 0o644);
        let search = std::env::join_paths([&first, &second]).expect("a search path");
        assert_eq!(on_path("tool", &search), Ok(second.join("tool")));
        assert_eq!(on_path("plain", &search).map_err(|p| p.reason), Err("not_executable"));
        for missing in ["missing", ".", "..", ""] {
            assert_eq!(on_path(missing, &search).map_err(|p| p.reason), Err("not_found"), "{missing}");
        }
    }

    #[test]
    fn relative_directories_on_the_path_are_passed_over() {
        for search in [".", "", "src:.", "src/process"] {
            assert_eq!(on_path("mod.rs", OsStr::new(search)).map_err(|p| p.reason), Err("not_found"));
        }
    }

    #[test]
    fn a_path_is_a_program_inside_the_roots() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let [inside, outside] = ["inside", "outside"].map(|dir| home.path().join(dir));
        file(&inside, "tool", 0o711);
        file(&inside, "plain", 0o644);
        file(&outside, "tool", 0o755);
        std::os::unix::fs::symlink(outside.join("tool"), inside.join("link")).expect("a new link");
        let roots = Roots::new([inside.clone()]);
        let find = |command: &str| in_roots(command, &roots, &inside).map_err(|problem| problem.reason);
        assert_eq!(find("./tool"), Ok(inside.canonicalize().expect("exists").join("tool")));
        assert_eq!(find("./plain"), Err("not_executable"));
        assert_eq!(find("./missing"), Err("not_found"));
        assert_eq!(find(inside.to_str().expect("text")), Err("not_executable"));
        for elsewhere in ["../outside/tool", "./link", "/bin/sh", "/no/such/program"] {
            assert_eq!(find(elsewhere), Err("outside_roots"), "{elsewhere}");
        }
    }
}
