//! What is looked for, and that looking changes nothing.

use std::path::{Path, PathBuf};

use serde_json::json;
use stepwell_providers::sandbox::support;

use crate::sandbox::Sandbox;
use crate::transcript::Transcript;

fn listing(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(listing(&path));
        } else {
            files.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn a_place_where_nothing_was_run_is_sound_and_stays_empty() {
    let sandbox = Sandbox::new();
    let mut transcript = Transcript::default();
    assert_eq!(transcript.run(&sandbox, &["doctor"]).code, 0);
    transcript.check("doctor_empty");
    assert!(listing(sandbox.path()).is_empty());
}

#[test]
fn what_waits_in_a_store_is_told_and_the_store_is_left_as_it_is() {
    let sandbox = Sandbox::new();
    sandbox.write("ask.yaml", "steps: [{name: ask, method: human/ask, params: {prompt: '?'}}, {name: nap, method: timer/sleep, params: {seconds: 3600}}]");
    let mut carried = sandbox.spawn(&["run", "ask.yaml", "--run-id", "q1"]);
    sandbox.until(|sandbox| {
        let store = sandbox.run(&["doctor", "--json"]).json()["store"].clone();
        (store["next_timer"].is_string() && store["open_questions"] == 1).then_some(())
    });
    let mut transcript = Transcript::default();
    assert_eq!(transcript.run(&sandbox, &["doctor"]).code, 0);
    carried.kill().unwrap();
    carried.wait().unwrap();
    sandbox.write("stepwell.toml", "store = \"sqlite://.stepwell/stepwell.db\"\n");
    let before = listing(sandbox.path());
    let told = sandbox.run(&["doctor", "--json"]);
    assert_eq!(told.code, 0, "{told:?}");
    let (found, store) = (told.json(), &told.json()["store"]);
    assert_eq!(
        (&found["ok"], &store["open_questions"], &store["sessions"]),
        (&json!(true), &json!(1), &json!([]))
    );
    let is_shared_memory = |path: &Path| path.to_string_lossy().ends_with("-shm");
    let kept = |listing: Vec<(PathBuf, Vec<u8>)>| {
        listing.into_iter().filter(|(path, _)| !is_shared_memory(path)).collect::<Vec<_>>()
    };
    assert_eq!(kept(listing(sandbox.path())), kept(before));
    transcript.check("doctor_store");
}

#[test]
fn what_is_broken_is_told_with_a_remedy() {
    let sandbox = Sandbox::new();
    let mut transcript = Transcript::default();
    sandbox.write("stepwell.toml", "[python]\ninterpreter = \"/none/python\"\n");
    assert_eq!(transcript.run(&sandbox, &["doctor"]).code, 1);
    sandbox.write("stepwell.toml", "stor = 1\n");
    assert_eq!(transcript.run(&sandbox, &["doctor"]).code, 1);
    sandbox.write("stepwell.toml", "store = \"sqlite://text.db\"\n");
    sandbox.write("text.db", "no store");
    assert_eq!(transcript.run(&sandbox, &["doctor"]).code, 1);
    assert_eq!(transcript.run(&sandbox, &["doctor", "--store", "oracle://x"]).code, 1);
    transcript.check("doctor_broken");
}

#[test]
fn a_store_that_sandboxed_steps_could_write_to_is_told_with_a_remedy() {
    let sandbox = Sandbox::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = format!("sqlite://{}/a.db", elsewhere.path().display());
    let of = |args: &[&str], mode: &str| {
        let found = sandbox.run_with(&[args, &["doctor", "--json"]].concat(), &[("STEPWELL_SANDBOX", mode)]);
        let checks = found.json()["checks"].as_array().unwrap().clone();
        let walls = checks.into_iter().filter(|check| check["name"] == "sandbox");
        walls.map(|check| check["said"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of(&[], "off"), ["off"]);
    assert_eq!(of(&[], ""), ["off"]);
    assert_eq!(of(&[], "yes"), ["STEPWELL_SANDBOX: 'yes' is none of off, auto, require"]);
    if support().missing().is_some() {
        return;
    }
    let told = "sandboxed steps can write to the store: it lies in a directory that they work in";
    assert_eq!(of(&[], "auto"), ["auto", told]);
    assert_eq!(of(&["--store", &outside], "require"), ["require"]);
    sandbox.write("stepwell.toml", "sandbox = 'require'\n");
    assert_eq!(of(&[], ""), ["require", told]);
}
