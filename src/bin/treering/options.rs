//! Options that the commands which make images share: compression, time stamps, changes of the configuration.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use treering::compress::{Compression, Profile};
use treering::dockerfile::Ignore;
use treering::image::{Platform, excludes};
use treering::layer::Strictness;
use treering::layer::{LayerOptions, MtimePrecision};
use treering::tree::{OwnerPolicy, OwnerSource, OwnersWanted};
use treering::{Error, ErrorKind, Result};

use crate::ui::Usage;

/// Reads a switch that may have a value, as Docker spells them.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err("it is true or false".into()),
    }
}

/// `--compression` and `--level`.
#[derive(Debug, Args)]
pub struct Packing {
    /// How the layer is compressed [default: gzip; with -o FILE as its name ends: .zst, .tar]
    #[arg(long, value_enum)]
    compression: Option<Format>,

    /// How hard to compress: gzip 1 to 12 (default 5), zstd 1 to 19 (default 3)
    #[arg(long, value_name = "N")]
    level: Option<i32>,
}

/// A compression as `--compression` spells it.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Read by everything that handles images
    Gzip,
    /// Smaller and several times faster; needs Docker 23, containerd 1.5 or podman 2
    Zstd,
    /// The tar as it is
    None,
}

impl Packing {
    /// Returns the profile they stand for.
    pub fn profile(&self) -> anyhow::Result<Profile> {
        profile(self.compression.unwrap_or(Format::Gzip), self.level)
    }

    /// Returns the profile where something else may name a compression, as BuildKit spells them, or a level. The options stand before it.
    pub fn profile_or(&self, compression: Option<&str>, level: Option<i32>) -> anyhow::Result<Profile> {
        let other = match compression {
            None | Some("gzip") => Format::Gzip,
            Some("zstd") => Format::Zstd,
            Some("uncompressed") => Format::None,
            Some(other) => {
                let usage = Usage::new(format!("there is no compression {other:?}"));
                return Err(usage.with_hint("one of: gzip, zstd, uncompressed").into());
            }
        };
        profile(self.compression.unwrap_or(other), self.level.or(level))
    }

    /// Returns the same for a file with a name that may say it.
    pub fn profile_for(&self, file: Option<&Path>) -> anyhow::Result<Profile> {
        let by_name = match file.and_then(Path::extension).and_then(OsStr::to_str) {
            Some("zst" | "zstd") => Format::Zstd,
            Some("tar") => Format::None,
            _ => Format::Gzip,
        };
        profile(self.compression.unwrap_or(by_name), self.level)
    }
}

/// Returns the profile. A level that the compression does not have is a wrong use of the command line.
fn profile(format: Format, level: Option<i32>) -> anyhow::Result<Profile> {
    Profile::new(format.into(), level).map_err(|error| match error.kind() {
        ErrorKind::InvalidArgument => Usage::new(error.message().to_string()).into(),
        _ => error.into(),
    })
}

impl From<Format> for Compression {
    fn from(format: Format) -> Compression {
        match format {
            Format::Gzip => Compression::Gzip,
            Format::Zstd => Compression::Zstd,
            Format::None => Compression::None,
        }
    }
}

/// `--compression` and `--level` where the input may be compressed already.
#[derive(Debug, Args)]
pub struct Repacking {
    /// How the layer is compressed [default: as it comes]
    #[arg(long, value_enum)]
    compression: Option<Format>,

    /// How hard to compress: gzip 1 to 12 (default 5), zstd 1 to 19 (default 3)
    #[arg(long, value_name = "N", requires = "compression")]
    level: Option<i32>,
}

impl Repacking {
    /// Returns the profile they stand for; none to keep the bytes.
    pub fn profile(&self) -> anyhow::Result<Option<Profile>> {
        self.compression.map(|format| profile(format, self.level)).transpose()
    }
}

/// `SOURCE_DATE_EPOCH` and `--reproducible`: the time that replaces the present one.
#[derive(Debug, Args)]
pub struct Times {
    /// Leave the clock out: the image is dated SOURCE_DATE_EPOCH (1970 without it), and no file is later than that
    #[arg(long)]
    reproducible: bool,

    #[command(flatten)]
    precision: Precision,
}

/// `--nanoseconds`.
#[derive(Debug, Args)]
pub struct Precision {
    /// Keep fractions of a second in time stamps, which most tools leave out
    #[arg(long)]
    nanoseconds: bool,
}

impl Precision {
    /// Returns the time stamps that are asked for.
    pub fn options(&self) -> LayerOptions {
        LayerOptions { precision: MtimePrecision::nanoseconds(self.nanoseconds), ..LayerOptions::default() }
    }
}

/// `--lenient`.
#[derive(Debug, Args)]
pub struct Leniency {
    /// Take whiteouts as old tools wrote them, with content or as something else than a file
    #[arg(long)]
    lenient: bool,
}

impl Leniency {
    /// Returns how whiteouts are taken.
    pub fn strictness(&self) -> Strictness {
        if self.lenient { Strictness::Lenient } else { Strictness::Strict }
    }
}

impl Times {
    /// Returns whether `--reproducible` was given.
    pub fn is_reproducible(&self) -> bool {
        self.reproducible
    }

    /// Returns what `SOURCE_DATE_EPOCH` says, when it is set.
    pub fn from_environment() -> Result<Option<i64>> {
        match std::env::var_os("SOURCE_DATE_EPOCH") {
            Some(value) => source_date_epoch(&value.to_string_lossy()),
            None => Ok(None),
        }
    }

    /// Returns the time that the image is dated, if not now, and the latest time in its layer.
    pub fn fixed(&self) -> Result<Option<i64>> {
        let epoch = Times::from_environment()?;
        Ok(if self.reproducible { epoch.or(Some(0)) } else { epoch })
    }

    /// Returns the same for a layer.
    pub fn layer(&self) -> Result<LayerOptions> {
        Ok(LayerOptions { clamp_mtime: self.fixed()?, ..self.precision.options() })
    }
}

/// Reads `SOURCE_DATE_EPOCH` (reproducible-builds.org); unset and empty are the same.
fn source_date_epoch(value: &str) -> Result<Option<i64>> {
    if value.is_empty() {
        return Ok(None);
    }
    let refuse = || Error::invalid("read SOURCE_DATE_EPOCH", "expected seconds since 1970").with_path(value);
    value.parse().map(Some).map_err(|_| refuse())
}

/// `-m`, `-c`, `--platform`: message, changes and platform of the image.
#[derive(Debug, Args)]
pub struct ImageFields {
    /// A message for the history
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,

    /// A Dockerfile instruction for the configuration: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD,
    /// STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub changes: Vec<String>,

    /// The platform of the image, such as linux/arm64 [default: the base's, else this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,
}

/// `--owner` and `--owner-from` where the store may have the owners of the files.
#[derive(Debug, Args)]
pub struct Owners {
    /// Owner of the files: root, keep, UID:GID or map:IMAGE:DISK:COUNT [default: as unpacked, else root]
    #[arg(long, value_name = "OWNER")]
    pub owner: Option<OwnerPolicy>,

    /// Record of owners to go by first: none, rootlesscontainers, override-stat or fakeroot:FILE [default: as unpacked,
    /// else none]
    #[arg(long, value_name = "SOURCE", value_parser = owner_source())]
    owner_from: Option<OsString>,
}

impl Owners {
    /// Returns both as options take them, with the file of `--owner-from` read.
    pub fn wanted(&self) -> Result<OwnersWanted> {
        let source = self.owner_from.as_ref().map(OwnerSource::parse).transpose()?;
        Ok(OwnersWanted { policy: self.owner.clone(), source })
    }
}

/// Checks the words of `--owner-from`. A file is read later: that it is missing does not make a command line senseless.
pub fn owner_source() -> impl TypedValueParser<Value = OsString> {
    OsStringValueParser::new().try_map(|text| match text.as_encoded_bytes().strip_prefix(b"fakeroot:") {
        Some([_, ..]) => Ok(text),
        _ => OwnerSource::parse(&text).map(|_| text),
    })
}

/// Returns the directories of `--lower`: separated by colons, a backslash before what is no separator, as overlayfs has it.
pub fn lowers(texts: &[OsString]) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for text in texts {
        let mut path = Vec::new();
        let mut bytes = text.as_bytes().iter().copied();
        while let Some(byte) = bytes.next() {
            match byte {
                b':' => all.push(std::mem::take(&mut path)),
                b'\\' => path.extend(bytes.next().or(Some(byte))),
                _ => path.push(byte),
            }
        }
        all.push(path);
    }
    all.into_iter().map(|path| PathBuf::from(OsString::from_vec(path))).collect()
}

/// `--exclude` and `--ignore-file`.
#[derive(Debug, Args)]
pub struct Excluding {
    /// Leave out what matches, as in a .dockerignore; ! before a pattern takes in again
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,

    /// A file of such patterns, one a line
    #[arg(long, value_name = "FILE")]
    ignore_file: Option<PathBuf>,
}

impl Excluding {
    /// Returns the patterns, those of the file first.
    pub fn patterns(&self) -> Result<Ignore> {
        excludes(self.ignore_file.as_deref(), &self.exclude)
    }
}

/// Parses `KEY=VALUE`.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_is_a_number_or_nothing() {
        assert_eq!(source_date_epoch("").unwrap(), None);
        assert_eq!(source_date_epoch("1700000000").unwrap(), Some(1_700_000_000));
        for text in ["yesterday", "1.5", " 1", "99999999999999999999"] {
            assert!(source_date_epoch(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_default_is_the_librarys() {
        let packing = Packing { compression: None, level: None };
        assert_eq!(packing.profile().unwrap().id(), Profile::default().id());
        assert_eq!(packing.profile_for(None).unwrap().id(), Profile::default().id());
    }

    #[test]
    fn colons_in_names_are_escaped() {
        let table: [(&str, &[&str]); 6] = [
            ("a", &["a"]),
            ("a:b:c", &["a", "b", "c"]),
            (r"a\:b:c", &["a:b", "c"]),
            (r"a\\:b", &[r"a\", "b"]),
            (r"a\", &[r"a\"]),
            ("a:", &["a", ""]),
        ];
        for (text, expected) in table {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(lowers(&[text.into()]), expected, "{text}");
        }
        assert_eq!(lowers(&["a:b".into(), "c".into()]), [Path::new("a"), Path::new("b"), Path::new("c")]);
    }

    #[test]
    fn annotations_are_pairs() {
        assert_eq!(key_value("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert!(key_value("a").is_err() && key_value("=b").is_err());
    }
}
