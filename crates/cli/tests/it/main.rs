//! The integration tests of the command line, in one binary: a module per subject.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test may tell what it measured")]

mod commands;
mod damage;
mod diagnostics;
mod error_pages;
mod full_disk;
mod fuzz;
mod guidance;
mod imports;
mod large;
mod readable;
mod refusals;
mod sandbox;
mod schema;
mod scripts;
mod stopping;
mod terminal;
mod workflow_file;
