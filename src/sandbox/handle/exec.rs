//! execve(2): a program's setuid bit and capabilities, which the kernel does not see.

use std::os::fd::AsRawFd;

use super::node::Node;
use super::path::Named;
use super::{Answer, Asked, Reply, State, xattr};
use crate::fs::Kind;
use crate::sandbox::credentials::Credentials;
use crate::sandbox::sys;
use crate::sandbox::syscalls::Call;

/// The most links of scripts and interpreters that are followed (the kernel allows four).
const MOST_SCRIPTS: usize = 5;

impl State {
    /// Gives a thread the credentials that the program it executes has. The kernel executes it.
    pub fn exec(&mut self, asked: &Asked) -> Reply {
        self.tracees.forget(asked.tid);
        if self.credentials.plain() {
            return Ok(Answer::Continue);
        }
        self.credentials.alone(&self.tracees, asked.tid)?;
        let named = match asked.call {
            Call::Execve => self.named(asked, libc::AT_FDCWD, asked.arguments[0], true)?,
            _ => self.named_by(asked, asked.int(0), asked.arguments[1], asked.int(4))?,
        };
        let mut node = self.node(asked.tid, &named)?;
        // A script has no bits of its own; its interpreter has.
        for _ in 0..MOST_SCRIPTS {
            if node.kind != Kind::File || node.mode & 0o111 == 0 {
                return Ok(Answer::Continue);
            }
            match interpreter(&node.fd) {
                Some(path) => {
                    node = self.node(asked.tid, &Named { dir: libc::AT_FDCWD, path, follow: true })?;
                }
                None => break,
            }
        }
        // Where this process has the flag as well, it was there from the start, as in a container that is given it, and says nothing of the step.
        let no_new = !sys::has_no_new_privileges()
            && self.tracees.status(asked.tid, "NoNewPrivs:").is_ok_and(|text| text == "1");
        let new = self.credentials_after(asked, &node, no_new);
        if new != *self.credentials.of(&self.tracees, asked.tid) {
            self.credentials.set(&self.tracees, asked.tid, new)?;
        }
        Ok(Answer::Continue)
    }

    /// Returns what a thread is after it executed a program, which may have bits and capabilities unless those are refused.
    pub fn credentials_after(&self, asked: &Asked, node: &Node, no_new: bool) -> Credentials {
        let setuid = (node.mode & 0o4000 != 0 && !no_new).then_some(node.uid);
        let setgid = (node.mode & 0o2010 == 0o2010 && !no_new).then_some(node.gid);
        let file = node.xattr(xattr::CAPABILITY).filter(|_| !no_new).and_then(capabilities);
        let mut new = self.credentials.of(&self.tracees, asked.tid).clone();
        new.executed(setuid, setgid, file);
        new
    }
}

/// Returns the interpreter of a script.
fn interpreter(file: &std::os::fd::OwnedFd) -> Option<Vec<u8>> {
    use rustix::fs::{CWD, Mode, OFlags};
    // Through the supervisor's working directory, which is its /proc.
    let through = format!("self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let open = rustix::fs::openat(CWD, through, flags, Mode::empty()).ok()?;
    let mut head = [0; 256]; // BINPRM_BUF_SIZE
    let n = rustix::io::pread(&open, &mut head[..], 0).ok()?;
    script(&head[..n])
}

/// Returns what the first line of a script names.
pub fn script(head: &[u8]) -> Option<Vec<u8>> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|&c| c == b'\n').next()?.trim_ascii_start();
    let path = line.split(|&c| c == b' ' || c == b'\t' || c == 0).next()?;
    (!path.is_empty()).then(|| path.to_vec())
}

/// Returns the one argument that the first line of a script has for its interpreter: all that follows, blanks and all.
pub fn script_argument(head: &[u8]) -> Option<Vec<u8>> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|&c| c == b'\n').next()?.trim_ascii();
    let at = line.iter().position(|&c| c == b' ' || c == b'\t')?;
    let rest = line[at..].trim_ascii();
    (!rest.is_empty()).then(|| rest.to_vec())
}

/// Returns permitted and inheritable capabilities of a file, and whether they are effective (linux/capability.h, struct
/// vfs_cap_data).
fn capabilities(value: &[u8]) -> Option<(u64, u64, bool)> {
    let word = |at: usize| Some(u32::from_le_bytes(value.get(at..at + 4)?.try_into().ok()?));
    let wide = |at: usize| Some(u64::from(word(at)?) | u64::from(word(at + 8)?) << 32);
    Some((wide(4)?, wide(8)?, word(0)? & 1 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_interpreter() {
        for (head, path) in [
            (&b"#!/bin/sh\nx"[..], Some(&b"/bin/sh"[..])),
            (b"#! /usr/bin/env  perl -w\n", Some(b"/usr/bin/env")),
            (b"#!/bin/sh", Some(b"/bin/sh")),
            (b"#!\n", None),
            (b"\x7fELF", None),
            (b"", None),
        ] {
            assert_eq!(script(head).as_deref(), path, "{head:?}");
        }
    }

    #[test]
    fn an_interpreter_has_one_argument_at_most() {
        assert_eq!(script_argument(b"#! /usr/bin/env  perl -w \nx"), Some(b"perl -w".to_vec()));
        assert_eq!(script_argument(b"#!/bin/sh\n"), None);
        assert_eq!(script_argument(b"#!/bin/sh \n"), None);
    }

    #[test]
    fn capabilities_of_a_file_are_read() {
        let mut value = [0u8; 20];
        value[..4].copy_from_slice(&0x0200_0001u32.to_le_bytes());
        value[4..8].copy_from_slice(&(1u32 << 13).to_le_bytes());
        value[12..16].copy_from_slice(&1u32.to_le_bytes());
        assert_eq!(capabilities(&value), Some((1 << 13 | 1 << 32, 0, true)));
        assert_eq!(capabilities(&value[..12]), None);
    }
}
