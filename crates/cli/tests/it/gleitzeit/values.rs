//! Substitution: values keep their type, texts are spliced, and only what is there can be named (G8).

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// What the step `Load.v1 Data` results in.
fn loaded() -> Value {
    json!({
        "a": {"b": [1, {"c": null}], "a key": true, "}": "brace", "7": "seven"},
        "items": ["x", 2.5, -3, "ä \u{1F600}", "", false, {"deep": [[]]}],
        "text": "two\nlines, \"quoted\" and ${not.a.reference}",
        "big": 9_007_199_254_740_993_i64,
    })
}

/// G8: each way to name a value, whole and embedded.
#[test]
fn g08_references_name_values_by_path_and_keep_their_types() {
    let sandbox = Sandbox::new();
    let value = loaded();
    let cases: Vec<(&str, Value)> = vec![
        ("${Load.v1 Data}", value.clone()),
        ("${ Load.v1 Data.result }", value.clone()),
        ("${Load.v1 Data.result.a.b}", value["a"]["b"].clone()),
        ("${Load.v1 Data.result.items[0]}", json!("x")),
        ("${Load.v1 Data.result.items.1}", json!(2.5)),
        ("${Load.v1 Data.result.items[2]}", json!(-3)),
        ("${Load.v1 Data.result.items[3]}", json!("ä \u{1F600}")),
        ("${Load.v1 Data.result.items[4]}", json!("")),
        ("${Load.v1 Data.result.items[5]}", json!(false)),
        ("${Load.v1 Data.result.items[6].deep}", json!([[]])),
        ("${Load.v1 Data.result.a.b[1].c}", Value::Null),
        ("${Load.v1 Data.result.a[\"a key\"]}", json!(true)),
        ("${Load.v1 Data.result.a['}']}", json!("brace")),
        ("${Load.v1 Data.result.a.7}", json!("seven")),
        ("${Load.v1 Data.result.big}", value["big"].clone()),
        ("${Load.v1 Data.status}", json!("completed")),
        ("${Load.v1 Data.success}", json!(true)),
        ("${Load.v1 Data.error}", Value::Null),
        ("${Load.v1 Data.output}", json!("{\"result\": \"from stdout\"}\n")),
        ("${input.who}", json!("Anna")),
        ("${input}", json!({"who": "Anna"})),
        ("a ${Load.v1 Data.result.a.b} b", json!("a [1,{\"c\":null}] b")),
        ("${input.who}${Load.v1 Data.result.items[4]}!", json!("Anna!")),
        ("n=${Load.v1 Data.result.items[2]}", json!("n=-3")),
        ("${Load.v1 Data.result.text}", value["text"].clone()),
        (" ${Load.v1 Data.result.text}", json!(format!(" {}", value["text"].as_str().unwrap()))),
        ("$${Load.v1 Data}", json!("${Load.v1 Data}")),
        ("$$${input.who}", json!("$Anna")),
        ("$$$${input.who}", json!("$${input.who}")),
        ("5 $ and {x} and $x", json!("5 $ and {x} and $x")),
    ];
    let given: Vec<&str> = cases.iter().map(|(text, _)| *text).collect();
    let code = "import json\nprint('{\"result\": \"from stdout\"}')\nresult = json.loads(args['value'])\n";
    let definition = json!({"steps": [
        {"name": "Load.v1 Data", "method": "python/execute", "params": {"code": code, "args": {"value": value.to_string().replace("${", "$${")}}},
        {"name": "use", "method": "python/execute", "needs": ["Load.v1 Data"],
         "params": {"code": "result = args['values']", "args": {"values": given}}},
    ]});
    sandbox.write("refer.json", &definition.to_string());
    let told = sandbox.run(&["run", "refer.json", "--param", "who=Anna", "--json"]);
    assert_eq!(told.code, 0, "{told:?}");
    let used = told.json()["results"]["use"]["result"].clone();
    for (at, (text, expected)) in cases.iter().enumerate() {
        assert_eq!(used[at], *expected, "{text}");
    }
}
