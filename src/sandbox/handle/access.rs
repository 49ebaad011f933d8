//! Access of a thread to a file: permission bits, ACLs and capabilities (path_resolution(7), acl(5)), for users that the
//! kernel does not see.

use rustix::io::Errno;

use super::node::Node;
use super::path::Named;
use super::{Answer, Asked, Reply, State, acl};
use crate::fs::Kind;
use crate::sandbox::credentials::{self, Credentials};
use crate::sandbox::syscalls::Call;

/// May read.
pub const READ: u16 = 4;
/// May write.
pub const WRITE: u16 = 2;
/// May execute, or go through.
pub const EXECUTE: u16 = 1;

/// Returns whether a thread may do all of `wanted` with a file.
pub fn may(who: &Credentials, node: &Node, wanted: u16) -> bool {
    let executable = node.kind == Kind::Directory || node.mode & 0o111 != 0;
    if who.can(credentials::DAC_OVERRIDE) && (wanted & EXECUTE == 0 || executable) {
        return true;
    }
    if node.kind == Kind::Symlink {
        return true;
    }
    if let Some(Ok(Some(list))) = node.xattr(acl::ACCESS).map(acl::Acl::read) {
        return list.grants(who, node.uid, node.gid, wanted);
    }
    let bits = match () {
        () if who.uid.file == node.uid => node.mode >> 6,
        () if who.in_group(node.gid) => node.mode >> 3,
        () => node.mode,
    };
    bits & wanted == wanted
}

/// Returns the access that an open(2) with these flags asks for.
pub fn wanted_by(flags: i32) -> u16 {
    if flags & libc::O_PATH != 0 {
        return 0;
    }
    let access = match flags & libc::O_ACCMODE {
        libc::O_RDONLY => READ,
        libc::O_WRONLY => WRITE,
        _ => READ | WRITE,
    };
    access | if flags & libc::O_TRUNC != 0 { WRITE } else { 0 }
}

impl State {
    /// Returns whether nothing of the tree is closed to a thread.
    pub fn may_all(&self, asked: &Asked) -> bool {
        if self.credentials.plain() {
            return true;
        }
        let who = self.credentials.of(&self.tracees, asked.tid);
        who.can(credentials::DAC_OVERRIDE) && who.can(credentials::FOWNER)
    }

    /// Refuses a file of the tree that a thread may not do `wanted` with.
    pub fn check(&self, asked: &Asked, node: &Node, wanted: u16) -> Result<(), Answer> {
        // What is not of the tree is the host's, and the kernel's to refuse, unless something is known of it.
        if wanted == 0 || (node.stat.dev != self.device && !node.recorded) {
            return Ok(());
        }
        match may(self.credentials.of(&self.tracees, asked.tid), node, wanted) {
            true => Ok(()),
            false => Err(Errno::ACCESS.into()),
        }
    }

    /// Calls that take names out of directories or put them in: unlink(2), rmdir(2), rename(2), link(2) and their siblings.
    pub fn change_names(&mut self, asked: &Asked) -> Reply {
        use Call::*;
        if self.may_all(asked) {
            return Ok(Answer::Continue);
        }
        let (here, at) = (libc::AT_FDCWD, asked.arguments);
        // Each name, and whether something is there that the call takes away.
        let names: &[(i32, u64, bool)] = &match asked.call {
            Unlink | Rmdir => [(here, at[0], true), (here, 0, false)],
            Unlinkat => [(asked.int(0), at[1], true), (here, 0, false)],
            Rename => [(here, at[0], true), (here, at[1], true)],
            Renameat | Renameat2 => [(asked.int(0), at[1], true), (asked.int(2), at[3], true)],
            Link => [(here, at[1], false), (here, 0, false)],
            _ => [(asked.int(2), at[3], false), (here, 0, false)],
        };
        for &(dir, address, takes) in names.iter().filter(|(_, address, _)| *address != 0) {
            let mut named = self.named(asked, dir, address, false)?;
            while named.path.len() > 1 && named.path.ends_with(b"/") {
                named.path.pop();
            }
            let spot = self.spot(asked.tid, named)?;
            self.check(asked, &spot.directory, WRITE | EXECUTE)?;
            if !takes || spot.directory.mode & 0o1000 == 0 || spot.directory.stat.dev != self.device {
                continue;
            }
            // The sticky bit: only the owner of the file or of its directory.
            let Ok(victim) = super::create::open(&spot) else { continue };
            let victim = self.node_of(victim)?;
            let who = self.credentials.of(&self.tracees, asked.tid);
            let owner = who.uid.file == victim.uid || who.uid.file == spot.directory.uid;
            if !owner && !who.can(credentials::FOWNER) {
                return Err(Errno::PERM.into());
            }
        }
        Ok(Answer::Continue)
    }

    /// Answers access(2) and its siblings: for the real user, unless the call says otherwise.
    pub fn access(&mut self, asked: &Asked) -> Reply {
        if self.credentials.plain() {
            return Ok(Answer::Continue);
        }
        let (named, mode, flags) = match asked.call {
            Call::Access => (self.named(asked, libc::AT_FDCWD, asked.arguments[0], true)?, asked.word(1), 0),
            Call::Faccessat => (self.named(asked, asked.int(0), asked.arguments[1], true)?, asked.word(2), 0),
            _ => {
                let named = self.named_by(asked, asked.int(0), asked.arguments[1], asked.int(3))?;
                (named, asked.word(2), asked.int(3))
            }
        };
        if mode > 7 || (named.path.is_empty() && flags & libc::AT_EMPTY_PATH == 0) {
            return Ok(Answer::Continue);
        }
        let node = self.node(asked.tid, &named)?;
        if node.stat.dev != self.device && !node.recorded {
            return Ok(Answer::Continue);
        }
        let who = self.credentials.of(&self.tracees, asked.tid);
        let who = if flags & libc::AT_EACCESS != 0 { who.clone() } else { who.really() };
        match may(&who, &node, mode as u16) {
            true => Ok(Answer::Value(0)),
            false => Err(Errno::ACCESS.into()),
        }
    }

    /// Answers truncate(2): it takes capabilities from a file, and needs to write it.
    pub fn truncate(&mut self, asked: &Asked) -> Reply {
        if self.may_all(asked) && !self.capabilities {
            return Ok(Answer::Continue);
        }
        let named = self.named(asked, libc::AT_FDCWD, asked.arguments[0], true)?;
        self.check_open(asked, &named, WRITE)?;
        self.forget_capabilities(asked, &named)?;
        Ok(Answer::Continue)
    }

    /// Refuses to open a file that is there and that a thread may not open so.
    pub fn check_open(&self, asked: &Asked, named: &Named, wanted: u16) -> Result<(), Answer> {
        if wanted == 0 || self.may_all(asked) {
            return Ok(());
        }
        match self.open_path(asked.tid, named) {
            Ok(fd) => {
                let node = self.node_of(fd)?;
                self.check(asked, &node, wanted)
            }
            Err(_) => Ok(()),
        }
    }
}
