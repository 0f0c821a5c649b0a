//! What is sent.

use serde_json::{Value, json};
use stepwell_core::ids::Ordinal;

use super::server::{Server, answer};
use super::{house, told};

#[tokio::test]
async fn a_get_returns_json_status_headers_and_time() {
    let server = Server::saying(|_| {
        let headers =
            ["Content-Type: application/json", "X-A: 1", "X-A: 2", "Set-Cookie: a=1", "Set-Cookie: b=2"];
        answer("200 OK", &headers, r#"{"n": [1, 2.5]}"#)
    })
    .await;
    let view = house().await.request(json!({"url": server.url("/a"), "query": {"q": ["x y", 2]}})).await;
    let view = view.expect("it is answered");
    assert_eq!((&view["result"], &view["status_code"]), (&json!({"n": [1, 2.5]}), &json!(200)));
    assert_eq!(
        (&view["headers"]["x-a"], &view["headers"]["set-cookie"]),
        (&json!("1, 2"), &json!(["a=1", "b=2"]))
    );
    assert!(view["execution_time"].as_f64().is_some_and(|seconds| seconds >= 0.0));
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "GET /a?q=x+y&q=2 HTTP/1.1");
    assert!(seen.header("user-agent").is_some_and(|agent| agent.starts_with("stepwell/")));
    for none in ["idempotency-key", "accept-encoding", "content-type", "referer"] {
        assert_eq!(seen.header(none), None, "{none}");
    }
}

#[tokio::test]
async fn bodies_have_their_type_and_what_is_no_get_has_a_key() {
    let server = Server::saying(|_| answer("200 OK", &[], "")).await;
    let house = house().await;
    let of = |params: Value| {
        let mut all = json!({"url": server.url("/"), "method": "POST"});
        all.as_object_mut().expect("an object").extend(params.as_object().expect("an object").clone());
        all
    };
    for params in [
        json!({"json": {"a": "ö"}}),
        json!({"form": {"a": "x y", "b": [1, true]}}),
        json!({"body": "text"}),
        json!({"body": "<a/>", "headers": {"Content-Type": "text/xml", "idempotency-key": "mine"}}),
        json!({"method": "DELETE"}),
    ] {
        house.request(of(params)).await.expect("it is answered");
    }
    let seen = server.seen();
    let sent: Vec<_> = seen.iter().map(|seen| (seen.header("content-type"), seen.body.as_str())).collect();
    assert_eq!(
        sent,
        [
            (Some("application/json"), r#"{"a":"ö"}"#),
            (Some("application/x-www-form-urlencoded"), "a=x+y&b=1&b=true"),
            (Some("text/plain; charset=utf-8"), "text"),
            (Some("text/xml"), "<a/>"),
            (None, ""),
        ]
    );
    assert_eq!(seen[3].header("idempotency-key"), Some("mine"));
    assert!(seen.iter().all(|seen| seen.header("idempotency-key").is_some()));
    assert_ne!(
        seen[0].header("idempotency-key"),
        seen[1].header("idempotency-key"),
        "another step, another key"
    );
}

/// spec/gleitzeit.md §8, G26. The delays are those of the policy, lengthened by `Retry-After`, never beyond `max_delay`.
#[tokio::test]
async fn a_server_error_is_tried_three_times_with_one_key_and_retry_after_is_heard() {
    let server = Server::saying(|_| answer("500 Oops", &["Retry-After: 1"], "out of order")).await;
    let house = house().await;
    let step = json!({
        "name": "a", "method": "http/request", "params": {"url": server.url("/"), "method": "POST"},
        "retry": {"max_attempts": 3, "base_delay": 0.1, "max_delay": 1, "jitter": false},
    });
    let run = house.run(&step, Value::Null).await;
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    let keys: Vec<_> =
        seen.iter().map(|seen| seen.header("idempotency-key").expect("it has a key")).collect();
    assert!(keys.iter().all(|key| *key == keys[0] && !key.is_empty()), "{keys:?}");
    let error = run.execution("a", Ordinal(1)).expect("it was attempted").error.clone().expect("it failed");
    assert_eq!(told(&error).0, "TASK_RETRY_EXHAUSTED");
    assert_eq!(error.data["attempts"].as_array().map(Vec::len), Some(3));
    assert_eq!(error.data["last_error"]["data"]["http_status"], 500);
    assert_eq!(error.data["last_error"]["data"]["body"], "out of order");
    let journal =
        house.engine.store().events(run.id(), stepwell_core::ids::Seq(0), 100).await.expect("a journal");
    let journal: Vec<Value> = journal.iter().map(|r| json!([r.at, r.event])).collect();
    let failed: Vec<&Value> = journal.iter().filter(|entry| entry.to_string().contains("retry_at")).collect();
    assert_eq!(failed.len(), 2);
    for entry in failed {
        let text = entry.to_string();
        let at = |key: &str| -> i64 {
            let rest = text.split(key).nth(1).expect("the journal has it");
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a time")
        };
        assert_eq!(at("\"retry_at\":") - at("["), 1_000_000, "as long as asked: {text}");
    }
}

/// spec/gleitzeit.md §8, G26.
#[tokio::test]
async fn what_would_only_repeat_is_tried_once() {
    let house = house().await;
    let said = [
        (answer("400 Bad Request", &[], "no"), "TASK_EXECUTION_FAILED"),
        (answer("200 OK", &["Content-Type: application/json"], "<html>"), "TASK_RESULT_INVALID"),
    ];
    for (bytes, code) in said {
        let server = Server::saying(move |_| bytes.clone()).await;
        let step = json!({
            "name": "a", "method": "http/request", "params": {"url": server.url("/")},
            "retry": {"max_attempts": 3, "base_delay": 0.1},
        });
        let run = house.run(&step, Value::Null).await;
        let execution = run.execution("a", Ordinal(1)).expect("it was attempted");
        assert_eq!((execution.attempts, server.seen().len()), (1, 1));
        assert_eq!(told(execution.error.as_ref().expect("it failed")).0, code);
    }
}

#[tokio::test]
async fn parameters_from_references_are_judged_when_the_attempt_starts() {
    let house = house().await;
    for (params, input, told_of) in [
        (json!({"url": "${input}"}), json!("file:///etc/passwd"), ("url", "scheme")),
        (
            json!({"url": "http://a", "headers": {"X": "a ${input}"}}),
            json!("b\r\nEvil: 1"),
            ("headers", "header"),
        ),
        (json!({"url": "http://a", "method": "${input}"}), json!("TRACE"), ("method", "method")),
        (json!({"url": "http://a", "expect_status": "${input}"}), json!("${x}"), ("expect_status", "type")),
        (json!({"url": "http://a", "timeout": "${input}"}), json!(0), ("timeout", "range")),
    ] {
        let run = house.run(&json!({"name": "a", "method": "http/request", "params": params}), input).await;
        let error =
            run.execution("a", Ordinal(1)).expect("it was attempted").error.clone().expect("it failed");
        assert_eq!(told(&error), ("INVALID_PARAMS", told_of.1), "{params}");
        assert_eq!(error.data["parameter"], told_of.0);
    }
}

#[tokio::test]
async fn a_hundred_requests_at_once_are_each_answered_with_their_own() {
    let server = Server::saying(|seen| answer("200 OK", &[], seen.path())).await;
    let house = house().await;
    let step = json!({
        "name": "a", "method": "http/request", "for_each": "${input}",
        "params": {"url": server.url("/${item}")},
    });
    let run = house.run(&step, (0..100).collect()).await;
    let wanted: Vec<String> = (0..100).map(|n| format!("/{n}")).collect();
    assert_eq!(run.views()["a"]["result"], json!(wanted));
}
