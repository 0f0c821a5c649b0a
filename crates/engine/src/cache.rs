//! Which runs are held in memory: a bound in bytes, the ones not used for longest go first.

use std::collections::BTreeMap;
use std::sync::Mutex;

use foldhash::HashMap;
use stepwell_core::ids::RunId;

/// Sizes and order of use of the runs in memory.
#[derive(Debug)]
pub(crate) struct Cache {
    limit_bytes: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_run: HashMap<RunId, (u64, usize)>,
    by_use: BTreeMap<u64, RunId>,
    used: u64,
    bytes: usize,
}

impl Cache {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, entries: Mutex::default() }
    }

    /// Takes note that a run was used and how large it is now; 0: it is gone.
    pub(crate) fn note(&self, run: &RunId, bytes: usize) {
        let mut guard = self.entries.lock().expect("no panic happens under this lock");
        let entries = &mut *guard;
        let newest = entries.used;
        if let Some((_, size)) = entries.by_run.get_mut(run).filter(|(used, _)| *used == newest && bytes > 0)
        {
            entries.bytes = entries.bytes - *size + bytes;
            *size = bytes;
            return;
        }
        if let Some((used, size)) = entries.by_run.remove(run) {
            entries.by_use.remove(&used);
            entries.bytes -= size;
        }
        if bytes > 0 {
            entries.used += 1;
            let used = entries.used;
            entries.by_run.insert(run.clone(), (used, bytes));
            entries.by_use.insert(used, run.clone());
            entries.bytes += bytes;
        }
    }

    /// Returns the runs to let go so that the rest fits, the one not used for longest first.
    pub(crate) fn surplus(&self) -> Vec<RunId> {
        let entries = self.entries.lock().expect("no panic happens under this lock");
        let mut over = entries.bytes.saturating_sub(self.limit_bytes);
        let mut surplus = Vec::new();
        for run in entries.by_use.values() {
            if over == 0 {
                break;
            }
            over = over.saturating_sub(entries.by_run[run].1);
            surplus.push(run.clone());
        }
        surplus
    }
}
