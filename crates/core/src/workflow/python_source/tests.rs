use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::super::template::{Root, View};
use super::*;

struct Results(Value);

impl Scope for Results {
    fn root(&self, root: &Root) -> Option<View<'_>> {
        matches!(root, Root::Step(_)).then(|| View::from(json!({"result": self.0})))
    }
}

fn names(name: &str) -> Option<Arc<str>> {
    ["A", "Fetch data"].contains(&name).then(|| name.into())
}

fn code(source: &str) -> String {
    PythonSource::parse(source, &names).unwrap().resolve(&Results(json!("v1"))).unwrap().code
}

fn refusal(source: &str) -> String {
    match PythonSource::parse(source, &names) {
        Ok(_) => panic!("accepted: {source}"),
        Err(problems) => problems.iter().map(|p| p.message.as_str()).collect::<Vec<_>>().join(" | "),
    }
}

#[test]
fn each_place_has_its_form() {
    for (source, resolved) in [
        ("x = ${A}", "x = __stepwell_0__"),
        ("f(${A}, ${A.result})", "f(__stepwell_0__, __stepwell_1__)"),
        ("${A}.real", "__stepwell_0__.real"),
        ("x = '${A}'", r"x = '\x761'"),
        ("x = \"-${Fetch data}-\"", "x = \"-\\x761-\""),
        ("x = '''\n${A}\n'''", "x = '''\n\\x761\n'''"),
        ("x = u'${A}'", r"x = u'\x761'"),
        ("x = f'{y} ${A} {{${A}}}'", r"x = f'{y} \x761 {{\x761}}'"),
        ("x = F\"\"\"{y:{z}}'${A}'\"\"\"", "x = F\"\"\"{y:{z}}'\\x761'\"\"\""),
        ("x = 'a' '${A}'", r"x = 'a' '\x761'"),
        ("return'${A}'", r"return'\x761'"),
        ("x = 1 # it's ${A}, ${nobody.knows} ${", "x = 1 # it's (reference), (reference) (reference)"),
        ("# \"${A}\nx = ${A}", "# \"(reference)\nx = __stepwell_0__"),
        ("x = '#' + ${A}", "x = '#' + __stepwell_0__"),
        ("x = '\\'${A}'", "x = '\\'\\x761'"),
        ("x = '\\\\${A}'", "x = '\\\\\\x761'"),
        ("x = '\\\n${A}'", "x = '\\\n\\x761'"),
        ("x = '\\\r\n${A}'\r\ny = ${A}", "x = '\\\r\n\\x761'\r\ny = __stepwell_0__"),
        ("x = \\\n${A}", "x = \\\n__stepwell_0__"),
        ("x = '\\x41${A}'", "x = '\\x41\\x761'"),
        ("x = '\\N{BULLET}${A}'", "x = '\\N{BULLET}\\x761'"),
        ("x = f'\\N{BULLET}${A}'", "x = f'\\N{BULLET}\\x761'"),
        ("x = f'{a!r:>{w}}${A}'", "x = f'{a!r:>{w}}\\x761'"),
        ("x = f'{d[\"k\"]}${A}'", "x = f'{d[\"k\"]}\\x761'"),
        ("x = f'{d['k']}${A}'", "x = f'{d['k']}\\x761'"),
        ("x = f'{f'{1}'}${A}'", "x = f'{f'{1}'}\\x761'"),
        ("x = f'{(lambda: \"}\")()}${A}'", "x = f'{(lambda: \"}\")()}\\x761'"),
        ("x = f'{a:{'>'}{9}}${A}'", "x = f'{a:{'>'}{9}}\\x761'"),
        ("x = f'{a #}'\n}${A}'", "x = f'{a #}'\n}\\x761'"),
        ("x = '\"' + ${A} + \"'\"", "x = '\"' + __stepwell_0__ + \"'\""),
        ("x = ''; y = ${A}", "x = ''; y = __stepwell_0__"),
        ("x = '''a''b''' + ${A}", "x = '''a''b''' + __stepwell_0__"),
        ("x = {1: ${A}}", "x = {1: __stepwell_0__}"),
    ] {
        assert_eq!(code(source), resolved, "{source}");
    }
}

#[test]
fn an_empty_value_joins_nothing() {
    for (source, resolved) in [
        ("x = '${A}''abc'", "x = '' 'abc'"),
        ("x = '''a'${A}'''", "x = '''a\\x27'''"),
        ("x = '''a''${A}'b'''", "x = '''a\\x27\\x27'b'''"),
        ("x = '\\1${A}1'", "x = '\\1\\x31'"),
    ] {
        let parsed = PythonSource::parse(source, &names).unwrap();
        assert_eq!(parsed.resolve(&Results(json!(""))).unwrap().code, resolved, "{source}");
    }
}

#[test]
fn escapes_hold_everywhere() {
    for (source, resolved) in [
        ("x = f\"$${price}\"", "x = f\"${price}\""),
        ("x = '$${A} $$${A} $5'", "x = '${A} $\\x761 $5'"),
        ("x = '\\$${A}'", "x = '\\${A}'"),
        ("x = '\\$$${A}'", "x = '\\$\\x761'"),
        ("# $${A}", "# ${A}"),
        ("x = r'$${A}' + b'$${A}'", "x = r'${A}' + b'${A}'"),
    ] {
        assert_eq!(code(source), resolved, "{source}");
    }
}

#[test]
fn refused_places_say_what_to_do() {
    for (source, part) in [
        ("x = r'${A}'", "in a raw literal"),
        ("x = R\"\"\"${A}\"\"\"", "in a raw literal"),
        ("x = fR'${A}'", "in a raw literal"),
        ("x = b'${A}'", "in a bytes literal"),
        ("x = Rb'${A}'", "in a bytes literal"),
        ("x = t'${A}'", "in a t-string"),
        ("x = f'{${A}}'", "inside '{…}' of an f-string"),
        ("x = f'{d[\"${A}\"]}'", "inside '{…}' of an f-string"),
        ("x = f'{a:${A}}'", "inside '{…}' of an f-string"),
        ("x = f'{a:{${A}}}'", "inside '{…}' of an f-string"),
        ("x = f'{f\"${A}\"}'", "inside '{…}' of an f-string"),
        ("x = '\\${A}'", "after a backslash"),
        ("x = '\\\\\\${A}'", "after a backslash"),
        ("x = '\\x${A}'", "inside an escape"),
        ("x = '\\N{${A}}'", "inside an escape"),
        ("x = f'\\N{${A}}'", "inside an escape"),
        ("x${A}", "directly beside"),
        ("${A}x = 1", "directly beside"),
        ("1${A}", "directly beside"),
        ("é${A}", "directly beside"),
        ("${A}${A}", "directly beside"),
        ("x = '${A}", "line 1: a literal that holds a reference is not closed"),
        ("x = '${A}\ny'", "line 1: a literal"),
        ("x = '${A}\ry'", "line 1: a literal"),
        ("x = '''${A}''", "line 1: a literal"),
        ("x = f'${A} {y'", "line 1: a literal"),
        ("\r\n\rx = '${A}", "line 3: a literal"),
        ("__stepwell_0__ = 1", "line 1: names that begin with '__stepwell_' are ours"),
        ("x = f'{__stepwell_0__}'", "are ours"),
        (" ${A}\n", "nothing but one reference"),
        ("x = f'${price}'", "write '$${' for the text '${'"),
        ("x = ${A.}", "a key is missing"),
        ("x = ${A", "no closing '}'"),
    ] {
        let message = refusal(source);
        assert!(message.contains(part), "{source}: {message}");
    }
}

#[test]
fn all_problems_come_at_once() {
    assert_eq!(PythonSource::parse("x = r'${A}'\ny = ${nope}\nz = f'{${A}}'", &names).unwrap_err().len(), 3);
}

#[test]
fn comments_need_nothing() {
    let source = PythonSource::parse("x = ${A} # ${Fetch data}", &names).unwrap();
    assert_eq!(source.references().map(Reference::source).collect::<Vec<_>>(), ["A"]);
}

#[test]
fn each_reference_in_code_has_a_value_of_its_own() {
    let resolved =
        PythonSource::parse("f(${A}, ${A})", &names).unwrap().resolve(&Results(json!([1]))).unwrap();
    let expected = [("__stepwell_0__".to_owned(), json!([1])), ("__stepwell_1__".to_owned(), json!([1]))];
    assert_eq!(resolved.bindings, expected);
}

#[test]
fn escaped_text_is_letters_digits_blanks_and_escapes() {
    let text = "ab c\"'\\{}\n\r\0é☃😀";
    let mut out = String::new();
    push_escaped(&mut out, text);
    assert_eq!(out, r"\x61b c\x22\x27\x5c\x7b\x7d\x0a\x0d\x00\xe9\u2603\U0001f600");
}

proptest! {
    #[test]
    fn no_source_makes_the_scanner_panic(source in "[$A.{}:()\\[\\]\"'\\\\ #frbN\n\ré]{0,60}") {
        if let Ok(parsed) = PythonSource::parse(&source, &names) {
            let resolved = parsed.resolve(&Results(json!("\n'"))).unwrap();
            prop_assert_eq!(resolved.code.lines().count(), source.lines().count());
        }
    }
}
