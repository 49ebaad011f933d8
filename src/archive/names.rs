//! Names in archives: which annotations and tags count, and as what.

use crate::error::{Error, Result};
use crate::store::{Descriptor, REF_NAME, Reference};

use super::{CONTAINERD_NAME, LOAD};

/// Returns a name as `manifest.json` and `repositories` have it. Those come with a tag; what is no name is an error.
pub(super) fn tagged(text: &str) -> Result<Reference> {
    let name = Reference::parse(text).map_err(|error| {
        Error::corrupt(LOAD, format!("an image has an unusable name: {}", error.message()))
            .with_path(text)
            .with_source(error)
    })?;
    if name.digest().is_some() {
        return Err(Error::corrupt(LOAD, "an image has a name with a digest").with_path(text));
    }
    Ok(name.or_latest())
}

/// Returns the name of an entry of `index.json`: `io.containerd.image.name` where there is one, because Docker puts only
/// the tag into `org.opencontainers.image.ref.name`; else that, if it is more than a tag. A lone word is a tag to some
/// tools and a repository to others, so it names nothing by itself.
///
/// Tools that copy an entry for another tag (umoci) copy the first annotation and change the second. So where both are there
/// and disagree, the second one counts: a whole name as it is, a lone word as the tag.
pub(super) fn of_entry(descriptor: &Descriptor) -> Result<Option<Reference>> {
    let Some(annotations) = descriptor.annotations() else { return Ok(None) };
    if let Some(text) = annotations.get(CONTAINERD_NAME) {
        let parsed = Reference::parse(text).map_err(|error| {
            Error::corrupt(LOAD, format!("an image has an unusable name: {}", error.message()))
                .with_path(text)
                .with_source(error)
        })?;
        // containerd also keeps images under NAME@DIGEST.
        if parsed.digest().is_some() {
            return Ok(None);
        }
        let name = parsed.or_latest();
        let Some(text) = annotations.get(REF_NAME) else { return Ok(Some(name)) };
        if name.tag() == Some(text.as_str()) {
            return Ok(Some(name));
        }
        return Ok(Some(match whole_name(text) {
            Some(other) => other,
            None => Reference::parse(&format!("{}:{text}", name.familiar_name())).ok().unwrap_or(name),
        }));
    }
    let Some(text) = annotations.get(REF_NAME) else { return Ok(None) };
    Ok(whole_name(text))
}

/// Returns a name that is more than a lone word. The grammar of the annotation is wider than that of references
/// (annotations.md).
fn whole_name(text: &str) -> Option<Reference> {
    let name = Reference::parse(text).ok()?;
    (name.digest().is_none() && (name.tag().is_some() || text.contains('/'))).then(|| name.or_latest())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{BlobInfo, descriptor};

    #[test]
    fn annotations_are_names_only_when_they_say_more_than_a_tag() {
        let entry = |pairs: &[(&str, &str)]| {
            let mut out = descriptor("application/x", &BlobInfo::of(b""));
            out.set_annotations(Some(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()));
            of_entry(&out).map(|name| name.map(|name| name.to_string()))
        };
        let is = |pairs: &[(&str, &str)], name: Option<&str>| {
            assert_eq!(entry(pairs).unwrap().as_deref(), name, "{pairs:?}");
        };
        is(&[], None);
        is(&[(REF_NAME, "v1")], None);
        is(&[(REF_NAME, "app:v1")], Some("app:v1"));
        is(&[(REF_NAME, "quay.io/team/app")], Some("quay.io/team/app:latest"));
        is(&[(REF_NAME, "../../etc")], None);
        is(&[(REF_NAME, "v1"), (CONTAINERD_NAME, "docker.io/library/app:v1")], Some("app:v1"));
        // Copied for another tag.
        let first = (CONTAINERD_NAME, "docker.io/library/app:v1");
        is(&[(REF_NAME, "v2"), first], Some("app:v2"));
        is(&[(REF_NAME, "app:v2"), first], Some("app:v2"));
        is(&[(REF_NAME, "app:v1"), first], Some("app:v1"));
        is(&[(REF_NAME, "not a tag"), first], Some("app:v1"));
        is(&[(REF_NAME, "v1"), (CONTAINERD_NAME, "quay.io/team/app:v1")], Some("quay.io/team/app:v1"));
        is(&[(REF_NAME, "v2"), (CONTAINERD_NAME, "quay.io/team/app:v1")], Some("quay.io/team/app:v2"));
        assert!(entry(&[(CONTAINERD_NAME, "../x")]).is_err());
        assert!(tagged("app@sha256:00").is_err() && tagged("-x").is_err());
        assert_eq!(tagged("app").unwrap().to_string(), "app:latest");
    }
}
