//! getdents(2): the type of a directory's entries, where the disk has an empty file for a device.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Answer, Asked, Reply, State};
use crate::fs::Kind;
use crate::fs::stat::stat_fd;
use crate::sandbox::sys;
use crate::sandbox::syscalls::Call;

/// The most bytes that one answer has: as much as C libraries ask for, several times over.
const MOST: usize = 256 * 1024;

/// The offset of an entry's length (getdents(2)): both forms have the inode first, and the length at 16.
const LENGTH: usize = 16;

impl State {
    /// Reads from a directory as the kernel would, and corrects what it says of devices.
    pub fn entries(&mut self, asked: &Asked) -> Reply {
        if !self.devices {
            return Ok(Answer::Continue);
        }
        // A descriptor of the same open file: reading from it moves the caller's position, as the call itself would.
        let Ok(fd) = self.tracees.descriptor(asked.tid, asked.int(0)) else { return Ok(Answer::Continue) };
        let stat = stat_fd(&fd)?;
        if stat.dev != self.device || stat.kind != Kind::Directory {
            return Ok(Answer::Continue);
        }
        let mut bytes = vec![0; (asked.word(2) as usize).min(MOST)];
        let old = asked.call == Call::Getdents;
        let length = sys::entries(&fd, &mut bytes, old)?;
        bytes.truncate(length);
        self.correct(&fd, stat.dev, &mut bytes, old)?;
        self.tracees.write(asked.tid, asked.arguments[1], &bytes)?;
        Ok(Answer::Value(length as i64))
    }

    /// Gives entries that stand for a device its type.
    pub fn correct(&self, directory: &OwnedFd, dev: u64, bytes: &mut [u8], old: bool) -> Result<(), Answer> {
        let mut at = 0;
        while at + LENGTH + 3 < bytes.len() {
            let ino = u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
            let length = usize::from(u16::from_ne_bytes([bytes[at + LENGTH], bytes[at + LENGTH + 1]]));
            if length < LENGTH + 3 || at + length > bytes.len() {
                return Err(Errno::IO.into());
            }
            // The older form has the type in its last byte, after the name.
            let (kind, name) = match old {
                true => (at + length - 1, at + LENGTH + 2),
                false => (at + LENGTH + 2, at + LENGTH + 3),
            };
            if bytes[kind] == libc::DT_REG && self.ledger.has(dev, ino) {
                let name: Vec<u8> =
                    bytes[name..at + length].iter().copied().take_while(|&c| c != 0).collect();
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                if let Ok(file) = rustix::fs::openat(directory, &name[..], flags, Mode::empty()) {
                    bytes[kind] = match self.node_of(file)?.kind {
                        Kind::CharDevice => libc::DT_CHR,
                        Kind::BlockDevice => libc::DT_BLK,
                        _ => libc::DT_REG,
                    };
                }
            }
            at += length;
        }
        Ok(())
    }
}
