//! A call comes, and is answered: by another result in the registers of its thread.

use std::io;

use super::call::Calls;
use super::registers::Registers;
use super::{Tracer, Turn, gone};
use crate::sandbox::bpf::{FOREIGN, Verdict};
use crate::sandbox::handle::{Answer, Asked, Handed, State, Waiting};
use crate::sandbox::sys;
use crate::sandbox::syscalls::{self, AUDIT_ARCH, Call, FOREIGN_BIT};

/// A file that another thread of the helper opened.
#[derive(Debug)]
pub struct Opened {
    tid: u32,
    number: u64,
    handed: io::Result<Handed>,
}

impl Tracer {
    /// Answers a call that the filter has brought here.
    pub(super) fn filtered(&mut self, tid: u32, state: &mut State) -> io::Result<Turn> {
        if sys::event_message(tid as i32)? == u64::from(FOREIGN) {
            return Ok(Turn::Foreign);
        }
        let answered = self.threads.get_mut(&tid).is_some_and(|thread| std::mem::take(&mut thread.answered));
        if answered || self.threads.get(&tid).is_some_and(|thread| thread.execution.is_some()) {
            // It was put back to its call, which was seen before.
            return sys::resume_to_call(tid as i32, 0).map(|()| Turn::More);
        }
        self.called(tid, state).map(|()| Turn::More)
    }

    /// Looks at a thread without a filter that begins or ends a call, or at one with a filter that ends one.
    pub(super) fn at_call(&mut self, tid: u32, state: &mut State) -> io::Result<Turn> {
        if !self.threads.get(&tid).is_some_and(|thread| thread.every) {
            return self.returned(tid).map(|()| Turn::More);
        }
        let info = sys::call_info(tid as i32)?;
        if info.op != sys::CALL_BEGINS {
            return self.returned(tid).map(|()| Turn::More);
        }
        if info.arch != AUDIT_ARCH || info.number as u32 & FOREIGN_BIT != 0 {
            return Ok(Turn::Foreign);
        }
        let rule = u32::try_from(info.number).ok().and_then(|number| self.rules.get(&number));
        match rule.map_or(Verdict::Allow, |rule| rule.decide(&info.arguments)) {
            Verdict::Allow => self.resume(tid, 0)?,
            Verdict::Errno(errno) => {
                self.finish(Calls::new(tid, Registers::get(tid as i32)?), -i64::from(errno))?
            }
            Verdict::Notify | Verdict::Trace => self.called(tid, state)?,
            Verdict::Foreign => return Ok(Turn::Foreign),
        }
        Ok(Turn::More)
    }

    /// Answers a call.
    fn called(&mut self, tid: u32, state: &mut State) -> io::Result<()> {
        let registers = Registers::get(tid as i32)?;
        let Some(call) = syscalls::find(registers.call() as i32) else { return self.resume(tid, 0) };
        let asked = Asked { tid, call, arguments: registers.arguments() };
        let mut calls = Calls::new(tid, registers);
        if state.finds_programs() && matches!(call, Call::Execve | Call::Execveat) {
            return self.executes(&asked, calls, state);
        }
        let mut answer = state.handle(&asked);
        if let Some(fd) = state.wanted_descriptor() {
            match self.take(&mut calls, fd, state) {
                Ok(file) => {
                    state.lend_descriptor(Some((tid, fd, file)));
                    answer = state.handle(&asked);
                    state.lend_descriptor(None);
                }
                Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
                    answer = Answer::Errno(libc::EBADF);
                }
                // It is not at a call any more.
                Err(_) if self.is_gone(tid) => return Err(gone()),
                Err(_) => {}
            }
        }
        match answer {
            Answer::Continue if calls.made() => {
                self.back(&mut calls)?;
                if let Some(thread) = self.threads.get_mut(&tid) {
                    thread.answered = !thread.every;
                }
                self.resume(tid, 0)
            }
            Answer::Continue => self.resume(tid, 0),
            Answer::Value(value) => self.finish(calls, value),
            Answer::Errno(errno) => self.finish(calls, -i64::from(errno)),
            Answer::Descriptor(handed) => self.give(calls, Ok(handed), state),
            Answer::Later(waiting) => match self.open_later(tid, waiting) {
                Ok(()) => Ok(()),
                // There are too many that wait already.
                Err(_) => self.finish(calls, -i64::from(libc::EAGAIN)),
            },
        }
    }

    /// Returns whether a thread has ended, or has more to say than what it was stopped for.
    fn is_gone(&self, tid: u32) -> bool {
        !self.threads.contains_key(&tid) || self.queue.iter().any(|(other, _)| *other == tid)
    }

    /// Ends a call with a descriptor, or with the error that there was instead.
    fn give(&mut self, mut calls: Calls, handed: io::Result<Handed>, state: &mut State) -> io::Result<()> {
        let tid = calls.tid;
        let result = handed.and_then(|handed| {
            let passed = self.pass(&mut calls, &handed.fd, handed.close_on_exec, state);
            if passed.is_err() {
                handed.undo();
            }
            passed
        });
        match result {
            Ok(number) => self.finish(calls, number.into()),
            // It is not at a call any more.
            Err(_) if self.is_gone(tid) => Err(gone()),
            Err(error) => self.finish(calls, -i64::from(error.raw_os_error().unwrap_or(libc::EIO))),
        }
    }

    /// Has a file opened by another thread of this process, which may take its time. The caller stays where it is until then.
    fn open_later(&mut self, tid: u32, waiting: Box<Waiting>) -> io::Result<()> {
        self.last += 1;
        let number = self.last;
        self.threads.entry(tid).or_default().awaits = Some(number);
        let sender = self.opened.0.clone();
        std::thread::Builder::new().spawn(move || {
            let opened = Opened { tid, number, handed: waiting.open() };
            if sender.send(opened).is_ok() {
                sys::ring();
            }
        })?;
        Ok(())
    }

    /// Gives a thread what was opened for it.
    pub(super) fn hand_over(&mut self, opened: Opened, state: &mut State) -> io::Result<()> {
        let Opened { tid, number, handed } = opened;
        // One that ended, or another that has its number by now, waits for nothing.
        let Some(thread) = self.threads.get_mut(&tid).filter(|thread| thread.awaits == Some(number)) else {
            return Ok(());
        };
        thread.awaits = None;
        let calls = Calls::new(tid, Registers::get(tid as i32)?);
        self.give(calls, handed, state)
    }
}
