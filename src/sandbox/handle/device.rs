//! mknod(2).

use rustix::io::Errno;

use super::{Answer, Asked, Reply, State};
use crate::fs::Kind;
use crate::sandbox::credentials;
use crate::sandbox::syscalls::Call;

impl State {
    /// Makes a file, a pipe, a socket, or something that stands for a device.
    pub fn mknod(&mut self, asked: &Asked) -> Reply {
        let (dir, path, mode, device) = match asked.call {
            Call::Mknod => (libc::AT_FDCWD, asked.arguments[0], asked.word(1), asked.word(2)),
            _ => (asked.int(0), asked.arguments[1], asked.word(2), asked.word(3)),
        };
        let kind = match mode & libc::S_IFMT {
            0 => Some(Kind::File),
            _ => Kind::from_mode(mode),
        };
        let named = self.named(asked, dir, path, false)?;
        match kind {
            Some(kind @ (Kind::File | Kind::Fifo | Kind::Socket)) => {
                self.make_plain(asked, named, mode, kind)
            }
            Some(kind @ (Kind::CharDevice | Kind::BlockDevice)) => {
                if !self.credentials.of(&self.tracees, asked.tid).can(credentials::MKNOD) {
                    return Err(Errno::PERM.into());
                }
                // As the kernel takes device numbers: new_decode_dev() of linux/kdev_t.h.
                let rdev = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
                self.make_device(asked, named, mode, kind, rdev)
            }
            // The kernel has an error for it.
            _ => Ok(Answer::Continue),
        }
    }
}
