//! Random numbers from a seed that a failed test shows and the environment gives back.

/// Numbers from a seed; a test that fails while it has one shows the seed.
pub(super) struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    /// Takes the seed from `STEPWELL_SEED`, else from the clock.
    pub(super) fn from_env() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = std::env::var("STEPWELL_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| now.map_or(1, |now| now.as_nanos() as u64));
        Self { seed, state: seed }
    }

    /// Returns a number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

impl Drop for Dice {
    #[expect(clippy::print_stderr, reason = "whoever reads the failure wants to repeat it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("STEPWELL_SEED={} repeats this", self.seed);
        }
    }
}
