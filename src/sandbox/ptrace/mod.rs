//! Tracing the threads of a step (ptrace(2)): to see each begin and end, to execute programs that the kernel would not find, and, where no
//! listener is to be had, to answer the calls that one would have brought.
//!
//! ```text
//! answer     a call comes, and is answered by what its thread has in its registers
//! call       further calls, made by a thread that is stopped at one
//! passage    how a descriptor of this process becomes one of a thread's
//! programs   what a thread executes
//! ```
//! The kernel takes requests about a thread from the one that attached to it alone, so one thread of the helper traces all of them. It
//! waits for nothing but a thread that it has just let go, up to the end of one call that does not block; what may block, as the
//! opening of a pipe, is done by a thread beside it, which hands over what it opened.

mod answer;
mod call;
mod passage;
mod programs;
mod registers;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::bpf::Rule;
use super::handle::State;
use super::sys;
use answer::Opened;
use passage::{Door, Passage};
use programs::Execution;
use registers::Registers;

/// The state of a step after something happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing else happened.
    Idle,
    /// More may have happened.
    More,
    /// A program made calls by another ABI than the machine's own, which nothing here understands.
    Foreign,
}

/// How much happens in one turn at most: there are others to listen to.
const MOST_EVENTS: usize = 64;

/// Memory of a process that was mapped for arguments: address and length, of those pieces that are free.
type Scratch = Rc<RefCell<Vec<(u64, u64)>>>;

/// A thread that is traced.
#[derive(Debug, Default)]
struct Thread {
    /// Memory, which it may have together with others (CLONE_VM).
    scratch: Scratch,
    /// How descriptors get to it, which it may have together with others (CLONE_FILES).
    passage: Rc<RefCell<Option<Rc<Passage>>>>,
    /// Whether it stops at every call, for want of a filter.
    every: bool,
    /// The program that it is about to execute.
    execution: Option<Box<Execution>>,
    /// The number of what is being opened for it.
    awaits: Option<u64>,
    /// Whether it was put back to a call that was answered already: the kernel makes that one.
    answered: bool,
}

/// The threads that are traced.
#[derive(Debug)]
pub struct Tracer {
    threads: HashMap<u32, Thread>,
    /// The rules of the filter, by a call's number.
    rules: HashMap<u32, Rule>,
    /// New threads that stopped before the one that made them said so.
    early: Vec<u32>,
    /// The news of others that came while one was waited for.
    queue: VecDeque<(u32, i32)>,
    door: Option<Door>,
    opened: (Sender<Opened>, Receiver<Opened>),
    /// The number of what was given to another thread last.
    last: u64,
}

/// PTRACE_EVENT_STOP of linux/ptrace.h.
const PTRACE_EVENT_STOP: i32 = 128;

/// Reports whether a thread that stopped with this signal stopped with its whole process, and stays so until that is continued.
fn is_group_stop(signal: i32) -> bool {
    matches!(signal, libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)
}

impl Tracer {
    /// Makes one for a step with these rules.
    pub fn new(rules: Vec<Rule>) -> Tracer {
        Tracer {
            threads: HashMap::new(),
            rules: rules.into_iter().map(|rule| (rule.number, rule)).collect(),
            early: Vec::new(),
            queue: VecDeque::new(),
            door: None,
            opened: channel(),
            last: 0,
        }
    }

    /// Begins with a thread that waits; `every` for one that has no filter.
    pub fn begin(&mut self, tid: u32, every: bool) -> io::Result<()> {
        sys::seize(tid as i32)?;
        self.threads.insert(tid, Thread { every, ..Thread::default() });
        if !every {
            return Ok(());
        }
        sys::interrupt(tid as i32)?;
        self.stop_of(tid)?;
        // Only this says by which ABI a call is made (Linux 5.3).
        sys::call_info(tid as i32)?;
        self.resume(tid, 0)
    }

    /// Takes note of what happened. Threads go on.
    pub fn turn(&mut self, state: &mut State) -> io::Result<Turn> {
        // A thread that was killed in the meantime is gone, which is no error; its end is the next thing to be seen.
        let unless_gone = |result: io::Result<Turn>| match result {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(Turn::More),
            other => other,
        };
        while let Ok(opened) = self.opened.1.try_recv() {
            unless_gone(self.hand_over(opened, state).map(|()| Turn::More))?;
        }
        for _ in 0..MOST_EVENTS {
            let next = match self.queue.pop_front() {
                Some(next) => Some(next),
                None => sys::wait(-1, false).ok().flatten().map(|(pid, status)| (pid as u32, status)),
            };
            let Some((tid, status)) = next else { return Ok(Turn::Idle) };
            if unless_gone(self.happened(tid, status, state))? == Turn::Foreign {
                return Ok(Turn::Foreign);
            }
        }
        Ok(Turn::More)
    }

    fn happened(&mut self, tid: u32, status: i32, state: &mut State) -> io::Result<Turn> {
        if !libc::WIFSTOPPED(status) {
            self.threads.remove(&tid);
            state.ended(tid);
            return Ok(Turn::More);
        }
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                self.made(tid, status >> 16, state)?;
                self.resume(tid, 0)?;
            }
            libc::PTRACE_EVENT_EXEC => {
                self.executed(tid, state)?;
                self.resume(tid, 0)?;
            }
            libc::PTRACE_EVENT_SECCOMP => return self.filtered(tid, state),
            PTRACE_EVENT_STOP if !self.threads.contains_key(&tid) => self.early.push(tid),
            PTRACE_EVENT_STOP if is_group_stop(signal) => sys::listen(tid as i32)?,
            PTRACE_EVENT_STOP => self.resume(tid, 0)?,
            _ if signal == libc::SIGTRAP | 0x80 => return self.at_call(tid, state),
            // A signal, which it is to get.
            _ => self.resume(tid, signal)?,
        }
        Ok(Turn::More)
    }

    /// Lets a thread go on, with a signal or none, to where it is to stop next.
    fn resume(&self, tid: u32, signal: i32) -> io::Result<()> {
        match self.threads.get(&tid).is_some_and(|thread| thread.every) {
            true => sys::resume_to_call(tid as i32, signal),
            false => sys::resume(tid as i32, signal),
        }
    }

    /// Waits for a thread to stop, and keeps what happens to others for later. ESRCH when it ended.
    fn stop_of(&mut self, tid: u32) -> io::Result<i32> {
        loop {
            let Some((pid, status)) = sys::wait(-1, true)? else { continue };
            if pid as u32 != tid {
                self.queue.push_back((pid as u32, status));
                continue;
            }
            if libc::WIFSTOPPED(status) {
                return Ok(status);
            }
            self.queue.push_back((tid, status));
            return Err(gone());
        }
    }

    /// Notes that a thread made another one.
    fn made(&mut self, tid: u32, event: i32, state: &mut State) -> io::Result<()> {
        let new = sys::event_message(tid as i32)? as u32;
        let flags = match event {
            libc::PTRACE_EVENT_VFORK => (libc::CLONE_VM | libc::CLONE_VFORK) as u64,
            _ => 0,
        };
        // fork(2) and vfork(2) of C libraries are clone(2) with flags in its first argument.
        let registers = Registers::get(tid as i32)?;
        let flags = if registers.call() == libc::SYS_clone { registers.arguments()[0] } else { flags };
        let mine = self.threads.entry(tid).or_default();
        let shares = |flag: i32| flags & flag as u64 != 0;
        let thread = Thread {
            scratch: if shares(libc::CLONE_VM) { mine.scratch.clone() } else { apart(&mine.scratch) },
            passage: if shares(libc::CLONE_FILES) { mine.passage.clone() } else { apart(&mine.passage) },
            every: mine.every,
            execution: None,
            awaits: None,
            answered: false,
        };
        self.threads.insert(new, thread);
        state.cloned(tid, new, flags);
        if let Some(at) = self.early.iter().position(|&early| early == new) {
            self.early.remove(at);
            self.resume(new, 0)?;
        }
        Ok(())
    }
}

/// Makes a copy that does not change with what it was made of.
fn apart<T: Clone>(shared: &Rc<RefCell<T>>) -> Rc<RefCell<T>> {
    Rc::new(RefCell::new(shared.borrow().clone()))
}

/// Returns the error of a thread that ended.
fn gone() -> io::Error {
    io::Error::from_raw_os_error(libc::ESRCH)
}
