//! The reader of workflow files: no text makes it panic, and what loads loads again from what was read, and from what is
//! stored, to the same version.

use std::sync::LazyLock;

use stepwell::Registry;
use stepwell::core::workflow::Workflow;
use stepwell::load::{self, Format};

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| stepwell::registry(Vec::new()));

/// Reads the bytes as a file in YAML, and in JSON.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for format in [Format::Yaml, Format::Json] {
        match load::text(text, format, &*REGISTRY, false) {
            Ok(loaded) => {
                let version = loaded.workflow.version();
                let read = loaded.document().expect("a text was read").to_string();
                let again = load::text(&read, Format::Json, &*REGISTRY, false);
                let again = again.unwrap_or_else(|invalid| panic!("{:?}: {read}", invalid.problems));
                assert_eq!(again.workflow.version(), version, "{read}");
                let stored = Workflow::from_json(&loaded.workflow.to_json()).expect("what is stored is read");
                assert_eq!(stored.version(), version);
                loaded.warnings.iter().for_each(|warning| is_in(warning, text));
            }
            Err(invalid) => {
                assert!(!invalid.problems.is_empty());
                invalid.problems.iter().for_each(|problem| is_in(problem, text));
                assert!(!invalid.to_error().message.is_empty());
            }
        }
    }
}

/// A problem has its place in the text, and says something.
fn is_in(problem: &load::Problem, text: &str) {
    assert!(!problem.message.is_empty());
    let Some(at) = problem.at else { return };
    assert!(at.line > 0 && at.column > 0, "{problem:?}");
    assert!(at.of(text).is_some(), "{problem:?}");
}
