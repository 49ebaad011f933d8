//! `user.containers.override_stat`: `UID:GID:MODE[:TYPE]`, as containers/storage (pkg/idtools) and fuse-overlayfs have it.
//!
//! MODE is octal, with or without the type bits of `st_mode`. TYPE is `file`, `dir`, `symlink`, `pipe`, `socket`,
//! `block-MAJOR-MINOR` or `char-MAJOR-MINOR`; a device stands on disk as an empty file.

use super::Claim;
use crate::fs::Kind;
use crate::tree::entry::Meta;

/// Longer than any value that makes sense.
const LONGEST: usize = 128;

pub(super) fn parse(value: &[u8]) -> Result<Claim, String> {
    if value.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let text = std::str::from_utf8(value).map_err(|_| "it is not text")?;
    let mut fields = text.split(':');
    let mut next = |what: &str| fields.next().ok_or_else(|| format!("no {what}"));
    let uid = id(next("user")?)?;
    let gid = id(next("group")?)?;
    let mode =
        number(next("mode")?, 8).filter(|&mode| mode <= 0o177_777).ok_or("a mode is an octal number")?;
    let named = fields.next().map(kind).transpose()?;
    if fields.next().is_some() {
        return Err("more than four fields".into());
    }
    let bits = match mode & libc::S_IFMT {
        0 => None,
        _ => Some(Kind::from_mode(mode).ok_or("the mode has an unknown type")?),
    };
    let (kind, rdev) = match (named, bits) {
        (Some((kind, _)), Some(bits)) if kind != bits => return Err("mode and type disagree".into()),
        (Some((kind, rdev)), _) => (Some(kind), rdev),
        (None, Some(Kind::CharDevice | Kind::BlockDevice)) => return Err("a device without numbers".into()),
        (None, bits) => (bits, (0, 0)),
    };
    Ok(Claim { uid: Some(uid), gid: Some(gid), mode: Some((mode & 0o7777) as u16), kind, rdev })
}

pub(super) fn format(meta: &Meta) -> Vec<u8> {
    let (major, minor) = meta.rdev;
    let kind = match meta.kind {
        Kind::File => "file".to_string(),
        Kind::Directory => "dir".into(),
        Kind::Symlink => "symlink".into(),
        Kind::Fifo => "pipe".into(),
        Kind::Socket => "socket".into(),
        Kind::BlockDevice => format!("block-{major}-{minor}"),
        Kind::CharDevice => format!("char-{major}-{minor}"),
    };
    format!("{}:{}:{:04o}:{kind}", meta.uid, meta.gid, meta.mode).into_bytes()
}

fn kind(text: &str) -> Result<(Kind, (u32, u32)), String> {
    let plain = match text {
        "file" => Some(Kind::File),
        "dir" => Some(Kind::Directory),
        "symlink" => Some(Kind::Symlink),
        "pipe" => Some(Kind::Fifo),
        "socket" => Some(Kind::Socket),
        _ => None,
    };
    if let Some(kind) = plain {
        return Ok((kind, (0, 0)));
    }
    let device = || {
        let (kind, numbers) = text.split_once('-')?;
        let kind = match kind {
            "block" => Kind::BlockDevice,
            "char" => Kind::CharDevice,
            _ => return None,
        };
        let (major, minor) = numbers.split_once('-')?;
        Some((kind, (number(major, 10)?, number(minor, 10)?)))
    };
    device().ok_or_else(|| "an unknown type".into())
}

/// Returns an id; the highest number means "unchanged" to chown(2) and can own nothing.
fn id(text: &str) -> Result<u32, String> {
    number(text, 10)
        .filter(|&id| id != u32::MAX)
        .ok_or_else(|| "an owner that is not a number below 2^32 - 1".into())
}

/// Reads a number of digits alone; Rust's parser also takes a plus sign.
fn number(text: &str, radix: u32) -> Option<u32> {
    let digits = text.chars().all(|c| c.is_digit(radix));
    u32::from_str_radix(text, radix).ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(kind: Option<Kind>, mode: u16, rdev: (u32, u32)) -> Claim {
        Claim { uid: Some(1000), gid: Some(4_294_967_294), mode: Some(mode), kind, rdev }
    }

    #[test]
    fn values_round_trip() {
        let table = [
            ("1000:4294967294:0644:file", claim(Some(Kind::File), 0o644, (0, 0))),
            ("1000:4294967294:6755:file", claim(Some(Kind::File), 0o6755, (0, 0))),
            ("1000:4294967294:1777:dir", claim(Some(Kind::Directory), 0o1777, (0, 0))),
            ("1000:4294967294:0777:symlink", claim(Some(Kind::Symlink), 0o777, (0, 0))),
            ("1000:4294967294:0600:pipe", claim(Some(Kind::Fifo), 0o600, (0, 0))),
            ("1000:4294967294:0000:socket", claim(Some(Kind::Socket), 0, (0, 0))),
            ("1000:4294967294:0660:block-8-300", claim(Some(Kind::BlockDevice), 0o660, (8, 300))),
            ("1000:4294967294:0666:char-1-3", claim(Some(Kind::CharDevice), 0o666, (1, 3))),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
            let meta = Meta {
                kind: expected.kind.unwrap(),
                mode: expected.mode.unwrap(),
                uid: 1000,
                gid: 4_294_967_294,
                rdev: expected.rdev,
                ..Meta::directory()
            };
            assert_eq!(format(&meta), text.as_bytes());
        }
    }

    #[test]
    fn older_and_other_writers_are_read() {
        // fuse-overlayfs without a type, and a monitor of virtual machines that writes all of st_mode.
        assert_eq!(parse(b"1000:4294967294:555"), Ok(claim(None, 0o555, (0, 0))));
        assert_eq!(parse(b"1000:4294967294:0100755"), Ok(claim(Some(Kind::File), 0o755, (0, 0))));
        assert_eq!(parse(b"1000:4294967294:0040755:dir"), Ok(claim(Some(Kind::Directory), 0o755, (0, 0))));
    }

    #[test]
    fn what_is_anything_else_is_refused() {
        let cases = [
            "",
            "0",
            "0:0",
            "0:0:",
            ":0:0644",
            "0:0:0644:",
            "0:0:0644:file:",
            "0:0:0644:file:more",
            "-1:0:0644",
            "+1:0:0644",
            " 1:0:0644",
            "4294967295:0:0644",
            "4294967296:0:0644",
            "0:0:0888",
            "0:0:+644",
            "0:0:200000",
            "0:0:0130000",
            "0:0:0020644",
            "0:0:0100644:dir",
            "0:0:0644:files",
            "0:0:0644:char",
            "0:0:0644:char-1",
            "0:0:0644:char-1-",
            "0:0:0644:char--1-3",
            "0:0:0644:char-1-3-5",
            "0:0:0644:block-4294967296-0",
            "0:0:0644:file\0",
            "0:0:0644\n",
        ];
        for text in cases {
            assert!(parse(text.as_bytes()).is_err(), "{text:?} parsed");
        }
        assert!(parse(b"\xff:0:0644").is_err());
        assert!(parse(&[b'0'; 65536]).is_err());
    }
}
