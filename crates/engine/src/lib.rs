//! The async shell around the core: it loads runs, decides their commands, commits, and lets workers carry out
//! what follows.
//!
//! Every input ends in a mailbox of its run (`mailbox.rs`), every change leaves as one committed batch, every
//! watcher reads the journal. The shell decides nothing about a run; that is `stepwell-core`'s.
//!
//! Start reading at [`Engine`], then `mailbox.rs` for how a command becomes a commit, `worker.rs` and `attempt.rs`
//! for how work is carried out.

mod attempt;
pub mod batch;
mod cache;
mod clock;
mod definitions;
mod engine;
pub mod error;
pub mod forms;
mod handlers;
mod held;
mod lazy;
pub mod load;
mod mailbox;
mod outbox;
pub mod params;
mod pool;
mod provider;
mod secrets;
mod session;
mod shared;
mod slots;
mod snapshots;
mod state;
pub mod testing;
mod timers;
mod turn;
mod watch;
pub mod whole_file;
mod worker;
mod yielding;

pub use attempt::{FailureBehind, Opened, Reporter, Resolved, RunInfo, said_by};
pub use clock::{Clock, SystemClock};
pub use engine::{Engine, Leases, Options, Serving, Start, Started, new_run_id};
pub use mailbox::Receipt;
pub use provider::{
    Completion, Executor, Failure, Outcome, Outside, Param, ParamProblem, Provider, Registry, Task,
    handler_of,
};
pub use secrets::Secrets;
pub use watch::{Follow, KeptInMemory};
pub use yielding::yield_once;
