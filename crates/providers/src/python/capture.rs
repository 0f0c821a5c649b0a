//! Reads what a task writes, in pieces and never more than it may write.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The first size of a buffer, and the least by which it grows.
const PIECE: usize = 8 << 10;

/// A budget of bytes was used up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overrun;

/// Bytes that may still arrive, shared by all streams that draw on one limit.
#[derive(Debug)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    /// Takes up to `wanted` bytes from what is left.
    fn take(&self, wanted: usize) -> usize {
        let left = self.0.load(Ordering::Relaxed);
        let taken = wanted.min(left);
        // The streams of one task are read by one future, so nobody else takes in between.
        self.0.store(left - taken, Ordering::Relaxed);
        taken
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads to the end of a stream; on [`Overrun`] the buffer holds what was within the budget.
///
/// A stream that breaks has ended: a child that dies with unread input resets its channel.
pub(super) async fn read_all(
    mut stream: impl AsyncRead + Unpin,
    buffer: &mut Vec<u8>,
    budget: &Budget,
) -> Result<(), Overrun> {
    loop {
        if buffer.len() == buffer.capacity() {
            // Growing by half, but never beyond what may still come and the byte that proves too much.
            let more = (buffer.len() / 2).max(PIECE).min(budget.left().max(PIECE) + 1);
            buffer.reserve_exact(more);
        }
        match stream.read_buf(buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(read) => {
                let taken = budget.take(read);
                if taken < read {
                    buffer.truncate(buffer.len() - (read - taken));
                    return Err(Overrun);
                }
            }
        }
    }
}

/// Turns bytes into text without a copy where they are UTF-8; other bytes become U+FFFD.
pub(super) fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_streams_share_one_budget_and_are_cut_at_it() {
        let budget = Budget::new(10);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        assert!(read_all(&b"123456"[..], &mut first, &budget).await.is_ok());
        assert!(read_all(&b"123456"[..], &mut second, &budget).await.is_err());
        assert_eq!((first.as_slice(), second.as_slice()), (&b"123456"[..], &b"1234"[..]));
    }

    #[tokio::test]
    async fn exactly_the_budget_is_no_overrun() {
        let mut buffer = Vec::new();
        assert!(read_all(vec![7_u8; 100_000].as_slice(), &mut buffer, &Budget::new(100_000)).await.is_ok());
        assert_eq!(buffer.len(), 100_000);
    }

    #[test]
    fn bad_bytes_become_replacement_characters() {
        assert_eq!(into_text(b"a\xff\xfeb".to_vec()), "a\u{fffd}\u{fffd}b");
    }
}
