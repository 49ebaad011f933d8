//! The supervisor of a container that runs by itself: the helper program once more, under a verb of its own.
//!
//! The process that starts it hands it an order over a socket, receives the result of the start, and may go. The order
//! names the store and the container's directory; all else is on the disk.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::client::{Attached, StartOptions, Started, failure};
use super::control::{self, FAILED, STARTED};
use super::handle::Container;
use super::supervise::RunOptions;
use crate::error::{At, Error, ErrorKind, Result};
use crate::progress::Control;
use crate::sandbox::protocol::{Channel, Message, Reader, Writer};
use crate::sandbox::{Rung, WindowSize, find_helper, leave_parent, spawn_helper};
use crate::store::Store;

const START: &str = "start container";
/// The hidden verb.
#[doc(hidden)]
pub const VERB: &str = "container-monitor";
const ORDER: u8 = 40;

/// Starts a supervisor for a container.
pub(super) fn start(container: &Container, options: &StartOptions) -> Result<Started> {
    if container.is_running()? {
        return Err(Error::new(ErrorKind::Busy, START, "the container runs").with_path(container.name()));
    }
    let program = find_helper(options.helper.as_deref())?;
    let shown = program.as_os_str().as_encoded_bytes();
    let (pid, channel) = spawn_helper(&program, c"container-monitor").at(START, shown)?;
    let talk = || -> io::Result<Option<Message>> {
        channel.hello()?;
        channel.send(ORDER, &encode(container, options, &program), &[])?;
        channel.expect_hello()?;
        channel.receive()
    };
    let answer = talk();
    // It leaves its first process behind at once, so that no parent has to wait for the other.
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        while let Err(rustix::io::Errno::INTR) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())
        {}
    }
    match answer {
        Ok(Some(message)) if message.kind == STARTED => {
            let (rung, refused) = chosen(&message.body).at(START, shown)?;
            let attached = match options.attach {
                true => Some(Attached::new(channel).begun(START)?),
                false => None,
            };
            Ok(Started { rung, refused, attached })
        }
        Ok(Some(message)) => Err(failure(START, &message)),
        Ok(None) => Err(silent(shown)),
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
            Err(silent(shown))
        }
        Err(error) => Err(error).at("ask supervisor", shown),
    }
}

fn silent(program: &[u8]) -> Error {
    Error::new(ErrorKind::Io, START, "the supervisor ended without an answer").with_path(program)
}

fn encode(container: &Container, options: &StartOptions, program: &std::path::Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let text = |list: &[String]| list.iter().map(|word| word.clone().into_bytes()).collect::<Vec<_>>();
    let some = |text: &Option<String>| text.iter().map(|text| text.clone().into_bytes()).collect::<Vec<_>>();
    let mut out = Writer::default();
    out.bytes(container.store.root_path().as_os_str().as_bytes());
    out.bytes(container.slot.name().as_bytes()).bytes(container.id().as_bytes());
    out.bytes(program.as_os_str().as_bytes());
    out.list(&text(&options.command)).list(&text(&options.environment));
    out.list(&some(&options.user)).list(&some(&options.directory));
    out.list(&some(&options.rung.map(|rung| rung.to_string())));
    out.number(options.terminal.map_or(2, u64::from));
    WindowSize::write(options.window, &mut out);
    for flag in [options.interactive, options.attach, options.together] {
        out.number(flag.into());
    }
    out.finish()
}

fn chosen(body: &[u8]) -> io::Result<(Option<Rung>, Vec<(Rung, String)>)> {
    let mut body = Reader::new(body);
    let rung = Rung::from_number(body.number()?);
    let mut refused = Vec::new();
    for _ in 0..body.number()?.min(64) {
        let (rung, why) = (body.number()?, body.bytes()?);
        refused
            .extend(Rung::from_number(rung).map(|rung| (rung, String::from_utf8_lossy(&why).into_owned())));
    }
    Ok((rung, refused))
}

/// Runs the supervisor, on the socket that it was started with; gives its exit code. For programs that are the helper
/// and nothing else.
#[doc(hidden)]
pub fn main() -> i32 {
    if leave_parent().is_err() {
        return 1;
    }
    let channel = Channel::new(crate::sandbox::helper_socket());
    match serve(&channel) {
        Ok(()) => 0,
        Err(error) => {
            // Without a starter there is no receiver.
            let _ = channel.send(FAILED, &control::failure(&error), &[]);
            1
        }
    }
}

struct Order {
    store: PathBuf,
    slot: String,
    id: String,
    options: RunOptions,
    attach: bool,
    together: bool,
}

fn order(channel: &Channel) -> io::Result<Order> {
    use std::os::unix::ffi::OsStringExt;
    channel.expect_hello()?;
    channel.hello()?;
    let body = match channel.receive()? {
        Some(Message { kind: ORDER, body, .. }) => body,
        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
    };
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    let mut body = Reader::new(&body);
    let path = |bytes: Vec<u8>| PathBuf::from(std::ffi::OsString::from_vec(bytes));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| wrong());
    let store = path(body.bytes()?);
    let (slot, id) = (text(body.bytes()?)?, text(body.bytes()?)?);
    let helper = path(body.bytes()?);
    let list = |list: Vec<Vec<u8>>| list.into_iter().map(text).collect::<io::Result<Vec<_>>>();
    let (command, environment) = (list(body.list()?)?, list(body.list()?)?);
    let mut one = || -> io::Result<Option<String>> { Ok(list(body.list()?)?.into_iter().next()) };
    let (user, directory, rung) = (one()?, one()?, one()?);
    let rung = rung.map(|rung| rung.parse()).transpose().map_err(|_| wrong())?;
    let terminal = match body.number()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    let window = WindowSize::read(&mut body)?;
    let mut flag = || -> io::Result<bool> { Ok(body.number()? == 1) };
    let (interactive, attach, together) = (flag()?, flag()?, flag()?);
    let options = RunOptions {
        command,
        environment,
        user,
        directory,
        terminal,
        window,
        rung,
        helper: Some(helper),
        input: interactive,
        ..RunOptions::default()
    };
    Ok(Order { store, slot, id, options, attach, together })
}

fn serve(channel: &Channel) -> Result<()> {
    let Order { store, slot, id, mut options, attach, together } =
        order(channel).at(START, "receive order")?;
    let store = Store::open(store)?;
    let gone = || Error::not_found(START, "the container was removed");
    let boxes = store.boxes(false)?.ok_or_else(gone)?;
    let container = Container::of_slot(&store, &boxes, &slot)?.filter(|it| it.id() == id).ok_or_else(gone)?;
    options.input |= container.record().settings.interactive;
    options.watched = attach;
    let mut running = container.launch(options)?;
    let mut body = Writer::default();
    body.number(running.rung() as u64).number(running.refused().len() as u64);
    for (rung, why) in running.refused() {
        body.number(*rung as u64).bytes(why.as_bytes());
    }
    channel.send(STARTED, &body.finish(), &[]).at(START, "answer")?;
    let watcher = match (attach, running.server()) {
        (true, Some(server)) => {
            let channel = Channel::new(channel.as_fd().try_clone_to_owned().at(START, "attach")?);
            let (server, output) = (Arc::clone(&server), running.watched());
            crate::threads::start("treering-attached", move || {
                let _ = control::attach(&channel, &server, output, together);
            })
            .ok()
        }
        _ => None,
    };
    if watcher.is_none() {
        // The starter reads the end of the stream.
        let _ = rustix::net::shutdown(channel, rustix::net::Shutdown::Both);
    }
    let result = running.wait(&Control::default());
    if let Some(watcher) = watcher {
        let _ = watcher.join();
    }
    // How the command ended is in the state, errors too.
    drop(result);
    Ok(())
}
