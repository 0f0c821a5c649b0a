//! The vocabulary of these tests: a world in which one run lives, and seeded randomness.

mod rng;
mod world;

pub(crate) use rng::{Rng, seeds};
pub(crate) use world::*;
