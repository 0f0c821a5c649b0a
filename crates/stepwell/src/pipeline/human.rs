//! A question to a person: a step whose output is the answer.
//!
//! It is a function that waits, not a step of `human/v1`: that ends with the answer and leads nowhere, and what needs it
//! begins once in a run, while this one may stand in a loop or a map.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::run::view::RunScope;
use stepwell_core::workflow::definition::Step as Lowered;

use super::exit::Exit;
use super::lower::{Carrier, Lowering, Prompt, described};
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
    ask: Asking,
    sinks: Sinks,
}

enum Asking {
    About(AskAbout),
    /// Its prompt has references.
    Template(Box<Ask>),
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

    /// Asks what comes in: its text, or its JSON, is the prompt. Everything else is as that question has it.
    ///
    /// ```
    /// # use stepwell::{Ask, Context, Engine, Options, Registry};
    /// use stepwell::{Human, Pipeline};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let pipeline = Pipeline::new("mail").then(Human::show("approve", Ask::new(""))).build(&engine)?;
    /// let run = pipeline.start("Dear all").await?;
    /// run.rest().await?;
    /// assert_eq!(run.questions().await?[0].question.prompt, "Dear all");
    /// # Ok(())
    /// # }
    /// ```
    pub fn show(name: &str, ask: Ask) -> Self {
        let mut question = ask.to_json();
        question["prompt"] = Value::Null;
        let about = move |input: &Input, _: &Context| {
            let text = input.as_str().map_or_else(|| (**input).to_string(), str::to_owned);
            Ok(ask.clone().prompt(text))
        };
        Self::of(name, Some(question), Arc::new(about))
    }

    fn of(name: &str, question: Option<Value>, ask: AskAbout) -> Self {
        Self { name: name.to_owned(), question, ask: Asking::About(ask), sinks: Sinks::default() }
    }

    /// Asks a prompt with references, as workflow files have them: `${input.topic}` is of what the run was begun with, `${draft}`
    /// what the step of that name came to last. `$${` stands for `${`.
    ///
    /// ```
    /// # use stepwell::{Ask, Context, Engine, Options, Registry};
    /// use serde_json::{Value, json};
    /// use stepwell::{Human, Pipeline};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let pipeline = Pipeline::new("mail")
    ///     .step("draft", |_, input: Value| async move { Ok(format!("On {}", input["topic"])) })
    ///     .then(Human::template("approve", Ask::new("Send '${draft}' to ${input.to}?")))
    ///     .build(&engine)?;
    /// let run = pipeline.start(json!({ "topic": 7, "to": "Ada" })).await?;
    /// run.rest().await?;
    /// assert_eq!(run.questions().await?[0].question.prompt, "Send 'On 7' to Ada?");
    /// # Ok(())
    /// # }
    /// ```
    pub fn template(name: &str, ask: Ask) -> Self {
        let question = Some(ask.to_json());
        let (name, sinks) = (name.to_owned(), Sinks::default());
        Self { name, question, ask: Asking::Template(Box::new(ask)), sinks }
    }

    /// Keeps the answer in the context as well, as [`Step::sink_to`](super::Step::sink_to) does.
    pub fn sink_to(mut self, place: impl Into<String>) -> Self {
        self.sinks.sink_to = Some(place.into());
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn lower(self, to: &mut Lowering, site: &Site, exit: &Exit) {
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
        let function = match self.ask {
            Asking::About(ask) => asked(ask),
            Asking::Template(ask) => {
                what_is_resolved(to.engine(), to.prompt(&path, ask.to_json()["prompt"].clone()), *ask)
            }
        };
        to.add(site, step, &[exit.successor()], carried_out(function, self.sinks, exit.clone()));
    }
}

fn asked(ask: AskAbout) -> Function {
    Arc::new(move |cx, input| {
        let answer = ask(&input, &cx).map(|ask| cx.ask_human::<Value>(ask));
        Box::pin(async { Ok(Output::of_call(answer?.await?)) })
    })
}

/// Returns a function that asks a prompt whose references are resolved first.
fn what_is_resolved(engine: Carrier, prompt: Prompt, ask: Ask) -> Function {
    let asking = Arc::new((engine, prompt, ask));
    Arc::new(move |cx, _| {
        let asking = asking.clone();
        Box::pin(async move {
            let (engine, prompt, ask) = &*asking;
            let engine = engine.get().expect("only an engine calls it");
            let run = engine.inspect(cx.run_id()).await?;
            let template = prompt.get().expect("it was read when the pipeline was built");
            let resolved = template.resolve(&RunScope { run: &run, execution: None });
            let resolved = resolved.map_err(|missing| {
                ErrorObject::new(Code::TASK_PARAMETER_ERROR, missing.to_string())
                    .with("reference", missing.reference.as_str())
                    .with("available_keys", missing.available_keys.clone())
            })?;
            let text = resolved.as_str().map_or_else(|| resolved.to_string(), str::to_owned);
            Ok(Output::of_call(cx.ask_human::<Value>(ask.clone().prompt(text)).await?))
        })
    })
}

impl fmt::Debug for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Human({})", self.name)
    }
}
