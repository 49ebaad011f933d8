//! One entry of a layer, as a line like `tar -tv` prints or as JSON.

use std::io::{IsTerminal, Write};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use treering::error::escape;
use treering::layer::EntryKind;
use treering::layer::read::TarEntry;

use crate::json;
use crate::output::stdout_error;

/// Writes one entry.
pub fn line(out: &mut dyn Write, entry: &TarEntry, names: bool, end: u8) -> anyhow::Result<()> {
    // On a terminal a name must not move the cursor; elsewhere bytes are bytes.
    let shown = |bytes: &[u8]| match std::io::stdout().is_terminal() {
        true => escape(bytes).into_bytes(),
        false => bytes.to_vec(),
    };
    let mut line = Vec::new();
    if !names {
        let size = match entry.kind.is_device() {
            true => format!("{},{}", entry.rdev.0, entry.rdev.1),
            false => entry.size.to_string(),
        };
        let owner = format!("{}/{}", entry.uid, entry.gid);
        // GNU tar's column: owner and size together are at least this wide.
        let width = 19usize.saturating_sub(owner.len() + 1);
        let (mode, time) = (permissions(entry), minute(entry.mtime.0));
        line.extend_from_slice(format!("{mode} {owner} {size:>width$} {time} ").as_bytes());
    }
    line.extend_from_slice(&shown(&path(entry)));
    if !names && !entry.link.is_empty() {
        let arrow: &[u8] = if entry.kind == EntryKind::Symlink { b" -> " } else { b" link to " };
        line.extend_from_slice(arrow);
        line.extend_from_slice(&shown(&entry.link));
    }
    line.push(end);
    out.write_all(&line).map_err(stdout_error)?;
    Ok(())
}

/// Returns one entry as JSON.
pub fn object(entry: &TarEntry) -> Value {
    let mut object = Map::new();
    json::put_path(&mut object, "path", if entry.path.is_empty() { b"." } else { &entry.path });
    object.insert("type".into(), kind(entry.kind).1.into());
    object.insert("mode".into(), format!("{:04o}", entry.mode & 0o7777).into());
    object.insert("uid".into(), entry.uid.into());
    object.insert("gid".into(), entry.gid.into());
    object.insert("size".into(), entry.size.into());
    let time = Timestamp::new(entry.mtime.0, entry.mtime.1 as i32).map(|time| time.to_string());
    object.insert("mtime".into(), time.map_or_else(|_| json!(entry.mtime.0), Value::from));
    if !entry.link.is_empty() {
        json::put_path(&mut object, "link", &entry.link);
    }
    if entry.kind.is_device() {
        object.insert("device".into(), json!([entry.rdev.0, entry.rdev.1]));
    }
    if !entry.xattrs.is_empty() {
        let one = |(name, value): &(Vec<u8>, Vec<u8>)| {
            let mut object = Map::new();
            json::put_path(&mut object, "name", name);
            object.insert("value_base64".into(), json::base64(value).into());
            Value::Object(object)
        };
        object.insert("xattrs".into(), entry.xattrs.iter().map(one).collect());
    }
    if !entry.lost.is_empty() {
        let one = |(name, reason): &(Vec<u8>, &str)| {
            let mut object = Map::new();
            json::put_path(&mut object, "name", name);
            object.insert("reason".into(), (*reason).into());
            Value::Object(object)
        };
        object.insert("lost".into(), entry.lost.iter().map(one).collect());
    }
    object.into()
}

/// Returns the path as it stands in a tar: directories end in a slash, the root is `./`.
fn path(entry: &TarEntry) -> Vec<u8> {
    let mut path = if entry.path.is_empty() { b".".to_vec() } else { entry.path.clone() };
    if entry.kind == EntryKind::Directory {
        path.push(b'/');
    }
    path
}

fn kind(kind: EntryKind) -> (char, &'static str) {
    match kind {
        EntryKind::File => ('-', "file"),
        EntryKind::Hardlink => ('h', "hardlink"),
        EntryKind::Directory => ('d', "directory"),
        EntryKind::Symlink => ('l', "symlink"),
        EntryKind::CharDevice => ('c', "char-device"),
        EntryKind::BlockDevice => ('b', "block-device"),
        EntryKind::Fifo => ('p', "fifo"),
    }
}

/// Returns `drwxr-xr-x`, with `s` and `t` where they belong.
fn permissions(entry: &TarEntry) -> String {
    let mut out = String::from(kind(entry.kind).0);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = entry.mode >> shift & 7;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (entry.mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    out
}

/// Returns a time to the minute, in UTC.
fn minute(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => seconds.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: EntryKind, mode: u32) -> TarEntry {
        TarEntry {
            path: b"usr/bin/x".to_vec(),
            kind,
            mode,
            uid: 0,
            gid: 5,
            size: 42,
            mtime: (86_400, 0),
            link: Vec::new(),
            rdev: (1, 3),
            xattrs: Vec::new(),
            lost: Vec::new(),
        }
    }

    #[test]
    fn lines_are_those_of_tar() {
        let mut out = Vec::new();
        line(&mut out, &entry(EntryKind::File, 0o4755), false, b'\n').unwrap();
        line(&mut out, &entry(EntryKind::Directory, 0o1777), false, b'\n').unwrap();
        line(&mut out, &TarEntry { link: b"y".to_vec(), ..entry(EntryKind::Symlink, 0o777) }, false, b'\n')
            .unwrap();
        line(&mut out, &entry(EntryKind::CharDevice, 0o2664), false, b'\n').unwrap();
        line(&mut out, &entry(EntryKind::File, 0o644), true, b'\0').unwrap();
        let expected = "\
-rwsr-xr-x 0/5              42 1970-01-02 00:00 usr/bin/x
drwxrwxrwt 0/5              42 1970-01-02 00:00 usr/bin/x/
lrwxrwxrwx 0/5              42 1970-01-02 00:00 usr/bin/x -> y
crw-rwSr-- 0/5             1,3 1970-01-02 00:00 usr/bin/x
usr/bin/x\0";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
