//! Build caches that machines share: where records of steps come from, and where they go.

use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

const OP: &str = "read build cache option";

/// A place where records of steps are looked up besides the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheFrom {
    /// A repository: records with tags `TAG-HEX`, or those inline in the image that has the tag.
    Registry(String),
    /// A directory that [`CacheTo::Local`] wrote.
    Local(PathBuf),
}

/// A place that records of steps are written to once a build has succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheTo {
    /// A repository: one manifest for each step, with the tag `TAG-HEX`.
    Registry {
        /// Its name, and the prefix of the tags as a tag; `buildcache` without one.
        reference: String,
        /// Whether records of all steps go there (`mode=max`), not only of those that the image consists of.
        all: bool,
        /// Whether a failure is a warning.
        ignore_errors: bool,
    },
    /// A directory: an image layout with a manifest for each step, as a registry has them under the tags `buildcache-HEX`.
    Local {
        /// The directory; made when it is missing.
        directory: PathBuf,
        /// Whether records of all steps go there (`mode=max`), not only of those that the image consists of.
        all: bool,
        /// Whether a failure is a warning.
        ignore_errors: bool,
    },
    /// An annotation of the image's manifest. The image id does not depend on it.
    Inline,
}

/// The fields of `type=…,name=value`.
struct Fields<'t> {
    text: &'t str,
    fields: Vec<(&'t str, &'t str)>,
}

impl<'t> Fields<'t> {
    fn parse(text: &'t str) -> Result<Fields<'t>> {
        let fields = text.split(',').map(|field| {
            field
                .split_once('=')
                .map(|(name, value)| (name.trim(), value.trim()))
                .ok_or_else(|| Error::invalid(OP, format!("{field:?} is not NAME=VALUE")).with_path(text))
        });
        Ok(Fields { text, fields: fields.collect::<Result<_>>()? })
    }

    fn take(&mut self, name: &str) -> Option<&'t str> {
        let at = self.fields.iter().position(|(known, _)| *known == name)?;
        Some(self.fields.remove(at).1)
    }

    fn need(&mut self, name: &str) -> Result<&'t str> {
        let text = self.text;
        let found = self.take(name).filter(|value| !value.is_empty());
        found.ok_or_else(|| Error::invalid(OP, format!("{name}=… is missing")).with_path(text))
    }

    fn flag(&mut self, name: &str) -> Result<bool> {
        match self.take(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => {
                Err(Error::invalid(OP, format!("{name} is true or false, not {other:?}"))
                    .with_path(self.text))
            }
        }
    }

    /// Refuses what is left. Records are OCI manifests of images in any case.
    fn end(mut self) -> Result<()> {
        for name in ["oci-mediatypes", "image-manifest"] {
            if self.fields.iter().any(|(known, _)| *known == name) && !self.flag(name)? {
                let message =
                    format!("no build cache with {name}=false: records are OCI manifests of images");
                return Err(Error::invalid(OP, message).with_path(self.text));
            }
        }
        match self.fields.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(Error::invalid(OP, format!("this build cache has no field {name}")).with_path(self.text))
            }
        }
    }

    fn unknown(&self, kind: &str) -> Error {
        let message = format!("no build cache of type {kind:?}: there are registry, local and inline");
        Error::new(ErrorKind::Unsupported, OP, message).with_path(self.text)
    }
}

impl FromStr for CacheFrom {
    type Err = Error;

    /// Reads `REFERENCE`, `type=registry,ref=REFERENCE` or `type=local,src=DIRECTORY`.
    fn from_str(text: &str) -> Result<CacheFrom> {
        if !text.contains('=') {
            return Ok(CacheFrom::Registry(text.into()));
        }
        let mut fields = Fields::parse(text)?;
        let from = match fields.need("type")? {
            "registry" => CacheFrom::Registry(fields.need("ref")?.into()),
            "local" => CacheFrom::Local(fields.need("src")?.into()),
            other => return Err(fields.unknown(other)),
        };
        fields.end().map(|()| from)
    }
}

impl FromStr for CacheTo {
    type Err = Error;

    /// Reads `REFERENCE`, `type=registry,ref=REFERENCE[,mode=min|max]`, `type=local,dest=DIRECTORY[,mode=min|max]` or
    /// `type=inline`; the first two also with `ignore-error=true`.
    fn from_str(text: &str) -> Result<CacheTo> {
        if text == "inline" {
            return Ok(CacheTo::Inline);
        }
        if !text.contains('=') {
            return Ok(CacheTo::Registry { reference: text.into(), all: false, ignore_errors: false });
        }
        let mut fields = Fields::parse(text)?;
        let kind = fields.need("type")?;
        let all = match fields.take("mode") {
            None | Some("min") => false,
            Some("max") => true,
            Some(other) => {
                return Err(Error::invalid(OP, format!("mode is min or max, not {other:?}")).with_path(text));
            }
        };
        let ignore_errors = fields.flag("ignore-error")?;
        let to = match kind {
            "registry" => CacheTo::Registry { reference: fields.need("ref")?.into(), all, ignore_errors },
            "local" => CacheTo::Local { directory: fields.need("dest")?.into(), all, ignore_errors },
            "inline" if all => {
                let message = "an image has the records of its own steps: mode=max needs another type";
                return Err(Error::invalid(OP, message).with_path(text));
            }
            "inline" => CacheTo::Inline,
            other => return Err(fields.unknown(other)),
        };
        fields.end().map(|()| to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_read() {
        let registry =
            |all, ignore_errors| CacheTo::Registry { reference: "r/a:c".into(), all, ignore_errors };
        let cases = [
            ("r/a:c", registry(false, false)),
            ("type=registry,ref=r/a:c", registry(false, false)),
            (
                "type=registry,ref=r/a:c,mode=max,oci-mediatypes=true,image-manifest=true",
                registry(true, false),
            ),
            ("mode=min, ref=r/a:c, type=registry, ignore-error=true", registry(false, true)),
            (
                "type=local,dest=/c,mode=max",
                CacheTo::Local { directory: "/c".into(), all: true, ignore_errors: false },
            ),
            ("type=inline", CacheTo::Inline),
        ];
        for (text, to) in cases {
            assert_eq!(text.parse::<CacheTo>().unwrap(), to, "{text}");
        }
        assert_eq!("r/a:c".parse::<CacheFrom>().unwrap(), CacheFrom::Registry("r/a:c".into()));
        assert_eq!("type=registry,ref=x".parse::<CacheFrom>().unwrap(), CacheFrom::Registry("x".into()));
        assert_eq!("type=local,src=d".parse::<CacheFrom>().unwrap(), CacheFrom::Local("d".into()));
        for bad in [
            "type=registry",
            "type=local,dest=",
            "type=gha",
            "mode=max,ref=x",
            "type=inline,mode=max",
            "type=registry,ref=x,mode=most",
            "type=registry,ref=x,color=red",
            "type=registry,ref=x,image-manifest=false",
            "type=registry,ref=x,oci-mediatypes=0",
            "type=registry,ref=x,compression=zstd,force-compression=true",
            "type=registry,ref",
            "type=registry,ref=x,ignore-error=2",
        ] {
            assert!(bad.parse::<CacheTo>().is_err(), "{bad}");
        }
        for bad in ["type=registry", "type=local,dest=d", "type=s3,bucket=b"] {
            assert!(bad.parse::<CacheFrom>().is_err(), "{bad}");
        }
    }
}
