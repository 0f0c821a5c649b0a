//! Reads what a task writes, in pieces and never more than it may write.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a task wrote before it ended; bytes that are not UTF-8 became U+FFFD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// What was written to stdout.
    pub output: String,
    /// What was written to stderr.
    pub stderr: String,
}

/// What has arrived of the two streams of a task.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// The first size of a buffer, and the least by which it grows.
const PIECE: usize = 8 << 10;

/// A budget of bytes was used up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overrun;

/// Bytes that may still arrive, shared by all streams that draw on one limit.
#[derive(Debug)]
pub(crate) struct Budget(AtomicUsize);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
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

impl Captured {
    /// Reads both streams to their ends, which share one limit.
    pub(crate) async fn read(
        &mut self,
        stdout: impl AsyncRead + Unpin,
        stderr: impl AsyncRead + Unpin,
        limit_bytes: usize,
    ) -> Result<(), Overrun> {
        let budget = Budget::new(limit_bytes);
        let stdout = read_all(stdout, &mut self.stdout, &budget);
        let stderr = read_all(stderr, &mut self.stderr, &budget);
        tokio::try_join!(stdout, stderr).map(|_| ())
    }
}

impl From<Captured> for Printed {
    fn from(captured: Captured) -> Self {
        Self { output: into_text(captured.stdout), stderr: into_text(captured.stderr) }
    }
}

/// Reads to the end of a stream; on [`Overrun`] the buffer holds what was within the budget.
///
/// A stream that breaks has ended: a child that dies with unread input resets its channel.
pub(crate) async fn read_all(
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
fn into_text(bytes: Vec<u8>) -> String {
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
