//! Programs that a thread executes and the kernel would not find: it is given another path, and other arguments.

use std::io;

use super::call::Calls;
use super::{Scratch, Tracer};
use crate::sandbox::credentials::Credentials;
use crate::sandbox::handle::{Answer, Argument, Asked, Load, State};
use crate::sandbox::sys;

/// A program that a thread is about to execute.
#[derive(Debug)]
pub struct Execution {
    program: Vec<u8>,
    credentials: Credentials,
    /// Where path and arguments are.
    room: (u64, u64),
}

impl Tracer {
    /// Has a thread execute the program that it means.
    pub(super) fn executes(&mut self, asked: &Asked, mut calls: Calls, state: &mut State) -> io::Result<()> {
        let tid = calls.tid;
        let load = match state.load(asked) {
            Ok(load) => load,
            Err(Answer::Errno(errno)) => return self.finish(calls, -i64::from(errno)),
            Err(_) => return self.finish(calls, -i64::from(libc::ENOENT)),
        };
        let room = match self.room(&mut calls, size(&load)) {
            Ok(room) => room,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(error),
            Err(_) => return self.finish(calls, -i64::from(libc::ENOMEM)),
        };
        self.back(&mut calls)?;
        let (file, list, bytes) = laid_out(&load, room.0);
        if state.write_memory(tid, room.0, &bytes).is_err() {
            return self.finish(calls, -i64::from(libc::EFAULT));
        }
        calls.registers.execute(file, list);
        calls.registers.set(tid as i32)?;
        let execution = Execution { program: load.program, credentials: load.credentials, room };
        self.threads.entry(tid).or_default().execution = Some(Box::new(execution));
        sys::resume_to_call(tid as i32, 0)
    }

    /// Notes that a call that was let go to its end returned: a program could not be executed.
    pub(super) fn returned(&mut self, tid: u32) -> io::Result<()> {
        let execution = self.threads.get_mut(&tid).and_then(|thread| thread.execution.take());
        if let Some(execution) = execution {
            self.free(tid, execution.room);
        }
        self.resume(tid, 0)
    }

    /// Notes that a thread executed a program: it is alone in its process now, with the number of the first.
    pub(super) fn executed(&mut self, tid: u32, state: &mut State) -> io::Result<()> {
        let former = sys::event_message(tid as i32)? as u32;
        let Some(mut thread) = self.threads.remove(&former) else { return Ok(()) };
        let execution = thread.execution.take();
        if let Some(execution) = &execution {
            // Memory that the thread had with others is theirs alone now, and what was for its arguments is free.
            thread.scratch.borrow_mut().push(execution.room);
        }
        // Its descriptors are its own now, and those to be closed are.
        (thread.scratch, thread.passage, thread.awaits) = (Scratch::default(), Default::default(), None);
        self.threads.insert(tid, thread);
        match execution {
            Some(execution) => state.executed(former, tid, execution.program, execution.credentials),
            None => state.renamed(former, tid),
        }
        Ok(())
    }
}

/// Returns how much memory the path and the arguments of a program take.
fn size(load: &Load) -> u64 {
    let texts = load.arguments.iter().flatten().map(|argument| match argument {
        Argument::New(text) => 8 + text.len() as u64 + 1,
        Argument::Given(_) => 8,
    });
    load.file.len() as u64 + 32 + texts.sum::<u64>()
}

/// Puts path and arguments one after the other: gives where the path is, where the list of arguments is, and all of it.
fn laid_out(load: &Load, address: u64) -> (u64, Option<u64>, Vec<u8>) {
    let mut pointers = Vec::new();
    let mut texts = load.file.clone();
    texts.push(0);
    let list_length = load.arguments.as_ref().map_or(0, |all| 8 * (all.len() + 1));
    let start = address + list_length as u64;
    for argument in load.arguments.iter().flatten() {
        let pointer = match argument {
            Argument::Given(pointer) => *pointer,
            Argument::New(text) => {
                let at = start + texts.len() as u64;
                texts.extend_from_slice(text);
                texts.push(0);
                at
            }
        };
        pointers.extend_from_slice(&pointer.to_ne_bytes());
    }
    if load.arguments.is_some() {
        pointers.extend_from_slice(&[0; 8]);
    }
    let list = load.arguments.is_some().then_some(address);
    pointers.extend_from_slice(&texts);
    (start, list, pointers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::order::Ids;

    #[test]
    fn arguments_lie_after_their_list() {
        let mut load = Load {
            file: b"/x".to_vec(),
            arguments: Some(vec![Argument::New(b"a".to_vec()), Argument::Given(7)]),
            program: Vec::new(),
            credentials: Credentials::of(&Ids::default()),
        };
        let (file, list, bytes) = laid_out(&load, 1000);
        assert_eq!((file, list), (1024, Some(1000)));
        assert_eq!(&bytes[..8], 1027u64.to_ne_bytes());
        assert_eq!(&bytes[8..24], [7u64.to_ne_bytes(), [0; 8]].concat());
        assert_eq!(&bytes[24..], b"/x\0a\0");
        assert!(size(&load) >= bytes.len() as u64);
        load.arguments = None;
        assert_eq!(laid_out(&load, 1000), (1000, None, b"/x\0".to_vec()));
    }
}
