//! Extended attributes. Those of users are on the disk; `security.*`, `trusted.*` and ACLs would need privileges or ids that the disk has not,
//! and are in the ledger, as they are after an unprivileged unpack.

use std::os::fd::OwnedFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::node::Node;
use super::path::Named;
use super::{Answer, Asked, Reply, State, acl};
use crate::fs::Kind;
use crate::sandbox::credentials;
use crate::sandbox::syscalls::Call;
use crate::tree::OwnerXattr;

/// The attribute of file capabilities.
pub const CAPABILITY: &[u8] = b"security.capability";

/// The longest value, and the longest list of names, in bytes (XATTR_SIZE_MAX, XATTR_LIST_MAX).
pub(super) const LONGEST: usize = 65_536;
/// The longest name, in bytes (XATTR_NAME_MAX).
const LONGEST_NAME: usize = 255;

/// Returns whether attributes of this name are kept in the ledger.
pub(super) fn kept(name: &[u8]) -> bool {
    name == CAPABILITY
        || name.starts_with(b"trusted.")
        || [acl::ACCESS, acl::DEFAULT].contains(&name)
        || OwnerXattr::is_name(name)
}

/// The place of value, size and flags of a call.
#[derive(Debug)]
pub struct Value {
    /// The address of the value, or of the room for it.
    pub address: u64,
    /// How long it is, or may be.
    pub size: u64,
    /// XATTR_CREATE, XATTR_REPLACE.
    pub flags: i32,
}

impl State {
    /// Returns the file and the attribute's name; what is about other names than `ours` is the kernel's.
    pub fn attribute(
        &mut self,
        asked: &Asked,
        ours: impl FnOnce(&[u8]) -> bool,
    ) -> Result<(Named, Vec<u8>), Answer> {
        use Call::*;
        let at = matches!(asked.call, Setxattrat | Getxattrat | Removexattrat);
        let name = asked.arguments[if at { 3 } else { 1 }];
        let name = self.tracees.read_path(asked.tid, name)?;
        if name.len() > LONGEST_NAME || !ours(&name) {
            return Err(Answer::Continue);
        }
        let named = match asked.call {
            Setxattrat | Getxattrat | Removexattrat => {
                self.named_by(asked, asked.int(0), asked.arguments[1], asked.int(2))?
            }
            Setxattr | Lsetxattr | Fsetxattr => self.first(asked, Lsetxattr, Fsetxattr)?,
            Getxattr | Lgetxattr | Fgetxattr => self.first(asked, Lgetxattr, Fgetxattr)?,
            _ => self.first(asked, Lremovexattr, Fremovexattr)?,
        };
        Ok((named, name))
    }

    /// Returns the value of a call; that of setxattrat(2) and getxattrat(2) is in a structure (linux/xattr.h, struct
    /// xattr_args).
    pub fn value(&mut self, asked: &Asked) -> Result<Value, Answer> {
        if !matches!(asked.call, Call::Setxattrat | Call::Getxattrat) {
            return Ok(Value { address: asked.arguments[2], size: asked.arguments[3], flags: asked.int(4) });
        }
        if asked.arguments[5] < 16 {
            return Err(Errno::INVAL.into());
        }
        let mut bytes = [0; 16];
        self.tracees.read(asked.tid, asked.arguments[4], &mut bytes)?;
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let address = u64::from_ne_bytes(bytes[..8].try_into().expect("8 bytes"));
        Ok(Value { address, size: word(8).into(), flags: word(12) as i32 })
    }

    /// Returns the value that a call sets, and its flags.
    fn value_to_set(&mut self, asked: &Asked) -> Result<(Vec<u8>, i32), Answer> {
        let Value { address, size, flags } = self.value(asked)?;
        if size > LONGEST as u64 {
            return Err(Errno::TOOBIG.into());
        }
        let mut value = vec![0; size as usize];
        self.tracees.read(asked.tid, address, &mut value)?;
        Ok((value, flags))
    }

    /// Makes a call on an attribute of the disk in place of the step, which has been found to be allowed to.
    pub(super) fn make_xattr_call(&mut self, asked: &Asked, fd: &OwnedFd, name: &[u8]) -> Reply {
        use Call::*;
        let through = State::through(fd);
        match asked.call {
            Getxattr | Lgetxattr | Fgetxattr | Getxattrat => {
                let Value { address, size, .. } = self.value(asked)?;
                let mut bytes = vec![0; LONGEST];
                let length = rustix::fs::getxattr(through.as_str(), name, &mut bytes[..])?;
                self.give(asked, address, size, &bytes[..length])
            }
            Setxattr | Lsetxattr | Fsetxattr | Setxattrat => {
                let (value, flags) = self.value_to_set(asked)?;
                let flags = XattrFlags::from_bits_retain(flags as u32);
                rustix::fs::setxattr(through.as_str(), name, &value, flags)?;
                Ok(Answer::Value(0))
            }
            _ => {
                rustix::fs::removexattr(through.as_str(), name)?;
                Ok(Answer::Value(0))
            }
        }
    }

    /// Answers setxattr(2) and its siblings.
    pub fn set_xattr(&mut self, asked: &Asked) -> Reply {
        let (named, name) = self.attribute(asked, kept)?;
        let (value, flags) = self.value_to_set(asked)?;
        if flags & !(libc::XATTR_CREATE | libc::XATTR_REPLACE) != 0 {
            return Err(Errno::INVAL.into());
        }
        let mut node = self.node(asked.tid, &named)?;
        if self.kernel_keeps(&node, &name, &value) {
            return Ok(Answer::Continue);
        }
        self.may_set(asked, &node, &name)?;
        let there = node.xattr(&name).is_some();
        if flags & libc::XATTR_CREATE != 0 && there {
            return Err(Errno::EXIST.into());
        }
        if flags & libc::XATTR_REPLACE != 0 && !there {
            return Err(Errno::NODATA.into());
        }
        set(&mut node, &name, value)?;
        self.save(&node)?;
        Ok(Answer::Value(0))
    }

    /// Refuses a change of an attribute that a thread may not make (xattr(7), capabilities(7)).
    fn may_set(&self, asked: &Asked, node: &Node, name: &[u8]) -> Result<(), Answer> {
        let who = self.credentials.of(&self.tracees, asked.tid);
        let owner = who.uid.file == node.uid || who.can(credentials::FOWNER);
        let may = match name {
            CAPABILITY => who.can(credentials::SETFCAP) && node.kind == Kind::File,
            // Real root has CAP_SYS_ADMIN for these; root of a step has nothing that stands for it but being root.
            _ if name.starts_with(b"trusted.") => who.uid.effective == 0,
            _ if node.kind == Kind::Symlink => return Err(Errno::OPNOTSUPP.into()),
            _ => owner,
        };
        if may { Ok(()) } else { Err(Errno::PERM.into()) }
    }

    /// Answers getxattr(2) and its siblings.
    pub fn get_xattr(&mut self, asked: &Asked) -> Reply {
        let (named, name) = self.attribute(asked, kept)?;
        let node = self.node(asked.tid, &named)?;
        if name.starts_with(b"trusted.") && !self.sees_trusted(asked) {
            return Err(Errno::NODATA.into());
        }
        let Some(value) = node.xattr(&name).map(<[u8]>::to_vec) else { return Ok(Answer::Continue) };
        let Value { address, size, .. } = self.value(asked)?;
        self.give(asked, address, size, &value)
    }

    /// Writes a value where the call asks for it; a size of 0 asks for the length.
    pub fn give(&mut self, asked: &Asked, address: u64, size: u64, value: &[u8]) -> Reply {
        if size == 0 {
            return Ok(Answer::Value(value.len() as i64));
        }
        if size < value.len() as u64 {
            return Err(Errno::RANGE.into());
        }
        self.tracees.write(asked.tid, address, value)?;
        Ok(Answer::Value(value.len() as i64))
    }

    /// Returns whether trusted attributes are shown to a thread: without privileges they are not there.
    fn sees_trusted(&self, asked: &Asked) -> bool {
        self.credentials.of(&self.tracees, asked.tid).uid.effective == 0
    }

    /// Returns the file of a listxattr(2), and where its list goes.
    pub fn listed(&mut self, asked: &Asked) -> Result<(Named, u64, u64), Answer> {
        Ok(match asked.call {
            Call::Listxattrat => {
                let named = self.named_by(asked, asked.int(0), asked.arguments[1], asked.int(2))?;
                (named, asked.arguments[3], asked.arguments[4])
            }
            _ => (
                self.first(asked, Call::Llistxattr, Call::Flistxattr)?,
                asked.arguments[1],
                asked.arguments[2],
            ),
        })
    }

    /// Answers listxattr(2) and its siblings: names on the disk and in the ledger.
    pub fn list_xattr(&mut self, asked: &Asked) -> Reply {
        let (named, address, size) = self.listed(asked)?;
        let node = self.node(asked.tid, &named)?;
        if node.xattrs.is_empty() {
            return Ok(Answer::Continue);
        }
        let mut list = self.names_on_disk(asked, &node.fd).unwrap_or_default();
        let trusted = self.sees_trusted(asked);
        for (name, _) in node.xattrs.iter().filter(|(name, _)| trusted || !name.starts_with(b"trusted.")) {
            if !list.split(|&c| c == 0).any(|known| known == name) {
                list.extend_from_slice(name);
                list.push(0);
            }
        }
        self.give(asked, address, size, &list)
    }

    /// Lists what the disk has, but for what a thread may not see and the supervisor may.
    pub fn names_on_disk(&self, asked: &Asked, fd: &OwnedFd) -> rustix::io::Result<Vec<u8>> {
        let through = State::through(fd);
        let mut list = vec![0; LONGEST];
        let length = rustix::fs::listxattr(through.as_str(), &mut list[..])?;
        list.truncate(length);
        if !self.sees_trusted(asked) {
            let names = list.split_inclusive(|&c| c == 0).filter(|name| !name.starts_with(b"trusted."));
            list = names.flatten().copied().collect();
        }
        Ok(list)
    }

    /// Answers removexattr(2) and its siblings.
    pub fn remove_xattr(&mut self, asked: &Asked) -> Reply {
        let (named, name) = self.attribute(asked, kept)?;
        let mut node = self.node(asked.tid, &named)?;
        if node.xattr(&name).is_none() {
            return Ok(Answer::Continue);
        }
        self.may_set(asked, &node, &name)?;
        node.set_xattr(&name, None);
        self.save(&node)?;
        Ok(Answer::Value(0))
    }
}

/// Sets an attribute, with what the kernel makes of its value.
fn set(node: &mut Node, name: &[u8], value: Vec<u8>) -> Result<(), Answer> {
    match name {
        CAPABILITY => {
            // Version 2 is 20 bytes, version 3 has the id of a namespace's root after that (linux/capability.h).
            let version = value.first_chunk::<4>().map(|head| u32::from_le_bytes(*head) >> 24);
            if !matches!((version, value.len()), (Some(2), 20) | (Some(3), 24)) {
                return Err(Errno::INVAL.into());
            }
            // Written by root of the first namespace, version 3 with root 0 says the same as version 2.
            let value = match version {
                Some(3) if value[20..] == [0; 4] => {
                    let mut shorter = value[..20].to_vec();
                    shorter[3] = 2;
                    shorter
                }
                _ => value,
            };
            node.set_xattr(name, Some(value));
        }
        acl::ACCESS => match acl::Acl::read(&value)? {
            Some(list) => {
                node.mode = node.mode & !0o777 | list.mode();
                node.set_xattr(name, (!list.is_mode()).then(|| list.write()));
            }
            None => node.set_xattr(name, None),
        },
        acl::DEFAULT if node.kind != Kind::Directory => {
            return Err(if acl::Acl::read(&value)?.is_some() {
                Errno::ACCESS.into()
            } else {
                Answer::Value(0)
            });
        }
        acl::DEFAULT => {
            let list = acl::Acl::read(&value)?;
            node.set_xattr(name, list.map(|list| list.write()));
        }
        _ => node.set_xattr(name, Some(value)),
    }
    Ok(())
}
