//! The socket by which others reach the supervisor of a running container: its side of it.
//!
//! One request a connection. Only this user and root may ask: the socket is below the store, which is private, and the
//! kernel identifies the other side. Messages are those of [`protocol`](crate::sandbox), with kinds of their own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::handle::Container;
use super::pump::{Piece, Shared};
use super::terminal;
use crate::error::{At, Error, Result};
use crate::event::OutputStream;
use crate::fs::make_dir::keep_usable;
use crate::progress::Control;
use crate::sandbox::protocol::{Channel, Message, Reader, Writer};
use crate::sandbox::{Commands, Ids, Joined, Network, Signals, StepOptions, Stream, WindowSize};
use crate::store::Slot;
use crate::threads;

/// Its name in the container's directory.
pub(super) const SOCKET: &str = "control";
/// The most connections at a time.
const MOST: usize = 64;
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
const PAUSE: Duration = Duration::from_millis(50);

// Requests.
/// Send a signal to the command.
pub(super) const SIGNAL: u8 = 20;
/// Run one more command; its streams come along.
pub(super) const EXEC: u8 = 21;
/// Send what the command writes, and take what it is to read.
pub(super) const ATTACH: u8 = 22;
/// Say when the command has ended.
pub(super) const WAIT: u8 = 23;
// What may follow on the same connection.
/// Bytes for the command to read.
pub(super) const INPUT: u8 = 24;
/// There is no more to read.
pub(super) const INPUT_END: u8 = 25;
/// The terminal has another size.
pub(super) const RESIZE: u8 = 26;
/// The one that is attached goes, and the command is to go on.
pub(super) const DETACH: u8 = 27;
/// Give the network, to join it. The answer is of this kind: whether it is not the host's, whether it leads out, and its namespace.
pub(super) const NETWORK: u8 = 28;
// Answers.
/// It was done.
pub(super) const DONE: u8 = 30;
/// The command has started, or one is attached; with the terminal of one more command. A number: whether there is a terminal.
pub(super) const STARTED: u8 = 31;
/// The command ended: exit code, signal.
pub(super) const EXITED: u8 = 32;
/// It could not be done: kind of error, message, exit code.
pub(super) const FAILED: u8 = 33;
/// Output: the stream's number, and bytes.
pub(super) const OUTPUT: u8 = 34;

/// State that the threads that serve connections share.
#[derive(Debug)]
pub(super) struct Server {
    pub shared: Arc<Shared>,
    pub signals: Signals,
    pub commands: Commands,
    /// The command's terminal, or what it reads from.
    pub input: Mutex<Option<OwnedFd>>,
    pub terminal: bool,
    /// The network that the command has, and that of others where they can have it too.
    pub network: (Network, Option<Joined>),
    served: AtomicUsize,
}

impl Server {
    pub fn new(
        shared: Arc<Shared>,
        signals: Signals,
        commands: Commands,
        input: Option<OwnedFd>,
        terminal: bool,
        network: (Network, Option<Joined>),
    ) -> Server {
        let (input, served) = (Mutex::new(input), AtomicUsize::new(0));
        Server { shared, signals, commands, input, terminal, network, served }
    }
}

/// Makes the socket of a container. The path may be longer than a socket's address can hold, so it is reached by a descriptor.
pub(super) fn listen(slot: &Slot) -> Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
    const OP: &str = "make control socket";
    slot.remove(SOCKET)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).at(OP, slot.shown(SOCKET))?;
    let address = SocketAddrUnix::new(address(slot)).at(OP, slot.shown(SOCKET))?;
    bind(&socket, &address).at(OP, slot.shown(SOCKET))?;
    keep_usable(slot.dir(), c"control", 0o600).at(OP, slot.shown(SOCKET))?;
    listen(&socket, 16).at(OP, slot.shown(SOCKET))?;
    Ok(socket)
}

/// Connects to the supervisor of a container; `None` when there is none.
pub(super) fn connect(slot: &Slot) -> Result<Option<Channel>> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    const OP: &str = "reach container";
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .at(OP, slot.shown(SOCKET))?;
    let address = SocketAddrUnix::new(address(slot)).at(OP, slot.shown(SOCKET))?;
    match connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::CONNREFUSED | Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error).at(OP, slot.shown(SOCKET)),
    }
    let channel = Channel::new(socket);
    let greeted = channel.hello().and_then(|()| channel.expect_hello());
    match greeted {
        Ok(()) => Ok(Some(channel)),
        // It ended a moment ago.
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
            Ok(None)
        }
        Err(error) => Err(error).at(OP, slot.shown(SOCKET)),
    }
}

fn address(slot: &Slot) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}/{SOCKET}", slot.dir().as_fd().as_raw_fd())
}

/// Serves connections until the command has ended, which `end` says by being closed on the other side, and all clients have
/// been answered.
pub(super) fn serve(socket: &OwnedFd, end: &OwnedFd, server: &Arc<Server>) {
    loop {
        let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            Ok(_) if fds[1].revents().is_empty() => {}
            _ => break,
        }
        let Ok(connection) = rustix::net::accept_with(socket, rustix::net::SocketFlags::CLOEXEC) else {
            continue;
        };
        let ours = rustix::net::sockopt::socket_peercred(&connection)
            .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid());
        if !ours || server.served.load(Ordering::Relaxed) >= MOST {
            continue;
        }
        server.served.fetch_add(1, Ordering::Relaxed);
        let mine = server.clone();
        let started = threads::start("treering-control", move || {
            // The client has gone; nothing of the command depends on it.
            let _ = answer(&Channel::new(connection), &mine);
            mine.served.fetch_sub(1, Ordering::Relaxed);
        });
        if started.is_err() {
            server.served.fetch_sub(1, Ordering::Relaxed);
        }
    }
    // Waiting clients are answered within a moment.
    for _ in 0..40 {
        if server.served.load(Ordering::Relaxed) == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn answer(channel: &Channel, server: &Arc<Server>) -> io::Result<()> {
    // One that connects and says nothing must not be waited for.
    rustix::net::sockopt::set_socket_timeout(
        channel,
        rustix::net::sockopt::Timeout::Recv,
        Some(Duration::from_secs(10)),
    )?;
    channel.hello()?;
    channel.expect_hello()?;
    let Some(request) = channel.receive()? else { return Ok(()) };
    rustix::net::sockopt::set_socket_timeout(channel, rustix::net::sockopt::Timeout::Recv, None)?;
    match request.kind {
        SIGNAL => {
            let signal = Reader::new(&request.body).small()?;
            match server.signals.send(signal as i32) {
                Ok(()) => channel.send(DONE, &[], &[]),
                Err(error) => channel.send(FAILED, &failure(&error), &[]),
            }
        }
        WAIT => {
            while server.shared.ended().is_none() && !gone(channel) {
                std::thread::sleep(PAUSE / 10);
            }
            exited(channel, server)
        }
        EXEC => match exec(channel, server, request) {
            Ok(()) => Ok(()),
            Err(error) => channel.send(FAILED, &failure(&error), &[]),
        },
        ATTACH => attach(channel, server, None, false),
        NETWORK => super::links::answer(channel, server.network.0, server.network.1.as_ref()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Returns whether the other side has hung up.
fn gone(channel: &Channel) -> bool {
    let mut fds = [PollFd::new(channel, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&now)), Ok(n) if n > 0) && fds[0].revents().contains(PollFlags::HUP)
}

fn exited(channel: &Channel, server: &Server) -> io::Result<()> {
    let Some(code) = server.shared.ended() else { return Ok(()) };
    let mut body = Writer::default();
    body.number(code as u64).number(0);
    channel.send(EXITED, &body.finish(), &[])
}

/// Returns the body of a message about an error.
pub(super) fn failure(error: &Error) -> Vec<u8> {
    let mut body = Writer::default();
    body.number(error.kind().code() as u64).bytes(error.message().as_bytes());
    body.bytes(error.path().unwrap_or_default()).number(error.exit_code().unwrap_or(0) as u64);
    body.finish()
}

/// Encodes the options of an exec.
pub(super) fn encode(options: &StepOptions) -> Vec<u8> {
    let mut body = Writer::default();
    body.list(&options.arguments).list(&options.environment).bytes(&options.directory);
    options.user.encode(&mut body);
    body.number(options.terminal.into());
    WindowSize::write(options.window, &mut body);
    body.number(options.places.into());
    body.finish()
}

fn decode(body: &[u8]) -> io::Result<StepOptions> {
    let mut body = Reader::new(body);
    let (arguments, environment, directory) = (body.list()?, body.list()?, body.bytes()?);
    let user = Ids::decode(&mut body)?;
    let terminal = body.number()? == 1;
    let window = WindowSize::read(&mut body)?;
    let places = body.number()? == 1;
    body.end()?;
    let rest = StepOptions::default();
    Ok(StepOptions { arguments, environment, directory, user, terminal, window, places, ..rest })
}

/// Runs one more command. It ends when the other side hangs up, unless it was detached.
fn exec(channel: &Channel, server: &Server, request: Message) -> Result<()> {
    const OP: &str = "run command";
    let mut options = decode(&request.body).at(OP, "read request")?;
    let streams: [OwnedFd; 3] = request
        .descriptors
        .try_into()
        .map_err(|_| Error::invalid(OP, "a request comes with three streams"))?;
    let [input, output, error] = streams;
    (options.stdin, options.stdout, options.stderr) =
        (Stream::Fd(input), Stream::Fd(output), Stream::Fd(error));
    let mut running = server.commands.start(&options)?;
    // Copies of its streams here would keep readers waiting.
    drop(options);
    let terminal = running.terminal();
    let with: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
    channel.send(STARTED, &[], &with).at(OP, "answer")?;
    drop(terminal);
    let mut detached = false;
    loop {
        match running.wait_for(PAUSE / 5)? {
            Some((code, signal)) => {
                let mut body = Writer::default();
                body.number(code as u64).number(signal.unwrap_or(0) as u64);
                return channel.send(EXITED, &body.finish(), &[]).at(OP, "answer");
            }
            None if detached => continue,
            None => {}
        }
        let mut fds = [PollFd::new(channel, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut fds, Some(&now)).at(OP, "wait")? == 0 {
            continue;
        }
        match channel.receive() {
            Ok(Some(Message { kind: SIGNAL, body, .. })) => {
                running.signal(Reader::new(&body).small().at(OP, "read request")? as i32)?;
            }
            Ok(Some(Message { kind: DETACH, .. })) => detached = true,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                running.signal(libc::SIGKILL)?;
                return Ok(());
            }
        }
    }
}

/// Passes output to one that is attached, and input from it. `ends` says that the command ends with it unless it says good-bye.
pub(super) fn attach(
    channel: &Channel,
    server: &Arc<Server>,
    output: Option<Receiver<Piece>>,
    ends: bool,
) -> io::Result<()> {
    let output = output.unwrap_or_else(|| server.shared.subscribe());
    let mut body = Writer::default();
    body.number(server.terminal.into());
    channel.send(STARTED, &body.finish(), &[])?;
    let reading = channel.as_fd().try_clone_to_owned()?;
    let theirs = server.clone();
    let reader = threads::start("treering-input", move || {
        let left = take_input(&Channel::new(reading), &theirs);
        if ends && !left {
            let _ = theirs.signals.send(libc::SIGKILL);
        }
    })?;
    loop {
        match output.recv_timeout(PAUSE) {
            Ok((stream, bytes)) => {
                let mut body = Writer::default();
                body.number((stream == OutputStream::Stderr).into()).bytes(&bytes);
                channel.send(OUTPUT, &body.finish(), &[])?;
            }
            Err(RecvTimeoutError::Timeout) if gone(channel) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
            // All there was has been sent, unless it was not taken.
            Err(RecvTimeoutError::Disconnected) if server.shared.is_read() => break,
            Err(RecvTimeoutError::Disconnected) => {
                let message = "the output was not read for too long: the command goes on without this reader";
                let error = Error::new(crate::ErrorKind::Io, "attach", message);
                return channel.send(FAILED, &failure(&error), &[]);
            }
        }
    }
    // The output has ended; the code follows in a moment.
    while server.shared.ended().is_none() && !gone(channel) {
        std::thread::sleep(PAUSE / 10);
    }
    let sent = exited(channel, server);
    let _ = rustix::net::shutdown(channel, rustix::net::Shutdown::Read);
    let _ = reader.join();
    sent
}

/// Passes on what the one that is attached sends; whether it said good-bye.
fn take_input(channel: &Channel, server: &Server) -> bool {
    loop {
        let Ok(Some(message)) = channel.receive() else { return server.shared.ended().is_some() };
        match message.kind {
            INPUT => {
                let input = server.input.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(input) = &*input {
                    // What the command does not take, because it is gone, goes nowhere.
                    let _ = terminal::write(input, &message.body, None);
                }
            }
            INPUT_END if !server.terminal => {
                *server.input.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            RESIZE if server.terminal => {
                let mut body = Reader::new(&message.body);
                if let Ok(Some(size)) = WindowSize::read(&mut body) {
                    let input = server.input.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(input) = &*input {
                        let _ = size.set(input);
                    }
                }
            }
            SIGNAL => {
                if let Ok(signal) = Reader::new(&message.body).small() {
                    let _ = server.signals.send(signal as i32);
                }
            }
            DETACH => return true,
            _ => {}
        }
    }
}

impl Container {
    /// Connects to the supervisor, for a request.
    pub(super) fn reach(&self, operation: &'static str) -> Result<Channel> {
        let not = || {
            Error::new(crate::ErrorKind::InvalidArgument, operation, "the container does not run")
                .with_path(self.name())
                .with_hint("start it first")
        };
        // A supervisor makes its socket a moment after it says that the command runs.
        for _ in 0..100 {
            if let Some(channel) = connect(&self.slot)? {
                return Ok(channel);
            }
            if !self.is_running()? {
                return Err(not());
            }
            std::thread::sleep(PAUSE / 10);
        }
        Err(Error::new(crate::ErrorKind::Busy, operation, "its supervisor does not answer")
            .with_path(self.name()))
    }
}

/// Sends a request. To one that is gone it can be sent as well: no answer comes.
pub(super) fn request(
    channel: &Channel,
    kind: u8,
    body: &[u8],
    descriptors: &[BorrowedFd<'_>],
    operation: &'static str,
) -> Result<()> {
    match channel.send(kind, body, descriptors) {
        Err(error) if is_gone(&error) => Ok(()),
        other => other.at(operation, "ask supervisor"),
    }
}

/// Waits for an answer; `None` from one that is gone.
pub(super) fn reply(channel: &Channel, operation: &'static str) -> Result<Option<Message>> {
    match channel.receive() {
        Err(error) if is_gone(&error) => Ok(None),
        other => other.at(operation, "ask supervisor"),
    }
}

/// Returns whether the other side has closed the connection, maybe with what was sent unread.
fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset)
}

/// Waits for a message; `None` when the other side hangs up.
pub(super) fn receive(
    channel: &Channel,
    operation: &'static str,
    control: &Control,
) -> Result<Option<Message>> {
    await_message(channel, operation, None, control)?;
    reply(channel, operation)
}

/// Waits until a message can be sent without waiting, or the other side hangs up.
pub(super) fn await_room(channel: &Channel, operation: &'static str, control: &Control) -> Result<()> {
    loop {
        control.check(operation)?;
        let mut fds = [PollFd::new(channel, PollFlags::OUT)];
        match poll(&mut fds, Some(&LOOK)) {
            Ok(0) | Err(Errno::INTR) => continue,
            other => return other.map(drop).at(operation, "wait"),
        }
    }
}

/// Waits until there is a message, or the other side hangs up; false when `end` has come.
pub(super) fn await_message(
    channel: &Channel,
    operation: &'static str,
    end: Option<Instant>,
    control: &Control,
) -> Result<bool> {
    loop {
        control.check(operation)?;
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let wait = match left {
            Some(left) if left < Duration::from_millis(50) => {
                Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() }
            }
            _ => LOOK,
        };
        let mut fds = [PollFd::new(channel, PollFlags::IN)];
        match poll(&mut fds, Some(&wait)) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) | Err(Errno::INTR) => continue,
            other => other.at(operation, "wait")?,
        };
        return Ok(true);
    }
}
