//! The terminal itself: whether there is one to draw on and to ask at, how large it is, and its mode while it is ours.
//!
//! While it is ours it echoes nothing and hands over each key, so that no letter falls into the picture; keys that send
//! signals (Ctrl-C, Ctrl-Z, Ctrl-\) stay with the system, where `stop.rs` and the shell hear them. That is why this is a
//! mode of its own, set with rustix, and not the raw mode of the usual libraries, which take those keys too and read on
//! a thread that cannot be stopped. Whatever ends the process but SIGKILL gives the mode back; after that the shell does.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, Once};

use rustix::process::{Signal, getpgrp, getpid, getppid, getsid, kill_process};
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcgetpgrp,
    tcgetwinsize, tcsetattr,
};

use super::frame::Size;

/// The terminal as it was before it was ours, as long as it is.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal of this process.
#[derive(Debug)]
pub(crate) struct Tty {
    keys: File,
}

/// Returns whether talk goes to a terminal that can be drawn on, and this process is the one in front of it.
pub(crate) fn can_draw() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    std::io::stderr().is_terminal() && !is_dumb && is_in_front()
}

/// Returns whether colour is wanted (<https://no-color.org>).
pub(crate) fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// Returns whether this process is not in the background of a shell. Who is may not draw over what the shell shows.
pub(crate) fn is_in_front() -> bool {
    tcgetpgrp(std::io::stderr()).is_ok_and(|front| front == getpgrp())
}

/// Returns how large the terminal is.
pub(crate) fn size() -> Size {
    let (columns, lines) = tcgetwinsize(std::io::stderr()).map_or((0, 0), |size| (size.ws_col, size.ws_row));
    let or = |known: u16, usual: usize| if known == 0 { usual } else { usize::from(known) };
    Size { columns: or(columns, 80), lines: or(lines, 24) }
}

/// Writes all of a text at once. Where the terminal is gone there is nobody to show it to.
pub(crate) fn write(text: &str) {
    if !text.is_empty() {
        let _unseen = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

impl Tty {
    /// Takes the terminal, if somebody is there to type: standard input is the terminal too.
    pub(crate) fn take() -> Option<Self> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        // Opened anew: what is set for this descriptor is not set for the shell's.
        let keys = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open("/dev/tty")
            .ok()?;
        let tty = Self { keys };
        tty.enter();
        give_back_on_panic();
        Some(tty)
    }

    /// Returns what keys are read from; reading never blocks.
    pub(crate) fn keys(&self) -> &File {
        &self.keys
    }

    /// Forgets what was typed before anybody asked.
    pub(crate) fn forget_typed(&self) {
        let _kept = tcflush(&self.keys, QueueSelector::IFlush);
    }

    fn enter(&self) {
        let mut before = BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Ok(mut mode) = tcgetattr(&self.keys) else { return };
        before.get_or_insert_with(|| mode.clone());
        mode.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        mode.special_codes[SpecialCodeIndex::VMIN] = 1;
        mode.special_codes[SpecialCodeIndex::VTIME] = 0;
        let _unchanged = tcsetattr(&self.keys, OptionalActions::Now, &mode);
    }

    /// Takes the terminal again, if it was given back.
    pub(crate) fn again(&self) {
        let is_ours = BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_some();
        if !is_ours {
            self.enter();
        }
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back and stops this process, as Ctrl-Z asks; returns when it is continued.
pub(crate) fn stop_until_continued() {
    give_back();
    let _running = kill_process(getpid(), Signal::STOP);
}

/// Returns whether there is a shell that could continue this process.
pub(crate) fn has_shell() -> bool {
    let session = |process| getsid(process).ok();
    session(getppid()).is_some_and(|parent| session(None) == Some(parent))
}

fn give_back() -> bool {
    let before = BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(before) = &before {
        let _unchanged = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
    }
    before.is_some()
}

/// A panic tells what it is on a line of its own, on a terminal as it was.
fn give_back_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if give_back() {
                write("\n");
            }
            told(panic);
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use pty_process::blocking::{Command, open};

    use super::*;

    #[test]
    fn a_panic_is_told_on_a_line_of_its_own_and_the_terminal_is_given_back() {
        let (mut pty, pts) = open().unwrap();
        let args = ["--exact", "live::tty::tests::panics_on_a_terminal", "--ignored", "--nocapture"];
        let mut child = Command::new(std::env::current_exe().unwrap()).args(args).spawn(pts).unwrap();
        let mut told = Vec::new();
        // Once nobody has the other side open, reading fails.
        let _ended = pty.read_to_end(&mut told);
        child.wait().unwrap();
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains("  > half a li\r\n\r\nthread "), "{told:?}");
        let mode = tcgetattr(&pty).unwrap().local_modes;
        assert!(mode.contains(LocalModes::ICANON | LocalModes::ECHO), "{mode:?}");
    }

    #[test]
    #[ignore = "it is started on a terminal by the test above"]
    fn panics_on_a_terminal() {
        let tty = Tty::take().expect("it runs on a terminal");
        assert!(
            !tcgetattr(tty.keys()).unwrap().local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
        );
        write("\n  > half a li");
        panic!("as it is to");
    }
}
