//! What a real Python makes of resolved source: every value arrives exactly and nothing of it is executed
//! (spec/gleitzeit.md §8, G31).

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this test runs a real Python; the rules it tests do not"
)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::workflow::python_source::PythonSource;
use stepwell_core::workflow::template::{Root, Scope, View};

struct Result(Value);

impl Scope for Result {
    fn root(&self, root: &Root) -> Option<View<'_>> {
        matches!(root, Root::Step(_)).then(|| View::from(json!({"result": self.0})))
    }
}

fn names(name: &str) -> Option<Arc<str>> {
    (name == "A").then(|| "A".into())
}

/// Runs `driver` with the cases as JSON on its stdin and returns the JSON it prints.
fn python(driver: &str, cases: &[Value]) -> Value {
    let mut child = Command::new("python3")
        .args(["-I", "-W", "ignore", "-c", driver])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    stdin.write_all(Value::from(cases).to_string().as_bytes()).expect("python3 reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("python3 ends");
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).expect("the driver prints JSON")
}

/// Executes every case and reports those whose `result` is not as expected, or after which a canary is gone.
const EXECUTE: &str = r"
import builtins, json, sys
failed = []
for number, case in enumerate(json.load(sys.stdin)):
    space = dict(case['bindings'])
    try:
        exec(compile(case['code'], 'case', 'exec'), space)
        outcome = space.get('result', 'no result')
    except BaseException as error:
        outcome = repr(error)
    if hasattr(builtins, 'pwned'):
        del builtins.pwned
        outcome = 'executed'
    if json.dumps(outcome) != json.dumps(case['expected']):
        failed.append([number, str(outcome)[:200]])
json.dump(failed, sys.stdout)
";

fn hostile_values() -> Vec<Value> {
    let attack = "__import__('builtins').__setattr__('pwned', 1)";
    let mut values: Vec<Value> = [
        format!("'\n{attack}\n'"),
        format!("\"\n{attack}\n\""),
        format!("'; {attack}; '"),
        format!("\"; {attack} #"),
        format!("''' + str({attack}) + '''"),
        format!("\"\"\"\n{attack}\n\"\"\""),
        format!("\\'; {attack} #"),
        format!("\\\"; {attack} #"),
        format!("{{{attack}}}"),
        format!("{{{{{attack}}}}}"),
        format!("}}{attack}{{"),
        format!("\\x27; {attack} #"),
        format!("\r{attack}\r"),
        format!("\r\n{attack}\r\n"),
        format!("\u{c}{attack}"),
        format!("\u{2028}{attack}\u{85}"),
        format!("# {attack}"),
        attack.to_owned(),
        "\\".to_owned(),
        "\\\\\\".to_owned(),
        "'".to_owned(),
        "\"".to_owned(),
        "'''".to_owned(),
        "\\N{BULLET} \\u0041 \\U00000041 \\x41 \\101 \\n".to_owned(),
        "N{BULLET}".to_owned(),
        "41".to_owned(),
        "{x!r:>{y}}".to_owned(),
        "\0 and \u{1} \u{7f}".to_owned(),
        "${A} $${A} ${A.result} __stepwell_0__".to_owned(),
        "é☃😀\u{fffd}\u{e000}\u{10ffff}\u{feff}".to_owned(),
        String::new(),
        " leading and trailing ".to_owned(),
        "x'\"\\{}\n".repeat(14_000),
    ]
    .map(Value::from)
    .into();
    values.extend([
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5),
        json!(1e300),
        json!(-0.0),
        json!([]),
        json!({}),
        json!([1, [2, {"a'\"\n": [null, true]}], "}"]),
        json!({"result": {"nested": {"k": "${A}"}}, "'": "\\"}),
    ]);
    values
}

/// Source, what stands before and after the value's text in `result`; `None`: `result` is the value.
fn places() -> Vec<(&'static str, Option<(&'static str, &'static str)>)> {
    vec![
        ("result = ${A}", None),
        ("result = (${A})", None),
        ("result = [\n  ${A},\n][0]", None),
        ("class Holder:\n    value = ${A}\nresult = Holder.value", None),
        ("def f(x=${A}):\n    return x\nresult = f()", None),
        ("result = \\\n  ${A}\r\n", None),
        ("x = '#'; result = ${A} # ${A} '''", None),
        ("result = '${A}'", Some(("", ""))),
        ("result = \"${A}\"", Some(("", ""))),
        ("result = '''${A}'''", Some(("", ""))),
        ("result = \"\"\"${A}\"\"\"", Some(("", ""))),
        ("result = '''\n'${A}'\n'''", Some(("\n'", "'\n"))),
        ("result = f'${A}'", Some(("", ""))),
        ("result = f\"{1 + 1}${A}{'x'}\"", Some(("2", "x"))),
        ("result = f'''{1}{{${A}}}{2:>{3}}'''", Some(("1{", "}  2"))),
        ("result = F\"\"\"\n\"${A}\"\n\"\"\"", Some(("\n\"", "\"\n"))),
        ("result = u'${A}'", Some(("", ""))),
        ("result = 'a' '${A}' \"b\"", Some(("a", "b"))),
        ("result = r'a\\'b' '${A}'", Some(("a\\'b", ""))),
        ("result = '-' '${A}' f'{1}'", Some(("-", "1"))),
        ("result = '\\\\${A}\\\\'", Some(("\\", "\\"))),
        ("result = '\\'${A}\\''", Some(("'", "'"))),
        ("result = '\\\n${A}'", Some(("", ""))),
        ("result = '\\1${A}1'", Some(("\u{1}", "1"))),
        ("result = '\\x41${A}41'", Some(("A", "41"))),
        ("result = '\\N{BULLET}${A}'", Some(("•", ""))),
        ("result = f'\\N{BULLET}${A}'", Some(("•", ""))),
        ("result = '$$${A}$'", Some(("$", "$"))),
        ("result = 'é☃${A}é'", Some(("é☃", "é"))),
        ("# ${A}\nresult = '' # '${A}\n# ${A}\n", None),
    ]
}

#[test]
fn every_hostile_value_arrives_exactly_in_every_place() {
    let mut cases = Vec::new();
    let mut described = Vec::new();
    for (source, text) in places() {
        let parsed = PythonSource::parse(source, &names).unwrap();
        for value in hostile_values() {
            let as_text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let expected = match text {
                Some((before, after)) => json!(format!("{before}{as_text}{after}")),
                None if parsed.references().len() == 0 => json!(""),
                None => value.clone(),
            };
            let resolved = parsed.resolve(&Result(value)).unwrap();
            let code = resolved.code;
            cases.push(json!({"code": code, "bindings": resolved.bindings, "expected": expected}));
            described.push((source, as_text));
        }
    }
    let failed = python(EXECUTE, &cases);
    let failed = failed.as_array().unwrap();
    let shown = failed.iter().take(10).map(|failure| {
        let (source, value) = &described[failure[0].as_u64().unwrap() as usize];
        format!("{source:?} with {:?}: {}", &value.chars().take(60).collect::<String>(), failure[1])
    });
    assert!(
        failed.is_empty(),
        "{} of {} failed: {:#?}",
        failed.len(),
        cases.len(),
        shown.collect::<Vec<_>>()
    );
    assert!(cases.len() > 1000, "{} cases", cases.len());
}

/// Compiles every case and reports those in which Python sees other names or texts of ours than we put there,
/// or in which an empty text leaves anything but the same program without the text.
const COMPARE: &str = r"
import ast, json, sys
cases = json.load(sys.stdin)
failed, compiled = [], 0

def dump(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            node.values = [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == '')]
    return ast.dump(tree)

for number, case in enumerate(cases):
    try:
        tree = ast.parse(case['code'])
    except (SyntaxError, ValueError):
        continue
    compiled += 1
    names = texts = 0
    for node in ast.walk(tree):
        for field, value in ast.iter_fields(node):
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, str):
                    if isinstance(node, ast.Constant):
                        texts += part.count(case['text'])
                    else:
                        names += part.startswith('__stepwell_')
    if names != case['names'] or texts != case['texts']:
        failed.append([number, names, texts])
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = node.value.replace(case['text'], '')
    try:
        if dump(tree) != dump(ast.parse(case['empty'])):
            failed.append([number, dump(tree), dump(ast.parse(case['empty']))])
    except SyntaxError as error:
        failed.append([number, repr(error)])
json.dump([compiled, failed], sys.stdout)
";

/// A small generator of numbers, so that a failure can be seen again with the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }
}

const TOKENS: &[&str] = &[
    "${A}",
    "${A}",
    "${A}",
    "'",
    "'",
    "\"",
    "\"",
    "'''",
    "\"\"\"",
    "f'",
    "f\"",
    "f'''",
    "rf\"",
    "r'",
    "b'",
    "u\"",
    "{",
    "}",
    "{{",
    "}}",
    "{1}",
    "{x:",
    "{x!r}",
    "(",
    ")",
    "[",
    "]",
    ":",
    "\\",
    "\\\\",
    "\\'",
    "\\N{BULLET}",
    "\\1",
    "1",
    "\\x41",
    "#",
    "\n",
    "\r\n",
    " + ",
    " ",
    "x",
    "=",
];

/// Returns source that is likely to open, fill and close literals of every kind.
fn random_source(numbers: &mut Numbers) -> String {
    let mut source = String::from("x = ");
    for _ in 0..=numbers.below(8) {
        let token = TOKENS[numbers.below(TOKENS.len())];
        source.push_str(token);
        if token.ends_with(['\'', '"']) && numbers.below(3) > 0 {
            source.push_str(["${A}", "a${A}", "\\\\${A}", "{x}${A}", "#${A}"][numbers.below(5)]);
            source.push_str(token.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '\\'));
        }
    }
    source
}

#[test]
fn python_sees_each_reference_where_we_saw_it() {
    let seed = std::env::var("STEPWELL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut numbers = Numbers(seed);
    let text = "Q'\"\\{}\nQ";
    let mut cases = Vec::new();
    while cases.len() < 20_000 {
        let source = random_source(&mut numbers);
        let Ok(parsed) = PythonSource::parse(&source, &names) else { continue };
        let resolved = parsed.resolve(&Result(json!(text))).unwrap();
        let empty = parsed.resolve(&Result(json!(""))).unwrap().code;
        let (names, texts) = (resolved.bindings.len(), parsed.references().len() - resolved.bindings.len());
        cases.push(json!({
            "source": source, "code": resolved.code, "names": names, "texts": texts, "text": text, "empty": empty,
        }));
    }
    let outcome = python(COMPARE, &cases);
    let (compiled, failed) = (outcome[0].as_u64().unwrap(), outcome[1].as_array().unwrap());
    let shown: Vec<_> =
        failed.iter().take(10).map(|f| (f, &cases[f[0].as_u64().unwrap() as usize])).collect();
    assert!(
        failed.is_empty(),
        "seed {seed}: {} of {compiled} compiled cases differ: {shown:#?}",
        failed.len()
    );
    assert!(compiled > 1000, "seed {seed}: only {compiled} cases compiled");
}
