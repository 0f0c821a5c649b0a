//! The integration tests of the command line, in one binary: a module per subject.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test may tell what it measured")]

mod child_runs;
mod commands;
mod damage;
mod error_pages;
mod full_disk;
mod guidance;
mod http;
mod imports;
mod large;
mod readable;
mod refusals;
mod sandbox;
mod scripts;
mod stopping;
mod terminal;
mod web;
mod workflow_file;
