//! The bytes between the pool, a parent and a task; `forkserver.py` is the other side.

use std::path::Path;

use std::os::unix::ffi::OsStrExt as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Room for what surrounds a result on the channel, or for a failure with its traceback.
pub(super) const CHANNEL_SLACK: usize = 2 << 20;

/// The text of the parent.
pub(super) const FORKSERVER: &str = include_str!("forkserver.py");

/// What the interpreter is started with: take the parent's text from the control socket, run it.
pub(super) const BOOTSTRAP: &str = "import socket
control = socket.socket(fileno=0)
source = control.recv(1 << 20)
control.detach()
exec(compile(source, 'forkserver.py', 'exec'), {'__name__': 'forkserver'})";

/// How the parent is told whether each task brings a ruleset.
pub(super) const WALLED: &str = "walled";
pub(super) const OPEN: &str = "open";

/// A script as the child reads it.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    /// Text of the script; for a file its bytes, see [`bytes_as_text`].
    pub(super) source: String,
    /// Where the file is, as bytes; none for code.
    pub(super) file: Option<String>,
    /// The working directory, as bytes.
    pub(super) directory: String,
    /// A directory of the task's own for temporary files, as bytes, where it has walls.
    pub(super) temporary: Option<String>,
    pub(super) args: &'a Value,
    pub(super) bindings: &'a [(String, Value)],
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
    pub(super) result_limit: usize,
}

impl Request<'_> {
    /// Returns the request as the child reads it: the length in eight bytes, then JSON.
    pub(super) fn frame(&self) -> Vec<u8> {
        let mut frame = vec![0; 8];
        serde_json::to_writer(&mut frame, self).expect("text and values are JSON");
        let length = frame.len() as u64 - 8;
        frame[..8].copy_from_slice(&length.to_le_bytes());
        frame
    }
}

/// Writes any bytes as text, each byte as the character of its number (Latin-1).
pub(super) fn bytes_as_text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Writes a path as text, whatever bytes it has.
pub(super) fn path_as_text(path: &Path) -> String {
    bytes_as_text(path.as_os_str().as_bytes())
}

/// What the pool asks of a parent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Start(u64),
    Kill(u64),
}

impl Order {
    pub(super) fn packet(self) -> [u8; 9] {
        let (letter, task) = match self {
            Self::Start(task) => (b'S', task),
            Self::Kill(task) => (b'K', task),
        };
        let mut packet = [letter; 9];
        packet[1..].copy_from_slice(&task.to_le_bytes());
        packet
    }
}

/// What a parent tells the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Ready,
    Ended { task: u64, end: End },
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with an exit code.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
    /// It never was: the parent could not fork, for this system error.
    NotForked(i32),
}

impl Notice {
    /// Reads a packet; none if it is not one of ours.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let (letter, rest) = packet.split_first()?;
        if *letter == b'R' {
            return Some(Self::Ready);
        }
        let (task, number) = rest.split_first_chunk::<8>()?;
        let number = i32::from_le_bytes(number.try_into().ok()?);
        let end = match letter {
            b'E' if number < 0 => End::Signalled(-number),
            b'E' => End::Exited(number),
            b'X' => End::NotForked(number),
            _ => return None,
        };
        Some(Self::Ended { task: u64::from_le_bytes(*task), end })
    }
}

/// What a child has written to its channel.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    /// The child, once it has taken up its request; before that no line of the script ran.
    pub(super) begun: Option<i32>,
    /// The last word.
    pub(super) verdict: Verdict,
}

/// The last word of a child.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// None, or not the whole of it.
    Missing,
    /// Not what a child writes: the script has written to the channel.
    Garbled,
    Result {
        value: Value,
        seconds: f64,
    },
    Failure(Failure),
}

/// A failure as the child tells it.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Failure {
    Setup { message: String },
    Exit { code: i64 },
    Result { path: String, reason: String },
    Syntax(Told),
    Exception(Told),
    Memory(Told),
}

/// An exception as the child tells it.
#[derive(Debug, Deserialize, PartialEq)]
pub(super) struct Told {
    #[serde(rename = "type")]
    pub(super) exception_type: String,
    pub(super) message: String,
    pub(super) traceback: String,
    pub(super) line: Option<u64>,
}

impl Answer {
    /// Reads all that came over the channel: `B` and the pid, then kind, seconds, length and payload.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let Some((begun, rest)) = bytes.split_first_chunk::<5>() else {
            return Self { begun: None, verdict: Verdict::Missing };
        };
        let [b'B', pid @ ..] = *begun else {
            return Self { begun: Some(0), verdict: Verdict::Garbled };
        };
        Self { begun: Some(i32::from_le_bytes(pid)), verdict: Verdict::parse(rest) }
    }
}

impl Verdict {
    fn parse(bytes: &[u8]) -> Self {
        let Some(([kind, head @ ..], payload)) = bytes.split_first_chunk::<17>() else {
            return if bytes.is_empty() { Self::Missing } else { Self::Garbled };
        };
        let (seconds, length) = head.split_at(8);
        let seconds = f64::from_le_bytes(seconds.try_into().expect("eight bytes"));
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        let arrived = payload.len() as u64;
        if arrived < length && matches!(kind, b'R' | b'F') {
            return Self::Missing;
        }
        if arrived > length {
            return Self::Garbled;
        }
        let read = match kind {
            b'R' if seconds.is_finite() => {
                serde_json::from_slice(payload).map(|value| Self::Result { value, seconds })
            }
            b'F' => serde_json::from_slice(payload).map(Self::Failure),
            _ => return Self::Garbled,
        };
        read.unwrap_or(Self::Garbled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![b'B', 42, 0, 0, 0, kind];
        bytes.extend(0.5_f64.to_le_bytes());
        bytes.extend((payload.len() as u64).to_le_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_whole_answer_is_read() {
        let read = Answer::parse(&answer(b'R', br#"{"a": [1, 2.5]}"#));
        assert_eq!(read.begun, Some(42));
        assert_eq!(read.verdict, Verdict::Result { value: json!({"a": [1, 2.5]}), seconds: 0.5 });
        let read = Answer::parse(&answer(b'F', br#"{"kind": "exit", "code": 3}"#));
        assert_eq!(read.verdict, Verdict::Failure(Failure::Exit { code: 3 }));
    }

    #[test]
    fn every_cut_answer_is_missing_or_garbled_and_never_a_result() {
        let whole = answer(b'R', b"[1,2,3]");
        for length in 0..whole.len() {
            let read = Answer::parse(&whole[..length]);
            assert!(matches!(read.verdict, Verdict::Missing | Verdict::Garbled), "{length}: {read:?}");
            assert_eq!(read.begun.is_some(), length >= 5);
        }
    }

    #[test]
    fn an_answer_with_foreign_bytes_is_garbled() {
        let whole = answer(b'R', b"1");
        for at in [0, 5, 14] {
            let mut mixed = whole.clone();
            mixed.splice(at..at, *b"hello");
            assert!(!matches!(Answer::parse(&mixed).verdict, Verdict::Result { .. }), "at {at}");
        }
        let mut longer = whole;
        longer.push(b' ');
        assert_eq!(Answer::parse(&longer).verdict, Verdict::Garbled);
    }

    #[test]
    fn notices_are_read_and_others_refused() {
        assert_eq!(Notice::parse(b"R"), Some(Notice::Ready));
        let mut packet = vec![b'E'];
        packet.extend(7_u64.to_le_bytes());
        packet.extend((-9_i32).to_le_bytes());
        assert_eq!(Notice::parse(&packet), Some(Notice::Ended { task: 7, end: End::Signalled(9) }));
        assert_eq!(Notice::parse(b"E"), None);
        assert_eq!(Notice::parse(b""), None);
    }
}
