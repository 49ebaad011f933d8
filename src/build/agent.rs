//! `RUN --mount=type=ssh`: a socket of the step's own, with the mode and owner that the mount asks for, that leads to an agent.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, Gid, Mode, Uid};

use super::place::Place;
use crate::error::{At, Error, Result};
use crate::fs::Kind;
use crate::fs::generation::generation;
use crate::fs::stat::stat_at;
use crate::store::Store;
use crate::threads;
use crate::tree::ledger::Record;

const OP: &str = "pass on agent";
/// The name of the socket in its directory.
const NAME: &str = "agent";
/// Most connections at once.
const MOST: usize = 64;

/// A socket that passes connections on to an agent until this is dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    place: Place,
    /// The ledger record of the socket, where the disk does not hold its owner.
    pub(super) record: Option<Record>,
    /// Closed, it ends the thread.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Makes the socket.
    ///
    /// # Errors
    /// There is no socket at `agent` that can be connected to.
    pub(super) fn new(store: &Store, agent: &Path, mode: u32, (uid, gid): (u32, u32)) -> Result<Proxy> {
        let shown = agent.as_os_str().as_encoded_bytes();
        // Said now, and not by the first command that asks.
        UnixStream::connect(agent).map_err(|error| {
            Error::io(OP, shown, error)
                .with_hint("name the socket of a running agent, such as $SSH_AUTH_SOCK")
        })?;
        let (place, root) = Place::new(store)?;
        // The path of a socket has at most 107 bytes (unix(7)), so it is relative to a descriptor.
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{NAME}", root_fd(&root)))
            .at(OP, root.describe(NAME.as_bytes()))?;
        let exact = crate::fs::capabilities::owns_all();
        if exact {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chownat(&root, NAME, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .at(OP, root.describe(NAME.as_bytes()))?;
        }
        rustix::fs::chmodat(&root, NAME, Mode::from_raw_mode(mode), AtFlags::empty())
            .at(OP, root.describe(NAME.as_bytes()))?;
        let name = c"agent";
        let stat = stat_at(&root, name).at(OP, root.describe(NAME.as_bytes()))?;
        let record = (!exact && (uid, gid) != (0, 0)).then(|| -> Result<Record> {
            Ok(Record {
                path: Vec::new(),
                dev: stat.dev,
                ino: stat.ino,
                generation: generation(&root, name, &stat).at(OP, root.describe(NAME.as_bytes()))?,
                disk_mode: stat.mode,
                kind: Kind::Socket,
                mode: mode as u16,
                uid,
                gid,
                rdev: (0, 0),
                xattrs: Vec::new(),
            })
        });
        let record = record.transpose()?;
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at(OP, shown)?;
        let agent = agent.to_path_buf();
        let thread =
            threads::start("treering-agent", move || serve(&listener, &stopped, &agent)).at(OP, shown)?;
        Ok(Proxy { place, record, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns where the socket is.
    pub(super) fn path(&self) -> PathBuf {
        self.place.path().join(NAME)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn root_fd(root: &crate::fs::Root) -> i32 {
    use std::os::fd::AsFd;
    root.as_fd().as_raw_fd()
}

/// Waits until one of two descriptors has something; whether the second one, which says that it is over, has not.
fn goes_on(fd: &impl std::os::fd::AsFd, stopped: &OwnedFd) -> bool {
    loop {
        let mut fds = [PollFd::new(fd, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return false,
            Ok(_) => return fds[1].revents().is_empty(),
        }
    }
}

fn serve(listener: &UnixListener, stopped: &OwnedFd, agent: &Path) {
    let open = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        while goes_on(listener, stopped) {
            let Ok((ours, _)) = listener.accept() else { continue };
            // One more than an agent is used for: the connection is closed, which ends the request of its user.
            if open.load(Ordering::Relaxed) >= MOST {
                continue;
            }
            let Ok(theirs) = UnixStream::connect(agent) else { continue };
            let count = Arc::clone(&open);
            count.fetch_add(1, Ordering::Relaxed);
            let work = move || {
                pass(&ours, &theirs, stopped);
                count.fetch_sub(1, Ordering::Relaxed);
            };
            if threads::spawn(scope, "treering-agent", work).is_err() {
                open.fetch_sub(1, Ordering::Relaxed);
            }
        }
    });
}

/// Passes bytes on, both ways, until one side has no more.
fn pass(a: &UnixStream, b: &UnixStream, stopped: &OwnedFd) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let mut fds = [
            PollFd::new(a, PollFlags::IN),
            PollFd::new(b, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        let came: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if came[2] {
            return;
        }
        for (came, from, to) in [(came[0], a, b), (came[1], b, a)] {
            if came && !copy_some(from, to, &mut buffer).is_ok_and(|more| more) {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

fn copy_some(mut from: &UnixStream, mut to: &UnixStream, buffer: &mut [u8]) -> io::Result<bool> {
    let n = loop {
        match io::Read::read(&mut from, buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    io::Write::write_all(&mut to, &buffer[..n])?;
    Ok(n > 0)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_connection_is_passed_on_and_ends_with_the_proxy() {
        // The name of a socket is short.
        let temp = tempfile::tempdir_in("/tmp").unwrap();
        let store = Store::open(temp.path().join("store")).unwrap();
        let socket = temp.path().join("agent");
        let agent = UnixListener::bind(&socket).unwrap();
        let echo = std::thread::spawn(move || {
            // The first connection is the look whether there is an agent.
            drop(agent.accept().unwrap());
            let (mut stream, _) = agent.accept().unwrap();
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
            stream.read(&mut bytes).unwrap()
        });
        let proxy = Proxy::new(&store, &socket, 0o600, (0, 0)).unwrap();
        let path = proxy.path();
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        drop(proxy);
        assert_eq!(echo.join().unwrap(), 0);
        assert!(UnixStream::connect(&path).is_err());
        let error = Proxy::new(&store, &temp.path().join("nowhere"), 0o600, (0, 0)).unwrap_err();
        assert!(error.hint().is_some());
    }
}
