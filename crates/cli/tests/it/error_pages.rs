//! Every failure that a user can see has a page: `docs/errors/<NAME>.md`, listed in `docs/errors/README.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use stepwell_core::error::Code;

use crate::sandbox::Sandbox;

#[test]
fn every_code_has_a_page_that_states_its_number_and_whether_to_try_again() {
    for &code in Code::ALL {
        let name = code.name();
        let page = fs::read_to_string(pages().join(format!("{name}.md")))
            .unwrap_or_else(|error| panic!("docs/errors/{name}.md: {error}"));
        let title = format!("# {name} ({})\n", code.number());
        assert!(page.starts_with(&title), "docs/errors/{name}.md begins with {title:?}");
        let again = if code.is_retryable() { "**Retryable:** yes" } else { "**Retryable:** no" };
        assert!(page.contains(again), "docs/errors/{name}.md says {again:?}, as the table in core does");
        for part in ["**What happened.**", "**Usual causes**", "**Remedy.**"] {
            assert!(page.contains(part), "docs/errors/{name}.md has a part {part:?}");
        }
    }
}

#[test]
fn every_page_belongs_to_a_code_and_is_listed() {
    let index = fs::read_to_string(pages().join("README.md")).expect("docs/errors/README.md");
    let known: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{}.md", code.name())).collect();
    let found: BTreeSet<String> = fs::read_dir(pages())
        .expect("docs/errors")
        .map(|entry| entry.expect("an entry of docs/errors").file_name().to_string_lossy().into_owned())
        .filter(|file| file != "README.md")
        .collect();
    assert_eq!(known, found, "a page per code, and no other page");
    for &code in Code::ALL {
        let name = code.name();
        let again = if code.is_retryable() { "yes" } else { "no" };
        let line = format!("| [{name}]({name}.md) | {} | {again} | {} |\n", code.number(), code.meaning());
        assert!(index.contains(&line), "docs/errors/README.md has a line {line:?}");
    }
}

/// What a page says of a code that is kept for what is not there yet, or for programs of old.
const NOWHERE: &str = "raises it nowhere";

#[test]
fn pages_of_codes_that_nothing_raises_say_so() {
    let mut sources = Vec::new();
    product_sources(&pages().join("../../crates"), &mut sources);
    assert!(sources.len() > 50, "the sources are found");
    for &code in Code::ALL {
        let name = code.name();
        let used = format!("Code::{name}");
        let is_whole = |rest: &&str| !rest.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
        let is_raised =
            sources.iter().any(|source| source.split(used.as_str()).skip(1).any(|rest| is_whole(&rest)));
        let page = fs::read_to_string(pages().join(format!("{name}.md"))).unwrap();
        let says_nowhere = page.contains(NOWHERE);
        assert_ne!(
            is_raised, says_nowhere,
            "docs/errors/{name}.md, {NOWHERE:?}: {says_nowhere}; raised: {is_raised}"
        );
    }
}

/// Collects the sources in which a code can be raised: without tests, the table of codes, and the exit codes that
/// are chosen by it.
fn product_sources(dir: &Path, sources: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let is_named = |names: &[&str]| names.iter().any(|name| path.ends_with(name));
        if path.is_dir() && !is_named(&["tests", "benches", "conformance"]) {
            product_sources(&path, sources);
        } else if path.extension().is_some_and(|suffix| suffix == "rs")
            && !is_named(&["core/src/error.rs", "cli/src/exit.rs", "tests.rs", "testing.rs"])
        {
            let source = fs::read_to_string(&path).unwrap();
            sources.push(source.split("#[cfg(test)]").next().unwrap_or_default().to_owned());
        }
    }
}

#[test]
fn explain_prints_the_page_of_a_code_by_name_or_number() {
    let sandbox = Sandbox::new();
    let page = fs::read_to_string(pages().join("RUN_EXISTS.md")).unwrap();
    for given in ["RUN_EXISTS", "run_exists", "-28101", "28101"] {
        assert_eq!(sandbox.run(&["explain", given]).out, page, "{given}");
    }
    assert_eq!(sandbox.run(&["explain", "RUN_EXISTS", "--json"]).json()["page"], page.as_str());
    assert_eq!(sandbox.run(&["explain", "NOTHING"]).code, 2);
    let told = sandbox.run(&["run", "missing.yaml"]);
    assert!(told.err.ends_with("\n`stepwell explain CONFIGURATION_ERROR` tells more\n"), "{told:?}");
}

/// Also those of the README and of the reference of workflow files.
#[test]
fn commands_and_flags_that_pages_name_exist() {
    let sandbox = Sandbox::new();
    let help = sandbox.run(&["--help"]).out;
    let others = ["../../README.md", "../workflow-file.md"].map(|file| pages().join(file));
    let files = fs::read_dir(pages()).unwrap().map(|entry| entry.unwrap().path()).chain(others);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for command in commands_in(&text) {
            let mut words = command.iter();
            let Some(name) = words.next().filter(|name| !name.starts_with('-')) else { continue };
            assert!(help.contains(&format!("\n  {name} ")), "{}: no command {name}", file.display());
            let mut help = sandbox.run(&[name, "--help"]).out;
            if let Some(verb) = command.get(1).filter(|verb| help.contains(&format!("\n  {verb} "))) {
                help = sandbox.run(&[name, verb, "--help"]).out;
            }
            for flag in words.filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag.as_str()), "{}: {name} has no {flag}", file.display());
            }
        }
    }
}

/// Returns the words behind each `stepwell` that begins a code span or follows a prompt.
fn commands_in(text: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    for (mark, end) in [("`stepwell ", '`'), ("$ stepwell ", '\n')] {
        for rest in text.split(mark).skip(1) {
            let command = rest.split(end).next().unwrap_or_default();
            commands.push(
                command.split_whitespace().map(|word| word.trim_matches(['[', ']']).to_owned()).collect(),
            );
        }
    }
    commands
}

fn pages() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors")
}
