//! Referrers: manifests that are about another one (distribution-spec, "Pushing Manifests with Subject").

use std::collections::BTreeMap;

use super::client::{Fetched, Repository, Wanted};
use crate::error::{Error, ErrorKind, Result};
use crate::image::new_index;
use crate::media_type::{EMPTY_CONFIG, OCI_INDEX};
use crate::store::{BlobInfo, Descriptor, Limits, descriptor, descriptor_digest};

const OP: &str = "list referrers";
/// How often a list is written again that another client changed in between.
const TRIES: usize = 5;

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
/// The tag has no lock: the list is read back, and written again when a change of another client, made before that, went over ours; a
/// later one is not noticed.
pub(super) fn list(
    repository: &Repository,
    manifest: &Fetched,
    subject: &Descriptor,
    limits: &Limits,
) -> Result<()> {
    let tag = tag(subject);
    let entry = entry(manifest)?;
    for _ in 0..TRIES {
        let (mut entries, annotations) = match repository.manifest(Wanted::Tag(&tag), limits) {
            Ok(found) => {
                let annotations =
                    found.document.annotations().map(|(k, v)| (k.to_string(), v.to_string())).collect();
                (found.document.manifests().to_vec(), annotations)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => (Vec::new(), BTreeMap::new()),
            Err(error) => return Err(error),
        };
        if entries.iter().any(|known| known.digest() == entry.digest()) {
            return Ok(());
        }
        entries.push(entry.clone());
        let bytes = new_index(&entries, &annotations)?;
        let index = descriptor(OCI_INDEX, &BlobInfo::of(&bytes));
        repository.put_manifest(&tag, &index, &bytes)?;
    }
    Err(Error::new(ErrorKind::Busy, OP, "other clients keep changing the list")
        .with_path(repository.shown(tag)))
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
