//! The backend by seccomp notification (seccomp_unotify(2)): calls come from the listener, answers go back to it.

use std::io;
use std::os::fd::OwnedFd;

use super::handle::{Answer, Asked, Handed, State};
use super::sys;
use super::syscalls::{self, AUDIT_ARCH, FOREIGN_BIT};

/// The effect of a handled call on the step.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// It goes on.
    Goes,
    /// A program made calls by another ABI than the machine's own, which nothing here understands.
    Foreign,
    /// No process is left that the filter is on.
    Over,
}

/// Handles one call.
pub fn turn(listener: &OwnedFd, state: &mut State) -> io::Result<Turn> {
    let call = match sys::notification(listener) {
        Ok(Some(call)) => call,
        Ok(None) => return Ok(Turn::Goes),
        // Linux 6.11 and later: all tasks of the filter are gone.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(Turn::Over),
        Err(error) => return Err(error),
    };
    if call.data.arch != AUDIT_ARCH || call.data.nr as u32 & FOREIGN_BIT != 0 {
        return Ok(Turn::Foreign);
    }
    let Some(known) = syscalls::find(call.data.nr) else {
        sys::answer(listener, call.id, 0, 0, true)?;
        return Ok(Turn::Goes);
    };
    let asked = Asked { tid: call.pid, call: known, arguments: call.data.args };
    let answer = state.handle(&asked);
    match answer {
        Answer::Continue => sys::answer(listener, call.id, 0, 0, true)?,
        Answer::Value(value) => sys::answer(listener, call.id, value, 0, false)?,
        Answer::Errno(errno) => sys::answer(listener, call.id, 0, errno, false)?,
        // Nothing is to wait for the other end of a file for a caller that is gone. The other answers go nowhere then.
        Answer::Later(_) if !sys::still_waits(listener, call.id) => {}
        Answer::Later(waiting) => {
            let (listener, id) = (listener.try_clone()?, call.id);
            std::thread::spawn(move || {
                let _ = match waiting.open() {
                    Ok(handed) => hand(&listener, id, handed),
                    Err(error) => {
                        sys::answer(&listener, id, 0, error.raw_os_error().unwrap_or(libc::EIO), false)
                    }
                };
            });
        }
        Answer::Descriptor(handed) => hand(listener, call.id, handed)?,
    }
    Ok(Turn::Goes)
}

/// Answers a call with a descriptor, or with the error that there is no room for it.
fn hand(listener: &OwnedFd, id: u64, handed: Handed) -> io::Result<()> {
    if sys::answer_with(listener, id, &handed.fd, handed.close_on_exec)? {
        return Ok(());
    }
    handed.undo();
    sys::answer(listener, id, 0, libc::EMFILE, false)
}
