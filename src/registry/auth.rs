//! Authentication: tokens and headers, each for one origin (distribution's token specification; RFC 7617).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use ureq::http::Method;

use super::challenge::{self, Challenge};
use super::config::Endpoint;
use super::credentials::Credential;
use super::origin::{Location, Origin, encode};
use super::session::{Failure, Payload, Request, Response, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::threads::lock;

const OP: &str = "log in to registry";
/// The largest answer of a token server.
const MAX_TOKEN: u64 = 1 << 20;
/// How many scopes are asked for at once.
const MAX_SCOPES: usize = 8;
/// Token servers on another domain than their registry, which the registry's operator documents.
const KNOWN_REALMS: &[(&str, &str)] = &[("nvcr.io", "authn.nvidia.com")];

/// The scopes that requests need: `repository:NAME:pull,push` and the like, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Scopes {
    needed: BTreeSet<String>,
    /// Those that only save work.
    helpful: BTreeSet<String>,
}

impl Scopes {
    /// Makes the scopes to read from a repository, and perhaps to write into it.
    pub fn of(repository: &str, push: bool) -> Scopes {
        let actions = if push { "pull,push" } else { "pull" };
        Scopes { needed: [format!("repository:{repository}:{actions}")].into(), helpful: BTreeSet::new() }
    }

    /// Returns the same scopes and one to read from another repository, where that is allowed.
    pub fn and_pull(mut self, repository: &str) -> Scopes {
        if self.needed.len() + self.helpful.len() < MAX_SCOPES {
            self.helpful.insert(format!("repository:{repository}:pull"));
        }
        self
    }

    /// Returns the scopes, with those of a challenge that are not among them.
    fn with(&self, asked: Option<&str>) -> BTreeSet<String> {
        let mut out = &self.needed | &self.helpful;
        for scope in asked.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty()) {
            let covered = out.iter().any(|known| covers(known, scope));
            if !covered && out.len() < MAX_SCOPES && scope.len() < 1024 {
                out.insert(scope.to_string());
            }
        }
        out
    }
}

/// Returns whether one scope allows all that another does.
fn covers(known: &str, other: &str) -> bool {
    let split =
        |scope: &str| scope.rsplit_once(':').map(|(what, actions)| (what.to_string(), actions.to_string()));
    match (split(known), split(other)) {
        (Some((a, have)), Some((b, want))) => {
            a == b && want.split(',').all(|action| have.split(',').any(|known| known == action))
        }
        _ => known == other,
    }
}

/// Headers by origin and scopes, and the credentials that were found. Nothing else gets either.
#[derive(Default)]
pub(super) struct Tokens {
    headers: Mutex<HashMap<(Origin, Scopes), String>>,
    found: Mutex<HashMap<(String, String), Option<Credential>>>,
    /// Scopes of which no token has those that only save work.
    reduced: Mutex<HashSet<(Origin, Scopes)>>,
    /// One thread asks for a token at a time; the others then find it.
    asking: Mutex<()>,
}

impl Tokens {
    /// Returns the header to send to this origin for these scopes, if one is known.
    pub fn header(&self, origin: &Origin, scopes: &Scopes) -> Option<String> {
        let headers = lock(&self.headers);
        headers.get(&(origin.clone(), scopes.clone())).cloned()
    }

    /// Returns whether the scopes that only save work may be used: no token was refused because of them.
    pub fn are_whole(&self, origin: &Origin, scopes: &Scopes) -> bool {
        !lock(&self.reduced).contains(&(origin.clone(), scopes.clone()))
    }

    fn keep(&self, origin: &Origin, scopes: &Scopes, header: String) {
        let mut headers = lock(&self.headers);
        headers.insert((origin.clone(), scopes.clone()), header);
    }
}

impl Session<'_> {
    /// Answers a 401 of an endpoint with a header for the next try. False when there is nothing to answer with.
    pub(super) fn authenticate(
        &self,
        endpoint: &Endpoint,
        request: &Request,
        response: &Response,
        sent: Option<&str>,
    ) -> Result<bool, Failure> {
        let _asking = lock(&self.tokens.asking);
        let now = self.tokens.header(&endpoint.origin, request.scopes);
        if now.is_some() && now.as_deref() != sent {
            // Another thread was faster.
            return Ok(true);
        }
        let fields = response.headers.get_all("www-authenticate").iter().take(8);
        let challenges: Vec<Challenge> =
            fields.filter_map(|value| value.to_str().ok()).flat_map(challenge::parse).collect();
        let of = |scheme: &str| challenges.iter().find(|one| one.scheme == scheme);
        let header = if let Some(bearer) = of("bearer") {
            Some(self.bearer(endpoint, request.scopes, bearer)?)
        } else if of("basic").is_some() {
            self.credential(endpoint)?.as_ref().and_then(basic)
        } else {
            None
        };
        // Sending once more what was refused leads nowhere.
        let Some(header) = header.filter(|header| Some(header.as_str()) != sent) else { return Ok(false) };
        self.tokens.keep(&endpoint.origin, request.scopes, header);
        Ok(true)
    }

    fn credential(&self, endpoint: &Endpoint) -> Result<Option<Credential>> {
        let key = (endpoint.key.clone(), endpoint.repository.clone());
        let known = lock(&self.tokens.found).get(&key).cloned();
        if let Some(found) = known {
            return Ok(found);
        }
        let found =
            self.registries.credentials.find(&endpoint.key, &endpoint.repository, &self.control.cancel)?;
        lock(&self.tokens.found).insert(key, found.clone());
        Ok(found)
    }

    /// Returns a token from the server that a bearer challenge names: for all scopes or, where that is refused, for those that are needed.
    fn bearer(&self, endpoint: &Endpoint, scopes: &Scopes, challenge: &Challenge) -> Result<String, Failure> {
        let mut wanted = scopes.with(challenge.parameter("scope"));
        if self.tokens.are_whole(&endpoint.origin, scopes) {
            match self.token(endpoint, challenge, &wanted) {
                Err(failure)
                    if failure.error.kind() == ErrorKind::Unauthorized && !scopes.helpful.is_empty() =>
                {
                    lock(&self.tokens.reduced).insert((endpoint.origin.clone(), scopes.clone()));
                }
                result => return result,
            }
        }
        wanted.retain(|scope| !scopes.helpful.contains(scope));
        self.token(endpoint, challenge, &wanted)
    }

    fn token(
        &self,
        endpoint: &Endpoint,
        challenge: &Challenge,
        wanted: &BTreeSet<String>,
    ) -> Result<String, Failure> {
        let refuse = |message: String| {
            Failure::from(
                Error::new(ErrorKind::Unauthorized, OP, message).with_path(endpoint.origin.to_string()),
            )
        };
        let credential = self.credential(endpoint)?;
        if let Some(token) = credential.as_ref().and_then(Credential::as_registry_token) {
            return bearer_header(token, endpoint);
        }
        let realm = challenge
            .parameter("realm")
            .ok_or_else(|| refuse("the registry names no token server".into()))?;
        let mut location = Location::parse(realm)?;
        let origin = location.origin().clone();
        if credential.is_some() && !may_ask(endpoint, &origin) {
            let message =
                format!("the registry asks for its credentials to be sent to {origin}, which is not allowed");
            let hint = format!(
                "if that is right, add realms = [\"{origin}\"] to the registry's entry in registries.toml"
            );
            return Err(Error::new(ErrorKind::Unauthorized, OP, message)
                .with_path(endpoint.origin.to_string())
                .with_hint(hint)
                .into());
        }
        if endpoint.origin.is_secure() && !origin.is_secure() {
            return Err(refuse(format!("refused a token server without https: {origin}")));
        }
        let service = challenge.parameter("service").unwrap_or_default();
        let response = match credential.as_ref().and_then(Credential::as_identity_token) {
            Some(token) => {
                let mut form =
                    format!("grant_type=refresh_token&client_id=treering&service={}", encode(service));
                if !wanted.is_empty() {
                    let all = wanted.iter().cloned().collect::<Vec<_>>().join(" ");
                    form += &format!("&scope={}", encode(&all));
                }
                form += &format!("&refresh_token={}", encode(token));
                let headers = [("content-type", "application/x-www-form-urlencoded")];
                let payload = Payload::Bytes(form.as_bytes());
                self.exchange(OP, &Method::POST, &location, &headers, payload, endpoint)?
            }
            None => {
                if !service.is_empty() {
                    location = location.with_parameter("service", service);
                }
                for scope in wanted {
                    location = location.with_parameter("scope", scope);
                }
                let header = credential.as_ref().and_then(basic);
                let headers: Vec<(&str, &str)> =
                    header.iter().map(|header| ("authorization", header.as_str())).collect();
                self.exchange(OP, &Method::GET, &location, &headers, Payload::None, endpoint)?
            }
        };
        if response.status != 200 {
            let failure = response.into_error(OP, &endpoint.key);
            return Err(match failure.error.kind() {
                ErrorKind::Network => failure,
                // Not there, or not the right question: none of that says anything about the image.
                _ => {
                    let message = format!("no token was given: {}", failure.error.message());
                    let error = Error::new(ErrorKind::Unauthorized, OP, message).with_path(&endpoint.key);
                    error.with_hint("log in to the registry, or check that the account may do this").into()
                }
            });
        }
        let body = response.read(OP, MAX_TOKEN)?;
        let value: Value = serde_json::from_slice(&body)
            .map_err(|_| refuse(format!("the answer of the token server {origin} is not JSON")))?;
        let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let token = text("token").or_else(|| text("access_token"));
        bearer_header(
            token.ok_or_else(|| refuse(format!("the token server {origin} gave no token")))?,
            endpoint,
        )
    }

    /// Returns whether a question was refused to an account that is in order: what the answer would have saved is done then.
    ///
    /// # Errors
    /// Credentials that are wrong, which the answer to a question does not show: 401 is for both (distribution-spec, "Error Codes").
    pub(super) fn is_only_denied(&self, endpoint: &Endpoint, scopes: &Scopes, error: &Error) -> Result<bool> {
        // A token that was refused is not about the question.
        if error.kind() != ErrorKind::Unauthorized || error.operation() == OP {
            return Ok(false);
        }
        let header = self.tokens.header(&endpoint.origin, scopes);
        let has_token = header.is_some_and(|header| header.starts_with("Bearer "));
        if !has_token && !error.message().contains(" answered 403") {
            self.log_in(endpoint)?;
        }
        Ok(true)
    }

    /// Checks that a registry takes the credentials, by the request that logging in consists of.
    pub(super) fn log_in(&self, endpoint: &Endpoint) -> Result<()> {
        let scopes = Scopes::default();
        let request = Request {
            operation: OP,
            method: Method::GET,
            location: Location::new(&endpoint.origin, "/v2/"),
            headers: Vec::new(),
            payload: Payload::None,
            scopes: &scopes,
        };
        self.retry(OP, || {
            let response = self.send(endpoint, &request)?;
            match response.status {
                200 => Ok(()),
                _ => Err(response.into_error(OP, &endpoint.key)),
            }
        })
    }
}

/// Returns whether a token server may see the credentials of a registry: it is the same origin, the user allowed it, or it
/// is reached by https on the registry's own site.
fn may_ask(endpoint: &Endpoint, realm: &Origin) -> bool {
    let known =
        || KNOWN_REALMS.iter().any(|(registry, host)| endpoint.key == *registry && realm.host() == *host);
    *realm == endpoint.origin
        || endpoint.realms.contains(realm)
        || realm.is_secure() && (endpoint.origin.same_site(realm) || known())
}

fn basic(credential: &Credential) -> Option<String> {
    let (username, password) = credential.as_basic()?;
    Some(format!("Basic {}", BASE64.encode(format!("{username}:{password}"))))
}

fn bearer_header(token: &str, endpoint: &Endpoint) -> Result<String, Failure> {
    // It becomes a header: RFC 6750's b64token and what registries put there, nothing that could end the line.
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        let message = "the token has characters that no token has";
        return Err(Error::new(ErrorKind::Unauthorized, OP, message)
            .with_path(endpoint.origin.to_string())
            .into());
    }
    Ok(format!("Bearer {token}"))
}

#[cfg(test)]
mod tests {
    use super::super::config::Config;
    use super::*;

    #[test]
    fn scopes_of_a_challenge_join_those_that_are_needed() {
        let scopes = Scopes::of("a/b", true).and_pull("c");
        let with = |asked| scopes.with(Some(asked)).into_iter().collect::<Vec<_>>();
        let both = ["repository:a/b:pull,push", "repository:c:pull"];
        assert_eq!(with("repository:a/b:pull"), both);
        assert_eq!(with("repository:a/b:push,pull repository:c:pull"), both);
        assert_eq!(with("repository:a/b:delete").len(), 3);
        assert!(with(&"x:y ".repeat(100)).len() <= MAX_SCOPES);
    }

    #[test]
    fn credentials_stay_on_their_site() {
        let endpoint = |domain: &str| Config::default().registry(domain).unwrap();
        let asks =
            |domain: &str, realm: &str| may_ask(&endpoint(domain), Location::parse(realm).unwrap().origin());
        assert!(asks("docker.io", "https://auth.docker.io/token"));
        assert!(asks("registry.gitlab.com", "https://gitlab.com/jwt/auth"));
        assert!(asks("a.example:5000", "https://a.example:5001/auth"));
        assert!(asks("nvcr.io", "https://authn.nvidia.com/token"));
        assert!(asks("a.example", "https://a.example/token"));
        assert!(!asks("a.example", "http://a.example/token"));
        assert!(!asks("a.example", "https://evil.test/token"));
        assert!(!asks("127.0.0.1:5000", "https://127.0.0.1:5001/token"));
        assert!(!asks("ghcr.io", "https://authn.nvidia.com/token"));
        let text = "[[registry]]\nprefix = 'a.example'\nrealms = ['https://sso.test']";
        let allowed = Config::parse(text).unwrap().registry("a.example").unwrap();
        assert!(may_ask(&allowed, Location::parse("https://sso.test/x").unwrap().origin()));
    }
}
