//! The settings of a container, as its `config.json` keeps it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::command::Overrides;
use crate::error::{Error, Result};
use crate::sandbox::{BindMount, MemoryMount, Network, Port, Rung, StepOptions};

/// Settings of a container, in place of its image's or besides them. All default is what the image says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The command: arguments of the entry point, where there is one.
    pub command: Vec<String>,
    /// The entry point; an empty one is none. The image's CMD then does not count.
    pub entrypoint: Option<String>,
    /// Variables, `NAME=VALUE`; a name alone takes the variable away.
    pub environment: Vec<String>,
    /// `USER[:GROUP]`.
    pub user: Option<String>,
    /// The working directory.
    pub directory: Option<String>,
    /// The host name; by default the first twelve digits of the id.
    pub hostname: Option<String>,
    /// Whether the command has a terminal.
    pub terminal: bool,
    /// Whether the command has a standard input that stays open.
    pub interactive: bool,
    /// Files and directories of the host in its tree.
    pub volumes: Vec<Volume>,
    /// Paths of directories of its own that no commit takes, besides those of the image.
    pub anonymous: Vec<String>,
    /// Filesystems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Whether it has no network but loopback.
    pub no_network: bool,
    /// Whether it has a network of its own, and is not run where there can be none.
    pub own_network: bool,
    /// Other containers that it finds by name, and that it shares the network with, `NAME[:ALIAS]`.
    pub links: Vec<String>,
    /// Ports of the host that lead to its own, `[[ADDRESS:]HOST:]PORT[/udp]`. With them and without links it has a network of its own where
    /// that can be; else the network is the host's, and so are ports.
    pub ports: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it cannot write to its tree.
    pub read_only: bool,
    /// Whether an init was asked for. There always is one: the first process of a container reaps whatever ends in it.
    pub init: bool,
    /// Whether the container goes when its command ends.
    pub auto_remove: bool,
    /// The signal that asks the command to stop, a name or a number; by default the image's, or TERM.
    pub stop_signal: Option<String>,
    /// The only rung to use.
    pub rung: Option<String>,
}

/// A file or directory of the host in the tree of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The path on the host, absolute.
    pub source: PathBuf,
    /// The path in the container, absolute.
    pub target: String,
    /// Whether the container may not write to it.
    #[serde(default)]
    pub read_only: bool,
}

impl FromStr for Volume {
    type Err = Error;

    /// Reads `HOST:PATH[:ro|:rw]`. A host path that is relative begins with a dot and is one from the working directory of this process: a
    /// bare word would be the name of a volume, of which there are none.
    fn from_str(text: &str) -> Result<Volume> {
        let wrong = |what: &str| Error::invalid("read volume", what).with_path(text);
        let mut parts = text.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
            return Err(wrong("expected HOST:PATH[:ro]"));
        };
        let read_only = match (parts.next(), parts.next()) {
            (None | Some("rw"), None) => false,
            (Some("ro"), None) => true,
            _ => return Err(wrong("expected HOST:PATH[:ro]")),
        };
        if source.is_empty() || !target.starts_with('/') {
            return Err(wrong("the second path begins with a slash, and the first is not empty"));
        }
        if !source.contains('/') && !source.starts_with('.') {
            let hint = format!("for a directory of the host write ./{source}:{target}");
            return Err(wrong("this names a volume, and volumes have no names here").with_hint(hint));
        }
        let source = std::path::absolute(source).map_err(|error| Error::io("read volume", text, error))?;
        Ok(Volume { source, target: target.into(), read_only })
    }
}

/// A filesystem in memory of a container, empty whenever its command starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tmpfs {
    /// The path in the container, absolute.
    pub target: String,
    /// The most bytes in it; 0 for the kernel's limit, half of the memory.
    pub size: u64,
    /// The permission bits of its root; by default those of the directory that is there, else 1777.
    pub mode: Option<u32>,
    /// Whether nothing in it can be executed.
    pub no_programs: bool,
}

impl FromStr for Tmpfs {
    type Err = Error;

    /// Reads `PATH[:OPTION,...]` as `docker run --tmpfs` takes it: `size=` and `mode=`, `exec` and `noexec`, of which the second is the
    /// default; `rw`, `nosuid` and `nodev`, which it always is.
    fn from_str(text: &str) -> Result<Tmpfs> {
        let wrong = |what: &str| Error::invalid("read tmpfs", what).with_path(text);
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        if !target.starts_with('/') {
            return Err(wrong("the path begins with a slash").with_hint("as in /run:size=64m"));
        }
        let mut out = Tmpfs { target: target.into(), no_programs: true, ..Tmpfs::default() };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=').unwrap_or((option, "")) {
                ("size", value) => {
                    out.size = bytes(value).ok_or_else(|| wrong("size is a number, with k, m or g"))?
                }
                ("mode", value) => {
                    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                    out.mode = Some(mode.ok_or_else(|| wrong("mode is an octal number"))?);
                }
                ("exec", "") => out.no_programs = false,
                ("noexec", "") => out.no_programs = true,
                ("rw" | "nosuid" | "nodev", "") => {}
                _ => return Err(wrong("the options are size=, mode=, exec, noexec, rw, nosuid and nodev")),
            }
        }
        Ok(out)
    }
}

/// Reads a number of bytes with `k`, `m` or `g`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

impl Tmpfs {
    /// Returns the options, as they are read.
    pub(super) fn options(&self) -> String {
        let mut out = vec![if self.no_programs { "noexec" } else { "exec" }.to_string()];
        out.extend((self.size != 0).then(|| format!("size={}", self.size)));
        out.extend(self.mode.map(|mode| format!("mode={mode:o}")));
        out.join(",")
    }

    /// Returns the mount of a command.
    pub fn mount(&self) -> MemoryMount {
        MemoryMount {
            target: self.target.clone().into_bytes(),
            size: self.size,
            mode: self.mode,
            no_programs: self.no_programs,
        }
    }
}

impl Volume {
    pub(super) fn bind(&self) -> BindMount {
        BindMount {
            source: self.source.clone(),
            target: self.target.clone().into_bytes(),
            read_only: self.read_only,
            private: false,
        }
    }
}

impl Settings {
    /// Refuses what cannot be.
    pub(super) fn check(&self) -> Result<()> {
        self.rung()?;
        for port in &self.ports {
            port.parse::<Port>()?;
        }
        if let Some(signal) = &self.stop_signal {
            super::signal::number(signal)?;
        }
        for link in &self.links {
            let (name, alias) = link.split_once(':').unwrap_or((link, link));
            super::names::check(name)?;
            super::names::check(alias)?;
        }
        if !self.links.is_empty() && (self.no_network || self.own_network) {
            let message = "a container with a link has the network of the other one, and none besides";
            return Err(Error::invalid("create container", message)
                .with_path(&self.links[0])
                .with_hint("leave out the network, or the link"));
        }
        for target in self.anonymous.iter().chain(self.tmpfs.iter().map(|tmpfs| &tmpfs.target)) {
            let path = crate::fs::root::normalise(target.as_bytes())?;
            if path.is_empty() || !target.starts_with('/') {
                let message = "a path begins with a slash, and is not the root";
                return Err(Error::invalid("create container", message).with_path(target));
            }
        }
        let strings = self.command.iter().chain(&self.environment).chain(&self.entrypoint);
        if strings.chain(&self.hostname).any(|text| text.contains('\0')) {
            return Err(Error::invalid("create container", "a command or variable holds a NUL byte"));
        }
        if self.hostname.as_ref().is_some_and(|name| name.len() > 64 || name.contains(char::is_whitespace)) {
            return Err(Error::invalid(
                "create container",
                "a host name has at most 64 bytes, and no blanks",
            )
            .with_path(self.hostname.as_deref().unwrap_or_default()));
        }
        Ok(())
    }

    pub(super) fn rung(&self) -> Result<Option<Rung>> {
        self.rung.as_deref().map(str::parse).transpose()
    }

    pub(super) fn network(&self) -> Network {
        match (self.no_network, self.own_network) {
            (true, _) => Network::None,
            (_, true) => Network::Own,
            // The network of another container, whatever that is.
            _ if self.ports.is_empty() || !self.links.is_empty() => Network::Host,
            _ => Network::OwnOrHost,
        }
    }

    /// Gives a command the mounts and names of these settings.
    pub(super) fn show(&self, options: &mut StepOptions) {
        options.binds = self.volumes.iter().map(Volume::bind).collect();
        options.memory = self.tmpfs.iter().map(Tmpfs::mount).collect();
        options.network = self.network();
        // Those of an older container may be written in another way.
        options.ports = self.ports.iter().filter_map(|port| port.parse().ok()).collect();
        options.read_only = self.read_only;
    }

    /// Returns the settings that replace those of the image's configuration.
    pub(super) fn overrides(&self, hostname: &str) -> Overrides {
        Overrides {
            command: self.command.clone(),
            entrypoint: self.entrypoint.clone(),
            environment: self.environment.clone(),
            user: self.user.clone(),
            directory: self.directory.clone(),
            terminal: self.terminal,
            hostname: hostname.into(),
        }
    }

    /// Returns the instructions that give an image what was said of this container, as `docker commit` does.
    pub(super) fn instructions(&self) -> Vec<String> {
        let mut out = Vec::new();
        let list = |words: &[String]| serde_json::to_string(words).unwrap_or_default();
        if let Some(entrypoint) = &self.entrypoint {
            let words: &[String] = if entrypoint.is_empty() { &[] } else { std::slice::from_ref(entrypoint) };
            out.push(format!("ENTRYPOINT {}", list(words)));
        }
        if !self.command.is_empty() {
            out.push(format!("CMD {}", list(&self.command)));
        }
        for (name, value) in self.environment.iter().filter_map(|variable| variable.split_once('=')) {
            out.push(format!("ENV {name}={}", quoted(value)));
        }
        if !self.anonymous.is_empty() {
            out.push(format!("VOLUME {}", list(&self.anonymous)));
        }
        out.extend(self.user.as_ref().map(|user| format!("USER {}", plain(user))));
        out.extend(self.directory.as_ref().map(|directory| format!("WORKDIR {}", plain(directory))));
        for (name, value) in &self.labels {
            out.push(format!("LABEL {}={}", quoted(name), quoted(value)));
        }
        out
    }
}

/// Returns a word in double quotes, as an instruction takes it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// Returns a text in which no variable is expanded.
fn plain(text: &str) -> String {
    text.replace('\\', "\\\\").replace('$', "\\$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_read_as_docker_reads_them() {
        let volume: Volume = "/a:/b:ro".parse().unwrap();
        assert_eq!(volume, Volume { source: "/a".into(), target: "/b".into(), read_only: true });
        assert!(!"/a:/b".parse::<Volume>().unwrap().read_only);
        assert!("./x:/b:rw".parse::<Volume>().unwrap().source.is_absolute());
        assert!("name:/b".parse::<Volume>().unwrap_err().hint().is_some());
        for text in ["", "/a", "/a:b", ":/b", "/a:/b:zz", "/a:/b:ro:x", "name:/b"] {
            assert!(text.parse::<Volume>().is_err(), "{text}");
        }
    }

    #[test]
    fn filesystems_in_memory_are_read_as_docker_reads_them() {
        let read =
            |text: &str| text.parse::<Tmpfs>().map(|it| (it.target, it.size, it.mode, it.no_programs)).ok();
        assert_eq!(read("/run"), Some(("/run".into(), 0, None, true)));
        let all = "/run:rw,exec,nosuid,nodev,size=64m,mode=1770";
        assert_eq!(read(all), Some(("/run".into(), 64 << 20, Some(0o1770), false)));
        assert_eq!(read("/run:size=3KB").map(|it| it.1), Some(3072));
        for text in [
            "",
            "run",
            "/run:ro",
            "/run:size=",
            "/run:size=x",
            "/run:mode=9",
            "/run:mode=77777",
            "/run:size=99999999999g",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn settings_survive_the_disk_and_newer_members() {
        let settings = Settings {
            command: vec!["sh".into()],
            volumes: vec!["/a:/b".parse().unwrap()],
            ..Settings::default()
        };
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
        assert_eq!(serde_json::from_str::<Settings>("{\"later\":1}").unwrap(), Settings::default());
    }

    #[test]
    fn impossible_settings_are_refused() {
        let wrong = [
            Settings { rung: Some("x".into()), ..Settings::default() },
            Settings { stop_signal: Some("SIGX".into()), ..Settings::default() },
            Settings { links: vec!["a/b".into()], ..Settings::default() },
            Settings { links: vec!["a".into()], no_network: true, ..Settings::default() },
            Settings { links: vec!["a".into()], own_network: true, ..Settings::default() },
            Settings { command: vec!["a\0".into()], ..Settings::default() },
            Settings { hostname: Some("x y".into()), ..Settings::default() },
        ];
        for settings in wrong {
            assert!(settings.check().is_err(), "{settings:?}");
        }
    }
}
