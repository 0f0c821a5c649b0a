//! The rules of a run: what may be asked of it, what follows, and what is true afterwards.
//!
//! A **run** is one execution of a [`Workflow`](workflow::Workflow). Its truth is its journal, a list of
//! [`Event`](run::event::Event)s; a [`Run`](run::Run) is the fold of that list. A
//! [`Command`](run::command::Command) is decided on the state in memory and leaves as the events to append, the
//! messages to other runs, and what must be arranged: work for workers, timers, open questions.
//!
//! This crate never reads a clock, a file or the environment, never invents an id or a random number, never waits
//! and never starts a thread: all of that comes in with the command. So a run that is folded from its journal goes on
//! exactly as the one that lived it, and every rule can be tested without a store.
//!
//! Start reading at [`run`]; then `run/decide/mod.rs` (one file a command), `run/apply.rs` (the fold) and
//! `run/token.rs` (forks and joins). [`workflow::definition`] is the one form that files, functions, pipelines and
//! teams of roles are lowered to.
//!
//! # A run by hand
//!
//! ```
//! use std::sync::Arc;
//! use serde_json::json;
//! use stepwell_core::ids::{RunId, Timestamp};
//! use stepwell_core::run::Run;
//! use stepwell_core::run::command::{AttemptRef, Command, Complete, Create};
//! use stepwell_core::status::RunStatus;
//! use stepwell_core::workflow::Workflow;
//! use stepwell_core::workflow::definition::{Definition, Step};
//!
//! let fetch = Step::provided("fetch", "python/v1", "python/execute", json!({}));
//! let report = Step::provided("report", "python/v1", "python/execute", json!({})).needs(&["fetch"]);
//! let workflow = Workflow::new(Definition::new("two steps", vec![fetch, report])).unwrap();
//!
//! let mut run = Run::blank(RunId::from("run_1"), workflow.clone());
//! let at = Timestamp(1_700_000_000_000_000);
//! run.handle(&Command::Create(Box::new(Create::new(run.id().clone(), workflow))), at).unwrap();
//!
//! for (step, result) in [("fetch", 20), ("report", 42)] {
//!     // What a worker would be given now: exactly one step, since `report` needs `fetch`.
//!     let work = run.due().work;
//!     assert_eq!(work.len(), 1);
//!     assert_eq!(work[0].execution.step.as_str(), step);
//!     let attempt = AttemptRef {
//!         step: work[0].execution.step.clone(),
//!         ordinal: work[0].execution.ordinal,
//!         attempt: work[0].attempt,
//!         session: 1,
//!     };
//!     let output = Arc::new(json!({ "result": result }));
//!     let complete = Complete { attempt, output, writes: vec![], snapshot: 0, to: vec![], children: vec![], defines: vec![] };
//!     let decision = run.handle(&Command::Complete(complete), at).unwrap();
//!     assert_eq!(decision.events[0].kind(), "StepCompleted");
//! }
//! assert_eq!(run.status(), RunStatus::Completed);
//! assert_eq!(**run.output(), json!(42));
//! ```

#![expect(
    clippy::similar_names,
    reason = "`writer` and `writes`, `names` and `named` are the plain words here"
)]

pub mod canonical;
pub mod context;
pub mod error;
pub mod ids;
pub mod nesting;
pub mod policy;
pub mod run;
pub mod spelling;
pub mod status;
pub mod workflow;
