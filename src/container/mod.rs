//! Commands in the trees of a store: an image's configuration and a tree's ledger brought together with [`crate::sandbox`]; and
//! containers, which are such trees with a name.
//!
//! ```no_run
//! use treering::container::{Container, CreateOptions, RunOptions};
//! use treering::{Control, store::Store};
//!
//! let (store, control) = (Store::open_default()?, Control::default());
//! let options = CreateOptions { name: Some("box".into()), ..CreateOptions::default() };
//! let container = Container::create(&store, "debian:12", &options, &control)?;
//! let how = RunOptions { command: vec!["apt-get".into(), "update".into()], ..RunOptions::default() };
//! let outcome = container.run(how, &control)?;
//! println!("{}", outcome.code);
//! # Ok::<(), treering::Error>(())
//! ```
//!
//! No daemon keeps them: a container is a directory of the store, and a lock in it says whether a command runs. The process that
//! started the command supervises it, or one that was started for that.

mod attach;
mod client;
mod command;
mod control;
mod copy;
mod create;
mod handle;
mod image;
mod inspect;
mod links;
mod log;
mod monitor;
mod names;
mod place;
mod process;
mod pump;
mod settings;
mod signal;
mod state;
mod streams;
mod supervise;
mod terminal;
mod volumes;
mod worktree;

pub use client::{Attached, Attachment, Exec, ExecOptions, Input, STOP_SECONDS, StartOptions, Started};
pub use command::{Overrides, step_options};
pub use copy::CopiedIn;
pub use create::{CreateOptions, clear_spares, made_from};
#[doc(hidden)]
pub use handle::Held;
pub use handle::{Container, Record};
pub use log::{LOG_CAP, LogEntry, LogOptions};
#[doc(hidden)]
pub use monitor::{VERB as MONITOR_VERB, main as monitor_main};
pub use process::{Ended, Process, ProcessOptions};
pub use pump::Sink;
pub use settings::{Settings, Tmpfs, Volume};
pub use signal::number as signal_number;
pub use state::{State, Status};
pub use supervise::{RunOptions, Running};
pub use terminal::DetachKeys;
pub use worktree::WorkTree;
