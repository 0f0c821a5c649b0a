//! The one HTTP client of a process: made for the first request, with the guard between names and addresses.
//!
//! Everything that a client could do by itself is off: it follows no redirect, uses no proxy and decompresses nothing,
//! since each of them would go past the guard or the limits.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, redirect};
use rustls::{ClientConfig, RootCertStore};

use super::guard::AllowPrivate;

/// Settings of [`Http`](super::Http).
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Which addresses may be reached that are not of the internet.
    pub allow_private: AllowPrivate,
    /// The longest body that is read.
    pub body_limit: usize,
    /// How long it may take to connect, resolving the name and agreeing on TLS included.
    pub connect_timeout: Duration,
    /// Who resolves names.
    pub lookup: Arc<dyn Lookup>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            allow_private: AllowPrivate::Nowhere,
            body_limit: 10 << 20,
            connect_timeout: Duration::from_secs(10),
            lookup: Arc::new(SystemLookup),
        }
    }
}

/// Resolves names of hosts.
#[async_trait]
pub trait Lookup: fmt::Debug + Send + Sync {
    /// Returns the addresses of a host.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Resolves names as the system does.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Makes the client. It keeps no connection: a server may close a kept one at the very moment that a request is sent on
/// it, and nobody knows whether such a request was carried out (RFC 9112, 9.5). A step pays for that with a handshake.
pub(super) fn client(settings: &HttpSettings) -> reqwest::Result<Client> {
    let guarded = Guarded { allow: settings.allow_private.clone(), lookup: settings.lookup.clone() };
    Client::builder()
        .tls_backend_preconfigured(trust())
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .pool_max_idle_per_host(0)
        .dns_resolver(Arc::new(guarded))
        .connect_timeout(settings.connect_timeout)
        .user_agent(concat!("stepwell/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Trusts whom the system trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others). On a system without certificates
/// nobody is trusted, and plain HTTP works.
pub(super) fn trust() -> ClientConfig {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of the system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Lets names lead only where requests may go.
struct Guarded {
    allow: AllowPrivate,
    lookup: Arc<dyn Lookup>,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (allow, lookup) = (self.allow.clone(), self.lookup.clone());
        Box::pin(async move {
            let name = name.as_str();
            let mut found =
                lookup.lookup(name).await.map_err(|source| Unresolved::Failed(source.to_string()))?;
            if found.is_empty() {
                return Err(Unresolved::Failed("it has no address".into()).into());
            }
            if !allow.permits_host(name) {
                let first = found[0];
                found.retain(|address| allow.permits(*address));
                if found.is_empty() {
                    return Err(Unresolved::Private(first).into());
                }
            }
            let addresses: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// Why a name led nowhere.
#[derive(Clone, Debug)]
pub(super) enum Unresolved {
    /// All its addresses are refused, this one among them.
    Private(IpAddr),
    /// It has none, or nobody could say.
    Failed(String),
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private(address) => write!(f, "the private address {address}"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl StdError for Unresolved {}
