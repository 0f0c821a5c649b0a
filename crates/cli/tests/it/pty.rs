//! The command on a terminal: a pseudo-terminal whose screen is read as a person reads it.

use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};

use crate::sandbox::Sandbox;

pub(crate) struct Terminal {
    pty: Arc<Pty>,
    screen: Arc<Mutex<vt100::Parser>>,
    /// All that was written to it.
    raw: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    pub(crate) child: Child,
}

fn cells(count: u16) -> NonZero<u16> {
    count.try_into().unwrap()
}

impl Sandbox {
    /// Starts a command on a terminal of that many columns and 24 lines.
    pub(crate) fn on_terminal(&self, columns: u16, args: &[&str]) -> Terminal {
        self.program_on_terminal(columns, env!("CARGO_BIN_EXE_stepwell"), args)
    }

    /// Starts any program on a terminal, such as a shell.
    pub(crate) fn program_on_terminal(&self, columns: u16, program: &str, args: &[&str]) -> Terminal {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(24, columns)).unwrap();
        let command = Command::new(program)
            .args(args)
            .current_dir(self.path())
            .env_remove("STEPWELL_STORE")
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color");
        let child = command.spawn(pts).unwrap();
        let pty = Arc::new(pty);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(24), cells(columns), 0)));
        let raw = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let (pty, screen, raw) = (pty.clone(), screen.clone(), raw.clone());
            move || {
                let mut bytes = [0; 4_096];
                // Once nobody has the other side open, reading fails.
                while let Ok(count @ 1..) = (&*pty).read(&mut bytes) {
                    raw.lock().unwrap().extend_from_slice(&bytes[..count]);
                    screen.lock().unwrap().process(&bytes[..count]);
                }
            }
        });
        Terminal { pty, screen, raw, reader: Some(reader), child }
    }
}

impl Terminal {
    /// Returns the lines of the screen, without blanks at their ends and without empty ones at the end.
    pub(crate) fn lines(&self) -> Vec<String> {
        let screen = self.screen.lock().unwrap();
        let columns = screen.screen().size().1;
        let mut lines: Vec<String> =
            screen.screen().rows(0, columns.into()).map(|row| row.trim_end().to_owned()).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Returns all that was ever written to it.
    pub(crate) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.raw.lock().unwrap()).into_owned()
    }

    /// Waits until the screen shows that, for up to a minute.
    pub(crate) fn shows(&self, part: &str) -> String {
        self.until(part, |text| text.contains(part))
    }

    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let begin = Instant::now();
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(begin.elapsed() < Duration::from_mins(1), "never shown: {what}\n{text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn types(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&self, columns: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(cells(24), cells(columns));
        self.pty.resize(Size::new(24, columns)).unwrap();
    }

    /// Waits for the end and returns the exit code; all that was written has been read then.
    pub(crate) fn ends(&mut self) -> i32 {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        code
    }

    /// Asserts that the terminal is as a program found it: it echoes, the cursor is seen and stands at the beginning of a line.
    pub(crate) fn is_given_back(&self) {
        let mode = rustix::termios::tcgetattr(self.pty.as_fd()).unwrap();
        let wanted = rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO;
        assert!(mode.local_modes.contains(wanted), "{:?}", mode.local_modes);
        let screen = self.screen.lock().unwrap();
        assert!(!screen.screen().hide_cursor());
        assert_eq!(screen.screen().cursor_position().1, 0, "half a line:\n{}", screen.screen().contents());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended already is none to end.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
