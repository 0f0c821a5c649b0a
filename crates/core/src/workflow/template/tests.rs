use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;

struct World(Value);

impl Scope for World {
    fn root(&self, root: &Root) -> Option<View<'_>> {
        match root {
            Root::Step(id) => self.0.get("steps")?.get(&**id).map(View::from),
            Root::Input => self.0.get("input").map(View::from),
            Root::Item => self.0.get("item").map(View::from),
            Root::Index => Some(View::from(json!(2))),
        }
    }
}

fn names(name: &str) -> Option<Arc<str>> {
    ["A", "B c", "my.step"].contains(&name).then(|| name.into())
}

fn world() -> World {
    World(json!({
        "steps": {
            "A": {"result": {"list": [1, true, null, "é"], "text": "say ${input.x} $${y}", "f": 1.0}, "response": "hi"},
            "B c": {"result": null},
            "my.step": {"result": "dotted"},
        },
        "input": {"x": "from input"},
        "item": {"k": 1},
    }))
}

proptest! {
    /// G32: whatever a file is called, its name arrives as it is.
    #[test]
    fn escaped_text_is_no_reference_and_resolves_to_itself(text in "[a${}\\\\\\[\n.é]{0,24}") {
        let value = json!(escaped(&text));
        let template = Template::parse(&value, &names).unwrap();
        prop_assert_eq!(template.as_literal(), Some(&json!(text)));
    }
}

fn resolve(value: &Value) -> Value {
    Template::parse(value, &names).unwrap().resolve(&world()).unwrap().into_owned()
}

#[test]
fn a_whole_string_keeps_the_type() {
    for (text, value) in [
        ("${A.result.list}", json!([1, true, null, "é"])),
        ("${ A.result.list[1] }", json!(true)),
        ("${A.result.list.2}", json!(null)),
        ("${A.result.f}", json!(1.0)),
        ("${A.response}", json!("hi")),
        ("${B c}", json!(null)),
        ("${my.step}", json!("dotted")),
        ("${index}", json!(2)),
        ("${item}", json!({"k": 1})),
        ("${A}", json!({"list": [1, true, null, "é"], "text": "say ${input.x} $${y}", "f": 1.0})),
    ] {
        assert_eq!(resolve(&json!(text)), value, "{text}");
    }
}

#[test]
fn embedded_text_is_raw_or_compact_json() {
    assert_eq!(resolve(&json!("<${A.result.list}>")), json!(r#"<[1,true,null,"é"]>"#));
    assert_eq!(resolve(&json!("${A.response}${B c}${A.result.f}")), json!("hinull1.0"));
    assert_eq!(resolve(&json!({"a": ["x ${input.x}", 1]})), json!({"a": ["x from input", 1]}));
}

#[test]
fn dollars_before_a_brace_count() {
    for (text, value) in [
        ("$${x}", "${x}"),
        ("$$${A.response}", "$hi"),
        ("$$$${x}", "$${x}"),
        ("$$$$${A.response}", "$$hi"),
        ("$ $$ {x} $x $", "$ $$ {x} $x $"),
        ("cost $$${A.response}$", "cost $hi$"),
    ] {
        assert_eq!(resolve(&json!(text)), json!(value), "{text}");
    }
}

#[test]
fn values_are_never_scanned_again() {
    assert_eq!(resolve(&json!("${A.result.text}")), json!("say ${input.x} $${y}"));
    assert_eq!(resolve(&json!("> ${A.result.text}")), json!("> say ${input.x} $${y}"));
}

#[test]
fn every_problem_is_reported_with_its_path() {
    let value = json!({
        "a": ["ok", "${nope.x} and ${A..x} and ${"],
        "k${A}": 1,
        "k$${A}": {"deep": "${}"},
    });
    let problems = Template::parse(&value, &names).unwrap_err();
    let shown: Vec<_> = problems.iter().map(|p| format!("{} {:?}", p.path, p.kind)).collect();
    assert_eq!(
        shown,
        [
            "a[1] UnknownRoot(\"nope\")",
            "a[1] Syntax",
            "a[1] Syntax",
            "[\"k${A}\"] Key",
            "[\"k$${A}\"].deep Syntax",
        ]
    );
}

#[test]
fn an_escaped_key_is_plain_text() {
    assert_eq!(resolve(&json!({"k$${A}": "${A.response}"})), json!({"k${A}": "hi"}));
}

#[test]
fn references_come_in_order_and_missing_ones_are_named() {
    let template = Template::parse(&json!(["${A.x}", {"b": "${input.q} ${item}"}]), &names).unwrap();
    let sources: Vec<_> = template.references().map(Reference::source).collect();
    assert_eq!(sources, ["A.x", "input.q", "item"]);
    let missing = template.resolve(&world()).unwrap_err();
    assert_eq!(missing.reference, "A.x");
    assert_eq!(missing.available_keys, ["result", "response"]);
}

#[test]
fn a_template_without_references_is_borrowed() {
    let template = Template::parse(&json!({"a": [1, "x", "$${y}"]}), &()).unwrap();
    assert!(matches!(template.resolve(&world()), Ok(Cow::Borrowed(_))));
    assert_eq!(template.as_literal(), Some(&json!({"a": [1, "x", "${y}"]})));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z${}$\\\\\"'. é\n]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z${}]{0,6}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn escape(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(escape_text(text)),
        Value::Array(list) => list.iter().map(escape).collect(),
        Value::Object(map) => map.iter().map(|(key, item)| (escape_text(key), escape(item))).collect(),
        scalar => scalar.clone(),
    }
}

/// Doubles every run of dollars that stands before a brace.
fn escape_text(text: &str) -> String {
    let mut out = String::new();
    let mut run = 0;
    for c in text.chars() {
        if c == '{' {
            out.extend(std::iter::repeat_n('$', run));
        }
        run = if c == '$' { run + 1 } else { 0 };
        out.push(c);
    }
    out
}

proptest! {
    #[test]
    fn escaped_text_comes_back(value in any_json()) {
        let template = Template::parse(&escape(&value), &()).unwrap();
        prop_assert_eq!(template.as_literal(), Some(&value));
    }

    #[test]
    fn a_value_arrives_unchanged_whatever_it_holds(value in any_json()) {
        let world = World(json!({"input": {"v": value}}));
        let template = Template::parse(&json!(["${input.v}", "<${input['v']}>"]), &()).unwrap();
        let resolved = template.resolve(&world).unwrap();
        prop_assert_eq!(&resolved[0], &value);
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        prop_assert_eq!(resolved[1].as_str().unwrap(), format!("<{text}>"));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[$AB.{}\\[\\]\"'\\\\ 0-9é\n]{0,40}") {
        let _ = Template::parse(&json!(text), &names);
    }
}
