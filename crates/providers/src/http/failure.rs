//! Why a request failed, and the error a step ends with.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::{Failure, Secrets, Task};

use super::answer;
use super::client::Unresolved;
use super::secrets::{endpoint, shown};

/// Why there is no answer, or none that can be taken.
#[derive(Debug)]
pub(super) enum Fault {
    /// The address is not of the internet, and the settings do not allow it.
    Private { address: IpAddr },
    /// No way leads there.
    Unreachable { why: String },
    /// Nobody listens there.
    Refused,
    /// No connection was made in time.
    NotConnectedInTime,
    /// The other side could not show that it is who it should be.
    NotTrusted { why: String },
    /// No secure connection could be agreed on.
    NotSecured { why: String },
    /// The connection ended before the answer did.
    Lost { why: String },
    /// The limit of the request passed.
    TooSlow { limit: Duration },
    /// A status that was not expected.
    Status { status: StatusCode, retry_after_ms: Option<u64>, body: String },
    /// A redirect that leads nowhere.
    Redirect { status: u16, why: String },
    /// The answer can be no result.
    Unfit { reason: &'static str, why: String, body: Option<String> },
    /// The attempt should end.
    Cancelled,
}

impl Fault {
    /// Reads what the client says. Its own words are not passed on: they may name the whole URL.
    pub(super) fn of(error: &reqwest::Error) -> Self {
        let causes = causes(error);
        let find = |is: &dyn Fn(&(dyn StdError + 'static)) -> Option<Self>| {
            causes.iter().find_map(|cause| is(*cause))
        };
        let innermost = || causes.last().map_or_else(|| "it cannot be sent".to_owned(), ToString::to_string);
        if let Some(fault) = find(&|cause| {
            Some(match cause.downcast_ref::<Unresolved>()? {
                Unresolved::Private(address) => Self::Private { address: *address },
                Unresolved::Failed(why) => Self::Unreachable { why: why.clone() },
            })
        }) {
            return fault;
        }
        if let Some(fault) = find(&|cause| {
            Some(match cause.downcast_ref::<rustls::Error>()? {
                untrusted @ (rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented) => Self::NotTrusted { why: untrusted.to_string() },
                other => Self::NotSecured { why: other.to_string() },
            })
        }) {
            return fault;
        }
        if error.is_timeout() {
            return Self::NotConnectedInTime;
        }
        if let Some(fault) = find(&|cause| {
            cause.downcast_ref::<hyper::Error>().filter(|e| e.is_parse()).map(|_| Self::Unfit {
                reason: "not_http",
                why: "the answer is not HTTP".into(),
                body: None,
            })
        }) {
            return fault;
        }
        let kind = causes.iter().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
        match kind {
            Some(io::ErrorKind::ConnectionRefused) => Self::Refused,
            Some(io::ErrorKind::TimedOut) if error.is_connect() => Self::NotConnectedInTime,
            _ if !error.is_connect() => Self::Lost { why: innermost() },
            Some(
                io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe,
            ) => Self::Lost { why: innermost() },
            _ => Self::Unreachable { why: innermost() },
        }
    }

    /// Returns the failure of a step whose request, as it was sent last, was of that method and URL.
    pub(super) fn of_step(self, task: &Task, method: &Method, url: &Url, secrets: &Secrets) -> Failure {
        let (step, url_shown, endpoint) = (&task.step, shown(url), endpoint(url));
        let mut retry_after = None;
        let told = |code, what: String| {
            ErrorObject::new(code, format!("step '{step}': {method} {url_shown}: {}", secrets.mask(&what)))
                .with("task_id", step.as_str())
                .with("method", method.as_str())
                .with("url", url_shown.as_str())
        };
        let unconnected = |code, what: String| told(code, what).with("endpoint", endpoint.as_str());
        let error = match self {
            Self::Private { address } => told(
                Code::INVALID_PARAMS,
                format!("{address} is an address of this machine or of a private network, which workflows may not reach"),
            )
            .with("parameter", "url")
            .with("reason", "private_address")
            .with("address", address.to_string())
            .with_hint("if it should be reached, whoever carries the run allows it: `--http-allow-private HOST|CIDR|all`"),
            Self::Unreachable { why } => {
                unconnected(Code::NETWORK_UNREACHABLE, format!("cannot be reached: {why}"))
            }
            Self::Refused => unconnected(Code::CONNECTION_REFUSED, "nobody listens there: the connection was refused".into()),
            Self::NotConnectedInTime => {
                unconnected(Code::CONNECTION_TIMEOUT, "no connection was made in time".into())
            }
            Self::NotTrusted { why } => {
                unconnected(Code::AUTHENTICATION_FAILED, format!("the server is not trusted: {why}"))
                    .with("reason", "certificate")
                    .with_hint("certificates are checked against those of the system; SSL_CERT_FILE in the environment of whoever carries the run names others")
            }
            Self::NotSecured { why } => {
                unconnected(Code::CONNECTION_LOST, format!("no secure connection: {why}"))
                    .with("reason", "tls")
                    .never_again()
            }
            Self::Lost { why } => {
                unconnected(Code::CONNECTION_LOST, format!("the connection ended before the answer did: {why}"))
            }
            Self::TooSlow { limit } => {
                let seconds = limit.as_secs_f64();
                told(Code::PROVIDER_TIMEOUT, format!("no whole answer within {seconds} s"))
                    .with("timeout_seconds", seconds)
            }
            Self::Status { status, retry_after_ms, body } => {
                retry_after = retry_after_ms;
                let mut error = told(Code::TASK_EXECUTION_FAILED, format!("answered {status}"))
                    .with("http_status", status.as_u16())
                    .with("body", answer::beginning(&secrets.mask(&body)));
                error.retryable = is_passing(status);
                match retry_after_ms {
                    Some(ms) => error.with("retry_after", ms as f64 / 1e3),
                    None => error,
                }
            }
            Self::Redirect { status, why } => told(Code::TASK_EXECUTION_FAILED, why)
                .with("http_status", status)
                .with("reason", "redirect")
                .never_again(),
            Self::Unfit { reason, why, body } => {
                let error = told(Code::TASK_RESULT_INVALID, why).with("reason", reason);
                match body {
                    Some(body) => error.with("body", answer::beginning(&secrets.mask(&body))),
                    None => error,
                }
            }
            Self::Cancelled => told(Code::TASK_CANCELLED, "cancelled".into()),
        };
        Failure { error, timed_out: false, retry_after_ms: retry_after }
    }
}

/// Returns whether a status may be another one soon.
fn is_passing(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) || status.is_server_error()
}

/// Returns an error's causes, from the outermost to the innermost; what an I/O error wraps is one of them.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause);
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| cause.source());
    }
    causes
}
