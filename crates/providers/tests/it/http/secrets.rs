//! What nobody may read again: keys and passwords of a request, in errors and in the journal.

use serde_json::{Value, json};
use stepwell_core::ids::Seq;

use super::server::{Server, answer};
use super::{House, house};

/// Runs a step to its failure and returns all that its run journaled but the definition, which is the user's own.
async fn journaled(house: &House, params: Value) -> String {
    let step = json!({
        "name": "a", "method": "http/request", "params": params,
        "retry": {"max_attempts": 2, "base_delay": 0.1},
    });
    let run = house.run(&step, Value::Null).await;
    let journal = house.engine.store().events(run.id(), Seq(0), 1_000).await.expect("a journal");
    let events = journal.iter().filter(|recorded| recorded.event.kind() != "RunCreated");
    events.map(|recorded| serde_json::to_string(&recorded.event).expect("an event is JSON")).collect()
}

/// spec/gleitzeit.md §8, G35.
#[tokio::test]
async fn what_a_request_keeps_secret_is_in_no_event() {
    // The server repeats all it was told.
    let server =
        Server::saying(|seen| answer("500 Oops", &[], &format!("{} {:?}", seen.line, seen.headers))).await;
    let html = Server::saying(|seen| {
        answer("200 OK", &["Content-Type: application/json"], &format!("{} {:?}", seen.line, seen.headers))
    })
    .await;
    let hangs_up = Server::new(std::sync::Arc::new(|_, _| Box::pin(async { false }))).await;
    let elsewhere = Server::saying(|_| {
        answer("302 X", &["Location: ftp://anna:passw0rd@host/?token=t0ken-in-query"], "")
    })
    .await;
    let closed =
        tokio::net::TcpListener::bind("127.0.0.1:0").await.and_then(|l| l.local_addr()).expect("a port");
    let house = house().await;
    for base in [server.address, html.address, hangs_up.address, elsewhere.address, closed] {
        let journal = journaled(
            &house,
            json!({
                "url": format!("http://anna:passw0rd@{base}/path?token=t0ken-in-query#frag"),
                "query": {"api_key": "k3y in query"},
                "headers": {"X-Api-Key": "k3y-in-header", "Cookie": "sid=c00kie", "X-Plain": "shown"},
            }),
        )
        .await;
        assert!(journal.contains(&format!("http://{base}/path")), "the URL itself is told: {journal}");
        for secret in ["passw0rd", "t0ken", "k3y", "c00kie", "YW5uYTpwYXNzdzByZA", "anna:"] {
            assert!(!journal.contains(secret), "{secret} is in {journal}");
        }
    }
    let journal = journaled(&house, json!({"url": server.url("/"), "headers": {"X-Plain": "shown"}})).await;
    assert!(journal.contains("shown"), "what is no secret is kept: {journal}");
}
