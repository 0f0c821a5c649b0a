//! The commands that answer a question, as its form wants the answer.

use serde_json::{Map, Value, json};
use stepwell_core::run::wait::Question;

use crate::text;

/// So many choices are named.
const CHOICES: usize = 8;

/// Returns commands that answer a question; of several any one does. What stands for a choice is `a|b`, for a text `…`.
pub(crate) fn commands(target: &str, question: &Question) -> Vec<String> {
    let with = |flag: &str, value: &str| {
        format!("`stepwell answer {} {flag} {}`", text::word(target), text::word(value))
    };
    if question.settles {
        // One form of answers to the question what became of an attempt, whose verbs want different fields.
        let answers = [
            json!({"verb": "retry"}),
            json!({"verb": "complete", "value": "…"}),
            json!({"verb": "fail", "reason": "…"}),
        ];
        let verbs =
            question.schema.as_ref().and_then(|schema| schema["properties"]["verb"]["enum"].as_array());
        let is_offered = |answer: &&Value| verbs.is_none_or(|verbs| verbs.contains(&answer["verb"]));
        let offered = answers.iter().filter(is_offered);
        return offered.map(|answer| with("--json-value", &text::json(answer))).collect();
    }
    let options = question.options.as_ref().and_then(Value::as_array).map(|options| {
        options.iter().map(|option| option.get("value").unwrap_or(option).clone()).collect::<Vec<_>>()
    });
    let schema = question.schema.as_ref();
    let choices = options.or_else(|| schema?.get("enum")?.as_array().cloned());
    let is_text = |value: &Value| value.is_string();
    let (flag, value) = match (&choices, schema) {
        (Some(choices), _) if choices.iter().all(is_text) => {
            ("--text", joined(choices, |choice| choice.as_str().unwrap_or_default().to_owned()))
        }
        (Some(choices), _) => ("--json-value", joined(choices, text::json)),
        (None, None) => ("--text", "…".to_owned()),
        (None, Some(schema)) if schema["type"] == "string" => ("--text", "…".to_owned()),
        (None, Some(schema)) if schema["type"] == "boolean" => ("--json-value", "true|false".to_owned()),
        (None, Some(schema)) => ("--json-value", text::json(&sample(schema))),
    };
    vec![with(flag, &value)]
}

fn joined(choices: &[Value], shown: impl Fn(&Value) -> String) -> String {
    let mut named: Vec<String> = choices.iter().take(CHOICES).map(shown).collect();
    if choices.len() > CHOICES {
        named.push("…".into());
    }
    named.join("|")
}

/// Returns a value like those that a schema asks for; of an object what is required, or else all that is known.
fn sample(schema: &Value) -> Value {
    if let Some(first) =
        schema["enum"].get(0).or_else(|| schema.get("const")).or_else(|| schema.get("default"))
    {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("boolean") => Value::Bool(true),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("array") => json!([]),
        Some("null") => Value::Null,
        Some("object") => {
            let required = schema["required"].as_array().filter(|required| !required.is_empty());
            let properties = schema["properties"].as_object();
            let keys: Vec<&str> = match required {
                Some(required) => required.iter().filter_map(Value::as_str).collect(),
                None => properties.into_iter().flat_map(Map::keys).map(String::as_str).collect(),
            };
            keys.into_iter().map(|key| (key.to_owned(), sample(&schema["properties"][key]))).collect()
        }
        _ => json!("…"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(schema: Value, options: Value) -> String {
        let some = |value: Value| Some(value).filter(|value| !value.is_null());
        let question = Question { schema: some(schema), options: some(options), ..Question::default() };
        let commands = commands("w", &question);
        assert_eq!(commands.len(), 1);
        commands[0].strip_prefix("`stepwell answer w ").unwrap().trim_end_matches('`').to_owned()
    }

    #[test]
    fn the_answer_is_given_as_the_form_wants_it() {
        let null = Value::Null;
        assert_eq!(hint(null.clone(), null.clone()), "--text '…'");
        assert_eq!(hint(null.clone(), json!(["pizza", {"value": "salad"}])), "--text 'pizza|salad'");
        assert_eq!(hint(null.clone(), json!([1, "two"])), r#"--json-value '1|"two"'"#);
        assert_eq!(hint(json!({"type": "string"}), null.clone()), "--text '…'");
        assert_eq!(hint(json!({"enum": ["a", "b"]}), null.clone()), "--text 'a|b'");
        assert_eq!(hint(json!({"type": "boolean"}), null.clone()), "--json-value 'true|false'");
        assert_eq!(hint(json!({"type": "integer", "minimum": 5}), null.clone()), "--json-value 5");
        let object = json!({
            "type": "object",
            "properties": {"go": {"type": "boolean"}, "days": {"type": "integer"}, "why": {"type": "string"}},
            "required": ["go", "why"],
        });
        assert_eq!(hint(object, null), r#"--json-value '{"go":true,"why":"…"}'"#);
    }

    #[test]
    fn what_nobody_can_complete_by_hand_has_two_answers() {
        let schema = json!({"properties": {"verb": {"enum": ["retry", "fail"]}}});
        let commands =
            commands("w", &Question { settles: true, schema: Some(schema), ..Question::default() });
        assert_eq!(commands.len(), 2);
        assert_eq!(commands[1], r#"`stepwell answer w --json-value '{"verb":"fail","reason":"…"}'`"#);
    }

    #[test]
    fn what_became_of_an_attempt_has_three_answers() {
        let commands = commands("w", &Question { settles: true, ..Question::default() });
        assert_eq!(commands.len(), 3);
        assert_eq!(commands[0], r#"`stepwell answer w --json-value '{"verb":"retry"}'`"#);
    }
}
