//! The template of a batch: read as a step is, with the path of a file put in.

use serde_json::{Map, Value, json};
use stepwell_core::workflow::definition::{Action, OnFailure, Step};
use stepwell_core::workflow::path::{Part, Path};
use stepwell_core::workflow::template::escaped;

use crate::load::fields::{Object, Problems};
use crate::load::keys::step::METHOD;
use crate::load::keys::{batch as keys, names};
use crate::load::node::{Kind, Member, Node, Position, to_map};
use crate::load::problem::Problem;
use crate::load::protocols::{Protocols, split_version};
use crate::load::references::{self, Index};
use crate::load::step::{self, Defaults};
use crate::load::workflow;

const DEFAULT_METHOD: &str = "llm/chat";
const DEFAULT_PROTOCOL: &str = "llm";

const IMAGES: [&str; 6] = ["png", "jpg", "jpeg", "gif", "bmp", "webp"];

/// What the path of a file is called.
const FILE_PATH: &str = "file_path";

/// What is done with each file.
#[derive(Debug)]
pub(super) struct Template {
    at: Option<Position>,
    /// Its keys that are those of a step.
    settings: Vec<Member>,
    /// An object, without the path of a file.
    params: Node,
    /// Parameters that stand beside `params`.
    bare: Vec<String>,
    /// The parameters as they are shown to people.
    shown: Map<String, Value>,
    defaults: Defaults,
}

/// Where the path of a file goes among the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// It is this parameter.
    Param(&'static str),
    /// It is `file_path` in this object.
    Argument(&'static str),
    /// It is the last of this list.
    LastOf(&'static str),
}

impl Template {
    /// Returns a template that stands in no file; nothing in its parameters is a reference.
    pub(super) fn of(method: &str, params: &Map<String, Value>) -> Self {
        Self {
            at: None,
            settings: vec![Member::new("method", Node::from_value(&json!(method)))],
            params: Node::from_value(&literal(&Value::Object(params.clone()))),
            bare: Vec::new(),
            shown: params.clone(),
            defaults: Defaults { on_failure: OnFailure::Continue, ..Defaults::default() },
        }
    }

    /// Reads `template`. `defaults`: what the batch file says for steps that do not.
    pub(super) fn read(
        file: &Object,
        defaults: Defaults,
        protocols: &dyn Protocols,
        problems: &mut Problems,
    ) -> Option<Self> {
        let Some(field) = file.field(&keys::TEMPLATE, problems) else {
            let message = "'template' is missing: it says what is done with each file";
            problems.push(Problem::new(Path::root(), file.at, message));
            return None;
        };
        let template = field.object(problems)?;
        let given = template.field(&keys::PARAMS, problems);
        let mut params = match &given {
            Some(given) => given.members(problems)?.to_vec(),
            None => Vec::new(),
        };
        let (mut settings, mut bare) = (Vec::new(), Vec::new());
        for member in field.members(problems)? {
            let key = member.key.as_str();
            if names(keys::SETTINGS).any(|name| name == key) {
                settings.extend((!member.value.is_null()).then(|| member.clone()));
            } else if !keys::PARAMS.names.contains(&key) {
                if params.iter().any(|known| known.key == key) {
                    let message = format!("the parameter '{key}' stands in 'params' too; give it once");
                    problems.push(Problem::new(field.path.join(key), member.key_at, message));
                }
                bare.push(key.to_owned());
                params.push(member.clone());
            }
        }
        let mut add = |key: &str, node: Node| {
            if !settings.iter().any(|known: &Member| known.key == key) {
                settings.push(Member::new(key, node));
            }
        };
        if let Some(protocol) = file.field(&keys::PROTOCOL, problems) {
            add("protocol", protocol.node.clone());
        }
        let at = field.node.at;
        let has_default =
            protocols.protocols().iter().any(|known| split_version(known).0 == DEFAULT_PROTOCOL);
        if !has_default && template.field(&METHOD, problems).is_none() {
            let problem = Problem::new(field.path.clone(), at, "'method' is missing in 'template'");
            problems.push(problem.hint("such as 'python/execute'"));
            return None;
        }
        add("method", Node { at, ..Node::from_value(&json!(DEFAULT_METHOD)) });
        let shown = to_map(&params);
        let params = Node { at: given.map_or(at, |given| given.node.at), kind: Kind::Object(params) };
        Some(Self { at, settings, params, bare, shown, defaults })
    }

    /// Returns where the path of a file goes.
    pub(super) fn slot(&self, file: &str) -> Slot {
        let name = file.rsplit('/').next().unwrap_or(file);
        let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix);
        let is_image =
            suffix.is_some_and(|suffix| IMAGES.iter().any(|known| suffix.eq_ignore_ascii_case(known)));
        match self.protocol() {
            "python" if self.has("context") && !self.has("args") => Slot::Argument("context"),
            "python" => Slot::Argument("args"),
            "process" => Slot::LastOf("args"),
            _ if is_image || self.method() == "llm/vision" => Slot::Param("image_path"),
            _ => Slot::Param(FILE_PATH),
        }
    }

    /// Judges the step of a file and returns it; what is wrong with it and was not told yet is a problem.
    pub(super) fn judge(
        &self,
        slot: Slot,
        file: &str,
        protocols: &dyn Protocols,
        problems: &mut Problems,
    ) -> Option<Step> {
        let place = Path::root().join("template");
        let mut params = self.params.clone();
        if let Err(Misfit { inside, why }) = slot.put(&mut params, file) {
            let at = self.params.position_of(&inside);
            let path = inside.into_iter().fold(place.join("params"), |path, part| path.join(part));
            let path = self.as_written(&path);
            problems.push(Problem::new(path.clone(), at, format!("'{path}' {why}")));
        }
        let mut members = self.settings.clone();
        members.push(Member::new("name", Node::from_value(&json!("template"))));
        members.push(Member::new("params", params));
        let node = Node { at: self.at, kind: Kind::Object(members) };
        let mut found = Problems::default();
        let draft = step::read(&node, &place, 0, &self.defaults, protocols, &mut found)?;
        let no_steps = Index::new(&[], &mut found);
        references::read(&draft, &no_steps, protocols, &mut found);
        workflow::check_params(std::slice::from_ref(&draft), protocols, &mut found);
        for mut problem in found.list {
            problem.path = self.as_written(&problem.path);
            if !problems.list.contains(&problem) {
                problems.push(problem);
            }
        }
        Some(draft.to_step())
    }

    /// Puts the path of a file into a step that was judged for such a path.
    pub(super) fn put(&self, slot: Slot, file: &str, step: &mut Step) {
        let Action::Provider { params, .. } = &mut step.action else {
            unreachable!("it was read from a file")
        };
        let mut node = self.params.clone();
        let Ok(()) = slot.put(&mut node, file) else { unreachable!("another path was put there") };
        *params = node.to_value();
    }

    /// Returns the parameters as they are shown to people.
    pub(super) fn shown(&self) -> &Map<String, Value> {
        &self.shown
    }

    fn method(&self) -> &str {
        self.setting("method").unwrap_or(DEFAULT_METHOD)
    }

    /// Returns the name of the protocol, without its version.
    fn protocol(&self) -> &str {
        let implied = || self.method().split_once('/').map_or("python", |(name, _)| name);
        split_version(self.setting("protocol").unwrap_or_else(implied)).0
    }

    fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().rev().find(|member| member.key == key)?.value.as_str()
    }

    fn has(&self, param: &str) -> bool {
        self.params.position(param).is_some()
    }

    /// Returns the path of a parameter that does not stand in `params`.
    fn as_written(&self, path: &Path) -> Path {
        match path.parts() {
            [template, Part::Key(params), Part::Key(key), inside @ ..]
                if params == "params" && self.bare.contains(key) =>
            {
                let top = Path::root().join(template.clone()).join(key.as_str());
                inside.iter().fold(top, |path, part| path.join(part.clone()))
            }
            _ => path.clone(),
        }
    }
}

/// Why a path cannot be put in.
struct Misfit {
    /// The parameter that is in the way.
    inside: Vec<Part>,
    /// To stand behind its name.
    why: String,
}

impl Slot {
    fn put(self, params: &mut Node, path: &str) -> Result<(), Misfit> {
        match self {
            Self::Param(key) => set(params, key, path, vec![key.into()]),
            Self::Argument(key) => {
                let args = params.entry(key, || Kind::Object(Vec::new()));
                if !matches!(args.kind, Kind::Object(_)) {
                    let why =
                        format!("must be an object: the path of each file goes into it as '{FILE_PATH}'");
                    return Err(Misfit { inside: vec![key.into()], why });
                }
                set(args, FILE_PATH, path, vec![key.into(), FILE_PATH.into()])
            }
            Self::LastOf(key) => {
                let args = params.entry(key, || Kind::List(Vec::new()));
                let Kind::List(list) = &mut args.kind else {
                    let why = "must be a list: the path of each file is added to it".into();
                    return Err(Misfit { inside: vec![key.into()], why });
                };
                // No name of a file is to be taken for an option.
                let path = if path.starts_with('-') { format!("./{path}") } else { path.to_owned() };
                list.push(data(&path));
                Ok(())
            }
        }
    }
}

fn set(object: &mut Node, key: &str, path: &str, inside: Vec<Part>) -> Result<(), Misfit> {
    if object.position(key).is_some() {
        let why = "cannot be given: the path of each file goes there".into();
        return Err(Misfit { inside, why });
    }
    object.entry(key, || data(path).kind);
    Ok(())
}

/// Returns a text in which nothing is a reference.
fn data(text: &str) -> Node {
    Node::from_value(&Value::from(escaped(text)))
}

/// Returns a value in whose texts nothing is a reference.
fn literal(value: &Value) -> Value {
    match value {
        Value::String(text) => escaped(text).into(),
        Value::Array(list) => list.iter().map(literal).collect(),
        Value::Object(map) => {
            let member = |(key, value): (&String, &Value)| (escaped(key).into_owned(), literal(value));
            Value::Object(map.iter().map(member).collect())
        }
        other => other.clone(),
    }
}
