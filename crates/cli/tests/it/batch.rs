//! Many files, one run: what comes of each, what is never done twice, and what is told.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, Told, send};

const ROWS: &str = r#"
import csv
with open(args["file_path"], newline="") as file:
    rows = list(csv.DictReader(file))
if not rows:
    raise ValueError("no rows")
print("read", len(rows))
result = {"rows": len(rows), "unit": args.get("unit")}
"#;

/// Says that it began, takes a moment, and results in its file.
const LOGS: &str = r#"
import os, time
log = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(log, (args["file_path"] + "\n").encode())
time.sleep(0.02)
result = args["file_path"]
"#;

fn with_files(count: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path().join("data")).unwrap();
    for number in 0..count {
        sandbox.write(&format!("data/{number:03}.csv"), "a,b\n1,2\n");
    }
    sandbox
}

fn statuses(result: &Value) -> BTreeMap<String, String> {
    let results = result["results"].as_object().unwrap().iter();
    results.map(|(path, came)| (path.clone(), came["status"].as_str().unwrap().to_owned())).collect()
}

/// G10, G13
#[test]
fn each_file_of_a_directory_has_a_result_and_a_bad_one_leaves_the_others_alone() {
    let sandbox = with_files(2);
    sandbox.write("data/bad.csv", "");
    sandbox.write("data/other.txt", "");
    sandbox.write("rows.py", ROWS);
    let batch = ["batch", "data", "--pattern", "*.csv", "--script", "rows.py", "--param", "unit=kB"];
    let told = sandbox.run(&[&batch[..], &["--run-id", "b1", "-m", "team=data"]].concat());
    assert_eq!(told.code, 1, "{told:?}");
    assert_eq!(
        told.out,
        "data/000.csv: success  {\"rows\":1,\"unit\":\"kB\"}\ndata/001.csv: success  {\"rows\":1,\"unit\":\"kB\"}\n\
         data/bad.csv: failed  step 'process-bad.csv-2': the script raised ValueError: no rows\n"
    );
    assert!(told.err.contains("run b1 is completed: 3 files, 2 successful, 1 failed, "), "{}", told.err);

    let again =
        [&batch[..], &["--run-id", "b1", "-m", "team=data", "--json", "--output", "report.json"]].concat();
    let told = sandbox.run(&again);
    assert_eq!(told.code, 1, "{told:?}");
    let result = told.json();
    assert_eq!(result["batch_id"], "b1");
    assert_eq!(
        (&result["total_files"], &result["successful"], &result["failed"]),
        (&json!(3), &json!(2), &json!(1))
    );
    assert_eq!(
        result["results"]["data/000.csv"],
        json!({
            "status": "success", "content": "{\"rows\":1,\"unit\":\"kB\"}", "result": {"rows": 1, "unit": "kB"},
            "output": "read 1\n",
        })
    );
    let failed = &result["results"]["data/bad.csv"];
    assert_eq!((&failed["status"], &failed["code"]), (&json!("failed"), &json!(-29002)));
    assert!(failed["data"]["traceback"].as_str().unwrap().contains("rows.py"));
    let report: Value =
        serde_json::from_str(&fs::read_to_string(sandbox.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(report, result);

    let listed = sandbox.run(&["list", "--json", "-m", "batch=true", "-m", "team=data"]).json();
    let metadata = &listed["runs"][0]["metadata"];
    assert_eq!(
        (&metadata["file_count"], &metadata["directory"], &metadata["pattern"]),
        (&json!(3), &json!("data"), &json!("*.csv"))
    );
    assert_eq!(metadata["template"]["method"], "python/execute");
}

#[test]
fn a_retry_of_a_completed_batch_tries_the_failed_files_and_no_others() {
    let sandbox = with_files(2);
    sandbox.write("data/bad.csv", "");
    sandbox.write("data/worse.csv", "");
    sandbox.write("rows.py", &format!("open('log', 'a').write(args['file_path'] + '\\n')\n{ROWS}"));
    let batch = ["batch", "data", "--script", "rows.py", "--run-id", "b1"];
    let told = sandbox.run(&batch);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.err.trim_end().ends_with("; `stepwell retry b1` tries them again"), "{}", told.err);
    fs::remove_file(sandbox.path().join("log")).unwrap();

    sandbox.write("data/bad.csv", "a,b\n1,2\n");
    let told = sandbox.run(&["retry", "b1"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.err.contains("4 files, 3 successful, 1 failed, "), "{}", told.err);
    assert!(told.err.trim_end().ends_with("; `stepwell retry b1` tries it again"), "{}", told.err);
    let log = fs::read_to_string(sandbox.path().join("log")).unwrap();
    assert_eq!(log.lines().collect::<BTreeSet<_>>(), BTreeSet::from(["data/bad.csv", "data/worse.csv"]));
    // It talks of files, and of those that it tried.
    assert_eq!(
        told.out,
        "data/bad.csv: success  {\"rows\":1,\"unit\":null}\n\
         data/worse.csv: failed  step 'process-worse.csv-3': the script raised ValueError: no rows\n"
    );
    let talk: Vec<&str> = told.err.lines().collect();
    assert!(talk.len() == 3 && talk[0].starts_with("run b1 goes on: "), "{}", told.err);
    assert_eq!(talk[1], "failed: data/worse.csv");

    sandbox.write("data/worse.csv", "a,b\n1,2\n");
    let told = sandbox.run(&["retry", "b1", "--json"]);
    assert_eq!((told.code, &told.json()["run_id"]), (0, &json!("b1")), "{told:?}");
    let told = sandbox.run(&batch);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(
        told.err.contains("4 files, 4 successful, 0 failed, ") && !told.err.contains("retry"),
        "{}",
        told.err
    );
    assert_eq!(sandbox.run(&["retry", "b1"]).code, 5, "nothing of it is left");
}

/// G15
#[test]
fn a_batch_file_is_checked_and_run_like_any_workflow_file() {
    let sandbox = with_files(3);
    sandbox.write("rows.py", ROWS);
    sandbox.write(
        "sizes.yaml",
        "id: sizes
batch: {directory: data, pattern: '*.csv', max_concurrent: 2}
template:
  method: python/execute
  timeout: 20
  retry: {max_attempts: 2}
  file: rows.py
  context: {unit: '${input.unit}'}
",
    );
    let checked = sandbox.run(&["validate", "--strict", "sizes.yaml"]);
    assert_eq!((checked.code, &*checked.out), (0, "sizes.yaml: ok, 3 steps\n"), "{checked:?}");
    let batch = sandbox.run(&["batch", "sizes.yaml", "--param", "unit=B", "--json"]);
    assert_eq!(batch.code, 0, "{batch:?}");
    assert_eq!(batch.json()["results"]["data/002.csv"]["result"], json!({"rows": 1, "unit": "B"}));
    assert_eq!(batch.json()["parameters"]["directory"], "data");

    sandbox.write("data/bad.csv", "");
    let run = sandbox.run(&["run", "sizes.yaml", "--param", "unit=B", "--run-id", "r1", "--json"]);
    assert_eq!(run.code, 1, "a file failed: {run:?}");
    assert_eq!(run.json()["status"], "completed");
    let results = run.json()["results"].clone();
    assert_eq!(results["process-000.csv-0"]["result"]["rows"], 1);
    assert_eq!(results["process-bad.csv-3"]["error"]["name"], "TASK_RETRY_EXHAUSTED");

    sandbox.write("plain.yaml", "steps: [{name: a, method: timer/sleep, params: {seconds: 0}}]\n");
    let plain = sandbox.run(&["batch", "plain.yaml"]);
    assert_eq!(plain.code, 3, "{plain:?}");
    assert!(plain.err.contains("is a workflow file and no batch file"), "{}", plain.err);
}

#[test]
fn the_example_over_the_data_of_the_repository_runs() {
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let sandbox = Sandbox::new();
    let mut command =
        sandbox.command(&["--store", "memory:", "batch", "examples/workflows/batch_columns.yaml", "--json"]);
    let told = Told::of(&command.current_dir(repository).output().unwrap());
    assert_eq!(told.code, 0, "{told:?}");
    let result = told.json();
    assert_eq!(result["total_files"], 4);
    assert_eq!(result["results"]["examples/data/sales.csv"]["result"]["rows"], 361);
}

/// G11
#[test]
fn no_more_files_than_allowed_are_worked_on_at_once_and_as_many_are() {
    let sandbox = with_files(20);
    fs::create_dir(sandbox.path().join("live")).unwrap();
    // Each waits until there have been three at once, so that they are not so only by luck.
    sandbox.write(
        "live.py",
        r#"
import os, time
mine = os.path.join("live", os.path.basename(args["file_path"]))
open(mine, "w").close()
result = 0
while True:
    result = max(result, len(os.listdir("live")))
    if result >= 3:
        open("three", "w").close()
    if os.path.exists("three"):
        break
    time.sleep(0.005)
time.sleep(0.02)
result = max(result, len(os.listdir("live")))
os.remove(mine)
"#,
    );
    let told = sandbox.run(&["batch", "data", "--script", "live.py", "--max-concurrent", "3", "--json"]);
    assert_eq!(told.code, 0, "{told:?}");
    let result = told.json();
    let most =
        result["results"].as_object().unwrap().values().map(|came| came["result"].as_u64().unwrap()).max();
    assert_eq!(most, Some(3));
}

/// Returns the files that are done, as the store has it.
fn done(sandbox: &Sandbox, run: &str) -> Option<BTreeSet<String>> {
    let told = sandbox.run(&["show", run, "--json"]);
    if told.code != 0 {
        return None;
    }
    let shown = told.json();
    let views = shown["results"].as_object()?.values();
    Some(
        views
            .filter(|view| view["success"] == true)
            .map(|view| view["result"].as_str().unwrap().to_owned())
            .collect(),
    )
}

/// Logs as [`LOGS`] does; each twenty files wait behind a gate.
const GATED: &str = r#"
number = int(os.path.basename(args["file_path"]).split(".")[0])
while not os.path.exists(f"gate-{number // 20}"):
    time.sleep(0.005)
"#;

/// G36, for a batch: killed again and again with five files under way.
#[test]
fn a_killed_batch_goes_on_where_it_stopped_and_no_finished_file_is_done_again() {
    let sandbox = with_files(60);
    sandbox.write("log.py", &format!("{LOGS}{GATED}"));
    let batch = ["batch", "data", "--script", "log.py", "--run-id", "b1", "--json"];
    let log = |sandbox: &Sandbox| fs::read_to_string(sandbox.path().join("log")).unwrap_or_default();
    let begun = |log: &str, path: &str| log.lines().filter(|line| *line == path).count();
    let mut kept = Vec::new();
    for gates in 0..3 {
        let mut child = sandbox.command(&batch).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sandbox.until(|sandbox| done(sandbox, "b1").filter(|done| done.len() == gates * 20));
        // Five wait at the next gate; those of the gates before have begun once more.
        let enough = gates * 20 + 5 + gates * 5;
        sandbox.until(|sandbox| (log(sandbox).lines().count() >= enough).then_some(()));
        send(child.id(), libc::SIGKILL);
        child.wait().unwrap();
        let so_far = log(&sandbox);
        kept.extend(done(&sandbox, "b1").unwrap().into_iter().map(|path| (begun(&so_far, &path), path)));
        assert_eq!(kept.len(), (0..=gates).sum::<usize>() * 20);
        sandbox.write(&format!("gate-{gates}"), "");
    }
    sandbox.write("data/zzz.csv", "came later");
    fs::remove_file(sandbox.path().join("data/000.csv")).unwrap();
    let told = sandbox.run(&batch);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.err.contains("1 file is new since and not part of run b1: data/zzz.csv"), "{}", told.err);
    assert!(told.err.contains("1 file of run b1 would not be found any more: data/000.csv"), "{}", told.err);
    assert!(told.err.contains("run b1 goes on: "), "{}", told.err);
    let result = told.json();
    assert_eq!((&result["total_files"], &result["successful"]), (&json!(60), &json!(60)));

    let log = log(&sandbox);
    for (before, path) in kept {
        assert_eq!(begun(&log, &path), before, "{path} was done when it was killed");
    }
    assert_eq!(log.lines().count(), 60 + 3 * 5, "only what was under way is begun again: {log}");
    let events = sandbox.run(&["events", "b1", "--json"]).out;
    let completed =
        |line: &&str| line.contains("\"type\":\"step_completed\"") || line.contains("StepCompleted");
    assert_eq!(events.lines().filter(completed).count(), 60, "{events}");
}

#[test]
fn another_batch_under_the_same_id_is_a_conflict_and_one_that_is_over_is_told_again() {
    let sandbox = with_files(2);
    sandbox.write("log.py", LOGS);
    sandbox.write("rows.py", ROWS);
    let batch = |more: &[&str]| sandbox.run(&[&["batch", "data", "--run-id", "b1"][..], more].concat());
    assert_eq!(batch(&["--script", "log.py"]).code, 0);
    for other in [
        &["--script", "rows.py"][..],
        &["--script", "log.py", "--pattern", "*.csv"],
        &["--script", "log.py", "--max-concurrent", "2"],
        &["--script", "log.py", "--param", "a=1"],
        &["--script", "log.py", "-m", "a=1"],
    ] {
        let told = batch(&[other, &["--json"]].concat());
        assert_eq!((told.code, &told.error()["name"]), (5, &json!("RUN_EXISTS")), "{other:?}: {told:?}");
    }
    let told = batch(&["--script", "log.py"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.err.contains("run b1 is completed already; this is what came of it"), "{}", told.err);
    assert_eq!(fs::read_to_string(sandbox.path().join("log")).unwrap().lines().count(), 2);
}

#[test]
fn an_interrupted_batch_says_how_to_go_on() {
    let sandbox = with_files(40);
    sandbox.write("log.py", LOGS);
    let batch = ["batch", "data", "--script", "log.py", "--run-id", "b1"];
    let child = sandbox.spawn(&batch);
    sandbox.until(|sandbox| done(sandbox, "b1").filter(|done| !done.is_empty()));
    send(child.id(), libc::SIGINT);
    let told = Told::of(&child.wait_with_output().unwrap());
    assert_eq!((told.code, &*told.out), (130, ""), "{told:?}");
    assert!(told.err.contains("the same command with `--run-id b1` goes on"), "{}", told.err);
    let told = sandbox.run(&batch);
    assert_eq!((told.code, told.out.lines().count()), (0, 40), "{told:?}");
    // What was under way had time to finish, so each began once.
    assert_eq!(fs::read_to_string(sandbox.path().join("log")).unwrap().lines().count(), 40);
}

#[test]
fn a_batch_may_be_left_to_a_worker_and_told_of_later() {
    let sandbox = with_files(3);
    sandbox.write("log.py", LOGS);
    let batch = ["batch", "data", "--script", "log.py", "--run-id", "b1"];
    let told = sandbox.run(&[&batch[..], &["--detach"]].concat());
    assert_eq!((told.code, &*told.out), (0, "b1\n"), "{told:?}");
    assert!(told.err.contains("no worker is alive"), "{}", told.err);
    let told = sandbox.run(&batch);
    assert_eq!((told.code, told.out.lines().count()), (0, 3), "{told:?}");
    assert!(told.err.starts_with("run b1 goes on: 3 files\n"), "{}", told.err);

    assert_eq!(sandbox.run(&["batch", "data", "--script", "log.py", "--run-id", "b2", "--detach"]).code, 0);
    let told = sandbox.run(&["resume", "b2"]);
    assert_eq!((told.code, told.out.lines().count()), (0, 3), "{told:?}");
    assert!(told.out.starts_with("data/000.csv: success"), "{}", told.out);
    assert!(told.err.starts_with("run b2 goes on: ") && told.err.lines().count() == 2, "{}", told.err);
}

#[test]
fn of_many_failed_files_the_first_are_named_before_the_hint() {
    let sandbox = with_files(12);
    sandbox.write("fails.py", "raise ValueError('no')\n");
    let told = sandbox.run(&["batch", "data", "--script", "fails.py", "--run-id", "b1"]);
    assert_eq!(told.code, 1, "{told:?}");
    let talk: Vec<&str> = told.err.lines().rev().take(2).collect();
    assert!(talk[0].ends_with("`stepwell retry b1` tries them again"), "{}", told.err);
    assert!(talk[1].starts_with("failed: data/000.csv, data/001.csv, "), "{}", told.err);
    assert!(talk[1].ends_with("data/009.csv and 2 more"), "{}", told.err);
}

/// G12
#[test]
fn a_kill_while_a_report_is_written_leaves_the_old_one_or_the_new_one() {
    let sandbox = with_files(3);
    sandbox.write("large.py", "result = 'x' * 1_000_000\n");
    let batch = ["batch", "data", "--script", "large.py", "--run-id", "b1"];
    assert_eq!(sandbox.run(&batch).code, 0);
    let report = sandbox.write("report.md", "old");
    let again = [&batch[..], &["--output", "report.md"]].concat();
    let mut child = sandbox.command(&again).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let is_temporary = |name: &OsStr| name.as_bytes().starts_with(b".stepwell-");
    loop {
        let mut names = fs::read_dir(sandbox.path()).unwrap().map(|entry| entry.unwrap().file_name());
        if names.any(|name| is_temporary(&name)) {
            send(child.id(), libc::SIGKILL);
            child.wait().unwrap();
            break;
        }
        if child.try_wait().unwrap().is_some() {
            break;
        }
    }
    let found = fs::read_to_string(&report).unwrap();
    assert!(
        found == "old" || found.matches("x".repeat(1_000_000).as_str()).count() == 10,
        "{} bytes",
        found.len()
    );
    assert_eq!(sandbox.run(&again).code, 0);
    assert!(fs::metadata(&report).unwrap().len() > 3_000_000, "none of the contents is cut");
}

/// G21, and the exit codes of spec/gleitzeit.md §6.
#[test]
fn what_is_not_there_is_told_before_anything_runs() {
    let sandbox = with_files(1);
    sandbox.write("rows.py", ROWS);
    let script = ["--script", "rows.py"];
    let refused = |args: &[&str]| {
        let told = sandbox.run(&[&["--store", "memory:", "batch", "--json"][..], args].concat());
        (told.code, told.error()["name"].as_str().unwrap().to_owned(), told.error()["hint"].clone())
    };
    let with = |args: &[&str]| {
        let (code, name, _) = refused(&[args, &script[..]].concat());
        (code, name)
    };
    let is = |code: i32, name: &str| (code, name.to_owned());
    assert_eq!(with(&["gone"]), is(4, "CONFIGURATION_ERROR"));
    assert_eq!(with(&["data", "--output", "gone/report.md"]), is(2, "INVALID_PARAMS"));
    assert_eq!(with(&["data", "--output", "report.txt"]), is(2, "INVALID_PARAMS"));
    assert_eq!(with(&["data", "data/000.csv"]), is(2, "INVALID_PARAMS"));
    assert_eq!(with(&["data/000.csv", "--pattern", "*"]), is(2, "INVALID_PARAMS"));
    assert_eq!(with(&["data", "--pattern", "{"]), is(3, "WORKFLOW_VALIDATION_FAILED"));
    let (code, name, _) = refused(&["data", "--script", "gone.py"]);
    assert_eq!((code, name), is(2, "INVALID_PARAMS"));
    let (code, name, hint) = refused(&["data"]);
    assert_eq!((code, name), is(3, "PROTOCOL_NOT_FOUND"));
    assert!(hint.as_str().unwrap().contains("--script"), "{hint}");
    let (code, name, _) = refused(&["data", "--method", "python/sing"]);
    assert_eq!((code, name), is(3, "METHOD_NOT_SUPPORTED"));

    let nothing = sandbox.run(&["batch", "data", "--pattern", "*.pdf", "--script", "rows.py", "--json"]);
    assert_eq!((nothing.code, &nothing.json()["total_files"]), (0, &json!(0)), "{nothing:?}");
    assert!(nothing.err.contains("warning: no file in 'data' matches '*.pdf'"), "{}", nothing.err);

    let told = sandbox.run(&[
        "batch",
        "data/000.csv",
        "data/gone.csv",
        "data/000.csv",
        "--script",
        "rows.py",
        "--json",
    ]);
    assert_eq!(told.code, 1, "{told:?}");
    let results = &told.json()["results"];
    assert_eq!(results.as_object().unwrap().len(), 2);
    let gone = &results["data/gone.csv"];
    assert_eq!((&gone["code"], &gone["data"]["reason"]), (&json!(-32602), &json!("not_found")));
}

/// G32
#[test]
fn whatever_files_are_called_nothing_of_it_is_carried_out_and_each_is_named_rightly() {
    let sandbox = with_files(0);
    let names = [
        "a'b.csv",
        "a\"b.csv",
        "a\nb.csv",
        "a;touch pwned;.csv",
        "$(touch pwned).csv",
        "`touch pwned`.csv",
        "${input}.csv",
        "$${input.x}.csv",
        "-rf",
        "--help",
        " x ",
        "''' + open('pwned','w') + '''.csv",
        "é\u{202e}.csv",
    ];
    for name in names {
        sandbox.write(&format!("data/{name}"), "");
    }
    let odd = sandbox.path().join("data").join(OsStr::from_bytes(b"odd\xff.csv"));
    fs::write(&odd, "").unwrap();
    sandbox.write(
        "name.py",
        "import os\nassert os.path.exists(args['file_path'])\nresult = args['file_path']\n",
    );
    let told = sandbox.run(&["batch", "data", "--script", "name.py", "--json"]);
    assert_eq!(told.code, 1, "{told:?}");
    let result = told.json();
    let odd_came = &result["results"][r"data/odd\xff.csv"];
    assert_eq!((&odd_came["code"], &odd_came["data"]["reason"]), (&json!(-32602), &json!("not_utf8")));
    assert_eq!(statuses(&result).len(), names.len() + 1);
    for name in names {
        let path = format!("data/{name}");
        assert_eq!(result["results"][&path]["result"], json!(path));
    }
    assert!(!sandbox.path().join("pwned").exists());

    // As arguments, from inside the directory.
    let inside = sandbox.path().join("data");
    let told = Told::of(
        &sandbox
            .command(&[
                "--store",
                "memory:",
                "batch",
                "--script",
                "../name.py",
                "--",
                "-rf",
                "--help",
                "${input}.csv",
            ])
            .arg(odd.file_name().unwrap())
            .current_dir(&inside)
            .output()
            .unwrap(),
    );
    assert_eq!(told.code, 1, "{told:?}");
    let expected = ["${input}.csv: success", "--help: success", "-rf: success", r"odd\xff.csv: failed"];
    for (line, expected) in told.out.lines().zip(expected) {
        assert!(line.starts_with(expected), "{}", told.out);
    }
}

#[test]
fn what_is_named_on_the_command_line_may_lie_anywhere() {
    let elsewhere = with_files(2);
    let script = elsewhere.write("rows.py", ROWS);
    let sandbox = Sandbox::new();
    let data = elsewhere.path().join("data");
    let told = sandbox.run(&["batch", data.to_str().unwrap(), "--script", script.to_str().unwrap()]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.starts_with(&format!("{}/000.csv: success", data.display())), "{}", told.out);
    // What a batch file names lies in the roots.
    let source =
        format!("batch: {{directory: {}}}\ntemplate: {{method: execute, code: ''}}\n", data.display());
    sandbox.write("outside.yaml", &source);
    let told = sandbox.run(&["batch", "outside.yaml", "--json"]);
    assert_eq!((told.code, &told.error()["data"]["reason"]), (3, &json!("outside_roots")));
}

#[test]
fn talk_of_many_files_is_a_few_lines_and_no_bar_where_nobody_watches() {
    let sandbox = with_files(150);
    sandbox.write("nothing.py", "result = 1\n");
    let told = sandbox.run(&["batch", "data", "--script", "nothing.py", "--run-id", "b1"]);
    assert_eq!((told.code, told.out.lines().count()), (0, 150), "{told:?}");
    assert!(told.err.starts_with("run b1: 150 files\n"), "{}", told.err);
    assert!(!told.err.contains('\u{1b}') && told.err.lines().count() < 50, "{}", told.err);
}

/// Returns the two ends of a terminal.
#[expect(unsafe_code, reason = "the standard library makes no terminals")]
fn terminal() -> (File, File) {
    let (mut ours, mut theirs) = (0, 0);
    let size = libc::winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: both pointers are to integers that outlive the call; name and settings may be null.
    let made = unsafe {
        libc::openpty(&raw mut ours, &raw mut theirs, std::ptr::null_mut(), std::ptr::null(), &raw const size)
    };
    assert_eq!(made, 0);
    // SAFETY: the call has made them, and nobody else has them.
    unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) }
}

#[test]
fn on_a_terminal_a_bar_shows_how_far_it_is() {
    let sandbox = with_files(30);
    sandbox.write("log.py", LOGS);
    let (mut ours, theirs) = terminal();
    let mut command = sandbox.command(&["batch", "data", "--script", "log.py", "--run-id", "b1"]);
    let mut child = command.env("TERM", "xterm").stdout(Stdio::null()).stderr(theirs).spawn().unwrap();
    // Its end of the terminal is closed here too, or reading would never end.
    drop(command);
    let mut shown = Vec::new();
    let _hung_up = ours.read_to_end(&mut shown);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("of 30 files") && shown.contains(" a second, "), "{shown}");
    assert!(
        shown.contains("[=") && shown.contains("run b1 is completed: 30 files, 30 successful"),
        "{shown}"
    );
}
