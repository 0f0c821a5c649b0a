//! Questions to people: as states ask them, and as they wait for their answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stepwell_core::ids::Timestamp;
use stepwell_core::run::event::Payload;
use stepwell_core::run::wait::{Question, Rejected, Then, WaitKind, WaitSpec};
use stepwell_engine::forms::Form;

use super::check::Check;
use crate::error::StepError;
use crate::json::to_json;
use crate::millis;

/// A question to a person, for [`Context::ask_human`](super::Context::ask_human).
///
/// ```
/// use std::time::{Duration, SystemTime, UNIX_EPOCH};
/// use serde_json::json;
/// use stepwell::Ask;
///
/// let approval = Ask::new("20 % off?")
///     .schema(json!({
///         "type": "object",
///         "properties": { "approved": { "type": "boolean" }, "reason": { "type": "string" } },
///         "required": ["approved"],
///     }))
///     .assignee("anna")
///     .deadline(Duration::from_hours(24))
///     .default_answer(&json!({ "approved": false }))?;
/// let choice = Ask::new("Which one?").options(["red", "blue"])?;
/// # let _ = (approval, choice);
/// # Ok::<(), stepwell::StepError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Ask {
    question: Question,
    deadline: Option<Duration>,
    until: Option<Timestamp>,
    default: Option<Value>,
    pub(super) name: Option<String>,
    pub(super) check: Option<Check>,
}

impl Ask {
    /// Asks this. Any JSON is an answer, as long as nothing else is said: one of another type than the state reads is rejected when
    /// it runs, and it asks again. A [schema](Ask::schema) or [options](Ask::options) refuse such an answer at once, whoever
    /// answers is told, and the question stays open.
    pub fn new(prompt: impl Into<String>) -> Self {
        let question = Question { prompt: prompt.into(), ..Question::default() };
        Self { question, deadline: None, until: None, default: None, name: None, check: None }
    }

    /// Asks this instead.
    pub fn prompt(mut self, prompt: impl Into<String>) -> Self {
        self.question.prompt = prompt.into();
        self
    }

    /// Takes only answers that fit this JSON Schema. The terminal makes a form of it.
    pub fn schema(mut self, schema: Value) -> Self {
        self.question.schema = Some(schema);
        self
    }

    /// Takes only answers that this type can be read from: its JSON Schema is the form. Needs the feature `schemars`.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry};
    /// # use serde_json::json;
    /// use schemars::JsonSchema;
    /// use serde::{Deserialize, Serialize};
    /// use stepwell::Ask;
    ///
    /// #[derive(Serialize, Deserialize, JsonSchema)]
    /// struct Approval {
    ///     approved: bool,
    ///     /// At most so much.
    ///     budget: Option<u32>,
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let agent = Agent::new("campaign")
    ///     .state("approve", |cx: Context| async move {
    ///         let ask = Ask::new("Shall we?").schema_of::<Approval>();
    ///         let approval: Approval = cx.ask_human(ask).await?;
    ///         cx.set("approval", &approval)?;
    ///         Ok(Next::done())
    ///     })
    ///     .build(&engine)?;
    ///
    /// let run = agent.start(()).await?;
    /// run.rest().await?;
    /// let asked = run.questions().await?.remove(0);
    /// let wrong = run.answer(&asked.wait, json!({ "budget": 7 })).await.unwrap_err();
    /// assert_eq!(wrong.message, "the answer does not fit its form: \"approved\" is a required property");
    /// run.answer(&asked.wait, json!({ "approved": true })).await?;
    /// assert_eq!(run.wait().await?.context["approval"]["approved"], true);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "schemars")]
    pub fn schema_of<A: schemars::JsonSchema>(self) -> Self {
        // Written in place where that is possible, so that a form can be made of it.
        let settings = schemars::generate::SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true);
        self.schema(settings.into_generator().into_root_schema_for::<A>().to_value())
    }

    /// Takes only one of these as an answer.
    ///
    /// # Errors
    /// An option is not JSON.
    pub fn options(mut self, options: impl IntoIterator<Item = impl Serialize>) -> Result<Self, StepError> {
        let options = options.into_iter().map(|option| to_json(&option, || "an option".into()));
        self.question.options = Some(Value::Array(options.collect::<Result<_, _>>()?));
        Ok(self)
    }

    /// Takes only answers of that type for which this returns `Ok`. What it returns else is told to whoever is asked
    /// again, as is that it panicked.
    ///
    /// It is called where the state runs, once per answer, when that has come and fits its form. An answer that is
    /// rejected stays in the journal with the reason; the question is open again under another id, until the same time. A
    /// default is not checked.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry};
    /// # use serde_json::json;
    /// use stepwell::Ask;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let agent = Agent::new("booking")
    ///     .state("nights", |cx: Context| async move {
    ///         let free = 5; // known only now
    ///         let ask = Ask::new("How many nights?").check(move |nights: &u32| {
    ///             if *nights <= free { Ok(()) } else { Err(format!("only {free} are free")) }
    ///         });
    ///         cx.set("nights", &cx.ask_human::<u32>(ask).await?)?;
    ///         Ok(Next::done())
    ///     })
    ///     .build(&engine)?;
    ///
    /// let run = agent.start(()).await?;
    /// run.rest().await?;
    /// run.answer(&run.questions().await?[0].wait, 7).await?;
    /// run.rest().await?;
    /// let again = run.questions().await?.remove(0);
    /// assert_eq!(again.question.rejected.unwrap().message, "only 5 are free");
    /// run.answer(&again.wait, 3).await?;
    /// assert_eq!(run.wait().await?.get("nights")?, Some(3));
    /// # Ok(())
    /// # }
    /// ```
    pub fn check<A: DeserializeOwned>(
        mut self,
        check: impl Fn(&A) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Check::new(check));
        self
    }

    /// Says who should answer.
    pub fn assignee(mut self, person: impl Into<String>) -> Self {
        self.question.assignee = Some(person.into());
        self
    }

    /// Takes no answer after this time, counted from when it is first asked. Then the default is the answer, and without one
    /// the question fails with `HUMAN_TIMEOUT`, which the state may handle.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// use std::time::{Duration, SystemTime, UNIX_EPOCH};
    /// use stepwell::{Ask, Code};
    ///
    /// let agent = Agent::new("hurry")
    ///     .state("ask", |cx: Context| async move {
    ///         let ask = Ask::new("Shall we wait?").deadline(Duration::from_millis(5)); // or days
    ///         let wait = match cx.ask_human::<bool>(ask).await {
    ///             Err(late) if late.is(Code::HUMAN_TIMEOUT) => false,
    ///             answered => answered?,
    ///         };
    ///         cx.set("wait", &wait)?;
    ///         Ok(Next::done())
    ///     })
    ///     .build(&engine)?;
    /// assert_eq!(agent.run(()).await?.get("wait")?, Some(false));
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = Some(time);
        self
    }

    /// As [`Ask::deadline`], with a moment.
    pub fn until(mut self, moment: SystemTime) -> Self {
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.until = Some(Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)));
        self
    }

    /// Stands in for an answer after the deadline.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn default_answer(mut self, answer: &impl Serialize) -> Result<Self, StepError> {
        self.default = Some(to_json(answer, || "the default answer".into())?);
        Ok(self)
    }

    /// Lets the answer be found by this name when the state runs again, in place of the order of its questions. Needed where
    /// chance decides which of several comes first.
    ///
    /// ```
    /// use stepwell::{Ask, Context, Next, StepError};
    ///
    /// async fn approve(cx: Context) -> Result<Next, StepError> {
    ///     for document in cx.get::<Vec<String>>("documents")?.unwrap_or_default() {
    ///         // The list may be another one, in another order, when the state runs again.
    ///         let ask = Ask::new(format!("Is {document} right?")).named(&document);
    ///         if !cx.ask_human::<bool>(ask).await? {
    ///             return Ok(Next::to("correct"));
    ///         }
    ///     }
    ///     Ok(Next::to("publish"))
    /// }
    /// ```
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Rejects answers of another type, if nothing else is said about them.
    pub(super) fn of_type<A: DeserializeOwned>(mut self) -> Self {
        let has_form = self.question.schema.is_some() || self.question.options.is_some();
        if self.check.is_none() && !has_form {
            self.check = Some(Check::of_type::<A>());
        }
        self
    }

    /// Returns the wait for another answer than the one that was rejected, open until the same time.
    ///
    /// # Errors
    /// As [`Ask::into_wait`].
    pub(super) fn into_wait_again(
        mut self,
        position: u32,
        rejected: Rejected,
        deadline: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<WaitSpec, StepError> {
        self.question.rejected = Some(Box::new(rejected));
        let wait = self.into_wait(position, now)?;
        Ok(WaitSpec { deadline: deadline.or(wait.deadline), ..wait })
    }

    /// Returns what is asked, as it stands in a definition.
    pub(crate) fn to_json(&self) -> Value {
        let mut shown = json!(self.question);
        if let Some(deadline) = self.deadline {
            shown["deadline_ms"] = json!(millis(deadline));
        }
        if let Some(until) = self.until {
            shown["until"] = json!(until);
        }
        if let Some(default) = &self.default {
            shown["default"] = default.clone();
        }
        shown
    }

    /// Returns the wait for the answer, asked now.
    ///
    /// # Errors
    /// Nobody could answer it: the schema is none, or there are no options.
    pub(super) fn into_wait(self, position: u32, now: Timestamp) -> Result<WaitSpec, StepError> {
        let Self { question, deadline, until, default, name, check: _ } = self;
        Form::new(question.schema.as_ref(), question.options.as_ref())?;
        Ok(WaitSpec {
            position,
            name,
            kind: WaitKind::Human(question),
            deadline: deadline.map(|time| now.plus_ms(millis(time))).or(until),
            default: default.map(Payload::new),
            then: Then::Rerun,
        })
    }
}
