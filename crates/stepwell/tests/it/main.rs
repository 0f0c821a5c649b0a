//! Agents as those who write them see them. Tests bear the number of what they prove in the list of what agents promise
//! (A1, A2 …).
#![allow(missing_docs, reason = "tests are named by the promise they keep")]

mod added_states;
mod checkpoints;
mod checks;
mod cleanup;
mod client;
mod context;
mod control;
mod definitions;
mod durable;
mod examples;
mod failures;
mod flow;
mod forms;
mod lint;
mod needs;
mod other_agents;
mod secrets;
mod support;
mod waits;
