//! Connections that cannot be made, or break, and that none is kept.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use stepwell_core::status::RunStatus;
use stepwell_providers::http::Lookup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::server::{Server, answer};
use super::{house, house_with, told};

/// Knows no name.
#[derive(Debug)]
struct NoNames;

#[async_trait]
impl Lookup for NoNames {
    async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        Err(io::Error::other("no such name"))
    }
}

#[tokio::test]
async fn each_way_of_not_getting_there_has_its_own_code() {
    let house = house_with(|settings| {
        settings.connect_timeout = Duration::from_millis(200);
        settings.lookup = Arc::new(NoNames);
    })
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of loopback");
    let address = listener.local_addr().expect("it is bound");

    // Somebody listens, but does not speak TLS, nor anything.
    let silent = house.failure(json!({"url": format!("https://{address}/a")})).await;
    assert_eq!((told(&silent).0, silent.retryable), ("CONNECTION_TIMEOUT", true));
    assert_eq!(silent.data["endpoint"], format!("https://{address}"));
    drop(listener);
    let refused = house.failure(json!({"url": format!("http://{address}/a")})).await;
    assert_eq!((told(&refused).0, refused.retryable), ("CONNECTION_REFUSED", true));
    let unknown = house.failure(json!({"url": "http://nowhere.test/"})).await;
    assert_eq!((told(&unknown).0, unknown.retryable), ("NETWORK_UNREACHABLE", true));
    assert!(unknown.message.contains("no such name"), "{}", unknown.message);
}

#[tokio::test]
async fn an_answer_that_ends_early_is_a_lost_connection() {
    let house = house().await;
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwho",
        "HTTP/1.1 200 OK\r\nContent-",
        "",
    ] {
        let server = Server::new(Arc::new(|_, stream| {
            Box::pin(async {
                stream.write_all(said.as_bytes()).await.expect("the request is waiting");
                false
            })
        }))
        .await;
        for (count, method) in [(1, "GET"), (2, "POST")] {
            let error = house.failure(json!({"url": server.url("/"), "method": method})).await;
            assert_eq!((told(&error).0, error.retryable), ("CONNECTION_LOST", true), "{said:?}");
            assert_eq!(server.seen().len(), count, "an attempt sends its request once");
        }
    }
}

/// A server may close a kept connection at the very moment the next request is sent on it.
#[tokio::test]
async fn each_request_has_a_connection_of_its_own() {
    let server = Server::saying(|seen| match seen.path() {
        "/moved" => answer("307 Temporary Redirect", &["Location: /here"], ""),
        _ => answer("200 OK", &[], "here"),
    })
    .await;
    let house = house().await;
    for (method, path) in [("POST", "/here"), ("POST", "/moved"), ("GET", "/here")] {
        let request = json!({"url": server.url(path), "method": method});
        let view = house.request(request).await.expect("it is answered");
        assert_eq!(view["result"], "here");
    }
    let connections: Vec<usize> = server.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [1, 2, 3, 4]);
}

/// spec/gleitzeit.md §8, G29.
#[tokio::test]
async fn cancelling_ends_a_request_at_once() {
    let (ended, mut end) = mpsc::unbounded_channel();
    let server = Server::new(Arc::new(move |_, stream| {
        let ended = ended.clone();
        Box::pin(async move {
            ended.send("asked").expect("the test listens");
            assert_eq!(stream.read(&mut [0]).await.ok(), Some(0), "the other side hangs up");
            ended.send("hung up").expect("the test listens");
            false
        })
    }))
    .await;
    let house = house().await;
    let step =
        json!({"name": "a", "method": "http/request", "params": {"url": server.url("/"), "timeout": 3600}});
    let run = house.start(&step, Value::Null).await;
    assert_eq!(end.recv().await, Some("asked"));
    house.engine.cancel(&run, None).await.expect("a run under way can be cancelled");
    assert_eq!(end.recv().await, Some("hung up"));
    let row = house.engine.rest(&run, true).await.expect("a run that exists comes to rest");
    assert_eq!(row.state.status, RunStatus::Cancelled);
}

/// The limit of the step stands for that of the request, as with scripts.
#[tokio::test]
async fn the_limit_of_a_step_ends_its_request() {
    let server = Server::new(Arc::new(|_, _| Box::pin(std::future::pending()))).await;
    let house = house().await;
    let step =
        json!({"name": "a", "method": "http/request", "timeout": 0.2, "params": {"url": server.url("/")}});
    let run = house.run(&step, Value::Null).await;
    let error =
        run.execution("a", stepwell_core::ids::Ordinal(1)).and_then(|e| e.error.clone()).expect("it failed");
    assert_eq!(told(&error).0, "TASK_TIMEOUT");
}
