//! The integration tests of the command line, in one binary: a module per subject.

mod commands;
mod error_pages;
mod imports;
mod sandbox;
