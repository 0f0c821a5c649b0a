//! Questions that wait for an answer, as people see them.

use std::time::SystemTime;

use serde_json::{Map, Value};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, WaitId};
use stepwell_core::run::wait::{Question, WaitKind, WaitSpec};
use stepwell_engine::error::from_store;
use stepwell_store::{Page, Paged, Store, WaitFilter, WaitRow};

use crate::context::system_time;

/// A question that waits for its answer; [`Run::questions`](crate::Run::questions), [`Agent::inbox`](crate::Agent::inbox)
/// and [`Client::inbox`](crate::Client::inbox) return them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Asked {
    /// Its id: what an answer is given to.
    pub wait: WaitId,
    /// The run that asks.
    pub run: RunId,
    /// The agent or workflow that this is a run of.
    pub workflow: String,
    /// The tags of the run.
    pub metadata: Map<String, Value>,
    /// The state that asks.
    pub step: String,
    /// What is asked, of whom, what an answer must be, and what was wrong with the one before.
    pub question: Question,
    /// What stands in for an answer after the deadline.
    pub default: Option<Value>,
    /// Until when.
    pub deadline: Option<SystemTime>,
    /// Since when.
    pub asked_at: SystemTime,
}

impl Asked {
    fn read(row: WaitRow) -> Result<Self, ErrorObject> {
        let unreadable = |why: String| {
            let message = format!("question {} of run {} cannot be read: {why}", row.wait, row.run);
            ErrorObject::new(Code::PERSISTENCE_INTEGRITY_ERROR, message)
        };
        let spec: WaitSpec =
            serde_json::from_value(row.spec.clone()).map_err(|error| unreadable(error.to_string()))?;
        let WaitKind::Human(question) = spec.kind else {
            return Err(unreadable(format!("it is a {}", row.kind)));
        };
        Ok(Self {
            wait: row.wait,
            run: row.run,
            workflow: row.workflow,
            metadata: row.metadata,
            step: row.step.to_string(),
            question,
            default: spec.default.as_deref().cloned(),
            deadline: row.deadline.map(system_time),
            asked_at: system_time(row.opened_at),
        })
    }
}

/// Returns a page of the open questions that a filter lets through, oldest first.
pub(crate) async fn page_of(
    store: &dyn Store,
    filter: &WaitFilter,
    page: &Page,
) -> Result<Paged<Asked>, ErrorObject> {
    let WaitFilter { state, kind, .. } = WaitFilter::open_questions();
    let filter = WaitFilter { state, kind, ..filter.clone() };
    let found = store.waits(&filter, page).await.map_err(|error| from_store(&error))?;
    let items = found.items.into_iter().map(Asked::read).collect::<Result<_, _>>()?;
    Ok(Paged { items, next: found.next })
}

/// Returns all of them.
pub(crate) async fn all_of(store: &dyn Store, filter: &WaitFilter) -> Result<Vec<Asked>, ErrorObject> {
    const AT_ONCE: usize = 1_000;
    let (mut all, mut page) = (Vec::new(), Page::first(AT_ONCE));
    loop {
        let found = page_of(store, filter, &page).await?;
        all.extend(found.items);
        if found.next.is_none() {
            return Ok(all);
        }
        page.cursor = found.next;
    }
}
