//! Patterns of file names (spec/gleitzeit.md §1.5): `*` and `?` stay within a segment, `**` is any depth including none,
//! `[…]` is one of some characters, `{a,b}` one of some texts. A leading dot is matched only by a dot that is written.
//!
//! Braces are written out first, since they may hold slashes; then a pattern is a list of segments, and a walk carries
//! along how far each of them has come. `glob` judges single names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Braces may be written out to so many patterns: each is carried along the whole walk.
const MAX_ALTERNATIVES: usize = 256;

/// A pattern that was read.
#[derive(Debug)]
pub(super) struct Pattern {
    alternatives: Vec<Vec<Segment>>,
}

#[derive(Debug)]
enum Segment {
    /// `**`
    AnyDepth,
    Name {
        glob: glob::Pattern,
        /// It begins with a dot itself.
        shows_hidden: bool,
    },
}

/// How far the patterns have come in a directory: alternatives, and the segment that its entries must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places(Vec<(usize, usize)>);

/// What a name is to a pattern.
#[derive(Debug)]
pub(super) struct Judged {
    /// A file of that name is meant.
    pub(super) is_match: bool,
    /// How a directory of that name is gone through; none: nothing in it is meant.
    pub(super) inside: Option<Places>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, to stand behind its name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut alternatives = Vec::new();
        for alternative in written_out(text)? {
            alternatives.push(segments(&alternative)?);
        }
        Ok(Self { alternatives })
    }

    /// Returns the places at the top of a walk.
    pub(super) fn begin(&self) -> Places {
        self.at((0..self.alternatives.len()).map(|alternative| (alternative, 0)).collect())
    }

    /// Judges a name in a directory.
    pub(super) fn judge(&self, places: &Places, name: &OsStr) -> Judged {
        let is_hidden = name.as_bytes().first() == Some(&b'.');
        // What is no text in a name is matched as one strange character.
        let name = name.to_string_lossy();
        let mut is_match = false;
        let mut inside = Vec::new();
        for (alternative, at) in places.0.iter().copied() {
            let segments = &self.alternatives[alternative];
            match &segments[at] {
                Segment::AnyDepth if !is_hidden => inside.push((alternative, at)),
                Segment::AnyDepth => {}
                Segment::Name { glob, shows_hidden } => {
                    if (is_hidden && !shows_hidden) || !glob.matches(&name) {
                        continue;
                    }
                    if at + 1 == segments.len() {
                        is_match = true;
                    } else {
                        inside.push((alternative, at + 1));
                    }
                }
            }
        }
        Judged { is_match, inside: (!inside.is_empty()).then(|| self.at(inside)) }
    }

    /// Adds where a pattern has come to if its `**` stand for nothing.
    fn at(&self, mut places: Vec<(usize, usize)>) -> Places {
        let mut next = 0;
        while let Some((alternative, at)) = places.get(next).copied() {
            next += 1;
            if matches!(self.alternatives[alternative][at], Segment::AnyDepth) {
                places.push((alternative, at + 1));
            }
        }
        places.sort_unstable();
        places.dedup();
        Places(places)
    }
}

fn segments(pattern: &str) -> Result<Vec<Segment>, String> {
    if pattern.starts_with('/') {
        return Err("begins with a slash; a pattern starts in its directory".into());
    }
    let mut segments = Vec::new();
    for text in pattern.split('/') {
        match text {
            "" => return Err("has an empty part: two slashes, or one at its end".into()),
            "." => {}
            ".." => return Err("leads out of its directory".into()),
            "**" if matches!(segments.last(), Some(Segment::AnyDepth)) => {}
            "**" => segments.push(Segment::AnyDepth),
            name => segments.push(segment(name)?),
        }
    }
    match segments.last() {
        // At the end it means every file below.
        Some(Segment::AnyDepth) => segments.push(segment("*")?),
        None => return Err("names no file".into()),
        Some(Segment::Name { .. }) => {}
    }
    Ok(segments)
}

fn segment(name: &str) -> Result<Segment, String> {
    let glob = glob::Pattern::new(&without_escapes(name));
    let glob = glob.map_err(|error| match error.msg {
        "invalid range pattern" => "has a '[' that is not closed; write '[[]' for the character".to_owned(),
        why => format!("cannot be read: {why}"),
    })?;
    Ok(Segment::Name { glob, shows_hidden: name.trim_start_matches('\\').starts_with('.') })
}

/// Puts what stands behind a backslash in brackets, which `glob` reads the same way.
fn without_escapes(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push_str(&glob::Pattern::escape(&chars.next().unwrap_or('\\').to_string())),
            _ => plain.push(c),
        }
    }
    plain
}

/// Writes the braces of a pattern out.
fn written_out(pattern: &str) -> Result<Vec<String>, String> {
    let mut open = vec![pattern.to_owned()];
    let mut done = Vec::new();
    while let Some(pattern) = open.pop() {
        match first_braces(&pattern)? {
            None => done.push(pattern),
            Some(braces) => {
                let (before, after) = (&pattern[..braces.open], &pattern[braces.close + 1..]);
                // The last one is taken up first.
                open.extend(braces.texts.iter().rev().map(|text| format!("{before}{text}{after}")));
            }
        }
        if open.len() + done.len() > MAX_ALTERNATIVES {
            return Err(format!("stands for more than {MAX_ALTERNATIVES} patterns, its braces written out"));
        }
    }
    Ok(done)
}

/// The first braces that are in no others.
struct Braces<'p> {
    open: usize,
    close: usize,
    texts: Vec<&'p str>,
}

fn first_braces(pattern: &str) -> Result<Option<Braces<'_>>, String> {
    let bytes = pattern.as_bytes();
    let (mut depth, mut open, mut from) = (0_u32, 0, 0);
    let mut texts = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => at = end_of_class(bytes, at),
            b'{' => {
                if depth == 0 {
                    (open, from) = (at, at + 1);
                }
                depth += 1;
            }
            b',' if depth == 1 => {
                texts.push(&pattern[from..at]);
                from = at + 1;
            }
            b'}' if depth == 0 => return Err("has a '}' without a '{'; write '\\}' for the character".into()),
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    texts.push(&pattern[from..at]);
                    return Ok(Some(Braces { open, close: at, texts }));
                }
            }
            _ => {}
        }
        at += 1;
    }
    if depth > 0 {
        return Err("has a '{' that is not closed; write '\\{' for the character".into());
    }
    Ok(None)
}

/// Returns where the `]` of a class is; a bracket without one is reported when its segment is read.
fn end_of_class(bytes: &[u8], open: usize) -> usize {
    let negation = usize::from(bytes.get(open + 1) == Some(&b'!'));
    // A bracket that comes first is one of the characters.
    let from = open + 1 + negation + 1;
    let close = bytes.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b']'));
    close.map_or(open, |close| from + close)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        let pattern = Pattern::parse(pattern).unwrap_or_else(|why| panic!("{pattern} {why}"));
        let mut places = pattern.begin();
        let (directories, file) = path.rsplit_once('/').unwrap_or(("", path));
        for directory in directories.split('/').filter(|name| !name.is_empty()) {
            match pattern.judge(&places, OsStr::new(directory)).inside {
                Some(inside) => places = inside,
                None => return false,
            }
        }
        pattern.judge(&places, OsStr::new(file)).is_match
    }

    fn check(pattern: &str, meant: &[&str], others: &[&str]) {
        for path in meant {
            assert!(matches(pattern, path), "{pattern} means {path}");
        }
        for path in others {
            assert!(!matches(pattern, path), "{pattern} does not mean {path}");
        }
    }

    #[test]
    fn stars_stay_within_a_segment_and_two_are_any_depth_including_none() {
        check("*", &["a", "a.csv", "a\nb", "-rf"], &["d/a", ".a"]);
        check("?.py", &["a.py", "é.py"], &["ab.py", ".py"]);
        check("**/*.py", &["a.py", "d/a.py", "d/e/a.py"], &["a.pyc", ".d/a.py", "d/.a.py"]);
        check("src/**/x/*.py", &["src/x/a.py", "src/x/x/a.py", "src/y/z/x/a.py"], &["x/a.py", "src/a.py"]);
        check("**", &["a", "d/a", "d/e/a"], &[".a", ".d/a"]);
        check("d/**", &["d/a", "d/e/a"], &["a", "e/a"]);
        check("**/**/a", &["a", "d/a", "d/e/f/a"], &["d/b"]);
        check("./d/./a", &["d/a"], &["a"]);
    }

    #[test]
    fn braces_hold_texts_slashes_and_braces() {
        check("*.{jpg,png,jpeg}", &["a.jpg", "b.png", "c.jpeg"], &["a.gif", "a.jp", "a.jpgpng"]);
        check("{a,b{1,2},c/*}.x", &["a.x", "b1.x", "b2.x", "c/d.x"], &["b.x", "c.x", "d/c.x"]);
        check("a{,.bak}", &["a", "a.bak"], &["a."]);
        check(r"\{a,b\}", &["{a,b}"], &["a", "b"]);
        check("[{}]x", &["{x", "}x"], &["ax"]);
        check("[]{]x", &["]x", "{x"], &["ax"]);
        check("{a}", &["a"], &["{a}"]);
    }

    #[test]
    fn brackets_are_one_of_some_characters() {
        check("[a-c]1", &["a1", "c1"], &["d1", "1", "ab1"]);
        check("[!a]1", &["b1", "é1"], &["a1", ".1"]);
        check(r"\*\[\a", &["*[a"], &["a", "b[a"]);
    }

    #[test]
    fn hidden_names_need_a_dot_that_is_written() {
        check(".*", &[".env", ".git"], &["env", ".git/config"]);
        check(".git/*", &[".git/config"], &[".git/.x"]);
        check("**/.env", &[".env", "d/.env"], &[".d/.env"]);
        check("{.a,b}*", &[".ab", "bc"], &[".bc"]);
        check("[.]a", &[], &[".a"]);
    }

    #[test]
    fn names_that_are_no_text_can_be_meant() {
        let pattern = Pattern::parse("??.csv").unwrap();
        assert!(pattern.judge(&pattern.begin(), OsStr::from_bytes(b"a\xff.csv")).is_match);
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_reason() {
        let why = |pattern: &str| Pattern::parse(pattern).unwrap_err();
        assert!(why("{a,b").contains("'{' that is not closed"));
        assert!(why("a}").contains("'}' without"));
        assert!(why("/etc/*").contains("begins with a slash"));
        assert!(why("../*").contains("leads out"));
        assert!(why("{..,a}/*").contains("leads out"));
        assert!(why("a//b").contains("empty part") && why("a/").contains("empty part"));
        assert!(why("").contains("empty part") && why(".").contains("names no file"));
        assert!(why("[a").contains("has a '[' that is not closed"), "{}", why("[a"));
        assert!(matches("[[]a", "[a"), "what it is told to write");
        assert!(why("a**b").contains("cannot be read"));
        assert!(why(&"{a,b}".repeat(40)).contains("more than 256 patterns"));
    }
}
