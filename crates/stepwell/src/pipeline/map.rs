//! The same steps for each item of a list: `name` forks with one payload per item, which runs through `name/…` by itself, and
//! `name/join` puts what they came to in the order of the items. With a limit the items begin one after the other (`lanes.rs`).

use std::fmt;

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::StepName;
use stepwell_core::run::event::{Payload, Target};

use super::exit::{Exit, of_item};
use super::lanes::{NEXT, gives_out, kept, lanes};
use super::lower::Lowering;
use super::merge::{Merge, merge};
use super::site::Site;
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
    max_concurrent: Option<u32>,
}

impl Map {
    /// Runs these steps for each item of what comes in, which must be a list.
    pub fn each(name: &str, body: impl Into<Pipeline>) -> Self {
        let (name, body) = (name.to_owned(), parts_of(body));
        Self { name, body, over: None, merge: Merge::default(), max_concurrent: None }
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

    /// Lets so many items be under way at once, in all processes together; without it, all. An item is under way from its
    /// first step to its last, also while it waits: of a map that asks people, so many questions are open. The next item begins
    /// when one has ended.
    ///
    /// ```
    /// # use stepwell::{Map, Pipeline, Step};
    /// let fetch = Step::new("fetch", |_, url: String| async move { Ok(url.len()) });
    /// let pages = Map::each("pages", fetch).max_concurrent(8);
    /// let pipeline = Pipeline::new("crawl").then(pages);
    /// # let _ = pipeline;
    /// ```
    pub fn max_concurrent(mut self, items: u32) -> Self {
        self.max_concurrent = Some(items);
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn lower(self, to: &mut Lowering, site: &Site, exit: &Exit) {
        let path = site.path(&self.name);
        let Self { name, body, over, merge: strategy, max_concurrent } = self;
        if body.is_empty() {
            return to.refuse_part(
                site,
                &path,
                exit,
                format!("'{path}' does nothing with its items: its body has no steps"),
            );
        }
        if max_concurrent == Some(0) {
            to.refuse(&path, format!("'{path}' begins no item: `max_concurrent` must be at least 1"));
        }
        let items = site.items(&name);
        let (join, next) = (items.path("join"), items.path(NEXT));
        let stands_alone = forks(&body);
        let exit_of_items = Exit::Join(if max_concurrent.is_some() { &next } else { &join }.as_str().into());
        let head: StepName =
            if stands_alone { items.path(ITEM).as_str().into() } else { body[0].head(&items) };
        let mut what = json!({ "role": "map", "over": over, "merge": strategy });
        let fork = Fork { path: path.clone(), over, head: head.clone(), join: Target::to(&join) };
        match max_concurrent {
            None => to.control(site, &path, what, &[head.as_str(), &join], fork.all_at_once()),
            Some(at_once) => {
                what["max_concurrent"] = at_once.into();
                to.control(site, &path, what, &[&next, &join], fork.so_many_at_once(&next, at_once));
                let gives = gives_out(&path, &join, begins_item(&path, head.clone()));
                to.control(site, &next, json!({ "role": "next" }), &[head.as_str(), &join], gives);
            }
        }
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

/// What finds the items, and begins them.
struct Fork {
    path: String,
    over: Option<String>,
    head: StepName,
    join: Target,
}

impl Fork {
    fn all_at_once(self) -> Work {
        let head = self.head.clone();
        self.begins(move |_, items| {
            Ok((0..).zip(items).map(|(number, item)| to_item(&head, number, item)).collect())
        })
    }

    fn so_many_at_once(self, next: &str, at_once: u32) -> Work {
        let (next, kept) = (next.to_owned(), kept(&self.path, ITEMS));
        self.begins(move |cx, items| {
            let to = lanes(&next, items.len(), at_once);
            cx.keep(&kept, Some(Payload::new(Value::Array(items))))?;
            Ok(to)
        })
    }

    fn begins(
        self,
        begin: impl Fn(&Context, Vec<Value>) -> Result<Vec<Target>, StepError> + Send + Sync + 'static,
    ) -> Work {
        let Self { path, over, join, .. } = self;
        work(move |cx, input| {
            let items = items(&cx, &input, over.as_deref())?;
            let count = Value::from(items.len());
            cx.keep(&path, Some(Payload::new(count.clone())))?;
            let to = if items.is_empty() { vec![join.clone()] } else { begin(&cx, items)? };
            Ok(ended(count, to))
        })
    }
}

/// What the items are kept as that begin later.
const ITEMS: &str = "items";

fn begins_item(
    path: &str,
    head: StepName,
) -> impl Fn(&Context, usize) -> Result<Option<Target>, StepError> + use<> {
    let kept = kept(path, ITEMS);
    move |cx, number| {
        let item = cx.kept(&kept).and_then(|items| items.get(number));
        Ok(item.map(|item| to_item(&head, number as u64, item.clone())))
    }
}

fn to_item(head: &StepName, number: u64, item: Value) -> Target {
    Target { payload: Some(of_item(number, item)), ..Target::to(head.as_str()) }
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
