//! chown(2) and chmod(2), with what they do besides: to setuid bits, to capabilities, to ACLs.

use rustix::io::Errno;

use super::node::Node;
use super::{Answer, Asked, Reply, State, acl, xattr};
use crate::fs::Kind;
use crate::sandbox::credentials::{self, Credentials};
use crate::sandbox::syscalls::Call;

impl State {
    /// Changes owner and group.
    pub fn chown(&mut self, asked: &Asked) -> Reply {
        let (named, uid, gid) = match asked.call {
            Call::Fchownat => {
                let named = self.named_by(asked, asked.int(0), asked.arguments[1], asked.int(4))?;
                (named, asked.word(2), asked.word(3))
            }
            _ => (self.first(asked, Call::Lchown, Call::Fchown)?, asked.word(1), asked.word(2)),
        };
        let mut node = self.node(asked.tid, &named)?;
        if self.kernel_chowns(&node, uid, gid) {
            return Ok(Answer::Continue);
        }
        let who = self.credentials.of(&self.tracees, asked.tid);
        if !may_chown(who, &node, uid, gid) {
            return Err(Errno::PERM.into());
        }
        let fsetid = who.can(credentials::FSETID) || who.in_group(node.gid);
        if uid != u32::MAX {
            node.uid = uid;
        }
        if gid != u32::MAX {
            node.gid = gid;
        }
        // chown_common() of the kernel: even a change to the same owner takes these away, from root's files too.
        if node.kind != Kind::Directory {
            let executable = node.mode & 0o010 != 0;
            node.mode &= !0o4000;
            if executable || !fsetid {
                node.mode &= !0o2000;
            }
            node.set_xattr(xattr::CAPABILITY, None);
        }
        self.save(&node)?;
        Ok(Answer::Value(0))
    }

    /// Changes permission bits.
    pub fn chmod(&mut self, asked: &Asked) -> Reply {
        let (named, mode) = match asked.call {
            Call::Fchmodat => (self.named(asked, asked.int(0), asked.arguments[1], true)?, asked.word(2)),
            Call::Fchmodat2 => {
                (self.named_by(asked, asked.int(0), asked.arguments[1], asked.int(3))?, asked.word(2))
            }
            // There is no call that changes a link's.
            _ => (self.first(asked, Call::Lchown, Call::Fchmod)?, asked.word(1)),
        };
        let mut node = self.node(asked.tid, &named)?;
        if node.kind == Kind::Symlink || node.stat.dev != self.device || self.kernel_chmods(&node, mode) {
            return Ok(Answer::Continue);
        }
        let who = self.credentials.of(&self.tracees, asked.tid);
        if who.uid.file != node.uid && !who.can(credentials::FOWNER) {
            return Err(Errno::PERM.into());
        }
        node.mode = (mode & 0o7777) as u16;
        if !who.can(credentials::FSETID) && !who.in_group(node.gid) {
            node.mode &= !0o2000;
        }
        if let Some(list) = node.xattr(acl::ACCESS) {
            let list = acl::with_mode(list, node.mode);
            node.set_xattr(acl::ACCESS, Some(list));
        }
        self.save(&node)?;
        Ok(Answer::Value(0))
    }
}

/// Returns whether a thread may give a file this owner and group (chown(2), ERRORS).
fn may_chown(who: &Credentials, node: &Node, uid: u32, gid: u32) -> bool {
    if who.can(credentials::CHOWN) {
        return true;
    }
    let owner = who.uid.file == node.uid;
    let uid_stays = uid == u32::MAX || (owner && uid == node.uid);
    let gid_goes = gid == u32::MAX || (owner && (gid == node.gid || who.in_group(gid)));
    uid_stays && gid_goes
}
