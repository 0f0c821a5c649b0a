//! Keys, from what a terminal sends for them.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use super::tty::Tty;

/// A key that does something at a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Letter(char),
    Enter,
    Left,
    Right,
    Home,
    End,
    Backspace,
    Delete,
    /// Ctrl-U
    DropLine,
    /// Ctrl-W
    DropWord,
    /// Esc or Ctrl-D
    Leave,
}

/// Reads the keys of a terminal.
#[derive(Debug)]
pub(crate) struct Keys {
    from: Option<AsyncFd<File>>,
    decoder: Decoder,
}

impl Keys {
    /// Reads the keys of that terminal; of none, none ever come.
    pub(crate) fn of(tty: Option<&Tty>) -> Self {
        let from = tty.and_then(|tty| registered(tty.keys().try_clone().ok()?));
        Self { from, decoder: Decoder::default() }
    }

    /// Waits for keys. What is not waited for any longer is not lost.
    pub(crate) async fn next(&mut self) -> Vec<Key> {
        /// So much later than its beginning no part of a key comes.
        const TOGETHER: Duration = Duration::from_millis(50);
        let Some(from) = &self.from else { return std::future::pending().await };
        loop {
            let read = async {
                let mut bytes = [0; 1_024];
                loop {
                    let mut ready = from.readable().await?;
                    if let Ok(read) = ready.try_io(|file| file.get_ref().read(&mut bytes)) {
                        return read.map(|count| bytes[..count].to_vec());
                    }
                }
            };
            let keys = if self.decoder.is_escaped() {
                match tokio::time::timeout(TOGETHER, read).await {
                    Ok(Ok(bytes)) => self.decoder.keys(&bytes),
                    Ok(Err(_)) => return std::future::pending().await,
                    Err(_) => self.decoder.lone_escape(),
                }
            } else {
                match read.await {
                    // A terminal that is gone says no more; the system tells the process otherwise.
                    Ok(bytes) if bytes.is_empty() => return std::future::pending().await,
                    Err(_) => return std::future::pending().await,
                    Ok(bytes) => self.decoder.keys(&bytes),
                }
            };
            if !keys.is_empty() {
                return keys;
            }
        }
    }
}

#[expect(unsafe_code, reason = "only its caller knows that a descriptor stays what it is")]
fn registered(file: File) -> Option<AsyncFd<File>> {
    // SAFETY: a `File` owns its descriptor, and nobody takes it out of there.
    unsafe { AsyncFd::register(file) }.ok()
}

/// Turns what a terminal sends into keys; a sequence that means nothing here is none.
#[derive(Default)]
struct Decoder {
    parser: vte::Parser,
    escaped: bool,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("escaped", &self.escaped).finish_non_exhaustive()
    }
}

impl Decoder {
    fn keys(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut found = Found(Vec::new());
        self.parser.advance(&mut found, bytes);
        self.escaped = bytes.last() == Some(&0x1b);
        found.0
    }

    /// Returns whether the last that came was the beginning of a sequence, or the key Esc.
    fn is_escaped(&self) -> bool {
        self.escaped
    }

    fn lone_escape(&mut self) -> Vec<Key> {
        *self = Self::default();
        vec![Key::Leave]
    }
}

struct Found(Vec<Key>);

impl vte::Perform for Found {
    fn print(&mut self, c: char) {
        self.0.push(if c == '\u{7f}' { Key::Backspace } else { Key::Letter(c) });
    }

    fn execute(&mut self, byte: u8) {
        self.0.extend(match byte {
            b'\r' | b'\n' => Some(Key::Enter),
            b'\t' => Some(Key::Letter(' ')),
            0x01 => Some(Key::Home),
            0x02 => Some(Key::Left),
            0x04 => Some(Key::Leave),
            0x05 => Some(Key::End),
            0x06 => Some(Key::Right),
            0x08 | 0x7f => Some(Key::Backspace),
            0x15 => Some(Key::DropLine),
            0x17 => Some(Key::DropWord),
            _ => None,
        });
    }

    fn csi_dispatch(&mut self, params: &vte::Params, _: &[u8], _: bool, action: char) {
        let first = params.iter().next().and_then(|param| param.first()).copied();
        self.0.extend(match (action, first) {
            ('C', _) => Some(Key::Right),
            ('D', _) => Some(Key::Left),
            ('H', _) | ('~', Some(1 | 7)) => Some(Key::Home),
            ('F', _) | ('~', Some(4 | 8)) => Some(Key::End),
            ('~', Some(3)) => Some(Key::Delete),
            _ => None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_what_a_terminal_sends() {
        let mut decoder = Decoder::default();
        assert_eq!(
            decoder.keys("aä\u{7f}\r".as_bytes()),
            [Key::Letter('a'), Key::Letter('ä'), Key::Backspace, Key::Enter]
        );
        assert_eq!(
            decoder.keys(b"\x1b[D\x1b[3~\x1b[1;5C\x15\x17\x04"),
            [Key::Left, Key::Delete, Key::Right, Key::DropLine, Key::DropWord, Key::Leave]
        );
        assert_eq!(decoder.keys(b"\x1b[200~x\x1b[201~\x1b]0;title\x07\x00"), [Key::Letter('x')]);
    }

    #[test]
    fn a_key_that_comes_in_parts_is_one_and_a_lone_escape_is_one_too() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.keys(b"\x1b"), []);
        assert!(decoder.is_escaped());
        assert_eq!(decoder.keys(b"[C"), [Key::Right]);
        assert_eq!(decoder.keys(b"\x1b"), []);
        assert_eq!(decoder.lone_escape(), [Key::Leave]);
        assert_eq!(decoder.keys(b"[C"), [Key::Letter('['), Key::Letter('C')]);
        assert_eq!(decoder.keys(&"é".as_bytes()[..1]), []);
        assert_eq!(decoder.keys(&"é".as_bytes()[1..]), [Key::Letter('é')]);
    }
}
