//! Calls that a traced thread makes for its tracer, in the midst of one of its own.
//!
//! The first takes the place of the thread's own call. For each further one the thread is put back onto the instruction by which it calls.
//! On the way there it would get its signals, so they are blocked for that time; all that can still come is that its process stops.

use std::io;

use super::registers::Registers;
use super::{PTRACE_EVENT_STOP, Tracer, gone, is_group_stop};
use crate::sandbox::sys;

/// How much memory is mapped at least: room for the arguments of nearly all programs.
const LEAST: u64 = 64 * 1024;

/// A thread that is stopped at a call, and what was done with it since.
#[derive(Debug)]
pub struct Calls {
    pub tid: u32,
    /// As it made the call.
    pub registers: Registers,
    /// Whether another call was made in place of its own, and returned.
    made: bool,
    /// The signals that it blocks itself, where all are blocked at the moment.
    mask: Option<u64>,
    /// Whether its process was stopped in the meantime.
    stopped: bool,
}

impl Calls {
    /// Begins with a thread that has just made a call.
    pub fn new(tid: u32, registers: Registers) -> Calls {
        Calls { tid, registers, made: false, mask: None, stopped: false }
    }

    /// Returns whether a call was made in place of the thread's own.
    pub fn made(&self) -> bool {
        self.made
    }

    fn block_signals(&mut self) -> io::Result<()> {
        if self.mask.is_none() {
            self.mask = Some(sys::signal_mask(self.tid as i32)?);
            sys::set_signal_mask(self.tid as i32, u64::MAX)?;
        }
        Ok(())
    }

    /// Puts back what was taken from the thread for the time of the calls.
    fn settle(&mut self) -> io::Result<()> {
        if let Some(mask) = self.mask.take() {
            sys::set_signal_mask(self.tid as i32, mask)?;
        }
        if std::mem::take(&mut self.stopped) {
            // It went on alone in a process that is stopped: with this it is seen to stop again.
            sys::interrupt(self.tid as i32)?;
        }
        Ok(())
    }
}

impl Tracer {
    /// Has the thread make a call, which must not block; gives what it returns.
    pub(super) fn call(
        &mut self,
        calls: &mut Calls,
        number: libc::c_long,
        arguments: [u64; 6],
    ) -> io::Result<i64> {
        let tid = calls.tid as i32;
        let again = std::mem::replace(&mut calls.made, true);
        let mut registers = calls.registers;
        if again {
            calls.block_signals()?;
            registers.repeat(number, arguments);
            registers.set(tid)?;
        } else {
            registers.instead(tid, number, arguments)?;
        }
        if again {
            self.enter(calls)?;
        }
        sys::resume_to_call(tid, 0)?;
        self.stop_at_call(calls)?;
        Ok(Registers::get(tid)?.result())
    }

    /// Does the same, with an error where the call has one.
    pub(super) fn checked_call(
        &mut self,
        calls: &mut Calls,
        number: libc::c_long,
        arguments: [u64; 6],
    ) -> io::Result<u64> {
        let result = self.call(calls, number, arguments)?;
        match i32::try_from(-result) {
            Ok(errno @ 1..4096) => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(result as u64),
        }
    }

    /// Puts the thread back to where it makes its own call, if another one was made in its place.
    pub(super) fn back(&mut self, calls: &mut Calls) -> io::Result<()> {
        if std::mem::take(&mut calls.made) {
            calls.block_signals()?;
            let mut registers = calls.registers;
            registers.repeat(registers.call(), registers.arguments());
            registers.set(calls.tid as i32)?;
            self.enter(calls)?;
            calls.registers = Registers::get(calls.tid as i32)?;
        }
        calls.settle()
    }

    /// Ends the thread's own call with a result, whether it was made or not.
    pub(super) fn finish(&mut self, mut calls: Calls, result: i64) -> io::Result<()> {
        let tid = calls.tid as i32;
        let every = self.threads.get(&calls.tid).is_some_and(|thread| thread.every);
        if every && !calls.made {
            // A filter of somebody else, which has its say after this, need not have heard of calls that are left out: one that none
            // has anything against is made instead.
            self.call(&mut calls, libc::SYS_getpid, [0; 6])?;
        }
        let mut registers = calls.registers;
        match calls.made {
            true => registers.give(tid, result)?,
            false => registers.skip(tid, result)?,
        }
        calls.settle()?;
        self.resume(calls.tid, 0)
    }

    /// Lets the thread go up to where the kernel is about to make its call: where the filter says so, if there is one.
    fn enter(&mut self, calls: &mut Calls) -> io::Result<()> {
        sys::resume_to_call(calls.tid as i32, 0)?;
        // The call is seen before the filter is (Linux 4.8), and a second time where the filter has a word on it.
        self.stop_at_call(calls)
    }

    /// Waits until the thread stops at the beginning or the end of a call.
    fn stop_at_call(&mut self, calls: &mut Calls) -> io::Result<()> {
        let tid = calls.tid as i32;
        loop {
            let status = self.stop_of(calls.tid)?;
            let signal = libc::WSTOPSIG(status);
            match status >> 16 {
                0 if signal == libc::SIGTRAP | 0x80 => return Ok(()),
                libc::PTRACE_EVENT_SECCOMP => sys::resume_to_call(tid, 0)?,
                PTRACE_EVENT_STOP => {
                    calls.stopped |= is_group_stop(signal);
                    sys::resume_to_call(tid, 0)?;
                }
                0 if signal == libc::SIGSTOP => sys::resume_to_call(tid, signal)?,
                // Another thread of its process executed a program, or its memory is gone.
                _ => {
                    self.queue.push_back((calls.tid, status));
                    return Err(gone());
                }
            }
        }
    }

    /// Finds memory of the thread's process, of this length at least: where it is, and how long.
    pub(super) fn room(&mut self, calls: &mut Calls, length: u64) -> io::Result<(u64, u64)> {
        {
            let mut free = self.threads.entry(calls.tid).or_default().scratch.borrow_mut();
            if let Some(at) = free.iter().position(|(_, room)| *room >= length) {
                return Ok(free.remove(at));
            }
        }
        let length = length.max(LEAST).next_multiple_of(4096);
        let access = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let at = self.checked_call(calls, libc::SYS_mmap, [0, length, access, flags, u64::MAX, 0])?;
        Ok((at, length))
    }

    /// Takes memory back for the next use.
    pub(super) fn free(&mut self, tid: u32, room: (u64, u64)) {
        self.threads.entry(tid).or_default().scratch.borrow_mut().push(room);
    }
}
