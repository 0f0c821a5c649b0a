//! Values that belong to no run. Acceptance F1 and F20.

use serde_json::json;

use crate::sandbox::Sandbox;
use crate::transcript::Transcript;

#[test]
fn state_is_written_read_listed_and_deleted_and_a_stale_write_is_refused() {
    let sandbox = Sandbox::new();
    let mut transcript = Transcript::default();
    let mut run = |args: &[&str]| transcript.run(&sandbox, args);
    assert_eq!(run(&["state", "get", "watermark"]).code, 4);
    assert!(!sandbox.path().join(".stepwell").exists(), "reading makes no store");
    assert_eq!(run(&["state", "set", "watermark", r#"{"id": 7}"#, "--if-version", "0"]).code, 0);
    assert_eq!(run(&["state", "set", "watermark", r#"{"id": 8}"#, "--if-version", "3"]).code, 5);
    assert_eq!(run(&["state", "set", "watermark", "8"]).code, 2);
    assert_eq!(run(&["state", "set", "watermark", "{"]).code, 2);
    assert_eq!(run(&["state", "set", "", "{}"]).code, 2);
    assert_eq!(run(&["state", "set", "watermark", r#"{"id": 8}"#, "--if-version", "1"]).code, 0);
    assert_eq!(run(&["state", "get", "watermark"]).json(), json!({"id": 8}));
    run(&["state", "get", "watermark", "--json"]);
    assert_eq!(run(&["state", "set", "other", "{}", "--json"]).json()["version"], json!(1));
    run(&["state", "list"]);
    run(&["state", "list", "wa", "--json"]);
    assert_eq!(run(&["state", "delete", "watermark", "--if-version", "1"]).code, 5);
    assert_eq!(run(&["state", "delete", "watermark"]).code, 0);
    assert_eq!(run(&["state", "delete", "watermark"]).code, 4);
    run(&["state", "list", "x"]);
    transcript.check("state");
}

#[test]
fn a_value_comes_from_a_file_and_is_bounded() {
    let sandbox = Sandbox::new();
    sandbox.write("value.json", r#"{"from": "a file"}"#);
    assert_eq!(sandbox.run(&["state", "set", "k", "@value.json"]).code, 0);
    sandbox.write("large.json", &format!(r#"{{"x": "{}"}}"#, "y".repeat(1 << 20)));
    let refused = sandbox.run(&["state", "set", "k", "@large.json", "--json"]);
    assert_eq!((refused.code, &refused.error()["name"]), (2, &json!("STATE_VALUE_INVALID")));
    assert_eq!(sandbox.run(&["state", "get", "k"]).json(), json!({"from": "a file"}));
}
