//! Stories about the engine, told without sleeping.
#![allow(missing_docs, reason = "tests are named by the promise they keep")]
#![allow(clippy::print_stdout, reason = "a test may tell what it measured")]

mod basics;
mod children;
mod crash;
mod durable;
mod faults;
mod files;
mod functions;
mod heartbeat;
mod hooked;
mod large;
mod limits;
mod own;
mod pool;
mod shared;
mod sim;
mod slots;
mod snapshots;
mod torn;
