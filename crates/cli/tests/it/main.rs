//! The integration tests of the command line, in one binary: a module per subject.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test may tell what it measured")]

mod commands;
mod damage;
mod demo;
mod diagnostics;
mod doctor;
mod error_pages;
mod examples;
mod exits;
mod full_disk;
mod gleitzeit;
mod graph;
mod guidance;
mod hand;
mod help;
mod http;
mod imports;
mod init;
mod keeping;
mod large;
mod live;
mod programs;
mod pty;
mod readable;
mod refusals;
mod sandbox;
mod schema;
mod scripts;
mod settings;
mod state;
mod stopping;
mod terminal;
mod transcript;
mod walls;
mod web;
mod workflow_file;
