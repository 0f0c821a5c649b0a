//! The people's side of a store: what runs there, what it asks, and how it is moved.
//!
//! A client carries nothing out and needs no function of any agent. It decides nothing either: what it does is what the
//! engine lets everybody do, and a worker that has the store open goes on from there.

use std::sync::Arc;

use serde::Serialize;
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{RunId, WaitId};
use stepwell_engine::error::from_store;
use stepwell_engine::{Engine, Leases, Options, Registry};
use stepwell_store::{Page, Paged, RunFilter, Store, WaitFilter};

use crate::inbox::{self, Asked};
use crate::run::{Resuming, Run, RunSummary, answer, is_left, open_questions, told};

/// The people's side of a store: lists runs and questions, answers, and steers runs that others carry out.
///
/// ```
/// # use stepwell::{Agent, Ask, Context, Engine, Next, Options, Registry};
/// use serde_json::json;
/// use stepwell::{Client, Page, RunFilter, RunStatus, WaitFilter};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store.clone(), Registry::default(), Options::default()).await?;
/// # let agent = Agent::new("campaign")
/// #     .state("approve", |cx: Context| async move {
/// #         cx.set("approved", &cx.ask_human::<bool>(Ask::new("Shall we?")).await?)?;
/// #         Ok(Next::done())
/// #     })
/// #     .build(&engine)?;
/// # let carried = agent.start(()).await?;
/// # carried.rest().await?;
/// // In a program of its own: Client::open("sqlite://campaigns.db").await?
/// let client = Client::over(store).await?;
///
/// for asked in client.inbox(&WaitFilter::default(), &Page::first(50)).await?.items {
///     println!("{} of {}: {}", asked.step, asked.run, asked.question.prompt);
///     client.answer(&asked.wait, true, Some("anna")).await?;
/// }
/// # carried.wait().await?;
/// let completed = RunFilter { status: vec![RunStatus::Completed], ..RunFilter::default() };
/// for listed in client.runs(&completed, &Page::first(50)).await?.items {
///     let result = client.run(listed.run_id).await?.wait().await?;
///     assert_eq!(result.get("approved")?, Some(true));
/// }
/// client.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    engine: Engine,
    /// It is closed with the client.
    owns_engine: bool,
    owns_store: bool,
}

impl Client {
    /// Opens a client over the store that a URL names, which is made if it is a file that is not there.
    ///
    /// # Errors
    /// The URL names no store, or the store cannot be opened.
    pub async fn open(url: &str) -> Result<Self, ErrorObject> {
        let store = stepwell_store::open(url).await.map_err(|error| from_store(&error))?;
        Ok(Self { owns_store: true, ..Self::over(store).await? })
    }

    /// Opens a client over a store that is open.
    ///
    /// # Errors
    /// The store failed.
    pub async fn over(store: Arc<dyn Store>) -> Result<Self, ErrorObject> {
        let options = Options { leases: Leases::None, ..Options::default() };
        let engine = Engine::open(store, Registry::default(), options).await?;
        Ok(Self { engine, owns_engine: true, owns_store: false })
    }

    /// Returns a client over an engine of the program itself, which goes on when the client is closed.
    pub fn of(engine: &Engine) -> Self {
        Self { engine: engine.clone(), owns_engine: false, owns_store: false }
    }

    /// Lists runs, newest first. The tags of a run are matched by what they contain.
    ///
    /// # Errors
    /// The cursor of the page is none, or the store failed.
    pub async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Paged<RunSummary>, ErrorObject> {
        let found = self.engine.store().runs(filter, page).await.map_err(|error| from_store(&error))?;
        Ok(Paged { items: found.items.into_iter().map(RunSummary::from).collect(), next: found.next })
    }

    /// Lists so many runs after so many others, newest first; no limit: all. Runs that are added meanwhile move the others;
    /// by the cursor of a [`Page`] they do not.
    ///
    /// # Errors
    /// The store failed.
    pub async fn runs_from(
        &self,
        filter: &RunFilter,
        offset: usize,
        limit: Option<usize>,
    ) -> Result<Vec<RunSummary>, ErrorObject> {
        const AT_ONCE: usize = 1_000;
        let end = limit.map_or(usize::MAX, |limit| offset.saturating_add(limit));
        let (mut seen, mut cursor, mut listed) = (0, None, Vec::new());
        while seen < end {
            let page = Page { limit: AT_ONCE.min(end - seen), cursor };
            let found = self.runs(filter, &page).await?;
            let before = seen;
            seen += found.items.len();
            listed.extend(found.items.into_iter().skip(offset.saturating_sub(before)));
            match found.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        Ok(listed)
    }

    /// Returns a run as it is listed.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND` if there is no such run; or the store failed.
    pub async fn summary(&self, run_id: impl Into<RunId>) -> Result<RunSummary, ErrorObject> {
        let row = self.engine.store().run(&run_id.into()).await;
        row.map(RunSummary::from).map_err(|error| from_store(&error))
    }

    /// Returns what a run asks people, and what runs below it do that it waits for, oldest first.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND` if there is no such run; or the store failed.
    pub async fn questions(&self, run_id: impl Into<RunId>) -> Result<Vec<Asked>, ErrorObject> {
        let row = self.engine.store().run(&run_id.into()).await.map_err(|error| from_store(&error))?;
        open_questions(&self.engine, &row).await
    }

    /// Lets a run go on that rests: its question is answered, its pause lifted, or what failed is tried again. Durable when
    /// this returns. The run of an agent whose functions nobody has [goes on](Self::is_left) when a worker comes that does.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND` if there is no such run; `WORKFLOW_INVALID_STATE` with `data.reason`: `not_resumable`, `wait_closed`,
    /// `wait_ambiguous` (with `data.wait_ids`) or `no_open_wait`; `DEFINITION_MISMATCH` if it is of another workflow than
    /// expected; `HANDLER_UNAVAILABLE` if this client is one [of](Self::of) an engine that carries things out, and nobody can
    /// carry out the run, which is none of an agent; `ANSWER_INVALID` if the answer does not fit; or the store failed. Nothing has happened then.
    ///
    /// ```
    /// # use stepwell::{Context, Engine, Human, Ask, Options, Pipeline, Registry};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let mail = Pipeline::new("mail").then(Human::ask("approve", Ask::new("Send it?"))).build(&engine)?;
    /// mail.start(()).run_id("mail-1").await?.rest().await?;
    ///
    /// let client = stepwell::Client::of(&engine);
    /// let run = client.resume("mail-1").input(true).answered_by("anna").await?;
    /// assert_eq!(run.wait().await?.output::<bool>()?, true);
    ///
    /// let refused = client.resume("mail-1").input(true).await.unwrap_err();
    /// assert_eq!(refused.data["reason"], "not_resumable");
    /// # engine.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume(&self, run_id: impl Into<RunId>) -> Resuming<'_> {
        Resuming::new(&self.engine, run_id.into())
    }

    /// Returns whether a run that is not over waits for somebody who has its functions: it is of an agent, the engine of this client
    /// does not carry them out, and no process is alive that carried a step of it before. Of a worker that never did, nobody knows.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND` if there is no such run; or the store failed.
    pub async fn is_left(&self, run_id: impl Into<RunId>) -> Result<bool, ErrorObject> {
        is_left(&self.engine, &run_id.into()).await
    }

    /// Tries again what failed in a run that failed, as [`Client::resume`] does, and refuses every other run.
    ///
    /// # Errors
    /// As [`Client::resume`].
    pub fn retry(&self, run_id: impl Into<RunId>) -> Resuming<'_> {
        self.resume(run_id).only_failed()
    }

    /// Ends a run; durable when this returns. A second time changes nothing.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND` if there is no such run; `WORKFLOW_INVALID_STATE` with `data.reason` `not_resumable` if it has completed
    /// or failed; or the store failed.
    pub async fn cancel(&self, run_id: impl Into<RunId>, reason: Option<&str>) -> Result<(), ErrorObject> {
        let row = self.engine.store().run(&run_id.into()).await.map_err(|error| from_store(&error))?;
        let cancelled = self.engine.cancel(&row.run, reason.map(str::to_owned)).await;
        cancelled.map_err(|error| told(error, &row))?;
        if *self.engine.leases() == Leases::None {
            // Its child runs end with it, also when nobody carries them.
            self.engine.deliver().await?;
        }
        Ok(())
    }

    /// Returns a run, to be looked at, waited for and steered.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND` if there is no such run; or the store failed.
    pub async fn run(&self, run_id: impl Into<RunId>) -> Result<Run, ErrorObject> {
        let id = run_id.into();
        self.engine.store().run(&id).await.map_err(|error| from_store(&error))?;
        Ok(Run::of(self.engine.clone(), id))
    }

    /// Lists the open questions of all runs, oldest first. Whatever the filter says about it, only questions to people that
    /// are open are listed.
    ///
    /// # Errors
    /// The cursor of the page is none, or the store failed.
    pub async fn inbox(&self, filter: &WaitFilter, page: &Page) -> Result<Paged<Asked>, ErrorObject> {
        inbox::page_of(&**self.engine.store(), filter, page).await
    }

    /// Answers a question, in somebody's name if one is given; durable when this returns. Of several answers one is taken.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND` if there is no such question; `ANSWER_INVALID` if the answer does not fit, and the question stays
    /// open; `WORKFLOW_INVALID_STATE` if it was answered, its time is over, or its run has ended; or the store failed.
    pub async fn answer(
        &self,
        wait: &WaitId,
        answer_given: impl Serialize,
        by: Option<&str>,
    ) -> Result<(), ErrorObject> {
        answer(&self.engine, wait, &answer_given, by).await
    }

    /// Closes the client, and the store if it was opened with it.
    ///
    /// # Errors
    /// The store failed.
    pub async fn close(&self) -> Result<(), ErrorObject> {
        if self.owns_engine {
            self.engine.shutdown().await;
        }
        if self.owns_store {
            self.engine.store().close().await.map_err(|error| from_store(&error))?;
        }
        Ok(())
    }
}
