//! The live view of a run on a terminal: what every step does, as one picture that is redrawn where it stands, and the
//! questions of the run, which are asked below it.
//!
//! Events go into `model.rs`, `frame.rs` makes lines of it for a width and a moment, `screen.rs` draws them; the three are pure
//! and tested as such. `view.rs` brings them together with the clock, the keys and the signals of the terminal.
//!
//! Why no library of progress bars or of widgets: what is drawn is a list of lines, and a prompt below it that is part of the
//! picture. A bar per line cannot leave out what does not fit, a screen of widgets wants all of the terminal, and those that
//! read keys take signals away from the system and read on a thread that nothing ends. So lines are drawn here (three
//! escape sequences), rustix sets the terminal's mode, vte takes its keys apart and unicode-width knows how wide a
//! letter is: four small crates, a second to build.

pub(crate) mod asking;
pub(crate) mod editor;
pub(crate) mod form;
pub(crate) mod frame;
pub(crate) mod keys;
pub(crate) mod line;
pub(crate) mod model;
pub(crate) mod screen;
pub(crate) mod table;
pub(crate) mod tty;
pub(crate) mod view;
