//! The open questions of the child runs of a run, at any depth, for who asks once or follows the run. They stand in
//! journals of their own, so the store is asked for them: once for all children, and only if the run has any.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{RunId, WaitId};
use stepwell_core::run::event::Event;
use stepwell_core::run::wait::{WaitKind, WaitSpec};
use stepwell_engine::Engine;
use stepwell_store::{Page, Store, WaitFilter, WaitRow, WaitState};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::steps;

/// The store is asked at most so often, and at least so often.
const CALM: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_secs(1);

/// So many questions are known at once; the others come when these are answered.
const MOST: usize = 1_000;

/// A question of a child run.
#[derive(Clone, Debug)]
pub(crate) struct ChildQuestion {
    pub(crate) run: RunId,
    pub(crate) wait: WaitId,
    /// Who asks, as people read it.
    pub(crate) name: String,
    pub(crate) spec: WaitSpec,
}

/// What has become of the questions of child runs.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) opened: Vec<ChildQuestion>,
    /// Those that are open no longer, with who asked, and how each stands now.
    pub(crate) closed: Vec<(ChildQuestion, WaitRow)>,
}

/// Watches the questions of the child runs of one run.
#[derive(Debug)]
pub(crate) struct Children {
    store: Arc<dyn Store>,
    run: RunId,
    /// The run has started children.
    has_any: bool,
    open: HashMap<WaitId, ChildQuestion>,
    changes: watch::Receiver<u64>,
    is_stale: bool,
    looked_at: Instant,
}

impl Children {
    pub(crate) fn of(engine: &Engine, run: &RunId) -> Self {
        Self {
            store: engine.store().clone(),
            run: run.clone(),
            has_any: false,
            open: HashMap::new(),
            changes: engine.store().changes(),
            is_stale: false,
            looked_at: Instant::now(),
        }
    }

    /// Takes note of what the run waits for.
    pub(crate) fn waits_for(&mut self, spec: &WaitSpec) {
        if matches!(spec.kind, WaitKind::Child(_)) {
            (self.has_any, self.is_stale) = (true, true);
        }
    }

    /// Takes note of an event of the run.
    pub(crate) fn note(&mut self, event: &Event) {
        if let Event::WaitOpened { spec, .. } = event {
            self.waits_for(spec);
        }
    }

    /// Waits for news. Whoever stops waiting misses nothing.
    ///
    /// # Errors
    /// The store.
    pub(crate) async fn next(&mut self) -> Result<News, ErrorObject> {
        if !self.has_any {
            std::future::pending::<()>().await;
        }
        loop {
            while !self.is_stale {
                tokio::select! {
                    _ = self.changes.changed() => self.is_stale = true,
                    () = tokio::time::sleep_until(self.looked_at + POLL) => self.is_stale = true,
                }
            }
            tokio::time::sleep_until(self.looked_at + CALM).await;
            let news = self.look().await.map_err(|error| stepwell_engine::error::from_store(&error))?;
            if !news.opened.is_empty() || !news.closed.is_empty() {
                return Ok(news);
            }
        }
    }

    async fn look(&mut self) -> Result<News, stepwell_store::Error> {
        let filter = WaitFilter {
            state: Some(WaitState::Open),
            kind: Some("human".into()),
            root: Some(self.run.clone()),
            ..WaitFilter::default()
        };
        let found = self.store.waits(&filter, &Page::first(MOST)).await?.items;
        let mut now: HashMap<WaitId, ChildQuestion> = HashMap::new();
        let mut news = News::default();
        for row in found.iter().filter(|row| row.run != self.run) {
            let Some(question) = question(row) else { continue };
            if !self.open.contains_key(&row.wait) {
                news.opened.push(question.clone());
            }
            now.insert(row.wait.clone(), question);
        }
        for (wait, question) in self.open.iter().filter(|(wait, _)| !now.contains_key(*wait)) {
            news.closed.push((question.clone(), self.store.wait(wait).await?));
        }
        // All or nothing, since whoever waits for it may stop in between.
        self.open = now;
        (self.is_stale, self.looked_at) = (false, Instant::now());
        Ok(news)
    }
}

/// Returns the open questions of a run and of its child runs, at any depth, oldest first.
///
/// # Errors
/// The store.
pub(crate) async fn open_questions(
    store: &dyn Store,
    run: &RunId,
) -> Result<Vec<WaitRow>, stepwell_store::Error> {
    let root = store.run(run).await?.root;
    let filter = WaitFilter { root: Some(root.clone()), ..WaitFilter::open_questions() };
    let found = store.waits(&filter, &Page::first(MOST)).await?.items;
    if *run == root {
        return Ok(found);
    }
    let mut below = Vec::new();
    for row in found {
        if is_within(store, &row.run, run).await? {
            below.push(row);
        }
    }
    Ok(below)
}

/// Returns whether a run is the other one, or was started below it.
async fn is_within(store: &dyn Store, run: &RunId, other: &RunId) -> Result<bool, stepwell_store::Error> {
    let mut at = Some(run.clone());
    while let Some(run) = at {
        if run == *other {
            return Ok(true);
        }
        at = store.run(&run).await?.parent;
    }
    Ok(false)
}

fn question(row: &WaitRow) -> Option<ChildQuestion> {
    Some(ChildQuestion {
        run: row.run.clone(),
        wait: row.wait.clone(),
        name: format!("{} of child run {}", steps::name(row.step.as_str(), row.ordinal), row.run),
        spec: serde_json::from_value(row.spec.clone()).ok()?,
    })
}
