//! The reference pages of the command line and of `stepwell.toml`, made from the arguments and keys themselves. It is part
//! of the tests, which keep the pages in `docs/reference` fresh: with `INSTA_UPDATE=always`, as `just bless` sets it, they
//! write them anew.

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};

use crate::settings::{KEYS, Key};

const HEAD: &str = "<!-- Made by `just bless` from the arguments in crates/cli/src; changes belong there. -->

# The command line

`stepwell --help` lists the commands, `stepwell COMMAND --help` says the same as this page, and `stepwell man` makes manual
pages of it. Data goes to standard output, talk and errors to standard error. Runs and questions are named by their id or
its beginning.

| Exit code | When |
|---|---|
| 0 | the run completed, the definition is valid, it was done |
| 1 | the run failed or was cancelled, nobody who has its functions is there, something is broken, or a failure without a code of its own |
| 2 | wrong arguments, input that is not JSON, an id that is not unique, an answer that does not fit |
| 3 | the definition is invalid |
| 4 | a file, a run, a step, a question or a key is not there |
| 5 | a conflict: the command does not fit the status, the id is taken, another version stands |
| 130 | interrupted |
";

const SETTINGS_HEAD: &str = "<!-- Made by `just bless` from the keys in crates/cli/src/settings/keys.rs; changes belong there. -->

# `stepwell.toml`

The settings of a project. The directory that has this file is the project of every command in it or below; the file may be
empty, and everything in it may be left out. A flag wins over an environment variable, that over this file, and this file over
the defaults. `stepwell init` writes one with every key. All that is wrong with it is told at once, with line and column.

## At the top

";

/// The tables of the file.
const TABLES: [(&str, &str); 2] = [("http", "requests"), ("python", "scripts, and in part programs")];

fn page() -> String {
    let mut root = crate::args::Args::command().disable_help_subcommand(true);
    root.build();
    let mut page = HEAD.to_owned();
    page += "\n## Options of every command\n\n";
    root.get_arguments()
        .filter(|argument| argument.is_global_set())
        .for_each(|argument| tell(&mut page, argument));
    for command in root.get_subcommands() {
        section(&mut page, command, 2);
    }
    page
}

fn section(page: &mut String, command: &Command, depth: usize) {
    let name = command.get_bin_name().unwrap_or_default();
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    write!(page, "\n{} {name}\n\n{about}\n\n```text\n{usage}\n```\n", "#".repeat(depth)).unwrap();
    let arguments: Vec<&Arg> = command.get_arguments().filter(|argument| is_own(argument)).collect();
    if !arguments.is_empty() {
        page.push('\n');
        for argument in arguments {
            tell(page, argument);
        }
    }
    for verb in command.get_subcommands() {
        section(page, verb, depth + 1);
    }
}

fn is_own(argument: &Arg) -> bool {
    !argument.is_global_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

fn tell(page: &mut String, argument: &Arg) {
    let takes = argument.get_action().takes_values();
    let values = argument.get_value_names().unwrap_or_default().join(" ");
    let mut names: Vec<String> = Vec::new();
    names.extend(argument.get_short().map(|short| format!("-{short}")));
    names.extend(argument.get_long().map(|long| format!("--{long}")));
    let name = match (names.is_empty(), takes) {
        (true, _) => values,
        (false, true) => format!("{} {values}", names.join(", ")),
        (false, false) => names.join(", "),
    };
    let mut said = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let possible: Vec<String> =
        argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if takes && !possible.is_empty() && !argument.is_hide_possible_values_set() {
        write!(said, " [{}]", possible.join(", ")).unwrap();
    }
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes && !defaults.is_empty() && !argument.is_hide_default_value_set() {
        write!(said, " [default: {}]", defaults.join(" ")).unwrap();
    }
    if let Some(variable) = argument.get_env() {
        write!(said, " [env: {}]", variable.to_string_lossy()).unwrap();
    }
    writeln!(page, "- `{name}`: {said}").unwrap();
}

/// The page of the settings: its words here, its tables from the keys.
fn settings_page() -> String {
    let table = |name: &str| {
        let mut rows = "| key | value | default | meaning |\n|---|---|---|---|\n".to_owned();
        for key in KEYS.iter().filter(|key| key.table == name) {
            writeln!(rows, "| `{}` | {} | {} | {} |", key.name, key.takes, key.default, key.meaning).unwrap();
        }
        rows
    };
    let mut page = SETTINGS_HEAD.to_owned();
    page += &table("");
    for (name, what) in TABLES {
        write!(page, "\n## `[{name}]`: {what}\n\n{}", table(name)).unwrap();
    }
    let told = |key: &&Key| key.table.is_empty() || TABLES.iter().any(|(name, _)| *name == key.table);
    assert!(KEYS.iter().all(|key| told(&key)), "each table of the file has its heading on the page");
    page + "\n## A whole file\n\n```toml\n" + include_str!("commands/init/stepwell.toml") + "```\n"
}

#[test]
fn the_reference_page_says_what_the_arguments_say() {
    assert_fresh("cli.md", &page());
}

#[test]
fn the_page_of_the_settings_says_what_their_keys_say() {
    assert_fresh("stepwell-toml.md", &settings_page());
}

fn assert_fresh(name: &str, page: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, page).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == page, "docs/reference/{name} is not fresh: `just bless` writes it anew");
}
