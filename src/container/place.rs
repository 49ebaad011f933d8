//! Copying into a container that runs: the files go to a process beside its command, which makes them.

use std::io;

use super::control::{await_room, receive};
use super::copy::CopiedIn;
use super::handle::Container;
use crate::archive::{CopySource, CopyTarget, Entries, each_entry, no_whiteouts};
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::Kind;
use crate::layer::Loss;
use crate::layer::header::{EntryKind, HeaderEntry};
use crate::progress::{Control, Counters};
use crate::sandbox::place::{self, Entry, Place, What};
use crate::sandbox::protocol::{Channel, Message};
use crate::sandbox::{StepOptions, Stream};

const COPY: &str = "copy files";
/// How many bytes of content go at once. Where a socket can be written to, that much has room in it (unix_writable() in the
/// kernel's net/unix/af_unix.c: three quarters of the buffer are free).
const PIECE: usize = 64 * 1024;

impl Container {
    /// Does what [`Container::copy_in`] does where a command runs.
    pub(super) fn place(
        &self,
        files: &(impl CopySource + ?Sized),
        entry: u32,
        target: &CopyTarget,
        control: &Control,
    ) -> Result<CopiedIn> {
        let list = files.list();
        no_whiteouts(list, entry, &target.name)?;
        no_whiteouts(list, entry, &target.path)?;
        let is_directory = list.meta(entry).kind == Kind::Directory;
        let (ours, theirs) = Channel::pair().at(COPY, "make socket")?;
        let step = StepOptions {
            // An order has a command; this one is not executed.
            arguments: vec![b"cp".to_vec()],
            places: true,
            stdin: Stream::Fd(theirs.into()),
            ..StepOptions::default()
        };
        let process = self.start_beside(step, COPY)?;
        let place = Place { path: target.path.clone(), name: target.name.clone(), is_directory };
        let mut sender = Sender { channel: &ours, control };
        let sent = sender.send(Message::PLACE, &place.encode()).and_then(|()| {
            each_entry(files, entry, b"", true, &mut sender, control)?;
            sender.send(Message::PLACE_END, &[])
        });
        // Of a process that gave up the socket cannot be written to, and says why.
        let gone = |error: &Error| error.kind() == ErrorKind::CommandFailed;
        if let Err(error) = sent
            && !gone(&error)
        {
            // Dropped, it ends.
            return Err(error);
        }
        let answer = receive(&ours, COPY, control)?;
        let ended = process.wait(control);
        let answer = match (answer, ended) {
            (Some(answer), _) => answer,
            (None, Err(error)) => return Err(error),
            (None, Ok(_)) => return Err(over()),
        };
        let wrong = || Error::corrupt(COPY, "the process that makes files sent an invalid message");
        match place::answer(&answer).map_err(|_| wrong())? {
            Ok(lost) => {
                let reason = "the disk takes no such attribute here";
                let loss = |(path, attribute): (Vec<u8>, _)| Loss { path: path.into(), attribute, reason };
                Ok(CopiedIn { losses: lost.into_iter().map(loss).collect(), unkept: 0 })
            }
            Err((kind, message)) => Err(Error::new(kind, COPY, message)),
        }
    }
}

fn over() -> Error {
    Error::new(ErrorKind::CommandFailed, COPY, "the container ended before all was copied")
}

/// Sends entries and their content to the process that makes them.
struct Sender<'a> {
    channel: &'a Channel,
    control: &'a Control,
}

impl Sender<'_> {
    fn send(&self, kind: u8, body: &[u8]) -> Result<()> {
        // A command of the container can stop the process that reads.
        await_room(self.channel, COPY, self.control)?;
        match self.channel.send(kind, body, &[]) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                Err(over())
            }
            other => other.at(COPY, "send"),
        }
    }
}

impl Entries for Sender<'_> {
    fn entry(&mut self, entry: &HeaderEntry<'_>) -> Result<()> {
        let kind = |kind| What::Node(kind);
        let what = match entry.kind {
            EntryKind::File => kind(Kind::File),
            EntryKind::Directory => kind(Kind::Directory),
            EntryKind::Symlink => kind(Kind::Symlink),
            EntryKind::CharDevice => kind(Kind::CharDevice),
            EntryKind::BlockDevice => kind(Kind::BlockDevice),
            EntryKind::Fifo => kind(Kind::Fifo),
            EntryKind::Hardlink => What::HardLink,
        };
        let body = Entry {
            path: entry.path.to_vec(),
            what,
            mode: entry.mode,
            owner: (entry.uid, entry.gid),
            mtime: entry.mtime,
            link: entry.link.to_vec(),
            device: entry.rdev,
            xattrs: entry.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        };
        self.send(Message::PLACE_ENTRY, &body.encode())?;
        Counters::add(&self.control.counters.entries, 1);
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        for bytes in bytes.chunks(PIECE) {
            self.send(Message::PLACE_DATA, bytes)?;
            Counters::add(&self.control.counters.bytes_written, bytes.len() as u64);
        }
        Ok(())
    }
}
