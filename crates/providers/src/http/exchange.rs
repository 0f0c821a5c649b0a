//! One request with its redirects, from the first byte sent to the head of the answer that counts.

use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE,
    HeaderName, LOCATION,
};
use reqwest::{Client, Method, Request, Response, StatusCode, Url};
use url::Host;

use super::failure::Fault;
use super::guard::AllowPrivate;
use super::request::Expected;
use super::secrets::{is_secret, shown};

/// So many redirects are followed.
const MAX_REDIRECTS: u32 = 5;

/// A request under way.
pub(super) struct Exchange {
    pub(super) client: Client,
    pub(super) allow: AllowPrivate,
    /// As it was sent last.
    pub(super) request: Request,
    /// The key under which its effects are made only once, if it is our header.
    pub(super) key: Option<HeaderName>,
}

impl Exchange {
    /// Sends the request, follows redirects, and returns the answer that is expected or no redirect.
    pub(super) async fn answer(&mut self, expected: &Expected) -> Result<Response, Fault> {
        let mut redirects = 0;
        loop {
            self.judge_literal_address()?;
            let answer = self.send().await?;
            if expected.includes(answer.status().as_u16()) {
                return Ok(answer);
            }
            let Some(target) = self.target_of(&answer)? else { return Ok(answer) };
            if redirects == MAX_REDIRECTS {
                return Err(Fault::Redirect {
                    status: answer.status().as_u16(),
                    why: format!("it was redirected more than {MAX_REDIRECTS} times"),
                });
            }
            redirects += 1;
            self.redirect(answer.status(), target);
        }
    }

    /// Names are judged when they are resolved.
    fn judge_literal_address(&self) -> Result<(), Fault> {
        let address = match self.request.url().host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        if self.allow.permits(address) { Ok(()) } else { Err(Fault::Private { address }) }
    }

    /// Sends the request, once: whether it is sent again is up to the step's retries.
    async fn send(&self) -> Result<Response, Fault> {
        let request = self.request.try_clone().expect("a body in memory can be copied");
        self.client.execute(request).await.map_err(|error| Fault::of(&error))
    }

    /// Returns where an answer sends us, if it is a redirect that says so.
    fn target_of(&self, answer: &Response) -> Result<Option<Url>, Fault> {
        let status = answer.status().as_u16();
        let location =
            answer.headers().get(LOCATION).filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308));
        let Some(location) = location else { return Ok(None) };
        let refuse = |why: String| Err(Fault::Redirect { status, why });
        let text = String::from_utf8_lossy(location.as_bytes());
        let Ok(mut target) = self.request.url().join(&text) else {
            return refuse("it was redirected to what is no URL".into());
        };
        if !matches!(target.scheme(), "http" | "https") {
            return refuse(format!("it was redirected to a URL of {}", target.scheme()));
        }
        // Nobody but the step itself says who it is.
        let is_plain = target.set_username("").is_ok() && target.set_password(None).is_ok();
        if !is_plain {
            return refuse(format!("it was redirected to {}", shown(&target)));
        }
        if target.fragment().is_none() {
            target.set_fragment(self.request.url().fragment());
        }
        Ok(Some(target))
    }

    /// Turns the request to another URL, as RFC 9110, 15.4, says. Another origin learns no secret of the request.
    fn redirect(&mut self, status: StatusCode, target: Url) {
        let method = self.request.method().clone();
        let becomes_get = match status {
            StatusCode::SEE_OTHER => method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => method == Method::POST,
            _ => false,
        };
        if becomes_get {
            *self.request.method_mut() = Method::GET;
            *self.request.body_mut() = None;
        }
        let is_elsewhere = target.origin() != self.request.url().origin();
        *self.request.url_mut() = target;
        let of_the_body =
            [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE];
        let gone = |name: &HeaderName| {
            (becomes_get && (of_the_body.contains(name) || self.key.as_ref() == Some(name)))
                || (is_elsewhere && (*name == AUTHORIZATION || is_secret(name.as_str())))
        };
        let names: Vec<HeaderName> =
            self.request.headers().keys().filter(|name| gone(name)).cloned().collect();
        for name in names {
            self.request.headers_mut().remove(name);
        }
    }
}
