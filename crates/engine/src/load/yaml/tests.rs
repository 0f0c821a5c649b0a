mod oracle;

use serde_json::json;
use stepwell_core::workflow::path::Part;

use super::*;

#[test]
fn scalars_follow_yaml_1_2() {
    let text = "a: no\nb: yes\nc: on\nd: true\ne: 12\nf: 1.0\ng: ~\nh: 0x10\ni: '1'\nj: 2024-01-01\nl:\n1: x\ntrue: y\n";
    let expected = json!({
        "a": "no", "b": "yes", "c": "on", "d": true, "e": 12, "f": 1.0, "g": null, "h": 16, "i": "1",
        "j": "2024-01-01", "l": null, "1": "x", "true": "y",
    });
    assert_eq!(read(text).unwrap().to_value(), expected);
}

#[test]
fn every_value_and_key_knows_its_place() {
    let node = read("a: 1\nlist:\n  - x: &x [1, 2]\n  - *x\n").unwrap();
    let Kind::Object(members) = &node.kind else { panic!("{node:?}") };
    assert_eq!(members[1].key_at, Some(Position { line: 2, column: 1, start: 5, end: 9 }));
    let at = |path: &[Part]| node.position_of(path).map(|at| (at.line, at.column));
    assert_eq!(at(&["a".into()]), Some((1, 4)));
    assert_eq!(at(&["list".into(), 0.into(), "x".into()]).map(|at| at.0), Some(3));
    assert_eq!(at(&["list".into(), 1.into()]), Some((4, 5)), "an alias stands where it is used");
}

#[test]
fn a_scalar_has_its_bytes_as_they_are_written() {
    let text = "a: 'it''s'\r\nb: \"é\\\"x\" # c\nc: |\n  first\n  second\n\nd: >-\n   x\n   y\ne: plain\n  text\nf: {g: 1.0}\n";
    let node = read(text).unwrap();
    let bytes = |key: &str| node.position_of(&[key.into()]).and_then(|at| at.of(text)).unwrap();
    let all: Vec<&str> = ["a", "b", "c", "d", "e", "f"].map(bytes).into();
    assert_eq!(all, ["'it''s'", "\"é\\\"x\"", "first\n  second\n\n", "x\n   y\n", "plain\n  text", "{"]);
}

#[test]
fn all_duplicates_are_found() {
    let node = read("a: 1\nb: {c: 1, c: 2}\na: 2\n1: a\n'1': b\n").unwrap();
    let found: Vec<_> =
        node.duplicates().into_iter().map(|(path, at)| (path.to_string(), at.unwrap().line)).collect();
    assert_eq!(found, [("b.c".to_owned(), 2), ("a".to_owned(), 3), ("1".to_owned(), 5)]);
}

/// Returns `line:column: message (hint)` of the error.
fn told(text: &str) -> String {
    let error = read(text).unwrap_err();
    let hint = error.hint.map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("{}:{}: {}{hint}", error.at.line, error.at.column, error.message)
}

#[test]
fn what_a_definition_cannot_hold_is_told_with_its_place() {
    for (text, message) in [
        ("a: .nan", "1:4: a number must be finite, not .nan (in quotes it is a text)"),
        ("a: -1e999", "1:4: the number -1e999 is too large (in quotes it is a text)"),
        (
            "- 18446744073709551616",
            "1:3: the number 18446744073709551616 does not fit into 64 bits (in quotes it is a text)",
        ),
        (
            "- 1234567890123456789012345678901234567890",
            "1:3: the number 123456789012345678901234567890… does not fit into 64 bits (in quotes it is a text)",
        ),
        ("é:\n  - !foo b", "2:5: the tag '!foo' is not known (a text that begins with '!' stands in quotes)"),
        (
            "!!python/object:os.system a",
            "1:1: the tag '!!python/object:os.system' is not known (a text that begins with '!' stands in quotes)",
        ),
        ("a: !x\n  b: c", "1:4: the tag '!x' is not known (a text that begins with '!' stands in quotes)"),
        ("a: !!int x", "1:4: the value is not what its tag '!!int' says"),
        ("a: !!map [b]", "1:4: the value is not what its tag '!!map' says"),
        ("a: !!seq b", "1:4: the value is not what its tag '!!seq' says"),
        ("? [1]\n: x", "1:3: a key is not a text"),
        ("~: x", "1:1: a key is empty (the text null stands in quotes)"),
        (
            "a: {<<: 1}",
            "1:9: '<<' takes an object or a list of objects (a key that is called so stands in quotes)",
        ),
        ("a: 1\n---\nb: 2\n", "2:1: there are several documents; a file is one"),
        ("a: &a {b: [*a]}", "1:12: this alias stands within what it stands for"),
        (
            "b: 1\na: *c",
            "2:4: not YAML: there is no such anchor before it (a text that begins with such a character stands in quotes)",
        ),
    ] {
        assert_eq!(told(text), message, "{text}");
    }
}

#[test]
fn what_is_no_document_is_told_in_words_of_people() {
    insta::assert_snapshot!(NO_DOCUMENTS.map(|text| format!("{text:?}\n    {}\n", told(text))).concat());
}

const NO_DOCUMENTS: [&str; 37] = [
    "a: [1\nb: 2\n",
    "a: [1, {b: 2]\n",
    "a: {b: 1, c",
    "a: 1}\n- ]",
    "[,]",
    "{a: 1}}",
    "{a: 1 b: 2}",
    "[a b: 'c' d]",
    "[\n- a\n]",
    "a: b: c",
    "a: 1\n b: 2",
    "a:b\nc: 1",
    "a:\n  - b\n c",
    "- a\nb: 1",
    "- - a\n -b",
    "steps:\n  -id: one\n    method: x",
    "steps:\n\t- id: x\n\t  method: y\n",
    "a: |\n  \tb\nc:\n\td: 1\n\te: 2\n",
    "a: -",
    "a: - b",
    "code: |\nx = 1\n",
    "a: |x\n b",
    "a: |\n    b\n  c\n",
    "a: 'b' c",
    "a: \"b\" c",
    "a: 'b\nc: d",
    "a: \"\\q\"",
    "a: \"\\ud800\"",
    "a: @b",
    "a: %b",
    "a: b\u{0}c",
    "a: &",
    "a: *",
    "a: !e!x 1",
    "a: !<x 1",
    "%YAML x\n---\na",
    "... x",
];

#[test]
fn tags_of_the_core_schema_are_obeyed() {
    let text = "{a: !!str 1, b: !!int '3', c: !!float 1, d: ! 1, e: !!null '', f: !!bool 'true', g: !!seq [], h: !!map {}, i: ! []}";
    let expected =
        json!({"a": "1", "b": 3, "c": 1.0, "d": "1", "e": null, "f": true, "g": [], "h": {}, "i": []});
    assert_eq!(read(text).unwrap().to_value(), expected);
}

#[test]
fn merge_keys_add_what_is_not_there() {
    let text = "b: &b {x: 1, y: 2}\nd: &d {x: 3, z: 4}\nm:\n  y: 5\n  <<: [*b, *d]\nn: {<<: *b, '<<': 6}\no: {<<: }\n";
    let node = read(text).unwrap();
    let expected = json!({
        "b": {"x": 1, "y": 2}, "d": {"x": 3, "z": 4}, "m": {"y": 5, "x": 1, "z": 4}, "n": {"<<": 6, "x": 1, "y": 2}, "o": {},
    });
    assert_eq!(node.to_value(), expected);
    assert_eq!(node.position_of(&["m".into(), "x".into()]).map(|at| at.line), Some(5), "where it is merged");
    assert_eq!(node.duplicates(), []);
}

#[test]
fn one_document_may_be_framed() {
    for text in ["a: 1", "---\na: 1\n...\n", "%YAML 1.2\n---\na: 1", "\u{feff}a: 1\r\n", "# c\n\na: 1 # d\n"]
    {
        assert_eq!(read(text).unwrap().to_value(), json!({"a": 1}), "{text:?}");
    }
    for (text, line) in [("", 1), ("# c\n", 2), ("---\n", 1)] {
        let node = read(text).unwrap();
        assert!(node.is_null() && node.at.is_some_and(|at| at.line == line), "{text:?}: {node:?}");
    }
}

#[test]
fn what_cannot_be_read_is_placed_at_its_byte() {
    for (text, at) in
        [("a:\r\n  b: 'é' x\r\nc: 1\r\n", "x"), ("a: 1\n\n\tb: 2\n", "\tb"), ("a: [1\nb: 2\n", ": 2")]
    {
        let found = read(text).unwrap_err().at;
        let rest = &text[found.start as usize..];
        assert!(rest.starts_with(at), "{text:?}: {found:?} {rest:?}");
    }
}

#[test]
fn a_document_as_deep_as_may_be_fits_into_any_thread() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let small = std::thread::Builder::new().stack_size(128 << 10);
    let read =
        small.spawn(move || [MAX_DEPTH, MAX_DEPTH + 1, 10_000].map(|levels| read(&nested(levels)).is_ok()));
    assert_eq!(read.unwrap().join().unwrap(), [true, false, false]);
}

#[test]
fn anchors_cannot_blow_up() {
    let begin = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    let laughs = (1..12).fold(begin, |text, i| {
        let aliases = vec![format!("*a{}", i - 1); 9].join(", ");
        format!("{text}a{i}: &a{i} [{aliases}]\n")
    });
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 90].join(", "));
    let nested = format!("{}{}{}", "&a [".repeat(99), "x, ".repeat(20_000), "]".repeat(99));
    for text in [laughs, long, nested] {
        let message = read(&text).unwrap_err().message;
        assert_eq!(message, "its anchors and aliases repeat more than 1000000 values or 16 MiB of text");
    }
}

#[test]
fn what_is_repeated_is_as_deep_as_it_would_be_if_it_were_written() {
    let text = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!("- &a {open}{close}\n- {open}*a{close}")
    };
    assert!(read(&text(49)).is_ok());
    assert_eq!(read(&text(50)).unwrap_err().message, "it is nested deeper than 100 levels");
}

#[test]
fn a_thousand_steps_may_share_what_one_has() {
    let text = format!("- &a {{x: 1, y: [2]}}\n{}", "- {<<: *a, z: 3}\n- *a\n".repeat(1_000));
    let Kind::List(nodes) = read(&text).unwrap().kind else { panic!() };
    assert_eq!((nodes.len(), nodes[1_999].to_value()), (2_001, json!({"z": 3, "x": 1, "y": [2]})));
}

#[test]
fn a_tab_that_indents_is_called_one() {
    for text in ["steps:\n\t- a\n", "steps:\n  - name: a\n\t  method: x\n"] {
        assert_eq!(
            read(text).unwrap_err().message,
            "not YAML: indent with spaces, not with tabs",
            "{text:?}"
        );
    }
}
