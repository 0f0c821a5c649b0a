//! What `stepwell.toml` settles, and what wins over it.

use serde_json::json;

use crate::sandbox::{Sandbox, Told};
use crate::transcript::Transcript;

const NAP: &str = "id: nap\nsteps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]";

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file_whose_paths_start_at_the_project() {
    let sandbox = Sandbox::new();
    sandbox.write("stepwell.toml", "store = \"sqlite://kept.db?durability=crash\"\n");
    sandbox.write("nap.yaml", NAP);
    let below = sandbox.path().join("deep/down");
    std::fs::create_dir_all(&below).unwrap();
    let run = |id: &str, flag: &[&str], variable: &str| {
        let args = [&["run", "../../nap.yaml", "--run-id", id][..], flag].concat();
        let mut command = sandbox.command(&args);
        let told = Told::of(&command.current_dir(&below).env("STEPWELL_STORE", variable).output().unwrap());
        assert_eq!(told.code, 0, "{told:?}");
    };
    run("by-file", &[], "");
    run("by-variable", &[], "sqlite://variable.db");
    run("by-flag", &["--store", "sqlite://flag.db"], "sqlite://variable.db");
    for (store, id) in
        [("kept.db", "by-file"), ("deep/down/variable.db", "by-variable"), ("deep/down/flag.db", "by-flag")]
    {
        let listed = sandbox.run(&["list", "--json", "--store", &format!("sqlite://{store}")]).json();
        let ids: Vec<_> = listed["runs"].as_array().unwrap().iter().map(|run| &run["run_id"]).collect();
        assert_eq!(ids, [&json!(id)], "{store}");
    }
    assert!(!sandbox.path().join(".stepwell").exists());
}

#[test]
fn scripts_run_as_the_file_says() {
    let sandbox = Sandbox::new();
    let code = "import os; result = sorted(set(os.environ) & {'HOME', 'PATH', 'MINE'})";
    sandbox.write(
        "env.yaml",
        &format!("steps: [{{name: a, method: python/execute, params: {{code: \"{code}\"}}}}]"),
    );
    sandbox.write("stepwell.toml", "[python]\nenv_allow = [\"MINE\", \"PATH\"]\n");
    let told = sandbox.run_with(&["run", "env.yaml", "--json"], &[("MINE", "1")]);
    assert_eq!(told.json()["results"]["a"]["result"], json!(["MINE", "PATH"]), "{told:?}");
    sandbox.write("stepwell.toml", "[python]\ninterpreter = \"bin/no-python\"\n");
    let told = sandbox.run(&["run", "env.yaml", "--json"]);
    let message = told.json()["error"]["message"].to_string();
    assert!(told.code == 1 && message.contains("/bin/no-python"), "{told:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_its_place() {
    let sandbox = Sandbox::new();
    let mut transcript = Transcript::default();
    let many = "store = 5\n[python]\ninterpretor = \"python3\"\nmemory = \"lots\"\n";
    for text in ["stor = \"memory:\"\n", many, "store = \nsandbox = [\n", "[pyton]\n", "store = \"foo\"\n"] {
        sandbox.write("stepwell.toml", text);
        assert_eq!(transcript.run(&sandbox, &["list"]).code, 1);
    }
    transcript.check("settings");
}
