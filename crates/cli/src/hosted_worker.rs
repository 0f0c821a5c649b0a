//! `stepwell worker MODULE:AGENT`, for the interpreter that has to import the modules: it asks what was typed, imports, and lets
//! this open and stop what the command always does.

use stepwell::{Engine, ErrorObject};

use crate::args::{Args, Command};
use crate::call::Call;
use crate::commands::worker;
use crate::stop::Stop;
use crate::{exit, output, project};

/// A `stepwell worker` that is to serve agents of Python modules.
#[derive(Debug)]
pub struct HostedWorker {
    shared: crate::args::Shared,
    args: worker::Args,
}

impl HostedWorker {
    /// Returns the worker that a call asks for. None: it asks for something else, or cannot be understood.
    pub fn asked(call: &Call) -> Option<Self> {
        use clap::Parser;

        let Args { shared, command } = Args::try_parse_from(call.words()).ok()?;
        match command {
            Command::Worker(args) if !args.agents.is_empty() => Some(Self { shared, args }),
            _ => None,
        }
    }

    /// Returns the agents, each as `MODULE:NAME`.
    pub fn agents(&self) -> &[String] {
        &self.args.agents
    }

    /// Returns the URL of the store whose runs it carries.
    ///
    /// # Errors
    /// The settings of the project cannot be read.
    pub fn store_url(&self) -> Result<String, ErrorObject> {
        project::store_url(self.shared.store())
    }

    /// Opens the engine on that store, with all that a worker carries out. It has `slots` if nobody typed how many.
    ///
    /// # Errors
    /// The store cannot be opened, or the settings of the project cannot be read.
    pub async fn open(&self, slots: usize) -> Result<Engine, ErrorObject> {
        let concurrency = Some(self.args.concurrency.unwrap_or(slots));
        let what = format!("{}{}", project::SERVES, self.args.agents.join(", "));
        worker::open_with(&self.shared, concurrency, &self.args.work, &what).await
    }

    /// Lets engines work until the process is asked to end, shuts them down, and returns the exit code.
    ///
    /// # Errors
    /// Signals cannot be received, or a store was taken away.
    pub async fn work(&self, engines: &[Engine]) -> Result<u8, ErrorObject> {
        let mut stop = Stop::listen()?;
        Ok(worker::work(engines, &mut stop).await? as u8)
    }

    /// Says why it could not work and returns the exit code.
    pub fn refused(&self, error: &ErrorObject) -> u8 {
        if self.shared.json {
            return output::error(error, true) as u8;
        }
        if let Some(traceback) = error.data.get("traceback").and_then(|text| text.as_str()) {
            output::talk_message(traceback.trim_end());
        }
        let code =
            if crate::settings::tell(error) { exit::Exit::of(error) } else { output::error(error, false) };
        code as u8
    }
}
