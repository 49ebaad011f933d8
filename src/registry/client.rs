//! The requests of the distribution-spec, one function each, for one repository.

use std::collections::HashSet;
use std::io::Read;

use serde::Deserialize;
use ureq::http::Method;

use super::auth::Scopes;
use super::config::Endpoint;
use super::origin::Location;
use super::session::{Failure, Payload, Request, Response, Session};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::store::{
    BlobInfo, Descriptor, Document, DocumentKind, Limits, Reference, descriptor, descriptor_digest, tag_ok,
};

const MANIFEST: &str = "read manifest from registry";
const TAGS: &str = "list tags";
/// How many tags a list may have in all.
const MAX_TAGS: usize = 1_000_000;
/// The largest page of a list.
const MAX_PAGE: u64 = 16 << 20;

/// A repository at one endpoint.
pub(super) struct Repository<'s> {
    pub session: &'s Session<'s>,
    pub endpoint: Endpoint,
    pub scopes: Scopes,
}

/// A manifest or index as a registry gave it: exact bytes, checked against the digest that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub bytes: Vec<u8>,
    pub descriptor: Descriptor,
    pub document: Document,
}

/// A manifest to ask for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    Tag(&'a str),
    Digest(&'a Digest),
    /// A child of an index, with its size and media type.
    Child(&'a Descriptor),
}

impl<'a> Wanted<'a> {
    /// Returns what a name with a tag or a digest asks for.
    pub fn of(name: &'a Reference) -> Wanted<'a> {
        match name.digest() {
            Some(digest) => Wanted::Digest(digest),
            None => Wanted::Tag(name.tag().unwrap_or("latest")),
        }
    }
}

impl<'s> Repository<'s> {
    /// Returns a repository to read from, and perhaps to write into.
    pub fn open(session: &'s Session<'s>, endpoint: &Endpoint, push: bool) -> Result<Repository<'s>> {
        let endpoint = session.settle(endpoint)?;
        let scopes = Scopes::of(&endpoint.repository, push);
        Ok(Repository { session, endpoint, scopes })
    }

    /// Returns the address of something in the repository.
    pub fn location(&self, below: &str) -> Location {
        Location::new(&self.endpoint.origin, format!("/v2/{}/{below}", self.endpoint.repository))
    }

    /// Returns the name of the repository, for errors.
    pub fn name(&self) -> String {
        format!("{}/{}", self.endpoint.key, self.endpoint.repository)
    }

    /// Returns the name of something in the repository, a tag or a digest, for errors.
    pub fn shown(&self, what: impl std::fmt::Display) -> String {
        let sign = if what.to_string().contains(':') { '@' } else { ':' };
        format!("{}{sign}{what}", self.name())
    }

    /// Sends a request with neither retries nor a look at the status.
    pub fn send(
        &self,
        operation: &'static str,
        method: Method,
        location: Location,
        headers: Vec<(&'static str, String)>,
        payload: Payload<'_>,
    ) -> Result<Response, Failure> {
        let scopes = &self.scopes;
        let request = Request { operation, method, location, headers, payload, scopes };
        self.session.send(&self.endpoint, &request)
    }

    /// Reads a manifest or an index. Its bytes have the digest that was asked for, or the one that the registry says.
    pub fn manifest(&self, wanted: Wanted, limits: &Limits) -> Result<Fetched> {
        let (name, digest) = match wanted {
            Wanted::Tag(tag) => (tag.to_string(), None),
            Wanted::Digest(digest) => (digest.to_string(), Some(*digest)),
            Wanted::Child(child) => {
                let digest = descriptor_digest(child)?;
                (digest.to_string(), Some(digest))
            }
        };
        let shown = self.shown(&name);
        let cap = match wanted {
            Wanted::Child(child) => {
                limits.check_json(MANIFEST, &shown, child.size())?;
                child.size()
            }
            _ => limits.json_bytes,
        };
        let accept = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX].join(", ");
        let (bytes, media_type, claimed) = self.session.retry(MANIFEST, || {
            let location = self.location(&format!("manifests/{name}"));
            let headers = vec![("accept", accept.clone())];
            let response = self.send(MANIFEST, Method::GET, location, headers, Payload::None)?;
            if response.status != 200 {
                return Err(response.into_error(MANIFEST, &shown));
            }
            let media_type = response.header("content-type").map(str::to_string);
            let claimed = response.header("docker-content-digest").map(str::to_string);
            Ok((response.read(MANIFEST, cap)?, media_type, claimed))
        })?;
        let answer = Answer { bytes, media_type, claimed };
        answer.check(wanted, digest, &shown, limits)
    }

    /// Reads a small blob whole: a configuration.
    pub fn small_blob(&self, wanted: &Descriptor, limits: &Limits) -> Result<Vec<u8>> {
        const OP: &str = "read configuration from registry";
        let digest = descriptor_digest(wanted)?;
        let shown = self.shown(digest);
        limits.check_json(OP, &shown, wanted.size())?;
        let bytes = self.session.retry(OP, || {
            let location = self.location(&format!("blobs/{digest}"));
            let response = self.send(OP, Method::GET, location, Vec::new(), Payload::None)?;
            if response.status != 200 {
                return Err(response.into_error(OP, &shown));
            }
            response.read(OP, wanted.size())
        })?;
        if bytes.len() as u64 != wanted.size() || Digest::of(&bytes) != digest {
            return Err(Error::corrupt(OP, "the registry sent other bytes").with_path(shown));
        }
        Ok(bytes)
    }

    /// Opens a blob from an offset on. The reader begins at that offset, whether the registry supports ranges or not.
    pub fn blob(
        &self,
        operation: &'static str,
        digest: &Digest,
        size: u64,
        from: u64,
    ) -> Result<(Location, Box<dyn Read + Send>), Failure> {
        let shown = self.shown(digest);
        let headers = match from {
            0 => Vec::new(),
            _ => vec![("range", format!("bytes={from}-"))],
        };
        let location = self.location(&format!("blobs/{digest}"));
        let response = self.send(operation, Method::GET, location, headers, Payload::None)?;
        let corrupt = |message: String| Failure::from(Error::corrupt(operation, message).with_path(&shown));
        let location = response.location.clone();
        let skip = match response.status {
            200 => from,
            206 if from > 0 => {
                let range = response.header("content-range").unwrap_or_default();
                let start =
                    range.strip_prefix("bytes ").and_then(|rest| rest.split('-').next()?.parse::<u64>().ok());
                if start != Some(from) {
                    return Err(corrupt(format!("asked for bytes from {from}, the registry sent {range:?}")));
                }
                0
            }
            _ => return Err(response.into_error(operation, &shown)),
        };
        let left = if skip > 0 || from == 0 { size } else { size - from };
        if let Some(length) = response.length().filter(|length| *length != left) {
            return Err(corrupt(format!("the registry announces {length} bytes where {left} are expected")));
        }
        let mut reader: Box<dyn Read + Send> = Box::new(response.into_reader());
        if skip > 0 {
            let skipped = std::io::copy(&mut (&mut reader).take(skip), &mut std::io::sink());
            let skipped = skipped.map_err(|error| super::session::broken(error, operation, &location))?;
            if skipped < skip {
                let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(super::session::broken(error, operation, &location));
            }
        }
        Ok((location, reader))
    }

    /// Returns whether the repository holds a blob, and with which size.
    pub fn blob_size(&self, operation: &'static str, digest: &Digest) -> Result<Option<Option<u64>>> {
        let shown = self.shown(digest);
        self.session.retry(operation, || {
            let location = self.location(&format!("blobs/{digest}"));
            let response = self.send(operation, Method::HEAD, location, Vec::new(), Payload::None)?;
            match response.status {
                200 => Ok(Some(response.length())),
                404 => Ok(None),
                _ => Err(response.into_error(operation, &shown)),
            }
        })
    }

    /// Writes a manifest or an index, byte for byte, under a tag or its digest. True when the registry has listed it among the
    /// referrers of its subject.
    pub fn put_manifest(&self, reference: &str, manifest: &Descriptor, bytes: &[u8]) -> Result<bool> {
        const OP: &str = "push manifest";
        let shown = self.shown(reference);
        let digest = descriptor_digest(manifest)?;
        self.session.retry(OP, || {
            let location = self.location(&format!("manifests/{reference}"));
            let headers = vec![("content-type", manifest.media_type().to_string())];
            let response = self.send(OP, Method::PUT, location, headers, Payload::Bytes(bytes))?;
            if !matches!(response.status, 200..=202) {
                let refused = response.status == 400;
                let mut failure = response.into_error(OP, &shown);
                // The blobs are there: each was sent or asked for. A registry that keeps files and writes them in place can lose sight
                // of one for a moment while another client sends the same.
                failure.again |= refused && failure.error.message().contains("MANIFEST_BLOB_UNKNOWN");
                return Err(failure);
            }
            let claimed =
                response.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
            if let Some(claimed) = claimed.filter(|claimed| *claimed != digest) {
                let message = format!("the registry says that it stored {claimed}, not {digest}");
                return Err(Error::corrupt(OP, message).with_path(&shown).into());
            }
            Ok(response.header("oci-subject").is_some())
        })
    }

    /// Returns every tag, in the registry's order.
    pub fn tags(&self) -> Result<Vec<String>> {
        let mut out: Vec<String> = Vec::new();
        let mut next = Some(self.location("tags/list?n=1000"));
        // Digests of addresses: those of a hostile list may be long, and many.
        let mut seen = HashSet::new();
        while let Some(location) = next.take() {
            let shown = self.name();
            let corrupt = |message: &str| Error::corrupt(TAGS, message).with_path(&shown);
            let (body, link) = self.session.retry(TAGS, || {
                let response = self.send(TAGS, Method::GET, location.clone(), Vec::new(), Payload::None)?;
                if response.status != 200 {
                    return Err(response.into_error(TAGS, &shown));
                }
                let mut next = None;
                for header in response.headers.get_all("link") {
                    let unreadable = || corrupt("the registry's link to the next page cannot be read");
                    let text = header.to_str().map_err(|_| unreadable())?;
                    let found = match next_page(text) {
                        Some(found) => found,
                        None if text.to_ascii_lowercase().contains("next") => return Err(unreadable().into()),
                        None => None,
                    };
                    next = next.or(found.map(|to| response.location.join(&to)).transpose()?);
                }
                Ok((response.read(TAGS, MAX_PAGE)?, next))
            })?;
            let page: Page = serde_json::from_slice(&body).map_err(|error| match error.is_data() {
                true => corrupt("the registry's list has something that is no tag"),
                false => corrupt("the registry's list is not JSON"),
            })?;
            out.extend(page.tags.into_iter().flatten().map(|Tag(tag)| tag));
            if out.len() > MAX_TAGS {
                return Err(Error::limit(TAGS, format!("more than {MAX_TAGS} tags")).with_path(&shown));
            }
            // Pages that lead to one another would go on for ever; the cap ends a row of empty ones.
            next = link.filter(|to| {
                seen.insert(Digest::of(to.to_string().as_bytes())) && seen.len() <= MAX_TAGS / 10
            });
        }
        Ok(out)
    }
}

/// A page of a list of tags.
#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<Tag>>,
}

/// A tag that is one: names of images may have it, and terminals may show it.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Tag(String);

impl TryFrom<String> for Tag {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Tag, &'static str> {
        if tag_ok(&text) { Ok(Tag(text)) } else { Err("not a tag") }
    }
}

/// A manifest as a registry sent it: bytes, and what the headers say of them.
struct Answer {
    bytes: Vec<u8>,
    media_type: Option<String>,
    claimed: Option<String>,
}

impl Answer {
    /// Checks that the bytes are those that were asked for, by digest and size where these are known, and that header and document agree
    /// on what they are.
    fn check(self, wanted: Wanted, digest: Option<Digest>, shown: &str, limits: &Limits) -> Result<Fetched> {
        let Answer { bytes, media_type, claimed } = self;
        let corrupt = |message: String| Error::corrupt(MANIFEST, message).with_path(shown);
        let info = BlobInfo::of(&bytes);
        if let Some(digest) = digest.filter(|digest| *digest != info.digest) {
            return Err(corrupt(format!("the registry sent another manifest: {}", info.digest))
                .with_hint(format!("expected {digest}")));
        }
        // Another algorithm's digest says nothing about these bytes.
        let claimed = claimed.and_then(|text| text.parse::<Digest>().ok());
        if let Some(claimed) = claimed.filter(|claimed| *claimed != info.digest) {
            return Err(corrupt(format!(
                "the manifest's digest is {}, and the registry says {claimed}",
                info.digest
            )));
        }
        if let Wanted::Child(child) = wanted
            && child.size() != info.size
        {
            return Err(corrupt(format!(
                "the manifest has {} bytes where {} are expected",
                info.size,
                child.size()
            )));
        }
        // Parameters are allowed, and say nothing: `application/json; charset=utf-8`.
        let media_type = media_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_string());
        let expected = match wanted {
            Wanted::Child(child) => Some(child.media_type().to_string()),
            _ => media_type.filter(|text| DocumentKind::of_media_type(text).is_some()),
        };
        let document = Document::parse(&bytes, expected.as_deref(), shown, limits)?;
        let own = document.value().get("mediaType").and_then(|text| text.as_str());
        // Where header and document name two types, what the document is called is not certain (media-types.md, "Media Type
        // Conflicts").
        if let (Some(own), Some(expected)) = (own, expected.as_deref())
            && own != expected
        {
            return Err(corrupt(format!(
                "the manifest calls itself {own}, and the registry calls it {expected}"
            )));
        }
        let usual = match document.kind() {
            DocumentKind::Manifest => OCI_MANIFEST,
            DocumentKind::Index => OCI_INDEX,
        };
        let media_type = own.map(str::to_string).or(expected).unwrap_or_else(|| usual.to_string());
        Ok(Fetched { descriptor: descriptor(&media_type, &info), bytes, document })
    }
}

/// Returns the target of `rel="next"` in a Link header (RFC 8288, 3 and B.2); `None` for text that is no such header, of which nobody can say
/// whether a page follows.
pub(super) fn next_page(header: &str) -> Option<Option<String>> {
    let mut rest = header.trim_matches([' ', '\t', ',']);
    let mut next = None;
    while !rest.is_empty() {
        let (target, after) = rest.strip_prefix('<')?.split_once('>')?;
        let (is_next, after) = parameters(after.trim_start())?;
        if is_next && next.is_none() {
            next = Some(target.trim().to_string());
        }
        rest = after.trim_matches([' ', '\t', ',']);
    }
    Some(next)
}

/// Reads the parameters of one link; returns whether one of its relations is `next`, and what follows the link.
fn parameters(mut rest: &str) -> Option<(bool, &str)> {
    let (mut is_next, mut any) = (false, false);
    while let Some(after) = rest.strip_prefix(';') {
        let after = after.trim_start();
        let end = after.find(['=', ';', ',', ' ', '\t']).unwrap_or(after.len());
        let (name, mut after) = (&after[..end], after[end..].trim_start());
        let mut value = String::new();
        if let Some(given) = after.strip_prefix('=') {
            let given = given.trim_start();
            after = match given.strip_prefix('"') {
                Some(quoted) => {
                    let mut chars = quoted.char_indices();
                    loop {
                        match chars.next()? {
                            (at, '"') => break &quoted[at + 1..],
                            (_, '\\') => value.push(chars.next()?.1),
                            (_, char) => value.push(char),
                        }
                    }
                }
                None => {
                    let end = given.find([';', ',', ' ', '\t']).unwrap_or(given.len());
                    value.push_str(&given[..end]);
                    &given[end..]
                }
            };
        }
        // The first `rel` counts (RFC 8288, 3.3).
        if name.eq_ignore_ascii_case("rel") && !any {
            any = true;
            is_next = value.split_ascii_whitespace().any(|one| one.eq_ignore_ascii_case("next"));
        }
        rest = after.trim_start();
    }
    (rest.is_empty() || rest.starts_with(',')).then_some((is_next, rest))
}

/// Returns whether an error says that a place does not have what was asked for, or cannot be asked: another place may.
pub(super) fn elsewhere(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Network | ErrorKind::Unauthorized)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_their_links() {
        for (link, target) in [
            ("</v2/a/tags/list?n=1&last=b>; rel=\"next\"", "/v2/a/tags/list?n=1&last=b"),
            ("<a>; rel=prev, <b>; title=x; rel=next", "b"),
            ("</v2/a/tags/list?last=b,c;d>;rel=next", "/v2/a/tags/list?last=b,c;d"),
            ("<a>; title=\"x, <y>; rel=next\"; rel=prev, <b>; rel=next", "b"),
            ("<a>; title=\"\\\"\"; Rel = \"last NEXT\"", "a"),
            ("<a> ; rel=next ; rel=prev ,", "a"),
            (", <a>;rel=next,<b>;rel=next", "a"),
        ] {
            assert_eq!(next_page(link), Some(Some(target.to_string())), "{link}");
        }
        for none in ["", "<a>; rel=last", "<a>", "<a>; rel; title=next", "<a>; rel=prev; rel=next"] {
            assert_eq!(next_page(none), Some(None), "{none}");
        }
        for unreadable in
            ["a; rel=next", "<a", "<a>; rel=\"next", "<a> rel=next", "<a>; rel=prev <b>; rel=next"]
        {
            assert_eq!(next_page(unreadable), None, "{unreadable}");
        }
    }
}
