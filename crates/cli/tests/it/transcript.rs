//! What commands print, as snapshots keep it: ids, times and places are not part of it.

use crate::sandbox::{Sandbox, Told};

/// What differs between two runs of a test, and what stands for it.
const FILTERS: &[(&str, &str)] = &[
    (r"\b(run|wait|session)_[0-9a-f]{16,}\b", "${1}_ID"),
    (r"\b[0-9a-f]{32}\b", "VERSION"),
    (r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+Z)?", "TIME"),
    (r"\b(\d+ ms|\d+\.\d s)\b", "TOOK"),
    (r"\b\d+(\.\d)? (bytes?|kB|MB|GB)\b", "SIZE"),
    (r#""bytes":\d+"#, r#""bytes":SIZE"#),
    (r"\bpid \d+", "pid N"),
    (r"\bfile system [\w.]+", "file system KIND"),
    (r"\b3\.\d+\.\d+\w* \(/[^)]*\)", "VERSION (INTERPRETER)"),
    (r"\b\d+ open files", "N open files"),
    (r"\bstepwell \d+\.\d+\.\d+", "stepwell VERSION"),
];

/// A row of commands and what each of them printed.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    text: String,
    dir: String,
}

impl Transcript {
    /// Carries a command out and notes what it printed.
    pub(crate) fn run(&mut self, sandbox: &Sandbox, args: &[&str]) -> Told {
        let told = sandbox.run(args);
        self.note(sandbox, args, &told);
        told
    }

    /// Notes what a command printed.
    pub(crate) fn note(&mut self, sandbox: &Sandbox, args: &[&str], told: &Told) {
        self.dir = sandbox.path().display().to_string();
        let words: Vec<String> = args.iter().map(|arg| word(arg)).collect();
        let code = if told.code == 0 { String::new() } else { format!("[exit {}]\n", told.code) };
        self.text.extend(["$ stepwell ", &words.join(" "), "\n", &told.out, &told.err, &code, "\n"]);
    }

    /// Compares it with the snapshot of that name.
    pub(crate) fn check(self, name: &str) {
        check(name, &self.text.replace(&self.dir, "DIR"));
    }
}

/// Compares a text with the snapshot of that name.
pub(crate) fn check(name: &str, text: &str) {
    insta::with_settings!({ filters => FILTERS.to_vec(), omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, text);
    });
}

fn word(arg: &str) -> String {
    if arg.contains([' ', '{', '\'']) { format!("'{arg}'") } else { arg.to_owned() }
}
