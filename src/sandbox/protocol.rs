//! Messages between the host program and its helper, over one stream socket.
//!
//! A message is a length (four bytes, little-endian), a kind (one byte) and a body of that length. The first message each
//! way is [`Message::HELLO`] with the protocol's version. Descriptors travel with the first byte of the message they belong to.
//! Lengths, counts and descriptors are capped, because the two sides may be of different builds.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// The version of the protocol. Both sides refuse any other.
pub const VERSION: u32 = 5;

/// The longest body: arguments and environment are at most some 6 MB (execve(2), MAX_ARG_STRLEN and the stack's limit).
const MOST_BYTES: usize = 16 << 20;
/// The most descriptors in one message (the kernel's own limit is 253).
const MOST_DESCRIPTORS: usize = 64;

/// A message.
#[derive(Debug)]
pub struct Message {
    /// The kind of the message, one of the constants.
    pub kind: u8,
    /// The rest of it.
    pub body: Vec<u8>,
    /// Descriptors sent along.
    pub descriptors: Vec<OwnedFd>,
    /// The process that sent it, by its number in the receiver's namespace; where that is asked for.
    pub sender: Option<u32>,
}

impl Message {
    /// Each way, first: the version.
    pub const HELLO: u8 = 1;
    /// To the helper: what to run, see [`super::order::Order`].
    pub const START: u8 = 2;
    /// To the helper: send this signal to the command.
    pub const SIGNAL: u8 = 3;
    /// From the helper: the command is about to be executed. With the terminal's descriptor where one was made.
    pub const STARTED: u8 = 4;
    /// From the helper: the command ended; exit code and signal.
    pub const EXITED: u8 = 5;
    /// From the helper: the command could not be started, or the step was stopped.
    pub const FAILED: u8 = 6;
    /// Within the helper: the command waits to be let go; with its filter's listener. The body: 1 where it could have no filter, else 0,
    /// and what the ledger is to say of files that are shown.
    pub const LISTENER: u8 = 7;
    /// To the helper, and within it: run one more command in the step; its number, its order, and its three streams.
    pub const EXEC: u8 = 8;
    /// To the helper, and within it: send a signal to such a command; number and signal.
    pub const EXEC_SIGNAL: u8 = 9;
    /// From the helper: such a command is about to be executed; its number. With the terminal's descriptor where one was made.
    pub const EXEC_STARTED: u8 = 10;
    /// From the helper, and within it: such a command ended; number, exit code and signal.
    pub const EXEC_EXITED: u8 = 11;
    /// From the helper, and within it: such a command could not be started; its number, and the failure.
    pub const EXEC_FAILED: u8 = 12;
    /// To the process that makes files, on its standard input: where they go, see [`super::place`].
    pub const PLACE: u8 = 13;
    /// To that process: the next file, directory or link.
    pub const PLACE_ENTRY: u8 = 14;
    /// To that process: the next bytes of the file.
    pub const PLACE_DATA: u8 = 15;
    /// To that process: nothing more comes.
    pub const PLACE_END: u8 = 16;
    /// From that process: all is there; the attributes that are not.
    pub const PLACED: u8 = 17;
}

/// An end of the socket.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Takes over the descriptor of a connected stream socket.
    pub fn new(fd: OwnedFd) -> Channel {
        Channel(fd)
    }

    /// Makes two connected ends, both close-on-exec.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok((Channel(a), Channel(b)))
    }

    /// Has each message that is received from now on say which process sent it.
    pub fn ask_for_senders(&self) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_passcred(&self.0, true)?)
    }

    /// Sends the version.
    pub fn hello(&self) -> io::Result<()> {
        self.send(Message::HELLO, &VERSION.to_le_bytes(), &[])
    }

    /// Receives the other side's version and refuses another one than ours.
    pub fn expect_hello(&self) -> io::Result<()> {
        match self.receive()? {
            Some(Message { kind: Message::HELLO, body, .. }) if body == VERSION.to_le_bytes() => Ok(()),
            Some(Message { kind: Message::HELLO, .. }) => {
                Err(malformed("host program and helper are of different versions"))
            }
            Some(_) => Err(malformed("the first message is not the version")),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Sends one message. A short one goes in one piece, so that several processes may write to one socket.
    pub fn send(&self, kind: u8, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if body.len() > MOST_BYTES || descriptors.len() > MOST_DESCRIPTORS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too large"));
        }
        let mut head = [0; 5];
        head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
        head[4] = kind;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let parts = [IoSlice::new(&head), IoSlice::new(body)];
        let sent =
            retry_on_intr(|| rustix::net::sendmsg(&self.0, &parts, &mut ancillary, SendFlags::NOSIGNAL))?;
        self.send_all(&head[sent.min(head.len())..])?;
        self.send_all(&body[sent.saturating_sub(head.len())..])
    }

    fn send_all(&self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            let sent = retry_on_intr(|| rustix::net::send(&self.0, rest, SendFlags::NOSIGNAL))?;
            rest = &rest[sent..];
        }
        Ok(())
    }

    /// Receives one message; `None` when the other side is gone.
    pub fn receive(&self) -> io::Result<Option<Message>> {
        let mut head = [0; 5];
        let mut descriptors = Vec::new();
        let mut sender = None;
        let mut got = 0;
        while got < head.len() {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS), ScmCredentials(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let received = rustix::net::recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut head[got..])],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            );
            let received = match received {
                Err(Errno::INTR) => continue,
                // The other side ended with messages of ours unread.
                Err(Errno::CONNRESET) => return Ok(None),
                received => received?.bytes,
            };
            for message in ancillary.drain() {
                match message {
                    RecvAncillaryMessage::ScmRights(fds) => descriptors.extend(fds),
                    RecvAncillaryMessage::ScmCredentials(from) => {
                        sender = u32::try_from(from.pid.as_raw_nonzero().get()).ok();
                    }
                    _ => {}
                }
            }
            match received {
                0 if got == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => got += n,
            }
        }
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length > MOST_BYTES {
            return Err(malformed("a message is longer than allowed"));
        }
        let mut body = Vec::new();
        body.try_reserve_exact(length)?;
        body.resize(length, 0);
        let mut filled = 0;
        while filled < length {
            match retry_on_intr(|| rustix::net::recv(&self.0, &mut body[filled..], RecvFlags::empty()))?.0 {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
        Ok(Some(Message { kind: head[4], body, descriptors, sender }))
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> OwnedFd {
        channel.0
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A writer of the fields of a body.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Appends a number.
    pub fn number(&mut self, n: u64) -> &mut Self {
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }

    /// Appends bytes and their length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a list of byte strings.
    pub fn list(&mut self, list: &[Vec<u8>]) -> &mut Self {
        self.number(list.len() as u64);
        for bytes in list {
            self.bytes(bytes);
        }
        self
    }

    /// Returns the body.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A reader of the fields of a body.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of a body.
    pub fn new(body: &'a [u8]) -> Reader<'a> {
        Reader(body)
    }

    /// Reads a number.
    pub fn number(&mut self) -> io::Result<u64> {
        let (number, rest) = self.0.split_first_chunk().ok_or_else(|| malformed("a message is cut short"))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*number))
    }

    /// Reads a number of 32 bits.
    pub fn small(&mut self) -> io::Result<u32> {
        u32::try_from(self.number()?).map_err(|_| malformed("a number in a message is too large"))
    }

    /// Reads bytes.
    pub fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let short = || malformed("a message is cut short");
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = rest;
        Ok(bytes.to_vec())
    }

    /// Reads a list of byte strings.
    pub fn list(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let count = self.number()?;
        // Every item takes at least the eight bytes of its length.
        if count > (self.0.len() / 8) as u64 {
            return Err(malformed("a message is cut short"));
        }
        (0..count).map(|_| self.bytes()).collect()
    }

    /// Refuses bytes that are left over.
    pub fn end(self) -> io::Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed("a message has bytes left over")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_as_they_were_sent() {
        let (a, b) = Channel::pair().unwrap();
        let (end, other) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let body = vec![7; 300_000];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                a.hello().unwrap();
                a.send(Message::START, &body, &[end.as_fd()]).unwrap();
                a.send(Message::SIGNAL, b"", &[]).unwrap();
            });
            b.expect_hello().unwrap();
            let message = b.receive().unwrap().unwrap();
            assert_eq!((message.kind, message.descriptors.len()), (Message::START, 1));
            assert_eq!(message.body, body);
            rustix::io::write(&other, b"x").unwrap();
            let mut byte = [0];
            rustix::io::read(&message.descriptors[0], &mut byte).unwrap();
            assert_eq!(&byte, b"x");
            assert_eq!(b.receive().unwrap().unwrap().kind, Message::SIGNAL);
        });
        b.ask_for_senders().unwrap();
        a.send(Message::SIGNAL, b"", &[end.as_fd()]).unwrap();
        let message = b.receive().unwrap().unwrap();
        assert_eq!((message.sender, message.descriptors.len()), (Some(std::process::id()), 1));
        drop(a);
        assert!(b.receive().unwrap().is_none());
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let (a, b) = Channel::pair().unwrap();
        a.send_all(&[255, 255, 255, 255, 1]).unwrap();
        assert_eq!(b.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (a, b) = Channel::pair().unwrap();
        a.send_all(&[10, 0, 0, 0, 1, 2]).unwrap();
        drop(a);
        assert_eq!(b.receive().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (a, b) = Channel::pair().unwrap();
        a.send(Message::HELLO, &99u32.to_le_bytes(), &[]).unwrap();
        assert!(b.expect_hello().unwrap_err().to_string().contains("different versions"));
        let mut writer = Writer::default();
        writer.number(u64::MAX);
        let body = writer.finish();
        assert!(Reader::new(&body).list().is_err() && Reader::new(&body).bytes().is_err());
        assert!(Reader::new(&body).small().is_err() && Reader::new(&body[1..]).number().is_err());
        assert!(Reader::new(&body).end().is_err());
    }
}
