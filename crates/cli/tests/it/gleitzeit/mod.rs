//! What the Gleitzeit document promised about files, substitution, failures and restarts, kept by the program as its
//! users meet it (spec/gleitzeit.md §8; the number of each item is in the test's name). What is refused before anything
//! starts is in `refusals.rs`; what scripts may do wrong is in the tests of the provider.

mod failures;
mod files;
mod hostile;
mod killed;
mod values;
