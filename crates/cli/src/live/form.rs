//! The form of a question, filled in field by field: what each field wants, what was typed for it as a value, and the
//! answer that comes of all. Pure; what an answer must be is said by the engine's `forms`, here it is only asked.

use serde_json::{Map, Value, json};
use stepwell_core::run::wait::Question;
use stepwell_engine::forms;

/// A question and what was entered so far.
#[derive(Debug)]
pub(crate) struct Form {
    whole: forms::Form,
    fields: Vec<Field>,
    /// The answer is an object of the fields, not the only one of them.
    is_object: bool,
    settles: bool,
    /// Fields that are still to be asked, the next one first.
    left: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    schema: Value,
    choices: Vec<Choice>,
    required: bool,
    entered: Option<Value>,
}

#[derive(Clone, Debug)]
struct Choice {
    value: Value,
    label: Option<String>,
}

/// What became of what was entered.
#[derive(Debug, PartialEq)]
pub(crate) enum Entered {
    /// It fits; the next field is asked.
    Next,
    /// It does not, for these reasons; the field is asked again, or those that do not go together.
    Wrong(Vec<String>),
    /// All is entered and fits.
    Whole(Value),
}

impl Form {
    /// Returns the form of a question; none, if it cannot be read.
    pub(crate) fn of(question: &Question) -> Option<Self> {
        let whole = forms::Form::new(question.schema.as_ref(), question.options.as_ref()).ok()?;
        let root = question.schema.as_ref().unwrap_or(&Value::Null);
        let schema = resolved(root, root).clone();
        let properties = schema["properties"].as_object().filter(|_| question.options.is_none());
        let is_object = properties.is_some_and(|properties| !properties.is_empty());
        let mut fields = Vec::new();
        for (name, property) in properties.into_iter().flatten() {
            let property = resolved(root, property).clone();
            let is_named =
                |required: &Value| required.as_array().is_some_and(|all| all.contains(&json!(name)));
            fields.push(Field {
                name: name.clone(),
                choices: choices(None, &property),
                required: is_named(&schema["required"]),
                schema: property,
                entered: None,
            });
        }
        if fields.is_empty() {
            let choices = choices(question.options.as_ref(), &schema);
            // Without a form an answer is a text, as with `--text`.
            let schema =
                if schema.is_null() && choices.is_empty() { json!({"type": "string"}) } else { schema };
            fields.push(Field { name: String::new(), schema, choices, required: true, entered: None });
        }
        let left = (0..fields.len()).collect();
        Some(Self { whole, fields, is_object, settles: question.settles, left })
    }

    /// Returns what the field that is asked now wants, in lines; the first names it.
    pub(crate) fn wants(&self) -> Vec<String> {
        let Some(field) = self.field() else { return Vec::new() };
        let schema = &field.schema;
        let mut facts = vec![kind(field)];
        facts.extend(bounds(schema));
        if self.is_object && !field.required {
            facts.push("optional".into());
        }
        let mut head = facts.join(", ");
        if !field.name.is_empty() {
            head = if head.is_empty() { field.name.clone() } else { format!("{}: {head}", field.name) };
        }
        let mut lines: Vec<String> = Vec::new();
        let told = ["title", "description"].iter().filter_map(|key| schema[*key].as_str());
        let told: Vec<&str> = told.filter(|text| !text.is_empty()).collect();
        if !told.is_empty() {
            head = if head.is_empty() {
                told.join(" — ")
            } else {
                format!("{head} · {}", told.join(" — "))
            };
        }
        lines.extend((!head.is_empty()).then_some(head));
        for (number, choice) in field.choices.iter().enumerate() {
            let value = text_of(&choice.value);
            let label = choice.label.as_ref().filter(|label| **label != value);
            let label = label.map_or_else(String::new, |label| format!(" — {label}"));
            let place = if field.is_chosen_by_place() { format!("{}  ", number + 1) } else { String::new() };
            lines.push(format!("  {place}{value}{label}"));
        }
        lines
    }

    /// Returns what an empty line means for the field that is asked now, if it means anything.
    pub(crate) fn on_empty(&self) -> Option<String> {
        let field = self.field()?;
        match field.fallback() {
            Some(value) => Some(format!("Enter alone: {}", text_of(&value))),
            None if self.is_left_out(field) => Some("Enter alone leaves it out".into()),
            None => None,
        }
    }

    /// Returns how many fields there are, and the place of the one that is asked now, from 1.
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.left.first().map_or(self.fields.len(), |at| at + 1), self.fields.len())
    }

    /// Takes what was typed for the field that is asked now.
    pub(crate) fn enter(&mut self, typed: &str) -> Entered {
        let Some(at) = self.left.first().copied() else { return self.finish() };
        let field = &self.fields[at];
        let typed = typed.trim();
        let value = if typed.is_empty() {
            match field.fallback() {
                Some(value) => Some(value),
                None if self.is_left_out(field) => None,
                None if !field.choices.is_empty() => {
                    return Entered::Wrong(vec!["it needs an answer: one of these".into()]);
                }
                None => return Entered::Wrong(vec!["it needs an answer; \"\" is the empty text".into()]),
            }
        } else {
            match self.read(at, typed) {
                Ok(value) => Some(value),
                Err(wrong) => return Entered::Wrong(wrong),
            }
        };
        self.fields[at].entered = value;
        self.left.remove(0);
        if self.settles && at == 0 {
            // What else is asked depends on what is to become of the attempt.
            let verb = self.fields[0].entered.clone().unwrap_or_default();
            let wanted = match verb.as_str() {
                Some("complete") => "value",
                Some("fail") => "reason",
                _ => "",
            };
            self.left.retain(|at| self.fields[*at].name == wanted);
        }
        if self.left.is_empty() { self.finish() } else { Entered::Next }
    }

    fn field(&self) -> Option<&Field> {
        self.left.first().map(|at| &self.fields[*at])
    }

    fn is_left_out(&self, field: &Field) -> bool {
        self.is_object && !field.required
    }

    /// Returns the answer as far as it is entered.
    fn answer(&self) -> Value {
        if !self.is_object {
            return self.fields[0].entered.clone().unwrap_or_default();
        }
        let entered = |field: &Field| Some((field.name.clone(), field.entered.clone()?));
        Value::Object(self.fields.iter().filter_map(entered).collect())
    }

    /// Returns the first meaning of what was typed that fits; else what is wrong with the first.
    fn read(&self, at: usize, typed: &str) -> Result<Value, Vec<String>> {
        let field = &self.fields[at];
        let meanings = meanings(field, typed);
        let mut wrong = None;
        for value in meanings {
            let faults = self.faults(field, &value);
            if faults.is_empty() {
                return Ok(value);
            }
            wrong.get_or_insert(faults);
        }
        Err(wrong.unwrap_or_else(|| vec![format!("{typed} is not {}", kind(field))]))
    }

    /// Returns what is wrong with a value for a field, whatever the others are.
    fn faults(&self, field: &Field, value: &Value) -> Vec<String> {
        if !self.is_object {
            return self
                .whole
                .check(value)
                .into_iter()
                .map(|fault| told(&fault.path, &fault.message))
                .collect();
        }
        let pointer = pointer(&field.name);
        let answer = Value::Object(Map::from_iter([(field.name.clone(), value.clone())]));
        let faults = self.whole.check(&answer).into_iter();
        let own = faults.filter_map(|fault| {
            let inside =
                fault.path.strip_prefix(&pointer).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
            Some(told(inside, &fault.message))
        });
        own.collect()
    }

    /// Checks the whole; what does not fit is asked again.
    fn finish(&mut self) -> Entered {
        let answer = self.answer();
        let faults = self.whole.check(&answer);
        if faults.is_empty() {
            return Entered::Whole(answer);
        }
        let names = |field: &Field| {
            let pointer = pointer(&field.name);
            faults.iter().any(|fault| fault.path == pointer || fault.path.starts_with(&format!("{pointer}/")))
        };
        self.left = (0..self.fields.len()).filter(|at| self.is_object && names(&self.fields[*at])).collect();
        if self.left.is_empty() {
            self.left = (0..self.fields.len()).collect();
        }
        Entered::Wrong(faults.iter().map(|fault| told(&fault.path, &fault.message)).collect())
    }
}

impl Field {
    /// Returns whether a number that is typed is a place in the list. It is none where it could be one of the values.
    fn is_chosen_by_place(&self) -> bool {
        !self.choices.iter().any(|choice| text_of(&choice.value).parse::<f64>().is_ok())
    }

    /// Returns what stands for an empty line: what was entered before, else the default of the schema.
    fn fallback(&self) -> Option<Value> {
        self.entered.clone().or_else(|| self.schema.get("default").cloned())
    }
}

fn told(path: &str, message: &str) -> String {
    if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") }
}

fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Follows references inside of the document; the engine refuses all others.
fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    const DEEPEST: usize = 16;
    let mut schema = schema;
    for _ in 0..DEEPEST {
        let target = schema["$ref"].as_str().and_then(|target| root.pointer(target.strip_prefix('#')?));
        match target {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

fn choices(options: Option<&Value>, schema: &Value) -> Vec<Choice> {
    let of = |option: &Value| {
        let value = option.get("value").unwrap_or(option).clone();
        Choice { value, label: option.get("label").and_then(Value::as_str).map(str::to_owned) }
    };
    let plain = |value: &Value| Choice { value: value.clone(), label: None };
    if let Some(options) = options.and_then(Value::as_array) {
        return options.iter().map(of).collect();
    }
    let listed = schema["enum"].as_array().map(|values| values.iter().map(plain).collect());
    listed.or_else(|| schema.get("const").map(|only| vec![plain(only)])).unwrap_or_default()
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Returns what a field wants, in words.
fn kind(field: &Field) -> String {
    if !field.choices.is_empty() {
        return "one of".into();
    }
    let word = |kind: &str| match kind {
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        "boolean" => "yes or no".to_owned(),
        "array" => "list, a, b, c or JSON".to_owned(),
        "object" => "object, as JSON".to_owned(),
        other => other.to_owned(),
    };
    let words: Vec<String> = types(&field.schema).into_iter().map(word).collect();
    if words.is_empty() { "JSON or text".into() } else { words.join(" or ") }
}

/// Returns the limits of a schema, in words.
fn bounds(schema: &Value) -> Vec<String> {
    let limit = |key: &str, say: &str| schema.get(key).map(|limit| format!("{say}{limit}"));
    let size = |least: &str, most: &str, what: &str| match (schema.get(least), schema.get(most)) {
        (Some(least), Some(most)) => Some(format!("{least} to {most} {what}")),
        (Some(least), None) => Some(format!("at least {least} {what}")),
        (None, Some(most)) => Some(format!("at most {most} {what}")),
        (None, None) => None,
    };
    let mut bounds = Vec::new();
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => bounds.push(format!("{least} to {most}")),
        _ => {
            bounds
                .extend([limit("minimum", "at least "), limit("maximum", "at most ")].into_iter().flatten());
        }
    }
    let others = [
        limit("exclusiveMinimum", "more than "),
        limit("exclusiveMaximum", "less than "),
        limit("multipleOf", "a multiple of "),
        size("minLength", "maxLength", "letters"),
        size("minItems", "maxItems", "items"),
        schema["pattern"].as_str().map(|pattern| format!("like {pattern}")),
        schema["format"].as_str().map(|format| format!("a {format}")),
    ];
    bounds.extend(others.into_iter().flatten());
    bounds
}

/// Returns what was typed could mean, the likeliest first.
fn meanings(field: &Field, typed: &str) -> Vec<Value> {
    let as_json = serde_json::from_str::<Value>(typed).ok();
    if !field.choices.is_empty() {
        let by_value = field.choices.iter().find(|choice| text_of(&choice.value) == typed);
        let by_label = || field.choices.iter().find(|choice| choice.label.as_deref() == Some(typed));
        let place = || typed.parse::<usize>().ok().filter(|_| field.is_chosen_by_place())?.checked_sub(1);
        let found = by_value.or_else(by_label).or_else(|| field.choices.get(place()?));
        return vec![
            found.map_or_else(|| as_json.unwrap_or_else(|| json!(typed)), |choice| choice.value.clone()),
        ];
    }
    let text = if typed == "\"\"" { Value::from("") } else { Value::from(typed) };
    let kinds = types(&field.schema);
    let mut meanings = Vec::new();
    // In this order: what is a number is one, if that may be.
    for kind in ["null", "boolean", "integer", "number", "array", "object", "string"] {
        if !kinds.contains(&kind) {
            continue;
        }
        meanings.extend(match kind {
            "boolean" => yes_or_no(typed).map(Value::Bool),
            "integer" | "number" => as_json.clone().filter(Value::is_number),
            "null" => as_json.clone().filter(Value::is_null),
            "array" => Some(list(&field.schema, typed, as_json.as_ref())),
            "object" => as_json.clone().filter(Value::is_object),
            _ => Some(text.clone()),
        });
    }
    if kinds.is_empty() {
        meanings.extend(as_json);
        meanings.push(text);
    }
    meanings
}

fn yes_or_no(typed: &str) -> Option<bool> {
    match typed.to_lowercase().as_str() {
        "y" | "yes" | "true" => Some(true),
        "n" | "no" | "false" => Some(false),
        _ => None,
    }
}

/// Reads a list: as JSON, or its items between commas.
fn list(schema: &Value, typed: &str, as_json: Option<&Value>) -> Value {
    if let Some(list) = as_json.filter(|value| value.is_array()) {
        return list.clone();
    }
    let item = Field {
        name: String::new(),
        choices: choices(None, &schema["items"]),
        schema: schema["items"].clone(),
        required: true,
        entered: None,
    };
    let items = typed.split(',').map(str::trim).filter(|part| !part.is_empty());
    items.map(|part| meanings(&item, part).into_iter().next().unwrap_or_else(|| json!(part))).collect()
}

/// Returns a value as it is typed: a text without quotes.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        other => other.as_str().map_or_else(|| other.to_string(), str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(schema: Value, options: Value) -> Form {
        let some = |value: Value| Some(value).filter(|value| !value.is_null());
        Form::of(&Question { schema: some(schema), options: some(options), ..Question::default() }).unwrap()
    }

    /// Enters one line for the only field.
    fn only(schema: Value, typed: &str) -> Entered {
        form(schema, Value::Null).enter(typed)
    }

    fn is_wrong(entered: &Entered, part: &str) -> bool {
        matches!(entered, Entered::Wrong(wrong) if wrong.iter().any(|line| line.contains(part)))
    }

    #[test]
    fn an_object_is_asked_for_field_by_field() {
        let mut form = form(
            json!({
                "type": "object", "required": ["approved"], "additionalProperties": false,
                "properties": {
                    "approved": {"type": "boolean", "title": "Approve the discount"},
                    "discount": {"type": "integer", "minimum": 0, "maximum": 50, "default": 10},
                    "channel": {"enum": ["shop", "web"]},
                    "comment": {"type": "string", "maxLength": 5},
                },
            }),
            Value::Null,
        );
        assert_eq!(form.wants(), ["approved: yes or no · Approve the discount"]);
        assert_eq!(form.on_empty(), None);
        assert!(is_wrong(&form.enter(""), "needs an answer"));
        assert!(is_wrong(&form.enter("perhaps"), "perhaps is not yes or no"));
        assert_eq!(form.enter("Yes"), Entered::Next);
        assert_eq!(form.wants(), ["discount: whole number, 0 to 50, optional"]);
        assert_eq!(form.on_empty().unwrap(), "Enter alone: 10");
        assert!(is_wrong(&form.enter("80"), "50"));
        assert!(is_wrong(&form.enter("1.5"), "integer"));
        assert_eq!(form.enter(""), Entered::Next);
        assert_eq!(form.wants(), ["channel: one of, optional", "  1  shop", "  2  web"]);
        assert_eq!(form.enter("2"), Entered::Next);
        assert_eq!(form.place(), (4, 4));
        assert!(is_wrong(&form.enter("far too long"), ""));
        assert_eq!(form.on_empty().unwrap(), "Enter alone leaves it out");
        let answer = json!({"approved": true, "discount": 10, "channel": "web"});
        assert_eq!(form.enter(""), Entered::Whole(answer));
    }

    #[test]
    fn what_does_not_go_together_is_asked_again_with_what_was_entered() {
        let mut form = form(
            json!({
                "properties": {"from": {"type": "integer"}, "to": {"type": "integer"}},
                "if": {"properties": {"from": {"const": 1}}, "required": ["from"]},
                "then": {"properties": {"to": {"maximum": 5}}, "required": ["to"]},
            }),
            Value::Null,
        );
        assert_eq!(form.enter("1"), Entered::Next);
        assert!(is_wrong(&form.enter("9"), "/to"));
        assert_eq!((form.place(), form.on_empty().unwrap()), ((2, 2), "Enter alone: 9".into()));
        assert_eq!(form.enter("4"), Entered::Whole(json!({"from": 1, "to": 4})));
    }

    #[test]
    fn options_are_chosen_by_value_label_or_place() {
        let options = json!([{"value": "yes", "label": "Ship it"}, "no"]);
        for typed in ["yes", "Ship it", "1"] {
            assert_eq!(form(Value::Null, options.clone()).enter(typed), Entered::Whole(json!("yes")));
        }
        assert!(is_wrong(&form(Value::Null, options.clone()).enter("3"), "is not one of the options"));
        assert_eq!(form(Value::Null, options).wants(), ["one of", "  1  yes — Ship it", "  2  no"]);
        for numbers in
            [json!([{"value": 2, "label": "two"}, 1]), json!([{"value": "2", "label": "two"}, "1"])]
        {
            let mut form = form(Value::Null, numbers.clone());
            assert_eq!(
                form.wants(),
                ["one of", "  2 — two", "  1"],
                "no place that could be taken for a value"
            );
            let first = numbers[0]["value"].clone();
            assert_eq!(form.enter("2"), Entered::Whole(first), "a value, not a place");
        }
    }

    #[test]
    fn what_is_typed_is_read_as_its_type_wants() {
        let whole = |value: Value| Entered::Whole(value);
        assert_eq!(only(Value::Null, "42"), whole(json!("42")), "without a form an answer is a text");
        assert_eq!(only(json!({"type": "string"}), "\"\""), whole(json!("")));
        assert_eq!(only(json!({"type": "number"}), "1.5"), whole(json!(1.5)));
        assert_eq!(only(json!({"type": ["null", "string"]}), "null"), whole(json!(null)));
        assert_eq!(
            only(json!({"type": "array", "items": {"type": "integer"}}), "1, 2"),
            whole(json!([1, 2]))
        );
        assert_eq!(only(json!({"type": "array"}), "[\"a\"]"), whole(json!(["a"])));
        assert_eq!(only(json!({"minimum": 3}), "4"), whole(json!(4)));
        assert_eq!(only(json!({"type": "object"}), "{\"a\": 1}"), whole(json!({"a": 1})));
        assert!(is_wrong(&only(json!({"type": "object"}), "a"), "object"));
        let referring =
            json!({"properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}});
        let mut form = form(referring, Value::Null);
        assert_eq!(form.wants(), ["n: whole number, optional"]);
        assert_eq!(form.enter("3"), Entered::Whole(json!({"n": 3})));
    }

    #[test]
    fn what_became_of_an_attempt_is_asked_with_what_the_verb_wants() {
        let schema = json!({
            "type": "object", "required": ["verb"], "additionalProperties": false,
            "properties": {"verb": {"enum": ["retry", "complete", "fail"]}, "value": {}, "reason": {"type": "string"}},
        });
        let question = Question { schema: Some(schema), settles: true, ..Question::default() };
        let mut form = Form::of(&question).unwrap();
        assert_eq!(form.enter("complete"), Entered::Next);
        assert_eq!(form.wants(), ["value: JSON or text, optional"]);
        assert_eq!(form.enter("3"), Entered::Whole(json!({"verb": "complete", "value": 3})));
        let mut form = Form::of(&question).unwrap();
        assert_eq!(form.enter("retry"), Entered::Whole(json!({"verb": "retry"})));
    }
}
