//! Which addresses the requests of steps may reach, as whoever carries a run says.

use serde_json::json;

use crate::sandbox::Sandbox;
use crate::web;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let address = web::serve("[1]");
    let params = json!({"url": format!("http://{address}/"), "method": "POST", "json": {}});
    let file = json!({"steps": [{"name": "a", "method": "http/request", "params": params}]});
    sandbox.write("a.json", &file.to_string());
    sandbox
}

#[test]
fn private_addresses_are_refused_until_whoever_carries_the_run_allows_them() {
    let sandbox = sandbox();
    let refused = sandbox.run(&["run", "a.json", "--run-id", "r", "--json"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let error = &refused.json()["error"];
    assert_eq!(
        (&error["name"], &error["data"]["reason"]),
        (&json!("INVALID_PARAMS"), &json!("private_address"))
    );
    assert!(error["hint"].as_str().unwrap().contains("--http-allow-private"), "{error}");
    let allowed = sandbox.run(&["retry", "r", "--json", "--http-allow-private", "10.0.0.0/8,127.0.0.1"]);
    assert_eq!((allowed.code, &allowed.json()["output"]), (0, &json!([1])), "{allowed:?}");
    let variable = sandbox.run_with(&["run", "a.json", "--json"], &[("STEPWELL_HTTP_ALLOW_PRIVATE", "all")]);
    assert_eq!((variable.code, &variable.json()["output"]), (0, &json!([1])), "{variable:?}");
    let empty = sandbox.run_with(&["run", "a.json"], &[("STEPWELL_HTTP_ALLOW_PRIVATE", "")]);
    assert_eq!(empty.code, 1, "{empty:?}");
}

#[test]
fn a_list_that_means_nothing_is_refused_before_anything_is_stored() {
    let sandbox = sandbox();
    for command in [&["run", "a.json"][..], &["worker"], &["resume", "r"], &["retry", "r"]] {
        let told = sandbox.run(&[command, &["--http-allow-private", "localhost:80"]].concat());
        assert_eq!(told.code, 2, "{told:?}");
        assert!(told.err.contains("--http-allow-private"), "{told:?}");
        assert!(told.err.contains("\"localhost:80\" is no address"), "{told:?}");
        assert!(!sandbox.path().join(".stepwell").exists(), "{command:?}");
    }
}

/// A proxy of the environment would reach what the guard keeps requests from.
#[test]
fn proxies_of_the_environment_are_not_used() {
    let nobody = "http://127.0.0.1:1";
    let variables =
        ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"].map(|name| (name, nobody));
    let told =
        sandbox().run_with(&["run", "a.json", "--json", "--http-allow-private", "127.0.0.1"], &variables);
    assert_eq!((told.code, &told.json()["output"]), (0, &json!([1])), "{told:?}");
}
