//! Platforms: which machine an image is for (image-spec, image-index.md, "platform" and "Platform Variants").

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// An operating system, a CPU architecture and perhaps a variant, in Go's words (`GOOS`, `GOARCH`).
///
/// Parses and prints as `os/arch[/variant]`; architecture aliases (`x86_64`, `aarch64`, `armhf`…) are normalised.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// The operating system: `linux`.
    pub os: String,
    /// The architecture: `amd64`, `arm64`, `arm`…
    pub architecture: String,
    /// The variant of the CPU: `v7` of `arm`. The default variants `arm64/v8` and `amd64/v1` are written as none.
    pub variant: Option<String>,
}

impl Platform {
    /// Returns a platform from its parts, normalised.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_string(),
            other => other.to_string(),
        };
        let variant = variant.map(str::to_ascii_lowercase).filter(|variant| !variant.is_empty());
        let lower = architecture.to_ascii_lowercase();
        let (architecture, variant) = match (lower.as_str(), variant.as_deref()) {
            ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386".to_string(), None),
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64".to_string(), None),
            ("x86_64" | "x86-64", _) => ("amd64".to_string(), variant),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64".to_string(), None),
            ("aarch64", _) => ("arm64".to_string(), variant),
            ("armhf", _) => ("arm".to_string(), Some("v7".to_string())),
            ("armel", _) => ("arm".to_string(), Some("v6".to_string())),
            ("arm", None) => ("arm".to_string(), Some("v7".to_string())),
            ("arm", Some("5" | "6" | "7" | "8")) => (lower, variant.map(|variant| format!("v{variant}"))),
            ("powerpc64le", _) => ("ppc64le".to_string(), variant),
            ("loongarch64", _) => ("loong64".to_string(), variant),
            _ => (lower, variant),
        };
        Platform { os, architecture, variant }
    }

    /// Returns the platform this program was compiled for. Image content does not depend on it; only the choice among the
    /// manifests of an index does.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "mips64" if cfg!(target_endian = "little") => "mips64le",
            other => other,
        };
        Platform::new(std::env::consts::OS, architecture, None)
    }

    /// Returns the platform as the entries of an index have it.
    pub(crate) fn to_oci(&self, operation: &'static str) -> Result<oci_spec::image::Platform> {
        let mut builder = oci_spec::image::PlatformBuilder::default()
            .os(self.os.as_str())
            .architecture(self.architecture.as_str());
        if let Some(variant) = &self.variant {
            builder = builder.variant(variant.clone());
        }
        builder
            .build()
            .map_err(|error| Error::invalid(operation, error.to_string()).with_path(self.to_string()))
    }

    /// Returns whether it is `unknown/unknown`: what an index says of a manifest that is no image, as an attestation.
    pub(crate) fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    /// This platform and others with images that also run on it, best first: `arm/v7` also runs `arm/v6` and `arm/v5`,
    /// `amd64/v3` also `amd64/v2` and `amd64`.
    pub fn accepts(&self) -> Vec<Platform> {
        let level =
            self.variant.as_deref().and_then(|variant| variant.strip_prefix('v')?.parse::<u32>().ok());
        let lowest = match self.architecture.as_str() {
            "arm" => 5,
            "arm64" => 8,
            "amd64" => 1,
            _ => return vec![self.clone()],
        };
        let mut out = vec![self.clone()];
        if let Some(level) = level.filter(|level| *level < 100) {
            for lower in (lowest..level).rev() {
                out.push(Platform::new(&self.os, &self.architecture, Some(&format!("v{lower}"))));
            }
        }
        out
    }
}

impl serde::Serialize for Platform {
    /// Serializes the text.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// The systems that stand for a platform by themselves, as in containerd: all that Go has.
const SYSTEMS: &str = "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris \
                       wasip1 windows zos";

/// The architectures that do.
const ARCHITECTURES: &str = "386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32 \
                             mips64p32le ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm";

/// Returns a platform from its system or its architecture alone.
fn from_one_word(word: &str) -> Option<Platform> {
    let knows = |words: &str, word: &str| words.split(' ').any(|known| known == word);
    let host = Platform::host();
    let of_system = Platform { os: Platform::new(word, "", None).os, ..host };
    let of_architecture = Platform::new("linux", word, None);
    match (knows(SYSTEMS, &of_system.os), knows(ARCHITECTURES, &of_architecture.architecture)) {
        (true, _) => Some(of_system),
        (_, true) => Some(of_architecture),
        _ => None,
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Reads `os/arch[/variant]`; or an architecture alone, then the system is `linux`; or a system alone, then the
    /// architecture is this machine's. A single word that is neither is an error.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            Error::invalid("read platform", "expected os/arch or os/arch/variant, such as linux/arm64")
                .with_path(text)
        };
        let ok = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(ok) {
            return Err(refuse());
        }
        match parts[..] {
            [word] => from_one_word(word).ok_or_else(refuse),
            [os, architecture] => Ok(Platform::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Platform::new(os, architecture, Some(variant))),
            _ => Err(refuse()),
        }
    }
}

impl From<&oci_spec::image::Platform> for Platform {
    fn from(platform: &oci_spec::image::Platform) -> Self {
        Platform::new(
            &platform.os().to_string(),
            &platform.architecture().to_string(),
            platform.variant().as_deref(),
        )
    }
}

impl From<&Platform> for oci_spec::image::Platform {
    fn from(platform: &Platform) -> Self {
        let mut out = oci_spec::image::Platform::default();
        out.set_os(platform.os.as_str().into());
        out.set_architecture(platform.architecture.as_str().into());
        out.set_variant(platform.variant.clone());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_normalised() {
        let table = [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("Linux/ARM64", "linux/arm64"),
            ("linux/aarch64/v8", "linux/arm64"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("armel", "linux/arm/v6"),
            ("i386", "linux/386"),
            ("riscv64", "linux/riscv64"),
            ("x86_64", "linux/amd64"),
            ("WASM", "linux/wasm"),
            ("foo/bar", "foo/bar"),
            ("macos/arm64", "darwin/arm64"),
            ("windows/amd64", "windows/amd64"),
        ];
        for (text, expected) in table {
            let parsed: Platform = text.parse().unwrap();
            assert_eq!(parsed.to_string(), expected, "{text}");
            assert_eq!(parsed.to_string().parse::<Platform>().unwrap(), parsed);
            let there = oci_spec::image::Platform::from(&parsed);
            assert_eq!(Platform::from(&there), parsed, "{text}");
        }
        for text in
            ["", "/", "linux/", "a/b/c/d", "linux/am d64", "linux//v7", "foo", "linux-arm64", "amd32", "v7"]
        {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
        let host = Platform::host();
        assert_eq!(host.os, "linux");
        for system in ["linux", "darwin", "macOS", "windows", "FreeBSD"] {
            let os = if system == "macOS" { "darwin".into() } else { system.to_lowercase() };
            assert_eq!(system.parse::<Platform>().unwrap(), Platform { os, ..host.clone() }, "{system}");
        }
        let accepted = |text: &str| {
            let platforms = text.parse::<Platform>().unwrap().accepts();
            platforms.iter().map(|p| p.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(accepted("linux/arm/v7"), "linux/arm/v7 linux/arm/v6 linux/arm/v5");
        assert_eq!(accepted("linux/arm64"), "linux/arm64");
        assert_eq!(accepted("linux/amd64/v3"), "linux/amd64/v3 linux/amd64/v2 linux/amd64");
    }
}
