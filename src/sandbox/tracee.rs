//! Looking at a process of the step: its memory and what /proc says of it.
//!
//! Memory goes through `/proc/TID/mem` alone: containers refuse process_vm_readv(2).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::sys;

/// The longest path, with its end (PATH_MAX).
const LONGEST_PATH: usize = 4096;
/// Of how many threads memory and timer slack are kept open.
const MOST_OPEN: usize = 128;

/// The processes of a step, seen through the /proc of the helper.
#[derive(Debug)]
pub struct Tracees {
    proc: OwnedFd,
    memory: HashMap<u32, OwnedFd>,
    /// The files of threads' timer slack.
    slack: RefCell<HashMap<u32, OwnedFd>>,
    /// The descriptor that could not be had, of the thread that is answered.
    wanted: Cell<Option<i32>>,
    /// A descriptor that a thread gave: its number there, and the same open file.
    lent: Option<(u32, i32, OwnedFd)>,
}

impl Tracees {
    /// Looks through this /proc.
    pub fn new(proc: OwnedFd) -> Tracees {
        let (memory, slack) = (HashMap::new(), RefCell::default());
        Tracees { proc, memory, slack, wanted: Cell::new(None), lent: None }
    }

    /// Returns the directory `/proc`.
    pub fn proc(&self) -> &OwnedFd {
        &self.proc
    }

    /// Forgets a thread's memory: it is about to execute another program.
    pub fn forget(&mut self, tid: u32) {
        self.memory.remove(&tid);
        if let Some(leader) = self.status(tid, "Tgid:").ok().and_then(|text| text.trim().parse().ok()) {
            self.memory.remove(&leader);
        }
    }

    fn open(&mut self, tid: u32) -> io::Result<()> {
        if self.memory.len() >= MOST_OPEN {
            self.memory.clear();
        }
        let path = format!("{tid}/mem");
        let fd = rustix::fs::openat(&self.proc, path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        self.memory.insert(tid, fd);
        Ok(())
    }

    /// Makes an access. Memory of a program that is gone gives nothing, so that a descriptor from before an execve(2) is seen and opened anew.
    fn access(
        &mut self,
        tid: u32,
        mut act: impl FnMut(&OwnedFd) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        if let Some(fd) = self.memory.get(&tid)
            && let Ok(n @ 1..) = retry_on_intr(|| act(fd))
        {
            return Ok(n);
        }
        self.open(tid)?;
        match retry_on_intr(|| act(&self.memory[&tid])) {
            Ok(0) => Err(Errno::FAULT.into()),
            Err(Errno::IO) => Err(Errno::FAULT.into()),
            other => Ok(other?),
        }
    }

    /// Reads memory: all of `out`, else EFAULT.
    pub fn read(&mut self, tid: u32, address: u64, out: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < out.len() {
            let at = address.checked_add(done as u64).ok_or(Errno::FAULT)?;
            done += self.access(tid, |fd| rustix::io::pread(fd, &mut out[done..], at))?;
        }
        Ok(())
    }

    /// Writes memory: all of `bytes`, else EFAULT.
    pub fn write(&mut self, tid: u32, address: u64, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let at = address.checked_add(done as u64).ok_or(Errno::FAULT)?;
            done += self.access(tid, |fd| rustix::io::pwrite(fd, &bytes[done..], at))?;
        }
        Ok(())
    }

    /// Reads a string up to its NUL, which is not part of it: ENAMETOOLONG where it is longer than a path.
    pub fn read_path(&mut self, tid: u32, address: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        // Most paths are short; a second read is rarer than the cost of a large first one.
        let mut want = 128usize;
        while out.len() < LONGEST_PATH {
            let at = address.checked_add(out.len() as u64).ok_or(Errno::FAULT)?;
            // Not beyond the page: the next one need not be there.
            let room = 4096 - (at % 4096) as usize;
            let mut piece = vec![0; want.min(room).min(LONGEST_PATH - out.len())];
            let n = self.access(tid, |fd| rustix::io::pread(fd, &mut piece[..], at))?;
            if let Some(end) = piece[..n].iter().position(|&c| c == 0) {
                out.extend_from_slice(&piece[..end]);
                return Ok(out);
            }
            out.extend_from_slice(&piece[..n]);
            want = 4096;
        }
        Err(Errno::NAMETOOLONG.into())
    }

    /// Returns a descriptor of the same open file as one of a process has: the one that its thread gave, else by pidfd_getfd(2) (Linux
    /// 5.6), which containers refuse. Then a tracer may have the thread give it, see [`Tracees::wanted`].
    pub fn descriptor(&self, tid: u32, fd: i32) -> io::Result<OwnedFd> {
        if let Some((_, _, lent)) = self.lent.as_ref().filter(|(of, number, _)| (*of, *number) == (tid, fd)) {
            return lent.try_clone();
        }
        let found = self.take(tid, fd);
        if matches!(&found, Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS))) {
            self.wanted.set(Some(fd));
        }
        found
    }

    /// Takes the number of a descriptor that could not be had since this was asked last.
    pub fn wanted(&self) -> Option<i32> {
        self.wanted.take()
    }

    /// Holds a descriptor of a thread that it gave, until there is another one or none.
    pub fn lend(&mut self, lent: Option<(u32, i32, OwnedFd)>) {
        self.lent = lent;
    }

    fn take(&self, tid: u32, fd: i32) -> io::Result<OwnedFd> {
        let process = self.status(tid, "Tgid:")?.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        sys::descriptor_of(process, fd)
    }

    /// Returns the rest of the line of `/proc/TID/status` that begins with `key`.
    pub fn status(&self, tid: u32, key: &str) -> io::Result<String> {
        let text = self.file(tid, "status")?;
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        Ok(line.ok_or(io::ErrorKind::NotFound)?.trim().to_string())
    }

    /// Returns the threads of a process, given any of them.
    pub fn threads(&self, tid: u32) -> io::Result<Vec<u32>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.proc, format!("{tid}/task"), flags, Mode::empty())?;
        let mut names = crate::fs::dirents::Names::default();
        names.read(&fd)?;
        let number = |at| std::str::from_utf8(names.get(at).to_bytes()).ok()?.parse().ok();
        Ok((0..names.len()).filter_map(number).collect())
    }

    /// Returns the umask of a thread.
    pub fn umask(&self, tid: u32) -> io::Result<u32> {
        let text = self.status(tid, "Umask:")?;
        u32::from_str_radix(&text, 8).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Returns a thread's timer slack in nanoseconds. The file is kept open; of a thread that is gone it says nothing, so that another
    /// one of the same number is seen.
    pub fn timer_slack(&self, tid: u32) -> io::Result<u64> {
        let mut kept = self.slack.borrow_mut();
        let mut bytes = [0; 24];
        let mut read = |fd: &OwnedFd| retry_on_intr(|| rustix::io::pread(fd, &mut bytes[..], 0));
        let n = match kept.get(&tid).map(&mut read) {
            Some(Ok(n)) => n,
            _ => {
                if kept.len() >= MOST_OPEN {
                    kept.clear();
                }
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let path = format!("{tid}/timerslack_ns");
                let fd = rustix::fs::openat(&self.proc, path, flags, Mode::empty())?;
                let n = read(&fd)?;
                kept.insert(tid, fd);
                n
            }
        };
        let text = std::str::from_utf8(&bytes[..n]).ok().and_then(|text| text.trim().parse().ok());
        text.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Returns a short file of `/proc/TID`.
    pub fn file(&self, tid: u32, name: &str) -> io::Result<String> {
        let path = format!("{tid}/{name}");
        let fd = rustix::fs::openat(&self.proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut bytes = vec![0; 8192];
        let n = retry_on_intr(|| rustix::io::read(fd.as_fd(), &mut bytes[..]))?;
        bytes.truncate(n);
        String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Writes a short file of `/proc/TID`.
    pub fn set_file(&self, tid: u32, name: &str, text: &str) -> io::Result<()> {
        let path = format!("{tid}/{name}");
        let fd = rustix::fs::openat(&self.proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(fd, text.as_bytes())?;
        Ok(())
    }
}
