//! What can go wrong between a run and its store, by what the caller may do about it.

use stepwell_core::ids::{CommandId, ExecutionRef, RunId, Seq};

use crate::model::{Revision, SessionRef};

/// A store could not do what was asked. Nothing was written unless the text says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No run, wait or key of that name.
    #[error("{0} is not in the store")]
    NotFound(String),
    /// It cannot be reached or opened now; later it may be.
    #[error("{what}: {source}")]
    Unavailable {
        /// The operation and the store, secrets masked.
        what: String,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is nothing to use at its place: no such directory, no file of its own, or one that was moved, deleted or
    /// replaced while it was open. Trying again does not help.
    #[error("{what}: {reason}")]
    NotThere {
        /// The store.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// Nothing can be written: disk full, read-only file.
    #[error("{what}: {source}")]
    WriteFailed {
        /// The operation and the store.
        what: String,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is damaged, foreign, or written by a newer version; it was left as it is.
    #[error("{what}: {reason}")]
    Corrupt {
        /// The store.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller asked for something no store can do, such as a page of negative size.
    #[error("{0}")]
    Invalid(String),
}

/// Why a batch was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The run has moved on since the batch was decided; decide again. Nothing was written.
    #[error("run {run} was decided at {given:?} but stands at {current:?}")]
    Stale {
        /// The run.
        run: RunId,
        /// What the batch was decided on.
        given: Revision,
        /// What stands.
        current: Revision,
    },
    /// The lease of an answered execution does not stand any more; drop that command alone.
    #[error("the lease of {run} {execution} is gone")]
    LeaseLost {
        /// The run.
        run: RunId,
        /// Whose lease.
        execution: ExecutionRef,
    },
    /// The session that a lease should be handed to was declared dead; decide again without it. Nothing was written.
    #[error("session {} was declared dead", .0.id)]
    SessionGone(SessionRef),
    /// The command was committed before; its outcome stands at that place.
    #[error("command {id} of run {run} was committed before")]
    Repeated {
        /// The run.
        run: RunId,
        /// The command.
        id: CommandId,
        /// Last event of the batch it was part of.
        seq: Seq,
    },
    /// A run of that id exists.
    #[error("run {0} exists")]
    Exists(RunId),
    /// The run is not in the store.
    #[error("run {0} is not in the store")]
    NotFound(RunId),
    /// Nothing was written.
    #[error(transparent)]
    Store(Error),
    /// The COMMIT itself failed: written or not, ask [`Store::is_committed`](crate::Store::is_committed).
    #[error("the outcome of a commit is unknown")]
    Unknown(#[source] Error),
}

/// A write of system state was refused.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another version stands; 0: there is none.
    #[error("the value has version {current}")]
    Conflict {
        /// The version that stands.
        current: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}
