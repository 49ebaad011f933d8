//! Referrers: manifests that are about another one (distribution-spec, "Pushing Manifests with Subject").

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::client::{Fetched, Repository, Wanted};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::image::new_index;
use crate::media_type::{EMPTY_CONFIG, OCI_INDEX};
use crate::store::{BlobInfo, Descriptor, Limits, descriptor, descriptor_digest};

const OP: &str = "list referrers";
/// How long a list is written again that other clients change meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest pause before a list is read back.
const MAX_PAUSE: Duration = Duration::from_secs(8);
/// How long others on this machine that write the same list are waited for.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Returns the tag that a registry without the referrers API lists a manifest's referrers under: the algorithm cut at 32
/// characters, the hex digits at 64.
fn tag(subject: &Descriptor) -> String {
    let text = subject.digest().to_string();
    let (algorithm, encoded) = text.split_once(':').unwrap_or((&text, ""));
    let keep = |text: &str, most: usize| text.chars().take(most).collect::<String>().replace(['+', '.'], "-");
    format!("{}-{}", keep(algorithm, 32), keep(encoded, 64))
}

/// Lists a manifest under the referrers tag of its subject, for a registry that has no referrers API.
///
/// The tag has no lock: another client that has read the list before ours was written may write over it. So the list is read back after
/// a pause that is longer than reading and writing took here, and written again where the entry is missing; the pauses grow, and differ
/// from client to client. What a client writes later that was slower than that is not noticed. On one machine one writes at a time.
pub(super) fn list(
    repository: &Repository,
    manifest: &Fetched,
    subject: &Descriptor,
    limits: &Limits,
) -> Result<()> {
    let list = List { repository, tag: tag(subject), limits };
    let entry = entry(manifest)?;
    let session = repository.session;
    let began = Instant::now();
    let mut tries = 0;
    loop {
        let turn = list.wait_for_turn()?;
        let asked = Instant::now();
        if !list.add(&entry)? && tries == 0 {
            return Ok(());
        }
        let pause = session.registries.backoff.max(asked.elapsed() * 2);
        drop(turn);
        // Where others are at work, twice.
        let mut left = if tries == 0 { 1 } else { 2 };
        while left > 0 {
            session.rest(OP, differing(pause, tries), &session.control.cancel)?;
            if !lists(&list.read()?.0, &entry) {
                break;
            }
            left -= 1;
        }
        if left == 0 {
            return Ok(());
        }
        if began.elapsed() >= PATIENCE {
            return Err(Error::new(ErrorKind::Busy, OP, "other clients keep changing the list")
                .with_path(repository.shown(list.tag))
                .with_hint("the manifest itself is there; push it again when they have ended"));
        }
        tries += 1;
    }
}

/// Makes a pause longer with each try, and not the same as that of others.
fn differing(pause: Duration, tries: u32) -> Duration {
    let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    pause.saturating_mul(1 << tries.min(5)).min(MAX_PAUSE).mul_f64(1.0 + random)
}

/// The list of referrers of one manifest.
struct List<'a> {
    repository: &'a Repository<'a>,
    tag: String,
    limits: &'a Limits,
}

impl List<'_> {
    fn read(&self) -> Result<(Vec<Descriptor>, BTreeMap<String, String>)> {
        match self.repository.manifest(Wanted::Tag(&self.tag), self.limits) {
            Ok(found) => {
                let annotations =
                    found.document.annotations().map(|(k, v)| (k.to_string(), v.to_string())).collect();
                Ok((found.document.manifests().to_vec(), annotations))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok((Vec::new(), BTreeMap::new())),
            Err(error) => Err(error),
        }
    }

    /// Adds an entry; returns false where it is there.
    fn add(&self, entry: &Descriptor) -> Result<bool> {
        let (mut entries, annotations) = self.read()?;
        if lists(&entries, entry) {
            return Ok(false);
        }
        entries.push(entry.clone());
        let bytes = new_index(&entries, &annotations)?;
        let index = descriptor(OCI_INDEX, &BlobInfo::of(&bytes));
        self.repository.put_manifest(&self.tag, &index, &bytes)?;
        Ok(true)
    }

    /// Waits for others on this machine that write the list, of this process or another one. The right to write is a name that one
    /// socket has at a time (unix(7), "Abstract sockets"), which ends with its process. Where it cannot be had, the list is written
    /// without it.
    fn wait_for_turn(&self) -> Result<Option<OwnedFd>> {
        let session = self.repository.session;
        let endpoint = &self.repository.endpoint;
        let user = rustix::process::getuid().as_raw();
        let which = format!("{user}\n{}\n{}\n{}", endpoint.origin, endpoint.repository, self.tag);
        let name = format!("treering-referrers-{}", Digest::of(which.as_bytes()).hex());
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
        let (Ok(socket), Ok(name)) = (socket, SocketAddrUnix::new_abstract_name(name.as_bytes())) else {
            return Ok(None);
        };
        let began = Instant::now();
        loop {
            match rustix::net::bind(&socket, &name) {
                Ok(()) => return Ok(Some(socket)),
                Err(Errno::ADDRINUSE) if began.elapsed() < MAX_WAIT => {
                    session.rest(OP, differing(Duration::from_millis(5), 0), &session.control.cancel)?;
                }
                Err(_) => return Ok(None),
            }
        }
    }
}

fn lists(entries: &[Descriptor], entry: &Descriptor) -> bool {
    entries.iter().any(|known| known.digest() == entry.digest())
}

/// Returns a manifest as the list describes it: with its artifact type and annotations.
fn entry(manifest: &Fetched) -> Result<Descriptor> {
    let mut entry = manifest.descriptor.clone();
    let document = &manifest.document;
    let own =
        document.value().get("artifactType").and_then(|text| text.as_str()).filter(|text| !text.is_empty());
    let config = document.config().map(|config| config.media_type().to_string());
    let artifact_type = own.map(str::to_string).or(config.filter(|text| text != EMPTY_CONFIG));
    entry.set_artifact_type(artifact_type.map(|text| text.as_str().into()));
    let annotations: std::collections::HashMap<String, String> =
        document.annotations().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    entry.set_annotations((!annotations.is_empty()).then_some(annotations));
    descriptor_digest(&entry)?;
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_tag_is_cut_to_what_a_tag_may_have() {
        let info = BlobInfo::of(b"x");
        let of = |text: &str| {
            let mut one = descriptor("a/b", &info);
            one.set_digest(text.parse().unwrap());
            tag(&one)
        };
        let hex = info.digest.hex();
        assert_eq!(of(&format!("sha256:{hex}")), format!("sha256-{hex}"));
        assert_eq!(of(&format!("sha512:{}", hex.repeat(2))), format!("sha512-{hex}"));
    }
}
