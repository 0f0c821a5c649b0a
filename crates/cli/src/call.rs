//! How the command line was called, and how it calls itself.

use std::ffi::OsString;
use std::path::PathBuf;

use stepwell_core::error::{Code, ErrorObject};

/// A call of the command line.
#[derive(Clone, Debug)]
pub struct Call {
    words: Vec<OsString>,
    /// None: the program of this process.
    program: Option<Program>,
}

/// A program that is this command line, if these arguments stand before all others.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file that is executed.
    pub file: PathBuf,
    /// What it is told before the words of a command.
    pub first: Vec<OsString>,
}

impl Call {
    /// Returns the call that this process is.
    pub fn of_process() -> Self {
        Self { words: std::env::args_os().collect(), program: None }
    }

    /// Returns a call by a process that is another program, such as an interpreter: what was typed behind the name of the
    /// command, and what carries out a command line of ours when it is started.
    pub fn hosted(typed: impl IntoIterator<Item = OsString>, program: Program) -> Self {
        let words = std::iter::once("stepwell".into()).chain(typed).collect();
        Self { words, program: Some(program) }
    }

    /// Returns the name of the command and what was typed behind it.
    pub(crate) fn words(&self) -> &[OsString] {
        &self.words
    }

    /// Returns what to start for a command line of its own.
    pub(crate) fn program(&self) -> Result<Program, ErrorObject> {
        if let Some(program) = &self.program {
            return Ok(program.clone());
        }
        let file = std::env::current_exe().map_err(|error| {
            let message = format!("this program does not know where it lies: {error}");
            ErrorObject::new(Code::CONFIGURATION_ERROR, message).with("reason", "program")
        })?;
        Ok(Program { file, first: Vec::new() })
    }
}
