//! `http/v1` as the engine sees it: parameters in, result object or error with its code out.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Client;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::{Outcome, Param, ParamProblem, Provider, Secrets, Task};
use tokio::time::Instant;

use super::answer;
use super::client::{self, HttpSettings};
use super::exchange::Exchange;
use super::failure::Fault;
use super::request::{self, Asked, Expected};
use super::secrets::secrets_of;
use crate::params::{self, Kind, Table};

/// A request may take so long unless it says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

const REQUEST: &Table = &[
    (
        "url",
        Kind::Text,
        true,
        "`http://…` or `https://…`. User and password in it are sent as `Authorization`",
    ),
    ("method", Kind::Text, false, "what is asked of the server"),
    (
        "headers",
        Kind::Object,
        false,
        "a list is a header that comes several times, `null` one that does not come. `Host`, `Content-Length` and others that follow from the request are refused",
    ),
    ("query", Kind::Object, false, "added to the query of the URL"),
    ("json", Kind::Any, false, "the body, as JSON"),
    (
        "body",
        Kind::Text,
        false,
        "the body, as `text/plain` unless `Content-Type` says otherwise. One of `json`, `form` and `body` can be given",
    ),
    ("form", Kind::Object, false, "the body, as a form"),
    ("expect_status", Kind::Any, false, "what is a success. Any other status fails the attempt"),
    ("timeout", Kind::Limit, false, "of the whole request. Beyond it: PROVIDER_TIMEOUT"),
];

/// Makes HTTP requests.
#[derive(Debug)]
pub struct Http {
    settings: HttpSettings,
    /// Made for the first request: it reads the certificates of the system.
    client: OnceLock<Client>,
}

impl Http {
    /// Returns a provider; nothing is read or opened before the first request.
    pub fn new(settings: HttpSettings) -> Self {
        Self { settings, client: OnceLock::new() }
    }

    fn client(&self) -> Result<Client, ErrorObject> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let made = client::client(&self.settings).map_err(|error| {
            let message = format!("no HTTP client can be made: {error}");
            ErrorObject::new(Code::PROVIDER_INITIALIZATION_FAILED, message)
        })?;
        Ok(self.client.get_or_init(|| made).clone())
    }
}

#[async_trait]
impl Provider for Http {
    fn methods(&self) -> Vec<&'static str> {
        vec!["http/request"]
    }

    fn result_keys(&self, _method: &str) -> &'static [&'static str] {
        &["result", "status_code", "headers", "execution_time"]
    }

    fn params(&self, _method: &str) -> Option<Vec<Param>> {
        Some(params::described(REQUEST))
    }

    fn check(&self, _method: &str, params: &Value) -> Vec<ParamProblem> {
        let mut problems = params::check(params, REQUEST);
        problems.extend(request::problems(params, params::holds_reference));
        problems
    }

    async fn execute(&self, task: Task) -> Outcome {
        match self.request(&task).await {
            Ok(output) => Outcome::output(output),
            Err(outcome) => outcome,
        }
    }
}

impl Http {
    async fn request(&self, task: &Task) -> Result<Value, Outcome> {
        params::require(task, REQUEST)?;
        params::refuse(task, request::problems(&task.params, |_| false))?;
        let asked = request::read(&task.params).map_err(|problem| params::refused(task, problem))?;
        let limit = limit(task);
        let (mut exchange, expected, secrets) = self.prepare(task, asked)?;
        let begin = Instant::now();
        let ended = tokio::select! {
            biased;
            () = task.cancel.cancelled() => Err(Fault::Cancelled),
            ended = tokio::time::timeout(limit, carry_out(&mut exchange, &expected, self.settings.body_limit, task)) => {
                ended.unwrap_or(Err(Fault::TooSlow { limit }))
            }
        };
        let mut output = ended.map_err(|fault| {
            let request = &exchange.request;
            Outcome::Fail(fault.of_step(task, request.method(), request.url(), &secrets))
        })?;
        output["execution_time"] = begin.elapsed().as_secs_f64().into();
        Ok(output)
    }

    /// Adds to a request what is ours.
    fn prepare(&self, task: &Task, asked: Asked) -> Result<(Exchange, Expected, Secrets), ErrorObject> {
        let Asked { method, url, headers, body, expected } = asked;
        let client = self.client()?;
        let unfit = |error: reqwest::Error| {
            // It was read before; what is left is a URL that no message can be sent to.
            let message =
                format!("step '{}': parameter 'url' can be no request: {}", task.step, error.without_url());
            ErrorObject::new(Code::INVALID_PARAMS, message)
                .with("parameter", "url")
                .with("reason", "url")
                .with("task_id", task.step.as_str())
        };
        // The builder makes a header of user and password in the URL.
        let mut request = client.request(method, url.clone()).headers(headers).build().map_err(unfit)?;
        *request.body_mut() = body.map(Into::into);
        let secrets = secrets_of(&url, &request);
        let key = HeaderName::from_static("idempotency-key");
        let is_ours = request.method() != reqwest::Method::GET && !request.headers().contains_key(&key);
        if is_ours {
            let value = HeaderValue::from_str(&task.idempotency_key.to_string())
                .expect("a key is hexadecimal digits");
            request.headers_mut().insert(key.clone(), value);
        }
        let allow = self.settings.allow_private.clone();
        Ok((Exchange { client, allow, request, key: is_ours.then_some(key) }, expected, secrets))
    }
}

/// Returns how long a request may take.
fn limit(task: &Task) -> Duration {
    match task.params.get("timeout").and_then(Value::as_f64) {
        Some(seconds) => Duration::try_from_secs_f64(seconds).expect("the longest limit is a duration"),
        // The step has a limit of its own, which the engine keeps.
        None if task.deadline.is_some() => Duration::from_secs_f64(params::LONGEST),
        None => DEFAULT_TIMEOUT,
    }
}

/// Sends the request and makes a result of its answer.
async fn carry_out(
    exchange: &mut Exchange,
    expected: &Expected,
    body_limit: usize,
    task: &Task,
) -> Result<Value, Fault> {
    let mut response = exchange.answer(expected).await?;
    let status = response.status();
    if !expected.includes(status.as_u16()) {
        let retry_after_ms = answer::retry_after_ms(response.headers(), task.report.now());
        let body = answer::excerpt(&mut response).await;
        return Err(Fault::Status { status, retry_after_ms, body });
    }
    let body = answer::body(&mut response, body_limit).await?;
    let headers = response.headers();
    Ok(json!({
        "result": answer::result(headers, &body)?, "status_code": status.as_u16(),
        "headers": answer::headers(headers),
    }))
}
