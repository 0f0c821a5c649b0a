//! What the fuzz targets do with their bytes: plain functions that panic where a promise is broken.

pub mod file_reader;
pub mod side_channel;
pub mod substitution;
