//! What comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::server::{Server, answer};
use super::{house, house_with, told};

#[tokio::test]
async fn statuses_that_may_pass_are_worth_another_attempt_and_others_are_not() {
    let house = house().await;
    for (status, again) in [
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (408, true),
        (409, false),
        (429, true),
        (500, true),
        (501, true),
        (503, true),
        (300, false),
        (304, false),
        (302, false),
    ] {
        let server =
            Server::saying(move |_| answer(&format!("{status} X"), &["Retry-After: 7"], "why")).await;
        let error = house.failure(json!({"url": server.url("/p?q=1")})).await;
        assert_eq!(told(&error).0, "TASK_EXECUTION_FAILED");
        assert_eq!((error.data["http_status"].as_u64(), error.retryable), (Some(status), again), "{status}");
        assert_eq!(error.data["retry_after"], 7.0);
        assert_eq!(error.data["url"], server.url("/p"), "without its query");
        assert!(error.message.contains(&format!("answered {status}")), "{}", error.message);
    }
}

#[tokio::test]
async fn statuses_that_are_expected_are_results() {
    let house = house().await;
    let server =
        Server::saying(|seen| answer(&format!("{} X", &seen.path()[1..]), &["Location: /200"], "x")).await;
    for (status, expected) in [(404, json!([200, 404])), (302, json!(302)), (500, json!(500))] {
        let view =
            house.request(json!({"url": server.url(&format!("/{status}")), "expect_status": expected})).await;
        assert_eq!(view.expect("it was expected")["status_code"], status);
    }
    let error = house.failure(json!({"url": server.url("/200"), "expect_status": 201})).await;
    assert_eq!(error.data["http_status"], 200);
}

#[tokio::test]
async fn an_answer_without_a_body_has_none() {
    let server = Server::saying(|seen| {
        if seen.line.starts_with("HEAD") {
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 99999999\r\n\r\n".to_vec()
        } else {
            b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
        }
    })
    .await;
    let house = house().await;
    let head =
        house.request(json!({"url": server.url("/"), "method": "head"})).await.expect("it is answered");
    assert_eq!((&head["result"], &head["headers"]["content-length"]), (&json!(null), &json!("99999999")));
    let none =
        house.request(json!({"url": server.url("/"), "method": "DELETE"})).await.expect("it is answered");
    assert_eq!((&none["result"], &none["status_code"]), (&json!(""), &json!(204)));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_not_read() {
    const LIMIT: usize = 10 << 20;
    let house = house().await;
    let whole = Server::saying(|_| answer("200 OK", &[], &"x".repeat(LIMIT))).await;
    let view = house.request(json!({"url": whole.url("/")})).await.expect("exactly the limit is taken");
    assert_eq!(view["result"].as_str().map(str::len), Some(LIMIT));

    let told_length = Server::saying(|_| answer("200 OK", &[], &"x".repeat(2 * LIMIT))).await;
    let error = house.failure(json!({"url": told_length.url("/")})).await;
    assert_eq!(told(&error), ("TASK_RESULT_INVALID", "too_large"));

    // Its length is told by nobody, and it does not end.
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let endless = Server::new(Arc::new(move |_, stream| {
        let sent = counter.clone();
        Box::pin(async move {
            let piece = [b"10000\r\n", &vec![b'x'; 0x10000][..], b"\r\n"].concat();
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let mut going = stream.write_all(head).await.is_ok();
            while going {
                going = stream.write_all(&piece).await.is_ok();
                sent.fetch_add(piece.len(), Ordering::Relaxed);
            }
            false
        })
    }))
    .await;
    let error = house.failure(json!({"url": endless.url("/")})).await;
    assert_eq!(told(&error), ("TASK_RESULT_INVALID", "too_large"));
    assert!(sent.load(Ordering::Relaxed) < 4 * LIMIT, "it was not read on");
}

#[tokio::test]
async fn a_compressed_answer_is_refused_unread() {
    let server = Server::saying(|_| {
        answer("200 OK", &["Content-Encoding: gzip", "Content-Type: application/json"], "\u{1f}bomb")
    })
    .await;
    let error = house().await.failure(json!({"url": server.url("/")})).await;
    assert_eq!(told(&error), ("TASK_RESULT_INVALID", "content_encoding"));
}

#[tokio::test]
async fn a_body_that_claims_json_and_is_none_says_what_it_is() {
    let server =
        Server::saying(|_| answer("200 OK", &["Content-Type: application/json"], "<html>Login</html>")).await;
    let error = house().await.failure(json!({"url": server.url("/")})).await;
    assert_eq!(told(&error), ("TASK_RESULT_INVALID", "not_json"));
    assert_eq!(error.data["body"], "<html>Login</html>");
    assert!(!error.retryable);
}

#[tokio::test]
async fn an_answer_that_drips_runs_into_the_limit() {
    let server = Server::new(Arc::new(|_, stream| {
        Box::pin(async move {
            let mut going =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await.is_ok();
            while going {
                going = stream.write_all(b"x").await.is_ok();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            false
        })
    }))
    .await;
    let error = house().await.failure(json!({"url": server.url("/"), "timeout": 0.2})).await;
    assert_eq!((told(&error).0, error.retryable), ("PROVIDER_TIMEOUT", true));
    assert_eq!(error.data["timeout_seconds"], 0.2);
}

#[tokio::test]
async fn a_status_is_told_though_its_body_never_comes() {
    let server = Server::new(Arc::new(|_, stream| {
        Box::pin(async move {
            let sent = stream.write_all(b"HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\nout of").await;
            sent.expect("the request is waiting");
            std::future::pending().await
        })
    }))
    .await;
    let error = house().await.failure(json!({"url": server.url("/")})).await;
    assert_eq!((&error.data["http_status"], &error.data["body"]), (&json!(500), &json!("out of")));
}

#[tokio::test]
async fn what_is_not_http_is_said_to_be_none() {
    for said in ["SSH-2.0-OpenSSH_9.9\r\n", "HTTP/1.1 abc\r\n\r\n"] {
        let server = Server::saying(|_| said.as_bytes().to_vec()).await;
        let error = house_with(|_| {}).await.failure(json!({"url": server.url("/")})).await;
        assert_eq!(told(&error), ("TASK_RESULT_INVALID", "not_http"), "{said:?}: {}", error.message);
    }
}
