//! Ranges of subordinate ids (subuid(5), subgid(5)), and a user namespace with them: made by newuidmap(1) and newgidmap(1), which may write
//! what this process may not.
//!
//! Root of the namespace is the user itself; 1 and all that follow are what the ranges hold, one range after the other.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::pipe::{PipeFlags, pipe_with};

use super::sys;
use crate::fs::root::read_small_file;

/// Where the programs are looked for: this process has no environment, and a directory that anybody may name would be none to start
/// programs from.
const PLACES: [&str; 7] = [
    "/usr/bin",
    "/bin",
    "/usr/local/bin",
    "/usr/sbin",
    "/sbin",
    "/run/wrappers/bin",
    "/run/current-system/sw/bin",
];
/// Which id has to be there: systems have `nobody` and `nogroup` at the end of the first 65,536.
const NEEDED: u32 = 65_534;
/// The most ranges of one user: the kernel takes 340 lines (user_namespaces(7)), and one is the user's own.
const MOST: usize = 339;
const CAP: u64 = 16 << 20;

/// The highest ids that the namespace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Of users.
    pub uid: u32,
    /// Of groups.
    pub gid: u32,
}

impl Held {
    /// Returns whether the disk can have this owner and this group.
    pub fn has(&self, uid: u32, gid: u32) -> bool {
        uid <= self.uid && gid <= self.gid
    }
}

/// Returns what the user namespace of this process has, which another step made.
pub fn held() -> Result<Held, String> {
    let most = |file: &str| -> Result<u32, String> {
        let text = read_small_file(Path::new(file), CAP).map_err(|error| format!("{file}: {error}"))?;
        let text = String::from_utf8_lossy(&text);
        let counts = text.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u32>().ok());
        let most = counts.fold(0, u32::saturating_add).saturating_sub(1);
        match most < NEEDED {
            true => Err("the user namespace of the network that is joined has one id alone".into()),
            false => Ok(most),
        }
    };
    Ok(Held { uid: most("/proc/self/uid_map")?, gid: most("/proc/self/gid_map")? })
}

/// A range of ids: the first and how many.
pub type Range = (u32, u32);

/// One of the two kinds of ids.
struct Kind {
    /// The word for its ranges.
    name: &'static str,
    file: &'static str,
    program: &'static str,
    /// The option of getsubids(1).
    option: &'static [&'static str],
    own: u32,
}

/// A child of this process that stays outside of the namespace that this one makes, and maps the ids of that.
#[derive(Debug)]
pub struct Mapper {
    pid: i32,
    word: OwnedFd,
    complaints: OwnedFd,
    held: Held,
}

impl Mapper {
    /// Starts it. Gives why there can be none.
    pub fn start() -> Result<Mapper, String> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let users = Kind { name: "user", file: "/etc/subuid", program: "newuidmap", option: &[], own: uid };
        let groups =
            Kind { name: "group", file: "/etc/subgid", program: "newgidmap", option: &["-g"], own: gid };
        let status = read_small_file(Path::new("/proc/self/status"), CAP).unwrap_or_default();
        let no_new = String::from_utf8_lossy(&status).lines().any(|line| line == "NoNewPrivs:\t1");
        let mut commands = Vec::new();
        let mut most = [0; 2];
        for (at, kind) in [users, groups].into_iter().enumerate() {
            let program = find(kind.program).ok_or_else(|| format!("{} is not installed", kind.program))?;
            let ranges = ranges(&kind, uid)?;
            if no_new && uid != 0 {
                return Err(format!("{} gains no privileges here (no_new_privs)", kind.program));
            }
            if !is_privileged(&program) && uid != 0 {
                return Err(format!("{} is neither setuid nor has capabilities", program.display()));
            }
            most[at] = ranges.iter().map(|(_, count)| count).sum();
            if most[at] < NEEDED {
                let name = kind.name;
                return Err(format!("the subordinate {name} ids are {}, and {NEEDED} are needed", most[at]));
            }
            commands.push((program, arguments(kind.own, &ranges)));
        }
        let failed = |error: io::Error| format!("map ids: {error}");
        let (gate, word) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let (complaints, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let target = rustix::process::getpid().as_raw_nonzero().get();
        match sys::fork().map_err(failed)? {
            0 => {
                drop((word, complaints));
                let mut byte = [0];
                // No word comes where the namespace could not be made.
                if !matches!(rustix::io::read(&gate, &mut byte), Ok(1)) {
                    sys::exit(0);
                }
                let done = commands.iter().all(|(program, words)| map(target, program, words, &theirs));
                sys::exit(i32::from(!done))
            }
            pid => Ok(Mapper { pid, word, complaints, held: Held { uid: most[0], gid: most[1] } }),
        }
    }

    /// Maps the ids, now that the namespace is there, and waits for that.
    pub fn finish(self) -> Result<Held, String> {
        let failed = |error: io::Error| format!("map ids: {error}");
        rustix::io::write(&self.word, b"!").map_err(|error| failed(error.into()))?;
        let status = sys::wait(self.pid, true).map_err(failed)?;
        if status.is_some_and(|(_, status)| status == 0) {
            return Ok(self.held);
        }
        let mut text = String::new();
        let _ = std::fs::File::from(self.complaints).take(4096).read_to_string(&mut text);
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("newuidmap failed");
        Err(format!("map ids: {}", line.trim()))
    }
}

/// Runs one of the programs on a process; whether it mapped its ids.
fn map(target: i32, program: &Path, words: &[String], complaints: &OwnedFd) -> bool {
    let words: Vec<String> = [target.to_string()].iter().chain(words).cloned().collect();
    run(program, &words, None, Some(complaints)).is_ok_and(|status| status == 0)
}

/// Runs a program with nothing in its environment; gives its wait status.
fn run(
    program: &Path,
    words: &[String],
    output: Option<&OwnedFd>,
    error: Option<&OwnedFd>,
) -> io::Result<i32> {
    let string = |bytes: &[u8]| {
        std::ffi::CString::new(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
    };
    let path = string(program.as_os_str().as_encoded_bytes())?;
    let mut list = vec![path.clone()];
    for word in words {
        list.push(string(word.as_bytes())?);
    }
    match sys::fork()? {
        0 => {
            sys::default_signals();
            let streams = || -> rustix::io::Result<()> {
                output.map_or(Ok(()), rustix::stdio::dup2_stdout)?;
                error.map_or(Ok(()), rustix::stdio::dup2_stderr)
            };
            if streams().is_ok() {
                sys::execute(&path, &list, &[]);
            }
            sys::exit(127)
        }
        pid => Ok(sys::wait(pid, true)?.map_or(0, |(_, status)| status)),
    }
}

/// Returns the arguments of newuidmap(1) after the process: inner id, outer id, count, for each range.
fn arguments(own: u32, ranges: &[Range]) -> Vec<String> {
    let mut out = vec!["0".to_string(), own.to_string(), "1".into()];
    let mut inner = 1;
    for (first, count) in ranges {
        out.extend([inner.to_string(), first.to_string(), count.to_string()]);
        inner += count;
    }
    out
}

fn find(program: &str) -> Option<PathBuf> {
    let places = PLACES.iter().map(|place| Path::new(place).join(program));
    places.into_iter().find(|path| rustix::fs::access(path.as_path(), rustix::fs::Access::EXEC_OK).is_ok())
}

/// Returns whether a program gains what it takes when it is executed.
fn is_privileged(program: &Path) -> bool {
    let capability = rustix::fs::getxattr(program, c"security.capability", &mut [0u8; 64][..]);
    let setuid = rustix::fs::stat(program).is_ok_and(|stat| stat.st_mode & 0o4000 != 0 && stat.st_uid == 0);
    setuid || capability.is_ok()
}

/// Finds the ranges of a user: from the file, else from whatever else getsubids(1) asks.
fn ranges(kind: &Kind, uid: u32) -> Result<Vec<Range>, String> {
    let passwd = read_small_file(Path::new("/etc/passwd"), CAP).unwrap_or_default();
    let name = name_of(&passwd, uid);
    let text = read_small_file(Path::new(kind.file), CAP).unwrap_or_default();
    let mut found = read(&text, name.as_deref(), uid);
    if found.is_empty()
        && let Some(program) = find("getsubids")
    {
        let name = name.clone().unwrap_or_else(|| uid.to_string());
        let words: Vec<String> = kind.option.iter().map(|word| word.to_string()).chain([name]).collect();
        found = ask(&program, &words).map(|text| listed(&text)).unwrap_or_default();
    }
    let ranges = apart(found, kind.own);
    let name = name.unwrap_or_else(|| uid.to_string());
    match ranges.is_empty() {
        true => Err(format!("{} has no subordinate {} ids in {}", name, kind.name, kind.file)),
        false => Ok(ranges),
    }
}

/// Returns what a program writes.
fn ask(program: &Path, words: &[String]) -> io::Result<String> {
    let file = rustix::fs::memfd_create("answer", rustix::fs::MemfdFlags::CLOEXEC)?;
    run(program, words, Some(&file), None)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    let mut text = String::new();
    std::fs::File::from(file).take(CAP).read_to_string(&mut text)?;
    Ok(text)
}

/// Returns the name of a user in /etc/passwd.
fn name_of(passwd: &[u8], uid: u32) -> Option<String> {
    let text = String::from_utf8_lossy(passwd);
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(2).and_then(|id| id.parse().ok()) == Some(uid));
    line.map(|fields| fields[0].to_string())
}

/// Reads the ranges in a file of `OWNER:FIRST:COUNT`, where the owner is a name or a number.
fn read(text: &[u8], name: Option<&str>, uid: u32) -> Vec<Range> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        if Some(owner) != name && owner.parse() != Ok(uid) {
            return None;
        }
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    lines.collect()
}

/// Reads the ranges that getsubids(1) prints: a number and a colon, the owner, first and count.
fn listed(text: &str) -> Vec<Range> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(2);
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    });
    lines.collect()
}

/// Takes those that can stand in one map: not empty, not beyond the last id, apart from one another and from the user's own.
fn apart(found: Vec<Range>, own: u32) -> Vec<Range> {
    let mut out: Vec<Range> = Vec::new();
    let mut total = 1u32;
    for (first, count) in found {
        // The last number is no id.
        let Some(end) = first.checked_add(count).filter(|_| count != 0) else { continue };
        let overlaps = out.iter().any(|&(other, many)| first < other + many && other < end);
        let Some(sum) = total.checked_add(count) else { continue };
        if overlaps || (first..end).contains(&own) || out.len() == MOST {
            continue;
        }
        out.push((first, count));
        total = sum;
    }
    out
}

/// Returns what would give this user what it lacks.
pub fn fix(reason: &str) -> Option<String> {
    let has = |what: &str| reason.contains(what);
    Some(if has("is not installed") {
        "install newuidmap and newgidmap: the package uidmap of Debian and Ubuntu, shadow-utils of Fedora"
            .into()
    } else if has("no subordinate") || has("are needed") {
        "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER, as root".into()
    } else if has("no_new_privs") {
        "start treering without no_new_privs: with --security-opt no-new-privileges=false, allowPrivilegeEscalation: true, or outside".into()
    } else if has("neither setuid") {
        "chmod u+s, or setcap cap_setuid+ep on newuidmap and cap_setgid+ep on newgidmap, as root".into()
    } else if has("nosuid") {
        "keep the tree on a filesystem that is not mounted with nosuid".into()
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number_and_several_are_one_after_the_other() {
        let text = b"# no owner\nother:1:2\napp:100000:65536\n1000:300000:10\n\napp:x:1\napp:400000\n 1000 :1:1\n10001:5:5\n";
        let found = read(text, Some("app"), 1000);
        assert_eq!(found, [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(read(text, None, 1000), [(300_000, 10)]);
        assert_eq!(read(text, Some("nobody"), 65_534), []);
        let words = arguments(1000, &apart(found, 1000)).join(" ");
        assert_eq!(words, "0 1000 1 1 100000 65536 65537 300000 10");
        assert_eq!(listed("0: app 100000 65536\n1: app 7 8\nnothing\n"), [(100_000, 65_536), (7, 8)]);
    }

    #[test]
    fn ranges_that_cannot_stand_in_one_map_are_left_out() {
        let found = vec![
            (100, 10),
            (105, 10),
            (110, 0),
            (110, 5),
            (990, 20),
            (u32::MAX - 3, 4),
            (200, u32::MAX - 100),
        ];
        assert_eq!(apart(found, 1000), [(100, 10), (110, 5)]);
        assert_eq!(apart((0..400).map(|n| (n * 10, 5)).collect(), 1_000_000).len(), MOST);
    }

    #[test]
    fn a_user_has_the_name_of_its_first_line() {
        let passwd = b"root:x:0:0::/:/bin/sh\nbroken\napp:x:1000:1000::/:\nagain:x:1000:1000::/:\n";
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("app"));
        assert_eq!(name_of(passwd, 7), None);
    }
}
