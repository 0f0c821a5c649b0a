//! The providers against the real world: real interpreters, real programs, real signals, real files.

mod house;
mod http;
mod process;
mod python;
mod sandbox;
mod steps;
mod support;
