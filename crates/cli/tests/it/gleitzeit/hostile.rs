//! Values and names that want to be code: G31, G32, G33.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// Texts that break out of something: quotes, comments, escapes, line ends, references, shells.
const HOSTILE: [&str; 22] = [
    "'; open('owned', 'w'); '",
    "\"; open('owned', 'w'); \"",
    "'''\nopen('owned', 'w')\n'''",
    "\"\"\"\nopen('owned', 'w')\n\"\"\"",
    "\nopen('owned', 'w')\n",
    "\ropen('owned', 'w')\r",
    "\\",
    "\\\\'",
    "\\N{BULLET} \\x41 \\u0041 \\101",
    "{open('owned', 'w')}",
    "{{}}",
    "%s %(x)s",
    "${value}",
    "$${value}",
    "${input}",
    "a\u{0}b",
    "\u{2028}open('owned', 'w')\u{2029}",
    "\u{202e}evil",
    "$(touch owned) `touch owned`",
    "\u{feff}\u{1F600}é",
    "# not a comment",
    "",
];

/// Places in source where a reference may stand, each resulting in the text of the value.
const PLACES: [&str; 10] = [
    "result = ${value}",
    "result = '${value}'",
    "result = \"${value}\"",
    "result = '''${value}'''",
    "result = \"\"\"${value}\"\"\"",
    "result = f'${value}'",
    "result = f\"\"\"${value}\"\"\"",
    "result = '' '${value}' ''",
    "result = [${value}][0]  # ${value}",
    "result = (lambda text: text)(\n    ${value}\n)",
];

/// Writes a text as a parameter in which nothing is a reference.
fn literal(text: &str) -> String {
    let mut written = String::new();
    let mut dollars = 0;
    for character in text.chars() {
        if character == '{' {
            written.extend(std::iter::repeat_n('$', dollars));
        }
        dollars = if character == '$' { dollars + 1 } else { 0 };
        written.push(character);
    }
    written
}

/// G31: each hostile text in each place is data: exactly the value arrives, and nothing of it is executed.
#[test]
fn g31_a_value_in_python_code_is_data_wherever_it_stands() {
    let sandbox = Sandbox::new();
    let mut steps = vec![json!({"name": "value", "method": "python/execute",
        "params": {"args": {"texts": HOSTILE.map(literal)}, "code": "result = args['texts']"}})];
    for (at, _) in HOSTILE.iter().enumerate() {
        for (place, source) in PLACES.iter().enumerate() {
            steps.push(
                json!({"name": format!("{at}/{place}"), "method": "python/execute", "needs": ["value"],
                "params": {"code": source.replace("${value}", &format!("${{value.result[{at}]}}"))}}),
            );
        }
    }
    sandbox.write("hostile.json", &json!({ "steps": steps }).to_string());
    let told = sandbox.run(&["run", "hostile.json", "--json"]);
    let run = told.json();
    assert_eq!(told.code, 0, "{}", run["error"]);
    for (at, text) in HOSTILE.iter().enumerate() {
        for (place, source) in PLACES.iter().enumerate() {
            let result = &run["results"][format!("{at}/{place}")]["result"];
            assert_eq!(*result, *text, "{source} with {text:?}");
        }
    }
    assert!(!sandbox.path().join("owned").exists(), "something was executed");
}

/// G32: a script whose name wants to be something else is a script of that name.
#[test]
fn g32_names_of_files_execute_nothing_and_are_told_rightly() {
    let sandbox = Sandbox::new();
    let names = [
        "it's.py",
        "semi;colon touch owned.py",
        "$(touch owned).py",
        "new\nline.py",
        "-c.py",
        "${value}.py",
        "\"quoted\".py",
        "ümläut.py",
        "`touch owned`.py",
    ];
    let mut steps = Vec::new();
    for (at, name) in names.iter().enumerate() {
        sandbox.write(name, "result = __file__.rsplit('/', 1)[-1]\n");
        steps.push(json!({"name": format!("s{at}"), "method": "python/execute",
            "params": {"file": literal(name)}}));
    }
    sandbox.write("names.json", &json!({ "steps": steps }).to_string());
    let told = sandbox.run(&["run", "names.json", "--json"]);
    assert_eq!(told.code, 0, "{told:?}");
    for (at, name) in names.iter().enumerate() {
        assert_eq!(told.json()["results"][format!("s{at}")]["result"], *name);
    }
    assert!(!sandbox.path().join("owned").exists(), "something was executed");
}

/// G33: every way out of the roots is refused, at once where the path is written down, else when its step starts.
#[test]
fn g33_a_path_outside_the_roots_is_refused_however_it_is_written() {
    let sandbox = Sandbox::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("a.py"), "open('owned', 'w')\n").unwrap();
    symlink(outside.path().join("a.py"), sandbox.path().join("link.py")).unwrap();
    symlink(outside.path(), sandbox.path().join("folder")).unwrap();
    let above = format!("../{}/a.py", outside.path().file_name().unwrap().to_str().unwrap());
    let absolute = outside.path().join("a.py").display().to_string();
    for path in [absolute.as_str(), &above, "link.py", "folder/a.py", "folder/../link.py"] {
        for by_reference in [false, true] {
            let file = if by_reference { "${input.path}" } else { path };
            sandbox.write(
                "out.json",
                &json!({"steps": [{"name": "a", "method": "python/execute", "params": {"file": file}}]})
                    .to_string(),
            );
            let input = json!({ "path": path }).to_string();
            let told = sandbox.run(&["--store", "memory:", "run", "out.json", "--input", &input, "--json"]);
            assert_ne!(told.code, 0, "{path}");
            let error: Value = if told.out.is_empty() { told.error() } else { told.json()["error"].clone() };
            assert_eq!(
                (&error["code"], &error["data"]["reason"]),
                (&json!(-32602), &json!("outside_roots")),
                "{path}, by reference: {by_reference}: {error}"
            );
        }
    }
    assert!(!sandbox.path().join("owned").exists());
}
