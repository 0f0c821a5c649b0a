//! One of several ways, chosen by what comes in: `name` chooses and leads to `name/<key>/…`; all ways lead to what follows, or
//! to `name/output`, which makes the output of what they came to.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::run::event::Payload;

use super::callback::{Callback, Given, given, made_of};
use super::exit::Exit;
use super::lower::Lowering;
use super::site::Site;
use super::stage::{Input, Work, ended, mapped, working};
use super::{Part, Pipeline, parts_of};
use crate::context::Context;
use crate::error::StepError;
use crate::function::Ended;

/// One of several ways, chosen by what comes in. Its output is that of the way that was gone.
///
/// ```
/// # use stepwell::{Context, Engine, Options, Registry};
/// use stepwell::{Branch, Pipeline, Step};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
/// let sizes = Branch::on("size", |items: &Vec<u32>, _| Ok(if items.len() > 3 { "many" } else { "few" }))
///     .case("many", Step::new("sum", |_, items: Vec<u32>| async move { Ok(items.iter().sum::<u32>()) }))
///     .otherwise(Step::new("first", |_, items: Vec<u32>| async move { Ok(items[0]) }));
/// let pipeline = Pipeline::new("sizes").then(sizes).build(&engine)?;
///
/// assert_eq!(pipeline.run([7, 2]).await?.output::<u32>()?, 7);
/// assert_eq!(pipeline.run([1, 2, 3, 4]).await?.output::<u32>()?, 10);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Branch {
    name: String,
    choose: Given<String>,
    cases: Vec<(String, Vec<Part>)>,
    otherwise: Option<Vec<Part>>,
    input: Option<Given<Value>>,
    output: Option<Given<Value>>,
}

impl Branch {
    /// Chooses by what this returns. It is asked once; a restart does not ask it again.
    pub fn on<In, Key, F>(name: &str, choose: F) -> Self
    where
        In: DeserializeOwned,
        Key: Into<String>,
        F: Fn(&In, &Context) -> Result<Key, StepError> + Send + Sync + 'static,
    {
        Self::of(name, given(move |input, cx, _| Ok(choose(&input.read()?, cx)?.into())))
    }

    /// As [`Branch::on`], with a function that waits for others.
    pub fn on_called(name: &str, choose: Callback) -> Self {
        Self::of(name, choose.decided())
    }

    fn of(name: &str, choose: Given<String>) -> Self {
        let name = name.to_owned();
        Self { name, choose, cases: Vec::new(), otherwise: None, input: None, output: None }
    }

    /// Goes this way for that key. An empty pipeline passes on what comes in.
    pub fn case(mut self, key: &str, way: impl Into<Pipeline>) -> Self {
        self.cases.push((key.to_owned(), parts_of(way)));
        self
    }

    /// Goes this way for every other key. Without it such a key fails the run with `NO_BRANCH`.
    pub fn otherwise(mut self, way: impl Into<Pipeline>) -> Self {
        self.otherwise = Some(parts_of(way));
        self
    }

    /// Gives the way that was chosen this in place of what comes in; the key is the one that it was chosen by.
    ///
    /// ```
    /// # use serde_json::{Value, json};
    /// # use stepwell::{Context, Engine, Options, Registry, StepError};
    /// # use stepwell::{Branch, Pipeline, Step};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// # async fn ship(_: Context, to: String) -> Result<String, StepError> { Ok(format!("shipped to {to}")) }
    /// # async fn refund(_: Context, to: String) -> Result<String, StepError> { Ok(format!("refunded {to}")) }
    /// let order = Branch::on("order", |order: &Value, _| Ok(order["kind"].as_str().unwrap_or("").to_owned()))
    ///     .case("sale", Step::new("ship", ship))
    ///     .case("return", Step::new("refund", refund))
    ///     .input(|order: &Value, _, _| Ok(order["customer"].clone()))
    ///     .output(|said: &String, _, kind| Ok(json!({ "kind": kind, "note": said })));
    /// let pipeline = Pipeline::new("orders").then(order).build(&engine)?;
    ///
    /// let result = pipeline.run(json!({ "kind": "sale", "customer": "Ada" })).await?;
    /// assert_eq!(result.output, json!({ "kind": "sale", "note": "shipped to Ada" }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn input<In, T: Serialize, F>(mut self, map: F) -> Self
    where
        In: DeserializeOwned,
        F: Fn(&In, &Context, &str) -> Result<T, StepError> + Send + Sync + 'static,
    {
        self.input = Some(mapper(map));
        self
    }

    /// As [`Branch::input`], with a function that waits for others.
    pub fn input_called(mut self, map: Callback) -> Self {
        self.input = Some(map.made());
        self
    }

    /// Makes this the output, in place of what the way came to; the key is the one that the way was chosen by. It is made in a
    /// step of its own, so a restart does not make it again.
    pub fn output<Out, T: Serialize, F>(mut self, map: F) -> Self
    where
        Out: DeserializeOwned,
        F: Fn(&Out, &Context, &str) -> Result<T, StepError> + Send + Sync + 'static,
    {
        self.output = Some(mapper(map));
        self
    }

    /// As [`Branch::output`], with a function that waits for others.
    pub fn output_called(mut self, map: Callback) -> Self {
        self.output = Some(map.made());
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether all ways meet in a step of its own.
    pub(super) fn maps_output(&self) -> bool {
        self.output.is_some()
    }

    pub(super) fn bodies(&self) -> impl Iterator<Item = &[Part]> {
        self.cases.iter().map(|(_, way)| way).chain(&self.otherwise).map(Vec::as_slice)
    }

    pub(super) fn lower(self, to: &mut Lowering, site: &Site, exit: &Exit) {
        let Self { name, choose, cases, otherwise, input, output } = self;
        let inside = site.inside(&name);
        let output_step = inside.path("output");
        let way_out = if output.is_some() { Exit::Step(output_step.as_str().into()) } else { exit.clone() };
        to.check_names(&inside, cases.iter().map(|(key, _)| key.as_str()));
        if otherwise.is_some() && cases.iter().any(|(key, _)| key == OTHERWISE) {
            let message = format!(
                "'{}' has a case '{OTHERWISE}', which is what the way for every other key is called",
                site.path(&name)
            );
            to.refuse_double(&inside.path(OTHERWISE), message);
        }
        if cases.is_empty() {
            to.refuse(&site.path(&name), format!("'{}' has no cases", site.path(&name)));
        }
        let keys: Vec<String> = cases.iter().map(|(key, _)| key.clone()).collect();
        let has_default = otherwise.is_some();
        let ways = cases.into_iter().chain(otherwise.map(|way| (OTHERWISE.to_owned(), way)));
        let ways: Vec<(String, Vec<Part>)> = ways.collect();
        let way_of = |(key, way): &(String, Vec<Part>)| match way.first() {
            Some(first) => Exit::Step(first.head(&inside.inside(key))),
            None => way_out.clone(),
        };
        let exits: Vec<Exit> = ways.iter().map(way_of).collect();
        let next: Vec<String> = exits.iter().map(|exit| exit.successor().to_owned()).collect();
        let mut what = json!({ "role": "branch", "cases": keys, "otherwise": has_default });
        if input.is_some() {
            what["maps_input"] = true.into();
        }
        let path = site.path(&name);
        let kept = site.within_scope(&name);
        let keeps = output.is_some().then(|| kept.clone());
        let choice = Arc::new(Choice { choose, keys, has_default, input, keeps, exits });
        let chooses = working(move |cx, given| {
            let choice = choice.clone();
            async move { choice.make(cx, given).await }
        });
        to.control(site, &path, what, &next.iter().map(String::as_str).collect::<Vec<_>>(), chooses);
        for (key, way) in ways {
            if !way.is_empty() {
                to.chain(way, &inside.inside(&key), &way_out);
            }
        }
        if let Some(map) = output {
            let work = makes_output(map, kept, exit.clone());
            to.control(site, &output_step, json!({ "role": "output" }), &[exit.successor()], work);
        }
    }
}

fn mapper<In: DeserializeOwned, T: Serialize>(
    map: impl Fn(&In, &Context, &str) -> Result<T, StepError> + Send + Sync + 'static,
) -> Given<Value> {
    given(move |value, cx, more| mapped(&map(&value.read()?, cx, more[0].as_str().unwrap_or_default())?))
}

/// What chooses a way.
struct Choice {
    choose: Given<String>,
    keys: Vec<String>,
    has_default: bool,
    input: Option<Given<Value>>,
    /// Where, within the scope, the key waits for what makes the output.
    keeps: Option<String>,
    /// Where each way begins, that for every other key last.
    exits: Vec<Exit>,
}

impl Choice {
    async fn make(&self, cx: Context, given: Input) -> Result<Ended, StepError> {
        let key = (self.choose)(cx.clone(), given.clone(), Vec::new()).await?;
        let otherwise = self.has_default.then_some(self.keys.len());
        let at = self.keys.iter().position(|known| *known == key).or(otherwise);
        let way = at.ok_or_else(|| no_branch(&key, &self.keys))?;
        let value = made_of(self.input.as_ref(), &cx, &given, vec![key.as_str().into()]).await?;
        if let Some(kept) = &self.keeps {
            cx.keep(&cx.scope().below(kept), Some(Payload::new(key.as_str().into())))?;
        }
        let to = self.exits[way].leave(&cx, value)?;
        Ok(ended(key.into(), to))
    }
}

/// Returns what all ways lead to that makes the output. `kept`: where, within the scope, the key waits.
fn makes_output(map: Given<Value>, kept: String, exit: Exit) -> Work {
    let made = Arc::new((map, kept, exit));
    working(move |cx, came_to| {
        let made = made.clone();
        async move {
            let (map, kept, exit) = &*made;
            let place = cx.scope().below(kept);
            let key = cx.kept(&place).map(|key| (**key).clone());
            let key = key.ok_or_else(|| StepError::never_again("the key of the way is not kept any more"))?;
            let output = map(cx.clone(), came_to, vec![key]).await?;
            cx.keep(&place, None)?;
            let to = exit.leave(&cx, Payload::new(output.clone()))?;
            Ok(ended(output, to))
        }
    })
}

/// What the way for every other key is named by.
const OTHERWISE: &str = "otherwise";

fn no_branch(key: &str, keys: &[String]) -> StepError {
    let known = keys.iter().map(|key| format!("'{key}'")).collect::<Vec<_>>().join(", ");
    ErrorObject::new(Code::NO_BRANCH, format!("there is no branch for '{key}', only for {known}"))
        .with_hint("add a case for it, or `otherwise`")
        .with("key", key)
        .with("branches", keys.to_vec())
        .into()
}

impl fmt::Debug for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Branch({})", self.name)
    }
}
