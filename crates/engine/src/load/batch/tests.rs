use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::*;
use crate::load::{Format, Loaded, text};
use crate::provider::ParamProblem;

/// Protocols that want their files in different places, over the files of a directory of their own.
struct Fake {
    dir: tempfile::TempDir,
    roots: Vec<PathBuf>,
}

impl Fake {
    fn with(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in names {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "${input}").unwrap();
        }
        Self { dir, roots: vec![root] }
    }

    fn yaml(&self, source: &str) -> Result<Loaded, Invalid> {
        text(source, Format::Yaml, self, false)
    }

    /// Returns each problem as `CODE line:column: path: message (hint)`.
    fn told(&self, source: &str) -> Vec<String> {
        let shown = |problem: &Problem| {
            let hint = problem.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
            format!("{} {problem}{hint}", problem.code.number())
        };
        self.yaml(source).unwrap_err().problems.iter().map(shown).collect()
    }
}

impl Protocols for Fake {
    fn protocols(&self) -> Vec<&str> {
        vec!["llm/v1", "process/v1", "python/v1"]
    }

    fn methods(&self, protocol: &str) -> Vec<&str> {
        match protocol {
            "llm/v1" => vec!["llm/chat", "llm/vision"],
            "process/v1" => vec!["process/run"],
            _ => vec!["python/execute"],
        }
    }

    fn params(&self, _protocol: &str, _method: &str) -> Vec<&'static str> {
        Vec::new()
    }

    fn raw_params(&self, protocol: &str, _method: &str) -> &'static [&'static str] {
        if protocol == "python/v1" { &["code"] } else { &[] }
    }

    fn result_keys(&self, _protocol: &str, _method: &str) -> &'static [&'static str] {
        &[]
    }

    fn check(&self, protocol: &str, _method: &str, params: &Value) -> Vec<ParamProblem> {
        let known: &[&str] = match protocol {
            "llm/v1" => &["prompt", "model", "file_path", "image_path"],
            "process/v1" => &["command", "args"],
            _ => &["code", "file", "args", "context", "timeout"],
        };
        let stranger = |key: &&String| !known.contains(&key.as_str());
        let problem = |key: &String| ParamProblem {
            parameter: key.clone(),
            message: format!("parameter '{key}' is not known"),
            reason: "unknown",
            hint: None,
        };
        params.as_object().unwrap().keys().filter(stranger).map(problem).collect()
    }

    fn roots(&self) -> &[PathBuf] {
        &self.roots
    }
}

fn params(step: &Step) -> &Value {
    let Action::Provider { params, .. } = &step.action else { panic!("{step:?}") };
    params
}

fn steps(loaded: &Loaded) -> &[Step] {
    &loaded.workflow.definition().steps
}

/// G15
#[test]
fn settings_of_a_template_are_settings_of_each_step_and_the_rest_are_its_params() {
    let fake = Fake::with(&["data/a.csv", "data/b.csv", "data/c.txt"]);
    let loaded = fake
        .yaml(
            "
id: sizes
description: how large they are
tags: {team: data}
priority: high
timeout: 60
batch:
  directory: data
  pattern: '*.csv'
  max_concurrent: 2
template:
  method: python/execute
  timeout: 1.5
  retry: {max_attempts: 2}
  priority: low
  metadata: {kind: size}
  file: size.py
  params:
    context: {unit: kB, list: [1]}
",
        )
        .unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let definition = loaded.workflow.definition();
    assert_eq!((&*definition.name, definition.max_concurrent), ("sizes", Some(2)));
    assert_eq!((&*definition.description, definition.timeout_ms), ("how large they are", Some(60_000)));
    assert_eq!(
        Value::Object(definition.metadata.clone()),
        json!({
            "team": "data", "batch": true, "file_count": 2, "directory": "data", "pattern": "*.csv",
            "template": {
                "protocol": "python/v1", "method": "python/execute",
                "params": {"context": {"unit": "kB", "list": [1]}, "file": "size.py"},
            },
        })
    );
    let [a, b] = steps(&loaded) else { panic!("two files") };
    assert_eq!((a.name.as_str(), a.title.as_deref()), ("process-a.csv-0", Some("Process a.csv")));
    assert_eq!((b.name.as_str(), b.file.as_ref().unwrap().path.as_str()), ("process-b.csv-1", "data/b.csv"));
    let context = |path: &str| json!({"unit": "kB", "list": [1], "file_path": path});
    assert_eq!(*params(a), json!({"context": context("data/a.csv"), "file": "size.py"}));
    assert_eq!(*params(b), json!({"context": context("data/b.csv"), "file": "size.py"}));
    for step in [a, b] {
        assert_eq!((step.timeout_ms, step.retry.as_ref().unwrap().max_retries), (Some(1_500), 1));
        assert_eq!(step.priority, stepwell_core::workflow::definition::Priority::Low);
        assert_eq!(step.on_failure, OnFailure::Continue);
        assert_eq!(Value::Object(step.metadata.clone()), json!({"kind": "size"}));
    }
}

#[test]
fn the_path_goes_where_the_method_looks_for_it() {
    let fake = Fake::with(&["a.csv", "b.PNG", "-rf"]);
    let of = |template: &str| {
        let loaded = fake.yaml(&format!("batch: {{directory: ''}}\ntemplate: {template}\n")).unwrap();
        steps(&loaded).iter().map(|step| params(step).clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        of("{method: llm/chat, prompt: '?'}"),
        [
            json!({"prompt": "?", "file_path": "-rf"}),
            json!({"prompt": "?", "file_path": "a.csv"}),
            json!({"prompt": "?", "image_path": "b.PNG"}),
        ]
    );
    assert_eq!(of("{method: llm/vision}")[1], json!({"image_path": "a.csv"}));
    assert_eq!(
        of("{prompt: '?'}")[1],
        json!({"prompt": "?", "file_path": "a.csv"}),
        "llm/chat is the default"
    );
    assert_eq!(of("{method: execute, code: ''}")[1], json!({"code": "", "args": {"file_path": "a.csv"}}));
    // What a program is called with is no option of it, whatever its name.
    assert_eq!(
        of("{method: process/run, command: wc, args: [-l]}"),
        [
            json!({"command": "wc", "args": ["-l", "./-rf"]}),
            json!({"command": "wc", "args": ["-l", "a.csv"]}),
            json!({"command": "wc", "args": ["-l", "b.PNG"]}),
        ]
    );
    assert_eq!(of("{method: process/run, command: wc}")[1], json!({"command": "wc", "args": ["a.csv"]}));
}

/// G32
#[test]
fn whatever_a_file_is_called_its_name_is_data() {
    let names = ["$$${input}.csv", "${input.x}", "a'b\"c;$(id).csv", "new\nline", "x ", "${process-x-0}"];
    let fake = Fake::with(&names);
    let loaded = fake.yaml("batch: {directory: .}\ntemplate: {method: python/execute, code: ''}\n").unwrap();
    let resolved: Vec<Value> = steps(&loaded)
        .iter()
        .map(|step| {
            let template =
                stepwell_core::workflow::template::Template::parse(params(step), &*loaded.workflow).unwrap();
            template.as_literal().expect("no reference")["args"]["file_path"].clone()
        })
        .collect();
    let paths: Vec<Value> =
        steps(&loaded).iter().map(|step| json!(step.file.as_ref().unwrap().path)).collect();
    assert_eq!(resolved, paths);
    let mut expected: Vec<String> = names.iter().map(|name| format!("./{name}")).collect();
    expected.sort();
    assert_eq!(paths, expected);
    let ids: Vec<&str> = steps(&loaded).iter().map(|step| step.name.as_str()).collect();
    assert_eq!(ids[0], "process-----input-.csv-0");
    assert!(ids.iter().all(|id| id.is_ascii() && bad_name(id).is_none()), "{ids:?}");
}

/// G32
#[test]
fn files_that_cannot_be_processed_are_steps_that_say_so() {
    let fake = Fake::with(&["a.csv", "d/b.csv"]);
    let odd = std::ffi::OsStr::from_bytes(b"\xff.csv");
    fs::write(fake.dir.path().join(odd), "").unwrap();
    let refused = |loaded: &Loaded| {
        let of = |step: &Step| {
            let file = step.file.as_ref().unwrap();
            let reason =
                file.refused.as_ref().map(|refused| refused.data["reason"].as_str().unwrap().to_owned());
            (file.path.clone(), reason)
        };
        steps(loaded).iter().map(of).collect::<Vec<_>>()
    };
    let loaded = fake
        .yaml("batch: {files: [a.csv, gone.csv, a.csv, d, /etc/passwd]}\ntemplate: {method: execute, code: ''}\n")
        .unwrap();
    let some = |reason: &str| Some(reason.to_owned());
    assert_eq!(
        refused(&loaded),
        [
            ("a.csv".to_owned(), None),
            ("gone.csv".to_owned(), some("not_found")),
            ("d".to_owned(), some("not_a_file")),
            ("/etc/passwd".to_owned(), some("outside_roots")),
        ]
    );
    let loaded = fake
        .yaml("batch: {directory: ., pattern: '*.csv'}\ntemplate: {method: execute, code: ''}\n")
        .unwrap();
    assert_eq!(
        refused(&loaded),
        [("./a.csv".to_owned(), None), (r"./\xff.csv".to_owned(), some("not_utf8"))]
    );
    assert_eq!(steps(&loaded)[1].title.as_deref(), Some(r"Process \xff.csv"));
}

/// G21
#[test]
fn no_match_is_a_batch_of_nothing_with_a_warning_and_a_missing_directory_is_an_error() {
    let fake = Fake::with(&["a.csv"]);
    let template = "template: {method: execute, code: ''}\n";
    let loaded = fake.yaml(&format!("batch: {{directory: ., pattern: '*.pdf'}}\n{template}")).unwrap();
    assert!(loaded.workflow.is_empty());
    assert_eq!(loaded.warnings[0].to_string(), "1:20: batch.directory: no file in '.' matches '*.pdf'");
    let strict = text(&format!("strict: true\nbatch: {{files: []}}\n{template}"), Format::Yaml, &fake, false);
    assert_eq!(strict.unwrap_err().problems[0].to_string(), "2:16: batch.files: no files are listed");

    let missing = fake.yaml(&format!("batch: {{directory: gone}}\n{template}")).unwrap_err().to_error();
    assert_eq!(missing.code, Code::CONFIGURATION_ERROR);
    assert_eq!((&missing.data["reason"], &missing.data["path"]), (&json!("not_found"), &json!("gone")));
    let outside = fake.yaml(&format!("batch: {{directory: /etc}}\n{template}")).unwrap_err().to_error();
    assert_eq!((outside.code, &outside.data["reason"]), (Code::INVALID_PARAMS, &json!("outside_roots")));
}

#[test]
fn every_problem_of_a_batch_file_is_told_at_once_with_its_place() {
    let fake = Fake::with(&["a.csv", "b.png"]);
    assert_eq!(
        fake.told(
            "type: batch
steps: []
metadata: {pattern: x}
max_concurrent: 0
tiemout: 5
batch:
  directory: .
  files: [a.csv]
  patern: '*'
template:
  method: python/execute
  timeout: soon
  code: 'result = ${nobody}'
  kode: 1
  args: '${input}'
  params: {code: ''}
"
        ),
        [
            "-28001 2:1: steps: 'steps' cannot stand in a batch file (each of its files becomes a step; a workflow \
             file has steps and no 'batch')",
            "-28001 3:21: metadata.pattern: 'pattern' in 'metadata' is what a batch sets itself",
            "-28001 4:17: max_concurrent: 'max_concurrent' must be a whole number, at least 1, not 0",
            "-28001 5:1: tiemout: unknown key 'tiemout' (did you mean 'timeout'?)",
            "-28001 8:3: batch.files: 'files' cannot stand beside 'directory'; give one of them",
            "-28001 9:3: batch.patern: unknown key 'patern' (did you mean 'pattern'?)",
            "-28001 12:12: template.timeout: step 'template': 'timeout' must be a number of seconds, more than 0 and at \
             most 100 years, not \"soon\"",
            "-28001 13:3: template.code: the parameter 'code' stands in 'params' too; give it once",
            "-28001 13:19: template.code: step 'template': line 1: '${nobody…}': nothing is called 'nobody'; write '$${' for \
             the text '${'",
            "-32602 14:9: template.kode: step 'template': parameter 'kode' is not known",
            "-28001 15:9: template.args: 'template.args' must be an object: the path of each file goes into it as \
             'file_path'",
        ]
    );
}

/// Returns a problem as `CODE path: message`.
fn without_place(told: &str) -> String {
    let (code, rest) = told.split_once(' ').unwrap();
    format!("{code} {}", rest.split_once(": ").unwrap().1)
}

#[test]
fn a_batch_file_says_which_files_and_what_is_done_with_them() {
    let fake = Fake::with(&["a.csv", "b.png"]);
    let template = "template: {method: execute, code: ''}\n";
    let cases = [
        ("type: batch\n".to_owned(), "-28001 'batch' is missing"),
        ("type: batch\n".to_owned(), "-28001 'template' is missing"),
        (format!("batch: {{}}\n{template}"), "-28001 batch: 'batch' needs 'directory' or 'files'"),
        (
            format!("batch: {{directory: ., pattern: 'a{{'}}\n{template}"),
            "-28001 batch.pattern: 'pattern' has a '{'",
        ),
        (format!("batch: {{files: [a.csv, 1, '']}}\n{template}"), "-28001 batch.files[1]: a file is a path"),
        (format!("batch: {{files: [a.csv, 1, '']}}\n{template}"), "-28001 batch.files[2]: a file is a path"),
        (
            format!("batch: {{files: [], pattern: x}}\n{template}"),
            "-28001 batch.pattern: 'pattern' chooses in",
        ),
        (
            "batch: {directory: .}\ntemplate: {method: tts/say}\n".into(),
            "-30001 template.method: step 'template': no",
        ),
        (
            "batch: {directory: .}\ntemplate: {method: llm/sing}\n".into(),
            "-30008 template.method: step 'template'",
        ),
        ("protocol: tts\nbatch: {directory: .}\ntemplate: {}\n".into(), "-30001 template.protocol: step"),
        (
            "batch: {directory: .}\ntemplate: {file_path: x}\n".into(),
            "-28001 template.file_path: 'template.file_path'",
        ),
        (
            "batch: {directory: .}\ntemplate: {prompt: '${a.csv}'}\n".into(),
            "-28001 template.prompt: step 'template'",
        ),
        (
            "batch: {directory: .}\ntemplate: {method: process/run, args: '${input}'}\n".into(),
            "-28001 template.args:",
        ),
    ];
    for (source, expected) in cases {
        let told = fake.told(&source);
        assert!(
            told.iter().any(|told| without_place(told).starts_with(expected)),
            "{source}{expected}\n{told:#?}"
        );
    }
    // References to the input are read as in any params; what is wrong for both kinds of path is told once.
    let loaded = fake.yaml("batch: {directory: .}\ntemplate: {prompt: 'in ${input.language}'}\n").unwrap();
    assert_eq!(params(&steps(&loaded)[0])["prompt"], "in ${input.language}");
    assert_eq!(fake.told("batch: {directory: .}\ntemplate: {prompt: x, colour: 1}\n").len(), 1);
}

#[test]
fn the_text_of_a_request_is_literal_and_its_names_may_be_long() {
    let long = "x".repeat(250);
    let fake = Fake::with(&["a.csv", &long]);
    let mut request = BatchRequest {
        id: "batch".into(),
        files: Files::Listed(vec!["a.csv".into(), long.as_str().into()]),
        max_concurrent: None,
        method: "llm/chat".into(),
        params: Map::from_iter([("prompt".to_owned(), json!("costs ${price}"))]),
    };
    let loaded = batch(&request, &fake).unwrap();
    assert_eq!(params(&steps(&loaded)[0])["prompt"], "costs $${price}");
    assert_eq!(loaded.workflow.definition().metadata["template"]["params"]["prompt"], "costs ${price}");
    assert_eq!(loaded.workflow.definition().max_concurrent, Some(5));
    let step = &steps(&loaded)[1];
    assert_eq!((step.name.as_str().len(), step.title.as_deref()), (200, None));
    assert_eq!(step.file.as_ref().unwrap().path, long);

    request.files = Files::Below { directory: ".".into(), pattern: "{".into() };
    let refused = batch(&request, &fake).unwrap_err();
    assert!(
        refused.problems[0].to_string().starts_with("batch.pattern: the pattern has a '{'"),
        "{refused:?}"
    );
}

/// G21: whatever else is wrong, who calls for a batch is told first that it has no directory.
#[test]
fn a_request_without_its_directory_says_only_that() {
    let fake = Fake::with(&[]);
    let request = BatchRequest {
        id: "batch".into(),
        files: Files::Below { directory: "gone".into(), pattern: "*".into() },
        max_concurrent: None,
        method: "nobody/speaks".into(),
        params: Map::new(),
    };
    let refused = batch(&request, &fake).unwrap_err().to_error();
    assert_eq!((refused.code, &refused.data["path"]), (Code::CONFIGURATION_ERROR, &json!("gone")));
}

#[test]
fn a_template_without_a_method_lacks_one_where_nobody_speaks_the_protocol_of_the_default() {
    let source = "batch: {directory: data}\ntemplate: {prompt: hi}\n";
    let invalid =
        crate::load::text(source, crate::load::Format::Yaml, &crate::provider::Registry::default(), false);
    let problems = invalid.unwrap_err().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].to_string(), "2:11: template: 'method' is missing in 'template'");
    assert_eq!(problems[0].hint.as_deref(), Some("such as 'python/execute'"));
}
