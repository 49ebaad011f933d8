//! Image references: the grammar and the familiar forms of `distribution/reference`.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const MAX_NAME: usize = 255;

/// A normalised image reference: `DOMAIN/PATH[:TAG][@DIGEST]`.
///
/// Parses what `docker` takes: `app` means `docker.io/library/app`. [`fmt::Display`] prints the familiar form (`app:v1`),
/// which is also what the store writes into `org.opencontainers.image.ref.name`; [`Reference::canonical`] the full one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses a reference. Fails with [`crate::ErrorKind::InvalidArgument`], saying which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |message: &str| Error::invalid("read image name", message).with_path(text);
        if text.is_empty() {
            return Err(refuse("the name is empty"));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let message = format!("a name has no {scheme}://");
            return Err(refuse(&message).with_hint(format!("write {rest}")));
        }
        if text.split_once('@').is_some_and(|(_, rest)| rest.contains('/')) {
            return Err(
                refuse("a name has no user before the registry").with_hint("log in to the registry instead")
            );
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| {
                    refuse("what follows @ is not a digest: expected sha256: and 64 lower-case hexadecimal digits")
                })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        if digest.is_none() && is_hex_id(rest) {
            return Err(refuse("64 hexadecimal digits are an image id, not a name"));
        }
        // A colon after the last slash starts a tag; before it, it belongs to the port of the domain.
        let after_slash = rest.rfind('/').map_or(0, |i| i + 1);
        let (name, tag) = match rest[after_slash..].find(':') {
            Some(i) => (&rest[..after_slash + i], Some(&rest[after_slash + i + 1..])),
            None => (rest, None),
        };
        if name.is_empty() || name.split('/').any(str::is_empty) {
            return Err(refuse("a part of the name is empty"));
        }
        let (domain, path) = split_domain(name);
        if !domain_ok(&domain) {
            return Err(refuse("the registry part is not a valid host name or host:port"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(refuse("the repository name must be lower case"));
        }
        if !path.split('/').all(component_ok) {
            return Err(refuse("a repository name holds a-z, 0-9 and single . _ - separators between them"));
        }
        if domain.len() + 1 + path.len() > MAX_NAME {
            return Err(refuse("the name is longer than 255 characters"));
        }
        if tag.is_some_and(|tag| !tag_ok(tag)) {
            return Err(refuse("a tag holds up to 128 letters, digits, _ . - and starts with none of . -"));
        }
        Ok(Reference { domain, path, tag: tag.map(String::from), digest })
    }

    /// Returns the registry: `docker.io` unless the name says otherwise.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the repository within the registry, such as `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the tag, when the reference has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, when the reference has one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the repository in full, without tag and digest: `docker.io/library/debian`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Returns the repository as people write it: `debian`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// Returns the whole reference in full: `docker.io/library/debian:12`.
    pub fn canonical(&self) -> String {
        self.name() + &self.suffix()
    }

    /// Returns the same reference with the tag `latest` when it has neither tag nor digest.
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".into());
        }
        self
    }

    /// Returns the same repository with this tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        if !tag_ok(tag) {
            return Err(Error::invalid("read tag", "not a valid tag").with_path(tag));
        }
        Ok(Reference { tag: Some(tag.into()), digest: None, ..self.clone() })
    }

    /// Returns the same repository with this digest and no tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Returns whether both name the same repository.
    pub fn same_repository(&self, other: &Reference) -> bool {
        self.domain == other.domain && self.path == other.path
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

impl serde::Serialize for Reference {
    /// Serializes the text.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.familiar_name(), self.suffix())
    }
}

impl FromStr for Reference {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Reference::parse(text)
    }
}

fn is_hex_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == LEGACY_DOMAIN { DEFAULT_DOMAIN } else { domain };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        (domain.into(), format!("{OFFICIAL}{path}"))
    } else {
        (domain.into(), path.into())
    }
}

fn domain_ok(domain: &str) -> bool {
    let (host, port) = if let Some(rest) = domain.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        if address.is_empty() || !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
            return false;
        }
        match port.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if port.is_empty() => (None, None),
            None => return false,
        }
    } else {
        match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        }
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.is_none_or(|host| host.split('.').all(label))
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Checks `[a-z0-9]+ ((\.|_|__|-+) [a-z0-9]+)*`.
fn component_ok(component: &str) -> bool {
    let alnum = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
    let bytes = component.as_bytes();
    if !bytes.first().copied().is_some_and(alnum) || !bytes.last().copied().is_some_and(alnum) {
        return false;
    }
    bytes
        .split(|b| alnum(*b))
        .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

/// Returns whether a text is a tag (distribution-spec, "Pulling manifests").
pub(crate) fn tag_ok(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 128
        && word(bytes[0])
        && bytes.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    #[test]
    fn names_that_parse() {
        // text, domain, path, tag, familiar form
        let table = [
            ("debian", "docker.io", "library/debian", "", "debian"),
            ("debian:12", "docker.io", "library/debian", "12", "debian:12"),
            ("docker.io/debian", "docker.io", "library/debian", "", "debian"),
            ("index.docker.io/library/debian", "docker.io", "library/debian", "", "debian"),
            ("library/foo/bar", "docker.io", "library/foo/bar", "", "library/foo/bar"),
            ("docker/docker", "docker.io", "docker/docker", "", "docker/docker"),
            ("test_com/foo", "docker.io", "test_com/foo", "", "test_com/foo"),
            ("test.com/foo", "test.com", "foo", "", "test.com/foo"),
            ("test-com:8080/foo", "test-com:8080", "foo", "", "test-com:8080/foo"),
            ("test:5000/repo:tag", "test:5000", "repo", "tag", "test:5000/repo:tag"),
            ("test.com:5000", "docker.io", "library/test.com", "5000", "test.com:5000"),
            ("192.168.0.1", "docker.io", "library/192.168.0.1", "", "192.168.0.1"),
            ("192.168.0.1:8/debian", "192.168.0.1:8", "debian", "", "192.168.0.1:8/debian"),
            ("localhost/x", "localhost", "x", "", "localhost/x"),
            ("Foo/bar", "Foo", "bar", "", "Foo/bar"),
            ("lowercase:Uppercase", "docker.io", "library/lowercase", "Uppercase", "lowercase:Uppercase"),
            ("xn--n3h.com/my:xn--n3h.com", "xn--n3h.com", "my", "xn--n3h.com", "xn--n3h.com/my:xn--n3h.com"),
            ("[fc00::1]:5000/docker", "[fc00::1]:5000", "docker", "", "[fc00::1]:5000/docker"),
            ("[::1]/repo:t", "[::1]", "repo", "t", "[::1]/repo:t"),
            ("dock__er/a---b.c", "docker.io", "dock__er/a---b.c", "", "dock__er/a---b.c"),
            ("d/d", "docker.io", "d/d", "", "d/d"),
        ];
        for (text, domain, path, tag, familiar) in table {
            let parsed = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((parsed.domain(), parsed.path()), (domain, path), "{text}");
            assert_eq!(parsed.tag().unwrap_or(""), tag, "{text}");
            assert_eq!(parsed.to_string(), familiar, "{text}");
            assert_eq!(Reference::parse(&parsed.canonical()).unwrap(), parsed, "{text}");
            assert_eq!(Reference::parse(familiar).unwrap(), parsed, "{text}");
        }
        let both = format!("busybox:latest@sha256:{HEX}");
        let parsed = Reference::parse(&both).unwrap();
        assert_eq!((parsed.tag(), parsed.digest().unwrap().hex().as_str()), (Some("latest"), HEX));
        assert_eq!(parsed.to_string(), both);
        assert_eq!(Reference::parse("app").unwrap().or_latest().to_string(), "app:latest");
        assert!(Reference::parse(&format!("docker.io/{HEX}")).is_ok());
    }

    #[test]
    fn names_that_do_not() {
        let long = format!("{}/x", "a".repeat(260));
        let tag = format!("a:{}", "t".repeat(129));
        let id = HEX.to_string();
        let short_digest = format!("repo@sha256:{}", &HEX[..34]);
        let no_name = format!("@sha256:{HEX}");
        let table = [
            "",
            ":justtag",
            "a:",
            "a@",
            "https://github.com/docker/docker",
            "docker/Docker",
            "Uppercase:tag",
            "-docker",
            "-docker/docker",
            "docker-/docker",
            "-docker.io/docker/docker",
            "docker///docker",
            "docker/",
            "/docker",
            "____/____",
            "_docker/_docker",
            "dock..er/docker",
            "dock_.er/docker",
            "dock-.er/docker",
            "a___b",
            "aa/asdf$$^/aa",
            "[fc00::1]",
            "[fc00::1]:5000",
            "[2001:db8::1]:tag",
            "fc00::1:5000/debian",
            "[fe80::1%eth0]:5000/debian",
            "[2001:db8:3:4::192.0.2.33]:5000/debian",
            "[]/a",
            "host:/a",
            "host:port/a",
            "../etc/passwd",
            "a/../b",
            "a b",
            "a\0",
            "é",
            "a:-x",
            "a:.x",
            "a:b:c",
            "validname@invaliddigest:ff",
            &long,
            &tag,
            &id,
            &short_digest,
            &no_name,
        ];
        for text in table {
            assert!(Reference::parse(text).is_err(), "{text:?} parsed");
        }
    }

    #[test]
    fn names_that_do_not_parse_get_the_rule_that_they_break() {
        for (text, message) in [
            ("", "the name is empty"),
            (":v1", "a part of the name is empty"),
            ("/docker", "a part of the name is empty"),
            ("a/", "a part of the name is empty"),
            ("a.example//b", "a part of the name is empty"),
            ("https://a.example/b", "a name has no https://"),
            ("docker://debian", "a name has no docker://"),
            ("me@a.example/b", "a name has no user before the registry"),
            ("a@md5:00", "what follows @ is not a digest"),
            ("a.example:port/b", "the registry part is not a valid host name"),
            ("-a.example/b", "the registry part is not a valid host name"),
            ("a/B", "the repository name must be lower case"),
            ("a___b", "a repository name holds a-z"),
            ("a:-v1", "a tag holds up to 128"),
            ("a:", "a tag holds up to 128"),
        ] {
            let error = Reference::parse(text).unwrap_err();
            assert!(error.message().starts_with(message), "{text}: {error}");
            assert!(error.to_string().contains(text), "{error}");
        }
        let hint = Reference::parse("docker://debian:12").unwrap_err().hint().unwrap().to_string();
        assert_eq!(hint, "write debian:12");
    }
}
