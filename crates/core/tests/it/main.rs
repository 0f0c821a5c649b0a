//! The rules of a run, tested from outside: stories per subject, and properties over random runs.

#![expect(clippy::disallowed_methods, reason = "how many cases, and which seed, come from the environment")]
#![expect(clippy::print_stderr, reason = "a traced history is read on the terminal")]
#![expect(clippy::needless_pass_by_value, reason = "a story reads better without borrowing each command")]

mod added_steps;
mod bounds;
mod by_hand;
mod checkpoints;
mod child_routes;
mod context;
mod definitions;
#[allow(unreachable_pub, reason = "a module of helpers for every test file")]
mod driver;
mod failures;
mod families;
mod for_each;
mod join_oracle;
mod needs;
mod nesting;
mod nesting_depth;
mod priorities;
mod properties;
mod retries;
mod shapes;
mod snapshot;
mod support;
mod transitions;
mod waits;
