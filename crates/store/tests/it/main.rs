//! The stores against their promises.

mod crash;
mod differential;
mod faulty;
mod files;
mod memory;
mod places;
mod processes;
mod sqlite;
