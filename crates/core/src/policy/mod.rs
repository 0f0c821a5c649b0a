//! Rules without state of their own, one a file.

pub mod resources;
pub mod retry;
