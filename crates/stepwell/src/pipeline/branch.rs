//! One of several ways, chosen by what comes in: `name` chooses and leads to `name/<key>/…`; all ways lead to what follows.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::json;
use stepwell_core::error::{Code, ErrorObject};

use super::lower::{Exit, Lowering, Site};
use super::stage::{Input, ended, work};
use super::{Part, Pipeline, parts_of};
use crate::context::Context;
use crate::error::StepError;

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
    choose: Choose,
    cases: Vec<(String, Vec<Part>)>,
    otherwise: Option<Vec<Part>>,
}

type Choose = Arc<dyn Fn(&Input, &Context) -> Result<String, StepError> + Send + Sync>;

impl Branch {
    /// Chooses by what this returns. It is asked once; a restart does not ask it again.
    pub fn on<In, Key, F>(name: &str, choose: F) -> Self
    where
        In: DeserializeOwned,
        Key: Into<String>,
        F: Fn(&In, &Context) -> Result<Key, StepError> + Send + Sync + 'static,
    {
        let choose: Choose = Arc::new(move |input, cx| Ok(choose(&input.read()?, cx)?.into()));
        Self { name: name.to_owned(), choose, cases: Vec::new(), otherwise: None }
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

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn bodies(&self) -> impl Iterator<Item = &[Part]> {
        self.cases.iter().map(|(_, way)| way).chain(&self.otherwise).map(Vec::as_slice)
    }

    pub(super) fn lower(self, to: &mut Lowering<'_>, site: &Site, exit: &Exit) {
        let Self { name, choose, cases, otherwise } = self;
        let inside = site.inside(&name);
        to.check_names(&inside, cases.iter().map(|(key, _)| key.as_str()));
        if cases.is_empty() {
            to.refuse(&site.path(&name), format!("'{}' has no cases", site.path(&name)));
        }
        let keys: Vec<String> = cases.iter().map(|(key, _)| key.clone()).collect();
        let has_default = otherwise.is_some();
        let ways = cases.into_iter().chain(otherwise.map(|way| (OTHERWISE.to_owned(), way)));
        let ways: Vec<(String, Vec<Part>)> = ways.collect();
        let way_of = |(key, way): &(String, Vec<Part>)| match way.first() {
            Some(first) => Exit::Step(first.head(&inside.inside(key))),
            None => exit.clone(),
        };
        let exits: Vec<Exit> = ways.iter().map(way_of).collect();
        let next: Vec<String> = exits.iter().map(|exit| exit.successor().to_owned()).collect();
        let what = json!({ "role": "branch", "cases": keys, "otherwise": has_default });
        let path = site.path(&name);
        let chooses = work(move |cx, input| {
            let key = choose(&input, &cx)?;
            let at = keys.iter().position(|known| *known == key).or(has_default.then_some(keys.len()));
            let way = at.ok_or_else(|| no_branch(&key, &keys))?;
            let to = exits[way].leave(&cx, input.payload())?;
            Ok(ended(key.into(), to))
        });
        to.control(site, &path, what, &next.iter().map(String::as_str).collect::<Vec<_>>(), chooses);
        for (key, way) in ways {
            if !way.is_empty() {
                to.chain(way, &inside.inside(&key), exit);
            }
        }
    }
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
