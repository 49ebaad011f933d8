//! SO_PEERCRED: the user at the other end of a local socket (unix(7)), as the step has it.

use std::os::fd::AsFd;

use super::{Answer, Asked, Reply, State};

/// struct ucred of linux/socket.h: process, user, group.
const UCRED: usize = 12;

impl State {
    /// Answers getsockopt(2) of this one option. The kernel names the process that made the connection; its emulated
    /// credentials are in the table.
    pub fn peer(&mut self, asked: &Asked) -> Reply {
        if asked.int(1) != libc::SOL_SOCKET || self.credentials.plain() {
            return Ok(Answer::Continue);
        }
        let Ok(fd) = self.tracees.descriptor(asked.tid, asked.int(0)) else { return Ok(Answer::Continue) };
        let Ok(peer) = rustix::net::sockopt::socket_peercred(fd.as_fd()) else { return Ok(Answer::Continue) };
        let pid = peer.pid.as_raw_nonzero().get() as u32;
        let supervisor = rustix::process::getpid().as_raw_nonzero().get() as u32;
        if let Some(connected) = self.service.as_ref().and_then(|service| service.connected)
            && pid == supervisor
        {
            return self.give_peer(asked, connected);
        }
        // A process of the step has a number in the namespace of the step as well; one of the host has not.
        let Ok(ids) = self.tracees.status(pid, "NSpid:") else { return Ok(Answer::Continue) };
        let mine = self.tracees.status(asked.tid, "NSpid:")?;
        let (ids, mine): (Vec<&str>, Vec<&str>) =
            (ids.split_whitespace().collect(), mine.split_whitespace().collect());
        let foreign = self.service.as_ref().is_some_and(|service| !service.threads.contains_key(&pid));
        if ids.len() != mine.len() || foreign {
            return Ok(Answer::Continue);
        }
        let number: u32 = ids.last().and_then(|id| id.parse().ok()).unwrap_or(0);
        let who = self.credentials.of(&self.tracees, pid);
        let peer = (number, who.uid.effective, who.gid.effective);
        self.give_peer(asked, peer)
    }

    fn give_peer(&mut self, asked: &Asked, (pid, uid, gid): (u32, u32, u32)) -> Reply {
        let mut out = Vec::with_capacity(UCRED);
        for word in [pid, uid, gid] {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        let mut size = [0; 4];
        self.tracees.read(asked.tid, asked.arguments[4], &mut size)?;
        let size = (u32::from_ne_bytes(size) as usize).min(UCRED);
        self.tracees.write(asked.tid, asked.arguments[3], &out[..size])?;
        self.tracees.write(asked.tid, asked.arguments[4], &(size as u32).to_ne_bytes())?;
        Ok(Answer::Value(0))
    }
}
