//! Addresses that a workflow may not reach.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;
use stepwell_providers::http::{AllowPrivate, HttpSettings, Lookup};
use tokio::io::AsyncWriteExt;

use super::server::{Server, answer};
use super::{house, house_with, told};

/// Resolves every name to the next list of addresses.
#[derive(Debug)]
struct Scripted(Mutex<VecDeque<Vec<IpAddr>>>);

impl Scripted {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse =
            |list: &&[&str]| list.iter().map(|address| address.parse().expect("an address")).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(parse).collect())))
    }
}

#[async_trait]
impl Lookup for Scripted {
    async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        let next = self.0.lock().expect("no panic happens under this lock").pop_front();
        next.ok_or_else(|| io::Error::other("asked too often"))
    }
}

fn refuses(allow: &[&str]) -> impl FnOnce(&mut HttpSettings) + use<> {
    let allow_private = AllowPrivate::read(allow).expect("rules");
    move |settings| settings.allow_private = allow_private
}

#[tokio::test]
async fn nothing_of_this_machine_is_reached_unless_it_is_allowed() {
    let server = Server::saying(|_| answer("200 OK", &[], "secret")).await;
    let port = server.address.port();
    let house = house_with(refuses(&[])).await;
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "%6cocalhost",
        "①②⑦.0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "10.0.0.1",
        "a@127.0.0.1",
    ] {
        let error = house.failure(json!({"url": format!("http://{host}:{port}/")})).await;
        assert_eq!((told(&error), error.retryable), (("INVALID_PARAMS", "private_address"), false), "{host}");
        assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("--http-allow-private")), "{error:?}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_name_is_judged_by_the_address_it_leads_to() {
    let server = Server::saying(|_| answer("200 OK", &[], "here")).await;
    let url = format!("http://somewhere.test:{}/", server.address.port());
    let resolving = async |answers: &[&[&str]], allow: &[&str]| {
        let (lookup, refuses) = (Scripted::new(answers), refuses(allow));
        house_with(|settings| {
            refuses(settings);
            settings.lookup = lookup;
        })
        .await
    };
    let error = resolving(&[&["127.0.0.1"]], &[]).await.failure(json!({"url": url})).await;
    assert_eq!(
        (told(&error), &error.data["address"]),
        (("INVALID_PARAMS", "private_address"), &json!("127.0.0.1"))
    );
    // One address that is allowed beside others that are not: only that one is tried.
    let mixed = resolving(&[&["127.0.0.9", "127.0.0.1", "::1"]], &["127.0.0.1"]).await;
    assert_eq!(mixed.request(json!({"url": url})).await.expect("it is answered")["result"], "here");
    for allow in ["somewhere.test", "127.0.0.0/8", "all"] {
        let house = resolving(&[&["127.0.0.1"]], &[allow]).await;
        assert_eq!(
            house.request(json!({"url": url})).await.expect("it is answered")["result"],
            "here",
            "{allow}"
        );
    }
}

/// DNS rebinding: what a name led to before says nothing about where it leads now.
#[tokio::test]
async fn a_name_that_leads_elsewhere_the_second_time_is_judged_again() {
    let server = Server::new(Arc::new(|_, stream| {
        Box::pin(async {
            stream.write_all(&answer("200 OK", &["Connection: close"], "here")).await.expect("it is waiting");
            false
        })
    }))
    .await;
    let elsewhere = Server::at([127, 0, 0, 2].into(), Arc::new(|_, _| Box::pin(async { false }))).await;
    let house = house_with(|settings| {
        settings.lookup = Scripted::new(&[&["127.0.0.1"], &["127.0.0.2"], &["169.254.169.254"]]);
    })
    .await;
    let url = format!("http://rebind.test:{}/", server.address.port());
    assert_eq!(house.request(json!({"url": url})).await.expect("it is answered")["result"], "here");
    for address in ["127.0.0.2", "169.254.169.254"] {
        let error = house.failure(json!({"url": url})).await;
        assert_eq!((told(&error).1, &error.data["address"]), ("private_address", &json!(address)));
    }
    assert_eq!((server.seen().len(), elsewhere.seen().len()), (1, 0));
}

#[tokio::test]
async fn a_redirect_leads_to_no_private_address() {
    let inner = Server::at([127, 0, 0, 2].into(), Arc::new(|_, _| Box::pin(async { false }))).await;
    for target in [
        inner.url("/"),
        format!("http://localhost.:{}/", inner.address.port()),
        "http://169.254.169.254/latest".into(),
    ] {
        let location = format!("Location: {target}");
        let outer = Server::saying(move |_| answer("302 Found", &[&location], "")).await;
        let house = house_with(|settings| settings.lookup = Scripted::new(&[&["127.0.0.2"]])).await;
        let error = house.failure(json!({"url": outer.url("/")})).await;
        assert_eq!(told(&error), ("INVALID_PARAMS", "private_address"), "{target}");
    }
    assert!(inner.seen().is_empty());
}

#[tokio::test]
async fn loopback_of_the_other_protocol_is_reached_where_it_is_allowed() {
    let six: IpAddr = "::1".parse().expect("an address");
    if tokio::net::TcpListener::bind((six, 0)).await.is_err() {
        return; // This machine has no IPv6.
    }
    let server = Server::at(
        six,
        Arc::new(|_, stream| {
            Box::pin(async { stream.write_all(&answer("200 OK", &[], "six")).await.is_ok() })
        }),
    )
    .await;
    let view = house().await.request(json!({"url": server.url("/")})).await.expect("it is answered");
    assert_eq!(view["result"], "six");
}
