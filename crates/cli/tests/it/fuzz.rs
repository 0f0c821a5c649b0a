//! The fuzz targets over their corpus: what was found once is not found again, and no target stands still unnoticed. How they
//! are let loose is told in `fuzz/Cargo.toml`.

#[path = "../../../../fuzz/src/file_reader.rs"]
#[expect(unreachable_pub, reason = "it is a part of a library there")]
mod file_reader;
#[path = "../../../../fuzz/src/side_channel.rs"]
#[expect(unreachable_pub, reason = "it is a part of a library there")]
mod side_channel;
#[path = "../../../../fuzz/src/substitution.rs"]
#[expect(unreachable_pub, reason = "it is a part of a library there")]
mod substitution;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::workflow_file::repository;

/// Returns the files of a target's corpus, by name.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(repository().join("fuzz/corpus").join(target)).expect("a corpus");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 20, "{target}: {}", files.len());
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect()
}

fn over_the_corpus(target: &str, check: fn(&[u8])) {
    for (path, data) in corpus(target) {
        // A panic says what is wrong, this where.
        println!("{}", path.display());
        check(&data);
    }
}

#[test]
fn the_reader_of_files_keeps_its_promises() {
    over_the_corpus("file_reader", file_reader::check);
}

#[test]
fn g31_substitution_keeps_its_promises() {
    over_the_corpus("substitution", substitution::check);
}

#[test]
fn the_reader_of_the_side_channel_keeps_its_promises() {
    over_the_corpus("side_channel", side_channel::check);
}

/// Says of each pair of sources whether both are Python, of the same shape but for the values of literals.
const SAME: &str = r"
import ast, json, sys

def shape(source):
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ''
    return ast.dump(tree)

json.dump([[shape(plain) is not None, shape(plain) == shape(hostile)] for plain, hostile in json.load(sys.stdin)], sys.stdout)
";

#[test]
fn g31_code_that_parses_with_a_harmless_value_parses_to_the_same_with_a_hostile_one() {
    let texts = corpus("substitution").into_iter().filter_map(|(_, data)| String::from_utf8(data).ok());
    let sources: Vec<_> = texts.filter_map(|text| substitution::python(&text)).collect();
    let pairs: Vec<Value> =
        sources.iter().map(|[plain, hostile]| json!([plain.code, hostile.code])).collect();
    let mut python = Command::new("python3")
        .args(["-I", "-W", "ignore", "-c", SAME])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut stdin = python.stdin.take().expect("stdin is a pipe");
    stdin.write_all(Value::from(pairs.clone()).to_string().as_bytes()).expect("python3 reads its input");
    drop(stdin);
    let output = python.wait_with_output().expect("python3 ends");
    let told: Vec<(bool, bool)> = serde_json::from_slice(&output.stdout).expect("what python3 says");
    let mut parsed = 0;
    for (pair, (is_python, is_same)) in pairs.iter().zip(told) {
        assert!(is_same, "{pair}");
        parsed += usize::from(is_python);
    }
    assert!(parsed >= 5, "{parsed} of {} are Python", pairs.len());
}
