//! The integration tests of the command line, in one binary: a module per subject.

mod commands;
mod damage;
mod error_pages;
mod full_disk;
mod imports;
mod large;
mod readable;
mod refusals;
mod sandbox;
mod scripts;
