//! Checkpoints of runs: in files, and read from them.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::run::checkpoint::Checkpoint as Kept;
use stepwell_engine::whole_file;

/// A run as it stood at one place of its journal. What it holds are the members of
/// [`core::run::checkpoint::Checkpoint`](Kept), as plain data.
///
/// No run needs one to survive its process: everything is in the store. A checkpoint is to look at a run, to carry it to
/// another store, and to go on from it once more, or with another agent ([`Agent::restore`](crate::Agent::restore)).
///
/// ```
/// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, StepError};
/// # use serde_json::json;
/// use stepwell::Checkpoint;
///
/// # async fn outline(cx: Context) -> Result<Next, StepError> { cx.set("title", &"On wells")?; Ok(Next::to("write")) }
/// # async fn write(cx: Context) -> Result<Next, StepError> { let _: u32 = cx.signal("go").await?; Ok(Next::done()) }
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("essay.json");
/// let agent = Agent::new("essay").state("outline", outline).state("write", write).build(&engine)?;
/// let run = agent.start(()).await?;
/// run.rest().await?;
/// run.checkpoint().await?.save(&path)?;
///
/// let checkpoint = Checkpoint::load(&path)?;
/// assert_eq!(checkpoint.completed_states[0].as_str(), "outline");
/// assert_eq!(checkpoint.shared_state["title"], "On wells");
///
/// let agent = Agent::new("another_essay").state("outline", outline).state("write", write).build(&engine)?;
/// let run = agent.restore(&checkpoint).await?;
/// engine.signal(run.id(), "go", json!(1), None).await?;
/// run.resume().await?;
/// assert_eq!(run.wait().await?.get::<String>("title")?.unwrap(), "On wells");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint(pub(crate) Arc<Kept>);

impl Checkpoint {
    /// Reads JSON text.
    ///
    /// # Errors
    /// `CHECKPOINT_INVALID` naming the member that is missing, of another type or of a newer version; or the text is no
    /// JSON at all.
    pub fn from_json(text: &str) -> Result<Self, ErrorObject> {
        Ok(Self(Arc::new(Kept::from_json(text)?)))
    }

    /// Writes a file that only its owner can read: whole or not at all, whatever happens meanwhile. One that was there is
    /// replaced. This waits for the disk.
    ///
    /// # Errors
    /// `CONFIGURATION_ERROR`: the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ErrorObject> {
        let (path, text) = (path.as_ref(), self.to_json());
        whole_file::write_private(path, |out| out.write_all(text.as_bytes()))
            .map_err(|error| unusable(path, "written", &error))
    }

    /// Reads a file. This waits for the disk.
    ///
    /// # Errors
    /// `CONFIGURATION_ERROR`: the file cannot be read; `CHECKPOINT_INVALID` as [`Checkpoint::from_json`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ErrorObject> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| unusable(path, "read", &error))?;
        // What is no text is no JSON either, and told as that.
        let read = Self::from_json(&String::from_utf8_lossy(&bytes));
        read.map_err(|mut error| {
            error.message = format!("{}: {}", path.display(), error.message);
            error.with("path", path.display().to_string())
        })
    }
}

impl Deref for Checkpoint {
    type Target = Kept;

    fn deref(&self) -> &Kept {
        &self.0
    }
}

impl From<Kept> for Checkpoint {
    fn from(kept: Kept) -> Self {
        Self(Arc::new(kept))
    }
}

fn unusable(path: &Path, what: &str, error: &std::io::Error) -> ErrorObject {
    let message = format!("the checkpoint {} cannot be {what}: {error}", path.display());
    ErrorObject::new(Code::CONFIGURATION_ERROR, message).with("path", path.display().to_string())
}
