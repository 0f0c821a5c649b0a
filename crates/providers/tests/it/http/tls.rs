//! Who a server must show to be. The certificate in `tls/` is its own issuer, so the system does not trust it.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::server::{Server, Stream, answer};
use super::{house, told};

const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/http/tls/certificate.pem");

async fn server() -> Server {
    let certificate = CertificateDer::from_pem_file(CERTIFICATE).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/key.pem")).expect("a key");
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::secured(
        [127, 0, 0, 1].into(),
        Arc::new(|_, stream| {
            Box::pin(async { stream.write_all(&answer("200 OK", &[], "safe")).await.is_ok() })
        }),
        Arc::new(move |stream| {
            let acceptor = acceptor.clone();
            Box::pin(async move {
                let stream = acceptor.accept(stream).await.ok()?;
                Some(Box::new(stream) as Box<dyn Stream>)
            })
        }),
    )
    .await
}

#[tokio::test]
async fn a_server_that_the_system_does_not_trust_is_asked_nothing() {
    let server = server().await;
    let error = house().await.failure(json!({"url": format!("https://{}/", server.address)})).await;
    assert_eq!((told(&error), error.retryable), (("AUTHENTICATION_FAILED", "certificate"), false));
    assert!(error.hint.is_some_and(|hint| hint.contains("SSL_CERT_FILE")));
    assert!(server.seen().is_empty());
}

/// `SSL_CERT_FILE` is read from the environment of the process, so this test is its own child.
#[tokio::test]
async fn certificates_of_the_environment_are_trusted() {
    if std::env::var("SSL_CERT_FILE").is_ok_and(|file| file == CERTIFICATE) {
        let server = server().await;
        let view = house().await.request(json!({"url": format!("https://{}/", server.address)})).await;
        assert_eq!(view.expect("it is trusted")["result"], "safe");
        return;
    }
    let child = tokio::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "http::tls::certificates_of_the_environment_are_trusted"])
        .env("SSL_CERT_FILE", CERTIFICATE)
        .output()
        .await
        .expect("it can be started again");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_asked_nothing() {
    let speaks_plainly = Server::secured(
        [127, 0, 0, 1].into(),
        Arc::new(|_, _| Box::pin(async { false })),
        Arc::new(|mut stream| {
            Box::pin(async move {
                stream.write_all(&answer("400 Bad Request", &[], "")).await.ok()?;
                Some(Box::new(stream) as Box<dyn Stream>)
            })
        }),
    )
    .await;
    let error = house().await.failure(json!({"url": format!("https://{}/", speaks_plainly.address)})).await;
    assert_eq!((told(&error), error.retryable), (("CONNECTION_LOST", "tls"), false));
    assert!(speaks_plainly.seen().is_empty());
}
