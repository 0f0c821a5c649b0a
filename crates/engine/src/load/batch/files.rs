//! Finding the files of a batch (spec/gleitzeit.md §1.5): below a directory by a pattern, or as they were listed.
//!
//! Only regular files are found, links to directories are not followed, and what lies outside the roots is not read.
//! A file that was named and cannot be processed is found with the reason why, so that nothing is left out silently.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::FileType;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::workflow::definition::BatchFile;

use super::pattern::{Pattern, Places};

/// Of what was left out, so many are named each by its own warning.
const MAX_NAMED: usize = 10;

/// Where the files of a process may lie.
#[derive(Debug)]
pub(super) struct Roots<'r> {
    given: &'r [PathBuf],
    /// Links followed.
    real: Vec<PathBuf>,
}

impl<'r> Roots<'r> {
    pub(super) fn new(given: &'r [PathBuf]) -> Self {
        Self { given, real: given.iter().filter_map(|root| root.canonicalize().ok()).collect() }
    }

    /// Returns where relative paths start.
    fn base(&self) -> &Path {
        self.given.first().map_or(Path::new("."), PathBuf::as_path)
    }

    fn contain(&self, real: &Path) -> bool {
        self.real.iter().any(|root| real.starts_with(root))
    }

    /// Returns whether a path leads into them, as far as it exists: of what lies outside nothing is told.
    fn may_contain(&self, path: &Path) -> bool {
        let nearest = path.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
        nearest.is_some_and(|nearest| self.contain(&nearest))
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order in which they get their numbers; each path once.
    pub(super) files: Vec<FoundFile>,
    /// What was left out, as sentences.
    pub(super) warnings: Vec<String>,
}

/// A file of a batch.
#[derive(Debug, PartialEq)]
pub(super) struct FoundFile {
    /// What steps are called by: the path below the directory, or as it was listed.
    pub(super) name: String,
    /// What scripts and programs open.
    pub(super) path: String,
    /// What results call it by, and why it cannot be processed.
    pub(super) file: BatchFile,
}

/// Finds the files below a directory that a pattern means, in the order of the bytes of their paths.
///
/// # Errors
/// The directory is not there, is none, cannot be read or lies outside the roots: a word for programs, and why.
pub(super) fn below(
    roots: &Roots,
    directory: &Path,
    pattern: &Pattern,
) -> Result<Found, (&'static str, String)> {
    let shown = shown(directory.as_os_str());
    let top = roots.base().join(directory);
    let real = match top.canonicalize() {
        Ok(real) if roots.contain(&real) => real,
        Err(why) if why.kind() == io::ErrorKind::NotFound && roots.may_contain(&top) => {
            return Err(("not_found", format!("there is no directory '{shown}'")));
        }
        _ => return Err(("outside_roots", format!("'{shown}' is outside the configured roots"))),
    };
    if !real.is_dir() {
        return Err(("not_a_directory", format!("'{shown}' is no directory")));
    }
    std::fs::read_dir(&real).map_err(|why| ("unreadable", format!("'{shown}' cannot be read: {why}")))?;
    let mut walk = Walk { roots, pattern, shown: &shown, relative: Vec::new(), left_out: LeftOut::default() };
    walk.go_through(&real, Path::new(""), &pattern.begin());
    let Walk { mut relative, left_out, .. } = walk;
    relative.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    let mut found = Found { files: Vec::with_capacity(relative.len()), warnings: left_out.told() };
    let mut keys = Keys::default();
    for relative in relative {
        let path = directory.join(&relative);
        found.files.push(keys.found(relative.as_os_str(), path.as_os_str(), None));
    }
    Ok(found)
}

/// Takes files as they were listed, each once.
pub(super) fn listed(roots: &Roots, files: &[PathBuf]) -> Found {
    let mut seen = HashSet::with_capacity(files.len());
    let mut keys = Keys::default();
    let of = |path: &PathBuf| {
        let refused = refusal(roots, path);
        keys.found(path.as_os_str(), path.as_os_str(), refused)
    };
    let files = files.iter().filter(|path| seen.insert(path.as_os_str())).map(of).collect();
    Found { files, warnings: Vec::new() }
}

/// Returns why a file that was listed cannot be processed.
fn refusal(roots: &Roots, path: &Path) -> Option<ErrorObject> {
    let shown = shown(path.as_os_str());
    let place = roots.base().join(path);
    let (reason, why) = match place.canonicalize() {
        Ok(real) if !roots.contain(&real) => outside(&shown),
        Ok(real) => match real.metadata() {
            Ok(metadata) if metadata.is_file() => return None,
            Ok(_) => ("not_a_file", format!("'{shown}' is not a regular file")),
            Err(why) => ("unreadable", format!("'{shown}' cannot be read: {why}")),
        },
        Err(_) if !roots.may_contain(&place) => outside(&shown),
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            ("not_found", format!("there is no file '{shown}'"))
        }
        Err(why) => ("unreadable", format!("'{shown}' cannot be read: {why}")),
    };
    Some(refused(reason, why))
}

fn outside(shown: &str) -> (&'static str, String) {
    ("outside_roots", format!("'{shown}' is outside the configured roots"))
}

fn refused(reason: &str, why: String) -> ErrorObject {
    ErrorObject::new(Code::INVALID_PARAMS, why).with("parameter", "file_path").with("reason", reason)
}

/// Goes through directories, each once.
struct Walk<'w> {
    roots: &'w Roots<'w>,
    pattern: &'w Pattern,
    /// The directory at the top.
    shown: &'w str,
    relative: Vec<PathBuf>,
    left_out: LeftOut,
}

impl Walk<'_> {
    fn go_through(&mut self, top: &Path, below: &Path, places: &Places) {
        let mut open = vec![(below.to_owned(), places.clone())];
        while let Some((below, places)) = open.pop() {
            let entries = match std::fs::read_dir(top.join(&below)) {
                Ok(entries) => entries,
                Err(why) => {
                    self.left_out.add(format!("{} cannot be read: {why}", self.name(&below)));
                    continue;
                }
            };
            for entry in entries {
                let (entry, kind) = match entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind)))
                {
                    Ok(known) => known,
                    Err(why) => {
                        self.left_out.add(format!("{} cannot be read whole: {why}", self.name(&below)));
                        continue;
                    }
                };
                let judged = self.pattern.judge(&places, &entry.file_name());
                let relative = below.join(entry.file_name());
                if judged.is_match && self.is_file(&top.join(&relative), &relative, kind) {
                    self.relative.push(relative.clone());
                }
                if let Some(inside) = judged.inside.filter(|_| kind.is_dir()) {
                    open.push((relative, inside));
                }
            }
        }
    }

    /// Returns whether a regular file is there; one that a link leads to must lie in the roots.
    fn is_file(&mut self, path: &Path, relative: &Path, kind: FileType) -> bool {
        if !kind.is_symlink() {
            return kind.is_file();
        }
        let Ok(real) = path.canonicalize() else { return false };
        if !real.is_file() {
            return false;
        }
        if !self.roots.contain(&real) {
            self.left_out.add(format!(
                "{} is left out: the link leads outside the configured roots",
                self.name(relative)
            ));
            return false;
        }
        true
    }

    fn name(&self, relative: &Path) -> String {
        shown(Path::new(self.shown).join(relative).as_os_str()).into_owned()
    }
}

/// What a walk could not take.
#[derive(Default)]
struct LeftOut {
    named: Vec<String>,
    others: usize,
}

impl LeftOut {
    fn add(&mut self, sentence: String) {
        if self.named.len() < MAX_NAMED {
            self.named.push(sentence);
        } else {
            self.others += 1;
        }
    }

    fn told(mut self) -> Vec<String> {
        self.named.sort();
        if self.others > 0 {
            self.named.push(format!("{} more could not be taken", self.others));
        }
        self.named
    }
}

/// The keys that results have so far.
#[derive(Default)]
struct Keys(HashSet<String>);

impl Keys {
    fn found(&mut self, name: &OsStr, path: &OsStr, refused: Option<ErrorObject>) -> FoundFile {
        let mut key = shown(path).into_owned();
        let refused = refused.or_else(|| {
            let why = || format!("the name '{key}' is not UTF-8, so no step can be given it");
            path.to_str().is_none().then(|| self::refused("not_utf8", why()))
        });
        // A name that is spelt out can be what another one is.
        while !self.0.insert(key.clone()) {
            key.push('~');
        }
        FoundFile {
            name: shown(name).into_owned(),
            path: path.to_string_lossy().into_owned(),
            file: BatchFile { path: key, refused },
        }
    }
}

/// Returns a path as text; bytes that are none are spelt out as `\xNN`.
pub(super) fn shown(path: &OsStr) -> Cow<'_, str> {
    if let Some(text) = path.to_str() {
        return text.into();
    }
    let mut shown = String::with_capacity(path.len() + 12);
    for chunk in path.as_bytes().utf8_chunks() {
        shown.push_str(chunk.valid());
        for byte in chunk.invalid() {
            write!(shown, "\\x{byte:02x}").expect("a String takes all");
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Place {
        _dir: tempfile::TempDir,
        root: PathBuf,
    }

    /// A root with files of those names in it, beside a directory `outside`.
    fn place(names: &[&str]) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("root");
        fs::create_dir(&root).unwrap();
        fs::create_dir(root.with_file_name("outside")).unwrap();
        fs::write(root.with_file_name("outside").join("secret.csv"), "").unwrap();
        for name in names {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        Place { _dir: dir, root }
    }

    impl Place {
        fn find(&self, directory: &str, pattern: &str) -> Result<Found, (&'static str, String)> {
            let given = [self.root.clone()];
            below(&Roots::new(&given), Path::new(directory), &Pattern::parse(pattern).unwrap())
        }

        fn keys(&self, directory: &str, pattern: &str) -> Vec<String> {
            self.find(directory, pattern).unwrap().files.into_iter().map(|found| found.file.path).collect()
        }

        fn listed(&self, files: &[&str]) -> Vec<(String, Option<String>)> {
            let given = [self.root.clone()];
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            let reason = |refused: ErrorObject| refused.data["reason"].as_str().unwrap().to_owned();
            let found = listed(&Roots::new(&given), &files).files.into_iter();
            found.map(|found| (found.file.path, found.file.refused.map(reason))).collect()
        }
    }

    #[test]
    fn files_come_in_the_order_of_their_bytes_without_what_is_hidden() {
        let place = place(&["b.py", "a/z.py", "a-b.py", "B.py", "é.py", ".x.py", ".d/a.py", "a/n.txt"]);
        assert_eq!(place.keys(".", "**/*.py"), ["./B.py", "./a-b.py", "./a/z.py", "./b.py", "./é.py"]);
        assert_eq!(place.keys("a", "*"), ["a/n.txt", "a/z.py"]);
        assert_eq!(place.keys("", "*.py"), ["B.py", "a-b.py", "b.py", "é.py"]);
        assert!(place.keys(".", "*.pdf").is_empty());
    }

    #[test]
    fn only_regular_files_are_found_and_no_link_leads_out() {
        let place = place(&["a.csv", "d/b.csv"]);
        let root = &place.root;
        let outside = root.with_file_name("outside");
        symlink(root.join("a.csv"), root.join("inside.csv")).unwrap();
        symlink(outside.join("secret.csv"), root.join("leads-out.csv")).unwrap();
        symlink(&outside, root.join("directory")).unwrap();
        symlink(root.join("d"), root.join("again")).unwrap();
        symlink(root, root.join("d/loop")).unwrap();
        symlink("nowhere", root.join("broken.csv")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(root.join("pipe.csv")).status().unwrap();
        assert!(made.success());
        let found = place.find(".", "**/*.csv").unwrap();
        let keys: Vec<&str> = found.files.iter().map(|found| found.file.path.as_str()).collect();
        assert_eq!(keys, ["./a.csv", "./d/b.csv", "./inside.csv"]);
        let left_out = "./leads-out.csv is left out: the link leads outside the configured roots";
        assert_eq!(found.warnings, [left_out]);
        assert!(place.keys(".", "again/*").is_empty(), "links to directories are not followed");
    }

    #[test]
    fn a_directory_that_cannot_be_gone_through_is_an_error_with_its_reason() {
        let place = place(&["a.csv"]);
        symlink(place.root.with_file_name("outside"), place.root.join("link")).unwrap();
        let reason = |directory: &str| place.find(directory, "*").unwrap_err().0;
        assert_eq!(reason("missing"), "not_found");
        assert_eq!(reason("a.csv"), "not_a_directory");
        for outside in ["../outside", "link", "/etc", "../nothing/there", "/nothing/there"] {
            assert_eq!(reason(outside), "outside_roots", "{outside}");
        }
    }

    #[test]
    fn listed_files_keep_their_order_and_tell_why_they_cannot_be_processed() {
        let place = place(&["b.csv", "a.csv", "d/c.csv"]);
        symlink(place.root.with_file_name("outside").join("secret.csv"), place.root.join("link")).unwrap();
        let files =
            ["b.csv", "./a.csv", "b.csv", "missing.csv", "d", "../outside/secret.csv", "link", "/x/y"];
        let expected = [
            ("b.csv", None),
            ("./a.csv", None),
            ("missing.csv", Some("not_found")),
            ("d", Some("not_a_file")),
            ("../outside/secret.csv", Some("outside_roots")),
            ("link", Some("outside_roots")),
            ("/x/y", Some("outside_roots")),
        ];
        let found = place.listed(&files);
        let found: Vec<_> = found.iter().map(|(key, reason)| (&**key, reason.as_deref())).collect();
        assert_eq!(found, expected);
    }

    /// G32
    #[test]
    fn names_that_are_not_utf_8_are_found_with_a_reason_and_told_from_those_that_look_alike() {
        let place = place(&[r"a\xff.csv", "b.csv"]);
        fs::write(place.root.join(OsStr::from_bytes(b"a\xff.csv")), "").unwrap();
        let found = place.find("", "*.csv").unwrap().files;
        let told: Vec<_> =
            found.iter().map(|found| (&*found.file.path, found.file.refused.is_some())).collect();
        assert_eq!(told, [(r"a\xff.csv", false), (r"a\xff.csv~", true), ("b.csv", false)]);
        let refused = found[1].file.refused.as_ref().unwrap();
        assert_eq!((refused.code, &refused.data["reason"]), (Code::INVALID_PARAMS, &"not_utf8".into()));

        let given = [place.root.clone()];
        let odd = PathBuf::from(std::ffi::OsString::from_vec(b"gone\xfe".to_vec()));
        let listed = listed(&Roots::new(&given), &[odd]).files;
        assert_eq!(listed[0].file.path, r"gone\xfe");
    }
}
