//! The order for the helper: the body of the first message that counts.

use std::io;
use std::os::fd::AsFd;
use std::str::FromStr;

use rustix::process::Resource;
use rustix::termios::Winsize;

use super::protocol::{Reader, Writer};
use super::rung::Rung;
use crate::error::{Error, Result};

/// The most mounts of one step: their descriptors go with one message.
pub const MOST_MOUNTS: usize = 56;
/// The most supplementary groups of a command (NGROUPS_MAX).
const MOST_GROUPS: u64 = 65_536;

/// A user, its group and the supplementary groups, as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl WindowSize {
    /// Gives a terminal this size. A program that runs in it gets SIGWINCH when it changes.
    pub(crate) fn set(self, terminal: impl AsFd) -> rustix::io::Result<()> {
        let size = Winsize { ws_row: self.rows, ws_col: self.columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(terminal, size)
    }

    pub(crate) fn write(size: Option<WindowSize>, out: &mut Writer) {
        let WindowSize { rows, columns } = size.unwrap_or_default();
        out.number(size.is_some().into()).number(rows.into()).number(columns.into());
    }

    pub(crate) fn read(body: &mut Reader<'_>) -> io::Result<Option<WindowSize>> {
        let is_given = body.number()? == 1;
        let mut side = || -> io::Result<u16> {
            u16::try_from(body.number()?).map_err(|_| io::ErrorKind::InvalidData.into())
        };
        let size = WindowSize { rows: side()?, columns: side()? };
        Ok(is_given.then_some(size))
    }
}

/// The network of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// None but loopback.
    None,
    /// A network of its own, joined with the host's by pasta(1).
    Own,
    /// A network of its own where that can be, else the host's.
    OwnOrHost,
    /// That of another step, see [`StepOptions::joined`](super::StepOptions::joined).
    Joined,
}

impl Network {
    /// Returns its name, as the state of a container has it.
    pub fn name(self) -> &'static str {
        match self {
            Network::Host => "host",
            Network::None => "none",
            Network::Own | Network::OwnOrHost => "own",
            Network::Joined => "joined",
        }
    }
}

/// A mount: something that the step has in place of what the tree has there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The path in the step's root, without a leading slash.
    pub target: Vec<u8>,
    /// The content of the mount.
    pub what: Shown,
}

/// The content of a [`Mount`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A file or directory of the host, with a descriptor that comes along.
    Host {
        /// Its path on the host, as the host program opened it: checked against the descriptor.
        source: Vec<u8>,
        /// Whether the step may not write to it.
        read_only: bool,
        /// Where it is below the root, without symbolic links, if no other step uses it in that time.
        private: Option<Vec<u8>>,
    },
    /// An empty filesystem in memory.
    Memory {
        /// The most bytes in it; 0 for the kernel's limit.
        size: u64,
        /// The permission bits of its root.
        mode: u32,
        /// Whether nothing in it can be executed.
        no_programs: bool,
    },
    /// A file in memory, which cannot be written to.
    File {
        /// Its content.
        content: Vec<u8>,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Whether it may be executed.
        program: bool,
    },
}

/// A limit of what the processes of a step may use (setrlimit(2)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Its name as `ulimit` options have it, such as `nofile`.
    pub name: String,
    /// The limit in force.
    pub soft: u64,
    /// How far a process may raise it.
    pub hard: u64,
}

/// The order to run one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// How.
    pub rung: Rung,
    /// Program and arguments.
    pub arguments: Vec<Vec<u8>>,
    /// The whole environment, `NAME=VALUE`.
    pub environment: Vec<Vec<u8>>,
    /// The working directory, below the root.
    pub directory: Vec<u8>,
    /// The user that it runs as.
    pub user: Ids,
    /// Its host name; empty for the host's.
    pub hostname: Vec<u8>,
    /// Its network.
    pub network: Network,
    /// The command that makes a network of its own: a program and its arguments, but for where the namespaces are.
    pub pasta: Vec<Vec<u8>>,
    /// Whether it gets a terminal of its own.
    pub terminal: bool,
    /// The size that the terminal has from the beginning.
    pub window: Option<WindowSize>,
    /// Whether the root cannot be written to.
    pub read_only: bool,
    /// Contents of files that are shown in place of the tree's: path below the root, content.
    pub files: Vec<(Vec<u8>, Vec<u8>)>,
    /// Other mounts, outer places first.
    pub mounts: Vec<Mount>,
    /// The most bytes in /dev/shm; 0 for the usual 64 MiB.
    pub shm_size: u64,
    /// Limits for the command.
    pub limits: Vec<Limit>,
    /// The treatment of the owners of the tree's files.
    pub owners: Lending,
    /// Whether, in place of a program, files are made that come on standard input, see [`super::place`].
    pub places: bool,
}

/// The treatment of owners by a step with a range of ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lending {
    /// Nothing: the command leaves no files behind.
    #[default]
    None,
    /// They are on the disk while it runs.
    Lend,
    /// There is no command: those that a killed step left on the disk, whole or in part, are taken back.
    TakeBack {
        /// Whether all of them are there, so that the ledger is behind.
        all: bool,
    },
}

/// The limits that can be set, by name.
const LIMITS: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

impl Limit {
    /// Returns the kernel's name for it.
    pub(super) fn resource(&self) -> Option<Resource> {
        LIMITS.iter().find(|(name, _)| *name == self.name).map(|(_, resource)| *resource)
    }
}

impl FromStr for Limit {
    type Err = Error;

    /// Reads `NAME=SOFT[:HARD]`, as `docker --ulimit` takes it; -1 is no limit.
    fn from_str(text: &str) -> Result<Limit> {
        const OP: &str = "read limit";
        let (name, values) = text.split_once('=').unwrap_or((text, ""));
        let number = |text: &str| match text {
            "-1" | "unlimited" => Some(u64::MAX),
            text => text.parse::<u64>().ok(),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (Some(soft), Some(hard)) = (number(soft), number(hard)) else {
            return Err(Error::invalid(OP, "expected NAME=SOFT[:HARD]")
                .with_path(text)
                .with_hint("as in nofile=1024:4096; -1 is no limit"));
        };
        let limit = Limit { name: name.into(), soft, hard };
        if limit.resource().is_none() {
            let names = LIMITS.map(|(name, _)| name).join(", ");
            return Err(
                Error::invalid(OP, format!("no limit has this name; there are {names}")).with_path(name)
            );
        }
        match soft > hard {
            true => Err(Error::invalid(OP, "the soft limit is above the hard one").with_path(text)),
            false => Ok(limit),
        }
    }
}

fn bad() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message is invalid")
}

impl Ids {
    /// Puts the ids into the body of a message.
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.number(self.uid.into()).number(self.gid.into()).number(self.groups.len() as u64);
        for &group in &self.groups {
            out.number(group.into());
        }
    }

    /// Reads the ids from the body of a message.
    pub(crate) fn decode(body: &mut Reader<'_>) -> io::Result<Ids> {
        let (uid, gid, count) = (body.small()?, body.small()?, body.number()?);
        if count > MOST_GROUPS {
            return Err(bad());
        }
        let groups = (0..count).map(|_| body.small()).collect::<io::Result<_>>()?;
        Ok(Ids { uid, gid, groups })
    }
}

impl Mount {
    fn encode(&self, out: &mut Writer) {
        out.bytes(&self.target);
        match &self.what {
            Shown::Host { source, read_only, private } => {
                out.number(1).bytes(source).number((*read_only).into());
                out.list(private.as_slice());
            }
            Shown::Memory { size, mode, no_programs } => {
                out.number(2).number(*size).number((*mode).into()).number((*no_programs).into());
            }
            Shown::File { content, mode, uid, gid, program } => {
                out.number(3).bytes(content).number((*mode).into());
                out.number((*uid).into()).number((*gid).into()).number((*program).into());
            }
        }
    }

    fn decode(body: &mut Reader<'_>) -> io::Result<Mount> {
        let target = body.bytes()?;
        let what = match body.number()? {
            1 => Shown::Host {
                source: body.bytes()?,
                read_only: body.number()? == 1,
                private: body.list()?.pop(),
            },
            2 => {
                Shown::Memory { size: body.number()?, mode: body.small()?, no_programs: body.number()? == 1 }
            }
            3 => Shown::File {
                content: body.bytes()?,
                mode: body.small()?,
                uid: body.small()?,
                gid: body.small()?,
                program: body.number()? == 1,
            },
            _ => return Err(bad()),
        };
        Ok(Mount { target, what })
    }
}

impl Order {
    /// Returns the body of a message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(self.rung as u64).list(&self.arguments).list(&self.environment).bytes(&self.directory);
        self.user.encode(&mut out);
        let network = match self.network {
            Network::Host => 0,
            Network::None => 1,
            Network::Own | Network::OwnOrHost => 2,
            Network::Joined => 3,
        };
        out.bytes(&self.hostname).number(network).list(&self.pasta);
        out.number(self.terminal.into()).number(self.read_only.into());
        WindowSize::write(self.window, &mut out);
        let (paths, contents): (Vec<_>, Vec<_>) = self.files.iter().cloned().unzip();
        out.list(&paths).list(&contents).number(self.mounts.len() as u64);
        for mount in &self.mounts {
            mount.encode(&mut out);
        }
        out.number(self.shm_size).number(self.limits.len() as u64);
        for limit in &self.limits {
            out.bytes(limit.name.as_bytes()).number(limit.soft).number(limit.hard);
        }
        out.number(match self.owners {
            Lending::None => 0,
            Lending::Lend => 1,
            Lending::TakeBack { all: false } => 2,
            Lending::TakeBack { all: true } => 3,
        });
        out.number(self.places.into());
        out.finish()
    }

    /// Reads the body of a message.
    pub fn decode(body: &[u8]) -> io::Result<Order> {
        let mut body = Reader::new(body);
        let rung = Rung::from_number(body.number()?).ok_or_else(bad)?;
        let (arguments, environment, directory) = (body.list()?, body.list()?, body.bytes()?);
        let user = Ids::decode(&mut body)?;
        let hostname = body.bytes()?;
        let network = match body.number()? {
            0 => Network::Host,
            1 => Network::None,
            2 => Network::Own,
            3 => Network::Joined,
            _ => return Err(bad()),
        };
        let pasta = body.list()?;
        if (network == Network::Own) == pasta.is_empty() {
            return Err(bad());
        }
        let (terminal, read_only) = (body.number()? == 1, body.number()? == 1);
        let window = WindowSize::read(&mut body)?;
        let (paths, contents, count) = (body.list()?, body.list()?, body.number()?);
        if paths.len() != contents.len() || count > MOST_MOUNTS as u64 || arguments.is_empty() {
            return Err(bad());
        }
        let mounts = (0..count).map(|_| Mount::decode(&mut body)).collect::<io::Result<_>>()?;
        let (shm_size, count) = (body.number()?, body.number()?);
        if count > 64 {
            return Err(bad());
        }
        let mut limits = Vec::new();
        for _ in 0..count {
            let name = String::from_utf8(body.bytes()?).map_err(|_| bad())?;
            limits.push(Limit { name, soft: body.number()?, hard: body.number()? });
        }
        let owners = match body.number()? {
            0 => Lending::None,
            1 => Lending::Lend,
            2 => Lending::TakeBack { all: false },
            3 => Lending::TakeBack { all: true },
            _ => return Err(bad()),
        };
        let places = body.number()? == 1;
        body.end()?;
        Ok(Order {
            rung,
            arguments,
            environment,
            directory,
            user,
            hostname,
            network,
            pasta,
            terminal,
            window,
            read_only,
            files: paths.into_iter().zip(contents).collect(),
            mounts,
            shm_size,
            limits,
            owners,
            places,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_docker_takes_them() {
        let limit = |text: &str| text.parse::<Limit>().map(|it| (it.name, it.soft, it.hard)).ok();
        assert_eq!(limit("nofile=10:20"), Some(("nofile".into(), 10, 20)));
        assert_eq!(limit("core=0"), Some(("core".into(), 0, 0)));
        assert_eq!(limit("nproc=5:-1"), Some(("nproc".into(), 5, u64::MAX)));
        for text in ["", "nofile", "nofile=", "nofile=x", "nofile=20:10", "files=1", "nofile=1:2:3"] {
            assert_eq!(limit(text), None, "{text}");
        }
    }

    #[test]
    fn an_order_survives_the_way_and_damage_does_not() {
        let order = Order {
            rung: Rung::Notify,
            arguments: vec![b"sh".to_vec(), b"-c".to_vec(), b"\xff".to_vec()],
            environment: vec![b"A=B".to_vec()],
            directory: b"srv".to_vec(),
            user: Ids { uid: 5, gid: 6, groups: vec![7, 8] },
            hostname: b"box".to_vec(),
            network: Network::Own,
            pasta: vec![b"/pasta".to_vec(), b"-t".to_vec()],
            terminal: true,
            window: Some(WindowSize { rows: 24, columns: 80 }),
            read_only: false,
            files: vec![(b"etc/hosts".to_vec(), b"x".to_vec())],
            mounts: vec![
                Mount {
                    target: b"b".to_vec(),
                    what: Shown::Host {
                        source: b"/a".to_vec(),
                        read_only: true,
                        private: Some(b"b".to_vec()),
                    },
                },
                Mount {
                    target: b"c".to_vec(),
                    what: Shown::Memory { size: 9, mode: 0o1777, no_programs: true },
                },
                Mount {
                    target: b"d".to_vec(),
                    what: Shown::File {
                        content: b"\0x".to_vec(),
                        mode: 0o400,
                        uid: 7,
                        gid: 8,
                        program: true,
                    },
                },
            ],
            shm_size: 1 << 40,
            limits: vec![Limit { name: "nofile".into(), soft: 10, hard: u64::MAX }],
            owners: Lending::TakeBack { all: true },
            places: true,
        };
        let body = order.encode();
        assert_eq!(Order::decode(&body).unwrap(), order);
        for at in 0..body.len() {
            assert!(Order::decode(&body[..at]).is_err(), "cut at {at}");
        }
    }
}
