//! Parsers of foreign bytes, for the fuzz targets: each function panics where something does not hold.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};

use super::handle::fuzzed::{header, interpreter_at, script, script_argument};
use super::handle::{Asked, Service, State};
use super::order::{Ids, Network, Order};
use super::protocol::Channel;
use super::rung::Rung;
use super::{sys, syscalls};
use crate::tree::{Ledger, journal};

/// Decodes an order: it is refused, or comes back as it was.
pub fn order(bytes: &[u8]) {
    if let Ok(order) = Order::decode(bytes) {
        assert_eq!(Order::decode(&order.encode()).expect("what was read can be read again"), order);
    }
}

/// Decodes a stream of bytes: messages, and then an error or an end; none is longer than the stream.
pub fn messages(bytes: &[u8]) {
    let Ok((ours, theirs)) = Channel::pair() else { return };
    // As much as a socket holds; nothing reads in the meantime.
    let bytes = &bytes[..bytes.len().min(64 * 1024)];
    if rustix::net::send(ours.as_fd(), bytes, rustix::net::SendFlags::NOSIGNAL) != Ok(bytes.len()) {
        return;
    }
    drop(ours);
    let mut all = 0;
    while let Ok(Some(message)) = theirs.receive() {
        all += 5 + message.body.len();
        assert!(message.descriptors.is_empty());
    }
    assert!(all <= bytes.len());
}

/// Looks at the first bytes of a program: a script with an interpreter that is in them, or an ELF file, or neither.
pub fn program(bytes: &[u8]) {
    let within = |part: &[u8]| bytes.windows(part.len().max(1)).any(|window| window == part);
    if let Some(path) = script(bytes) {
        assert!(!path.is_empty() && within(&path) && !path.contains(&b'\n'));
    }
    if let Some(argument) = script_argument(bytes) {
        assert!(!argument.is_empty() && within(&argument) && bytes.starts_with(b"#!"));
    }
    if header(bytes).is_some() {
        assert!(bytes.starts_with(b"\x7fELF") && script(bytes).is_none());
    }
    if let Some((at, length)) = interpreter_at(bytes) {
        assert!(within(&at.to_le_bytes()) && within(&length.to_le_bytes()));
    }
}

/// Supervisors, and a process that waits for answers which never come: its memory is written to, and this one's is not.
#[derive(Debug)]
pub struct Requests {
    /// One for a step with a root of its own, and one that resolves the paths of its step.
    states: [State; 2],
    tracee: i32,
    memory: Box<[u8; ROOM]>,
}

/// Memory that pointers lead into.
const ROOM: usize = 64 << 10;

impl Requests {
    /// Starts with a directory that is to have another one above it for itself, as names have no slash here but may be `..`. Moves this
    /// process to /proc, where a supervisor is.
    pub fn new(directory: &std::path::Path) -> io::Result<Requests> {
        let memory = Box::new([0; ROOM]);
        rustix::process::chdir(directory)?;
        let tracee = sys::fork()?;
        if tracee == 0 {
            loop {
                // It ends with its parent.
                let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
        }
        let proc =
            rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::process::fchdir(&proc)?;
        let order = Order {
            rung: Rung::Notify,
            arguments: vec![b"x".to_vec()],
            environment: Vec::new(),
            directory: Vec::new(),
            user: Ids::default(),
            hostname: Vec::new(),
            network: Network::Host,
            pasta: Vec::new(),
            terminal: false,
            window: None,
            read_only: false,
            files: Vec::new(),
            mounts: Vec::new(),
            shm_size: 0,
            limits: Vec::new(),
            owners: super::order::Lending::None,
            places: false,
        };
        let device = crate::fs::stat::stat_fd(crate::fs::root::open_given(directory)?)?.dev;
        let journal = || -> io::Result<_> { Ok(journal::Writer::new(File::from(sys::memory_file(b"")?))) };
        let paths = Order { rung: Rung::Paths, ..order.clone() };
        let tree = crate::fs::root::open_given(directory)?;
        let service = Service::new(&proc, tree.into(), &paths)?;
        let again = proc.try_clone()?;
        let mut serving = State::new(&paths, again, device, Ledger::default(), journal()?, Some(service));
        serving.begin(tracee as u32, b"")?;
        let state = State::new(&order, proc, device, Ledger::default(), journal()?, None);
        Ok(Requests { states: [state, serving], tracee, memory })
    }

    /// Answers any call with any arguments. An argument is a number, or a pointer to what follows the arguments.
    pub fn answer(&mut self, bytes: &[u8]) {
        let Some((&which, rest)) = bytes.split_first() else { return };
        let Some((words, rest)) = rest.split_first_chunk::<30>() else { return };
        let call = syscalls::TABLE[usize::from(which) % syscalls::TABLE.len()].1;
        let start = self.memory.as_ptr() as u64;
        let mut arguments = [0; 6];
        for (argument, word) in arguments.iter_mut().zip(words.as_chunks::<5>().0) {
            let number = u32::from_le_bytes([word[1], word[2], word[3], word[4]]);
            *argument = match word[0] % 4 {
                0 => start + u64::from(number) % (ROOM as u64 / 2),
                1 => u64::from(number),
                2 => i64::from(number as i32) as u64,
                _ => start,
            };
        }
        let serves = words[0] & 0x80 != 0;
        let state = &mut self.states[usize::from(serves)];
        // Names without a slash: whatever is done is done in one directory. Where paths are resolved here, none may lead out of it.
        let name = |&c: &u8| if c == b'/' && !serves { b'_' } else { c };
        let text: Vec<u8> = rest.iter().take(ROOM / 2).map(name).collect();
        if state.write_memory(self.tracee as u32, start, &text).is_err() {
            return;
        }
        let asked = Asked { tid: self.tracee as u32, call, arguments };
        let _ = state.handle(&asked);
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let _ = sys::kill(self.tracee, libc::SIGKILL);
        let _ = sys::wait(self.tracee, true);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_that_mean_nothing_are_taken() {
        // A generator of the simplest kind: the same bytes every time.
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for round in 0..2000 {
            let mut bytes: Vec<u8> = (0..round % 300).map(|_| next()).collect();
            super::order(&bytes);
            super::program(&bytes);
            for front in [&b"#!"[..], b"#! /", b"\x7fELF\x02\x01"] {
                bytes.splice(..0, front.iter().copied());
                super::program(&bytes);
            }
            if round % 50 == 0 {
                bytes.splice(..0, [7, 0, 0, 0, 1]);
                super::messages(&bytes);
            }
        }
    }
}
