//! The two processes of a step that are copies of the helper: the reaper, and the command up to its execve(2).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::failure::{Failure, Setup, What, c_string};
use super::filter::{self, Filtered};
use super::init::{self, Given};
use super::order::{Limit, Order};
use super::place;
use super::protocol::{Channel, Message, Reader, Writer};
use super::rung::Rung;
use super::sys;
use crate::error::ErrorKind;
use crate::tree::Ledger;

/// The directories of programs without a PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the reaper. It builds the step's root, because only from within a process namespace its /proc can be mounted; then
/// starts the command, reaps whatever ends, passes signals on, and reports how the command ended. When it exits, the kernel
/// kills what is left.
pub fn reaper(order: &Order, given: Given, helper: Channel, gate: OwnedFd) -> ! {
    // Before the root changes, below which there may be none.
    let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let own_processes = given.own_processes;
    let result =
        start(order, given, &helper, gate).and_then(|(command, bounds)| watch(command, &bounds, &helper));
    if let (false, Ok(proc)) = (own_processes, &proc) {
        end_children(proc);
    }
    match result {
        Ok((code, signal)) => {
            let mut body = Writer::default();
            body.number(code as u64).number(signal as u64);
            let _ = helper.send(Message::EXITED, &body.finish(), &[]);
            sys::exit(0)
        }
        Err(failure) => {
            let _ = helper.send(Message::FAILED, &failure.encode(), &[]);
            sys::exit(1)
        }
    }
}

/// The bounds of a command where namespaces do not set them.
struct Bounds {
    /// The tree and what else is shown, where the root is the host's.
    below: Option<(OwnedFd, Vec<OwnedFd>)>,
    /// Whether its signals are to reach what it starts alone, as the processes are the host's.
    signals: bool,
}

fn start(order: &Order, given: Given, helper: &Channel, gate: OwnedFd) -> Setup<(i32, Bounds)> {
    // Should the helper be killed, its end of the socket closes, and poll() says so; this is for the moments before that.
    let prepared = match given.own_processes {
        true => sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong),
        // Without a process namespace, what the command leaves behind becomes this process's own, to be ended by it.
        false => sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1),
    };
    prepared.what("set up step")?;
    let shown = init::see(order, &given)?;
    let bounds = Bounds {
        below: order.rung.serves().then_some((given.tree, given.binds)),
        signals: order.rung.mounts() && !given.own_processes,
    };
    match sys::fork().what("start command")? {
        0 => {
            let failure = match prepare(order, given.streams, &bounds, &shown, helper, gate) {
                Ok(()) => execute(order),
                Err(failure) => failure,
            };
            let _ = helper.send(Message::FAILED, &failure.encode(), &[]);
            sys::exit(127)
        }
        pid => Ok((pid, bounds)),
    }
}

/// Waits for the command; gives its exit code and signal.
fn watch(command: i32, bounds: &Bounds, helper: &Channel) -> Setup<(i32, i32)> {
    let signals = sys::child_signals().what("wait for command")?;
    // More commands: process, and the number that the host program has for it.
    let mut more: Vec<(i32, u64)> = Vec::new();
    loop {
        while let Ok(Some((pid, status))) = sys::wait(-1, false) {
            if pid == command {
                return Ok(ending(status));
            }
            if let Some(at) = more.iter().position(|(other, _)| *other == pid) {
                let (code, signal) = ending(status);
                let mut body = Writer::default();
                body.number(more.swap_remove(at).1).number(code as u64).number(signal as u64);
                let _ = helper.send(Message::EXEC_EXITED, &body.finish(), &[]);
            }
        }
        let mut fds = [PollFd::new(&signals, PollFlags::IN), PollFd::new(helper, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other.what("wait for command")?,
        };
        if !fds[0].revents().is_empty() {
            let mut bytes = [0; 1024];
            let _ = rustix::io::read(&signals, &mut bytes);
        }
        if !fds[1].revents().is_empty() {
            match helper.receive() {
                Ok(Some(Message { kind: Message::SIGNAL, body, .. })) => {
                    if let Ok(signal) = Reader::new(&body).small() {
                        let _ = sys::kill(command, signal as i32);
                    }
                }
                Ok(Some(Message { kind: Message::EXEC, body, descriptors, .. })) => {
                    // Of one that could not be made the helper reads the end of its socket, with nothing said before.
                    if let Ok(started) = one_more(&body, descriptors, bounds) {
                        more.push(started);
                    }
                }
                Ok(Some(Message { kind: Message::EXEC_SIGNAL, body, .. })) => {
                    let mut body = Reader::new(&body);
                    if let (Ok(number), Ok(signal)) = (body.number(), body.small())
                        && let Some((pid, _)) = more.iter().find(|(_, other)| *other == number)
                    {
                        let _ = sys::kill(*pid, signal as i32);
                    }
                }
                Ok(Some(_)) => {}
                // The helper is gone: everything here ends.
                Ok(None) | Err(_) => {
                    return Err(Failure::new("wait for command", io::ErrorKind::UnexpectedEof));
                }
            }
        }
    }
}

/// Starts one more command; gives its process and its number. With the message come its streams, its end of a socket to the helper, and
/// the pipe that releases it.
fn one_more(body: &[u8], descriptors: Vec<OwnedFd>, bounds: &Bounds) -> io::Result<(i32, u64)> {
    let mut body = Reader::new(body);
    let (number, slack, locks) = (body.number()?, body.number()?, body.number()?);
    let order = Order::decode(&body.bytes()?)?;
    let given: Result<[OwnedFd; 5], _> = descriptors.try_into();
    let [input, output, error, helper, gate] = given.map_err(|_| io::ErrorKind::InvalidData)?;
    match sys::fork()? {
        0 => {
            let helper = Channel::new(helper);
            let credentials = match slack {
                0 => Ok(()),
                // What a thread is, as the supervisor reads it.
                _ => sys::prctl(libc::PR_SET_TIMERSLACK, slack as libc::c_ulong)
                    .and_then(|()| sys::lock_limit(0, Some(locks)).map(drop))
                    .what("start command"),
            };
            let prepared = credentials.and_then(|()| {
                prepare(&order, [input, output, error], bounds, &Ledger::default(), &helper, gate)
            });
            let failure = match prepared {
                Ok(()) if order.places => {
                    // Nothing more is said of this process but how it ends.
                    drop(helper);
                    sys::exit(place::make())
                }
                Ok(()) => execute(&order),
                Err(failure) => failure,
            };
            let _ = helper.send(Message::FAILED, &failure.encode(), &[]);
            sys::exit(127)
        }
        pid => Ok((pid, number)),
    }
}

/// Kills all children of this process, and what becomes its child by that, until none is left.
pub fn end_children(proc: &OwnedFd) {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    loop {
        let open = rustix::fs::openat(proc, c".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let mut names = crate::fs::dirents::Names::default();
        if open.map_err(io::Error::from).and_then(|directory| names.read(&directory)).is_err() {
            return;
        }
        for at in 0..names.len() {
            let Some(pid) = names.get(at).to_str().ok().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if parent(proc, pid) == Some(me) {
                let _ = sys::kill(pid, libc::SIGKILL);
            }
        }
        // Each that is reaped may leave children; they are this process's by then.
        let mut reaped = false;
        loop {
            match sys::wait(-1, !reaped) {
                Ok(Some(_)) => reaped = true,
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// Returns the parent of a process (proc_pid_stat(5): the second field after the name, which may hold anything but the last
/// parenthesis).
fn parent(proc: &OwnedFd, pid: i32) -> Option<i32> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(proc, format!("{pid}/stat"), flags, Mode::empty()).ok()?;
    let mut bytes = [0; 512];
    let n = rustix::io::read(&fd, &mut bytes[..]).ok()?;
    let rest = bytes[..n].rsplit(|&c| c == b')').next()?;
    let field = rest.split(|&c| c == b' ').filter(|field| !field.is_empty()).nth(1)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Returns exit code and signal of a wait status; a signal counts as 128 and its number, as in a shell.
fn ending(status: i32) -> (i32, i32) {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        return (128 + signal, signal);
    }
    (libc::WEXITSTATUS(status), 0)
}

/// Makes this process what the command starts as, and waits for the word to go.
fn prepare(
    order: &Order,
    streams: [OwnedFd; 3],
    bounds: &Bounds,
    shown: &Ledger,
    helper: &Channel,
    gate: OwnedFd,
) -> Setup<()> {
    sys::default_signals();
    rustix::process::setsid().what("start session")?;
    let terminal = set_streams(order, streams)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    limits(order)?;
    match &bounds.below {
        Some((tree, binds)) => confine(tree, binds)?,
        None => {
            directory(order)?;
            if bounds.signals {
                sys::confine_signals().what("confine command")?;
            }
            filter::limit_capabilities()?;
        }
    }
    let Filtered { listener, every } = filter::install(order)?;
    let with: Vec<_> = listener.iter().chain(&terminal).map(AsFd::as_fd).collect();
    let io = |error: io::Error| Failure::new("start command", error);
    let mut body = Writer::default();
    body.number(every.into()).bytes(&shown.to_bytes());
    helper.send(Message::LISTENER, &body.finish(), &with).map_err(io)?;
    drop((listener, terminal));
    // The supervisor is ready when this comes; whatever is called before must need no answer.
    if rustix::io::retry_on_intr(|| rustix::io::read(&gate, &mut [0u8; 1]))
        .map_err(|error| io(error.into()))?
        != 1
    {
        return Err(io(io::ErrorKind::UnexpectedEof.into()));
    }
    if order.rung.has_users() {
        let user = &order.user;
        sys::set_groups(&user.groups)
            .and_then(|()| sys::set_gid(user.gid))
            .and_then(|()| sys::set_uid(user.uid))
            .what("become user")?;
    }
    Ok(())
}

/// Takes from this process what a command without a namespace is not to have. What it may read and execute is behind the supervisor's
/// answers a second time; kernels before 5.13 do without.
fn confine(tree: &OwnedFd, binds: &[OwnedFd]) -> Setup<()> {
    let wrong = |error: io::Error| Failure::new("confine command", error);
    sys::no_new_privileges().map_err(wrong)?;
    // A write by real root keeps setuid bits on the disk; this gives no way to anything else.
    for capability in (0..=40).filter(|&capability| capability != u64::from(super::credentials::FSETID)) {
        // Without privileges there is nothing to take away.
        let _ = sys::prctl(libc::PR_CAPBSET_DROP, capability);
    }
    let below: Vec<_> = std::iter::once(tree).chain(binds).map(AsFd::as_fd).collect();
    sys::confine(&below).map_err(wrong)?;
    Ok(())
}

/// Sets the limits that were asked for.
fn limits(order: &Order) -> Setup<()> {
    use rustix::process::{Rlimit, setrlimit};
    // The supervisor has its own use for the limit of locks where it carries credentials, and no kernel has another one.
    let applied = |limit: &&Limit| order.rung != Rung::Notify || limit.name != "locks";
    for limit in order.limits.iter().filter(applied) {
        let shown = format!("set limit {}", limit.name);
        let resource = limit.resource().ok_or_else(|| Failure::new(&shown, io::ErrorKind::InvalidInput))?;
        let value = |n: u64| (n != u64::MAX).then_some(n);
        let new = Rlimit { current: value(limit.soft), maximum: value(limit.hard) };
        setrlimit(resource, new).what(&shown)?;
    }
    Ok(())
}

/// Puts the three streams in their places, or a terminal that is made for them, the other end of which is given.
fn set_streams(order: &Order, given: [OwnedFd; 3]) -> Setup<Option<OwnedFd>> {
    let wrong = |error: Errno| Failure::new("set up streams", error);
    let (streams, other) = match order.terminal {
        false => (given, None),
        true => {
            let (end, other) = terminal(order)?;
            let again = || end.try_clone().what("set up streams");
            ([again()?, again()?, end], Some(other))
        }
    };
    let [input, output, error] = streams;
    rustix::stdio::dup2_stdin(input).map_err(wrong)?;
    rustix::stdio::dup2_stdout(output).map_err(wrong)?;
    rustix::stdio::dup2_stderr(error).map_err(wrong)?;
    Ok(other)
}

/// Makes a terminal of the step's own, the controlling one of its session.
fn terminal(order: &Order) -> Setup<(OwnedFd, OwnedFd)> {
    let wrong = |error: Errno| Failure::new("make terminal", error);
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    // The host's own, which that of its devpts need not be: there it is closed to all unless the mount says otherwise.
    let maker = if order.rung.mounts() { "/dev/pts/ptmx" } else { "/dev/ptmx" };
    let other = rustix::fs::open(maker, flags, Mode::empty()).map_err(wrong)?;
    rustix::pty::unlockpt(&other).map_err(wrong)?;
    if let Some(window) = order.window {
        window.set(&other).map_err(wrong)?;
    }
    let end = rustix::pty::ioctl_tiocgptpeer(
        &other,
        rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY,
    )
    .map_err(wrong)?;
    rustix::process::ioctl_tiocsctty(&end).map_err(wrong)?;
    Ok((end, other))
}

/// Enters the working directory, making it where it is missing, and makes sure that it is one of the step.
fn directory(order: &Order) -> Setup<()> {
    let shown = || format!("enter /{}", String::from_utf8_lossy(&order.directory));
    let wrong = |error: Errno| Failure::new(&shown(), error);
    let mut path = Vec::new();
    for name in order.directory.split(|&c| c == b'/').filter(|name| !name.is_empty()) {
        path.push(b'/');
        path.extend_from_slice(name);
        match rustix::fs::mkdirat(CWD, &path[..], Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(wrong(error)),
        }
    }
    path.push(b'/');
    rustix::process::chdir(&path[..]).map_err(wrong)?;
    // A directory outside the root has no name here, and the kernel says so.
    let here = rustix::process::getcwd(Vec::new()).map_err(wrong)?;
    if here.as_bytes().first() != Some(&b'/') {
        return Err(Failure::new(&shown(), io::Error::other("it is not below the root")));
    }
    Ok(())
}

/// Executes the command. Gives why it could not.
fn execute(order: &Order) -> Failure {
    let lists = || -> Setup<_> {
        let strings = |list: &[Vec<u8>]| list.iter().map(|s| c_string(s)).collect::<Result<Vec<_>, _>>();
        Ok((strings(&order.arguments)?, strings(&order.environment)?))
    };
    let (arguments, environment) = match lists() {
        Ok(lists) => lists,
        Err(failure) => return failure,
    };
    let name = &order.arguments[0];
    let mut found = None;
    for path in candidates(name, &order.environment) {
        let Ok(path) = c_string(&path) else { continue };
        let error = sys::execute(&path, &arguments, &environment);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {
                // A program without its interpreter is there all the same.
                if rustix::fs::access(&path, rustix::fs::Access::EXISTS).is_ok() {
                    found = Some((path, "its interpreter is missing".to_string()));
                    break;
                }
            }
            Some(libc::EACCES) => found = Some((path, "permission denied".into())),
            Some(libc::ENOEXEC) => {
                found = Some((path, "not in a format that this machine executes".into()));
                break;
            }
            _ => {
                let text = error.to_string();
                let text = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
                found = Some((path, text));
                break;
            }
        }
    }
    let name = crate::error::escape(name);
    match found {
        Some((path, why)) => {
            let path = crate::error::escape(path.to_bytes());
            Failure { kind: ErrorKind::CommandFailed, message: format!("{path}: {why}"), code: 126 }
        }
        None => Failure {
            kind: ErrorKind::CommandFailed,
            message: format!("{name}: not found in the tree"),
            code: 127,
        },
    }
}

/// Returns where a program may be: as it stands when it has a slash, else in each directory of PATH.
fn candidates(name: &[u8], environment: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if name.contains(&b'/') {
        return vec![name.to_vec()];
    }
    if name.is_empty() {
        return Vec::new();
    }
    let path = environment.iter().find_map(|variable| variable.strip_prefix(b"PATH="));
    let directories = path.unwrap_or(DEFAULT_PATH).split(|&c| c == b':');
    directories
        .map(|directory| {
            let directory = if directory.is_empty() { b"." } else { directory };
            [directory, b"/", name].concat()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_where_path_says() {
        let environment = [b"HOME=/".to_vec(), b"PATH=/a::/b".to_vec()];
        assert_eq!(candidates(b"x", &environment), [b"/a/x".to_vec(), b"./x".to_vec(), b"/b/x".to_vec()]);
        assert_eq!(candidates(b"./x", &environment), [b"./x".to_vec()]);
        assert!(candidates(b"", &environment).is_empty());
        assert!(candidates(b"sh", &[]).contains(&b"/bin/sh".to_vec()));
    }
}
