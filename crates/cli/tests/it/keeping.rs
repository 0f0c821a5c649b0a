//! Keeping a store: what is deleted, and what is copied.

use serde_json::json;

use crate::sandbox::Sandbox;
use crate::transcript::Transcript;

const NAP: &str = "id: nap\nsteps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]";
const FAILS: &str =
    "id: fails\nsteps: [{name: a, method: python/execute, params: {code: 'raise ValueError(1)'}}]";

fn with_runs() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("nap.yaml", NAP);
    sandbox.write("fails.yaml", FAILS);
    assert_eq!(sandbox.run(&["run", "nap.yaml", "--run-id", "done"]).code, 0);
    assert_eq!(sandbox.run(&["run", "fails.yaml", "--run-id", "failed"]).code, 1);
    assert_eq!(sandbox.run(&["run", "nap.yaml", "--run-id", "live", "--detach"]).code, 0);
    sandbox
}

fn runs(sandbox: &Sandbox, store: &str) -> Vec<String> {
    let listed = sandbox.run(&["list", "--json", "--store", store]).json();
    let runs = listed["runs"].as_array().unwrap().iter();
    let mut ids: Vec<String> = runs.map(|run| run["run_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

const OWN: &str = "sqlite://.stepwell/stepwell.db";

#[test]
fn what_has_ended_is_pruned_by_age_and_status_and_nothing_else() {
    let sandbox = with_runs();
    let mut transcript = Transcript::default();
    let mut run = |args: &[&str]| transcript.run(&sandbox, args);
    assert_eq!(run(&["prune"]).code, 2);
    assert_eq!(run(&["prune", "--older-than", "soon"]).code, 2);
    assert_eq!(run(&["prune", "--older-than=-2d"]).code, 2);
    assert_eq!(run(&["prune", "--older-than", "0s", "--status", "running"]).code, 2);
    assert_eq!(run(&["prune", "--older-than", "0s", "--status", "gone"]).code, 2);
    run(&["prune", "--older-than", "1d"]);
    run(&["prune", "--older-than", "0s", "--dry-run"]);
    assert_eq!(runs(&sandbox, OWN), ["done", "failed", "live"]);
    run(&["prune", "--older-than", "0s", "--status", "failed", "--json"]);
    assert_eq!(runs(&sandbox, OWN), ["done", "live"]);
    run(&["prune", "--older-than", "0s"]);
    assert_eq!(runs(&sandbox, OWN), ["live"]);
    transcript.check("prune");
    assert_eq!(sandbox.run(&["resume", "live"]).code, 0, "what is left goes on");
}

#[test]
fn a_backup_of_a_live_store_is_a_store_and_replaces_nothing_unasked() {
    let sandbox = with_runs();
    let mut worker = sandbox.spawn(&["worker"]);
    let mut transcript = Transcript::default();
    let mut run = |args: &[&str]| transcript.run(&sandbox, args);
    assert_eq!(run(&["backup", "copy.db"]).code, 0);
    assert_eq!(run(&["backup", "copy.db"]).code, 2);
    assert_eq!(run(&["backup", "copy.db", "--force", "--json"]).code, 0);
    assert_eq!(run(&["backup", "none/copy.db"]).code, 2);
    assert_eq!(run(&["backup", ".", "--force"]).code, 2);
    assert_eq!(run(&["backup", ".stepwell/stepwell.db", "--force"]).code, 2);
    assert_eq!(run(&["backup", "more.db", "--store", "memory:"]).code, 2);
    assert_eq!(run(&["backup", "more.db", "--store", "sqlite://none.db"]).code, 4);
    transcript.check("backup");
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!(runs(&sandbox, "sqlite://copy.db"), ["done", "failed", "live"]);
    assert_eq!(sandbox.run(&["run", "nap.yaml", "--run-id", "live", "--store", "sqlite://copy.db"]).code, 0);
    assert_eq!(
        sandbox.run(&["show", "failed", "--json"]).json()["status"],
        json!("failed"),
        "the store stays"
    );
}
