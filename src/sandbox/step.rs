//! The host program's side of a step: starting it, talking to its helper, waiting for its end.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;

use super::init::Failure;
use super::order::{Bind, Order};
use super::points::Points;
use super::protocol::{Channel, Message, Reader, Writer};
use super::rung::Rung;
use super::{Outcome, StepOptions, Stream, helper, launch, names};
use crate::error::{At, Error, ErrorKind, Result};
use crate::event::{Event, OutputStream, StepId};
use crate::fs::stat::stat_fd;
use crate::fs::{Kind, Root};
use crate::progress::Control;
use crate::tree::{Ledger, journal};

const START: &str = "start command";
const RUN: &str = "run command";

/// How often a wait looks whether it was cancelled.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A command that runs in a tree.
#[derive(Debug)]
pub struct Step {
    root: Root,
    helper: Helper,
    rung: Rung,
    refused: Vec<(Rung, String)>,
    journal: File,
    points: Points,
    outputs: Vec<(OutputStream, OwnedFd)>,
    step: StepId,
    terminal: Option<OwnedFd>,
}

/// The helper process. Dropped, it and the whole step end.
#[derive(Debug)]
struct Helper {
    pid: i32,
    channel: Arc<Mutex<Option<Channel>>>,
    /// Another descriptor of the same socket, to wait on without the lock.
    socket: OwnedFd,
}

impl Drop for Helper {
    fn drop(&mut self) {
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // Both descriptors of the socket have to go before the helper sees its end.
        let null = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        debug_assert!(null.is_ok() || null == Err(Errno::NOTCONN));
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            // Somebody in this process may have reaped it, or said that nothing has to be reaped.
            while let Err(Errno::INTR) =
                rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())
            {}
        }
    }
}

/// Sends signals to a command, from any thread.
#[derive(Debug, Clone)]
pub struct Signals(Arc<Mutex<Option<Channel>>>);

impl Signals {
    /// Sends a signal to the command's first process. One that has ended gets none, and that is no error.
    pub fn send(&self, signal: i32) -> Result<()> {
        let channel = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = &*channel else { return Ok(()) };
        let mut body = Writer::default();
        body.number(signal as u64);
        match channel.send(Message::SIGNAL, &body.finish(), &[]) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.at("send signal", ""),
        }
    }
}

/// What a helper said first.
enum First {
    Started(Helper, Option<OwnedFd>),
    Refused(Error),
}

impl Step {
    /// Starts a command in a tree, by the best rung that works here, or the one that was named. The ledger is as it was before.
    pub fn start(root: &Root, ledger: &Ledger, options: &StepOptions) -> Result<Step> {
        if options.arguments.is_empty() {
            return Err(Error::invalid(START, "there is no command"));
        }
        let program = helper::find(options.helper.as_deref())?;
        let wanted: Vec<Rung> = match options.rung {
            Some(rung) => vec![rung],
            None => Rung::ALL.to_vec(),
        };
        let mut refused = Vec::new();
        let mut last = None;
        for rung in wanted {
            if let Some(reason) = cannot(root, ledger, rung)? {
                last = Some(Error::new(ErrorKind::Unsupported, START, format!("{rung}: {reason}")));
                refused.push((rung, reason.to_string()));
                continue;
            }
            match Step::try_start(root, ledger, options, rung, &program)? {
                Ok(step) => return Ok(Step { refused, ..step }),
                Err(error) => {
                    refused.push((rung, error.message().to_string()));
                    last = Some(error);
                }
            }
        }
        let reasons: Vec<String> = refused.iter().map(|(rung, why)| format!("{rung}: {why}")).collect();
        match last {
            Some(error) if refused.len() == 1 => Err(error),
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                START,
                format!("no way to run it works here ({})", reasons.join("; ")),
            )),
        }
        .map_err(|error: Error| error.with_hint("treering info shows every way, and what it takes"))
    }

    /// One rung. The inner error is one of the rung, after which another one may work.
    fn try_start(
        root: &Root,
        ledger: &Ledger,
        options: &StepOptions,
        rung: Rung,
        program: &Path,
    ) -> Result<std::result::Result<Step, Error>> {
        let mut points = Points::default();
        let result = (|| {
            let (order, sources) = order(root, options, rung, &mut points)?;
            let journal = match &options.journal {
                Some(file) => file.try_clone().at(START, "")?,
                None => File::from(
                    rustix::fs::memfd_create("journal", MemfdFlags::CLOEXEC).at(START, "make journal")?,
                ),
            };
            let (streams, outputs) = streams(options)?;
            let first = greet(root, ledger, &order, &journal, &streams, &sources, program)?;
            Ok((first, journal, outputs))
        })();
        let (helper, terminal, journal, outputs) = match result {
            Ok((First::Started(helper, terminal), journal, outputs)) => (helper, terminal, journal, outputs),
            Ok((First::Refused(error), ..)) => {
                points.remove(root)?;
                return match error.kind() {
                    ErrorKind::Unsupported => Ok(Err(error)),
                    _ => Err(error),
                };
            }
            Err(error) => {
                points.remove(root)?;
                return Err(error);
            }
        };
        Ok(Ok(Step {
            root: root.try_clone()?,
            helper,
            rung,
            refused: Vec::new(),
            journal,
            points,
            outputs,
            step: options.step,
            terminal,
        }))
    }

    /// The rung that was chosen.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// The better rungs, and why each was not chosen.
    pub fn refused(&self) -> &[(Rung, String)] {
        &self.refused
    }

    /// The terminal of a step that has one of its own: what is written to it the command reads, and the other way round.
    pub fn terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Sends signals to the command, as long as it runs.
    pub fn signals(&self) -> Signals {
        Signals(self.helper.channel.clone())
    }

    /// Waits for the end. The ledger, which must be the one the step was started with, becomes what the step left; after an error, too.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] when the control was cancelled: the step and all it started are gone then. [`ErrorKind::CommandFailed`] when the
    /// command could not be executed; its exit code says why (126, 127).
    pub fn wait(self, ledger: &mut Ledger, control: &Control) -> Result<Outcome> {
        let Step { root, helper, rung, refused, journal, points, mut outputs, step, .. } = self;
        let result = wait(&helper, &mut outputs, step, control);
        // Now, or after an error: nothing of the step is left when this returns.
        drop(helper);
        for (stream, fd) in &outputs {
            while read_output(fd, *stream, step, control).at(RUN, "read output")? {}
        }
        points.remove(&root)?;
        let mut journal = journal;
        io::Seek::rewind(&mut journal).at(RUN, "read journal")?;
        journal::replay(&mut journal, ledger)?;
        let (code, signal) = result?;
        Ok(Outcome { code, signal, rung, refused })
    }
}

/// Why a rung cannot give this tree its owners, where that is known before it is tried.
fn cannot(root: &Root, ledger: &Ledger, rung: Rung) -> Result<Option<&'static str>> {
    let is_root = rustix::process::geteuid().is_root();
    if rung.emulates() {
        return Ok(None);
    }
    if !is_root {
        return Ok(Some("this is not root"));
    }
    let whole = crate::fs::root::read_file(Path::new("/proc/self/uid_map")).unwrap_or_default();
    let whole: Vec<&[u8]> = whole.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    if !whole.is_empty() && whole != [&b"0"[..], b"0", b"4294967295"] {
        return Ok(Some("this is root of a user namespace, whose owners on disk are other ones"));
    }
    // Owners that are only in the ledger would not be seen.
    let disk = |record: &crate::tree::ledger::Record| {
        record.mode == record.disk_mode
            && (record.kind == Kind::CharDevice || record.uid == 0 && record.gid == 0)
    };
    if !ledger.records().all(disk) || stat_fd(root).at(START, root.describe(b""))?.uid != 0 {
        return Ok(Some(
            "the tree was made without privileges: its owners are in the ledger, not on the disk",
        ));
    }
    Ok(None)
}

/// The order for the helper; what has to be there for it to be mounted on is made.
fn order(
    root: &Root,
    options: &StepOptions,
    rung: Rung,
    points: &mut Points,
) -> Result<(Order, Vec<OwnedFd>)> {
    let mut files = Vec::new();
    let mut binds = Vec::new();
    let mut sources = Vec::new();
    if rung.mounts() {
        for path in [&b"proc"[..], b"dev", b"sys"] {
            points.ensure(root, path, Kind::Directory)?;
        }
        for (path, content) in names::files(options) {
            if points.ensure(root, &path, Kind::File)? {
                files.push((path, content));
            }
        }
        for bind in &options.binds {
            let shown = bind.source.as_os_str().as_encoded_bytes();
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let fd = crate::fs::root::open_by_path(&bind.source, flags).at(START, shown)?;
            let kind = stat_fd(&fd).at(START, shown)?.kind;
            let kind = if kind == Kind::Directory { Kind::Directory } else { Kind::File };
            let target = crate::fs::root::normalise(&bind.target)?;
            if !points.ensure(root, &target, kind)? {
                return Err(
                    Error::invalid(START, "a symbolic link there leads to nothing").with_path(&bind.target)
                );
            }
            let source = std::path::absolute(&bind.source).at(START, shown)?;
            binds.push(Bind {
                source: source.into_os_string().into_encoded_bytes(),
                target,
                read_only: bind.read_only,
            });
            sources.push(fd);
        }
    } else if !options.binds.is_empty() || options.read_only || options.terminal {
        return Err(Error::new(
            ErrorKind::Unsupported,
            START,
            format!(
                "directories of the host, a terminal and a read-only root need mounts, which the rung {rung} cannot make"
            ),
        ));
    }
    let order = Order {
        rung,
        arguments: options.arguments.clone(),
        environment: options.environment.clone(),
        directory: options.directory.clone(),
        user: options.user.clone(),
        hostname: options.hostname.clone(),
        network: options.network,
        terminal: options.terminal,
        read_only: options.read_only,
        files,
        binds,
    };
    Ok((order, sources))
}

type Streams = ([OwnedFd; 3], Vec<(OutputStream, OwnedFd)>);

/// The command's streams, and our ends of those whose output becomes events.
fn streams(options: &StepOptions) -> Result<Streams> {
    let mut outputs = Vec::new();
    let mut stream = |stream: &Stream, number: i32| -> io::Result<OwnedFd> {
        match stream {
            Stream::Null => {
                Ok(crate::fs::root::open_by_path(Path::new("/dev/null"), OFlags::RDWR | OFlags::CLOEXEC)?)
            }
            Stream::Inherit => {
                let fd = match number {
                    0 => rustix::stdio::stdin(),
                    1 => rustix::stdio::stdout(),
                    _ => rustix::stdio::stderr(),
                };
                Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
            }
            Stream::Fd(fd) => fd.try_clone(),
            Stream::Events => {
                let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
                let which = if number == 2 { OutputStream::Stderr } else { OutputStream::Stdout };
                outputs.push((which, ours));
                Ok(theirs)
            }
        }
    };
    let input = stream(&options.stdin, 0).at(START, "standard input")?;
    let output = stream(&options.stdout, 1).at(START, "standard output")?;
    let error = stream(&options.stderr, 2).at(START, "standard error")?;
    Ok(([input, output, error], outputs))
}

/// Starts a helper, gives it its order and hears what comes of it.
fn greet(
    root: &Root,
    ledger: &Ledger,
    order: &Order,
    journal: &File,
    streams: &[OwnedFd; 3],
    sources: &[OwnedFd],
    program: &Path,
) -> Result<First> {
    let shown = program.as_os_str().as_encoded_bytes();
    let (pid, channel) = launch::spawn(program).at("start helper", shown)?;
    let socket = channel.as_fd().try_clone_to_owned().at("start helper", shown)?;
    let helper = Helper { pid, channel: Arc::new(Mutex::new(Some(channel))), socket };
    let memory = rustix::fs::memfd_create("ledger", MemfdFlags::CLOEXEC).at(START, "pass ledger")?;
    let mut file = File::from(memory);
    io::Write::write_all(&mut file, &ledger.to_bytes()).at(START, "pass ledger")?;
    io::Seek::rewind(&mut file).at(START, "pass ledger")?;
    let fixed = [root.as_fd(), file.as_fd(), journal.as_fd()];
    let descriptors: Vec<BorrowedFd<'_>> =
        fixed.into_iter().chain(streams.iter().chain(sources).map(AsFd::as_fd)).collect();
    let talk = |channel: &Channel| -> io::Result<Option<Message>> {
        channel.hello()?;
        channel.expect_hello()?;
        channel.send(Message::START, &order.encode(), &descriptors)?;
        channel.receive()
    };
    let first = {
        let lock = helper.channel.lock().unwrap_or_else(PoisonError::into_inner);
        match &*lock {
            Some(channel) => talk(channel).at("talk to helper", shown)?,
            None => None,
        }
    };
    match first {
        Some(Message { kind: Message::STARTED, descriptors, .. }) => {
            Ok(First::Started(helper, descriptors.into_iter().next()))
        }
        Some(Message { kind: Message::FAILED, body, .. }) => Ok(First::Refused(failure(&body))),
        _ => Err(Error::new(ErrorKind::Io, "talk to helper", "it ended without a word").with_path(shown)),
    }
}

/// An error that the helper reports.
fn failure(body: &[u8]) -> Error {
    let Ok((kind, message, code)) = Failure::decode(body) else {
        return Error::corrupt("talk to helper", "it reports an error that makes no sense");
    };
    let kinds = [
        ErrorKind::Unsupported,
        ErrorKind::Corrupt,
        ErrorKind::Limit,
        ErrorKind::CommandFailed,
        ErrorKind::NotFound,
    ];
    let kind = kinds.into_iter().find(|known| known.code() == kind).unwrap_or(ErrorKind::Io);
    let error = Error::new(kind, RUN, message);
    if code == 0 { error } else { error.with_exit_code(code) }
}

/// Waits for the helper's last message, and reads output in the meantime. Gives exit code and signal.
fn wait(
    helper: &Helper,
    outputs: &mut Vec<(OutputStream, OwnedFd)>,
    step: StepId,
    control: &Control,
) -> Result<(i32, Option<i32>)> {
    loop {
        control.check(RUN)?;
        let mut fds = vec![PollFd::new(&helper.socket, PollFlags::IN)];
        fds.extend(outputs.iter().map(|(_, fd)| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, Some(&LOOK)) {
            Err(Errno::INTR) => continue,
            other => other.at(RUN, "wait")?,
        };
        let came: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let mut at = 0;
        let mut failed = None;
        outputs.retain(|(stream, fd)| {
            at += 1;
            !came[at]
                || read_output(fd, *stream, step, control).unwrap_or_else(|error| {
                    failed = Some(error);
                    false
                })
        });
        if let Some(error) = failed {
            return Err(Error::io(RUN, "read output", error));
        }
        if !came[0] {
            continue;
        }
        let received = {
            let lock = helper.channel.lock().unwrap_or_else(PoisonError::into_inner);
            lock.as_ref().map(Channel::receive).transpose().at(RUN, "wait")?.flatten()
        };
        return match received {
            Some(Message { kind: Message::EXITED, body, .. }) => {
                let mut body = Reader::new(&body);
                let code = body.small().at(RUN, "wait")? as i32;
                let signal = body.small().at(RUN, "wait")? as i32;
                Ok((code, (signal != 0).then_some(signal)))
            }
            Some(Message { kind: Message::FAILED, body, .. }) => Err(failure(&body)),
            Some(_) => continue,
            None => Err(Error::new(
                ErrorKind::CommandFailed,
                RUN,
                "the helper was killed, and the command with it",
            )
            .with_exit_code(128 + libc::SIGKILL)),
        };
    }
}

/// Reads some output and sends it on; whether there may be more.
fn read_output(fd: &OwnedFd, stream: OutputStream, step: StepId, control: &Control) -> io::Result<bool> {
    let mut bytes = vec![0; 64 * 1024];
    let n = match rustix::io::read(fd, &mut bytes[..]) {
        Err(Errno::INTR) => return Ok(true),
        other => other?,
    };
    if n == 0 {
        return Ok(false);
    }
    bytes.truncate(n);
    control.events.send(Event::Output { step, stream, bytes });
    Ok(true)
}
