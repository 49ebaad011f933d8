//! Options of a container.

use std::ffi::c_char;

use super::arguments::{Text, bad, pairs, texts};
use super::status::treering_pair;
use super::structures::Options;
use crate::container::{CreateOptions, Settings};
use crate::error::Result;

/// Settings of a container, in place of its image's or besides them.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_container_options {
    /// Its name. NULL for one that is made up.
    pub name: *const c_char,
    /// The command: arguments of the entry point, where there is one. Empty for the image's.
    pub command: *const *const c_char,
    /// Number of `command`.
    pub command_len: usize,
    /// The entry point; an empty one is none. NULL for the image's. With one the image's CMD does not count.
    pub entrypoint: *const c_char,
    /// Variables, `NAME=VALUE`; a name alone takes the variable away.
    pub environment: *const *const c_char,
    /// Number of `environment`.
    pub environment_len: usize,
    /// User that it runs as: `USER[:GROUP]`. NULL for the image's.
    pub user: *const c_char,
    /// The working directory of the command. NULL for the image's working directory.
    pub directory: *const c_char,
    /// The host name. NULL for the first digits of its id.
    pub hostname: *const c_char,
    /// Files and directories of the host in its tree, `HOST:PATH[:ro]`; nothing else of the host is there; a path alone is
    /// a directory of the container's own that no commit takes.
    pub volumes: *const *const c_char,
    /// Number of `volumes`.
    pub volumes_len: usize,
    /// Filesystems in memory, `PATH[:OPTION,...]`, as `docker run --tmpfs` takes them.
    pub tmpfs: *const *const c_char,
    /// Number of `tmpfs`.
    pub tmpfs_len: usize,
    /// The network: `host` (also NULL) or `none`.
    pub network: *const c_char,
    /// Other containers that it finds by name, and that it shares the network with, `NAME[:ALIAS]`.
    pub links: *const *const c_char,
    /// Number of `links`.
    pub links_len: usize,
    /// Labels.
    pub labels: *const treering_pair,
    /// Number of `labels`.
    pub labels_len: usize,
    /// The command cannot write to the tree.
    pub read_only: bool,
    /// Remove the container when its command ends.
    pub remove: bool,
    /// The signal that asks the command to stop, a name or a number. NULL for the image's, or TERM.
    pub stop_signal: *const c_char,
    /// The only rung to run it by: `root`, `chroot`, `notify`, `ptrace`, `ids`, `paths` or `ptrace-paths`. NULL for the best that works.
    pub rung: *const c_char,
    /// Platform of a multi-platform image: `os/arch[/variant]`. NULL for this machine's.
    pub platform: *const c_char,
    /// Number of threads for unpacking; 0 for one per processor.
    pub threads: usize,
    /// The command has a terminal, see `tty` of treering_run_options.
    pub tty: bool,
    /// Standard input stays open for those that are attached.
    pub interactive: bool,
}

// SAFETY: `repr(C)`, of pointers, numbers and bools.
unsafe impl Options for treering_container_options {
    type Value = CreateOptions;

    unsafe fn read(&self) -> Result<CreateOptions> {
        // SAFETY: the caller's contract.
        unsafe {
            let no_network = match Text::new(self.network).optional("network")? {
                None | Some("host") => false,
                Some("none") => true,
                Some(other) => return Err(bad("network is not one of: host, none").with_path(other)),
            };
            // A path alone is a directory of the container's own.
            let alone = |volume: &String| volume.starts_with('/') && !volume.contains(':');
            let (anonymous, volumes): (Vec<_>, Vec<_>) =
                texts(self.volumes, self.volumes_len, "volumes")?.into_iter().partition(alone);
            let tmpfs = texts(self.tmpfs, self.tmpfs_len, "tmpfs")?;
            let settings = Settings {
                command: texts(self.command, self.command_len, "command")?,
                entrypoint: Text::new(self.entrypoint).owned("entrypoint")?,
                environment: texts(self.environment, self.environment_len, "environment")?,
                user: Text::new(self.user).owned("user")?,
                directory: Text::new(self.directory).owned("directory")?,
                hostname: Text::new(self.hostname).owned("hostname")?,
                volumes: volumes.iter().map(|text| text.parse()).collect::<Result<_>>()?,
                anonymous,
                tmpfs: tmpfs.iter().map(|text| text.parse()).collect::<Result<_>>()?,
                no_network,
                links: texts(self.links, self.links_len, "links")?,
                labels: pairs(self.labels, self.labels_len, "labels")?.into_iter().collect(),
                read_only: self.read_only,
                auto_remove: self.remove,
                stop_signal: Text::new(self.stop_signal).owned("stop_signal")?,
                rung: Text::new(self.rung).owned("rung")?,
                terminal: self.tty,
                interactive: self.interactive,
                ..Settings::default()
            };
            Ok(CreateOptions {
                name: Text::new(self.name).owned("name")?,
                settings,
                platform: Text::new(self.platform).parse("platform")?,
                threads: self.threads,
            })
        }
    }
}
