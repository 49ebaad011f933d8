//! The `treering` command: Docker's verbs, flags and output shapes, without a daemon.
//!
//! Everything here is a thin shell around the library: arguments in, a call, text or JSON out. Standard output carries
//! data and nothing else; what is meant for people goes to standard error.

// The library reaches everything by directory handles; the command is where the paths a user types come in.
#![allow(clippy::disallowed_methods)]
#![forbid(unsafe_code)]

mod amount;
mod args;
#[cfg(feature = "sandbox")]
mod boxes;
mod commands;
mod context;
mod destination;
mod docker;
mod entry;
mod filter;
#[cfg(feature = "cli")]
mod git;
#[cfg(feature = "sandbox")]
mod grants;
#[cfg(all(feature = "cli", feature = "registry"))]
mod helper;
mod image_layout;
mod input;
mod inside;
mod interrupt;
mod json;
mod listing;
mod look;
mod operand;
mod options;
mod output;
mod progress;
#[cfg(feature = "registry")]
mod registries;
mod steps;
mod table;
#[cfg(feature = "sandbox")]
mod terminal;
mod text;
#[cfg(feature = "registry")]
mod transfers;
mod ui;

use std::ffi::OsString;
use std::process::ExitCode;

/// musl's own allocator takes one lock for all threads.
#[cfg(all(target_env = "musl", feature = "cli"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the command with the arguments of this process.
pub fn main() -> ExitCode {
    // The helper of a command that runs in a tree: this program once more, see `treering::sandbox`.
    #[cfg(feature = "sandbox")]
    if std::env::args_os().nth(1).is_some_and(|verb| verb == treering::sandbox::HELPER_VERB) {
        return ExitCode::from(treering::sandbox::helper_main(std::env::args_os().nth(2)) as u8);
    }
    #[cfg(feature = "sandbox")]
    if std::env::args_os().nth(1).is_some_and(|verb| verb == treering::container::MONITOR_VERB) {
        return ExitCode::from(treering::container::monitor_main() as u8);
    }
    // Python's build of the command comes in by `run`, and Python handles signals itself.
    treering::fs::signals::ignore_file_size_signal();
    interrupt::own_signals();
    run(std::env::args_os())
}

/// In the command as a library, credential helpers are started by a function, if at all.
#[cfg(all(not(feature = "cli"), feature = "registry"))]
pub use registries::start_helpers_by;

/// Runs the command with these arguments; the first is the program's name. The Python package has this file as a library, because
/// a wheel with a second copy of everything would be twice as large.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match args::parse(arguments.into_iter().collect()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let ui = ui::Ui::new(cli.global.quiet, cli.global.json);
    let failure = cli.command.failure_code();
    let context = context::Context::new(cli.global, ui);
    match cli.command.run(&context) {
        Ok(code) => code,
        Err(error) => {
            let error = interrupt::explained(error);
            context.ui.error(&error);
            if let Some(code) = interrupt::exit_code() {
                return code;
            }
            if let Some(code) = error.downcast_ref::<treering::Error>().and_then(|error| error.exit_code()) {
                return ExitCode::from(u8::try_from(code).unwrap_or(failure));
            }
            if error.is::<ui::Usage>() { ExitCode::from(2) } else { ExitCode::from(failure) }
        }
    }
}
