//! Answers against their forms: a JSON Schema (2020-12), a list of options, or both.
//!
//! Schemas come from workflow files and from functions, so nothing in one may reach out or run long: references
//! to other documents are refused, and patterns are matched in linear time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde::Serialize;
use serde_json::Value;
use stepwell_core::canonical::canonical;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::run::wait::Question;
use stepwell_core::spelling::nearest;

/// So many compiled schemas are kept; then all are forgotten, since compiling them again is cheap.
const MAX_KNOWN: usize = 256;

/// Most faults of one answer that are told.
const MAX_FAULTS: usize = 50;

/// The types of JSON Schema.
const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];

/// What an answer must be.
///
/// ```
/// use serde_json::json;
/// use stepwell_engine::forms::Form;
///
/// let schema = json!({"type": "object", "properties": {"days": {"type": "integer", "minimum": 1}}});
/// let form = Form::new(Some(&schema), None).unwrap();
/// assert!(form.check(&json!({"days": 3})).is_empty());
///
/// let faults = form.check(&json!({"days": 0}));
/// assert_eq!(faults[0].path, "/days");
/// assert_eq!(faults[0].keyword, "minimum");
/// ```
#[derive(Clone, Debug)]
pub struct Form {
    validator: Option<Arc<Validator>>,
    options: Option<Vec<Value>>,
}

/// One thing that is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where in the answer, as a JSON pointer; empty: the answer itself.
    pub path: String,
    /// What is wrong, for people.
    pub message: String,
    /// The keyword of the schema that is not met; `enum` for options.
    pub keyword: String,
}

impl Form {
    /// Reads a form. `options` is a list of values, or of objects with a `value`.
    ///
    /// # Errors
    /// `INVALID_PARAMS` if the schema is none, points outside of itself or holds a pattern that needs
    /// backtracking, or if the options are no list or an empty one.
    pub fn new(schema: Option<&Value>, options: Option<&Value>) -> Result<Self, ErrorObject> {
        let validator = schema.map(compiled).transpose()?;
        let options = options.map(option_values).transpose()?;
        Ok(Self { validator, options })
    }

    /// Returns what is wrong with an answer; nothing if it fits.
    pub fn check(&self, answer: &Value) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some(options) = &self.options
            && !options.contains(answer)
        {
            let listed = options.iter().take(20).map(Value::to_string).collect::<Vec<_>>().join(", ");
            faults.push(Fault {
                path: String::new(),
                message: format!("{} is not one of the options {listed}", shown(answer)),
                keyword: "enum".into(),
            });
        }
        if let Some(validator) = &self.validator {
            let found = validator.iter_errors(answer).take(MAX_FAULTS).map(|error| Fault {
                path: error.instance_path().to_string(),
                message: error.masked_with("the value").to_string(),
                keyword: error.kind().keyword().to_owned(),
            });
            faults.extend(found);
        }
        faults
    }
}

/// Checks an answer to a question.
///
/// # Errors
/// `ANSWER_INVALID` with `data.errors`: every fault as `{path, message, keyword}`. `INVALID_PARAMS` if the
/// question's own form cannot be read.
pub fn check_answer(question: &Question, answer: &Value) -> Result<(), ErrorObject> {
    let faults = Form::new(question.schema.as_ref(), question.options.as_ref())?.check(answer);
    let Some(first) = faults.first() else { return Ok(()) };
    let place = if first.path.is_empty() { String::new() } else { format!(" at {}", first.path) };
    let more = if faults.len() > 1 { format!(" (and {} more)", faults.len() - 1) } else { String::new() };
    let errors = serde_json::to_value(&faults).expect("faults hold nothing that JSON cannot hold");
    Err(ErrorObject::new(
        Code::ANSWER_INVALID,
        format!("the answer does not fit its form{place}: {}{more}", first.message),
    )
    .with_hint("the question is still open; answer again")
    .with("errors", errors))
}

/// Returns the validator of a schema, compiled once.
fn compiled(schema: &Value) -> Result<Arc<Validator>, ErrorObject> {
    static KNOWN: OnceLock<Mutex<HashMap<String, Arc<Validator>>>> = OnceLock::new();
    let known = KNOWN.get_or_init(Mutex::default);
    let text = canonical(schema);
    if let Some(validator) = known.lock().expect("no panic happens under this lock").get(&text) {
        return Ok(validator.clone());
    }
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(true)
        .offline()
        .build(schema)
        .map_err(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
            let why = no_type(&error).unwrap_or_else(|| error.to_string());
            ErrorObject::new(Code::INVALID_PARAMS, format!("not a JSON Schema{place}: {why}"))
                .with("parameter", "schema")
                .with("reason", "invalid_schema")
        })?;
    let validator = Arc::new(validator);
    let mut known = known.lock().expect("no panic happens under this lock");
    if known.len() >= MAX_KNOWN {
        known.clear();
    }
    known.insert(text, validator.clone());
    Ok(validator)
}

/// Says that a type is none, where that is what is wrong with a schema; the schema of schemas has many ways to be wrong there.
fn no_type(error: &ValidationError) -> Option<String> {
    let is_type = error.instance_path().to_string().ends_with("/type");
    let word = error.instance().as_str().filter(|_| is_type)?;
    let near = nearest(word, TYPES).map_or_else(String::new, |near| format!(" (did you mean '{near}'?)"));
    Some(format!("there is no type '{word}'{near}; there are {}", TYPES.join(", ")))
}

fn option_values(options: &Value) -> Result<Vec<Value>, ErrorObject> {
    match options.as_array().filter(|list| !list.is_empty()) {
        Some(list) => Ok(list.iter().map(|option| option.get("value").unwrap_or(option).clone()).collect()),
        None => Err(ErrorObject::new(
            Code::INVALID_PARAMS,
            "the options of a question are a list of at least one",
        )
        .with("parameter", "options")
        .with("reason", "invalid_options")),
    }
}

/// Returns a value as text that fits into a message.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn question(schema: Value, options: Value) -> Question {
        let some = |value: Value| Some(value).filter(|value| !value.is_null());
        Question { schema: some(schema), options: some(options), ..Question::default() }
    }

    #[test]
    fn a_type_that_there_is_not_is_told_with_those_that_there_are() {
        let why = |schema: Value| Form::new(Some(&schema), None).unwrap_err().message;
        assert_eq!(
            why(json!({"type": "boolan"})),
            "not a JSON Schema at /type: there is no type 'boolan' (did you mean 'boolean'?); there are array, boolean, \
             integer, null, number, object, string"
        );
        assert!(
            why(json!({"properties": {"a": {"type": "date"}}}))
                .contains("there is no type 'date'; there are")
        );
    }

    #[test]
    fn every_fault_is_told_with_path_and_keyword() {
        let schema = json!({
            "type": "object",
            "required": ["name"],
            "properties": {"days": {"type": "integer"}, "tags": {"items": {"enum": ["a", "b"]}}},
            "additionalProperties": false,
        });
        let error =
            check_answer(&question(schema, Value::Null), &json!({"days": "x", "tags": ["a", "c"], "z": 1}));
        let error = error.unwrap_err();
        assert_eq!(error.code, Code::ANSWER_INVALID);
        let mut found: Vec<_> = error.data["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| format!("{} {}", e["path"].as_str().unwrap(), e["keyword"].as_str().unwrap()))
            .collect();
        found.sort();
        assert_eq!(found, [" additionalProperties", " required", "/days type", "/tags/1 enum"]);
    }

    #[test]
    fn a_question_without_a_form_takes_anything() {
        assert!(check_answer(&Question::default(), &json!({"any": [1]})).is_ok());
    }

    #[test]
    fn options_are_an_enum_with_or_without_labels() {
        let labelled = question(Value::Null, json!([{"value": "yes", "label": "Yes!"}, {"value": 2}]));
        assert!(check_answer(&labelled, &json!("yes")).is_ok());
        assert!(check_answer(&labelled, &json!(2)).is_ok());
        let error = check_answer(&labelled, &json!("Yes!")).unwrap_err();
        assert_eq!(error.data["errors"][0]["keyword"], "enum");
        assert!(check_answer(&question(Value::Null, json!(["a"])), &json!("a")).is_ok());
        assert_eq!(Form::new(None, Some(&json!([]))).unwrap_err().code, Code::INVALID_PARAMS);
    }

    #[test]
    fn a_schema_that_is_none_is_an_error_of_the_question() {
        for schema in [json!({"type": "strnig"}), json!(3), json!({"minimum": "x"}), json!({"pattern": "("})]
        {
            let error = Form::new(Some(&schema), None).unwrap_err();
            assert_eq!(error.code, Code::INVALID_PARAMS, "{schema}");
            assert_eq!(error.data["parameter"], "schema");
        }
    }

    #[test]
    fn nothing_is_fetched() {
        for target in ["https://example.com/schema.json", "file:///etc/passwd", "other.json"] {
            assert!(Form::new(Some(&json!({"$ref": target})), None).is_err(), "{target}");
        }
        let inner = json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}});
        assert!(!Form::new(Some(&inner), None).unwrap().check(&json!("x")).is_empty());
    }

    #[test]
    fn patterns_take_linear_time() {
        let form = Form::new(Some(&json!({"pattern": "^(a+)+$"})), None).unwrap();
        let started = std::time::Instant::now();
        assert!(!form.check(&json!(format!("{}!", "a".repeat(50_000)))).is_empty());
        assert!(started.elapsed().as_secs() < 5);
        assert!(
            Form::new(Some(&json!({"pattern": "(?=a)b"})), None).is_err(),
            "look-ahead needs backtracking"
        );
    }
}
