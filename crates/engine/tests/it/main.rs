//! Stories about the engine, told without sleeping.
#![allow(missing_docs, reason = "tests are named by the promise they keep")]

mod basics;
mod children;
mod crash;
mod durable;
mod faults;
mod files;
mod hooked;
mod shared;
mod sim;
mod slots;
mod snapshots;
