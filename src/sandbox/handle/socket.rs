//! Sockets with a path in the tree, bound and connected to by the supervisor where the kernel gives the step no root.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::create::Spot;
use super::path::Named;
use super::{Answer, Asked, Reply, State, access};
use crate::fs::Kind;
use crate::sandbox::sys;
use crate::sandbox::syscalls::Call;

impl State {
    /// Answers bind(2) and connect(2) of a socket with a path. By network the kernel does it.
    pub(super) fn local_socket(&mut self, asked: &Asked) -> Reply {
        let length = (asked.arguments[2] as usize).min(110);
        let mut address = vec![0; length];
        self.tracees.read(asked.tid, asked.arguments[1], &mut address)?;
        let family = address.first_chunk::<2>().map(|family| u16::from_ne_bytes(*family));
        if family != Some(libc::AF_UNIX as u16) || length <= 2 || address[2] == 0 {
            return Ok(Answer::Continue);
        }
        let path: Vec<u8> = address[2..].iter().copied().take_while(|&c| c != 0).collect();
        // Without this call, which some containers refuse, there is no way to a socket of the step.
        let socket = self.tracees.descriptor(asked.tid, asked.int(0)).map_err(|_| Errno::ACCESS)?;
        let binds = asked.call == Call::Bind;
        let named = Named { dir: libc::AT_FDCWD, path, follow: !binds };
        let reached = self.reached(asked, &named)?;
        if !binds {
            let fd = reached.there()?;
            let node = self.node_of(rustix::io::fcntl_dupfd_cloexec(&fd, 0)?)?;
            self.check(asked, &node, access::WRITE)?;
            let through = State::through(&fd);
            sys::connect(&socket, through.as_bytes())?;
            let caller = self.caller(asked);
            let (uid, gid) = (caller.uid.effective, caller.gid.effective);
            if let Some(service) = self.service.as_mut() {
                let process = service.threads.get(&asked.tid).map_or(asked.tid, |thread| thread.process);
                service.connected = Some((process, uid, gid));
            }
            return Ok(Answer::Value(0));
        }
        if reached.fd.is_some() {
            return Err(Errno::ADDRINUSE.into());
        }
        let Some((directory, name)) = reached.at else { return Err(Errno::ADDRINUSE.into()) };
        if reached.read_only {
            return Err(Errno::ROFS.into());
        }
        self.bind_at(asked, &socket, directory, name)
    }

    /// Binds a socket to a name in a directory, with the owner that a new file of the thread has.
    fn bind_at(&mut self, asked: &Asked, socket: &OwnedFd, directory: OwnedFd, name: Vec<u8>) -> Reply {
        let spot = Spot { directory: self.node_of(directory)?, name };
        let (birth, _) = self.birth(asked.tid, &spot.directory, Kind::Socket, 0o777)?;
        // A path of a socket is short; a name from within its directory is as short as can be.
        rustix::process::fchdir(&spot.directory.fd)?;
        let bound = sys::bind(socket.as_fd(), &spot.name);
        rustix::process::fchdir(self.tracees.proc())?;
        bound?;
        self.made(&spot, birth)
    }
}
