//! Requests to end a process that carries out work: an interrupt, a termination, a terminal that hangs up. The first lets
//! what is under way finish, one more ends it now.

use std::mem::MaybeUninit;
use std::ptr;

use futures_util::future::join_all;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::{Engine, Options};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output;

/// How a process was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Interrupt,
    Terminate,
    HangUp,
}

/// Listens for requests to end.
#[derive(Debug)]
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// None under `nohup`: the process is to outlive its terminal.
    hang_up: Option<Signal>,
}

impl Stop {
    /// From now on such a request is heard, and ends nothing by itself.
    pub(crate) fn listen() -> Result<Self, ErrorObject> {
        let hear = |kind| {
            signal(kind).map_err(|error| {
                ErrorObject::new(Code::INTERNAL_ERROR, format!("signals cannot be received: {error}"))
            })
        };
        let is_nohup = is_ignored(libc::SIGHUP);
        Ok(Self {
            interrupt: hear(SignalKind::interrupt())?,
            terminate: hear(SignalKind::terminate())?,
            hang_up: if is_nohup { None } else { Some(hear(SignalKind::hangup())?) },
        })
    }

    /// Waits for a request.
    pub(crate) async fn asked(&mut self) -> Asked {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::Terminate,
            _ = hang_up => Asked::HangUp,
        }
    }

    /// Shuts engines down; asked once more, they do not wait for what is under way.
    pub(crate) async fn shut_down(&mut self, engines: &[Engine]) {
        let shutdown = join_all(engines.iter().map(Engine::shutdown));
        tokio::pin!(shutdown);
        tokio::select! {
            _ = &mut shutdown => return,
            () = self.insisted() => {}
        }
        output::talk("ending now; what was under way is given back");
        engines.iter().for_each(Engine::abort);
        shutdown.await;
    }

    /// Waits for a request that insists. Both the system and the shell tell of a terminal that hung up, so a second
    /// hang-up says nothing new.
    async fn insisted(&mut self) {
        while self.asked().await == Asked::HangUp {}
    }
}

/// Returns what a request does to what is under way, if anything is, to be said after what happens to the process itself.
pub(crate) fn consequence(engines: &[Engine]) -> String {
    if !engines.iter().any(Engine::is_at_work) {
        return String::new();
    }
    let seconds = Options::default().cleanup_ms / 1_000;
    format!("; what is under way has {seconds} s to finish, once more ends it now")
}

#[expect(unsafe_code, reason = "the standard library does not tell what a signal does")]
fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call changes nothing and fills in what is there; all zero is valid too.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
