//! The same steps for each item of a list: `name` forks with one payload per item, which runs through `name/…` by itself, and
//! `name/join` puts what they came to in the order of the items.

use std::fmt;

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::StepName;
use stepwell_core::run::event::{Payload, Target};

use super::lower::{Exit, Lowering, Site, of_item};
use super::merge::{Merge, merge};
use super::stage::{Input, Work, ended, work};
use super::{Part, Pipeline, forks, parts_of};
use crate::context::Context;
use crate::error::StepError;

/// The same steps for each item of a list, side by side. The output is the list of what they came to, in the order of the
/// items.
///
/// An item sees the context as it was when the map began, and its own writes; those are merged when all items are done, in
/// their order. A body that forks itself is run as a child run per item.
///
/// ```
/// # use stepwell::{Context, Engine, Options, Registry};
/// use stepwell::{Map, Pipeline, Step};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
/// let square = Step::new("square", |_, n: u32| async move { Ok(n * n) });
/// let pipeline = Pipeline::new("squares").then(Map::each("squares", square)).build(&engine)?;
///
/// assert_eq!(pipeline.run([3, 1, 2]).await?.output::<Vec<u32>>()?, [9, 1, 4]);
/// assert!(pipeline.run([0; 0]).await?.output::<Vec<u32>>()?.is_empty());
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Map {
    name: String,
    body: Vec<Part>,
    over: Option<String>,
    merge: Merge,
}

impl Map {
    /// Runs these steps for each item of what comes in, which must be a list.
    pub fn each(name: &str, body: impl Into<Pipeline>) -> Self {
        Self { name: name.to_owned(), body: parts_of(body), over: None, merge: Merge::default() }
    }

    /// Takes the items from the context in place of what comes in: from a key, or a place such as `report.rows` in the object
    /// under one.
    pub fn over(mut self, place: impl Into<String>) -> Self {
        self.over = Some(place.into());
        self
    }

    /// Says what becomes of what the items write to the context.
    pub fn merge(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn lower(self, to: &mut Lowering<'_>, site: &Site, exit: &Exit) {
        let path = site.path(&self.name);
        let Self { name, body, over, merge: strategy } = self;
        if body.is_empty() {
            return to.refuse_part(
                site,
                &path,
                exit,
                format!("'{path}' does nothing with its items: its body has no steps"),
            );
        }
        let items = site.items(&name);
        let join = items.path("join");
        let stands_alone = forks(&body);
        let exit_of_items = Exit::Join(join.as_str().into());
        let head: StepName =
            if stands_alone { items.path(ITEM).as_str().into() } else { body[0].head(&items) };
        let what = json!({ "role": "map", "over": over, "merge": strategy });
        to.control(site, &path, what, &[head.as_str(), &join], fork(path.clone(), head.clone(), &join, over));
        if stands_alone {
            to.child(body, &items, ITEM, &exit_of_items);
        } else {
            to.chain(body, &items, &exit_of_items);
        }
        let next = exit.successor().to_owned();
        to.join(site, &join, json!({ "role": "join" }), &next, joins(path, strategy, exit.clone()));
    }
}

/// What the step of an item is called that is a run of its own.
const ITEM: &str = "item";

fn fork(path: String, head: StepName, join: &str, over: Option<String>) -> Work {
    let join = Target::to(join);
    work(move |cx, input| {
        let items = items(&cx, &input, over.as_deref())?;
        cx.keep(&path, Some(Payload::new(items.len().into())))?;
        let count = items.len().into();
        if items.is_empty() {
            return Ok(ended(count, vec![join.clone()]));
        }
        let numbered = (0..).zip(items);
        let to =
            numbered.map(|(i, item)| Target { payload: Some(of_item(i, item)), ..Target::to(head.as_str()) });
        Ok(ended(count, to.collect()))
    })
}

/// Returns what a map goes over.
fn items(cx: &Context, input: &Input, over: Option<&str>) -> Result<Vec<Value>, StepError> {
    let (what, found) = match over {
        None => ("what came in".to_owned(), (**input).clone()),
        Some(place) => {
            let mut names = place.split('.');
            let mut found: Value = cx.get(names.next().unwrap_or_default())?.unwrap_or_default();
            for name in names {
                found = found.get_mut(name).map(Value::take).unwrap_or_default();
            }
            (format!("context key '{place}'"), found)
        }
    };
    let kind = match found {
        Value::Array(items) => return Ok(items),
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Object(_) => "an object",
    };
    let error = ErrorObject::new(Code::TASK_PARAMETER_ERROR, format!("{what} must be a list, and is {kind}"));
    Err(error.with("reason", "not_a_list").into())
}

fn joins(path: String, strategy: Merge, exit: Exit) -> Work {
    work(move |cx, _| {
        let kept = cx.kept_below(&path);
        let count = kept.get(&path).and_then(|count| count.as_u64()).unwrap_or(0);
        let (mut outputs, mut writes) = (Vec::new(), Vec::new());
        for item in 0..count {
            let branch = format!("{path}/{item}");
            let output = kept
                .get(&branch)
                .ok_or_else(|| StepError::never_again(format!("what item {item} came to is not kept")))?;
            outputs.push((**output).clone());
            writes.push((item.to_string(), kept.writes_of(&branch)));
        }
        merge(&cx, strategy, writes)?;
        cx.forget(&kept)?;
        let to = exit.leave(&cx, Payload::new(Value::Array(outputs.clone())))?;
        Ok(ended(Value::Array(outputs), to))
    })
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({})", self.name)
    }
}
