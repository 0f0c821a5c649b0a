//! The providers against the real world: real interpreters, real signals, real files.

mod python;
mod steps;
mod support;
