//! What people are told to do next, and why a run is not going on.

use std::io::{BufRead, BufReader};

use serde_json::json;

use crate::sandbox::{Sandbox, Told};

/// Starts a run and leaves it alone once it waits; a signal comes before the timer is over.
const WAITS: &str = "id: waits
steps:
  - {name: cool, method: timer/sleep, params: {seconds: 3600}}
  - {name: lunch, method: human/ask, params: {prompt: 'What for lunch?', options: [pizza, {value: salad}]}}
  - {name: go, method: signal/wait, params: {name: 'go on'}}
";

/// Leaves a run waiting with nobody to carry it.
fn waiting(sandbox: &Sandbox, definition: &str, id: &str, waits: usize) {
    sandbox.write("waits.yaml", definition);
    let mut run = sandbox.spawn(&["run", "waits.yaml", "--run-id", id]);
    sandbox.until(|sandbox| {
        let told = sandbox.run(&["show", id, "--json"]);
        (told.code == 0 && told.json()["open_waits"].as_array()?.len() == waits).then_some(())
    });
    run.kill().unwrap();
    run.wait().unwrap();
}

fn why(sandbox: &Sandbox, id: &str) -> String {
    let shown = sandbox.run(&["show", id]).out;
    shown.lines().filter(|line| line.starts_with("why: ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn show_says_when_nobody_would_notice_that_a_run_can_go_on() {
    let sandbox = Sandbox::new();
    waiting(&sandbox, WAITS, "w 1", 3);
    let nobody = "nobody carries this run now: `stepwell worker` or `stepwell resume 'w 1'` goes on with it";
    let told = why(&sandbox, "w 1");
    for part in
        ["step 'cool' sleeps until ", "--text 'pizza|salad'`", "`stepwell signal 'w 1' 'go on'`", nobody]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let mut worker = sandbox.spawn(&["worker"]);
    sandbox.until(|sandbox| (!why(sandbox, "w 1").contains("nobody")).then_some(()));
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(why(&sandbox, "w 1").contains(nobody));

    sandbox.write("other.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 600}}]");
    let mut other = sandbox.spawn(&["run", "other.yaml", "--run-id", "o1"]);
    sandbox.until(|sandbox| (sandbox.run(&["show", "o1"]).code == 0).then_some(()));
    assert!(why(&sandbox, "w 1").contains(nobody), "who carries another run is not waited for");
    sandbox.until(|sandbox| (!why(sandbox, "o1").contains("nobody")).then_some(()));
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn resume_says_at_once_what_the_run_waits_for() {
    let sandbox = Sandbox::new();
    waiting(&sandbox, WAITS, "w1", 3);
    let mut resumed = sandbox.spawn(&["resume", "w1"]);
    let mut missing = vec![
        "  cool sleeps until ",
        "  lunch asks: What for lunch?",
        "  answer with `stepwell answer wait_",
        "  go waits for signal 'go on': `stepwell signal w1 'go on'`",
    ];
    for line in BufReader::new(resumed.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        missing.retain(|part| !line.starts_with(part));
        if missing.is_empty() {
            break;
        }
    }
    assert!(missing.is_empty(), "never said: {missing:?}");
    resumed.kill().unwrap();
    resumed.wait().unwrap();
}

#[test]
fn a_run_that_lacks_a_value_of_its_input_names_the_flag_that_gives_it() {
    let sandbox = Sandbox::new();
    let step = "steps: [{name: a, method: python/execute, params: {args: {x: '${input.x}'}, code: \"result = args['x']\"}}]";
    sandbox.write("input.yaml", step);
    let told = sandbox.run(&["run", "input.yaml", "--run-id", "i1"]);
    let hint = "`stepwell run FILE --param 'x=…'` gives it to another run, `stepwell retry i1 --input '{\"x\":\"…\"}'` to this one";
    assert!(told.err.contains(hint), "{}", told.err);
    assert_eq!(sandbox.run(&["retry", "i1", "--input", "{\"x\": 7}"]).code, 0);
    assert_eq!(sandbox.run(&["run", "input.yaml", "--param", "x=7"]).code, 0);
}

#[test]
fn a_command_that_there_is_not_names_the_one_that_may_be_meant() {
    let sandbox = Sandbox::new();
    for (args, hint) in [
        (&["rnu", "a.yaml"][..], "did you mean 'run'?"),
        (&["state", "gte", "k"], "did you mean 'get'?"),
        (&["frobnicate"], "`stepwell --help` lists the commands"),
    ] {
        let told = sandbox.run(args);
        assert!(told.code == 2 && told.err.contains(&format!("\nhint: {hint}\n")), "{told:?}");
        let told = sandbox.run(&[args, &["--json"]].concat());
        assert!(told.error()["hint"].as_str().unwrap().starts_with(hint), "{told:?}");
    }
    let told = sandbox.run(&["lst"]);
    assert!(
        told.err.contains("a similar subcommand exists: 'list'") && !told.err.contains("hint:"),
        "{told:?}"
    );
}

#[test]
fn a_project_in_which_nothing_has_run_lists_nothing_and_says_how_to_begin() {
    let sandbox = Sandbox::new();
    let (list, inbox) = (sandbox.run(&["list"]), sandbox.run(&["inbox"]));
    assert!(list.err.contains(" yet: `stepwell run FILE` starts a workflow"), "{list:?}");
    assert!(inbox.err.starts_with("no open questions: nothing has run in "), "{inbox:?}");
    assert_eq!(sandbox.run(&["list", "--json"]).json(), json!({"runs": [], "next": null}));
    assert_eq!(sandbox.run(&["inbox", "--json"]).json(), json!({"waits": [], "next": null}));
    assert!(!sandbox.path().join(".stepwell").exists(), "reading makes no store");
}

#[test]
fn an_answer_to_a_run_that_was_cancelled_is_told_that_and_not_that_another_answer_stands() {
    let sandbox = Sandbox::new();
    waiting(&sandbox, "steps: [{name: ask, method: human/ask, params: {prompt: '?'}}]", "c1", 1);
    let wait = sandbox.run(&["inbox", "--json"]).json()["waits"][0]["wait_id"].as_str().unwrap().to_owned();
    assert_eq!(sandbox.run(&["cancel", "c1"]).code, 0);
    for target in [wait.as_str(), "c1"] {
        let told = sandbox.run(&["answer", target, "--text", "yes"]);
        assert_eq!(told.code, 5, "{told:?}");
        assert!(told.err.contains(" is withdrawn: run c1 is cancelled\n"), "{told:?}");
        assert!(told.err.contains("hint: the run was cancelled before anybody answered"), "{told:?}");
    }
}

#[test]
fn people_read_what_a_run_waits_for_and_paused_is_what_an_operator_did() {
    let sandbox = Sandbox::new();
    let ask = "steps: [{name: ask, method: human/ask, params: {prompt: '?'}}]";
    waiting(&sandbox, ask, "q1", 1);
    let shown = sandbox.run(&["show", "q1"]).out;
    assert!(shown.contains("status    waiting for an answer\n"), "{shown}");
    assert!(sandbox.run(&["list"]).out.contains(" waiting "));
    let listed = |status: &str| sandbox.run(&["list", "--status", status]).out.lines().count();
    assert_eq!((listed("waiting"), listed("paused"), listed("running")), (1, 1, 0));
    assert!(sandbox.run(&["doctor"]).out.contains("runs        1 waiting\n"));
    assert_eq!(
        sandbox.run(&["show", "q1", "--json"]).json()["status"],
        "paused",
        "programs read what they did"
    );

    sandbox.write("nap.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 600}}]");
    assert_eq!(sandbox.run(&["run", "nap.yaml", "--run-id", "p1", "--detach"]).code, 0);
    assert_eq!(sandbox.run(&["pause", "p1"]).code, 0);
    let shown = sandbox.run(&["show", "p1"]).out;
    assert!(shown.contains("status    paused\n") && shown.contains("an operator paused it"), "{shown}");
    assert!(!shown.contains("is ready"), "{shown}");
}

#[test]
fn an_answer_is_hinted_at_as_its_form_wants_it_and_the_run_is_found_by_its_id() {
    let sandbox = Sandbox::new();
    let ask = "steps: [{name: ask, method: human/ask, params: {prompt: 'Lunch?', options: [pizza, salad]}}]";
    waiting(&sandbox, ask, "q1", 1);
    let shown = sandbox.run(&["inbox", "q1"]).out;
    assert!(shown.contains("  Lunch?\n") && shown.contains("--text 'pizza|salad'`"), "{shown}");
    let wrong = sandbox.run(&["answer", "q1", "--json-value", "salad"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.err.contains("hint: a text is given with `--text salad`"), "{wrong:?}");
    let answered = sandbox.run(&["answer", "q1", "--text", "salad"]);
    assert!(answered.err.ends_with(" is answered\nrun q1 is completed\n"), "{answered:?}");
}

#[test]
fn a_failed_run_tells_the_next_step_and_what_else_failed() {
    let sandbox = Sandbox::new();
    let step = |name: &str| {
        format!(
            "  - {{name: {name}, method: python/execute, on_failure: continue, params: {{code: 'raise ValueError({name:?})'}}}}\n"
        )
    };
    let file =
        format!("steps:\n{}{}{}", step("a"), step("b"), step("c").replace(" on_failure: continue,", ""));
    sandbox.write("fails.yaml", &file.replace('"', ""));
    let told = sandbox.run(&["run", "fails.yaml", "--run-id", "f1"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.err.contains("\n2 more steps failed: a, b\n"), "{told:?}");
    let next = "hint: repair the cause, then `stepwell retry f1`; what is completed stays\n";
    assert!(told.err.ends_with(next), "{told:?}");
    let again = sandbox.run(&["retry", "f1"]);
    assert!(
        again.err.contains("with the definition it was started with; changes of the workflow file"),
        "{again:?}"
    );
    let followed = sandbox.run(&["run", "fails.yaml", "--run-id", "f1"]);
    assert!(followed.err.starts_with("run f1 has failed already; this is its journal\n"), "{followed:?}");
}

#[test]
fn show_prints_the_output_of_a_run_and_why_it_was_cancelled() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "out.yaml",
        "steps: [{name: a, method: python/execute, params: {code: 'result = {\"n\": 3}'}}]",
    );
    let ran = sandbox.run(&["run", "out.yaml", "--run-id", "o1"]);
    assert!(ran.out.ends_with("\n  {\n    \"n\": 3\n  }\n"), "{ran:?}");
    let shown = sandbox.run(&["show", "o1", "--context"]).out;
    assert!(shown.contains("\n    {\n      \"n\": 3\n    }\n"), "{shown}");
    assert!(shown.ends_with("\ncontext {}\n"), "{shown}");
    assert_eq!(sandbox.run(&["run", "out.yaml", "--run-id", "o2", "--detach"]).code, 0);
    assert_eq!(sandbox.run(&["cancel", "o2", "--reason", "too early"]).code, 0);
    assert!(
        sandbox
            .run(&["show", "o2"])
            .out
            .contains("error[WORKFLOW_CANCELLED -28005]: the run was cancelled: too early\n")
    );
}

#[test]
fn much_that_a_step_prints_is_cut_and_says_where_all_of_it_is() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "much.yaml",
        "steps: [{name: a, method: python/execute, params: {code: \"print(('x' * 99 + chr(10)) * 40_000); result = 'y' * 5_000_000\"}}]",
    );
    let ran = sandbox.run(&["run", "much.yaml", "--run-id", "m1"]);
    for told in [&ran, &sandbox.run(&["show", "m1"])] {
        assert!(told.out.contains("| … 3.9 MB before these: `stepwell show m1 --json`\n"), "{}", told.out);
        assert!(told.out.len() < 12_000, "{} bytes", told.out.len());
    }
}

#[test]
fn numbers_that_would_do_nothing_are_refused_and_an_empty_list_says_so() {
    let sandbox = Sandbox::new();
    sandbox.write("nap.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]");
    assert_eq!(sandbox.run(&["run", "nap.yaml"]).code, 0);
    for (args, flag) in [
        (&["worker", "--concurrency", "0"][..], "--concurrency"),
        (&["list", "--limit", "0"], "--limit"),
        (&["inbox", "--limit", "0"], "--limit"),
    ] {
        let told: Told = sandbox.run(args);
        assert_eq!(told.code, 2, "{told:?}");
        assert!(
            told.err.contains(&format!("'0' for '{flag} <N>': it must be a whole number from 1")),
            "{told:?}"
        );
    }
    let none = sandbox.run(&["list", "--workflow", "other", "--since", "2020-01-01"]);
    assert_eq!((none.code, &*none.out, &*none.err), (0, "", "no runs match\n"));
}

#[test]
fn a_warning_of_run_is_that_of_validate() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "warns.yaml",
        "steps:
  - {name: b, method: python/execute, params: {code: 'result = 1', args: {x: '${a.result}'}}}
  - {name: a, method: python/execute, params: {code: 'result = 1'}}
",
    );
    let warnings = |command: &str| {
        let told = sandbox.run(&[command, "warns.yaml"]);
        let lines =
            told.err.lines().take_while(|line| line.starts_with("warns.yaml:") || line.contains(['|', '=']));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let told = warnings("run");
    assert!(
        told.len() > 3 && told[0].starts_with("warns.yaml:2:79: warning: step 'b' refers to"),
        "{told:?}"
    );
    assert_eq!(told, warnings("validate"));
}

#[test]
fn a_signal_that_nobody_waits_for_is_kept_and_said_to_be() {
    let sandbox = Sandbox::new();
    waiting(
        &sandbox,
        "steps: [{name: a, method: signal/wait, params: {name: go}}, {name: b, method: signal/wait, needs: [a], params: {name: end}}]",
        "s1",
        1,
    );
    let told = |name: &str| sandbox.run(&["signal", "s1", name]).err;
    assert_eq!(told("goo"), "no step of s1 waits for 'goo' (did you mean 'go'?); it is kept\n");
    assert_eq!(told("end"), "no step of s1 waits for 'end' yet; it is kept for the one that will\n");
    assert_eq!(told("go"), "run s1 has signal 'go'\n");
}

#[test]
fn a_script_that_is_not_there_is_told_before_anything_runs() {
    let sandbox = Sandbox::new();
    let step = "steps: [{name: a, method: python/execute, params: {file: scripts/load.py}}]";
    sandbox.write("script.yaml", step);
    let dir = sandbox.path().canonicalize().unwrap();
    let missing = format!("step 'a': there is no script scripts/load.py in {}", dir.display());
    let validated = sandbox.run(&["validate", "script.yaml"]);
    assert_eq!(validated.code, 0, "{validated:?}");
    assert!(validated.err.starts_with(&format!("script.yaml:1:58: warning: {missing}\n")), "{validated:?}");
    assert!(validated.out.ends_with(": ok, 1 step, 1 warning\n"), "{validated:?}");
    assert_eq!(sandbox.run(&["validate", "--strict", "script.yaml"]).code, 3);
    let ran = sandbox.run(&["run", "script.yaml"]);
    assert!(ran.err.starts_with(&format!("script.yaml:1:58: warning: {missing}\n")), "{ran:?}");
    assert!(ran.out.contains("step 'a': there is no file load.py in "), "{ran:?}");
    std::fs::create_dir(sandbox.path().join("scripts")).unwrap();
    sandbox.write("scripts/load.py", "result = 1");
    assert_eq!(sandbox.run(&["validate", "--strict", "script.yaml"]).code, 0);
}

#[test]
fn a_refusal_names_the_run_in_the_command_that_helps() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "fails.yaml",
        "steps: [{name: a, method: python/execute, params: {code: 'raise ValueError(1)'}}]",
    );
    assert_eq!(sandbox.run(&["run", "fails.yaml", "--run-id", "f 1"]).code, 1);
    for command in ["cancel", "pause", "resume"] {
        let told = sandbox.run(&[command, "f 1"]);
        assert!(told.err.contains("\nhint: `stepwell retry 'f 1'` tries again what failed\n"), "{told:?}");
    }
    let missing = sandbox.run(&["run", "missing.yaml"]);
    let dir = sandbox.path().canonicalize().unwrap();
    assert!(
        missing.err.contains(&format!("there is no file 'missing.yaml' in {}\n", dir.display())),
        "{missing:?}"
    );
}

#[test]
fn a_lost_attempt_that_may_not_be_repeated_shows_its_three_answers() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "once.yaml",
        "steps: [{name: pay, method: python/execute, effect: at_most_once, params: {code: \"open('began', 'w'); import time; time.sleep(600)\"}}]",
    );
    let mut run = sandbox.spawn(&["run", "once.yaml", "--run-id", "p1"]);
    sandbox.until(|sandbox| sandbox.path().join("began").exists().then_some(()));
    run.kill().unwrap();
    run.wait().unwrap();
    let resumed = sandbox.spawn(&["resume", "p1"]);
    let shown = sandbox.until(|sandbox| {
        let told = why(sandbox, "p1");
        told.contains("waits for an answer").then_some(told)
    });
    for verb in ["retry", "complete", "fail"] {
        assert!(shown.contains(&format!(r#" --json-value '{{"verb":"{verb}""#)), "{shown}");
    }
    let answered = sandbox.run(&["answer", "p1", "--json-value", r#"{"verb":"complete","value":3}"#]);
    assert_eq!(answered.code, 0, "{answered:?}");
    assert_eq!(Told::of(&resumed.wait_with_output().unwrap()).code, 0);
}

#[test]
fn show_says_who_carries_an_attempt_out_and_since_when() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "long.yaml",
        "steps: [{name: long, method: python/execute, params: {code: \"open('began', 'w'); import time; time.sleep(600)\"}}]",
    );
    let mut run = sandbox.spawn(&["run", "long.yaml", "--run-id", "l1"]);
    sandbox.until(|sandbox| sandbox.path().join("began").exists().then_some(()));
    let told = why(&sandbox, "l1");
    let who = format!(", by pid {} (run l1)", run.id());
    assert!(
        told.starts_with("why: step 'long' is running: attempt 1, since ") && told.ends_with(&who),
        "{told}"
    );
    let leases = sandbox.run(&["show", "l1", "--json"]).json()["leases"].clone();
    assert_eq!(leases[0]["worker"], format!("pid {} (run l1)", run.id()), "{leases}");
    assert!(
        leases[0]["name"] == "long" && leases[0]["attempt"] == 1 && leases[0]["since"].is_string(),
        "{leases}"
    );
    run.kill().unwrap();
    run.wait().unwrap();
    let leases = sandbox.run(&["show", "l1", "--json"]).json()["leases"].clone();
    assert!(leases[0]["worker"].is_null(), "{leases}");
}

#[test]
fn the_results_of_a_run_are_written_to_a_file_whole_or_not_at_all() {
    let sandbox = Sandbox::new();
    sandbox.write("out.yaml", "steps: [{name: a, method: python/execute, params: {code: 'result = 3'}}]");
    sandbox.write("results.json", "old");
    let told = sandbox.run(&["run", "out.yaml", "--run-id", "o1", "--json", "--output", "results.json"]);
    assert_eq!(told.code, 0, "{told:?}");
    let written = std::fs::read_to_string(sandbox.path().join("results.json")).unwrap();
    assert_eq!(written, told.out, "the file is what is printed");
    let missing = sandbox.run(&["run", "out.yaml", "--run-id", "o2", "--output", "none/results.json"]);
    assert!(missing.code == 2 && missing.err.contains("--output: there is no directory none"), "{missing:?}");
    assert_eq!(sandbox.run(&["show", "o2"]).code, 4, "nothing was started");
    sandbox.write(
        "fails.yaml",
        "steps: [{name: a, method: python/execute, params: {code: 'raise ValueError(1)'}}]",
    );
    assert_eq!(sandbox.run(&["run", "fails.yaml", "--output", "failed.json"]).code, 1);
    let written = std::fs::read_to_string(sandbox.path().join("failed.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap()["status"], "failed");
    let mut names: Vec<_> =
        std::fs::read_dir(sandbox.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".stepwell", "failed.json", "fails.yaml", "out.yaml", "results.json"]);
}

#[test]
fn a_question_with_a_deadline_says_until_when_and_what_stands_in_and_what_is_past_has_no_hints() {
    let sandbox = Sandbox::new();
    let ask = |deadline: &str| {
        format!(
            "steps: [{{name: approve, method: human/ask, params: {{prompt: 'Go?', assignee: anna, \
             deadline: {deadline}, default: {{go: false}}}}}}]"
        )
    };
    sandbox.write("late.yaml", &ask("600"));
    let mut child = sandbox.spawn(&["run", "late.yaml", "--run-id", "l1"]);
    let inbox = sandbox.until(|sandbox| Some(sandbox.run(&["inbox"]).out).filter(|out| out.contains("Go?")));
    assert!(inbox.contains(" l1 ") && inbox.contains(" approve (for anna, until "), "{inbox}");
    assert!(sandbox.run(&["inbox", "l1"]).out.contains("\ndefault   {\"go\":false}\n"));
    assert_eq!(sandbox.run(&["cancel", "l1"]).code, 0);
    child.wait().unwrap();

    sandbox.write("soon.yaml", &ask("0.3"));
    let run = ["run", "soon.yaml", "--run-id", "s1"];
    let told = sandbox.run(&run);
    assert_eq!(told.code, 0, "{told:?}");
    let asks =
        |told: &str| told.contains("  approve asks until ") && told.contains(", then {\"go\":false}: Go?\n");
    assert!(asks(&told.err) && told.err.contains("answer with `stepwell answer "), "{}", told.err);
    assert!(told.err.contains("\nrun s1 waits; Ctrl-C leaves it waiting\n"), "{}", told.err);
    assert!(told.err.contains("nobody answered; the default stands in\n"), "{}", told.err);

    let again = sandbox.run(&run);
    assert!(asks(&again.err) && again.err.contains("\nrun s1 waited for input\n"), "{}", again.err);
    assert!(!again.err.contains("answer with") && !again.err.contains("Ctrl-C"), "{}", again.err);
}

#[test]
fn arguments_that_are_mistaken_name_what_to_write() {
    let sandbox = Sandbox::new();
    sandbox.write("nap.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]");
    sandbox.write("input.json", "{}");
    waiting(&sandbox, "steps: [{name: ask, method: human/ask, params: {prompt: ok?}}]", "asks", 1);
    for (args, code, part) in [
        (
            &["run", "nap.yaml", "--input", "input.json"][..],
            2,
            "hint: the content of the file is meant by `@input.json`",
        ),
        (&["run", "nap.yaml", "--input", "{a:1}"], 2, "hint: keys and texts stand in double quotes"),
        (&["run", "nap.yaml", "--input", "{\"ok\": tru}"], 2, "hint: keys and texts stand in double quotes"),
        (&["run", "nap.yaml", "--input", "@nope.json"], 4, "there is no file 'nope.json'"),
        (&["answer", "asks", "--file", "nope.json"], 4, "there is no file 'nope.json'"),
        (&["answer", "asks", "--json-value", "{ok: true}"], 2, "hint: keys and texts stand in double quotes"),
        (&["explain", "TASK_TIMEOT"], 2, "hint: did you mean 'TASK_TIMEOUT'?"),
        (&["list", "--limit", "x"], 2, "'x' for '--limit <N>': it must be a whole number from 1"),
    ] {
        let told = sandbox.run(args);
        assert_eq!((told.code, told.err.contains(part)), (code, true), "{args:?}: {told:?}");
    }
}

#[test]
fn an_output_whose_directory_is_missing_is_refused_before_anything_is_done() {
    let sandbox = Sandbox::new();
    sandbox.write("nap.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]");
    for args in [
        &["run", "nap.yaml", "--output", "nope/x.json"][..],
        &["graph", "nap.yaml", "--output", "nope/x.svg"],
        &["backup", "nope/x.db"],
    ] {
        let told = sandbox.run(args);
        assert_eq!(
            (told.code, told.err.contains("there is no directory nope")),
            (2, true),
            "{args:?}: {told:?}"
        );
    }
    assert!(!sandbox.path().join(".stepwell").exists());
}

#[test]
fn a_script_that_asks_for_a_variable_it_cannot_see_is_told_which_it_sees() {
    let sandbox = Sandbox::new();
    sandbox.write("key.py", "import os\nresult = os.environ['API_KEY']\n");
    sandbox.write("key.yaml", "steps: [{name: key, method: python/execute, params: {file: key.py}}]");
    let told = sandbox.run_with(&["run", "key.yaml"], &[("API_KEY", "1")]);
    assert_eq!((told.code, told.err.contains("'env_allow' in stepwell.toml")), (1, true), "{told:?}");
    sandbox.write("other.yaml", "steps: [{name: key, method: python/execute, params: {code: '{}[1]'}}]");
    assert!(!sandbox.run(&["run", "other.yaml"]).err.contains("env_allow"));
}
