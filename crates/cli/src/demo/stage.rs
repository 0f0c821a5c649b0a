//! What the demo is shown on: a directory that is gone afterwards, children of this program, and pauses for who watches.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, Seq};
use stepwell_store::{Recorded, Store};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::call::Program;
use crate::live::keys::{Key, Keys};
use crate::live::tty::Tty;
use crate::{output, text};

/// The project of the demo, and the child that runs in it.
pub(crate) struct Stage {
    dir: Place,
    store: Arc<dyn Store>,
    program: Program,
    child: Option<Child>,
    /// Somebody reads along and presses Enter.
    is_attended: bool,
    json: bool,
}

/// Where the project lies.
enum Place {
    /// It goes with the demo.
    Lent(TempDir),
    Kept(PathBuf),
}

impl Stage {
    /// Makes the project.
    pub(crate) async fn set_up(
        program: Program,
        keep: Option<&Path>,
        yes: bool,
        json: bool,
    ) -> Result<Self, ErrorObject> {
        let dir = match keep {
            Some(dir) => Place::Kept(empty(dir)?),
            None => Place::Lent(
                tempfile::Builder::new()
                    .prefix("stepwell-demo-")
                    .tempdir()
                    .map_err(|error| failed(&format!("no directory can be made for the demo: {error}")))?,
            ),
        };
        let made = dir.path().join(".stepwell");
        std::fs::create_dir(&made)
            .map_err(|error| failed(&format!("{} cannot be made: {error}", made.display())))?;
        let url = format!("sqlite://{}", made.join("stepwell.db").display());
        let store =
            stepwell_store::open(&url).await.map_err(|error| stepwell_engine::error::from_store(&error))?;
        let is_attended = !yes && !json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        Ok(Self { dir, store, program, child: None, is_attended, json })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns whether somebody is there to press keys.
    pub(crate) fn is_attended(&self) -> bool {
        self.is_attended
    }

    /// Says something to who watches.
    pub(crate) fn say(&self, message: &str) {
        for line in message.split('\n') {
            if self.json { output::talk(line) } else { output::data(line) }
        }
    }

    pub(crate) fn title(&self, title: &str) {
        self.say(&format!("\n{title}\n{}", "-".repeat(title.len())));
    }

    /// Waits until who watches has read so far.
    pub(crate) async fn pause(&self) {
        let Some(tty) = Some(()).filter(|()| self.is_attended).and_then(|()| Tty::take()) else { return };
        output::talk("… Enter goes on, Ctrl-C ends the demo");
        let mut keys = Keys::of(Some(&tty));
        while !keys.next().await.contains(&Key::Enter) {}
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> Result<(), ErrorObject> {
        let file = self.dir().join(name);
        std::fs::write(&file, content).map_err(|error| failed(&format!("{}: {error}", file.display())))
    }

    pub(crate) fn read(&self, name: &str) -> Result<String, ErrorObject> {
        let file = self.dir().join(name);
        std::fs::read_to_string(&file).map_err(|error| failed(&format!("{}: {error}", file.display())))
    }

    /// Starts a command and lets it go on; it may ask who watches.
    pub(crate) fn start(&mut self, args: &[&str], asks: bool) -> Result<(), ErrorObject> {
        self.child = Some(self.spawn(args, asks)?);
        Ok(())
    }

    /// Carries a command out.
    pub(crate) async fn command(&mut self, args: &[&str]) -> Result<(), ErrorObject> {
        let mut child = self.spawn(args, false)?;
        let status =
            child.wait().await.map_err(|error| failed(&format!("stepwell {}: {error}", args.join(" "))))?;
        if status.success() {
            return Ok(());
        }
        Err(failed(&format!("stepwell {} ended with {status}", args.join(" "))))
    }

    /// Waits for the end of the command that goes on, and returns its exit code.
    pub(crate) async fn wait(&mut self) -> Result<Option<i32>, ErrorObject> {
        let Some(mut child) = self.child.take() else { return Ok(None) };
        let status = child.wait().await.map_err(|error| failed(&format!("the command is lost: {error}")))?;
        Ok(status.code())
    }

    /// Kills the command that goes on with SIGKILL, and returns the id that its process had.
    pub(crate) async fn kill(&mut self) -> Result<u32, ErrorObject> {
        let Some(mut child) = self.child.take() else { return Err(failed("there is nothing to kill")) };
        let Some(pid) = child.id() else { return Err(failed("it ended before it was killed")) };
        child.kill().await.map_err(|error| failed(&format!("process {pid} cannot be killed: {error}")))?;
        Ok(pid)
    }

    /// Returns the journal of a run; of one that is not there, an empty one.
    pub(crate) async fn events(&self, run: &str) -> Result<Vec<Recorded>, ErrorObject> {
        match self.store.events(&RunId::from(run), Seq(0), 10_000).await {
            Err(stepwell_store::Error::NotFound(_)) => Ok(Vec::new()),
            other => other.map_err(|error| stepwell_engine::error::from_store(&error)),
        }
    }

    /// Waits for news of a run, or a moment, and returns its journal. Fails if the command that goes on has ended.
    pub(crate) async fn news(&mut self, run: &str) -> Result<Vec<Recorded>, ErrorObject> {
        self.is_going_on()?;
        let mut changes = self.store.changes();
        // Other processes tell of what they change a moment later.
        let _looked_anyway = tokio::time::timeout(Duration::from_millis(100), changes.changed()).await;
        self.events(run).await
    }

    /// Waits until a step has written that file.
    pub(crate) async fn until_file(&mut self, name: &str) -> Result<(), ErrorObject> {
        while !self.dir().join(name).exists() {
            self.is_going_on()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends what still goes on and removes what was made, unless it is to be kept.
    pub(crate) async fn strike(mut self) -> Result<(), ErrorObject> {
        if let Some(mut child) = self.child.take() {
            /// So long it may take to give a terminal back that it has taken.
            const PATIENCE: Duration = Duration::from_secs(1);
            let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
            // One that has ended meanwhile is none to end.
            let _asked = pid.map(|pid| kill_process(pid, Signal::TERM));
            if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
                let _gone = child.kill().await;
            }
        }
        let closed = self.store.close().await.map_err(|error| stepwell_engine::error::from_store(&error));
        match self.dir {
            Place::Kept(_) => closed,
            Place::Lent(dir) => {
                let path = dir.path().to_owned();
                let removed = dir.close();
                closed?;
                removed.map_err(|error| failed(&format!("{} cannot be removed: {error}", path.display())))
            }
        }
    }

    /// Fails if the command that should go on has ended.
    fn is_going_on(&mut self) -> Result<(), ErrorObject> {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        match ended {
            None => Ok(()),
            Some(status) => {
                let error = failed(&format!("the run of the demo ended before it was to: {status}"));
                Err(error.with_hint("Python 3.10 or later is needed as `python3`"))
            }
        }
    }

    fn spawn(&self, args: &[&str], asks: bool) -> Result<Child, ErrorObject> {
        let words: Vec<_> = args.iter().map(|arg| text::word(arg)).collect();
        self.say(&format!("$ stepwell {}", words.join(" ")));
        let mut command = Command::new(&self.program.file);
        command
            .args(&self.program.first)
            .args(args)
            .current_dir(self.dir())
            .env_remove("STEPWELL_STORE")
            .kill_on_drop(true);
        command.stdin(if asks { Stdio::inherit() } else { Stdio::null() });
        if self.json {
            let talk = std::io::stderr().as_fd().try_clone_to_owned();
            command
                .stdout(talk.map_err(|error| failed(&format!("standard error cannot be shared: {error}")))?);
        }
        command
            .spawn()
            .map_err(|error| failed(&format!("{} cannot be started: {error}", self.program.file.display())))
    }
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Lent(dir) => dir.path(),
            Self::Kept(dir) => dir,
        }
    }
}

/// Makes a directory that is to be kept; one with something in it is somebody's.
fn empty(dir: &Path) -> Result<PathBuf, ErrorObject> {
    let refuse = |why: String| {
        ErrorObject::new(Code::INVALID_PARAMS, format!("--keep: {}: {why}", dir.display()))
            .with("parameter", "--keep")
            .with_hint("name a directory that is not there yet, or an empty one")
    };
    std::fs::create_dir_all(dir).map_err(|error| refuse(error.to_string()))?;
    let mut inside = std::fs::read_dir(dir).map_err(|error| refuse(error.to_string()))?;
    if inside.next().is_some() {
        return Err(refuse("it is not empty".into()));
    }
    dir.canonicalize().map_err(|error| refuse(error.to_string()))
}

fn failed(why: &str) -> ErrorObject {
    ErrorObject::new(Code::CONFIGURATION_ERROR, why).with("reason", "demo")
}
