//! What people see: enough to know what happened, in words and times they read, and what to type next.

use serde_json::json;

use crate::sandbox::Sandbox;

const TALKS: &str = "id: talks
steps:
  - name: speaks
    method: python/execute
    params: {code: \"print('loaded 24 months'); result = 24\"}
  - name: fails
    method: python/execute
    needs: [speaks]
    params:
      code: |
        import sys
        print('so far', file=sys.stderr)
        def convert(row):
            raise ValueError('no rate for ' + row)
        convert('CHF')
";

#[test]
fn run_and_show_tell_what_was_printed_where_it_failed_and_how_long_it_took() {
    let sandbox = Sandbox::new();
    sandbox.write("talks.yaml", TALKS);
    let told = sandbox.run(&["run", "talks.yaml", "--run-id", "t1"]);
    assert_eq!(told.code, 1, "{told:?}");
    let lines: Vec<&str> = told.out.lines().collect();
    assert!(lines[0].starts_with("speaks: completed, ") && lines[0].ends_with("s  24"), "{told:?}");
    assert!(lines[2].starts_with("fails: failed, ") && lines[2].ends_with('s'), "{told:?}");
    assert_eq!((lines[1], lines[4]), ("  | loaded 24 months", "  | so far"));
    assert_eq!(lines[3], "  step 'fails': the script raised ValueError: no rate for CHF");
    assert_eq!(
        lines[5..],
        [
            "  Traceback (most recent call last):",
            "    File \"<code>\", line 5, in <module>",
            "      convert('CHF')",
            "    File \"<code>\", line 4, in convert",
            "      raise ValueError('no rate for ' + row)",
            "  ValueError: no rate for CHF",
        ]
    );
    let shown = sandbox.run(&["show", "t1"]).out;
    assert!(shown.contains("    | loaded 24 months\n"), "{shown}");
    assert!(shown.contains("    ValueError: no rate for CHF\n"), "{shown}");
    assert!(shown.contains("took      "), "{shown}");
    let created = shown.lines().find_map(|line| line.strip_prefix("created   ")).unwrap();
    assert_eq!(created.len(), "2026-11-21 06:18:45".len(), "to the second: {created}");

    let events = sandbox.run(&["events", "t1"]).out;
    let failed = events.lines().find(|line| line.contains("StepFailed fails")).unwrap();
    assert!(failed.ends_with("the script raised ValueError: no rate for CHF"), "{failed}");
    assert!(events.lines().any(|line| line.ends_with("AttemptStarted fails, attempt 1")), "{events}");
}

#[test]
fn a_command_line_that_cannot_be_understood_is_told_as_json_where_json_is_asked_for() {
    let sandbox = Sandbox::new();
    for (args, code, name, part) in [
        (&["run", "--json"][..], 2, "INVALID_PARAMS", "<FILE>"),
        (&["show", "--json", "r1", "--colour"], 2, "INVALID_PARAMS", "--colour"),
        (&["list", "--limit", "many", "--json"], 2, "INVALID_PARAMS", "--limit"),
        (&["lsit", "--json"], 2, "METHOD_NOT_FOUND", "lsit"),
    ] {
        let told = sandbox.run(args);
        assert_eq!((told.code, told.out.as_str()), (code, ""), "{args:?}: {told:?}");
        assert_eq!(told.err.lines().count(), 1, "one line: {told:?}");
        let error = told.error();
        assert_eq!(error["name"], json!(name), "{args:?}: {error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{args:?}: {error}");
        assert!(error["hint"].is_string(), "{args:?}: {error}");
    }
    assert!(sandbox.run(&["run"]).err.starts_with("error: "), "for people it stays as it is");
}

#[test]
fn a_file_that_is_no_text_or_a_directory_is_an_invalid_definition_and_told_once() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path().join("latin.yaml"), b"name: caf\xe9\n").unwrap();
    std::fs::create_dir(sandbox.path().join("dir.yaml")).unwrap();
    for (file, code) in [("latin.yaml", 3), ("dir.yaml", 3), (".", 3), ("missing.yaml", 4)] {
        for command in ["validate", "run"] {
            let told = sandbox.run(&[command, file]);
            assert_eq!(told.code, code, "{command} {file}: {told:?}");
            assert_eq!(told.err.matches(&format!("'{file}'")).count(), 1, "once: {told:?}");
        }
    }
}

#[test]
fn a_store_that_cannot_be_where_it_is_said_to_be_is_told_so_and_no_retry_is_promised() {
    let sandbox = Sandbox::new();
    sandbox.write("nap.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]");
    std::fs::create_dir(sandbox.path().join("dir")).unwrap();
    let before = std::fs::read_dir(sandbox.path()).unwrap().count();
    for (url, when_reading, why, hint) in [
        ("sqlite://dir", 1, "dir is a directory", "sqlite://dir/stepwell.db"),
        ("sqlite://dir?durability=crash", 1, "dir is a directory", "sqlite://dir/stepwell.db"),
        ("sqlite://none/x.db", 4, "the directory none does not exist", "make it"),
        ("sqlite://nap.yaml/x.db", 4, "nap.yaml is not a directory", "--store"),
    ] {
        for (args, code) in [
            (&["run", "nap.yaml", "--store", url, "--json"][..], 1),
            (&["worker", "--store", url, "--json"], 1),
            (&["list", "--store", url, "--json"], when_reading),
        ] {
            let told = sandbox.run(args);
            let error = told.error();
            assert_eq!(told.code, code, "{args:?}: {told:?}");
            assert!(error["message"].as_str().unwrap().ends_with(why), "{args:?}: {error}");
            assert!(error["hint"].as_str().unwrap().contains(hint), "{args:?}: {error}");
            assert_eq!(error["retryable"], json!(false), "{args:?}");
        }
    }
    assert_eq!(std::fs::read_dir(sandbox.path()).unwrap().count(), before, "nothing is left behind");
}

#[test]
fn a_problem_of_a_definition_is_told_once_with_file_line_and_column() {
    let sandbox = Sandbox::new();
    sandbox
        .write("one.yaml", "steps:\n  - {name: A, method: timer/sleep, params: {seconds: 0}, needs: [B]}\n");
    sandbox
        .write("two.yaml", "steps:\n  - {name: A, method: timer/sleep, params: {seconds: x}, needs: [B]}\n");
    for (file, count) in [("one.yaml", 1), ("two.yaml", 2)] {
        for command in ["run", "validate"] {
            let told = sandbox.run(&[command, file]);
            assert_eq!(told.code, 3, "{told:?}");
            assert_eq!(told.err.matches(&format!("{file}:2:")).count(), count, "{told:?}");
            assert_eq!(told.err.matches("needs 'B'").count(), 1, "{told:?}");
        }
    }
    let told = sandbox.run(&["run", "one.yaml", "--json"]);
    assert_eq!(told.error()["data"]["validation_errors"][0]["file"], json!("one.yaml"));
}

#[test]
fn a_conflict_says_what_to_type_next() {
    let sandbox = Sandbox::new();
    sandbox.write("nap.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]");
    sandbox.write("long.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 600}}]");
    assert_eq!(sandbox.run(&["run", "nap.yaml", "--run-id", "n1"]).code, 0);
    assert_eq!(sandbox.run(&["run", "long.yaml", "--run-id", "l1", "--detach"]).code, 0);
    for (args, hint) in [
        (&["cancel", "n1"][..], "stepwell run"),
        (&["pause", "n1"], "stepwell run"),
        (&["resume", "n1"], "stepwell run"),
        (&["retry", "n1"], "stepwell run"),
        (&["retry", "l1"], "stepwell resume"),
        (&["run", "long.yaml", "--run-id", "n1"], "another id"),
    ] {
        let told = sandbox.run(args);
        assert_eq!(told.code, 5, "{args:?}: {told:?}");
        let hinted = told.err.lines().find(|line| line.starts_with("hint: "));
        assert!(hinted.is_some_and(|line| line.contains(hint)), "{args:?}: {told:?}");
    }
}

#[test]
fn a_run_id_that_a_terminal_or_a_path_would_trip_over_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("nap.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]");
    for id in ["", "a/b", "a\\b", "..", "a\nb", "a\u{1b}[31m", " a", &"x".repeat(201)] {
        let told = sandbox.run(&["run", "nap.yaml", "--run-id", id, "--json"]);
        assert_eq!((told.code, &told.error()["name"]), (2, &json!("INVALID_PARAMS")), "{id:?}: {told:?}");
        assert_eq!(told.error()["data"]["parameter"], json!("run_id"), "{id:?}");
    }
    assert_eq!(sandbox.run(&["run", "nap.yaml", "--run-id", "Report 2026-11.é", "--json"]).code, 0);
}

#[test]
fn a_question_is_found_by_the_beginning_of_its_id_and_says_by_whom_it_was_answered() {
    let sandbox = Sandbox::new();
    sandbox.write("ask.yaml", "steps: [{name: one, method: human/ask, params: {prompt: 'Ship it?'}}]");
    sandbox.write(
        "two.yaml",
        "steps:
  - {name: one, method: human/ask, params: {prompt: 'Ship it?'}}
  - {name: two, method: human/ask, params: {prompt: 'Really?'}}
",
    );
    for (file, id) in [("ask.yaml", "a1"), ("two.yaml", "a2")] {
        assert_eq!(sandbox.run(&["run", file, "--run-id", id, "--detach"]).code, 0);
    }
    let mut worker = sandbox.spawn(&["worker"]);
    let waits = sandbox.until(|sandbox| {
        let waits = sandbox.run(&["inbox", "--json"]).json()["waits"].as_array().unwrap().clone();
        (waits.len() == 3).then_some(waits)
    });
    let several = sandbox.run(&["answer", "a2", "--text", "yes", "--json"]);
    assert_eq!((several.code, &several.error()["data"]["reason"]), (2, &json!("wait_ambiguous")));
    let several = sandbox.run(&["answer", "wait_", "--text", "yes", "--json"]);
    assert_eq!(
        (several.code, several.error()["data"]["candidates"].as_array().unwrap().len() > 1),
        (2, true)
    );

    let id = waits.iter().find(|wait| wait["run_id"] == json!("a1")).unwrap()["wait_id"].as_str().unwrap();
    let beginning = &id[..id.len() - 6];
    assert_eq!(sandbox.run(&["inbox", beginning, "--json"]).json()["wait_id"], json!(id));
    let answered = sandbox.run(&["answer", beginning, "--text", "yes", "--by", "ann", "--json"]);
    assert_eq!((answered.code, &answered.json()["wait_id"]), (0, &json!(id)), "{answered:?}");
    for target in ["a1", id] {
        let late = sandbox.run(&["answer", target, "--text", "no", "--json"]);
        assert_eq!((late.code, &late.error()["data"]["reason"]), (5, &json!("wait_closed")), "{late:?}");
        assert!(late.error()["message"].as_str().unwrap().contains("already"), "{late:?}");
        assert!(late.error()["hint"].is_string(), "{late:?}");
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
}

#[test]
fn a_question_whose_default_nobody_could_give_is_refused_and_timeout_is_called_deadline() {
    let sandbox = Sandbox::new();
    let validate = |params: &str| {
        sandbox.write("ask.yaml", &format!("steps: [{{name: one, method: human/ask, params: {params}}}]"));
        let told = sandbox.run(&["validate", "ask.yaml"]);
        (told.code, told.err)
    };
    let (code, err) = validate("{prompt: '?', options: ['yes', 'no'], default: perhaps}");
    assert!(code == 3 && err.contains("'default'") && err.contains("options"), "{err}");
    let (code, err) = validate("{prompt: '?', schema: {type: integer}, default: much}");
    assert!(code == 3 && err.contains("'default'"), "{err}");
    let (code, err) = validate("{prompt: '?', schema: {type: 7}}");
    assert!(code == 3 && err.contains("'schema'"), "{err}");
    let (code, err) = validate("{prompt: '?', timeout: 60}");
    assert!(code == 3 && err.contains("'deadline'"), "{err}");
    assert_eq!(validate("{prompt: '?', options: ['yes', {value: 'no'}], default: 'no', deadline: 60}").0, 0);
    let (_, err) = validate("{prompt: '?'}, when: 3, colour: 1");
    assert!(!err.contains("llm"), "no provider is named that is not there: {err}");
}
