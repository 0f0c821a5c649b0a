//! Agents, pipelines and workflows as those who write them see them. Tests bear the number of what they prove in the list of
//! what agents (A1, A2 …) and pipelines (F1, F2 …) promise.
#![allow(missing_docs, reason = "tests are named by the promise they keep")]

mod added_states;
mod by_hand;
mod callbacks;
mod checkpoints;
mod checks;
mod cleanup;
mod client;
mod context;
mod control;
mod definitions;
mod durable;
mod each_store;
mod examples;
mod failures;
mod flow;
mod foreign;
mod forms;
mod golden;
mod history;
mod killed;
mod left_behind;
mod lint;
mod needs;
mod nestings;
mod other_agents;
mod pipeline;
mod pipeline_durable;
mod pipeline_limits;
mod pipeline_parts;
mod pipeline_settings;
mod resuming;
mod secrets;
mod shapes;
mod support;
mod taken_up;
mod unruly;
mod waits;
mod whole;
mod workflow;
