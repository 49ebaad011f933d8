//! Origins and locations: the scheme, host and port that credentials belong to, and addresses below them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ureq::http::Uri;

use crate::error::{Error, Result};

const OP: &str = "read address";
/// The longest address that is followed: longer ones are no location of a registry.
const MAX_ADDRESS: usize = 16 << 10;

/// A scheme, a host and a port (RFC 6454): what credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// Returns an origin from its parts. `host` is a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn new(secure: bool, host: &str, port: Option<u16>) -> Origin {
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        Origin { secure, host: host.to_ascii_lowercase(), port }
    }

    /// Reads `HOST[:PORT]`, as it stands in an image's name.
    pub fn of_domain(secure: bool, domain: &str) -> Result<Origin> {
        Ok(Location::parse(&format!("{}://{domain}/", scheme(secure)))?.origin)
    }

    /// Returns whether the connection is encrypted and the host proves its name (https).
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns the host: a name in lower case, or an address (IPv6 in brackets).
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the host as an IP address, when it is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self.host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => self.host.parse().ok(),
        }
    }

    /// Returns whether the host is this machine by its very name.
    pub(super) fn is_loopback(&self) -> bool {
        is_localhost(&self.host) || self.address().is_some_and(|address| address.is_loopback())
    }

    /// Returns whether what is sent there is read by nobody on the way: it is encrypted, or does not leave this machine.
    pub(crate) fn keeps_secrets(&self) -> bool {
        self.secure || self.is_loopback()
    }

    /// Returns the same host and port with the other scheme.
    pub(super) fn with_scheme(&self, secure: bool) -> Origin {
        Origin { secure, ..self.clone() }
    }

    /// Returns `HOST[:PORT]`, the port only where it is not the scheme's own.
    pub(super) fn authority(&self) -> String {
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Returns whether both hosts are names below one registered domain, as `registry-1.docker.io` and `auth.docker.io`
    /// are. The last two labels decide, or the last three where the last two look like `co.uk`. Addresses are no names.
    pub(super) fn same_site(&self, other: &Origin) -> bool {
        if self.address().is_some() || other.address().is_some() {
            return false;
        }
        self.host == other.host || site(&self.host).is_some_and(|ours| Some(ours) == site(&other.host))
    }
}

/// Returns whether a name in lower case means this machine (RFC 6761, 6.3).
pub(super) fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// Returns the registered domain of a name, by the shape of its last labels.
fn site(host: &str) -> Option<String> {
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    let [.., second, top] = labels[..] else { return None };
    let wanted = if top.len() == 2 && second.len() <= 3 { 3 } else { 2 };
    (labels.len() >= wanted).then(|| labels[labels.len() - wanted..].join("."))
}

fn scheme(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", scheme(self.secure), self.authority())
    }
}

/// An absolute address: an origin, and the path and query below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    origin: Origin,
    target: String,
}

impl Location {
    /// Reads an absolute `http` or `https` address. A fragment is dropped; a user name in it is refused: credentials come
    /// from their files.
    pub fn parse(text: &str) -> Result<Location> {
        let refuse = |message: &str| Error::invalid(OP, message).with_path(text);
        if text.len() > MAX_ADDRESS {
            return Err(Error::limit(OP, format!("an address of {} bytes", text.len())));
        }
        let text_only = text.split('#').next().unwrap_or_default();
        let uri: Uri = text_only.parse().map_err(|_| refuse("not an address"))?;
        let secure = match uri.scheme_str() {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => true,
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => false,
            Some(_) => return Err(refuse("only http and https are followed")),
            None => return Err(refuse("the address has no scheme")),
        };
        let authority = uri.authority().ok_or_else(|| refuse("the address has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("an address must not carry a user name"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(refuse("the address has no host"));
        }
        let after = &authority.as_str()[host.len()..];
        let port = match (after, after.strip_prefix(':')) {
            ("" | ":", _) => None,
            (_, Some(port)) => Some(port.parse::<u16>().map_err(|_| refuse("not a port"))?),
            // As in `[::1].example`, of which `host` is the part in brackets.
            (_, None) => return Err(refuse("not a host")),
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let target = if target.starts_with('/') { target.to_string() } else { format!("/{target}") };
        Ok(Location { origin: Origin::new(secure, host, port), target })
    }

    /// Returns the address of a path below an origin.
    pub(super) fn new(origin: &Origin, target: impl Into<String>) -> Location {
        Location { origin: origin.clone(), target: target.into() }
    }

    /// Resolves a `Location` or `Link` header of the answer from here (RFC 3986, 5.2).
    pub fn join(&self, reference: &str) -> Result<Location> {
        if reference.len() > MAX_ADDRESS {
            return Err(Error::limit(OP, format!("an address of {} bytes", reference.len())));
        }
        let colon = reference.find(':').unwrap_or(usize::MAX);
        let absolute = reference.find(['/', '?', '#']).is_none_or(|end| colon < end) && colon != usize::MAX;
        if absolute {
            return Location::parse(reference);
        }
        let scheme = scheme(self.origin.secure);
        if let Some(rest) = reference.strip_prefix("//") {
            return Location::parse(&format!("{scheme}://{rest}"));
        }
        let path = self.target.split('?').next().unwrap_or("/");
        let target = match reference.as_bytes().first() {
            None | Some(b'#') => self.target.clone(),
            Some(b'/') => without_dots(reference),
            Some(b'?') => format!("{path}{reference}"),
            Some(_) => {
                without_dots(&format!("{}/{reference}", path.rsplit_once('/').map_or("", |(dir, _)| dir)))
            }
        };
        Location::parse(&format!("{scheme}://{}:{}{target}", self.origin.host, self.origin.port))
    }

    /// Returns the same address with one more parameter in its query; what is there stays.
    pub(super) fn with_parameter(&self, name: &str, value: &str) -> Location {
        let sign = if self.target.contains('?') { '&' } else { '?' };
        let target = format!("{}{sign}{name}={}", self.target, encode(value));
        Location { origin: self.origin.clone(), target }
    }

    /// Returns the origin.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns path and query, as they are sent.
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Always with its port, so that the text reads back as the same location.
        write!(f, "{}://{}:{}{}", scheme(self.origin.secure), self.origin.host, self.origin.port, self.target)
    }
}

/// Removes the segments `.` and `..` of a path; what follows it stays (RFC 3986, 5.2.4).
fn without_dots(target: &str) -> String {
    let (path, rest) = target.split_at(target.find(['?', '#']).unwrap_or(target.len()));
    let mut out: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if segment == ".." {
            out.pop();
        }
        match matches!(segment, "." | "..") {
            false => out.push(segment),
            // The path still ends in a slash.
            true if last => out.push(""),
            true => {}
        }
    }
    format!("/{}{rest}", out.join("/"))
}

/// Percent-encodes a value of a query (RFC 3986, 2.3: unreserved characters stay).
pub(super) fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        let origin = |text: &str| Location::parse(text).unwrap().origin().clone();
        assert_eq!(origin("https://A.example/x"), origin("https://a.example:443/y?z"));
        assert_eq!(origin("http://a.example"), origin("http://a.example:80/"));
        assert_ne!(origin("http://a.example"), origin("https://a.example"));
        assert_ne!(origin("https://a.example"), origin("https://a.example:5000"));
        assert_ne!(origin("https://a.example"), origin("https://b.a.example"));
        assert_eq!(origin("http://[::1]:5000/").address(), Some("::1".parse().unwrap()));
        assert!(origin("http://127.0.0.2:1/").is_loopback() && origin("http://localhost/").is_loopback());
        assert!(!origin("http://localhost.example/").is_loopback());
        for (text, keeps) in [
            ("https://a.example/", true),
            ("http://a.example/", false),
            ("http://127.0.0.1:8080/", true),
            ("http://[::1]/", true),
            ("http://127.a.example/", false),
            ("http://127.0.0.1.a.example/", false),
        ] {
            assert_eq!(origin(text).keeps_secrets(), keeps, "{text}");
        }
        assert_eq!(Origin::of_domain(true, "a.example:5000").unwrap().to_string(), "https://a.example:5000");
    }

    #[test]
    fn addresses_that_are_refused() {
        for text in [
            "",
            "/v2/",
            "ftp://a/",
            "file:///etc/passwd",
            "https://user:secret@a.example/",
            "https:///x",
            "https://a.example:99999/",
            "https://a b/",
            "http://[::1].a.example/",
            "http://[::1]5000/",
            "https://a.example/\u{7}",
            "https://a.example/\r\nX: y",
        ] {
            assert!(Location::parse(text).is_err(), "{text:?}");
        }
        assert!(Location::parse(&format!("https://a/{}", "x".repeat(MAX_ADDRESS))).is_err());
    }

    #[test]
    fn references_are_resolved_against_where_they_came_from() {
        let base = Location::parse("https://a.example:5000/v2/app/blobs/uploads/?x=1").unwrap();
        for (reference, expected) in [
            ("/v2/app/blobs/uploads/7?state=s", "https://a.example:5000/v2/app/blobs/uploads/7?state=s"),
            ("7", "https://a.example:5000/v2/app/blobs/uploads/7"),
            ("?n=2", "https://a.example:5000/v2/app/blobs/uploads/?n=2"),
            ("https://b.example/y#z", "https://b.example:443/y"),
            ("//b.example/y", "https://b.example:443/y"),
            ("http://a.example:5000/", "http://a.example:5000/"),
            ("", "https://a.example:5000/v2/app/blobs/uploads/?x=1"),
            ("../uploads/u1?s=../x", "https://a.example:5000/v2/app/blobs/uploads/u1?s=../x"),
            ("./7", "https://a.example:5000/v2/app/blobs/uploads/7"),
            ("..", "https://a.example:5000/v2/app/blobs/"),
            ("../../../../../../7", "https://a.example:5000/7"),
            ("/v2/./a/b/../c//d/.", "https://a.example:5000/v2/a/c//d/"),
            ("...", "https://a.example:5000/v2/app/blobs/uploads/..."),
            ("/x?u=http://b/", "https://a.example:5000/x?u=http://b/"),
        ] {
            assert_eq!(base.join(reference).unwrap().to_string(), expected, "{reference}");
        }
        assert!(base.join("javascript:alert(1)").is_err());
        let put = base.with_parameter("digest", "sha256:ab").with_parameter("n", "a/b");
        assert_eq!(put.target(), "/v2/app/blobs/uploads/?x=1&digest=sha256%3Aab&n=a%2Fb");
    }

    #[test]
    fn sites_are_registered_domains() {
        let site = |a: &str, b: &str| Origin::new(true, a, None).same_site(&Origin::new(true, b, None));
        assert!(site("registry-1.docker.io", "auth.docker.io"));
        assert!(site("registry.gitlab.com", "gitlab.com"));
        assert!(site("localhost", "localhost"));
        assert!(site("r.shop.co.uk", "auth.shop.co.uk"));
        assert!(!site("r.shop.co.uk", "evil.co.uk"));
        assert!(!site("docker.io", "docker.io.evil.example"));
        assert!(!site("a.example", "b.test"));
        assert!(!site("localhost", "other"));
        assert!(!site("127.0.0.1", "127.0.0.1"));
    }
}
