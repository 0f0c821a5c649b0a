//! `http/v1`: one HTTP request with bounded time and size, to addresses that workflows may reach.
//!
//! A request never leaves by a proxy and is never sent to an address of this machine or its own networks unless the
//! settings allow it (`guard.rs`); that is judged on the address a connection is made to. Secrets of a request are in
//! no error (`secrets.rs`). Start reading at `provider.rs`, then `exchange.rs`.

mod answer;
mod client;
mod exchange;
mod failure;
mod guard;
mod provider;
mod request;
mod secrets;

pub use client::{HttpSettings, Lookup, SystemLookup};
pub use guard::{AllowPrivate, UnknownRule};
pub use provider::Http;
