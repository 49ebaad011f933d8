//! Running a command in a tree, with exact ownership and without privileges.
//!
//! [`run`] starts one helper process (`posix_spawn(3)`, nothing else), which makes the command's root, supervises it, and
//! ends with it. The process that calls is never forked, unshared or traced; many steps can run at once, from many threads.
//! Whatever the disk cannot hold of the step's doing (owners, devices, capabilities) is in the tree's [`Ledger`]
//! afterwards, so that a layer of the tree has the same bytes for every user and every [`Rung`].
//!
//! This module has no images and no store.

mod beside;
mod bpf;
mod credentials;
mod failure;
mod filter;
#[doc(hidden)]
#[allow(clippy::disallowed_methods)]
pub mod fuzzed;
mod helper;
mod helper_process;
#[allow(clippy::disallowed_methods)]
mod ids;
mod launch;
mod more;
mod names;
#[allow(clippy::disallowed_methods)]
mod network;
mod notify;
mod order;
#[allow(clippy::disallowed_methods)]
pub(crate) mod place;
mod points;
mod prepare;
mod probe;
pub(crate) mod protocol;
#[allow(clippy::disallowed_methods)]
mod ptrace;
mod rung;
mod step;
mod supervise;
mod syscalls;
mod tracee;
mod undo;
pub mod user;

// What runs in the helper: that process is ours alone, so it may do what a library must not.
#[allow(clippy::disallowed_methods)]
mod command;
#[allow(clippy::disallowed_methods)]
mod handle;
#[allow(clippy::disallowed_methods)]
mod init;
#[allow(clippy::disallowed_methods)]
mod join;
#[allow(clippy::disallowed_methods)]
mod mounts;
#[allow(clippy::disallowed_methods)]
mod sys;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::error::Result;
use crate::event::StepId;
use crate::fs::Root;
use crate::progress::Control;
use crate::tree::Ledger;

pub use helper::{Helper, VARIABLE as HELPER_VARIABLE, helper};
pub use helper_process::Signals;
pub(crate) use helper_process::streams;
pub use join::Joined;
pub use more::{Commands, Running};
pub use network::Port;
pub use order::{Ids, Limit, Network, WindowSize};
pub(crate) use probe::cannot_mount;
pub use probe::{Probed, ladder};
pub use rung::Rung;
pub use step::Step;
pub(crate) use undo::{Left, in_use};

/// Runs the helper program; for the command, which is that program under a hidden verb. It changes the whole process.
/// `word` is what follows the verb. Gives the exit code.
#[doc(hidden)]
pub fn helper_main(word: Option<std::ffi::OsString>) -> i32 {
    match word {
        Some(word) if word == probe::WORD => probe::check(),
        _ => init::main(),
    }
}

/// Finds the helper program, see [`StepOptions::helper`].
pub(crate) fn find_helper(given: Option<&std::path::Path>) -> Result<PathBuf> {
    helper::find(given)
}

/// Starts the helper program under another verb; gives its process and the other end of the socket that it has.
pub(crate) fn spawn_helper(
    program: &std::path::Path,
    verb: &std::ffi::CStr,
) -> std::io::Result<(i32, protocol::Channel)> {
    launch::spawn(program, verb)
}

/// Makes this process one that its parent need not wait for: the process that was started ends, and its child goes on. For the helper.
pub(crate) fn leave_parent() -> std::io::Result<()> {
    sys::close_from(launch::SOCKET + 1);
    match sys::fork()? {
        0 => Ok(()),
        _ => sys::exit(0),
    }
}

/// Returns the socket that the helper was started with. For the helper, once.
pub(crate) fn helper_socket() -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the host program put the socket there; nothing else in this process uses that number.
    let socket = unsafe { OwnedFd::from_raw_fd(launch::SOCKET) };
    // Where that fails there is no socket, and the first use of it says so.
    let _ = rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC);
    socket
}

/// The hidden verb.
#[doc(hidden)]
pub const HELPER_VERB: &str = "sandbox-init";

/// A stream of a command.
#[derive(Debug, Default)]
pub enum Stream {
    /// `/dev/null`: reads give nothing, writes go nowhere.
    #[default]
    Null,
    /// The stream of this process.
    Inherit,
    /// This descriptor; the command gets a copy.
    Fd(OwnedFd),
    /// The output comes as [`crate::Event::Output`]. Not for standard input.
    Events,
}

/// A file or directory of the host in the command's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    /// The path on the host.
    pub source: PathBuf,
    /// The path in the command's tree, below its root.
    pub target: Vec<u8>,
    /// Whether the command may not write to it.
    pub read_only: bool,
    /// Whether nothing else uses the source while the command runs, and it is on the filesystem of the tree. Then a rung
    /// that cannot mount exchanges it with what is in its place, for that time; whether it is read-only does not count
    /// there.
    pub private: bool,
}

/// An empty filesystem in memory in the command's tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryMount {
    /// The path in the command's tree, below its root.
    pub target: Vec<u8>,
    /// The most bytes in it; 0 for the kernel's limit, half of the memory.
    pub size: u64,
    /// The permission bits of its root; by default those of the directory that is there, else 1777.
    pub mode: Option<u32>,
    /// Whether nothing in it can be executed.
    pub no_programs: bool,
}

/// A file in the command's tree that it cannot write to. Where the rung mounts, it is in memory alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FileMount {
    /// The path in the command's tree, below its root.
    pub target: Vec<u8>,
    /// The bytes of the file.
    pub content: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Whether it may be executed.
    pub program: bool,
    /// Whether it must never be on a disk: a rung that cannot mount is not taken then.
    pub secret: bool,
}

impl std::fmt::Debug for FileMount {
    /// Shows all but the content, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FileMount { target, content, mode, uid, gid, program, secret } = self;
        let mut out = f.debug_struct("FileMount");
        out.field("target", &crate::error::escape(target)).field("bytes", &content.len());
        out.field("mode", mode).field("uid", uid).field("gid", gid);
        out.field("program", program).field("secret", secret).finish()
    }
}

/// The command, and how it is run. Of the host's environment and files it has nothing but what is named here.
#[derive(Debug, Default)]
pub struct StepOptions {
    /// The program and its arguments. A program without a slash is looked for in the PATH of `environment`.
    pub arguments: Vec<Vec<u8>>,
    /// The whole environment, `NAME=VALUE`.
    pub environment: Vec<Vec<u8>>,
    /// The working directory, below the root; made where it is missing.
    pub directory: Vec<u8>,
    /// The user, group and supplementary groups; by default 0, 0 and none. See [`user::find`].
    pub user: Ids,
    /// The host name; empty for the host's own.
    pub hostname: Vec<u8>,
    /// The network.
    pub network: Network,
    /// The network of another step, for [`Network::Joined`].
    pub joined: Option<Joined>,
    /// Ports of the host that lead to those of a network of its own.
    pub ports: Vec<Port>,
    /// Whether the command has a `/etc/resolv.conf` and `/etc/hosts` for its network in place of the tree's.
    pub names: bool,
    /// More lines for `/etc/hosts`: name and address.
    pub hosts: Vec<(String, String)>,
    /// Directories and files of the host in the command's tree.
    pub binds: Vec<BindMount>,
    /// Filesystems in memory.
    pub memory: Vec<MemoryMount>,
    /// Files with given content.
    pub files: Vec<FileMount>,
    /// The most bytes in `/dev/shm`; 0 for 64 MiB.
    pub shm_size: u64,
    /// Limits of what the command may use.
    pub limits: Vec<Limit>,
    /// Whether the command cannot write to the tree.
    pub read_only: bool,
    /// Whether the command has a terminal of its own for its streams, see [`Step::terminal`].
    pub terminal: bool,
    /// The size that the terminal has when the command begins; `None` for the kernel's, 0 by 0.
    pub window: Option<WindowSize>,
    /// Standard input.
    pub stdin: Stream,
    /// Standard output.
    pub stdout: Stream,
    /// Standard error.
    pub stderr: Stream,
    /// The only rung to use; `None` for the best that works.
    pub rung: Option<Rung>,
    /// The helper program; `None` to look for it.
    pub helper: Option<PathBuf>,
    /// A file, opened for reading and appending, that changes of the ledger are written to as they happen (see
    /// [`crate::tree::journal`]): with it, a ledger survives that this process is killed. `None` for memory.
    pub journal: Option<File>,
    /// The number that events of the command carry.
    pub step: StepId,
    /// Whether, in place of a program, files are made that come on standard input; only beside another command. For containers.
    #[doc(hidden)]
    pub places: bool,
}

/// The end of a command.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// Its exit code; 128 and the signal's number for one that a signal ended.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How it was run.
    pub rung: Rung,
    /// The better ways, and why each was not taken.
    pub refused: Vec<(Rung, String)>,
}

/// Runs a command in a tree and waits for its end. The ledger becomes what the command left, after an error too.
///
/// # Errors
/// A command that runs and fails is an [`Outcome`]. [`crate::ErrorKind::CommandFailed`] is one that could not be executed, with the exit code
/// 126 or 127; [`crate::ErrorKind::Unsupported`] when no rung works here, or when a program of another ABI was run;
/// [`crate::ErrorKind::Cancelled`] after [`crate::Cancel::cancel`]. The tree is then as the command left it.
pub fn run(root: &Root, ledger: &mut Ledger, options: &StepOptions, control: &Control) -> Result<Outcome> {
    Step::start(root, ledger, options)?.wait(ledger, control)
}
