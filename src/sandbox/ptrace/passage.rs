//! How a descriptor of this process becomes one of a traced thread's.
//!
//! A notification is answered with a descriptor by the kernel itself; ptrace(2) has nothing like it. To have the thread open the file by
//! its path is no way: between the answer and the opening the path may have come to lead elsewhere, which may be out of the tree. Nor is
//! its number in this process's /proc, which the thread must not see. So the thread receives it from a local socket (unix(7),
//! SCM_RIGHTS): it is made to connect one to a name that this process listens on, to keep that under a high number, closed when a program
//! is executed, and, in place of the call that gets the descriptor, to make recvmsg(2). The kernel gives it the lowest number that is
//! free, as it would have by the call.
//!
//! The same connection brings descriptors the other way where pidfd_getfd(2) is refused, as in containers: the thread is made to send one
//! (sendmsg(2)), and then put back to its call.
//!
//! A program may close the socket or put another file in its place, and a process copied by fork(2) has it too: so before each use the
//! number must still lead to that socket, or a new one is made.

use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::Tracer;
use super::call::Calls;
use crate::sandbox::handle::State;
use crate::sandbox::sys;

/// The socket that threads connect to.
#[derive(Debug)]
pub struct Door {
    listener: OwnedFd,
    /// Its address, as connect(2) takes it.
    address: Vec<u8>,
}

/// A connection.
#[derive(Debug)]
pub struct Passage {
    ours: OwnedFd,
    /// The thread's descriptor of the other end.
    number: i32,
    /// The name of that end in /proc.
    name: Vec<u8>,
    /// Whether what is sent need not arrive: something else may be underway.
    broken: Cell<bool>,
}

/// How many connections may wait; another process of the step could make them.
const MOST_WAITING: i32 = 64;
/// How often a connection is tried.
const MOST_TRIES: usize = 4;
/// The number of a socket is below this, as near as there is room.
const HIGHEST: u64 = 1024;

/// Where the parts of a message are in a thread's memory: struct msghdr of 56 bytes, struct iovec of 16, one byte of data, and a control
/// message with one descriptor (cmsg(3)).
const VECTOR: u64 = 56;
const DATA: u64 = 72;
const CONTROL: u64 = 80;
const CONTROL_LENGTH: u64 = 24;
const LENGTH: u64 = CONTROL + CONTROL_LENGTH;

impl Door {
    fn new() -> io::Result<Door> {
        let mut random = [0; 16];
        sys::random(&mut random)?;
        let name = format!("treering-{:032x}", u128::from_ne_bytes(random));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&listener, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
        rustix::net::listen(&listener, MOST_WAITING)?;
        let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
        address.push(0);
        address.extend_from_slice(name.as_bytes());
        Ok(Door { listener, address })
    }

    /// Takes the connection of a process, and drops those of others, which have nothing to seek here.
    fn accept(&self, process: u32) -> io::Result<OwnedFd> {
        loop {
            let socket = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC)?;
            let peer = rustix::net::sockopt::socket_peercred(&socket)?;
            if peer.pid.as_raw_nonzero().get() as u32 == process {
                return Ok(socket);
            }
        }
    }
}

impl Passage {
    fn send(&self, fd: &OwnedFd) -> io::Result<()> {
        let descriptors = [fd.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::sendmsg(&self.ours, &[IoSlice::new(b"!")], &mut ancillary, flags)?;
        Ok(())
    }

    /// Takes what the other end sent. Any process that has that end may send, and harms itself alone.
    fn received(&self) -> io::Result<Option<OwnedFd>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut data = [0];
        rustix::net::recvmsg(&self.ours, &mut [IoSliceMut::new(&mut data)], &mut ancillary, flags)?;
        let rights = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok(rights)
    }
}

impl Tracer {
    /// Gives the thread a descriptor of the same open file, and returns its number there.
    pub(super) fn pass(
        &mut self,
        calls: &mut Calls,
        fd: &OwnedFd,
        close_on_exec: bool,
        state: &mut State,
    ) -> io::Result<i32> {
        self.through(calls, state, |tracer, calls, passage, room, state| {
            let number = tracer.receive(calls, passage, room, fd, close_on_exec, state)?;
            number.ok_or_else(|| Errno::MFILE.into())
        })
    }

    /// Has the thread give a descriptor of one of its open files.
    pub(super) fn take(&mut self, calls: &mut Calls, fd: i32, state: &mut State) -> io::Result<OwnedFd> {
        self.through(calls, state, |tracer, calls, passage, room, state| {
            // What something else sent before.
            while passage.received().is_ok() {}
            let mut bytes = message(room);
            bytes[CONTROL as usize..].copy_from_slice(&rights(fd));
            state.write_memory(calls.tid, room, &bytes)?;
            let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u64;
            tracer.checked_call(calls, libc::SYS_sendmsg, [passage.number as u64, room, flags, 0, 0, 0])?;
            passage.received()?.ok_or_else(|| io::ErrorKind::InvalidData.into())
        })
    }

    /// Does something by the connection with a thread, and memory of that.
    fn through<T>(
        &mut self,
        calls: &mut Calls,
        state: &mut State,
        act: impl FnOnce(&mut Tracer, &mut Calls, &Passage, u64, &mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let room = self.room(calls, LENGTH)?;
        let result = (|| -> io::Result<T> {
            let passage = self.passage(calls, room.0, state)?;
            let result = act(self, calls, &passage, room.0, state);
            let fault = |error: &io::Error| !matches!(error.raw_os_error(), Some(libc::EBADF | libc::EMFILE));
            passage.broken.set(passage.broken.get() || result.as_ref().is_err_and(fault));
            result
        })();
        // Memory that the process does not have any more is of no use.
        if !matches!(&result, Err(error) if error.raw_os_error() == Some(libc::EFAULT)) {
            self.free(calls.tid, room);
        }
        result
    }

    /// Sends the descriptor and has the thread receive it; `None` when there was no room for it.
    fn receive(
        &mut self,
        calls: &mut Calls,
        passage: &Passage,
        room: u64,
        fd: &OwnedFd,
        close_on_exec: bool,
        state: &mut State,
    ) -> io::Result<Option<i32>> {
        state.write_memory(calls.tid, room, &message(room))?;
        passage.send(fd)?;
        let close = if close_on_exec { libc::MSG_CMSG_CLOEXEC } else { 0 };
        let flags = (libc::MSG_DONTWAIT | close) as u64;
        self.checked_call(calls, libc::SYS_recvmsg, [passage.number as u64, room, flags, 0, 0, 0])?;
        let mut head = [0; VECTOR as usize];
        let mut control = [0; CONTROL_LENGTH as usize];
        state.read_memory(calls.tid, room, &mut head)?;
        state.read_memory(calls.tid, room + CONTROL, &mut control)?;
        let filled = u64::from_ne_bytes(head[40..48].try_into().expect("8 bytes"));
        let number = i32::from_ne_bytes(control[16..20].try_into().expect("4 bytes"));
        Ok((filled >= 20).then_some(number))
    }

    /// Returns the connection with the thread, made where there is none.
    fn passage(&mut self, calls: &mut Calls, room: u64, state: &mut State) -> io::Result<Rc<Passage>> {
        let tid = calls.tid;
        let kept = self.threads.entry(tid).or_default().passage.clone();
        if let Some(passage) = &*kept.borrow()
            && !passage.broken.get()
            && state.descriptor_name(tid, passage.number).is_ok_and(|name| name == passage.name)
        {
            return Ok(passage.clone());
        }
        let passage = Rc::new(self.connect(calls, room, state)?);
        *kept.borrow_mut() = Some(passage.clone());
        Ok(passage)
    }

    fn connect(&mut self, calls: &mut Calls, room: u64, state: &mut State) -> io::Result<Passage> {
        if self.door.is_none() {
            self.door = Some(Door::new()?);
        }
        let address = self.door.as_ref().map(|door| door.address.clone()).unwrap_or_default();
        let kind = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u64;
        let socket = self.checked_call(calls, libc::SYS_socket, [libc::AF_UNIX as u64, kind, 0, 0, 0, 0])?;
        // Numbers from below are the program's.
        let limit = state.descriptor_limit(calls.tid).unwrap_or(HIGHEST).min(HIGHEST);
        let least = limit - (limit / 4).min(24);
        let again = [socket, libc::F_DUPFD_CLOEXEC as u64, least, 0, 0, 0];
        let number = self.checked_call(calls, libc::SYS_fcntl, again);
        self.call(calls, libc::SYS_close, [socket, 0, 0, 0, 0, 0])?;
        let number = number?;
        let connected = (|| -> io::Result<Passage> {
            state.write_memory(calls.tid, room, &address)?;
            let process = state.process_of(calls.tid)?;
            let arguments = [number, room, address.len() as u64, 0, 0, 0];
            for _ in 0..MOST_TRIES {
                let made = self.checked_call(calls, libc::SYS_connect, arguments);
                let accepted = self.door.as_ref().map(|door| door.accept(process));
                match (made, accepted) {
                    (Ok(_), Some(Ok(ours))) => {
                        let name = state.descriptor_name(calls.tid, number as i32)?;
                        return Ok(Passage { ours, number: number as i32, name, broken: Cell::new(false) });
                    }
                    // So many others waited that there was no place for this one; now there is.
                    (Err(error), _) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                    (Err(error), _) | (_, Some(Err(error))) => return Err(error),
                    (Ok(_), None) => break,
                }
            }
            Err(Errno::AGAIN.into())
        })();
        if connected.is_err() {
            let _ = self.call(calls, libc::SYS_close, [number, 0, 0, 0, 0, 0]);
        }
        connected
    }
}

/// Lays out the control message that sends a descriptor.
fn rights(fd: i32) -> [u8; CONTROL_LENGTH as usize] {
    let mut out = [0; CONTROL_LENGTH as usize];
    out[..8].copy_from_slice(&20u64.to_ne_bytes());
    out[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
    out[12..16].copy_from_slice(&libc::SCM_RIGHTS.to_ne_bytes());
    out[16..20].copy_from_slice(&fd.to_ne_bytes());
    out
}

/// Lays out a message that is to be received at an address.
fn message(at: u64) -> Vec<u8> {
    let words = [0, 0, at + VECTOR, 1, at + CONTROL, CONTROL_LENGTH, 0, at + DATA, 1, 0];
    let mut out: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
    out.resize(LENGTH as usize, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_lies_as_the_kernel_reads_it() {
        let mut bytes = message(4096);
        // The fields of struct msghdr are where the C library has them.
        let word = |bytes: &[u8], at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(VECTOR as usize, size_of::<libc::msghdr>());
        assert_eq!(word(&bytes, std::mem::offset_of!(libc::msghdr, msg_iov)), 4096 + VECTOR);
        assert_eq!(word(&bytes, std::mem::offset_of!(libc::msghdr, msg_iovlen)) as u32, 1);
        assert_eq!(word(&bytes, std::mem::offset_of!(libc::msghdr, msg_control)), 4096 + CONTROL);
        assert_eq!(40, std::mem::offset_of!(libc::msghdr, msg_controllen));
        let vector = bytes.split_off(VECTOR as usize);
        assert_eq!((word(&vector, 0), word(&vector, 8)), (4096 + DATA, 1));
        assert_eq!(vector.len() as u64, LENGTH - VECTOR);
    }

    #[test]
    fn a_connection_of_another_process_is_dropped() {
        let door = Door::new().unwrap();
        let connect = || {
            let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
            let address = SocketAddrUnix::new_abstract_name(&door.address[3..]).unwrap();
            rustix::net::connect(&socket, &address).unwrap();
            socket
        };
        let _first = connect();
        assert_eq!(door.accept(1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let _second = connect();
        assert!(door.accept(std::process::id()).is_ok());
    }
}
