//! A worker process of the simulation: an engine behind a faulty store of its own.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use stepwell_core::ids::Timestamp;
use stepwell_engine::testing::SimClock;
use stepwell_engine::{Clock, Engine, Options, Registry};
use stepwell_store::{Faults, FaultyStore, MemoryStore, SessionRef};

use super::actor::Actor;
use super::dice::Dice;
use super::ledger::{Death, Ledger};
use super::workflows::PROTOCOL;
use crate::hooked::{HookedStore, Hooks};

/// What all processes have in common.
pub(super) struct Common {
    pub(super) memory: Arc<MemoryStore>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) clock: Arc<SimClock>,
}

/// One process.
pub(super) struct Process {
    pub(super) number: usize,
    pub(super) store: FaultyStore,
    pub(super) engine: Engine,
    sessions: Arc<Sessions>,
    pub(super) stands: bool,
    pub(super) is_judged: bool,
}

/// The sessions that a process opened; of some it does not know, since the store's answer was lost.
#[derive(Debug)]
struct Sessions {
    process: usize,
    ledger: Arc<Ledger>,
    opened: Mutex<Vec<SessionRef>>,
}

impl Hooks for Arc<Sessions> {
    fn opened_session(&self, session: SessionRef) {
        self.opened.lock().expect("no panic happens under this lock").push(session);
        self.ledger.book().sessions.insert(session.id, self.process);
    }
}

/// The clock that all share, a little off, with randomness of the process's own.
struct ProcessClock {
    shared: Arc<SimClock>,
    ahead_ms: u64,
    dice: Mutex<Dice>,
}

#[async_trait]
impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        self.shared.now().plus_ms(self.ahead_ms)
    }

    async fn sleep_until(&self, at: Timestamp) {
        self.shared.sleep_until(Timestamp(at.0 - 1_000 * self.ahead_ms as i64)).await;
    }

    fn random(&self) -> u64 {
        self.dice.lock().expect("no panic happens under this lock").next()
    }
}

impl Process {
    /// Starts a process; its store may refuse it some times.
    pub(super) async fn start(common: &Common, number: usize, dice: &mut Dice, faults: Faults) -> Self {
        let sessions =
            Arc::new(Sessions { process: number, ledger: common.ledger.clone(), opened: Mutex::default() });
        let below = HookedStore { inner: common.memory.clone(), hooks: sessions.clone() };
        let store = FaultyStore::new(Arc::new(below), faults);
        let actor = Arc::new(Actor { process: number, store: store.clone(), ledger: common.ledger.clone() });
        let registry = Registry::default().provide(PROTOCOL, actor.clone()).functions(actor);
        let clock = Arc::new(ProcessClock {
            shared: common.clock.clone(),
            ahead_ms: dice.between(0, 50).into(),
            dice: Mutex::new(Dice::new(dice.next())),
        });
        let cache_bytes = if dice.chance(30) { 16 << 10 } else { 1 << 20 };
        let options = Options {
            slots: dice.between(1, 6) as usize,
            cache_bytes,
            cleanup_ms: 1_000,
            label: format!("process {number}"),
            ..Options::default()
        };
        let engine = loop {
            let opened = Engine::open_with_clock(
                Arc::new(store.clone()),
                registry.clone(),
                options.clone(),
                clock.clone(),
            );
            if let Ok(engine) = opened.await {
                break engine;
            }
        };
        Self { number, store, engine, sessions, stands: false, is_judged: false }
    }

    /// Returns the sessions it opened, of which it may not know all.
    pub(super) fn sessions(&self) -> Vec<u64> {
        let opened = self.sessions.opened.lock().expect("no panic happens under this lock");
        opened.iter().map(|session| session.id).collect()
    }

    pub(super) fn stop(&mut self) {
        self.stands = true;
        self.store.stop();
    }

    pub(super) fn go_on(&mut self) {
        self.stands = false;
        self.store.go_on();
    }

    /// Judges its sessions dead.
    pub(super) async fn judge(&mut self, common: &Common) {
        self.is_judged = true;
        let ends = super::world::ends(&common.memory).await;
        for session in &*self.sessions.opened.lock().expect("no panic happens under this lock") {
            common.ledger.book().deaths.push(Death { session: session.id, ends: ends.clone() });
            common.memory.kill_session(*session);
        }
    }

    /// Ends it without a goodbye.
    pub(super) async fn kill(mut self, common: &Common) {
        self.stop();
        self.judge(common).await;
    }
}
