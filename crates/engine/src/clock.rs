//! Time and randomness: the only place the engine takes them from, so that a test can bring its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use stepwell_core::ids::Timestamp;

/// Where time and randomness come from.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Returns the moment.
    fn now(&self) -> Timestamp;

    /// Waits until that moment.
    async fn sleep_until(&self, at: Timestamp);

    /// Returns a random number.
    fn random(&self) -> u64;
}

/// The clock of the system, and randomness seeded by the system.
#[derive(Debug)]
pub struct SystemClock {
    state: AtomicU64,
}

impl Default for SystemClock {
    fn default() -> Self {
        use std::hash::{BuildHasher, Hasher};
        // `RandomState` is seeded from the system's randomness once per process.
        let seed = std::collections::hash_map::RandomState::new().build_hasher().finish();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        Self { state: AtomicU64::new(seed ^ now ^ (u64::from(std::process::id()) << 32)) }
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    async fn sleep_until(&self, at: Timestamp) {
        let micros = at.0.saturating_sub(self.now().0);
        tokio::time::sleep(Duration::from_micros(u64::try_from(micros).unwrap_or(0))).await;
    }

    fn random(&self) -> u64 {
        mix(self.state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed))
    }
}

/// Scrambles a counter into a random number (`SplitMix64`).
pub(crate) fn mix(counter: u64) -> u64 {
    let z = (counter ^ (counter >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Returns a readable random id: `prefix_` and 20 letters and digits.
pub(crate) fn random_id(clock: &dyn Clock, prefix: &str) -> String {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut id = String::with_capacity(prefix.len() + 21);
    id.push_str(prefix);
    id.push('_');
    let (mut a, mut b) = (clock.random(), clock.random());
    for _ in 0..10 {
        id.push(char::from(LETTERS[(a & 31) as usize]));
        id.push(char::from(LETTERS[(b & 31) as usize]));
        a >>= 5;
        b >>= 5;
    }
    id
}
