//! Command lines that cannot be understood.

use std::ffi::OsString;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::spelling::nearest;

use crate::exit::Exit;
use crate::{args, output};

/// Says what is wrong with the words of a call, or prints the help that they ask for.
pub(crate) fn told(error: &clap::Error, words: &[OsString]) -> Exit {
    if !error.use_stderr() {
        // Where even help cannot be printed there is nobody to tell.
        let _unheard = error.print();
        return Exit::Ok;
    }
    if words.iter().any(|word| word == "--json") {
        return output::error(&object(error, words), true);
    }
    for line in error.render().to_string().lines() {
        output::talk(line);
    }
    if let Some(hint) = likely(error, words) {
        output::talk(&format!("hint: {hint}"));
    }
    Exit::Usage
}

/// Returns the command that may be meant, where clap finds none that is alike.
fn likely(error: &clap::Error, words: &[OsString]) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand || error.get(ContextKind::SuggestedSubcommand).is_some() {
        return None;
    }
    let ContextValue::String(mistaken) = error.get(ContextKind::InvalidSubcommand)? else { return None };
    let mut command = args::Args::command();
    for word in words.iter().skip(1).take_while(|word| *word != mistaken.as_str()) {
        command = command.find_subcommand(word).cloned().unwrap_or(command);
    }
    let known = command.get_subcommands().map(clap::Command::get_name);
    Some(match nearest(mistaken, known) {
        Some(near) => format!("did you mean '{near}'?"),
        None => "`stepwell --help` lists the commands".into(),
    })
}

/// Returns the error as every other one is told: clap's first paragraph is the message, the others are hints.
fn object(error: &clap::Error, words: &[OsString]) -> ErrorObject {
    let code = match error.kind() {
        ErrorKind::InvalidSubcommand
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Code::METHOD_NOT_FOUND,
        _ => Code::INVALID_PARAMS,
    };
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return ErrorObject::new(code, "no command is given")
            .with_hint("`stepwell --help` lists the commands");
    }
    let text = error.render().to_string();
    let mut paragraphs = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| !paragraph.is_empty() && !paragraph.starts_with("For more information"));
    let first = paragraphs.next().unwrap_or_default();
    let object = ErrorObject::new(code, first.strip_prefix("error: ").unwrap_or(&first));
    let hints: Vec<String> = paragraphs.collect();
    let hints: Vec<String> = likely(error, words).into_iter().chain(hints).collect();
    let hint = if hints.is_empty() { "`--help` tells what may be given".into() } else { hints.join("; ") };
    object.with_hint(hint)
}
