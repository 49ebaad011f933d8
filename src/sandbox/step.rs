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
use super::more::{Commands, Registry};
use super::order::{Lending, MOST_MOUNTS, Mount, Order, Shown};
use super::points::Points;
use super::protocol::{Channel, Message, Reader, Writer};
use super::rung::Rung;
use super::{
    BindMount, FileMount, MemoryMount, Network, Outcome, StepOptions, Stream, helper, launch, names, network,
    undo,
};
use crate::error::{At, Error, ErrorKind, Result};
use crate::event::{Event, OutputStream, StepId};
use crate::fs::stat::stat_fd;
use crate::fs::{Kind, Root};
use crate::hint::Hint;
use crate::progress::Control;
use crate::tree::Ledger;
use crate::tree::journal;

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
    network: Network,
    network_refused: Option<String>,
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
    /// More commands of the step.
    registry: Arc<Registry>,
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.registry.close();
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // Both descriptors of the socket have to go before the helper reads its end.
        let null = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        debug_assert!(null.is_ok() || null == Err(Errno::NOTCONN));
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            // Another thread of this process may have reaped it, or said that nothing has to be reaped.
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

/// The first message of a helper.
enum First {
    Started(Helper, Option<OwnedFd>),
    Refused(Error),
}

impl Step {
    /// Starts a command in a tree, by the best rung that works here, or the one that was named. The ledger is as it was before.
    pub fn start(root: &Root, ledger: &Ledger, options: &StepOptions) -> Result<Step> {
        Step::start_with(root, ledger, options, Lending::Lend)
    }

    /// Starts a command that leaves no files behind, nor changes any.
    pub(super) fn probe(root: &Root, options: &StepOptions) -> Result<Step> {
        Step::start_with(root, &Ledger::default(), options, Lending::None)
    }

    fn start_with(root: &Root, ledger: &Ledger, options: &StepOptions, lending: Lending) -> Result<Step> {
        if options.arguments.is_empty() {
            return Err(Error::invalid(START, "the command is empty"));
        }
        let program = helper::find(options.helper.as_deref())?;
        let wanted: Vec<Rung> = match options.rung {
            Some(rung) => vec![rung],
            None => preferred(root)?,
        };
        let mut refused = Vec::new();
        let mut last = None;
        for rung in wanted {
            if let Some(reason) = cannot(root, ledger, rung, options, lending)? {
                last = Some(Error::new(ErrorKind::Unsupported, START, format!("{rung}: {reason}")));
                refused.push((rung, reason.to_string()));
                continue;
            }
            match Step::in_network(root, ledger, options, (rung, lending), &program)? {
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
        .map_err(|error: Error| error.with_hint(Hint::ListRungs))
    }

    /// Tries one rung, with the network that was asked for, or the one that does in its place.
    fn in_network(
        root: &Root,
        ledger: &Ledger,
        options: &StepOptions,
        (rung, lending): (Rung, Lending),
        program: &Path,
    ) -> Result<std::result::Result<Step, Error>> {
        let wanted = options.network;
        let own = matches!(wanted, Network::Own | Network::OwnOrHost);
        // pasta joins what a user namespace has, and nothing of real root's.
        let arguments = match own {
            true if !rung.emulates() || !rung.mounts() => {
                Err(format!("the rung {rung} cannot have one of its own"))
            }
            true => network::arguments(&options.ports),
            false => Ok(Vec::new()),
        };
        let why = match arguments {
            Ok(pasta) => {
                let network = if own { Network::Own } else { wanted };
                match Step::try_start(root, ledger, options, (rung, lending), program, (network, pasta))? {
                    Err(error) if own && error.message().starts_with(network::FAILED) => {
                        error.message().to_string()
                    }
                    other => return Ok(other),
                }
            }
            Err(why) => format!("{}: {why}", network::FAILED),
        };
        if wanted == Network::Own {
            return Ok(Err(Error::new(ErrorKind::Unsupported, START, why)));
        }
        let host = (Network::Host, Vec::new());
        let started = Step::try_start(root, ledger, options, (rung, lending), program, host)?;
        Ok(started.map(|step| Step { network_refused: Some(why), ..step }))
    }

    /// Tries one rung. The inner error is one of the rung, after which another one may work.
    fn try_start(
        root: &Root,
        ledger: &Ledger,
        options: &StepOptions,
        (rung, lending): (Rung, Lending),
        program: &Path,
        (network, pasta): (Network, Vec<Vec<u8>>),
    ) -> Result<std::result::Result<Step, Error>> {
        let mut points = match &options.journal {
            Some(journal) => Points::noted(undo::writer(journal)?),
            None => Points::default(),
        };
        let result = (|| -> Result<_> {
            let (order, sources) = order(root, options, rung, network, &mut points)?;
            let owners = if rung == Rung::Ids { lending } else { Lending::None };
            let order = Order { network, pasta, owners, ..order };
            if let (Lending::Lend, Some(journal)) = (owners, &options.journal) {
                undo::note_lending(&order, journal, program)?;
            }
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
                return match error.kind() {
                    ErrorKind::Unsupported if !rung.mounts() => Ok(Err(error)),
                    _ => Err(error),
                };
            }
        };
        Ok(Ok(Step {
            root: root.try_clone()?,
            helper,
            rung,
            refused: Vec::new(),
            network,
            network_refused: None,
            journal,
            points,
            outputs,
            step: options.step,
            terminal,
        }))
    }

    /// Returns the rung that was chosen.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// Returns the better rungs, and why each was not chosen.
    pub fn refused(&self) -> &[(Rung, String)] {
        &self.refused
    }

    /// Returns the network that it has.
    pub fn network(&self) -> Network {
        self.network
    }

    /// Returns why it has the host's network in place of one of its own, where that was to be tried.
    pub fn network_refused(&self) -> Option<&str> {
        self.network_refused.as_deref()
    }

    /// Returns the terminal of a step that has one of its own: what is written to it the command reads, and the other way
    /// round.
    pub fn terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Sends signals to the command, as long as it runs.
    pub fn signals(&self) -> Signals {
        Signals(self.helper.channel.clone())
    }

    /// Starts more commands in it, as long as another thread is in [`Step::wait`].
    pub fn commands(&self) -> Commands {
        Commands {
            channel: self.helper.channel.clone(),
            registry: self.helper.registry.clone(),
            rung: self.rung,
            network: self.network,
        }
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

/// Returns the rungs in the order in which they are tried. Root that may not mount, as in an ordinary container, has its paths resolved by a
/// supervisor before it does without /proc and /dev; and where the disk has the owners of a tree, a rung that keeps them comes before those
/// that have one id in their namespace.
fn preferred(root: &Root) -> Result<Vec<Rung>> {
    let mut all = Rung::ALL.to_vec();
    let real = rustix::process::geteuid().is_root() && super::handle::has_all_ids();
    if real && stat_fd(root).at(START, root.describe(b""))?.uid == 0 {
        all.sort_by_key(|rung| match rung {
            Rung::Root => 0,
            Rung::Paths | Rung::PtracePaths => 1,
            _ => 2,
        });
    }
    Ok(all)
}

/// Has a helper carry out an order that is about no command.
pub(super) fn without_command(
    root: &Root,
    ledger: &Ledger,
    order: &Order,
    journal: &File,
    sources: &[OwnedFd],
    program: &Path,
) -> Result<()> {
    let (streams, mut outputs) = streams(&StepOptions::default())?;
    let journal = journal.try_clone().at(START, "")?;
    match greet(root, ledger, order, &journal, &streams, sources, program)? {
        First::Started(helper, _) => {
            wait(&helper, &mut outputs, StepId::default(), &Control::default()).map(drop)
        }
        First::Refused(error) => Err(error),
    }
}

/// Returns why a rung cannot give this tree its owners, where that is known before it is tried.
fn cannot(
    root: &Root,
    ledger: &Ledger,
    rung: Rung,
    options: &StepOptions,
    lending: Lending,
) -> Result<Option<&'static str>> {
    let is_root = rustix::process::geteuid().is_root();
    if rung == Rung::Ids && lending == Lending::Lend {
        if options.journal.is_none() {
            return Ok(Some("there is no journal, without which a kill would leave owners on the disk"));
        }
        if options.binds.iter().any(|bind| !bind.read_only && !bind.private) {
            return Ok(Some(
                "a directory of the host can be written to, where files would belong to subordinate ids for good",
            ));
        }
    }
    if rung.emulates() {
        return Ok(None);
    }
    if !is_root {
        return Ok(Some("this is not root"));
    }
    if !super::handle::has_all_ids() {
        return Ok(Some("this is root of a user namespace, and the owners on disk are others"));
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

/// Returns the order for the helper; what has to be there for it to be mounted on is made.
fn order(
    root: &Root,
    options: &StepOptions,
    rung: Rung,
    network: Network,
    points: &mut Points,
) -> Result<(Order, Vec<OwnedFd>)> {
    let mut files = Vec::new();
    let (mut mounts, mut sources) = (Vec::new(), Vec::new());
    if rung.mounts() || rung.serves() {
        for path in [&b"proc"[..], b"dev", b"sys"].into_iter().filter(|_| rung.mounts()) {
            points.ensure(root, path, Kind::Directory)?;
        }
        for (path, content) in names::files(options, network) {
            if rung.serves() {
                // The directory has to be there; what is in it is the supervisor's answer.
                let (above, _) = crate::fs::root::split(&path);
                if !above.is_empty() && points.ensure(root, above, Kind::Directory)? {
                    files.push((path, content));
                }
            } else if points.ensure(root, &path, Kind::File)? {
                files.push((path, content));
            }
        }
        (mounts, sources) = shown(root, options, rung, points)?;
    } else {
        replaced(root, options, rung, points)?;
    }
    let order = Order { files, mounts, ..bare_order(options, rung) };
    Ok((order, sources))
}

/// Returns the order for a command without what is shown to it.
pub(super) fn bare_order(options: &StepOptions, rung: Rung) -> Order {
    Order {
        rung,
        arguments: options.arguments.clone(),
        environment: options.environment.clone(),
        directory: options.directory.clone(),
        user: options.user.clone(),
        hostname: options.hostname.clone(),
        network: Network::Host,
        pasta: Vec::new(),
        terminal: options.terminal,
        read_only: options.read_only,
        files: Vec::new(),
        mounts: Vec::new(),
        shm_size: options.shm_size,
        limits: options.limits.clone(),
        owners: Lending::None,
    }
}

/// A file or mount that a step is to see.
enum Wanted<'a> {
    Bind(&'a BindMount),
    Memory(&'a MemoryMount),
    File(&'a FileMount),
}

/// Returns all of them with their targets, outer places first.
fn wanted(options: &StepOptions) -> Result<Vec<(Vec<u8>, Wanted<'_>)>> {
    let binds = options.binds.iter().map(|it| (&it.target, Wanted::Bind(it)));
    let memory = options.memory.iter().map(|it| (&it.target, Wanted::Memory(it)));
    let files = options.files.iter().map(|it| (&it.target, Wanted::File(it)));
    let mut out = Vec::new();
    for (target, what) in binds.chain(memory).chain(files) {
        let path = crate::fs::root::normalise(target)?;
        if path.is_empty() {
            return Err(
                Error::invalid(START, "nothing can be mounted on the root of the tree").with_path(target)
            );
        }
        out.push((path, what));
    }
    if out.len() > MOST_MOUNTS {
        return Err(Error::limit(START, format!("more than {MOST_MOUNTS} mounts for one command")));
    }
    out.sort_by(|a, b| a.0.split(|&c| c == b'/').cmp(b.0.split(|&c| c == b'/')));
    Ok(out)
}

/// Returns the mounts for the helper, and the descriptors of what is on the host.
fn shown(
    root: &Root,
    options: &StepOptions,
    rung: Rung,
    points: &mut Points,
) -> Result<(Vec<Mount>, Vec<OwnedFd>)> {
    let (mut mounts, mut sources) = (Vec::<Mount>::new(), Vec::new());
    for (target, what) in wanted(options)? {
        let mut kind = Kind::File;
        let mut what = match what {
            Wanted::Bind(bind) => {
                let shown = bind.source.as_os_str().as_encoded_bytes();
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let fd = crate::fs::root::open_by_path(&bind.source, flags).at(START, shown)?;
                if stat_fd(&fd).at(START, shown)?.kind == Kind::Directory {
                    kind = Kind::Directory;
                }
                let source = std::path::absolute(&bind.source).at(START, shown)?;
                sources.push(fd);
                Shown::Host {
                    source: source.into_os_string().into_encoded_bytes(),
                    read_only: bind.read_only,
                    private: bind.private.then(|| target.clone()),
                }
            }
            // Such a rung has a directory for it, which has no size of its own, and from which the kernel executes nothing.
            Wanted::Memory(memory) if rung.serves() && memory.size != 0 => {
                return refuse("a filesystem in memory of a given size", rung, &target);
            }
            Wanted::Memory(memory) if rung.serves() && !memory.no_programs => {
                return refuse("a filesystem in memory with programs", rung, &target);
            }
            Wanted::Memory(memory) => {
                kind = Kind::Directory;
                let there = || root.real(&target).ok().flatten().map(|stat| u32::from(stat.mode));
                Shown::Memory {
                    size: memory.size,
                    mode: memory.mode.or_else(there).unwrap_or(0o1777),
                    no_programs: memory.no_programs,
                }
            }
            Wanted::File(file) => Shown::File {
                content: file.content.clone(),
                mode: file.mode,
                uid: file.uid,
                gid: file.gid,
                program: file.program,
            },
        };
        // What is below another mount is made there, by the helper.
        let below = |outer: &[u8]| target.strip_prefix(outer).is_some_and(|rest| rest.starts_with(b"/"));
        let inner = mounts.iter().any(|mount| below(&mount.target))
            || [&b"proc"[..], b"dev", b"sys"].into_iter().any(below);
        if !inner && !points.ensure(root, &target, kind)? {
            return Err(Error::invalid(START, "a symbolic link there leads to nothing").with_path(&target));
        }
        if let Shown::Host { private: Some(at), .. } = &mut what {
            *at = root.real_path(&target).at(START, root.describe(&target))?;
        }
        mounts.push(Mount { target, what });
    }
    Ok((mounts, sources))
}

/// Returns the error that a rung cannot show something.
fn refuse<T>(what: &str, rung: Rung, target: &[u8]) -> Result<T> {
    let message = format!("{what} needs a mount, which the rung {rung} cannot make");
    Err(Error::new(ErrorKind::Unsupported, START, message).with_path([b"/", target].concat()))
}

/// Puts into the tree, for the time of the step, what a rung that cannot mount can show no other way.
fn replaced(root: &Root, options: &StepOptions, rung: Rung, points: &mut Points) -> Result<()> {
    if options.terminal || options.read_only {
        return refuse("a terminal or a read-only root", rung, b"");
    }
    if options.network == Network::None {
        let message = format!("the rung {rung} cannot take the network away");
        return Err(Error::new(ErrorKind::Unsupported, START, message));
    }
    for (target, what) in wanted(options)? {
        match what {
            Wanted::Bind(bind) if bind.private => points.exchange(root, &target, &bind.source)?,
            Wanted::File(file) if !file.secret => points.put(root, &target, file)?,
            Wanted::Bind(_) => return refuse("a file or directory of the host", rung, &target),
            Wanted::Memory(_) => return refuse("a filesystem in memory", rung, &target),
            Wanted::File(_) => return refuse("a secret in a file", rung, &target),
        }
    }
    Ok(())
}

pub(crate) type Streams = ([OwnedFd; 3], Vec<(OutputStream, OwnedFd)>);

/// Returns the command's streams, and our ends of those that become events.
pub(crate) fn streams(options: &StepOptions) -> Result<Streams> {
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

/// Starts a helper, gives it its order and receives the result.
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
    let (pid, channel) = launch::spawn(program, launch::VERB).at("start helper", shown)?;
    let socket = channel.as_fd().try_clone_to_owned().at("start helper", shown)?;
    let registry = Arc::new(Registry::new());
    let helper = Helper { pid, channel: Arc::new(Mutex::new(Some(channel))), socket, registry };
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
            Some(channel) => talk(channel).at("ask helper", shown)?,
            None => None,
        }
    };
    match first {
        Some(Message { kind: Message::STARTED, descriptors, .. }) => {
            Ok(First::Started(helper, descriptors.into_iter().next()))
        }
        Some(Message { kind: Message::FAILED, body, .. }) => Ok(First::Refused(failure(&body))),
        _ => Err(Error::new(ErrorKind::Io, "ask helper", "it ended without an answer").with_path(shown)),
    }
}

/// Returns an error that the helper reports.
pub(super) fn failure(body: &[u8]) -> Error {
    let Ok((kind, message, code)) = Failure::decode(body) else {
        return Error::corrupt("ask helper", "it sent an invalid error");
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
            Some(message) => {
                helper.registry.deliver(message);
                continue;
            }
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
