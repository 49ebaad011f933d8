//! execve(2) where the kernel would look for programs in the wrong root: which file of the host it is to execute, and with which arguments.
//!
//! A script's interpreter is found here, and a program's dynamic loader: the kernel executes that, and is given the program as its
//! argument. Both loaders in use take programs so (ld.so(8); musl's is the same), and the name of the program by `--argv0`.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::node::Node;
use super::path::Named;
use super::service::host_path;
use super::{Answer, Asked, State, access, exec};
use crate::fs::stat::stat_fd;
use crate::fs::{Kind, Timestamp};
use crate::sandbox::credentials::Credentials;
use crate::sandbox::syscalls::Call;

/// The most interpreters of interpreters (the kernel allows as many).
const MOST_SCRIPTS: usize = 5;
/// The most arguments: what the kernel takes at most in a stack of 8 MiB is less.
const MOST_ARGUMENTS: usize = 1 << 18;
/// The longest path of a loader, and the most program headers that are looked at.
const LONGEST_LOADER: u64 = 4096;
const MOST_HEADERS: usize = 128;

/// An argument of a program.
#[derive(Debug, Clone)]
pub enum Argument {
    /// One that the caller has in its memory, at this address.
    Given(u64),
    /// A new one.
    New(Vec<u8>),
}

/// The program that the kernel is to execute.
#[derive(Debug)]
pub struct Load {
    /// The file, as the host has it.
    pub file: Vec<u8>,
    /// All arguments; `None` for those that the caller gave.
    pub arguments: Option<Vec<Argument>>,
    /// The program, as the step has it.
    pub program: Vec<u8>,
    /// The credentials of the thread afterwards.
    pub credentials: Credentials,
}

impl State {
    /// Finds out what a thread is to execute.
    pub fn load(&mut self, asked: &Asked) -> Result<Load, Answer> {
        self.tracees.forget(asked.tid);
        let (named, list) = match asked.call {
            Call::Execve => {
                (self.named(asked, libc::AT_FDCWD, asked.arguments[0], true)?, asked.arguments[1])
            }
            _ => {
                let flags = asked.int(4);
                (self.named_by(asked, asked.int(0), asked.arguments[1], flags)?, asked.arguments[2])
            }
        };
        if named.path.is_empty() && asked.call == Call::Execve {
            return Err(Errno::NOENT.into());
        }
        let (mut node, mut program) = self.program(asked, &named)?;
        let mut script = if named.path.is_empty() { program.clone() } else { named.path.clone() };
        let mut front: Vec<Vec<u8>> = Vec::new();
        let mut scripts = 0;
        while let Some((interpreter, argument)) = first_line(&node)? {
            scripts += 1;
            if scripts > MOST_SCRIPTS {
                return Err(Errno::LOOP.into());
            }
            // Each script takes the place of the first argument.
            let mut new = vec![interpreter.clone()];
            new.extend(argument);
            new.push(script);
            front = [new, front.into_iter().skip(1).collect()].concat();
            script = interpreter.clone();
            let named = Named { dir: libc::AT_FDCWD, path: interpreter, follow: true };
            (node, program) = self.program(asked, &named)?;
        }
        let loader = loader_of(&node)?;
        let credentials = self.credentials_after(asked, &node, false);
        if front.is_empty() && loader.is_none() {
            return Ok(Load { file: self.host_of(&node.fd)?, arguments: None, program, credentials });
        }
        let given = self.argument_list(asked, list)?;
        let mut arguments: Vec<Argument> = match front.is_empty() {
            true => given,
            false => {
                let new = front.into_iter().map(Argument::New);
                new.chain(given.into_iter().skip(1)).collect()
            }
        };
        let Some(loader) = loader else {
            return Ok(Load {
                file: self.host_of(&node.fd)?,
                arguments: Some(arguments),
                program,
                credentials,
            });
        };
        let named = Named { dir: libc::AT_FDCWD, path: loader.clone(), follow: true };
        let (loader_node, _) = self.program(asked, &named)?;
        let first = match arguments.is_empty() {
            true => Argument::New(program.clone()),
            false => arguments.remove(0),
        };
        let mut all = vec![Argument::New(loader)];
        if self.loaders.take_argv0(&loader_node.fd) {
            all.extend([Argument::New(b"--argv0".to_vec()), first]);
        }
        all.push(Argument::New(program.clone()));
        all.extend(arguments);
        Ok(Load { file: self.host_of(&loader_node.fd)?, arguments: Some(all), program, credentials })
    }

    /// Returns a file that may be executed, and where the step has it.
    fn program(&mut self, asked: &Asked, named: &Named) -> Result<(Node, Vec<u8>), Answer> {
        let service = self.service()?;
        let reached = self.reach(service, asked.tid, named)?;
        let path = reached.path.clone().ok_or(Errno::NOENT)?;
        let fd = reached.there()?;
        let node = self.node_of(fd)?;
        if node.kind != Kind::File {
            return Err(Errno::ACCESS.into());
        }
        if !access::may(self.credentials.of(&self.tracees, asked.tid), &node, access::EXECUTE) {
            return Err(Errno::ACCESS.into());
        }
        Ok((node, [b"/", &path[..]].concat()))
    }

    fn host_of(&self, fd: &OwnedFd) -> Result<Vec<u8>, Answer> {
        let path = host_path(self.tracees.proc(), fd)?;
        if path.ends_with(b" (deleted)") { Err(Errno::NOENT.into()) } else { Ok(path) }
    }

    fn argument_list(&mut self, asked: &Asked, address: u64) -> Result<Vec<Argument>, Answer> {
        let mut out = Vec::new();
        if address == 0 {
            return Ok(out);
        }
        loop {
            let mut pointer = [0; 8];
            let at = address.checked_add(8 * out.len() as u64).ok_or(Errno::FAULT)?;
            self.tracees.read(asked.tid, at, &mut pointer)?;
            match u64::from_ne_bytes(pointer) {
                0 => return Ok(out),
                _ if out.len() >= MOST_ARGUMENTS => return Err(Errno::TOOBIG.into()),
                pointer => out.push(Argument::Given(pointer)),
            }
        }
    }
}

fn open(fd: &OwnedFd) -> Result<OwnedFd, Answer> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    // The supervisor's working directory is its /proc.
    Ok(rustix::fs::openat(CWD, State::through(fd), flags, Mode::empty())?)
}

/// Returns interpreter and argument of a script; `None` for anything else.
fn first_line(node: &Node) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>, Answer> {
    let file = open(&node.fd)?;
    let mut head = [0; 256]; // BINPRM_BUF_SIZE
    let n = rustix::io::pread(&file, &mut head[..], 0)?;
    let Some(interpreter) = exec::script(&head[..n]) else { return Ok(None) };
    Ok(Some((interpreter, exec::script_argument(&head[..n]))))
}

/// Returns the dynamic loader that a program names. ENOEXEC for what is no program of this machine.
fn loader_of(node: &Node) -> Result<Option<Vec<u8>>, Answer> {
    let file = open(&node.fd)?;
    let mut head = [0; 64];
    let n = rustix::io::pread(&file, &mut head[..], 0)?;
    let Some(table) = header(&head[..n]) else { return Err(Errno::NOEXEC.into()) };
    let mut headers = vec![0; table.count.min(MOST_HEADERS) * 56];
    let n = rustix::io::pread(&file, &mut headers[..], table.at)?;
    let Some((at, length)) = interpreter_at(&headers[..n]) else { return Ok(None) };
    if length == 0 || length > LONGEST_LOADER {
        return Err(Errno::NOEXEC.into());
    }
    let mut path = vec![0; length as usize];
    let n = rustix::io::pread(&file, &mut path[..], at)?;
    path.truncate(n);
    let end = path.iter().position(|&c| c == 0).ok_or(Errno::NOEXEC)?;
    path.truncate(end);
    if path.is_empty() { Err(Errno::NOEXEC.into()) } else { Ok(Some(path)) }
}

/// The place of the program headers.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    at: u64,
    count: usize,
}

/// This machine (e_machine of elf(5)).
const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };

/// Reads the header of an ELF file (elf(5)): of 64 bits, and of this machine, else none.
pub fn header(head: &[u8]) -> Option<Table> {
    let short = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
    let class_and_order = head.strip_prefix(b"\x7fELF")?.get(..2)?;
    if class_and_order != [2, 1] || short(18)? != MACHINE || short(54)? != 56 {
        return None;
    }
    let at = u64::from_le_bytes(head.get(32..40)?.try_into().ok()?);
    // An executable, or one that can be loaded anywhere.
    matches!(short(16)?, 2 | 3).then_some(Table { at, count: short(56)?.into() })
}

/// Returns whether a program needs a dynamic loader, from its first bytes; `None` for what is no program of this machine.
pub fn needs_loader(start: &[u8]) -> Option<bool> {
    let table = header(start)?;
    let headers = start.get(usize::try_from(table.at).ok()?..)?;
    let length = (table.count * 56).min(headers.len());
    Some(interpreter_at(&headers[..length]).is_some())
}

/// Returns offset and length of the loader's path, from the program headers.
pub fn interpreter_at(headers: &[u8]) -> Option<(u64, u64)> {
    const PT_INTERP: u32 = 3;
    headers.as_chunks::<56>().0.iter().find_map(|entry| {
        let long = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("8 bytes"));
        let kind = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        (kind == PT_INTERP).then(|| (long(8), long(32)))
    })
}

/// The loaders that were looked at: most steps have one.
#[derive(Debug, Default)]
pub struct Loaders(Vec<(Identity, bool)>);

/// The identity of an untouched file: device, inode, size, and when it was changed last.
type Identity = (u64, u64, u64, Timestamp);

/// The most loaders that are kept.
const MOST_LOADERS: usize = 16;

impl Loaders {
    /// Returns whether a loader takes `--argv0`.
    fn take_argv0(&mut self, loader: &OwnedFd) -> bool {
        let Ok(stat) = stat_fd(loader) else { return false };
        let identity = (stat.dev, stat.ino, stat.size, stat.ctime);
        if let Some((_, takes)) = self.0.iter().find(|(known, _)| *known == identity) {
            return *takes;
        }
        let takes = takes_argv0(loader);
        if self.0.len() >= MOST_LOADERS {
            self.0.remove(0);
        }
        self.0.push((identity, takes));
        takes
    }
}

/// Returns whether a loader takes `--argv0`: glibc since 2.33, musl since 1.2. The word is in those that do.
fn takes_argv0(loader: &OwnedFd) -> bool {
    let Ok(file) = open(loader) else { return false };
    let mut bytes = vec![0; 4 << 20];
    let mut filled = 0;
    while let Ok(n @ 1..) = rustix::io::pread(&file, &mut bytes[filled..], filled as u64) {
        filled += n;
    }
    let has = |word: &[u8]| memchr::memmem::find(&bytes[..filled], word).is_some();
    has(b"--argv0") || has(b"argv0\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf() -> Vec<u8> {
        let mut out = vec![0; 64 + 2 * 56];
        out[..6].copy_from_slice(b"\x7fELF\x02\x01");
        out[16] = 3;
        out[18..20].copy_from_slice(&MACHINE.to_le_bytes());
        out[32] = 64;
        out[54] = 56;
        out[56] = 2;
        let second = 64 + 56;
        out[second] = 3;
        out[second + 8] = 0xaa;
        out[second + 32] = 28;
        out
    }

    #[test]
    fn the_loader_is_where_the_headers_say() {
        let file = elf();
        assert_eq!(header(&file[..64]), Some(Table { at: 64, count: 2 }));
        assert_eq!(interpreter_at(&file[64..]), Some((0xaa, 28)));
        assert_eq!(interpreter_at(&file[64..120]), None);
        assert_eq!(needs_loader(&file), Some(true));
        assert_eq!(needs_loader(&file[..120]), Some(false));
        assert_eq!(needs_loader(b"#!/bin/sh"), None);
    }

    #[test]
    fn what_is_no_program_of_this_machine_is_none() {
        let good = elf();
        for (at, value) in [(0, 1), (4, 1), (5, 2), (16, 1), (18, 3), (54, 32)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(header(&bad[..64]), None, "{at}");
        }
        for length in 0..58 {
            assert_eq!(header(&good[..length]), None, "{length}");
        }
    }
}
