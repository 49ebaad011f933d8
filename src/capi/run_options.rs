//! How a command is run.

use std::ffi::c_char;
use std::path::PathBuf;

use super::arguments::{Bytes, Text, number, texts};
use super::status::treering_slice;
use super::stream::file;
use super::structures::Options;
use crate::container::{ProcessOptions, Sink};
use crate::error::Result;
use crate::sandbox::{Stream, WindowSize};

/// Options of a command; they count for this time alone.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_run_options {
    /// The command. Empty for that of the container or the image.
    pub command: *const *const c_char,
    /// Number of `command`.
    pub command_len: usize,
    /// More variables, `NAME=VALUE`; a name alone takes the variable away.
    pub environment: *const *const c_char,
    /// Number of `environment`.
    pub environment_len: usize,
    /// User that it runs as: `USER[:GROUP]`. NULL for the container's or the image's.
    pub user: *const c_char,
    /// The working directory. NULL for the container's or the image's working directory.
    pub directory: *const c_char,
    /// Descriptor of its standard input. NULL for `/dev/null`. The command gets a copy, here and below; yours stays open.
    pub stdin_fd: *const i32,
    /// Descriptor of its standard output. NULL for the output function, else `/dev/null`. A container's output is in its log as well,
    /// and is written to the descriptor by a thread of the library: a pipe without a reader raises SIGPIPE, as always.
    pub stdout_fd: *const i32,
    /// Descriptor of its standard error. NULL for the output function, else `/dev/null`.
    pub stderr_fd: *const i32,
    /// Standard error goes where standard output goes, in the order in which both are written. `stderr_fd` then does not count.
    pub merge: bool,
    /// The only rung to run it by: `root`, `chroot`, `notify`, `ptrace`, `ids`, `paths` or `ptrace-paths`. NULL for the best that works.
    pub rung: *const c_char,
    /// Program that it is started with, `treering-init` or `treering`. Empty to look for it: in `$TREERING_INIT`, beside the library
    /// and the program and in `../libexec/treering` from there, and as `treering` on PATH.
    pub helper: treering_slice,
    /// The command has a terminal of its own for all three streams: what it writes is standard output, and `stdin_fd`, where it is given,
    /// is passed on to it. A container's own command also has one where the container says so. The library never changes the terminal
    /// of this process: to pass every key on, the caller puts that into raw mode.
    pub tty: bool,
    /// Lines of the terminal; 0, with `columns` 0 too, for the kernel's default. See treering_process_resize().
    pub rows: u16,
    /// Characters in a line of the terminal.
    pub columns: u16,
    /// Of a container that runs by itself: standard input stays open for those that are attached.
    pub interactive: bool,
}

/// A command, and the numbers of the descriptors that it was given.
pub struct Run {
    options: ProcessOptions,
    descriptors: [Option<i32>; 3],
    pub(super) interactive: bool,
}

impl Run {
    /// Returns the command with its output where it goes.
    pub(super) fn with(self, sink: Option<Box<Sink>>) -> Result<ProcessOptions> {
        let [stdin, stdout, stderr] = self.descriptors;
        let given = |fd: Option<i32>, name: &str, other: Stream| match fd {
            Some(fd) => Ok::<_, crate::Error>(Stream::Fd(file(fd, name)?.into())),
            None => Ok(other),
        };
        let other = || if sink.is_some() { Stream::Events } else { Stream::Null };
        Ok(ProcessOptions {
            stdin: given(stdin, "stdin_fd", Stream::Null)?,
            stdout: given(stdout, "stdout_fd", other())?,
            stderr: given(stderr, "stderr_fd", other())?,
            sink,
            ..self.options
        })
    }

    /// Returns the command where it is to have no streams.
    pub(super) fn without_streams(self) -> Result<ProcessOptions> {
        match self.descriptors {
            [None, None, None] => Ok(self.options),
            _ => Err(super::arguments::bad(
                "a container that runs by itself has no descriptors of this process",
            )),
        }
    }
}

/// Returns a size that was given; both sides 0 are none.
fn window(rows: u16, columns: u16) -> Option<WindowSize> {
    Some(WindowSize { rows, columns }).filter(|&size| size != WindowSize::default())
}

// SAFETY: `repr(C)`, of pointers, numbers and bools.
unsafe impl Options for treering_run_options {
    type Value = Run;

    unsafe fn read(&self) -> Result<Run> {
        // SAFETY: the caller's contract.
        unsafe {
            let helper = Bytes::new(self.helper.data, self.helper.len).optional_path("helper")?;
            let options = ProcessOptions {
                command: texts(self.command, self.command_len, "command")?,
                environment: texts(self.environment, self.environment_len, "environment")?,
                user: Text::new(self.user).owned("user")?,
                directory: Text::new(self.directory).owned("directory")?,
                merge: self.merge,
                rung: Text::new(self.rung).parse("rung")?,
                helper: helper.map(PathBuf::from),
                terminal: self.tty,
                window: window(self.rows, self.columns),
                ..ProcessOptions::default()
            };
            let descriptors = [
                number(self.stdin_fd, "stdin_fd")?,
                number(self.stdout_fd, "stdout_fd")?,
                number(self.stderr_fd, "stderr_fd")?,
            ];
            Ok(Run { options, descriptors, interactive: self.interactive })
        }
    }
}
