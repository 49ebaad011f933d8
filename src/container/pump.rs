//! The output of a container's command: into its log, to the sink it was started with, and to those that are attached.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::handle::Container;
use super::log;
use crate::event::OutputStream;

/// A receiver of the output of a command.
pub type Sink = dyn FnMut(OutputStream, &[u8]) -> io::Result<()> + Send;

/// How often it is looked whether the command has ended.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// How many pieces of output wait for one that is attached; some 4 MiB.
const WAITING: usize = 64;
/// How long the command is held up by one that is attached and does not read.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// The stand-in for an exit code while the command runs.
const RUNS: i32 = i32::MIN;

/// A piece of output on its way to one that is attached.
pub(super) type Piece = (OutputStream, Arc<[u8]>);

/// State that the threads of a supervisor share.
#[derive(Debug)]
pub(super) struct Shared {
    code: AtomicI32,
    /// Whether all output was read.
    read: AtomicBool,
    attached: Mutex<Vec<SyncSender<Piece>>>,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared { code: AtomicI32::new(RUNS), read: AtomicBool::new(false), attached: Mutex::default() }
    }
}

impl Shared {
    /// Says that the command ended.
    pub fn end(&self, code: i32) {
        self.code.store(code, Ordering::Release);
    }

    /// Returns the exit code, once the command has ended.
    pub fn ended(&self) -> Option<i32> {
        Some(self.code.load(Ordering::Acquire)).filter(|&code| code != RUNS)
    }

    /// Returns whether all output was read, and sent to the attached client.
    pub fn is_read(&self) -> bool {
        self.read.load(Ordering::Acquire)
    }

    /// Gives the output from now on.
    pub fn subscribe(&self) -> Receiver<Piece> {
        let (sender, receiver) = sync_channel(WAITING);
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_read() {
            attached.push(sender);
        }
        receiver
    }

    fn pass(&self, stream: OutputStream, bytes: &[u8]) {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        if attached.is_empty() {
            return;
        }
        let bytes: Arc<[u8]> = bytes.into();
        attached.retain(|to| {
            let end = std::time::Instant::now() + PATIENCE;
            loop {
                match to.try_send((stream, bytes.clone())) {
                    Ok(()) => return true,
                    // One that does not read for long does not stop the command; it is let go.
                    Err(TrySendError::Full(_)) if std::time::Instant::now() < end => {
                        std::thread::sleep(std::time::Duration::from_millis(2));
                    }
                    Err(_) => return false,
                }
            }
        });
    }

    fn close(&self) {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        self.read.store(true, Ordering::Release);
        attached.clear();
    }
}

/// Reads all output until the command has ended and nothing is left.
pub(super) fn run(
    container: &Container,
    mut ends: Vec<(OutputStream, OwnedFd)>,
    mut sink: Option<Box<Sink>>,
    shared: &Shared,
) {
    let mut log = log::Writer::open(&container.slot);
    let mut bytes = vec![0; 64 << 10];
    while !ends.is_empty() {
        // Looked at before what is there is read, so that nothing that came before the end is left.
        let over = shared.ended().is_some();
        let mut fds: Vec<_> = ends.iter().map(|(_, fd)| PollFd::new(fd, PollFlags::IN)).collect();
        let wait = if over { Timespec { tv_sec: 0, tv_nsec: 0 } } else { LOOK };
        match poll(&mut fds, Some(&wait)) {
            Ok(0) if over => break,
            Ok(0) => {
                log.flush();
                continue;
            }
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => break,
        }
        let came: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let mut at = 0;
        ends.retain(|(stream, fd)| {
            at += 1;
            if !came[at - 1] {
                return true;
            }
            let n = match rustix::io::read(fd, &mut bytes[..]) {
                Err(Errno::INTR | Errno::AGAIN) => return true,
                // The end of a terminal is an error (EIO).
                Ok(0) | Err(_) => return false,
                Ok(n) => n,
            };
            log.write(*stream, &bytes[..n]);
            shared.pass(*stream, &bytes[..n]);
            match &mut sink {
                // A reader that went away has the same effect on the command as without the pump in between.
                Some(sink) => sink(*stream, &bytes[..n]).is_ok(),
                None => true,
            }
        });
    }
    log.flush();
    shared.close();
}
