//! A network of a step's own: its namespace, joined with the host's network by pasta(1), which needs no privilege but `/dev/net/tun`.
//!
//! ```text
//! helper      in the new namespace; waits until there is a route, for a few seconds at most
//!  └─ keeper  still in the host's; waits for its word, and ends pasta when the helper ends
//!      └─ pasta
//! ```

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::failure::c_string;
use super::sys;
use crate::error::{Error, Result};

/// The beginning of the message of a network that could not be made, after which the host's may do.
pub const FAILED: &str = "make network";
/// The address at which pasta answers for the name servers of the host.
pub const NAME_SERVER: &str = "169.254.1.1";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(5);
const PROGRAM: &str = "pasta";
/// The longest part of its complaints that is shown, in bytes.
const LONGEST: u64 = 4096;

/// A port of the host that leads to one of a step with a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// The address of the host; `None` for all.
    pub address: Option<IpAddr>,
    /// The port of the host.
    pub host: u16,
    /// The port of the step.
    pub inside: u16,
    /// Whether it is one of UDP, and not of TCP.
    pub udp: bool,
}

impl FromStr for Port {
    type Err = Error;

    /// Reads `[[ADDRESS:]HOST:]PORT[/tcp|/udp]`. Without a port of the host it is the same.
    fn from_str(text: &str) -> Result<Port> {
        let wrong = |what: &str| {
            let error = Error::invalid("read port", what).with_path(text);
            error.with_hint("as in 8080:80, 127.0.0.1:8080:80 or 53:53/udp")
        };
        let (rest, udp) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.split('/').next().unwrap_or_default(), false),
            Some((rest, "udp")) => (rest, true),
            Some(_) => return Err(wrong("the protocol is tcp or udp")),
        };
        let number = |text: &str| match text.parse::<u16>() {
            Ok(port) if port != 0 => Ok(port),
            _ => Err(wrong("a port is a number from 1 to 65535; ranges are not taken")),
        };
        let (front, inside) =
            rest.rsplit_once(':').map_or((None, rest), |(front, inside)| (Some(front), inside));
        let inside = number(inside)?;
        let (address, host) = match front.map(|front| front.rsplit_once(':').unwrap_or(("", front))) {
            None => ("", inside),
            Some((address, "")) => (address, inside),
            Some((address, host)) => (address, number(host)?),
        };
        let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let address = match address {
            "" | "0.0.0.0" | "::" => None,
            text => Some(text.parse().map_err(|_| wrong("the address is invalid"))?),
        };
        Ok(Port { address, host, inside, udp })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => {}
        }
        write!(f, "{}:{}/{}", self.host, self.inside, if self.udp { "udp" } else { "tcp" })
    }
}

/// Returns the program and its arguments, but for where the namespaces are; why there are none, where it is not to be had.
pub fn arguments(ports: &[Port]) -> std::result::Result<Vec<Vec<u8>>, String> {
    // A supervisor has no environment.
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let places = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(PROGRAM));
    let is_program = |path: &PathBuf| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    let Some(program) = places.into_iter().find(is_program) else {
        return Err(format!("{PROGRAM} is not on PATH"));
    };
    let tunnel = Path::new("/dev/net/tun");
    if rustix::fs::access(tunnel, rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).is_err() {
        return Err("/dev/net/tun cannot be opened".into());
    }
    let mut out = vec![program.into_os_string().into_encoded_bytes()];
    let mut add = |words: &[&str]| out.extend(words.iter().map(|word| word.as_bytes().to_vec()));
    // The host's own services stay the host's: neither its loopback address nor that of its gateway leads to them.
    add(&["--foreground", "--quiet", "--config-net", "--no-map-gw", "--dns-forward", NAME_SERVER]);
    add(&["-T", "none", "-U", "none"]);
    for (udp, option) in [(false, "-t"), (true, "-u")] {
        let mut any = false;
        for port in ports.iter().filter(|port| port.udp == udp) {
            let address = port.address.map(|address| format!("{address}/")).unwrap_or_default();
            add(&[option, &format!("{address}{}:{}", port.host, port.inside)]);
            any = true;
        }
        if !any {
            add(&[option, "none"]);
        }
    }
    // It becomes another user where root starts it, and then cannot join what root has made.
    if rustix::process::geteuid().is_root() {
        add(&["--runas", "0:0"]);
    }
    Ok(out)
}

/// The process that keeps pasta, and the end of a pipe: a byte on it is the word to begin, its end that to stop.
#[derive(Debug)]
pub struct Keeper {
    pid: i32,
    word: Option<OwnedFd>,
    complaints: File,
}

impl Keeper {
    /// Starts it, before this process moves into another namespace.
    pub fn new(arguments: &[Vec<u8>]) -> io::Result<Keeper> {
        let (word, ours) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let complaints = sys::memory_file(b"")?;
        let namespaces = rustix::process::getpid().as_raw_nonzero().get();
        match sys::fork()? {
            0 => {
                // Closed with all else that the helper has open: the pipe ends when the helper ends.
                std::mem::forget(ours);
                sys::exit(keep(arguments, namespaces, word, complaints))
            }
            pid => Ok(Keeper { pid, word: Some(ours), complaints: File::from(complaints) }),
        }
    }

    /// Has the network made, now that this process is in the namespace, and waits until it is there.
    pub fn begin(&mut self) -> io::Result<()> {
        // Another process of this user is to open the namespaces of this one.
        sys::prctl(libc::PR_SET_DUMPABLE, 1)?;
        if let Some(word) = &self.word {
            rustix::io::write(word, b"!")?;
        }
        let end = Instant::now() + PATIENCE;
        while !has_route() {
            if sys::wait(self.pid, false)?.is_some() {
                self.word = None;
                let mut text = Vec::new();
                self.complaints.rewind()?;
                (&mut self.complaints).take(LONGEST).read_to_end(&mut text)?;
                let text = String::from_utf8_lossy(&text).into_owned();
                let last = text
                    .lines()
                    .rfind(|line| !line.contains("syslog"))
                    .unwrap_or("it ended without an answer");
                return Err(io::Error::other(format!("{PROGRAM}: {}", last.trim())));
            }
            if Instant::now() > end {
                self.end();
                return Err(io::Error::other(format!("{PROGRAM} made none within {} s", PATIENCE.as_secs())));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Ends pasta.
    pub fn end(&mut self) {
        if self.word.take().is_none() {
            return;
        }
        let end = Instant::now() + PATIENCE;
        while let Ok(None) = sys::wait(self.pid, false) {
            if Instant::now() > end {
                let _ = sys::kill(self.pid, libc::SIGKILL);
                let _ = sys::wait(self.pid, true);
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Returns whether the namespace of this process has a default route.
fn has_route() -> bool {
    let read = |path: &str| crate::fs::root::read_file(Path::new(path)).unwrap_or_default();
    let (four, six) = (read("/proc/self/net/route"), read("/proc/self/net/ipv6_route"));
    let four = String::from_utf8_lossy(&four);
    let six = String::from_utf8_lossy(&six);
    let route = |line: &str| line.split_whitespace().nth(1) == Some("00000000");
    let wide = |line: &str| line.starts_with("00000000000000000000000000000000 00") && !line.ends_with(" lo");
    four.lines().skip(1).any(route) || six.lines().any(wide)
}

/// Returns the keeper; gives its exit code.
fn keep(arguments: &[Vec<u8>], namespaces: i32, word: OwnedFd, complaints: OwnedFd) -> i32 {
    let Ok([word, complaints]) = sys::keep_only([word, complaints]) else { return 1 };
    let mut byte = [0];
    if rustix::io::retry_on_intr(|| rustix::io::read(&word, &mut byte)) != Ok(1) {
        return 0;
    }
    let Ok(signals) = sys::child_signals() else { return 1 };
    let pasta = match sys::fork() {
        Ok(0) => {
            sys::default_signals();
            let more = [("--userns", "user"), ("--netns", "net")];
            let more = more.iter().flat_map(|(option, name)| {
                [option.to_string(), format!("/proc/{namespaces}/ns/{name}")].map(String::into_bytes)
            });
            let words: std::result::Result<Vec<_>, _> =
                arguments.iter().cloned().chain(more).map(|word| c_string(&word)).collect();
            if let (Ok(words), Ok(()), Ok(())) =
                (words, rustix::stdio::dup2_stdout(&complaints), rustix::stdio::dup2_stderr(&complaints))
            {
                sys::execute(&words[0], &words, &[]);
            }
            return 127;
        }
        Ok(pid) => pid,
        Err(_) => return 1,
    };
    loop {
        let mut fds = [PollFd::new(&word, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let [over, child] = [&fds[0], &fds[1]].map(|fd| !fd.revents().is_empty());
        if child {
            let _ = rustix::io::read(signals.as_fd(), &mut [0; 1024]);
            if matches!(sys::wait(pasta, false), Ok(Some(_)) | Err(_)) {
                return 1;
            }
        }
        if over {
            let _ = sys::kill(pasta, libc::SIGKILL);
            let _ = sys::wait(pasta, true);
            return 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_docker_takes_them() {
        let read = |text: &str| text.parse::<Port>().map(|port| port.to_string()).ok();
        for (text, expected) in [
            ("80", "80:80/tcp"),
            ("8080:80", "8080:80/tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
            ("127.0.0.1::80/udp", "127.0.0.1:80:80/udp"),
            ("0.0.0.0:1:2/tcp", "1:2/tcp"),
            ("[::1]:1:2", "[::1]:1:2/tcp"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "x", "0", "65536", "1:", ":", "80/sctp", "1-2:3-4", "host:1:2", "1:2:3:4"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
