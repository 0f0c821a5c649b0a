//! What a pool is told once: which interpreter, which limits.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::isolation::{Isolation, cores};

/// Settings of a [`PythonPool`](super::PythonPool).
#[derive(Clone, Debug)]
pub struct PythonSettings {
    /// What scripts may see and use; the memory limit is one of address space.
    pub isolation: Isolation,
    /// The interpreter, a name looked up in `PATH` or a path.
    pub interpreter: PathBuf,
    /// Size of a result as JSON.
    pub result_limit: usize,
    /// Size of a script file.
    pub script_limit: u64,
    /// Warm interpreters kept. One serves tasks one after the other at full speed; more fork in parallel.
    pub parents: NonZeroUsize,
    /// Tasks that run at once; others wait for their turn before their clock starts.
    pub max_running: NonZeroUsize,
}

impl Default for PythonSettings {
    fn default() -> Self {
        Self {
            isolation: Isolation::default(),
            interpreter: "python3".into(),
            result_limit: 64 << 20,
            script_limit: 16 << 20,
            parents: cores().min(const { NonZeroUsize::new(4).expect("four is not zero") }),
            max_running: const { NonZeroUsize::new(64).expect("sixty-four is not zero") },
        }
    }
}
