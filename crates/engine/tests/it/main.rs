//! Stories about the engine, told without sleeping.
#![allow(missing_docs, reason = "tests are named by the promise they keep")]

mod basics;
mod crash;
mod durable;
mod hooked;
mod large;
mod shared;
mod torn;
