//! A question to a person: a step whose output is the answer.
//!
//! It is a function that waits, not a step of `human/v1`: that ends with the answer and leads nowhere, and what needs it
//! begins once in a run, while this one may stand in a loop or a map.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stepwell_core::workflow::definition::Step as Lowered;

use super::exit::Exit;
use super::lower::{Lowering, described};
use super::sinks::Sinks;
use super::site::Site;
use super::stage::{Function, Input, Output};
use super::step::{carried_out, hands_on};
use crate::context::{Ask, Context};
use crate::error::StepError;

/// A question to a person. The run waits for the answer, however long, and holds nothing meanwhile; the answer is the output.
///
/// ```
/// # use stepwell::{Context, Engine, Options, Registry};
/// use serde_json::json;
/// use stepwell::{Ask, Human, Pipeline, Step};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
/// let approve = Human::ask_about("approve", |draft: &String, _| {
///     Ok(Ask::new(format!("Send this? {draft}")).schema(json!({ "type": "boolean" })).assignee("anna"))
/// });
/// let pipeline = Pipeline::new("mail")
///     .then(approve)
///     .step("send", |_, sure: bool| async move { Ok(if sure { "sent" } else { "kept" }) })
///     .build(&engine)?;
///
/// let run = pipeline.start("Dear all").await?;
/// run.rest().await?; // until it waits, or is over
/// let asked = run.questions().await?.remove(0);
/// assert_eq!(asked.question.prompt, "Send this? Dear all");
/// run.answer(&asked.wait, true).await?;
/// assert_eq!(run.wait().await?.output::<String>()?, "sent");
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Human {
    name: String,
    /// What is asked whatever comes in; part of the definition.
    question: Option<Value>,
    ask: AskAbout,
    sinks: Sinks,
}

type AskAbout = Arc<dyn Fn(&Input, &Context) -> Result<Ask, StepError> + Send + Sync>;

impl Human {
    /// Asks this, whatever comes in.
    pub fn ask(name: &str, ask: Ask) -> Self {
        let question = Some(ask.to_json());
        Self::of(name, question, Arc::new(move |_, _| Ok(ask.clone())))
    }

    /// Asks what this returns, once: while the question is open it is not asked anew.
    pub fn ask_about<In, F>(name: &str, ask: F) -> Self
    where
        In: DeserializeOwned,
        F: Fn(&In, &Context) -> Result<Ask, StepError> + Send + Sync + 'static,
    {
        Self::of(name, None, Arc::new(move |input, cx| ask(&input.read()?, cx)))
    }

    fn of(name: &str, question: Option<Value>, ask: AskAbout) -> Self {
        Self { name: name.to_owned(), question, ask, sinks: Sinks::default() }
    }

    /// Keeps the answer in the context as well, as [`Step::sink_to`](super::Step::sink_to) does.
    pub fn sink_to(mut self, place: impl Into<String>) -> Self {
        self.sinks.sink_to = Some(place.into());
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn lower(self, to: &mut Lowering<'_>, site: &Site, exit: &Exit) {
        let path = site.path(&self.name);
        let mut what = self.sinks.to_json("human");
        what["question"] = json!(self.question);
        let metadata = described(what);
        let step = Lowered {
            metadata,
            on_failure: site.on_failure().clone(),
            hands_on: hands_on(site, &self.sinks, exit),
            ..Lowered::function(&path)
        };
        to.add(site, step, &[exit.successor()], carried_out(asked(self.ask), self.sinks, exit.clone()));
    }
}

fn asked(ask: AskAbout) -> Function {
    Arc::new(move |cx, input| {
        let answer = ask(&input, &cx).map(|ask| cx.ask_human::<Value>(ask));
        Box::pin(async { Ok(Output::of_call(answer?.await?)) })
    })
}

impl fmt::Debug for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Human({})", self.name)
    }
}
