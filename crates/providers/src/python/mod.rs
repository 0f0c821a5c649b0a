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
//! Python. A task is over when its child has ended *and* every process it started is dead.
//!
//! What this module never does: decide about retries, know error codes, or scan code for references.
//! The provider on top does that; everything it needs is in [`PythonFailure`].
//!
//! Start reading at [`PythonPool::run`], then `attempt.rs`, then `forkserver.py`.

mod attempt;
mod capture;
mod failure;
mod parent;
mod pool;
mod provider;
mod settings;
mod system;
mod task;
mod wire;

pub use failure::{Printed, PythonFailure, Raised};
pub use pool::PythonPool;
pub use provider::Python;
pub use settings::PythonSettings;
pub use task::{PythonOutcome, PythonTask, Source};
