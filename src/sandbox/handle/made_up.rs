//! Files of /proc and names of the machine that the supervisor makes up, so that they say what the step is, not what the host is.

use super::walk::Reached;
use super::{Answer, Asked, Reply, State};
use crate::sandbox::credentials;

/// The bytes of each name in what uname(2) gives (linux/utsname.h), the zero at its end included.
const NAME: usize = 65;

impl State {
    /// Returns the text of such a file; `None` for another one.
    pub(super) fn made_up(&self, reached: &Reached) -> Result<Option<Vec<u8>>, Answer> {
        let Some(path) = reached.path.as_deref().and_then(|path| path.strip_prefix(b"proc/")) else {
            return Ok(None);
        };
        let hostname = &self.service()?.hostname;
        if path == b"sys/kernel/hostname" && !hostname.is_empty() {
            return Ok(Some([hostname, &b"\n"[..]].concat()));
        }
        let parts: Vec<&[u8]> = path.split(|&c| c == b'/').collect();
        let Some(pid) = std::str::from_utf8(parts[0]).ok().and_then(|pid| pid.parse::<u32>().ok()) else {
            return Ok(None);
        };
        match parts.last() {
            Some(&b"mounts") => Ok(Some(b"treering / treering rw 0 0\nproc /proc proc rw 0 0\n".to_vec())),
            Some(&b"mountinfo") => Ok(Some(
                b"1 0 0:1 / / rw - treering treering rw\n2 1 0:2 / /proc rw - proc proc rw\n".to_vec(),
            )),
            Some(&b"mountstats") => Ok(Some(Vec::new())),
            Some(&b"status") if reached.fd.is_some() => {
                let text = self.tracees.file(pid, "status")?;
                let who = self.credentials.of(&self.tracees, pid);
                let four = |ids: credentials::Four| {
                    format!("{}\t{}\t{}\t{}", ids.real, ids.effective, ids.saved, ids.file)
                };
                let lines = text.lines().map(|line| match line.split_once(':').map(|(key, _)| key) {
                    Some("Uid") => format!("Uid:\t{}\n", four(who.uid)),
                    Some("Gid") => format!("Gid:\t{}\n", four(who.gid)),
                    Some("Groups") => {
                        let groups: String = who.groups.iter().map(|group| format!("{group} ")).collect();
                        format!("Groups:\t{groups}\n")
                    }
                    Some("CapInh") => format!("CapInh:\t{:016x}\n", who.inheritable),
                    Some("CapPrm") => format!("CapPrm:\t{:016x}\n", who.permitted),
                    Some("CapEff") => format!("CapEff:\t{:016x}\n", who.effective),
                    Some("CapBnd") => format!("CapBnd:\t{:016x}\n", who.bounding),
                    Some("CapAmb") => format!("CapAmb:\t{:016x}\n", who.ambient),
                    Some("TracerPid") => "TracerPid:\t0\n".to_string(),
                    _ => format!("{line}\n"),
                });
                Ok(Some(lines.collect::<String>().into_bytes()))
            }
            _ => Ok(None),
        }
    }
}

impl State {
    /// Answers uname(2).
    pub(super) fn machine(&mut self, asked: &Asked) -> Reply {
        let machine = rustix::system::uname();
        let names = [
            machine.sysname().to_bytes(),
            &self.service()?.hostname,
            machine.release().to_bytes(),
            machine.version().to_bytes(),
            machine.machine().to_bytes(),
            machine.domainname().to_bytes(),
        ];
        let mut out = [0; 6 * NAME];
        for (place, name) in out.chunks_exact_mut(NAME).zip(names) {
            let length = name.len().min(NAME - 1);
            place[..length].copy_from_slice(&name[..length]);
        }
        self.tracees.write(asked.tid, asked.arguments[0], &out)?;
        Ok(Answer::Value(0))
    }
}

/// Returns the few files of a process that it may write to.
pub(super) fn may_write_proc(path: &[u8]) -> bool {
    let name = path.rsplit(|&c| c == b'/').next().unwrap_or_default();
    let of_process = path.strip_prefix(b"proc/").and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit);
    let descriptor = path.split(|&c| c == b'/').any(|part| part == b"fd");
    of_process
        && (descriptor || matches!(name, b"oom_score_adj" | b"comm" | b"loginuid" | b"coredump_filter"))
}
