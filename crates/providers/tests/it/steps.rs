//! Python steps of real runs: what a definition may say, and what the engine makes of how a script ended.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::error::Code;
use stepwell_core::ids::Ordinal;
use stepwell_core::status::RunStatus;
use stepwell_engine::Registry;
use stepwell_providers::Written;
use stepwell_providers::http::HttpSettings;
use stepwell_providers::python::{Python, PythonSettings};

use crate::house::House;

async fn house() -> House {
    house_with(|_| {}).await
}

async fn house_with(change: impl FnOnce(&mut PythonSettings)) -> House {
    House::open("python/execute", |isolation| {
        let mut settings = PythonSettings { isolation, ..PythonSettings::default() };
        change(&mut settings);
        Registry::default().provide("python/v1", Arc::new(Python::new(settings)))
    })
    .await
}

// ------------------------------------------------------------------------------ losses

/// Five scripts run beside one that kills the interpreter of all whenever it is attempted.
#[tokio::test]
async fn a_script_that_kills_its_interpreter_again_and_again_costs_others_one_attempt_and_no_retry() {
    let house = house_with(|settings| settings.parents = 1.try_into().expect("not zero")).await;
    let beside = "import os, time
if not os.path.exists('killed'):
    open(f'began-{args[\"n\"]}', 'w').close()
    time.sleep(60)
while os.path.getsize('killed') < 5: time.sleep(0.01)
result = args['n']";
    let kills = "import os, signal, time
while not all(os.path.exists(f'began-{n}') for n in range(5)): time.sleep(0.01)
open('killed', 'a').write('x')
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(60)";
    let mut steps = vec![json!({
        "name": "kills", "method": "python/execute", "params": {"code": kills}, "on_failure": "continue",
    })];
    steps.extend((0..5).map(|n| {
        let params = json!({"code": beside, "args": {"n": n}});
        json!({"name": format!("beside-{n}"), "method": "python/execute", "params": params})
    }));
    let run = house.run(&json!(steps), json!(null)).await;
    let execution = |name: &str| run.execution(name, Ordinal(1)).expect("it was attempted");
    for n in 0..5 {
        let name = format!("beside-{n}");
        assert_eq!(run.views()[&name]["result"], json!(n), "{:?}", execution(&name).error);
        assert_eq!(execution(&name).attempts, 2, "{name}");
    }
    let error = execution("kills").error.as_ref().expect("it failed in the end");
    assert_eq!((error.code, execution("kills").attempts), (Code::WORKER_LOST, 5));
    assert_eq!(fs::read_to_string(house.path("killed")).expect("written"), "xxxxx");
}

// ------------------------------------------------------------------------------ parameters

#[tokio::test]
async fn a_limit_that_no_clock_can_keep_is_refused() {
    let house = house().await;
    for timeout in [json!(1e300), json!(0), json!(-1)] {
        let told = format!("{:?}", house.refused(&json!({"code": "result = 1", "timeout": timeout})));
        assert!(told.contains("more than 0 and at most 3155760000"), "{told}");
        // What comes from a reference is known only when the attempt starts.
        let params = json!({"code": "result = 1", "timeout": "${input.limit}"});
        let error = house.failure(&params, json!({ "limit": timeout })).await;
        assert_eq!(error.code, Code::INVALID_PARAMS);
        assert_eq!((&error.data["parameter"], &error.data["reason"]), (&json!("timeout"), &json!("range")));
    }
    let params = json!({"code": "result = 1", "timeout": "${input.limit}"});
    let error = house.failure(&params, json!({"limit": "${input.limit}"})).await;
    assert_eq!((&error.data["parameter"], &error.data["reason"]), (&json!("timeout"), &json!("type")));
}

#[tokio::test]
async fn moments_are_judged_before_anything_runs() {
    let read = |_: Written<'_>, _: &[PathBuf]| unreachable!("no child is read");
    let registry =
        stepwell_providers::registry(PythonSettings::default(), HttpSettings::default(), Arc::new(read));
    let fault = |method: &str, params: Value| {
        let protocol = format!("{}/v1", method.split('/').next().expect("it has a name"));
        let provider = registry.protocol(&protocol).expect("it is registered");
        provider.check(method, &params).pop().map(|found| (found.parameter, found.reason))
    };
    let asks = |deadline: Value| fault("human/ask", json!({ "prompt": "?", "deadline": deadline }));
    let wrong = |parameter: &str| Some((parameter.to_owned(), "type"));
    for fitting in [json!(3), json!("2027-01-31T09:00:00+01:00"), json!("${input.when}")] {
        assert_eq!(asks(fitting), None);
    }
    for unfit in [json!("soon"), json!(1e300), json!(-1), json!([])] {
        assert_eq!(asks(unfit), wrong("deadline"));
    }
    let until = |until: Value| fault("timer/wait_until", json!({ "until": until }));
    assert_eq!(until(json!("2027-01-31T09:00:00Z")), None);
    for unfit in [json!("tomorrow"), json!("2027-01-31"), json!(60)] {
        assert_eq!(until(unfit), wrong("until"));
    }
}

#[tokio::test]
async fn the_name_of_a_file_may_come_from_a_reference_and_its_content_is_never_looked_at() {
    let house = house().await;
    let script = "result = [args['n'], '${not.scanned}']";
    for name in ["job.py", "${odd}.py"] {
        fs::write(house.path(name), script).expect("a new file");
        for key in ["file", "file_path"] {
            let steps = json!([
                {"name": "which", "method": "python/execute", "params": {"code": "result = args['f']",
                                                                         "args": {"f": "${input.f}"}}},
                {"name": "a", "method": "python/execute", "needs": ["which"],
                 "params": {key: "./${which.result}", "args": {"n": 1}}},
            ]);
            let run = house.run(&steps, json!({ "f": name })).await;
            assert_eq!(run.status(), RunStatus::Completed, "{name}: {:?}", run.error());
            assert_eq!(run.views()["a"]["result"], json!([1, "${not.scanned}"]));
        }
    }
    let told = format!("{:?}", house.refused(&json!({"file": "${unknown.result}"})));
    assert!(told.contains("unknown"), "{told}");
}

/// spec/gleitzeit.md §8, G33: also when it comes from a substitution.
#[tokio::test]
async fn a_file_that_a_reference_names_must_lie_inside_the_roots() {
    let house = house().await;
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let outside = elsewhere.path().join("outside.py");
    fs::write(&outside, "open('ran', 'w')").expect("a new file");
    std::os::unix::fs::symlink(&outside, house.path("link.py")).expect("a new link");
    for file in [outside.display().to_string(), "link.py".into(), "../../etc/passwd".into()] {
        let error = house.failure(&json!({"file": "${input.f}"}), json!({ "f": file })).await;
        assert_eq!((error.code, &error.data["reason"]), (Code::INVALID_PARAMS, &json!("outside_roots")));
    }
    let error = house.failure(&json!({"file": "${input.f}"}), json!({"f": 7})).await;
    assert_eq!((&error.data["parameter"], &error.data["reason"]), (&json!("file"), &json!("type")));
    assert!(!house.path("ran").exists());
}
