//! The providers against the real world: real interpreters, real signals, real files.

mod http;
mod python;
mod steps;
