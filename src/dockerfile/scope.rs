//! Variables: which names are predefined, and which are in force at an instruction.

use super::source::Fault;
use super::words;

/// Arguments that may be given without ARG, in both spellings. They are left out of history and cache keys.
pub(crate) const PROXY_ARGS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Arguments that describe platforms: global, and in a stage once ARG declares them.
pub(crate) const PLATFORM_ARGS: [&str; 8] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
];

/// Arguments that change the build itself, and SOURCE_DATE_EPOCH.
pub(crate) const BUILD_ARGS: [&str; 11] = [
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SBOM_SCAN_CONTEXT",
    "BUILDKIT_SBOM_SCAN_STAGE",
    "BUILDKIT_SYNTAX",
    "SOURCE_DATE_EPOCH",
];

/// The PATH of an image that starts from nothing, as BuildKit sets it.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables in force at an instruction. Of ENV and ARG with one name the later one counts. A name is in one of the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) escape: char,
    /// The environment of the image, in order; the value of one that ARG set later is that of the argument.
    env: Vec<(String, String)>,
    /// Declared arguments that have a value, in order.
    args: Vec<(String, String)>,
}

impl Scope {
    /// Returns a scope without variables, for a file with this escape character.
    pub(crate) fn new(escape: char) -> Scope {
        Scope { escape, ..Scope::default() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let mut all = self.env.iter().chain(&self.args);
        all.find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// Returns all variables as commands get them: those of the image, then the arguments.
    #[cfg(feature = "sandbox")]
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        [&self.env[..], &self.args].concat()
    }

    /// Sets a variable of the environment, in place when it is there already.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.args.retain(|(known, _)| known != name);
        set(&mut self.env, name, value);
    }

    /// Sets an argument, in place when there is a variable of this name already.
    pub(crate) fn set_arg(&mut self, name: &str, value: &str) {
        let list =
            if self.env.iter().any(|(known, _)| known == name) { &mut self.env } else { &mut self.args };
        set(list, name, value);
    }

    pub(crate) fn expand(&self, text: &str) -> Result<String, Fault> {
        words::expand(text, self.escape, &|name| self.get(name))
    }
}

fn set(list: &mut Vec<(String, String)>, name: &str, value: &str) {
    match list.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value.into(),
        None => list.push((name.into(), value.into())),
    }
}
