use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use stepwell_core::workflow::definition::BatchFile;

use super::*;
use crate::Outcome;
use crate::testing::{ScriptedProvider, TestEngine};

/// A batch with a step for each of these files.
fn definition(files: &[&str]) -> Definition {
    let step = |(number, path): (usize, &&str)| {
        let params = json!({ "prompt": "costs $${x}", "file_path": path });
        let mut step = Step::provided(&format!("process-{number}"), "test/v1", "test/do", params);
        step.file = Some(Box::new(BatchFile { path: (*path).to_owned(), refused: None }));
        step.on_failure = stepwell_core::workflow::definition::OnFailure::Continue;
        step
    };
    let mut definition = Definition::new("sizes", files.iter().enumerate().map(step).collect());
    definition.metadata = Map::from_iter([
        ("batch".to_owned(), json!(true)),
        ("file_count".to_owned(), json!(files.len())),
        ("directory".to_owned(), json!("data")),
        ("pattern".to_owned(), json!("*.csv")),
        ("template".to_owned(), json!({ "protocol": "test/v1", "method": "test/do", "params": {} })),
    ]);
    definition
}

fn refuse(definition: &mut Definition, step: usize) {
    let error =
        ErrorObject::new(Code::INVALID_PARAMS, "there is no file 'gone.csv'").with("reason", "not_found");
    definition.steps[step].file.as_mut().unwrap().refused = Some(error);
}

async fn result(definition: Definition, provider: ScriptedProvider) -> BatchResult {
    let test = TestEngine::new(provider).await;
    let run = test.run(definition).await.run;
    BatchResult::of(&test.engine.inspect(&run).await.unwrap()).unwrap()
}

/// G10, G13
#[tokio::test(start_paused = true)]
async fn each_file_has_an_entry_and_one_that_fails_leaves_the_others_alone() {
    let mut files = definition(&["data/b.csv", "data/a.csv", "gone.csv", "data/c.csv"]);
    refuse(&mut files, 2);
    let provider = ScriptedProvider::default()
        .on("process-0", |_| Outcome::output(json!({ "result": "two", "output": "printed\n" })))
        .on("process-1", |_| Outcome::output(json!({ "result": { "rows": 1 } })))
        .on("process-2", |_| unreachable!("it is refused before anybody is called"))
        .on("process-3", |_| {
            ErrorObject::new(Code::TASK_EXECUTION_FAILED, "it raised")
                .with("exception_type", "ValueError")
                .into()
        });
    let result = result(files, provider).await;
    assert_eq!((result.total_files, result.successful, result.failed), (4, 2, 2));
    let mut shown = result.to_json();
    assert!(shown["processing_time"].as_f64().is_some_and(|seconds| seconds >= 0.0));
    assert_eq!(shown["summary"]["processing_time"], shown["processing_time"]);
    assert_eq!(shown["batch_id"], json!(result.batch_id));
    assert_eq!(shown["created_at"], json!(result.created_at.rfc3339()));
    assert_eq!(
        shown["parameters"],
        json!({
            "method": "test/do", "prompt": "costs ${x}", "model": null, "protocol": "test/v1", "directory": "data",
            "pattern": "*.csv",
        })
    );
    assert_eq!(
        shown["results"].take(),
        json!({
            "data/a.csv": { "status": "success", "content": "{\"rows\":1}", "result": { "rows": 1 } },
            "data/b.csv": { "status": "success", "content": "two", "result": "two", "output": "printed\n" },
            "data/c.csv": {
                "status": "failed", "error": "it raised", "code": -29002,
                "data": { "exception_type": "ValueError", "task_id": "process-3" },
            },
            "gone.csv": {
                "status": "failed", "error": "step 'process-2': there is no file 'gone.csv'", "code": -32602,
                "data": { "reason": "not_found", "task_id": "process-2" },
            },
        })
    );
    let keys: Vec<&str> = result.results.keys().map(String::as_str).collect();
    assert_eq!(keys, ["data/a.csv", "data/b.csv", "data/c.csv", "gone.csv"]);
}

#[tokio::test(start_paused = true)]
async fn what_never_had_its_turn_failed_and_a_batch_of_nothing_is_one() {
    let mut files = definition(&["a", "b"]);
    files.max_concurrent = Some(1);
    files.steps[0].on_failure = stepwell_core::workflow::definition::OnFailure::Stop;
    let fails = |_: &_| ErrorObject::new(Code::TASK_EXECUTION_FAILED, "no").into();
    let stopped = result(files, ScriptedProvider::default().on("process-0", fails)).await;
    let FileResult::Failed(error) = &stopped.results["b"] else { panic!("{stopped:?}") };
    assert_eq!(error.code, Code::TASK_CANCELLED);

    let nothing = result(definition(&[]), ScriptedProvider::default()).await;
    assert_eq!((nothing.total_files, nothing.successful, nothing.failed), (0, 0, 0));
    assert_eq!(nothing.parameters["method"], "test/do");
}

fn with_content(content: &str) -> BatchResult {
    BatchResult {
        batch_id: "run_1".into(),
        created_at: Timestamp(0),
        total_files: 2,
        successful: 1,
        failed: 1,
        processing_time: 1.25,
        parameters: Map::from_iter([
            ("method".to_owned(), json!("test/do")),
            ("model".to_owned(), Value::Null),
        ]),
        results: BTreeMap::from([
            ("a`b\n.csv".to_owned(), FileResult::Success(Arc::new(json!({ "result": content })))),
            ("c.csv".to_owned(), FileResult::Failed(ErrorObject::new(Code::INVALID_PARAMS, "no file"))),
        ]),
        title: "sizes".into(),
    }
}

/// G12
#[test]
fn reports_hold_everything_and_nothing_in_a_content_ends_its_fence() {
    let content = format!("# no heading\n```\n{}", "x".repeat(100_000));
    let result = with_content(&content);
    let dir = tempfile::tempdir().unwrap();
    let (json_file, markdown_file) = (dir.path().join("report.json"), dir.path().join("report.md"));
    result.save_to_json(&json_file).unwrap();
    result.save_to_markdown(&markdown_file).unwrap();
    let read: Value = serde_json::from_str(&fs::read_to_string(json_file).unwrap()).unwrap();
    assert_eq!(read, result.to_json());
    assert_eq!(read["results"]["a`b\n.csv"]["content"], content);
    let page = fs::read_to_string(markdown_file).unwrap();
    assert_eq!(page, result.to_markdown());
    assert_eq!(
        page.replace(&content, "CONTENT"),
        "# `sizes`\n\n- Batch: `run_1`\n- Date: 1970-01-01T00:00:00.000000Z\n- Method: `test/do`\n- Files: 2, 1 \
         successful, 1 failed, in 1.2 s\n\n## ``a`b\\n.csv``\n\n````\nCONTENT\n````\n\n## `c.csv`\n\nFailed: \
         INVALID_PARAMS -32602\n\n```\nno file\n```\n"
    );
}

/// G12
#[test]
fn a_report_that_cannot_be_written_leaves_the_old_one_and_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.json");
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let broken = save::whole(&file, |out| {
        out.write_all(b"half of the ne")?;
        Err(io::Error::other("the disk is full"))
    });
    assert_eq!(broken.unwrap_err().to_string(), "the disk is full");
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    let names = || fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names(), 1);

    let link = dir.path().join("link.json");
    symlink(&file, &link).unwrap();
    save::whole(&link, |out| out.write_all(b"new")).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(names(), 2);
    let missing = with_content("").save_to_json(&dir.path().join("gone/report.json"));
    assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_batch_whose_directory_changed_is_the_same_and_tells_what_is_new() {
    let started = definition(&["a", "b", "c"]);
    let now = definition(&["a", "aa", "c"]);
    let changed = ChangedFiles { new: vec!["aa"], gone: vec!["b"] };
    assert_eq!(changed_files(&started, &now), Some(changed));
    assert_eq!(changed_files(&started, &started), Some(ChangedFiles::default()));
    assert!(changed_files(&definition(&[]), &now).is_some());

    let mut other = now.clone();
    for step in &mut other.steps {
        step.timeout_ms = Some(5);
    }
    assert_eq!(changed_files(&started, &other), None);
    let other = Definition { max_concurrent: Some(7), ..now.clone() };
    assert_eq!(changed_files(&started, &other), None);
    let mut other = now.clone();
    other.metadata.insert("pattern".into(), json!("*"));
    assert_eq!(changed_files(&started, &other), None);
    let plain = Definition::new("sizes", vec![Step::provided("a", "test/v1", "test/do", json!({}))]);
    assert_eq!(changed_files(&plain, &now), None);
}
