//! Digests: a validated type, so that no path is ever built from unchecked text.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// A sha256 digest (image-spec, descriptor.md, "Digests"). Prints and parses as `sha256:<64 hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns the digest with these 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Digest(bytes)
    }

    /// Returns the digest of `data`.
    pub fn of(data: &[u8]) -> Self {
        Digest(Sha256::digest(data).into())
    }

    /// Returns the 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 lower-case hexadecimal digits, which are also the name of the blob in an image layout.
    pub fn hex(&self) -> String {
        let mut out = String::with_capacity(64);
        for byte in self.0 {
            out.push(char::from_digit((byte >> 4) as u32, 16).expect("a nibble"));
            out.push(char::from_digit((byte & 15) as u32, 16).expect("a nibble"));
        }
        out
    }

    /// Returns the first 12 hexadecimal digits, as people read image ids.
    pub fn short(&self) -> String {
        self.hex()[..12].to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            Error::invalid("read digest", "expected sha256: and 64 lower-case hexadecimal digits")
                .with_path(text)
        };
        let hex = text.strip_prefix("sha256:").ok_or_else(refuse)?.as_bytes();
        if hex.len() != 64 {
            return Err(refuse());
        }
        let nibble = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let mut out = [0; 32];
        for (i, pair) in hex.chunks_exact(2).enumerate() {
            out[i] = nibble(pair[0]).zip(nibble(pair[1])).map(|(h, l)| h << 4 | l).ok_or_else(refuse)?;
        }
        Ok(Digest(out))
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Returns the identity of a stack of layers (config.md, "Layer ChainID"); `None` for an empty stack.
pub fn chain_id(diff_ids: &[Digest]) -> Option<Digest> {
    chain_ids(diff_ids).last().copied()
}

/// Returns the ChainID of every prefix of a stack, lowest first.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut out: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match out.last() {
            None => *diff_id,
            Some(below) => Digest::from_bytes(Sha256::digest(format!("{below} {diff_id}").as_bytes()).into()),
        };
        out.push(next);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_digests_parse() {
        let good = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(good.parse::<Digest>().unwrap(), Digest::of(b""));
        assert_eq!(Digest::of(b"").to_string(), good);
        let long = format!("{good}0");
        let upper = good.to_uppercase();
        let hostile = [
            "",
            "sha256:",
            "sha256:../../x",
            "/usr/bin/bash",
            "sha256",
            &good[7..],
            &good[..70],
            &long,
            &upper,
            "sha256:E3B0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256:g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256: 3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256:é3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "SHA256:e3b0",
            "sha256/e3b0",
        ];
        for text in hostile {
            assert!(text.parse::<Digest>().is_err(), "{text:?} parsed");
        }
    }

    #[test]
    fn chain_ids_follow_the_formula() {
        let layers = [Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"c")];
        assert_eq!(chain_id(&[]), None);
        assert_eq!(chain_id(&layers[..1]), Some(layers[0]));
        let two = Digest::of(format!("{} {}", layers[0], layers[1]).as_bytes());
        assert_eq!(chain_id(&layers[..2]), Some(two));
        let three = Digest::of(format!("{two} {}", layers[2]).as_bytes());
        assert_eq!(chain_ids(&layers), [layers[0], two, three]);
    }
}
