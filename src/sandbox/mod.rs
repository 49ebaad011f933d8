//! Running a command in a tree, with exact ownership and without privileges.
//!
//! [`run`] starts one helper process (`posix_spawn(3)`, nothing else), which makes what the command sees, supervises it, and ends with it.
//! The process that calls is never forked, unshared or traced; many steps can run at once, from many threads. What the disk cannot hold
//! of the step's doing (owners, devices, capabilities) is in the tree's [`Ledger`] afterwards, so that a layer of the tree has the same
//! bytes whoever ran the command, and by whatever [`Rung`].
//!
//! This module knows no image and no store.

mod bpf;
mod credentials;
mod handle;
mod helper;
mod launch;
mod names;
mod notify;
mod order;
mod points;
mod probe;
mod protocol;
mod rung;
mod step;
mod syscalls;
mod tracee;
pub mod user;

// What runs in the helper: that process is ours alone, so it may do what a library must not.
#[allow(clippy::disallowed_methods)]
mod command;
#[allow(clippy::disallowed_methods)]
mod init;
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

pub use helper::VARIABLE as HELPER_VARIABLE;
pub use order::{Ids, Network};
pub use probe::{Probed, ladder};
pub use rung::Rung;
pub use step::{Signals, Step};

/// What the helper program does; for the command, which is that program under a hidden verb. It changes the whole process.
/// `word` is what follows the verb. Gives the exit code.
#[doc(hidden)]
pub fn helper_main(word: Option<std::ffi::OsString>) -> i32 {
    match word {
        Some(word) if word == probe::WORD => probe::check(),
        _ => init::main(),
    }
}

/// The hidden verb.
#[doc(hidden)]
pub const HELPER_VERB: &str = "sandbox-init";

/// One of a command's three streams.
#[derive(Debug, Default)]
pub enum Stream {
    /// `/dev/null`: reads give nothing, writes go nowhere.
    #[default]
    Null,
    /// The stream of this process.
    Inherit,
    /// This descriptor; the command gets a copy.
    Fd(OwnedFd),
    /// What is written comes as [`crate::Event::Output`]. Not for standard input.
    Events,
}

/// A file or directory of the host that the command sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    /// Where it is on the host.
    pub source: PathBuf,
    /// Where the command sees it, below the root of the tree.
    pub target: Vec<u8>,
    /// Whether the command may not write to it.
    pub read_only: bool,
}

/// What to run, and how. Of the host's environment and files the command has nothing but what is named here.
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
    /// Whether the command sees a `/etc/resolv.conf` and `/etc/hosts` for its network in place of the tree's.
    pub names: bool,
    /// More lines for `/etc/hosts`: name and address.
    pub hosts: Vec<(String, String)>,
    /// What of the host the command sees.
    pub binds: Vec<BindMount>,
    /// Whether the command cannot write to the tree.
    pub read_only: bool,
    /// Whether the command has a terminal of its own for its streams, see [`Step::terminal`].
    pub terminal: bool,
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
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
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
