//! The helper's loop: it answers the calls of a step, and passes messages between the host program and the reaper.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::beside::{Beside, Wait, Watch};
use super::failure::{Failure, Setup, What};
use super::handle::State;
use super::notify::{self, Turn};
use super::protocol::{Channel, Message, Reader};
use super::ptrace::{self, Tracer};
use crate::error::ErrorKind;

/// The source of an event.
enum Source {
    Listener,
    Tracer,
    Beside(Wait),
}

/// Answers calls until the command has ended. Gives its exit code and signal.
pub fn supervise(
    host: &Channel,
    inner: &Channel,
    listener: Option<&OwnedFd>,
    state: &mut Option<State>,
    mut tracer: Option<(Tracer, OwnedFd)>,
) -> Setup<(i32, i32)> {
    let mut listening = listener;
    let mut beside = Beside::default();
    let mut busy = false;
    loop {
        let mut fds = Vec::with_capacity(8);
        fds.extend([PollFd::new(host, PollFlags::IN), PollFd::new(inner, PollFlags::IN)]);
        let mut sources = Vec::with_capacity(8);
        if let Some(listener) = listening {
            fds.push(PollFd::new(listener, PollFlags::IN));
            sources.push(Source::Listener);
        }
        if let Some((_, signals)) = &tracer {
            fds.push(PollFd::new(signals, PollFlags::IN));
            sources.push(Source::Tracer);
        }
        for (wait, fd) in beside.waits() {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            sources.push(Source::Beside(wait));
        }
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut fds, busy.then_some(&at_once)) {
            Err(Errno::INTR) => continue,
            other => other.what("wait for step")?,
        };
        let came: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        if let (true, Some((tracer, _)), Some(state)) = (busy, tracer.as_mut(), state.as_mut()) {
            busy = traced(tracer, state)?;
        }
        for (source, events) in sources.iter().zip(&came[2..]).filter(|(_, events)| !events.is_empty()) {
            match source {
                Source::Listener => {
                    if !answer(listening, *events, state)? {
                        listening = None;
                    }
                }
                Source::Tracer => {
                    if let (Some((tracer, signals)), Some(state)) = (tracer.as_mut(), state.as_mut()) {
                        let mut bytes = [0; 1024];
                        let _ = rustix::io::read(&*signals, &mut bytes);
                        busy = traced(tracer, state)?;
                    }
                }
                Source::Beside(Wait::Listener(at)) => {
                    if !answer(beside.listener(*at), *events, state)? {
                        beside.deaf(*at);
                    }
                }
                Source::Beside(Wait::Channel(at)) => {
                    let mut watch = Watch { state, tracer: &mut tracer };
                    beside.said(host, *at, &mut watch).what("report")?;
                }
            }
        }
        if !came[1].is_empty() {
            let mut watch = Watch { state, tracer: &mut tracer };
            if let Some(end) = take_from_reaper(host, inner, &mut beside, &mut watch)? {
                return Ok(end);
            }
        }
        if !came[0].is_empty() {
            take_from_host(host, inner, &mut beside, state)?;
        }
        beside.sweep();
    }
}

/// Takes in a message of the reaper. Gives exit code and signal of the command once it has ended.
fn take_from_reaper(
    host: &Channel,
    inner: &Channel,
    beside: &mut Beside,
    watch: &mut Watch<'_>,
) -> Setup<Option<(i32, i32)>> {
    match inner.receive().what("wait for step")? {
        Some(Message { kind: Message::EXITED, body, .. }) => {
            let mut body = Reader::new(&body);
            let code = body.small().what("wait for step")?;
            Ok(Some((code as i32, body.small().what("wait for step")? as i32)))
        }
        Some(Message { kind: Message::EXEC_EXITED, body, .. }) => {
            beside.ended(host, &body, watch).what("report")?;
            Ok(None)
        }
        Some(message) => Err(Failure::received(&message.body)),
        // Not even the first process is left; something outside killed it.
        None => Ok(Some((128 + libc::SIGKILL, libc::SIGKILL))),
    }
}

/// Takes in a message of the host program.
fn take_from_host(
    host: &Channel,
    inner: &Channel,
    beside: &mut Beside,
    state: &mut Option<State>,
) -> Setup<()> {
    match host.receive().what("receive from host")? {
        Some(Message { kind: kind @ (Message::SIGNAL | Message::EXEC_SIGNAL), body, .. }) => {
            inner.send(kind, &body, &[]).what("send signal")
        }
        Some(message) if message.kind == Message::EXEC => {
            beside.start(host, inner, state, message).what("start command")
        }
        Some(_) => Ok(()),
        // The host program is gone; the step goes with it.
        None => Err(Failure::new("wait for step", std::io::ErrorKind::UnexpectedEof)),
    }
}

/// Takes note of what traced threads did; whether there may be more.
fn traced(tracer: &mut Tracer, state: &mut State) -> Setup<bool> {
    match tracer.turn(state).what("answer call")? {
        ptrace::Turn::Idle => Ok(false),
        ptrace::Turn::More => Ok(true),
        ptrace::Turn::Foreign => Err(foreign()),
    }
}

/// The message of a step that is ended because of a call by another ABI.
const FOREIGN: &str = "a program of another ABI (32-bit, or x32) was run, and its calls are not supported; nothing of the step is to be kept";

fn foreign() -> Failure {
    Failure { kind: ErrorKind::Unsupported, message: FOREIGN.into(), code: 0 }
}

/// Answers a call; whether there may be more.
fn answer(listener: Option<&OwnedFd>, events: PollFlags, state: &mut Option<State>) -> Setup<bool> {
    let (Some(listener), Some(state)) = (listener, state.as_mut()) else { return Ok(false) };
    if !events.contains(PollFlags::IN) {
        return Ok(false);
    }
    match notify::turn(listener, state).what("answer call")? {
        Turn::Goes => Ok(true),
        Turn::Over => Ok(false),
        Turn::Foreign => Err(foreign()),
    }
}
