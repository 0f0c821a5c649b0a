//! Redirects: how many, with which method, and what goes along.

use serde_json::{Value, json};

use super::server::{Seen, Server, answer};
use super::{house, told};

#[tokio::test]
async fn five_redirects_are_followed_and_no_more() {
    let server = Server::saying(|seen| {
        let left: u32 = seen.path()[1..].parse().expect("a number");
        if left == 0 {
            return answer("200 OK", &[], "there");
        }
        answer("302 Found", &[&format!("Location: {}", left - 1)], "")
    })
    .await;
    let house = house().await;
    assert_eq!(
        house.request(json!({"url": server.url("/5")})).await.expect("it is answered")["result"],
        "there"
    );
    let error = house.failure(json!({"url": server.url("/6")})).await;
    assert_eq!((told(&error), error.retryable), (("TASK_EXECUTION_FAILED", "redirect"), false));
    assert_eq!(error.data["http_status"], 302);
    assert_eq!(server.seen().len(), 6 + 6);
}

#[tokio::test]
async fn a_circle_and_places_where_no_request_goes_are_refused() {
    let house = house().await;
    for target in ["/", "ftp://example.com/", "javascript:alert(1)", "http://", "file:///etc/passwd"] {
        let location = format!("Location: {target}");
        let server = Server::saying(move |_| answer("301 Moved", &[&location], "")).await;
        let error = house.failure(json!({"url": server.url("/")})).await;
        assert_eq!(told(&error), ("TASK_EXECUTION_FAILED", "redirect"), "{target}");
    }
}

/// RFC 9110, 15.4.
#[tokio::test]
async fn methods_change_as_http_says() {
    let house = house().await;
    for (status, method, then) in [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (302, "PUT", "PUT"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
        (308, "DELETE", "DELETE"),
    ] {
        let server = Server::saying(move |seen| match seen.path() {
            "/from" => answer(&format!("{status} X"), &["Location: /to"], ""),
            _ => answer("200 OK", &[], ""),
        })
        .await;
        let mut params = json!({"url": server.url("/from"), "method": method});
        if method != "HEAD" {
            params["json"] = json!([1]);
        }
        house.request(params).await.expect("it is answered");
        let last = server.seen().pop().expect("it was asked");
        assert_eq!(last.line, format!("{then} /to HTTP/1.1"), "{status} {method}");
        let has_body = then == method && method != "HEAD";
        assert_eq!(last.body, if has_body { "[1]" } else { "" }, "{status} {method}");
        assert_eq!(last.header("content-type").is_some(), has_body, "{status} {method}");
        assert_eq!(last.header("idempotency-key").is_some(), then != "GET", "{status} {method}");
    }
}

#[tokio::test]
async fn another_origin_learns_no_secret() {
    let there = Server::saying(|_| answer("200 OK", &[], "")).await;
    let port = there.address.port();
    let here = Server::saying(move |seen| match seen.path() {
        "/near" => answer("307 X", &["Location: /end"], ""),
        "/far" => answer("307 X", &[&format!("Location: http://bob:other@127.0.0.1:{port}/end")], ""),
        _ => answer("200 OK", &[], ""),
    })
    .await;
    let house = house().await;
    let secret = json!({
        "Cookie": "c", "Proxy-Authorization": "p", "X-Api-Key": "k", "X-Auth-Token": "t", "X-Plain": "plain",
        "Idempotency-Key": "i",
    });
    let headers = |seen: &Seen| -> Vec<String> {
        [
            "authorization",
            "cookie",
            "proxy-authorization",
            "x-api-key",
            "x-auth-token",
            "x-plain",
            "idempotency-key",
        ]
        .into_iter()
        .filter(|name| seen.header(name).is_some())
        .map(str::to_owned)
        .collect()
    };
    let ask = async |path: &str| {
        let url = here.url(path).replace("http://", "http://anna:word@");
        house.request(json!({"url": url, "method": "POST", "headers": secret})).await.expect("it is answered")
    };
    ask("/near").await;
    let near = here.seen().pop().expect("it was asked");
    assert_eq!((near.path(), headers(&near).len()), ("/end", 7), "the same origin is told all: {near:?}");
    assert_eq!(near.header("authorization"), Some("Basic YW5uYTp3b3Jk"));
    ask("/far").await;
    let far = there.seen().pop().expect("it was asked");
    assert_eq!(headers(&far), ["x-plain", "idempotency-key"], "{far:?}");
    let all: Value = far.headers.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert!(!all.to_string().contains("anna") && !all.to_string().contains("bob"), "{all}");
}
