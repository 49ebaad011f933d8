//! Calls on processes by number, where the step has no namespace of processes: those of the host are within reach, and must not be.

use rustix::io::Errno;

use super::{Answer, Asked, Reply, State};
use crate::sandbox::sys;
use crate::sandbox::syscalls::Call;

impl State {
    /// Answers kill(2), its siblings, prlimit(2) and pidfd_open(2).
    pub(super) fn signal(&mut self, asked: &Asked) -> Reply {
        let target = asked.int(0);
        let service = self.service()?;
        let known = |pid: i32| u32::try_from(pid).is_ok_and(|pid| service.threads.contains_key(&pid));
        match asked.call {
            Call::PidfdOpen if known(target) => Ok(Answer::Continue),
            Call::Prlimit if target == 0 || known(target) => Ok(Answer::Continue),
            Call::Kill if target == 0 || known(target) => Ok(Answer::Continue),
            Call::Kill if target < -1 && self.is_group(target.unsigned_abs()) => Ok(Answer::Continue),
            // Everything but itself and the first process.
            Call::Kill if target == -1 => {
                let own = service.threads.get(&asked.tid).map_or(asked.tid, |thread| thread.process);
                let all: Vec<u32> = service.threads.values().map(|thread| thread.process).collect();
                for pid in all.into_iter().filter(|&pid| pid != own) {
                    let _ = sys::kill(pid as i32, asked.int(1));
                }
                Ok(Answer::Value(0))
            }
            Call::Tkill | Call::Tgkill | Call::Sigqueue | Call::Tgsigqueue if known(target) => {
                Ok(Answer::Continue)
            }
            _ => Err(Errno::SRCH.into()),
        }
    }

    /// Returns whether a process group has only processes of the step: one of the step made it.
    fn is_group(&self, group: u32) -> bool {
        let Ok(service) = self.service() else { return false };
        service.threads.values().any(|thread| {
            let text = self.tracees.file(thread.process, "stat").unwrap_or_default();
            let rest = text.rsplit(')').next().unwrap_or_default();
            rest.split_whitespace().nth(2) == Some(group.to_string().as_str())
        })
    }
}
