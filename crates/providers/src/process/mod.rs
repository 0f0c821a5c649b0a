//! Runs programs, each under a guard of its own, and never through a shell.
//!
//! ```text
//!  attempt.rs ── control socket ──► guard (guard.rs) ──fork──► the program
//!      │                              │  reaps, sweeps, reports    │
//!      │◄────────── ended ────────────┘                            │
//!      └──────────────── stdin, stdout, stderr ◄───────────────────┘
//! ```
//!
//! The guard is a fork of this process that never becomes another program. It outlives the engine for as long as it
//! takes to kill what the engine leaves behind, so that nothing of a step goes on after its attempt, whoever dies. A
//! step is over when its program has ended *and* every process it started is dead.
//!
//! These are walls against carelessness, as for scripts ([`python`](crate::python)): a program runs as the user that the
//! engine runs as. Should somebody kill a guard, the program dies with it, the engine kills what bears its mark
//! (`../mark.rs`), and its attempt is told as lost. [`sandbox`](crate::sandbox) has the walls that the kernel keeps.
//!
//! Start reading at `provider.rs`, then `attempt.rs`, then `guard.rs`.

mod attempt;
mod failure;
mod guard;
mod launch;
mod program;
mod provider;

pub use provider::Process;
