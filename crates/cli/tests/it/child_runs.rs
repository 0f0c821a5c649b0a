//! Child runs whose workflow is named: by a file, or as what was run before.

use std::path::Path;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, Told};

/// A workflow of one step that starts what it is told to.
fn parent(params: &Value) -> String {
    json!({"id": "parent", "steps": [{"name": "child", "method": "workflow/execute", "params": params}]})
        .to_string()
}

fn child(code: &str) -> String {
    let step = json!({"name": "a", "method": "python/execute", "params": {"code": code}});
    json!({"id": "child", "steps": [step]}).to_string()
}

fn result_of(told: &Told) -> Value {
    assert_eq!(told.code, 0, "{told:?}");
    told.json()["output"]["a"]["result"].clone()
}

fn error_of(told: &Told) -> (String, String) {
    // What was refused is told on the other stream.
    let told: Value = serde_json::from_str(if told.out.is_empty() { &told.err } else { &told.out }).unwrap();
    let error = &told["error"];
    let reason = error["data"]["reason"].as_str().unwrap_or_default();
    (error["name"].as_str().unwrap_or_default().to_owned(), reason.to_owned())
}

#[test]
fn the_example_looks_at_each_region_in_a_run_of_its_own() {
    let sandbox = Sandbox::new();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let store = format!("sqlite://{}", sandbox.path().join("runs.db").display());
    let run = |args: &[&str]| {
        Told::of(
            &sandbox
                .command(&[&["--store", &store, "--json"], args].concat())
                .current_dir(&repository)
                .output()
                .unwrap(),
        )
    };
    let told = run(&["run", "examples/workflows/child_runs.yaml"]);
    assert_eq!(told.code, 0, "{told:?}");
    let ranking = told.json()["output"].as_array().unwrap().clone();
    let regions: Vec<&str> = ranking.iter().map(|row| row["region"].as_str().unwrap()).collect();
    assert_eq!(regions, ["Germany", "France", "United Kingdom", "Sweden", "Switzerland"]);
    let children = run(&["list", "--workflow", "child-region", "--children"]).json();
    assert_eq!(children["runs"].as_array().unwrap().len(), 5, "{children}");
    let roots = sandbox.run(&["--store", &store, "list", "--workflow", "child-region"]);
    let but = "no runs match, but child runs do: `--children` lists them\n";
    assert_eq!((roots.code, roots.out.as_str(), roots.err.as_str()), (0, "", but));
    let alone = run(&[
        "run",
        "examples/workflows/child_region.yaml",
        "--input",
        r#"{"region": "France", "rows": [{"month": "2025-01", "units": 7}]}"#,
    ]);
    assert_eq!(alone.json()["output"], json!({"region": "France", "units": 7, "best_month": "2025-01"}));
}

#[test]
fn everything_that_is_wrong_with_a_named_file_is_told_before_anything_runs() {
    let sandbox = Sandbox::new();
    sandbox.write("parent.json", &parent(&json!({"workflow_ref": "flows/child.yaml"})));
    std::fs::create_dir(sandbox.path().join("flows")).unwrap();
    sandbox.write(
        "flows/child.yaml",
        "steps:\n  - name: a\n    method: python/nothing\n    tiemout: 1\n  - {name: b, method: workflow/execute, params: {}}\n",
    );
    for command in [&["validate"][..], &["run"]] {
        let told = sandbox.run(&[command, &["parent.json"]].concat());
        assert_eq!(told.code, 3, "{told:?}");
        for line in [
            "step 'child': flows/child.yaml:3:13: steps[0].method",
            "step 'child': flows/child.yaml:4:5: steps[0].tiemout",
            "step 'child': flows/child.yaml:5:49: steps[1].params.workflow: step 'b': one of 'workflow' and 'workflow_ref'",
        ] {
            assert!(told.err.contains(line), "{line}: {}", told.err);
        }
    }
    assert!(!sandbox.path().join(".stepwell").exists());

    // The place is that of the name, in the file that names it.
    let name = "{\"id\": \"parent\", \"steps\": [{\"name\": \"child\", \"method\": \"workflow/execute\",\n\
                \"parameters\": {\"workflow_ref\": \"flows/child.yaml\"}}]}";
    sandbox.write("placed.json", name);
    let told = sandbox.run(&["validate", "placed.json"]);
    assert!(
        told.err.contains("placed.json:2:32: error[METHOD_NOT_SUPPORTED -30008]: step 'child'"),
        "{told:?}"
    );
    assert!(told.err.contains("^^^ steps[0].parameters.workflow_ref\n"), "{told:?}");
    let told = sandbox.run(&["validate", "placed.json", "--json"]).json();
    let first = &told["files"][0]["error"]["data"]["validation_errors"][0];
    let place = (&first["file"], &first["line"], &first["column"], &first["end_column"]);
    assert_eq!(place, (&json!("placed.json"), &json!(2), &json!(32), &json!(null)), "{told}");

    // Also where the file that names it is named itself, or stands in the step.
    sandbox.write("flows/child.yaml", &parent(&json!({"workflow_ref": "missing.yaml"})));
    sandbox.write(
        "inline.json",
        &parent(&json!({"workflow": {"steps": [
        {"name": "x", "method": "workflow/execute", "params": {"workflow_ref": "flows/child.yaml"}}]}})),
    );
    for file in ["parent.json", "inline.json"] {
        let told = sandbox.run(&["run", file]);
        assert_eq!(told.code, 4, "{told:?}");
        assert!(
            told.err.contains("flows/child.yaml: parameter 'workflow_ref': there is no file missing.yaml"),
            "{told:?}"
        );
    }
}

#[test]
fn a_batch_file_can_be_named_and_its_paths_start_where_those_of_the_run_do() {
    let sandbox = Sandbox::new();
    for dir in ["flows", "work", "work/texts"] {
        std::fs::create_dir(sandbox.path().join(dir)).unwrap();
    }
    let batch = "batch: {directory: texts}\ntemplate: {method: process/run, command: cat}\n";
    sandbox.write("work/batch.yaml", batch);
    sandbox.write("work/texts/a.txt", "first");
    sandbox.write("work/texts/b.txt", "second");
    sandbox.write("flows/parent.json", &parent(&json!({"workflow_ref": "batch.yaml"})));
    let inline = json!({"workflow": {"batch": {"files": ["texts/b.txt"]}, "template": {"method": "process/run", "command": "cat"}}});
    sandbox.write("flows/inline.json", &parent(&inline));
    let run = |file: &str| {
        let mut command = sandbox.command(&["run", file, "--json"]);
        Told::of(&command.current_dir(sandbox.path().join("work")).output().unwrap())
    };
    let told = run("../flows/parent.json");
    assert_eq!(told.code, 0, "{told:?}");
    let views = &told.json()["output"];
    let texts = ["process-a.txt-0", "process-b.txt-1"].map(|step| &views[step]["result"]);
    assert_eq!(texts, ["first", "second"], "{views}");
    let told = run("../flows/inline.json");
    assert_eq!(told.json()["output"]["process-texts-b.txt-0"]["result"], "second", "{told:?}");

    std::fs::rename(sandbox.path().join("work/texts"), sandbox.path().join("texts")).unwrap();
    let told = run("../flows/parent.json");
    assert_eq!((told.code, error_of(&told).0.as_str()), (4, "CONFIGURATION_ERROR"), "{told:?}");
    assert!(told.err.contains("batch.yaml:1:"), "{told:?}");
}

/// spec/gleitzeit.md §8, G33.
#[test]
fn a_named_file_lies_inside_the_roots() {
    let sandbox = Sandbox::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = elsewhere.path().join("child.json");
    std::fs::write(&outside, child("open('ran', 'w')")).unwrap();
    std::os::unix::fs::symlink(&outside, sandbox.path().join("link.json")).unwrap();
    let outside = outside.display().to_string();
    for name in [&outside, "link.json", "../child.json"] {
        sandbox.write("literal.json", &parent(&json!({ "workflow_ref": name })));
        let told = sandbox.run(&["run", "literal.json", "--json"]);
        assert_eq!(
            (told.code, error_of(&told)),
            (3, ("INVALID_PARAMS".into(), "outside_roots".into())),
            "{name}"
        );
        sandbox.write("reference.json", &parent(&json!({"workflow_ref": "${input.name}"})));
        let told = sandbox.run(&["run", "reference.json", "--json", "--param", &format!("name={name}")]);
        assert_eq!(
            (told.code, error_of(&told)),
            (1, ("INVALID_PARAMS".into(), "outside_roots".into())),
            "{name}"
        );
    }
    assert!(!sandbox.path().join("ran").exists());
}

#[test]
fn a_file_is_read_again_when_the_step_starts_and_scripts_start_where_the_parent_does() {
    let sandbox = Sandbox::new();
    sandbox.write("script.py", "result = ['script', args['n']]");
    sandbox.write("child.json", &child("result = 'before'"));
    let file = json!({"id": "child", "steps": [{"name": "a", "method": "python/execute",
        "params": {"file": "script.py", "args": {"n": "${input.n}"}}}]});
    let rewrite = format!("open('child.json', 'w').write({:?})", file.to_string().replace("${", "$${"));
    let steps = json!({"steps": [
        {"name": "rewrite", "method": "python/execute", "params": {"code": rewrite}},
        {"name": "child", "method": "workflow/execute", "needs": ["rewrite"],
         "params": {"workflow_ref": "child.json", "inputs": {"n": 7}}},
    ]});
    sandbox.write("parent.json", &steps.to_string());
    let told = sandbox.run(&["run", "parent.json", "--json"]);
    assert_eq!(result_of(&told), json!(["script", 7]));
}

#[test]
fn a_workflow_that_was_run_is_named_by_id_and_version() {
    let sandbox = Sandbox::new();
    sandbox.write("parent.json", &parent(&json!({"workflow_ref": "child"})));
    let unknown = sandbox.run(&["run", "parent.json", "--json"]);
    assert_eq!((unknown.code, error_of(&unknown).0), (4, "WORKFLOW_NOT_FOUND".into()), "{unknown:?}");
    assert_eq!(sandbox.run(&["validate", "parent.json"]).code, 0, "it touches no store");

    let mut versions = Vec::new();
    for code in ["result = 1", "result = 2"] {
        sandbox.write("child.json", &child(code));
        let told = sandbox.run(&["run", "child.json", "--json"]);
        versions.push(told.json()["version"].as_str().unwrap().to_owned());
    }
    std::fs::remove_file(sandbox.path().join("child.json")).unwrap();
    assert_eq!(result_of(&sandbox.run(&["run", "parent.json", "--json"])), 2);
    for (version, result) in versions.iter().zip([1, 2]) {
        sandbox.write("versioned.json", &parent(&json!({"workflow_ref": format!("child@{version}")})));
        assert_eq!(result_of(&sandbox.run(&["run", "versioned.json", "--json"])), result);
    }
    sandbox.write("versioned.json", &parent(&json!({"workflow_ref": format!("other@{}", versions[0])})));
    assert_eq!(sandbox.run(&["run", "versioned.json"]).code, 4);
    sandbox.write("reference.json", &parent(&json!({"workflow_ref": "${input.id}"})));
    let late = sandbox.run(&["run", "reference.json", "--json", "--param", "id=nobody"]);
    assert_eq!((late.code, error_of(&late).0), (1, "WORKFLOW_NOT_FOUND".into()), "{late:?}");
}

#[test]
fn files_that_name_each_other_are_read_once_and_end_where_children_end() {
    let sandbox = Sandbox::new();
    sandbox.write("ping.json", &parent(&json!({"workflow_ref": "pong.json"})));
    sandbox.write("pong.json", &parent(&json!({"workflow_ref": "./ping.json"})));
    sandbox.write("self.json", &parent(&json!({"workflow_ref": "self.json"})));
    for file in ["ping.json", "self.json"] {
        assert_eq!(sandbox.run(&["validate", file]).code, 0, "{file}");
        let told = sandbox.run(&["run", file, "--json"]);
        assert_eq!(told.code, 1, "{told:?}");
        let mut error = told.json()["error"].clone();
        let mut depth = 0;
        while error["name"] == "CHILD_FAILED" {
            error = error["data"]["cause"].clone();
            depth += 1;
        }
        assert!(told.out.contains("RESOURCE_EXHAUSTED") || depth > 0, "{told:?}");
        let deepest = sandbox.run(&["list", "--status", "failed", "--json", "--children"]).json();
        let all = deepest.to_string();
        assert!(all.contains("RESOURCE_EXHAUSTED") && all.contains("workflow_depth"), "{all}");
    }
}

/// A recursion that ends by itself: each child is given one less.
#[test]
fn a_workflow_may_start_itself() {
    let sandbox = Sandbox::new();
    let steps = json!({"id": "countdown", "steps": [
        {"name": "left", "method": "python/execute", "params": {"code": "result = ${input.n} - 1"}},
        {"name": "next", "method": "workflow/execute", "needs": ["left"], "when": "${left.result} > 0",
         "params": {"workflow_ref": "countdown.json", "inputs": {"n": "${left.result}"}}},
    ]});
    sandbox.write("countdown.json", &steps.to_string());
    let told = sandbox.run(&["run", "countdown.json", "--json", "--param", "n=3"]);
    assert_eq!(told.code, 0, "{told:?}");
    let inner = &told.json()["output"]["next"]["result"]["next"];
    assert_eq!(inner["status"], "skipped", "{told:?}");
    let runs = |args: &[&str]| sandbox.run(args).json()["runs"].as_array().unwrap().clone();
    let roots = runs(&["list", "--json"]);
    assert_eq!(
        (roots.len(), &roots[0]["parent"]),
        (1, &Value::Null),
        "what others started is not in the way"
    );
    let all = runs(&["list", "--json", "--children"]);
    assert_eq!((all.len(), &all[1]["parent"]), (3, &roots[0]["run_id"]));
    let told = sandbox.run(&["list", "--children"]).out;
    assert_eq!(told.matches(", child of ").count(), 2, "{told}");
}

#[test]
fn a_child_is_written_or_named_and_not_both() {
    let sandbox = Sandbox::new();
    for (params, reason) in [
        (json!({}), "missing"),
        (
            json!({"workflow_ref": "a.yaml", "workflow": {"steps": [{"name": "a", "method": "timer/sleep", "params": {"seconds": 0}}]}}),
            "exclusive",
        ),
        (json!({"workflow_ref": 1}), "type"),
    ] {
        sandbox.write("a.json", &parent(&params));
        let told = sandbox.run(&["run", "a.json", "--json"]);
        assert_eq!((told.code, error_of(&told)), (3, ("INVALID_PARAMS".into(), reason.into())), "{told:?}");
    }
}

/// A workflow whose only step asks, two runs below the one that is followed.
fn asks_below(sandbox: &Sandbox) {
    let ask = json!({"name": "approve", "method": "human/ask", "params": {"prompt": "Order 7 laptops?", "options": ["yes", "no"]}});
    sandbox.write("asks.json", &json!({"id": "asks", "steps": [ask]}).to_string());
    sandbox.write("between.json", &parent(&json!({"workflow_ref": "asks.json"})));
    sandbox.write("top.json", &parent(&json!({"workflow_ref": "between.json"})));
}

#[test]
fn a_question_of_a_child_run_is_asked_on_the_terminal_of_its_parent() {
    let sandbox = Sandbox::new();
    asks_below(&sandbox);
    let mut terminal = sandbox.on_terminal(120, &["run", "top.json", "--run-id", "t1"]);
    let text = terminal.shows("1  yes");
    assert!(text.contains("? approve of child run ") && text.contains("  | Order 7 laptops?"), "{text}");
    terminal.types("2\r");
    assert_eq!(terminal.ends(), 0);
    terminal.is_given_back();
    let shown = sandbox.run(&["show", "t1", "--json"]).json();
    let answer = shown.pointer("/results/child/result/child/result/approve/result");
    assert_eq!(answer, Some(&json!("no")), "{shown}");

    let mut terminal = sandbox.on_terminal(120, &["run", "top.json", "--run-id", "t2"]);
    terminal.shows("1  yes");
    terminal.types("\x1b");
    terminal.shows(" is left open");
    let wait = sandbox.run(&["inbox", "--json"]).json()["waits"][0]["wait_id"].as_str().unwrap().to_owned();
    assert_eq!(sandbox.run(&["answer", &wait, "--text", "no", "--by", "ann"]).code, 0);
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn without_a_terminal_a_question_of_a_child_run_is_told_with_the_command_that_answers_it() {
    let sandbox = Sandbox::new();
    asks_below(&sandbox);
    let err = sandbox.path().join("err");
    let to_file = || std::fs::OpenOptions::new().append(true).create(true).open(&err).unwrap();
    let told = |_: &Sandbox| {
        let told = std::fs::read_to_string(&err).unwrap();
        told.contains("answer with `stepwell answer wait_").then_some(told)
    };
    let mut run = sandbox.command(&["run", "top.json", "--run-id", "t1"]).stderr(to_file()).spawn().unwrap();
    let said = sandbox.until(told);
    assert!(said.contains("  approve of child run ") && said.contains(" asks: Order 7 laptops?\n"), "{said}");
    assert_eq!(said.matches("answer with").count(), 1, "{said}");
    run.kill().unwrap();
    run.wait().unwrap();

    // Whoever goes on with the run is told again.
    std::fs::remove_file(&err).unwrap();
    let mut resumed = sandbox.command(&["resume", "t1"]).stderr(to_file()).spawn().unwrap();
    sandbox.until(told);
    let wait = sandbox.run(&["inbox", "--json"]).json()["waits"][0]["wait_id"].as_str().unwrap().to_owned();
    assert_eq!(sandbox.run(&["answer", &wait, "--text", "yes"]).code, 0);
    assert!(resumed.wait().unwrap().success());
}

#[test]
fn a_cancelled_run_takes_its_child_runs_with_it_though_nobody_carries_them() {
    let sandbox = Sandbox::new();
    let ask = json!({"id": "child", "steps": [
        {"name": "ask", "method": "human/ask", "params": {"prompt": "Go on?"}},
    ]});
    let middle = json!({"id": "middle", "steps": [
        {"name": "below", "method": "workflow/execute", "params": {"workflow": ask}},
    ]});
    sandbox.write("parent.json", &parent(&json!({"workflow": middle})));
    let mut followed =
        sandbox.command(&["run", "parent.json", "--run-id", "p", "--no-input"]).spawn().unwrap();
    let open = || sandbox.run(&["--json", "inbox"]).json()["waits"].as_array().map_or(0, Vec::len);
    while open() == 0 {
        assert!(followed.try_wait().unwrap().is_none(), "it waits for its child");
    }
    followed.kill().unwrap();
    followed.wait().unwrap();
    assert_eq!(sandbox.run(&["cancel", "p"]).code, 0);
    assert_eq!(open(), 0);
    let all = sandbox.run(&["--json", "list", "--children"]).json();
    let statuses: Vec<&Value> = all["runs"].as_array().unwrap().iter().map(|run| &run["status"]).collect();
    assert_eq!(statuses, ["cancelled", "cancelled", "cancelled"], "{all}");
}

#[test]
fn a_question_of_a_child_run_is_found_by_the_id_of_any_run_above_it() {
    let sandbox = Sandbox::new();
    asks_below(&sandbox);
    let mut run = sandbox.spawn(&["run", "top.json", "--run-id", "t1"]);
    let wait = sandbox.until(|sandbox| {
        let listed = sandbox.run(&["inbox", "--json"]);
        listed.json()["waits"][0]["wait_id"].as_str().map(str::to_owned)
    });
    let between = sandbox.run(&["list", "--children", "--workflow", "parent", "--json"]).json();
    let runs = between["runs"].as_array().unwrap();
    let between = runs.iter().find(|run| run["run_id"] != "t1").unwrap()["run_id"].as_str().unwrap();
    for above in ["t1", between] {
        let shown = sandbox.run(&["show", above]).out;
        let why = format!("waits for an answer: `stepwell answer {wait} --text 'yes|no'`");
        assert!(shown.contains("why: step 'approve' of child run ") && shown.contains(&why), "{shown}");
        assert_eq!(sandbox.run(&["inbox", above, "--json"]).json()["wait_id"], *wait);
    }
    let told = sandbox.run(&["answer", "t1", "--text", "yes"]);
    assert!(told.code == 0 && told.err.contains(&format!("{wait} is answered\n")), "{told:?}");
    assert!(run.wait().unwrap().success());
}
