//! Files at addresses: fetched when their digest is not given, or no record has the step.

use std::fs::File;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cache::Room;
use super::options::BuildOptions;
use super::source::SourceTree;
use crate::digest::Digest;
use crate::dockerfile::GitSource;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Control;
use crate::store::Store;

const OP: &str = "download";
/// The largest record of an address, in bytes.
const MAX_RECORD: u64 = 64 << 10;

/// The means by which sources outside of this machine are fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elsewhere<'a> {
    pub(super) store: &'a Store,
    pub(super) options: &'a BuildOptions,
    pub(super) control: &'a Control,
}

/// A file at an address: its digest is known, its content is here once it was needed.
#[derive(Debug)]
pub(super) struct AddressFile {
    pub(super) address: String,
    pub(super) name: String,
    pub(super) digest: Digest,
    content: Option<SourceTree>,
}

/// The digest of what an address gave: a file, or a commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fact {
    pub(super) address: String,
    pub(super) algorithm: &'static str,
    pub(super) digest: String,
}

impl Fact {
    /// Returns that of a file.
    pub(super) fn file(address: &str, digest: &Digest) -> Fact {
        Fact { address: address.into(), algorithm: "sha256", digest: digest.hex().to_string() }
    }

    /// Returns that of a commit. Repositories of either kind of object say so by the length of its name.
    pub(super) fn commit(address: &str, commit: &str) -> Fact {
        let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
        Fact { address: address.into(), algorithm, digest: commit.into() }
    }
}

/// The record of an address that was fetched.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    address: String,
    etag: String,
    digest: Digest,
}

/// Returns the name that a file gets from its address, as BuildKit has it.
pub(super) fn name_of(address: &str) -> String {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let name = path.split_once('/').map_or("", |(_, path)| path.rsplit('/').next().unwrap_or_default());
    if name.is_empty() || name == "." || name == ".." { "__unnamed__".into() } else { name.into() }
}

impl Elsewhere<'_> {
    /// Finds the digest of a file: the one that was given, else what the server has.
    pub(super) fn file(&self, address: &str, checksum: Option<Digest>) -> Result<AddressFile> {
        let name = name_of(address);
        let mut file = AddressFile { address: address.into(), name, digest: Digest::of(b""), content: None };
        if let Some(digest) = checksum {
            return Ok(AddressFile { digest, ..file });
        }
        let room = Room::open(self.store, "addresses")?;
        let key = Digest::of(format!("address {address}").as_bytes());
        let known = room.read(&key, MAX_RECORD).and_then(|text| serde_json::from_slice::<Record>(&text).ok());
        let known = known.filter(|record| record.address == address);
        let etag = known.as_ref().map(|record| record.etag.as_str());
        match (self.download(address, etag)?, &known) {
            (None, Some(record)) => file.digest = record.digest,
            (None, None) => return Err(Error::corrupt(OP, "an answer without a file").with_path(address)),
            (Some(Fetched { tree, digest, etag }), _) => {
                let same = known.as_ref().is_some_and(|record| record.digest == digest);
                if let Some(etag) =
                    etag.filter(|etag| !same || known.as_ref().is_none_or(|it| it.etag != *etag))
                {
                    let record = Record { address: address.into(), etag, digest };
                    room.write(&key, &serde_json::to_vec(&record).unwrap_or_default())?;
                }
                (file.digest, file.content) = (digest, Some(tree));
            }
        }
        Ok(file)
    }

    /// Returns the content of a file, as a tree with it alone.
    pub(super) fn content<'f>(&self, file: &'f mut AddressFile) -> Result<&'f mut SourceTree> {
        if file.content.is_none() {
            let Some(Fetched { tree, digest, .. }) = self.download(&file.address, None)? else {
                return Err(Error::corrupt(OP, "an answer without a file").with_path(&file.address));
            };
            if digest != file.digest {
                let message = format!("the file has the digest {digest}, not {}", file.digest);
                return Err(Error::corrupt(OP, message).with_path(&file.address));
            }
            file.content = Some(tree);
        }
        file.content.as_mut().ok_or_else(|| Error::new(ErrorKind::Internal, OP, "no content"))
    }

    /// Returns the bytes at an address, as a file, and their digest.
    pub(super) fn stream(&self, address: &str) -> Result<(Arc<File>, Fact)> {
        let Some(Fetched { tree, digest, .. }) = self.download(address, None)? else {
            return Err(Error::corrupt(OP, "an answer without a file").with_path(address));
        };
        let file = tree.spool().ok_or_else(|| Error::new(ErrorKind::Internal, OP, "no content"))?;
        Ok((file, Fact::file(address, &digest)))
    }

    /// Returns the files of a repository that is a context, and their commit.
    pub(super) fn tree(&self, source: &GitSource) -> Result<(SourceTree, Fact)> {
        let keep = self.options.switch("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
        let mut repository = self.repository(source, keep)?;
        self.files(&mut repository)?;
        let fact = repository.fact();
        Ok((repository.into_files()?, fact))
    }

    #[cfg(not(feature = "registry"))]
    fn download(&self, address: &str, _: Option<&str>) -> Result<Option<Fetched>> {
        let _ = (self.options, self.control);
        Err(Error::new(ErrorKind::Unsupported, OP, "this build of treering reaches no servers")
            .with_path(address))
    }

    /// Fetches a file. `None` where the server has the version with this name of its own.
    #[cfg(feature = "registry")]
    fn download(&self, address: &str, etag: Option<&str>) -> Result<Option<Fetched>> {
        use super::spool::Spool;
        use crate::fs::{Kind, Timestamp};
        use crate::registry::{Download, download};
        use crate::tree::Meta;
        use crate::tree::builder::{Builder, Inode, ROOT};
        let Some(registries) = &self.options.registries else {
            return Err(Error::new(ErrorKind::Unsupported, OP, "this build reaches no servers")
                .with_path(address)
                .with_hint("download it first, and ADD the file"));
        };
        let authorization = self.authorization(address)?;
        let mut spool = Spool::new(self.store)?;
        let cap = self.store.limits().blob_bytes;
        let mut sink = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => spool.push(bytes),
            None => spool.forget(0),
        };
        let authorization = authorization.as_deref();
        let done = download(registries, address, authorization, etag, cap, &mut sink, self.control)?;
        let Download::File { head, digest, size } = done else { return Ok(None) };
        let mut tree = Builder::empty();
        let mtime = Timestamp::new(head.modified.unwrap_or(0), 0);
        let meta = Meta { kind: Kind::File, mode: 0o600, size, mtime, nlink: 1, ..Meta::directory() };
        let inode = Inode { digest: Some(*digest.bytes()), ..Inode::new(meta) };
        let node = tree.insert(ROOT, name_of(address).as_bytes(), inode);
        let places = [(tree.inode_number(node), 0)].into();
        let tree = SourceTree::spooled(tree, spool, places, address.into());
        Ok(Some(Fetched { tree, digest, etag: head.etag }))
    }

    /// Returns the credentials that a server asks for: a secret `HTTP_AUTH_HEADER_HOST` or `HTTP_AUTH_TOKEN_HOST`.
    #[cfg(feature = "registry")]
    fn authorization(&self, address: &str) -> Result<Option<String>> {
        let location = crate::registry::Location::parse(address)?;
        let origin = location.origin();
        for host in [format!("{}:{}", origin.host(), origin.port()), origin.host().to_string()] {
            for (name, scheme) in [("HTTP_AUTH_HEADER_", ""), ("HTTP_AUTH_TOKEN_", "Bearer ")] {
                let Some(value) = self.secret(&format!("{name}{host}"))? else { continue };
                if !origin.keeps_secrets() {
                    let message = format!("the secret {name}{host} is not sent without encryption");
                    return Err(Error::invalid(OP, message).with_path(address).with_hint("use https"));
                }
                return Ok(Some(format!("{scheme}{value}")));
            }
        }
        Ok(None)
    }

    /// Returns the text of a secret.
    #[cfg(all(feature = "sandbox", feature = "registry"))]
    pub(super) fn secret(&self, id: &str) -> Result<Option<String>> {
        let Some(secret) = self.options.secrets.iter().rev().find(|secret| secret.id == id) else {
            return Ok(None);
        };
        let value = super::step::mounts::read_secret(id, &secret.source)?;
        let text = String::from_utf8(value).ok().map(|text| text.trim_end_matches(['\r', '\n']).to_string());
        let text =
            text.filter(|text| !text.is_empty() && text.bytes().all(|byte| (b' '..0x7f).contains(&byte)));
        text.map(Some)
            .ok_or_else(|| Error::invalid("read secret", format!("the secret {id} is not a line of text")))
    }

    #[cfg(all(not(feature = "sandbox"), feature = "registry"))]
    pub(super) fn secret(&self, _: &str) -> Result<Option<String>> {
        Ok(None)
    }
}

/// A file that was downloaded.
struct Fetched {
    tree: SourceTree,
    digest: Digest,
    etag: Option<String>,
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_come_from_the_path_of_an_address() {
        for (address, name) in [
            ("https://h/a/b.tar?x=/y", "b.tar"),
            ("https://h/a/", "__unnamed__"),
            ("https://h", "__unnamed__"),
            ("https://h/..", "__unnamed__"),
            ("http://h:1/x#f", "x"),
        ] {
            assert_eq!(super::name_of(address), name, "{address}");
        }
    }
}
