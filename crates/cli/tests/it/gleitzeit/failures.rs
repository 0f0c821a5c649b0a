//! Failures at run time: G22, G23, G24, G26, G29.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, Told};

/// Returns the step of that name in what `--json` printed.
fn step<'a>(run: &'a Value, name: &str) -> &'a Value {
    run["steps"].as_array().unwrap().iter().find(|step| step["name"] == name).unwrap()
}

/// G22: parameters that cannot be right are refused with their name before anything starts.
#[test]
fn g22_parameters_of_a_script_that_cannot_be_right_are_refused() {
    let sandbox = Sandbox::new();
    for (params, parameter) in [
        (json!({"code": "result = 1", "file": "a.py"}), "code"),
        (json!({}), "code"),
        (json!({"code": "result = 1", "bogus": 1}), "bogus"),
        (json!({"code": "result = 1", "args": [1]}), "args"),
        (json!({"code": "result = 1", "args": {}, "context": {}}), "args"),
        (json!({"code": 5}), "code"),
    ] {
        sandbox.write(
            "bad.json",
            &json!({"steps": [{"name": "a", "method": "python/execute", "params": params}]}).to_string(),
        );
        let told = sandbox.run(&["run", "bad.json", "--json"]);
        let error = told.error();
        assert_eq!((told.code, &error["code"]), (3, &json!(-32602)), "{params}: {error}");
        assert_eq!(error["data"]["parameter"], parameter, "{params}");
        assert!(error["data"]["reason"].is_string(), "{params}: {error}");
    }
    assert!(!sandbox.path().join(".stepwell").exists(), "nothing is stored");
}

/// G23: what fails skips what needs it; branches beside it finish; the policies say otherwise.
#[test]
fn g23_a_failure_skips_its_dependents_and_nothing_else() {
    let sandbox = Sandbox::new();
    let run = |policy: &str| -> Told {
        let file = format!(
            "steps:
  - {{name: bad, method: python/execute, {policy} params: {{code: 'raise KeyError(\"amount\")'}}}}
  - {{name: after, method: python/execute, needs: [bad], params: {{code: 'open(\"after\", \"a\").write(\"x\")'}}}}
  - {{name: last, method: python/execute, needs: [after], params: {{code: 'result = 1'}}}}
  - {{name: beside, method: python/execute, params: {{code: 'result = 1'}}}}
  - {{name: end, method: python/execute, needs: [beside], params: {{code: 'result = 2'}}}}
"
        );
        sandbox.write("fails.yaml", &file);
        sandbox.run(&["run", "fails.yaml", "--json"])
    };
    let told = run("");
    let failed = told.json();
    assert_eq!((told.code, &failed["status"]), (1, &json!("failed")));
    let error = &step(&failed, "bad")["error"];
    assert_eq!((&error["code"], &error["data"]["exception_type"]), (&json!(-29002), &json!("KeyError")));
    assert!(error["data"]["traceback"].as_str().unwrap().contains("raise KeyError"), "{error}");
    for skipped in ["after", "last"] {
        let step = step(&failed, skipped);
        assert_eq!((&step["status"], &step["attempts"]), (&json!("skipped"), &json!(0)));
        assert_eq!(step["error"]["code"], -29005, "{step}");
        assert!(!step["error"]["data"]["failed_dependencies"].as_array().unwrap().is_empty());
    }
    assert!(!sandbox.path().join("after").exists());
    assert_eq!(failed["results"]["end"]["result"], 2, "what is beside the failure finishes");
    assert_eq!(
        (&failed["error"]["code"], &failed["error"]["data"]["task_id"]),
        (&json!(-29002), &json!("bad"))
    );

    let told = run("on_failure: continue,");
    assert_eq!(told.code, 0, "{}", told.err);
    let run_on = told.json();
    assert_eq!((&run_on["status"], &step(&run_on, "bad")["status"]), (&json!("completed"), &json!("failed")));
    assert_eq!(run_on["results"]["last"]["result"], 1);
}

/// G23: `stop` ends what is under way.
#[test]
fn g23_stop_cancels_what_is_under_way() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "stop.yaml",
        "steps:
  - name: long
    method: python/execute
    params: {code: 'import pathlib, time; pathlib.Path(\"began\").touch(); time.sleep(25)'}
  - name: bad
    on_failure: stop
    method: python/execute
    params:
      code: |
        import pathlib, time
        while not pathlib.Path('began').exists():
            time.sleep(0.01)
        raise ValueError('stop it')
  - {name: later, method: timer/sleep, params: {seconds: 600}}
",
    );
    let told = sandbox.run(&["run", "stop.yaml", "--json"]);
    let run = told.json();
    assert_eq!((told.code, &run["status"]), (1, &json!("failed")), "{}", told.err);
    for name in ["long", "later"] {
        assert_eq!(step(&run, name)["status"], "cancelled");
    }
    assert_eq!(run["error"]["data"]["task_id"], "bad");
}

/// G24: of the two limits the smaller holds, and nothing of the script outlives it. Either limit alone would be longer than
/// a test may take.
#[test]
fn g24_the_smaller_limit_ends_the_script_and_its_descendants() {
    let sandbox = Sandbox::new();
    for (name, of_step, of_params) in [("a", 0.8, 600.0), ("b", 600.0, 0.8)] {
        let code = format!(
            "import subprocess, time\nsubprocess.Popen(['sh', '-c', 'sleep 1; touch {name}.late'])\ntime.sleep(600)\n"
        );
        let file = json!({"steps": [{"name": name, "method": "python/execute", "timeout": of_step,
            "params": {"code": code, "timeout": of_params}}]});
        sandbox.write("slow.json", &file.to_string());
        let told = sandbox.run(&["run", "slow.json", "--json"]);
        let run = told.json();
        let step = step(&run, name);
        assert_eq!((told.code, &step["status"]), (1, &json!("timed_out")), "{step}");
        assert_eq!(
            (&step["error"]["code"], &step["error"]["data"]["task_id"]),
            (&json!(-29003), &json!(name))
        );
    }
    // Longer than the grandchildren wanted to wait: a run of a script that sleeps so long.
    sandbox.write(
        "wait.yaml",
        "steps: [{name: a, method: python/execute, params: {code: 'import time; time.sleep(1.2)'}}]",
    );
    assert_eq!(sandbox.run(&["run", "wait.yaml"]).code, 0);
    for name in ["a", "b"] {
        assert!(!sandbox.path().join(format!("{name}.late")).exists(), "a grandchild lived on");
    }
}

/// Returns the events of a run of that kind.
fn events(sandbox: &Sandbox, run: &str, kind: &str) -> Vec<Value> {
    let told = sandbox.run(&["events", run, "--json"]);
    let all = told.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|recorded| recorded["event"]["type"] == kind || recorded["type"] == kind).collect()
}

/// G26, on scripts: so many attempts as the step may have, a history at the end, no second try of what would only repeat.
#[test]
fn g26_a_failure_is_tried_again_as_often_as_the_step_says() {
    let sandbox = Sandbox::new();
    let retry = "retry: {max_attempts: 3, backoff: exponential, base_delay: 0.1, max_delay: 1}";
    sandbox.write(
        "retries.yaml",
        &format!(
            "steps:
  - name: never
    on_failure: continue
    {retry}
    method: python/execute
    params: {{code: 'open(\"never\", \"a\").write(\"x\"); raise ValueError(\"no\")'}}
  - name: unreadable
    on_failure: continue
    {retry}
    method: python/execute
    params: {{code: 'result = ('}}
  - name: unfit
    on_failure: continue
    {retry}
    method: python/execute
    params: {{code: 'open(\"unfit\", \"a\").write(\"x\"); result = {{1, 2}}'}}
  - name: second
    {retry}
    method: python/execute
    params:
      code: |
        import pathlib
        if not pathlib.Path('second').exists():
            pathlib.Path('second').touch()
            raise ConnectionError('once')
        result = 'fine'
"
        ),
    );
    let told = sandbox.run(&["run", "retries.yaml", "--run-id", "r1", "--json"]);
    let run = told.json();
    assert_eq!((told.code, &run["status"]), (0, &json!("completed")), "{}", told.err);

    let never = step(&run, "never");
    assert_eq!(fs::read_to_string(sandbox.path().join("never")).unwrap(), "xxx", "three tries, no more");
    assert_eq!((&never["attempts"], &never["error"]["code"]), (&json!(3), &json!(-29008)), "{never}");
    let data = &never["error"]["data"];
    assert_eq!(data["last_error"]["code"], -29002, "{data}");
    let history = data["attempts"].as_array().unwrap();
    let told: Vec<(u64, i64)> = history
        .iter()
        .map(|attempt| (attempt["attempt"].as_u64().unwrap(), attempt["code"].as_i64().unwrap()))
        .collect();
    assert_eq!(told, [(1, -29002), (2, -29002), (3, -29002)]);
    assert!(
        history.iter().all(|attempt| attempt["started_at"].is_string() && attempt["ended_at"].is_string())
    );

    for (name, code) in [("unreadable", -29002), ("unfit", -29007)] {
        let step = step(&run, name);
        assert_eq!((&step["attempts"], &step["error"]["code"]), (&json!(1), &json!(code)), "{step}");
    }
    assert_eq!(
        fs::read_to_string(sandbox.path().join("unfit")).unwrap(),
        "x",
        "what would only repeat is tried once"
    );
    let second = step(&run, "second");
    assert_eq!((&second["status"], &second["attempts"]), (&json!("completed"), &json!(2)));
    assert!(!events(&sandbox, "r1", "AttemptFailed").is_empty(), "attempts are in the journal");
}

/// G29: a run that is cancelled leaves no process behind, and a second cancel changes nothing.
#[test]
fn g29_cancel_ends_the_run_its_scripts_and_those_who_follow_it() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "long.yaml",
        "steps:
  - name: long
    method: python/execute
    timeout: 600
    params:
      code: |
        import os, subprocess, time
        child = subprocess.Popen(['sleep', '600'])
        open('pids.tmp', 'w').write(f'{os.getpid()} {child.pid}')
        os.rename('pids.tmp', 'pids')
        time.sleep(600)
",
    );
    let follower = sandbox.spawn(&["run", "long.yaml", "--run-id", "l1"]);
    let pids = sandbox.until(|sandbox| fs::read_to_string(sandbox.path().join("pids")).ok());
    assert_eq!(sandbox.run(&["cancel", "l1", "--reason", "no longer wanted"]).code, 0);

    let told = Told::of(&follower.wait_with_output().unwrap());
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.err.contains("cancelled"), "{}", told.err);
    for pid in pids.split(' ') {
        sandbox.until(|_| (!fs::exists(format!("/proc/{pid}")).unwrap()).then_some(()));
    }
    let before = sandbox.run(&["show", "l1", "--json"]).json();
    assert_eq!((&before["status"], &before["error"]["code"]), (&json!("cancelled"), &json!(-28005)));
    assert_eq!(sandbox.run(&["cancel", "l1", "--reason", "again"]).code, 0);
    assert_eq!(sandbox.run(&["show", "l1", "--json"]).json(), before);
}
