//! The helper program: takes one order from the host program, sets the step up, and supervises it until it ends.
//!
//! ```text
//! helper       namespaces made, root changed; answers calls, talks to the host program
//!  └─ reaper   process 1 of the step's process namespace: reaps, and ends the step when the helper is gone
//!      └─ command
//! ```
//! This process is the helper's own, so it may fork, change directory and set its umask. The host program never does.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::failure::{Failure, Setup, What};
use super::handle::native::{Native, Place};
use super::handle::{Service, State};
use super::ids::{Held, Mapper};
use super::launch::SOCKET;
use super::network::{self, Keeper};
use super::order::{Lending, Mount, Network, Order, Shown};
use super::protocol::{Channel, Message, Reader, Writer};
use super::ptrace::Tracer;
use super::rung::Rung;
use super::supervise::supervise;
use super::{command, filter, ids, join, mounts, sys};
use crate::error::ErrorKind;
use crate::fs::stat::stat_fd;
use crate::tree::{Ledger, journal};

/// How many descriptors come with an order before those of what is shown: tree, ledger, journal, and three streams. The network that is joined
/// follows them, where that is wanted.
pub const FIXED: usize = 6;

/// Runs the helper on the socket that it was started with, and gives its exit code. For programs that are the helper and nothing else: it
/// changes the whole process.
pub fn main() -> i32 {
    sys::close_from(SOCKET + 1);
    // SAFETY: the host program put the socket there; nothing else in this process uses that number.
    let host = Channel::new(unsafe { OwnedFd::from_raw_fd(SOCKET) });
    if rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::CLOEXEC).is_err() {
        eprintln!("treering-init: this is started by treering, not by hand");
        return 2;
    }
    let talk = || -> io::Result<(Order, Vec<OwnedFd>)> {
        host.expect_hello()?;
        host.hello()?;
        match host.receive()? {
            Some(Message { kind: Message::START, body, descriptors, .. }) => {
                let order = Order::decode(&body)?;
                let hosts = order.mounts.iter().filter(|it| matches!(it.what, Shown::Host { .. }));
                let joined = usize::from(order.network == Network::Joined);
                if descriptors.len() != FIXED + joined + hosts.count() {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok((order, descriptors))
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    let result = match talk() {
        Ok((order, descriptors)) => run(&host, &order, descriptors),
        Err(error) => Err(Failure::new("receive order", error)),
    };
    match result {
        Ok(()) => 0,
        Err(failure) => {
            // Without a host program there is no receiver.
            let _ = host.send(Message::FAILED, &failure.encode(), &[]);
            1
        }
    }
}

/// Descriptors that an order brings along.
pub struct Given {
    /// The root of the tree.
    pub tree: OwnedFd,
    ledger: OwnedFd,
    journal: OwnedFd,
    /// Standard input, output and error.
    pub streams: [OwnedFd; 3],
    /// Files and directories of the host that are shown.
    pub binds: Vec<OwnedFd>,
    /// Whether the step has a process namespace.
    pub own_processes: bool,
}

/// The namespaces of a step.
#[derive(Default)]
struct Namespaces {
    /// The process that ends its network.
    keeper: Option<Keeper>,
    /// Its range of ids.
    held: Option<Held>,
    /// Whether it has its processes: what ends the first of them ends all.
    processes: bool,
}

fn run(host: &Channel, order: &Order, descriptors: Vec<OwnedFd>) -> Setup<()> {
    let mut descriptors = descriptors.into_iter();
    let mut next =
        || descriptors.next().ok_or_else(|| Failure::new("receive order", io::ErrorKind::InvalidData));
    let (tree, ledger, journal) = (next()?, next()?, next()?);
    let streams = [next()?, next()?, next()?];
    let joined = (order.network == Network::Joined).then(&mut next).transpose()?;
    let mut given =
        Given { tree, ledger, journal, streams, binds: descriptors.collect(), own_processes: false };
    let device = stat_fd(&given.tree).what("look at tree")?.dev;
    let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .what("open /proc")?;
    // Copied into a new mount namespace, the working directory is the tree there: the only way to it that no path can change.
    rustix::process::fchdir(&given.tree).what("enter tree")?;
    rustix::process::umask(Mode::empty());
    become_owner(order, &given.tree)?;
    let Namespaces { mut keeper, held, processes } = namespaces(order, joined)?;
    given.own_processes = processes;
    if !processes {
        // What a killed reaper leaves comes to this process.
        sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).what("set up step")?;
    }
    // For other steps to join; where there is no namespace, only one that was joined.
    let apart = order.network == Network::Joined || order.network != Network::Host && order.rung.mounts();
    let network = apart.then(|| join::own(&proc)).transpose().what("look at network")?;
    let lent = held.map(|held| Lent::new(order, held, &given)).transpose()?;
    if let (Some(lent), Lending::TakeBack { all }) = (&lent, order.owners) {
        return take_back(host, order, given, (proc, device), lent, all);
    }
    let (inner, theirs) = Channel::pair().what("make socket")?;
    inner.ask_for_senders().what("make socket")?;
    // Reaper and command share their end of that socket, so what only the command is to read comes by a pipe.
    let (gate, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).what("make pipe")?;
    let reaper = match sys::fork().what("start process")? {
        0 => {
            drop((inner, go));
            command::reaper(order, given, theirs, gate)
        }
        pid => pid,
    };
    drop((theirs, gate));
    // A reader of the command's output gets its end when the last process that may write is gone, whatever this one does.
    let Given { tree, ledger, journal, binds, .. } = given;
    // Whatever happens from here on, the reaper ends with this process: its end of the socket closes.
    let listed = proc.try_clone().what("open /proc")?;
    // Calls that wait for an answer wait until their processes have ended: closed before, it would fail them, and the step would
    // go on for a moment.
    let (mut listener, mut state) = (None, None);
    let result = setup_and_supervise(
        host,
        order,
        (tree, ledger, journal, binds),
        (&inner, go),
        proc,
        (device, network),
        (&mut listener, &mut state, &lent),
    );
    drop(inner);
    if lent.is_none() {
        // With it goes the lock of the tree.
        state = None;
    }
    end_processes(order, processes, reaper, keeper.as_mut(), &listed);
    if let (Some(state), Some(lent)) = (&mut state, lent.filter(|_| order.owners == Lending::Lend)) {
        state.take_back(&lent.places).what(TAKE_BACK)?;
    }
    let (code, signal) = result?;
    exited(host, code, signal)
}

/// Ends all processes of the step, and waits until none is left. The reaper's socket is closed. They are in a namespace of their `own`, or
/// else found in /proc.
fn end_processes(order: &Order, own: bool, reaper: i32, keeper: Option<&mut Keeper>, proc: &OwnedFd) {
    if own {
        let _ = sys::kill(reaper, libc::SIGKILL);
        if let Some(keeper) = keeper {
            keeper.end();
        }
        // The namespace of its processes is gone when the last of them is, and those that are traced this process has to see end.
        while sys::wait(if order.rung.traces() { -1 } else { reaper }, true).is_ok() {}
        return;
    }
    if let Some(keeper) = keeper {
        keeper.end();
    }
    if order.rung.traces() {
        // It ends its children itself, now that its socket is closed. Those are traced by this process, which has to see them end.
        while sys::wait(-1, true).is_ok() {}
    } else {
        // It ends its children itself, now that its socket is closed; what it could not end is left to this process.
        let _ = sys::wait(reaper, true);
    }
    command::end_children(proc);
}

/// Reports the end of the command to the host program.
fn exited(host: &Channel, code: i32, signal: i32) -> Setup<()> {
    let mut body = Writer::default();
    body.number(code as u64).number(signal as u64);
    host.send(Message::EXITED, &body.finish(), &[]).what("report")
}

const TAKE_BACK: &str = "take owners back from the disk";

/// The places of a step that has owners on the disk, and its range of ids.
struct Lent {
    held: Held,
    tree: OwnedFd,
    places: Vec<Place>,
}

impl Lent {
    fn new(order: &Order, held: Held, given: &Given) -> Setup<Lent> {
        let again = |fd: &OwnedFd| fd.try_clone().what("look at tree");
        let flags = rustix::fs::fstatvfs(&given.tree).what("look at tree")?.f_flag;
        if order.owners == Lending::Lend && flags.contains(rustix::fs::StatVfsMountFlags::NOSUID) {
            let message = "the tree is on a filesystem mounted with nosuid, where no program has setuid";
            return Err(Failure { kind: ErrorKind::Unsupported, message: message.into(), code: 0 });
        }
        let mut places = vec![Place { fd: again(&given.tree)?, at: Vec::new() }];
        let hosts = order.mounts.iter().filter_map(|mount| match &mount.what {
            Shown::Host { private, .. } => Some(private),
            _ => None,
        });
        for (private, fd) in hosts.zip(&given.binds) {
            if let Some(at) = private {
                places.push(Place { fd: again(fd)?, at: at.clone() });
            }
        }
        Ok(Lent { held, tree: again(&given.tree)?, places })
    }
}

/// Undoes what a killed step left of owners on the disk.
fn take_back(
    host: &Channel,
    order: &Order,
    given: Given,
    (proc, device): (OwnedFd, u64),
    lent: &Lent,
    all: bool,
) -> Setup<()> {
    rustix::process::fchdir(&proc).what("enter /proc")?;
    let Given { ledger, journal, .. } = given;
    let (ledger, journal) = (read_ledger(ledger)?, journal::Writer::new(File::from(journal)));
    let mut state = State::new(order, proc, device, ledger, journal, None);
    state.use_ids(Native::new(lent.held, &lent.tree));
    match all {
        true => state.find_lent(),
        false => state.suspect_attributes(),
    }
    state.take_back(&lent.places).what(TAKE_BACK)?;
    host.send(Message::STARTED, &[], &[]).what("report")?;
    exited(host, 0, 0)
}

/// Becomes the owner of the tree where root runs a command in a tree of an unprivileged user: on disk all of it belongs to
/// that user, root in the user namespace then.
fn become_owner(order: &Order, tree: &OwnedFd) -> Setup<()> {
    let stat = stat_fd(tree).what("look at tree")?;
    if !order.rung.emulates() || !rustix::process::geteuid().is_root() || stat.uid == 0 {
        return Ok(());
    }
    match sys::set_groups(&[]) {
        // Root of a namespace, or without the capability: it is no other user, and the tree is as it can be reached.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => return Ok(()),
        other => other,
    }
    .and_then(|()| sys::set_gid(stat.gid))
    .and_then(|()| sys::set_uid(stat.uid))
    // Else the entries of this process in /proc, where its ids are mapped, would be root's.
    .and_then(|()| sys::prctl(libc::PR_SET_DUMPABLE, 1))
    .what("become the owner of the tree")
}

/// Moves into new namespaces: with a user namespace the one id of this process is root in it. The network may be another step's.
fn namespaces(order: &Order, joined: Option<OwnedFd>) -> Setup<Namespaces> {
    let entered = match joined {
        Some(namespace) => join::enter(order.rung, &namespace).what("join network")?,
        None => false,
    };
    if !order.rung.mounts() {
        return Ok(Namespaces::default());
    }
    let unsupported = |message: String| Failure { kind: ErrorKind::Unsupported, message, code: 0 };
    let mapper = match order.rung {
        Rung::Ids if !entered => Some(Mapper::start().map_err(unsupported)?),
        _ => None,
    };
    let mut keeper = match order.network {
        Network::Own => Some(Keeper::new(&order.pasta).what(network::FAILED)?),
        _ => None,
    };
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    let makes_network = matches!(order.network, Network::None | Network::Own);
    if makes_network {
        flags |= libc::CLONE_NEWNET;
    }
    if order.rung != Rung::Root && !entered {
        flags |= libc::CLONE_NEWUSER;
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    sys::unshare(flags).what("make namespaces")?;
    let held = match mapper {
        Some(mapper) => Some(mapper.finish().map_err(unsupported)?),
        None if order.rung == Rung::Ids => Some(ids::held().map_err(unsupported)?),
        None => None,
    };
    let user = &order.user;
    if held.is_some_and(|held| !user.groups.iter().chain([&user.gid]).all(|&gid| held.has(user.uid, gid))) {
        let message = format!("become user: the subordinate ids do not reach to {}:{}", user.uid, user.gid);
        return Err(unsupported(message));
    }
    if matches!(order.rung, Rung::Notify | Rung::Ptrace) && !entered {
        let write = |name: &str, text: String| -> io::Result<()> {
            let path = format!("/proc/self/{name}");
            let fd = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::io::write(fd, text.as_bytes())?;
            Ok(())
        };
        write("setgroups", "deny".into()).what("give up groups")?;
        write("uid_map", format!("0 {uid} 1")).what("map user")?;
        write("gid_map", format!("0 {gid} 1")).what("map group")?;
    }
    // Calls and the /proc that is shown are to have the same numbers for processes; with the host's numbers, signals are kept within the step.
    let processes = !sys::can_confine_signals() || mounts::can_mount_proc().what("look at /proc")?;
    if processes {
        sys::unshare(libc::CLONE_NEWPID).what("make namespaces")?;
    }
    if !order.hostname.is_empty() {
        rustix::system::sethostname(&order.hostname).what("set host name")?;
    }
    if makes_network {
        sys::loopback_up().what("set up loopback")?;
    }
    if let Some(keeper) = &mut keeper {
        keeper.begin().map_err(|error| Failure {
            kind: ErrorKind::Unsupported,
            message: format!("{}: {error}", network::FAILED),
            code: 0,
        })?;
    }
    Ok(Namespaces { keeper, held, processes })
}

/// Waits until the command is about to be executed, then answers its calls until it ends. Gives exit code and signal.
fn setup_and_supervise(
    host: &Channel,
    order: &Order,
    (tree, ledger, journal, binds): (OwnedFd, OwnedFd, OwnedFd, Vec<OwnedFd>),
    (inner, go): (&Channel, OwnedFd),
    proc: OwnedFd,
    (device, network): (u64, Option<OwnedFd>),
    (listener, state, lent): (&mut Option<OwnedFd>, &mut Option<State>, &Option<Lent>),
) -> Setup<(i32, i32)> {
    let Some(ready) = inner.receive().what("set up step")? else {
        return Err(Failure::new("set up step", io::Error::other("its first process ended")));
    };
    let mut body = Reader::new(&ready.body);
    let (every, shown) = (body.small().unwrap_or(0) != 0, body.bytes().unwrap_or_default());
    let command = ready.sender.unwrap_or(0);
    let mut descriptors = match ready.kind {
        Message::LISTENER => ready.descriptors.into_iter(),
        _ => return Err(Failure::received(&ready.body)),
    };
    // The listener comes first, and with a terminal there are two.
    if descriptors.len() > usize::from(order.terminal) {
        *listener = descriptors.next();
    }
    let listener = listener.as_ref();
    let terminal = descriptors.next();
    if let Some(listener) = listener {
        sys::wake_in_turn(listener);
    }
    if listener.is_some() || order.rung.traces() {
        let shown = Ledger::from_bytes(&shown).map_err(not_ledger)?;
        *state =
            Some(begin_state(order, (tree, ledger, journal, binds), (proc, device), &shown, command, lent)?);
    }
    if let (Some(state), Some(lent), Lending::Lend) = (state.as_mut(), lent, order.owners) {
        state.lend(&lent.places).what("put owners on the disk")?;
    }
    let mut tracer = None;
    if order.rung.traces() {
        let signals = sys::child_signals().what("wait for step")?;
        let mut first = Tracer::new(filter::rules(order));
        first.begin(command, every).what("trace command")?;
        tracer = Some((first, signals));
    }
    let with: Vec<_> = terminal.iter().chain(&network).map(AsFd::as_fd).collect();
    host.send(Message::STARTED, &[], &with).what("report")?;
    drop((terminal, network));
    rustix::io::write(&go, b"!").what("start command")?;
    drop(go);
    supervise(host, inner, listener, state, tracer)
}

/// Returns what calls are answered from: the ledger with what was `shown` to the step, and the step's root where the kernel has none.
fn begin_state(
    order: &Order,
    (tree, ledger, journal, binds): (OwnedFd, OwnedFd, OwnedFd, Vec<OwnedFd>),
    (proc, device): (OwnedFd, u64),
    shown: &Ledger,
    command: u32,
    lent: &Option<Lent>,
) -> Setup<State> {
    if order.rung == Rung::Chroot {
        // Paths lead to the same files then as for the step, and links in them no further.
        rustix::process::chroot(".").what("change root")?;
    }
    // Paths of this process in /proc are relative to it from here on: the step's /proc does not show it.
    rustix::process::fchdir(&proc).what("enter /proc")?;
    let mut ledger = read_ledger(ledger)?;
    shown.records().for_each(|record| ledger.insert(record.clone()));
    let journal = journal::Writer::new(File::from(journal));
    let service = match order.rung.serves() {
        true => Some(Service::new(&proc, tree, order).what("make root of step")?),
        false => None,
    };
    let mut state = State::new(order, proc, device, ledger, journal, service);
    if let Some(Lent { held, tree, .. }) = lent {
        state.use_ids(Native::new(*held, tree));
    }
    if order.rung.serves() {
        show_mounts(&mut state, order, binds)?;
        let shown = format!("enter /{}", String::from_utf8_lossy(&order.directory));
        state.begin(command, &order.directory).what(&shown)?;
    }
    Ok(state)
}

/// Shows a step the mounts of its order where no mount can be made.
fn show_mounts(state: &mut State, order: &Order, binds: Vec<OwnedFd>) -> Setup<()> {
    let mut binds = binds.into_iter();
    for Mount { target, what } in &order.mounts {
        let shown = format!("show /{}", String::from_utf8_lossy(target));
        match what {
            Shown::Host { read_only, .. } => {
                let fd = binds.next().ok_or(io::ErrorKind::InvalidData).what(&shown)?;
                state.show(target, fd, *read_only)
            }
            Shown::Memory { mode, .. } => state.show_memory(target, *mode),
            Shown::File { content, mode, uid, gid, .. } => {
                state.show_file(target, content, *mode, (*uid, *gid))
            }
        }
        .what(&shown)?;
    }
    Ok(())
}

fn read_ledger(fd: OwnedFd) -> Setup<Ledger> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut File::from(fd), &mut bytes).what("read ledger")?;
    Ledger::from_bytes(&bytes).map_err(not_ledger)
}

fn not_ledger(error: crate::Error) -> Failure {
    Failure { kind: error.kind(), message: error.to_string(), code: 0 }
}

/// Builds the step's root. Gives what the ledger is to say of files that were made for that.
pub fn see(order: &Order, given: &Given) -> Setup<Ledger> {
    if order.rung.mounts() {
        return mounts::build(order, &given.binds).map_err(|(what, error)| Failure::new(&what, error));
    }
    if !order.rung.serves() {
        rustix::process::chroot(".").what("change root")?;
    }
    rustix::process::chdir("/").what("change root")?;
    Ok(Ledger::default())
}
