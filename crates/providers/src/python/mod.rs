//! Runs Python scripts, each in a fresh interpreter state.
//!
//! ```text
//!  PythonPool ── control socket ──► warm parent (forkserver.py) ──fork──► child: one task
//!      │                                │  reaps, sweeps, reports            │
//!      │◄──────────── ended ────────────┘                                    │
//!      └──────────── channel (request in, answer out), stdout, stderr ◄──────┘
//! ```
//!
//! A pool keeps a few warm interpreters. Each forks one child per task, so that nothing a task does to
//! modules, globals, environment or directory is seen by another, and no task pays for starting
//! Python. A task is over when its child has ended *and* every process it started is dead. A guard
//! around each parent sees to that should the parent die, and the engine should both.
//!
//! These are walls against carelessness. Scripts run as the user that the engine runs as: they can read what
//! that user can read, and send a signal to whatever that user can, the parent, its guard, each other and
//! the engine included. A task that loses its parent is told as lost and not as failed; more is not promised here.
//! [`sandbox`](crate::sandbox) has the walls that the kernel keeps.
//!
//! What this module never does: decide about retries, know error codes, or scan code for references.
//! The provider on top does that; everything it needs is in [`PythonFailure`].
//!
//! Start reading at [`PythonPool::run`], then `attempt.rs`, then `forkserver.py`.

mod attempt;
mod failure;
mod parent;
mod pool;
#[doc(hidden)]
pub mod probe;
mod provider;
mod settings;
mod suspects;
mod system;
mod task;
mod wire;

pub use crate::capture::Printed;
pub use failure::{PythonFailure, Raised};
pub use pool::PythonPool;
pub use provider::Python;
pub use settings::PythonSettings;
pub use task::{PythonOutcome, PythonTask, Source};
