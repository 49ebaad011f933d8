//! One operation's view of the registries: connections, redirects, and what is tried again.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ureq::http::{self, HeaderMap, Method};
use ureq::{Agent, SendBody};

use super::Registries;
use super::auth::{Scopes, Tokens};
use super::config::{Endpoint, TlsFiles, bypasses_proxy};
use super::origin::{Location, Origin};
use super::transport::{self, Dial};
use super::{proxy, tls};
use crate::error::{Error, ErrorKind, Result, escape};
use crate::event::Event;
use crate::progress::{Cancel, Control};
use crate::threads::lock;

/// How many redirects one request follows.
const MAX_REDIRECTS: usize = 5;
/// How much of an error's body is read.
const MAX_ERROR: u64 = 64 << 10;
/// The longest pause that a registry may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// How long a server may take to show whether it speaks TLS, where plain http is allowed.
const PROBE: Duration = Duration::from_secs(3);

/// A request that failed, and whether the same request may do better.
pub(super) struct Failure {
    pub error: Error,
    pub again: bool,
    /// How long the registry asked to wait.
    pub pause: Option<Duration>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, again: false, pause: None }
    }
}

/// The body of a request.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    /// A stream of so many bytes that can be opened anew, should the request have to be repeated.
    Stream(&'a dyn Fn() -> Result<Box<dyn Read>>, u64),
}

/// A request to a registry.
pub(super) struct Request<'a> {
    pub operation: &'static str,
    pub method: Method,
    pub location: Location,
    pub headers: Vec<(&'static str, String)>,
    pub payload: Payload<'a>,
    /// The scopes that the request needs.
    pub scopes: &'a Scopes,
}

/// An answer, whatever its status.
pub(super) struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    /// The address that it came from, after redirects.
    pub location: Location,
    /// The proxy that passed it on, or gave it.
    between: Option<String>,
    body: ureq::Body,
}

impl Response {
    /// Returns a header as text: the first of its name, when that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the length that the body is said to have.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// Returns the body as a stream. It is not limited: the reader counts.
    pub fn into_reader(self) -> impl Read + Send {
        self.body.into_with_config().limit(u64::MAX).reader()
    }

    /// Returns the whole body, unless it has more than `cap` bytes.
    pub fn read(self, operation: &'static str, cap: u64) -> Result<Vec<u8>, Failure> {
        let location = self.location.clone();
        let mut out = Vec::new();
        let read = self.into_reader().take(cap.saturating_add(1)).read_to_end(&mut out);
        read.map_err(|error| broken(error, operation, &location))?;
        if out.len() as u64 > cap {
            let message = format!("the answer has more than {cap} bytes");
            return Err(Error::limit(operation, message).with_path(location.to_string()).into());
        }
        Ok(out)
    }

    /// Returns an error out of an answer that is none of those hoped for (distribution-spec, "Error Codes").
    pub fn into_error(self, operation: &'static str, what: &str) -> Failure {
        let status = self.status;
        let pause = self.retry_after();
        let location = self.location.clone();
        let between = self.between.clone();
        let body = self.read(operation, MAX_ERROR).unwrap_or_default();
        let said = said(&body) + &between.map_or_else(String::new, |proxy| format!(" (through {proxy})"));
        let kind = match status {
            401 | 403 => ErrorKind::Unauthorized,
            404 => ErrorKind::NotFound,
            405 | 415 | 501 => ErrorKind::Unsupported,
            413 => ErrorKind::Limit,
            408 | 425 | 429 | 500..=599 => ErrorKind::Network,
            400..=499 => ErrorKind::InvalidArgument,
            _ => ErrorKind::Network,
        };
        let message = format!("{} answered {status}{said}", location.origin());
        let error = Error::new(kind, operation, message).with_path(what);
        let error = match status {
            401 | 403 => error.with_hint("log in to the registry, or check that the account may do this"),
            _ => error,
        };
        Failure { error, again: is_transient(status), pause }
    }

    fn retry_after(&self) -> Option<Duration> {
        let now = || self.header("date").and_then(date).unwrap_or_else(|| jiff::Timestamp::now().as_second());
        pause_of(self.header("retry-after")?, now)
    }
}

/// Reads a `Retry-After` (RFC 9110, 10.2.3): seconds, or a date. `now` is the server's time, or what is nearest to that.
fn pause_of(text: &str, now: impl FnOnce() -> i64) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = date(text)?;
    Some(Duration::from_secs(until.saturating_sub(now()).try_into().unwrap_or(0)))
}

/// Returns the seconds of an HTTP date (RFC 9110, 5.6.7); nothing for what is none, or before 1970.
pub(super) fn date(text: &str) -> Option<i64> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(time.as_second()).filter(|seconds| *seconds >= 0)
}

/// Returns the error codes and messages of a body, as text to put behind a status.
fn said(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let mut out = String::new();
    let text = |value: &serde_json::Value, name: &str| {
        let text = value.get(name).and_then(|text| text.as_str()).unwrap_or_default();
        escape(text.chars().take(300).collect::<String>().as_bytes())
    };
    for error in value.get("errors").and_then(|errors| errors.as_array()).into_iter().flatten().take(3) {
        let (code, message) = (text(error, "code"), text(error, "message"));
        let between = if code.is_empty() || message.is_empty() { "" } else { ": " };
        out += &format!("{}{code}{between}{message}", if out.is_empty() { ": " } else { "; " });
    }
    if out.is_empty() {
        let details = text(&value, "details") + &text(&value, "message");
        if !details.is_empty() {
            out = format!(": {details}");
        }
    }
    out
}

/// Returns whether a status says that the same request may succeed later. 5xx are failures of the server and not of the request (RFC 9110, 15.6),
/// also those that proxies made up (509, 520 to 530). Not so where every request of this form gets the same answer: what is not
/// implemented (501), the version of HTTP (505), negotiation (506), a loop (508), an extension (510), a network that asks for a log-in (511).
pub(super) fn is_transient(status: u16) -> bool {
    match status {
        501 | 505 | 506 | 508 | 510 | 511 => false,
        408 | 425 | 429 | 500..=599 => true,
        _ => false,
    }
}

/// Returns a body that broke off.
pub(super) fn broken(error: io::Error, operation: &'static str, location: &Location) -> Failure {
    let error = transport::describe(ureq::Error::Io(unwrapped(error)), operation, location.origin());
    let again = error.kind() == ErrorKind::Network;
    Failure { error, again, pause: None }
}

/// Unwraps an I/O error: ureq wraps its own errors in them where it reads a body.
fn unwrapped(error: io::Error) -> io::Error {
    match error.downcast::<ureq::Error>() {
        Ok(ureq::Error::Io(inner)) => inner,
        Ok(other) => io::Error::new(io::ErrorKind::ConnectionAborted, other.to_string()),
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::Other) => {
            match error.downcast::<Error>() {
                Ok(ours) => ours.into(),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => error.kind().into(),
                Err(error) => io::Error::new(io::ErrorKind::ConnectionAborted, error.to_string()),
            }
        }
        Err(error) => error,
    }
}

/// The connections and tokens of an operation. Shared by its threads.
pub(super) struct Session<'a> {
    pub registries: &'a Registries,
    pub control: &'a Control,
    agents: Mutex<HashMap<Origin, Agent>>,
    /// The origins that the user named, and how they are trusted.
    named: Mutex<HashMap<Origin, (bool, TlsFiles)>>,
    /// Whether https is spoken, by endpoints without a given scheme.
    settled: Mutex<HashMap<Origin, bool>>,
    pub(super) tokens: Tokens,
    warned: Mutex<HashSet<String>>,
    /// Whether any server has answered: what is refused later is worth another try.
    reached: AtomicBool,
}

impl<'a> Session<'a> {
    pub fn new(registries: &'a Registries, control: &'a Control) -> Session<'a> {
        Session {
            registries,
            control,
            agents: Mutex::default(),
            named: Mutex::default(),
            settled: Mutex::default(),
            tokens: Tokens::default(),
            warned: Mutex::default(),
            reached: AtomicBool::new(false),
        }
    }

    /// Makes an endpoint ready to be asked: finds out whether it speaks https where its scheme was not given and plain
    /// http is allowed, which is on this machine and where the registry is called insecure.
    pub fn settle(&self, endpoint: &Endpoint) -> Result<Endpoint> {
        let mut endpoint = endpoint.clone();
        if !endpoint.fixed && (endpoint.insecure || endpoint.origin.is_loopback()) {
            let known = lock(&self.settled).get(&endpoint.origin).copied();
            let secure = match known {
                Some(secure) => secure,
                None => self.speaks_tls(&endpoint)?,
            };
            lock(&self.settled).insert(endpoint.origin.clone(), secure);
            // `host` alone means the port of its scheme.
            let port =
                if !secure && endpoint.origin.port() == 443 { None } else { Some(endpoint.origin.port()) };
            endpoint.origin = Origin::new(secure, endpoint.origin.host(), port);
            endpoint.fixed = true;
        }
        let trust = (endpoint.insecure, endpoint.tls.clone());
        lock(&self.named).insert(endpoint.origin.clone(), trust);
        Ok(endpoint)
    }

    fn speaks_tls(&self, endpoint: &Endpoint) -> Result<bool> {
        let origin = endpoint.origin.with_scheme(true);
        let dial = Dial {
            named: true,
            from_loopback: false,
            // Whether the certificate is good is for the real request to say; nothing secret is in this one.
            insecure: true,
            files: TlsFiles::default(),
            proxy: self.proxy(&origin),
            stall: PROBE,
            connect: PROBE,
        };
        let agent = transport::agent(&origin, &dial, &self.registries.roots, &self.control.cancel)?;
        match agent.get(format!("{origin}/v2/")).call() {
            Ok(_) => Ok(true),
            // A certificate that is not good enough is no reason to do without any: the real request says why.
            Err(error) => {
                self.control.check("connect to registry")?;
                Ok(transport::tls_reason(&error).is_some_and(tls::is_certificate))
            }
        }
    }

    fn agent(&self, origin: &Origin, from: &Origin) -> Result<Agent> {
        if let Some(agent) = lock(&self.agents).get(origin) {
            return Ok(agent.clone());
        }
        let named = lock(&self.named).get(origin).cloned();
        let is_named = named.is_some();
        let (insecure, files) = named.unwrap_or_else(|| self.registries.config.trust(origin));
        let dial = Dial {
            named: is_named,
            from_loopback: from.is_loopback(),
            insecure,
            files,
            proxy: self.proxy(origin),
            stall: self.registries.stall,
            connect: self.registries.connect,
        };
        let agent = transport::agent(origin, &dial, &self.registries.roots, &self.control.cancel)?;
        Ok(lock(&self.agents).entry(origin.clone()).or_insert(agent).clone())
    }

    fn proxy(&self, origin: &Origin) -> Option<String> {
        let proxies = &self.registries.proxies;
        let proxy = if origin.is_secure() { &proxies.https } else { &proxies.http }.clone()?;
        // What is on this machine is never reached through another one, as in curl's and Go's clients.
        let bypassed = origin.is_loopback() || bypasses_proxy(proxies.bypassed.as_ref(), origin);
        (!bypassed).then_some(proxy)
    }

    /// Calls `attempt` until it succeeds, fails for good, or has failed too often.
    pub fn retry<T>(
        &self,
        operation: &'static str,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T> {
        let mut tries = 1;
        loop {
            let failure = match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            if !failure.again || tries >= self.registries.attempts {
                return Err(failure.error);
            }
            self.pause(operation, tries, &failure, &self.control.cancel)?;
            tries += 1;
        }
    }

    /// Waits before the next try, unless it is cancelled: as long as the registry asks for, else twice as long each time.
    pub fn pause(
        &self,
        operation: &'static str,
        tries: u32,
        failure: &Failure,
        cancel: &Cancel,
    ) -> Result<()> {
        let backoff = self.registries.backoff.saturating_mul(1 << tries.saturating_sub(1).min(8));
        let wait = failure.pause.unwrap_or(backoff);
        if wait > MAX_PAUSE {
            let message = format!("the registry asks to be left alone for {} seconds", wait.as_secs());
            return Err(Error::new(ErrorKind::Network, operation, message));
        }
        self.rest(operation, wait, cancel)
    }

    /// Waits, unless it is cancelled.
    pub fn rest(&self, operation: &'static str, wait: Duration, cancel: &Cancel) -> Result<()> {
        let end = Instant::now() + wait;
        loop {
            cancel.check(operation)?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(25)));
        }
    }

    /// Sends a request to an endpoint, with its credentials if it asks for them, following redirects.
    pub fn send(&self, endpoint: &Endpoint, request: &Request) -> Result<Response, Failure> {
        let mut refused = 0;
        loop {
            let authorization = self.tokens.header(&endpoint.origin, request.scopes);
            let response = self.follow(endpoint, request, authorization.as_deref())?;
            // Only the registry itself may ask for its credentials.
            let ours = *response.location.origin() == endpoint.origin;
            if response.status != 401 || !ours || refused >= 2 {
                return Ok(response);
            }
            refused += 1;
            if !self.authenticate(endpoint, request, &response, authorization.as_deref())? {
                return Ok(response);
            }
        }
    }

    /// Sends a request to a place that a server named, which gets no credentials. `from` is the registry that named it.
    pub fn send_without_credentials(
        &self,
        endpoint: &Endpoint,
        from: &Endpoint,
        request: &Request,
    ) -> Result<Response, Failure> {
        // Made here, so that where it leads is judged by where it was named.
        self.agent(&endpoint.origin, &from.origin)?;
        self.follow(endpoint, request, None)
    }

    /// Sends a request and follows redirects; the authorization goes to the endpoint alone.
    pub(super) fn follow(
        &self,
        endpoint: &Endpoint,
        request: &Request,
        authorization: Option<&str>,
    ) -> Result<Response, Failure> {
        let mut location = request.location.clone();
        let mut method = request.method.clone();
        let mut payload = request.payload;
        for _ in 0..=MAX_REDIRECTS {
            let mut headers: Vec<(&str, &str)> =
                request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            if let Some(authorization) = authorization.filter(|_| *location.origin() == endpoint.origin) {
                headers.push(("authorization", authorization));
            }
            let response =
                self.exchange(request.operation, &method, &location, &headers, payload, endpoint)?;
            let Some(target) = response
                .header("location")
                .filter(|_| matches!(response.status, 301 | 302 | 303 | 307 | 308))
            else {
                return Ok(response);
            };
            let next = response.location.join(target)?;
            let refuse = |message: String| {
                Failure::from(
                    Error::new(ErrorKind::PermissionDenied, request.operation, message)
                        .with_path(response.location.origin().to_string()),
                )
            };
            if location.origin().is_secure() && !next.origin().is_secure() {
                return Err(refuse(format!("refused a redirect from https to {}", next.origin())));
            }
            match response.status {
                303 if method != Method::HEAD => {
                    method = Method::GET;
                    payload = Payload::None;
                }
                301 | 302 if method != Method::GET && method != Method::HEAD => {
                    return Err(refuse(format!("refused a redirect ({}) of {method}", response.status)));
                }
                _ => {}
            }
            location = next;
        }
        let message = format!("more than {MAX_REDIRECTS} redirects");
        Err(Error::limit(request.operation, message).with_path(request.location.to_string()).into())
    }

    /// Sends one request as it is and gives the answer as it is.
    pub(super) fn exchange(
        &self,
        operation: &'static str,
        method: &Method,
        location: &Location,
        headers: &[(&str, &str)],
        payload: Payload,
        endpoint: &Endpoint,
    ) -> Result<Response, Failure> {
        self.control.check(operation)?;
        let agent = self.agent(location.origin(), &endpoint.origin)?;
        let mut request = http::Request::builder().method(method).uri(location.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body_length = match payload {
            Payload::Bytes(bytes) => Some(bytes.len() as u64),
            Payload::Stream(_, length) => Some(length),
            // Some servers insist on a length where a body could be.
            Payload::None => matches!(*method, Method::POST | Method::PUT | Method::PATCH).then_some(0),
        };
        if let Some(length) = body_length {
            request = request.header("content-length", length.to_string());
        }
        let bad =
            |error: http::Error| Error::invalid(operation, error.to_string()).with_path(location.to_string());
        let sent = match payload {
            Payload::None if body_length.is_none() => agent.run(request.body(SendBody::none()).map_err(bad)?),
            Payload::None => agent.run(request.body(SendBody::from_reader(&mut &[][..])).map_err(bad)?),
            Payload::Bytes(mut bytes) => {
                agent.run(request.body(SendBody::from_reader(&mut bytes)).map_err(bad)?)
            }
            Payload::Stream(open, _) => {
                agent.run(request.body(SendBody::from_reader(&mut open()?)).map_err(bad)?)
            }
        };
        let proxy = self.proxy(location.origin());
        let refused = |status, reason: &str| {
            let proxy = proxy.as_deref().map(proxy::shown).unwrap_or_default();
            Err(proxy::refusal(operation, location.origin(), &proxy, status, reason))
        };
        let response = match sent {
            Ok(response) => response,
            Err(ureq::Error::ConnectProxyFailed(reason)) => {
                return refused(proxy::status(&reason), &reason);
            }
            Err(error) => {
                let again = self.worth_another_try(&error);
                let error = transport::describe(error, operation, location.origin());
                let again = again && error.kind() == ErrorKind::Network;
                return Err(Failure { error, again, pause: None });
            }
        };
        self.reached.store(true, Ordering::Relaxed);
        let (parts, body) = response.into_parts();
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        let between = proxy::between(location.origin(), proxy.as_deref());
        if status == 407 && between.is_some() {
            return refused(Some(status), "");
        }
        self.warn(&headers, location);
        Ok(Response { status, headers, location: location.clone(), between, body })
    }

    fn worth_another_try(&self, error: &ureq::Error) -> bool {
        match error {
            ureq::Error::HostNotFound => false,
            error if transport::tls_reason(error).is_some() => false,
            // A proxy has refused, and will again.
            ureq::Error::Io(error)
                if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() =>
            {
                false
            }
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.reached.load(Ordering::Relaxed)
            }
            _ => true,
        }
    }

    /// Passes a registry's warnings on (distribution-spec, "Warnings"): once each, and nothing else follows from them.
    fn warn(&self, headers: &HeaderMap, location: &Location) {
        if !self.control.events.wanted() {
            return;
        }
        for value in headers.get_all("warning").iter().filter(|value| value.len() <= 4096).take(8) {
            let text = value.to_str().unwrap_or_default();
            let Some(text) = text.strip_prefix("299 - \"").and_then(|text| text.strip_suffix('"')) else {
                continue;
            };
            let message = format!("{}: {}", location.origin(), escape(text.replace("\\\"", "\"").as_bytes()));
            self.warn_once(message);
        }
    }

    /// Sends a warning, unless the operation has sent the same.
    pub(super) fn warn_once(&self, message: String) {
        if self.control.events.wanted() && lock(&self.warned).insert(message.clone()) {
            self.control.events.send(Event::Warning { rule: String::new(), message, location: None });
        }
    }
}

/// The proxies of the environment, as every client takes them.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxies {
    http: Option<String>,
    https: Option<String>,
    bypassed: std::ffi::OsString,
}

impl Proxies {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, or the same in lower case.
    pub fn from_env() -> Proxies {
        let set = |name: &str| {
            let lower = std::env::var(name.to_ascii_lowercase()).ok();
            lower.or_else(|| std::env::var(name).ok()).filter(|value| !value.is_empty())
        };
        let with_scheme =
            |proxy: String| if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
        let all = set("ALL_PROXY");
        Proxies {
            http: set("HTTP_PROXY").or_else(|| all.clone()).map(with_scheme),
            https: set("HTTPS_PROXY").or(all).map(with_scheme),
            bypassed: set("NO_PROXY").unwrap_or_default().into(),
        }
    }
}

/// The certificate authorities of the system, shared by all operations of one [`Registries`].
pub(super) type SharedRoots = Arc<transport::Roots>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_seconds_or_dates() {
        let now = || 1_445_412_480;
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(0)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(30)),
            ("Wed, 21 Oct 2015 06:00:00 GMT", Some(0)),
            ("Thu, 22 Oct 2015 07:28:00 GMT", Some(86_400)),
            ("", None),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(pause_of(text, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn dates_of_answers_are_read() {
        assert_eq!(date("Wed, 21 Oct 2015 07:28:00 GMT"), Some(1_445_412_480));
        for text in ["", "yesterday", "Wed, 21 Oct 1901 07:28:00 GMT"] {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn what_may_succeed_later_is_what_the_server_failed_at() {
        for status in [408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 524, 527, 530, 599] {
            assert!(is_transient(status), "{status}");
        }
        for status in [200, 301, 400, 401, 403, 404, 405, 409, 416, 501, 505, 506, 508, 510, 511, 600] {
            assert!(!is_transient(status), "{status}");
        }
    }
}
