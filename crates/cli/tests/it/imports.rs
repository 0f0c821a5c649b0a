//! Imports run one way (`ARCHITECTURE.md`): `python → cli → stepwell → providers → engine → store → core`, and nothing points back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What each crate may import from the house. A new crate gets its row here before anything can use it.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("stepwell-core", &[]),
    ("stepwell-store", &["stepwell-core"]),
    ("stepwell-engine", &["stepwell-core", "stepwell-store"]),
    ("stepwell-providers", &["stepwell-core", "stepwell-store", "stepwell-engine"]),
    ("stepwell", &["stepwell-core", "stepwell-store", "stepwell-engine", "stepwell-providers"]),
    (
        "stepwell-cli",
        &["stepwell-core", "stepwell-store", "stepwell-engine", "stepwell-providers", "stepwell"],
    ),
    (
        "stepwell-python",
        &[
            "stepwell-core",
            "stepwell-store",
            "stepwell-engine",
            "stepwell-providers",
            "stepwell",
            "stepwell-cli",
        ],
    ),
];

/// All that the core builds on: values, an error macro, hashes. Maps are seeded per process, as those of the standard library
/// are: nothing depends on their order.
const CORE_BUILDS_ON: &[&str] = &["foldhash", "serde", "serde_json", "sha2", "thiserror"];

#[test]
fn imports_between_crates_run_one_way() {
    let packages = workspace_packages();
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let in_the_house: BTreeSet<&str> = packages.iter().map(name_of).collect();
    let in_the_table: BTreeSet<&str> = table.keys().copied().collect();
    assert_eq!(in_the_house, in_the_table, "MAY_IMPORT has one row for each crate of the workspace");

    let mut against: Vec<String> = Vec::new();
    for package in &packages {
        let allowed = table[name_of(package)];
        for import in dependencies_of(package) {
            let imported = name_of(import);
            // A crate may name itself, to be tested with all its features.
            let is_other = in_the_house.contains(imported) && imported != name_of(package);
            if is_other && !allowed.contains(&imported) {
                against.push(format!("{} → {imported} ({})", name_of(package), kind_of(import)));
            }
        }
    }
    assert!(against.is_empty(), "imports against the arrows: {against:#?}");
}

#[test]
fn core_builds_on_small_pure_crates_only() {
    let packages = workspace_packages();
    let core = packages
        .iter()
        .find(|package| name_of(package) == "stepwell-core")
        .expect("the core is in the workspace");
    let foreign: Vec<&str> = dependencies_of(core)
        .iter()
        .filter(|import| kind_of(import) != "dev")
        .map(name_of)
        .filter(|name| !CORE_BUILDS_ON.contains(name))
        .collect();
    assert!(
        foreign.is_empty(),
        "the core has no clock, files, network, randomness or async; it imports {foreign:?}"
    );
}

/// Returns the packages of this workspace as `cargo metadata` tells them; needs no network.
fn workspace_packages() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let told = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .expect("cargo can be started");
    assert!(told.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&told.stderr));
    let metadata: Value = serde_json::from_slice(&told.stdout).expect("cargo metadata prints JSON");
    metadata["packages"].as_array().expect("metadata lists packages").clone()
}

fn dependencies_of(package: &Value) -> &[Value] {
    package["dependencies"].as_array().expect("a package lists dependencies")
}

fn name_of(package_or_dependency: &Value) -> &str {
    package_or_dependency["name"].as_str().expect("packages and dependencies have names")
}

/// Returns `normal`, `dev` or `build`.
fn kind_of(dependency: &Value) -> &str {
    dependency["kind"].as_str().unwrap_or("normal")
}
