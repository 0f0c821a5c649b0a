//! Walls around scripts and programs that the kernel keeps: where they may write, and what they may not ask of it.
//!
//! - Writing is confined by landlock to the roots of the step and a temporary directory of its own (`walls.rs`). So are
//!   signals, where the kernel can: nothing outside of the step can be sent one.
//! - System calls that change the machine or reach into other processes are refused by seccomp (`filter.rs`).
//! - No program gains rights by being executed (`no_new_privs`): neither of the two would hold otherwise.
//!
//! The walls stand around a process and all that it starts, and cannot be taken down from within. Reading, the network
//! and sockets of other programs stay what the user has. `docs/sandbox.md` says what follows from that.
//!
//! What stands in the parent of a fork is prepared there; what is done in its child are system calls (`enter.rs`).

mod enter;
mod filter;
mod walls;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Once;

use stepwell_core::error::{Code, ErrorObject};

pub(crate) use enter::{Entrance, Filter};
pub(crate) use walls::Walls;

/// Whether there are walls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// No. It is the user's own code, as in a shell.
    #[default]
    Off,
    /// Where the kernel can keep them.
    Auto,
    /// Yes, or nothing runs.
    Require,
}

impl Mode {
    /// The words for them.
    pub const WORDS: [&str; 3] = ["off", "auto", "require"];

    /// Returns its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Require => "require",
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            "require" => Ok(Self::Require),
            _ => Err(format!("'{word}' is none of {}", Self::WORDS.join(", "))),
        }
    }
}

/// What the kernel has for walls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// The version of landlock's interface; none if the kernel does not have it or it is switched off.
    pub landlock: Option<u32>,
    /// Whether there is a filter of system calls for this kernel and processor.
    pub seccomp: bool,
}

/// The first version of landlock that confines all writing: before it, truncating a file was not seen.
const LANDLOCK_NEEDED: u32 = 3;
/// The first version of landlock that confines signals.
const LANDLOCK_OF_SIGNALS: u32 = 6;

/// Asks the kernel what it has for walls.
pub fn support() -> Support {
    Support {
        landlock: enter::landlock_version(),
        seccomp: enter::has_seccomp() && filter::program().is_some(),
    }
}

impl Support {
    /// Returns what is missing, in words; none if walls can stand.
    pub fn missing(&self) -> Option<String> {
        let landlock = match self.landlock {
            None => Some("landlock is not there or not switched on (Linux 6.2 or later, `landlock` in the list `lsm=`)".into()),
            Some(old @ ..LANDLOCK_NEEDED) => {
                Some(format!("landlock is there in version {old} and needed in version {LANDLOCK_NEEDED} (Linux 6.2)"))
            }
            Some(_) => None,
        };
        let seccomp =
            (!self.seccomp).then(|| "there is no seccomp filter for this kernel and processor".to_owned());
        let missing: Vec<String> = landlock.into_iter().chain(seccomp).collect();
        (!missing.is_empty()).then(|| missing.join("; "))
    }
}

/// Says what the walls are, or what they lack.
impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(missing) = self.missing() {
            return write!(f, "no sandbox: {missing}");
        }
        let version = self.landlock.unwrap_or_default();
        let signals = if version < LANDLOCK_OF_SIGNALS { "writing" } else { "writing and signals" };
        write!(f, "{signals} confined by landlock (version {version}), system calls filtered by seccomp")
    }
}

/// Whether there are to be walls, and whether there can be.
#[derive(Clone, Debug)]
pub struct Sandbox {
    mode: Mode,
    support: Support,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new(Mode::Off)
    }
}

impl Sandbox {
    /// Returns walls as far as this kernel has them.
    pub fn new(mode: Mode) -> Self {
        Self::with_support(mode, support())
    }

    /// Returns walls as far as a kernel with that support has them.
    pub fn with_support(mode: Mode, support: Support) -> Self {
        Self { mode, support }
    }

    /// Returns whether there are to be walls.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns why steps will run without walls though some are wanted; none if they run as wanted.
    ///
    /// # Errors
    /// `PROVIDER_INITIALIZATION_FAILED` if walls are required and cannot be.
    pub fn shortfall(&self) -> Result<Option<String>, ErrorObject> {
        let missing = self.support.missing();
        match (self.mode, missing) {
            (Mode::Off, _) | (_, None) => Ok(None),
            (Mode::Auto, missing) => Ok(missing),
            (Mode::Require, Some(missing)) => {
                let message = format!("a sandbox is required, and this kernel has none: {missing}");
                Err(ErrorObject::new(Code::PROVIDER_INITIALIZATION_FAILED, message)
                    .with("reason", "sandbox")
                    .with_hint("`--sandbox auto` runs without where there is none; docs/sandbox.md says what it needs"))
            }
        }
    }

    /// Returns whether steps run within walls.
    ///
    /// # Errors
    /// As [`shortfall`](Self::shortfall).
    pub(crate) fn stands(&self) -> Result<bool, ErrorObject> {
        static TOLD: Once = Once::new();
        let shortfall = self.shortfall()?;
        if let Some(missing) = &shortfall {
            TOLD.call_once(|| tracing::warn!(%missing, "steps run without a sandbox"));
        }
        Ok(self.mode != Mode::Off && shortfall.is_none())
    }

    /// Adds to the error of a step that ran within walls what these are, if that may be why: `told` is what the system
    /// and the step said of it.
    pub(crate) fn explain(error: ErrorObject, roots: &[PathBuf], told: &[&str]) -> ErrorObject {
        let roots: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
        let was_refused = told.iter().any(|text| REFUSALS.iter().any(|refusal| text.contains(refusal)));
        let hint = format!(
            "if something was not permitted: the step ran in a sandbox, where it may write only in {} and in its own \
             TMPDIR, and some system calls are refused; docs/sandbox.md says more",
            roots.join(", ")
        );
        let error = error.with("sandbox", serde_json::json!({ "writable": roots }));
        if was_refused && error.hint.is_none() { error.with_hint(hint) } else { error }
    }
}

/// What is said where the walls refuse something: by most programs, and by Python.
const REFUSALS: [&str; 3] = ["Permission denied", "Operation not permitted", "PermissionError"];

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Support = Support { landlock: Some(7), seccomp: true };

    #[test]
    fn what_a_kernel_lacks_is_an_error_where_walls_are_required_and_told_where_they_are_wanted() {
        let lacking = [
            Support { landlock: None, ..WHOLE },
            Support { landlock: Some(2), ..WHOLE },
            Support { seccomp: false, ..WHOLE },
        ];
        for support in lacking {
            let shortfall = |mode| Sandbox::with_support(mode, support.clone()).shortfall();
            assert_eq!(shortfall(Mode::Off), Ok(None));
            assert!(shortfall(Mode::Auto).is_ok_and(|missing| missing.is_some()));
            let error = shortfall(Mode::Require).expect_err("required");
            assert_eq!((error.code, error.retryable), (Code::PROVIDER_INITIALIZATION_FAILED, false));
            assert!(support.to_string().starts_with("no sandbox: "));
        }
        for mode in [Mode::Off, Mode::Auto, Mode::Require] {
            assert_eq!(Sandbox::with_support(mode, WHOLE).shortfall(), Ok(None));
        }
        assert!(WHOLE.to_string().starts_with("writing and signals confined"));
        assert!(Support { landlock: Some(3), ..WHOLE }.to_string().starts_with("writing confined"));
    }

    #[test]
    fn modes_are_known_by_their_words() {
        let modes = Mode::WORDS.map(str::parse);
        assert_eq!(modes, [Ok(Mode::Off), Ok(Mode::Auto), Ok(Mode::Require)]);
        assert_eq!([Mode::Off, Mode::Auto, Mode::Require].map(Mode::as_str), Mode::WORDS);
        assert!("on".parse::<Mode>().is_err());
    }
}
