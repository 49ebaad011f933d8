//! Repositories as sources of files: which commit a reference means, and its files.
//!
//! git itself runs in a process that the caller of the build starts ([`Git`]), with an environment of its own: no configuration of the
//! user or the machine, no hooks, no protocol that reads files of this machine, no questions.

use std::ffi::{CStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, Timespec, Timestamps};

use super::address::{Elsewhere, Fact};
use super::bounded::bounded;
use super::options::{Git, GitCall};
use super::place::Place;
use super::source::SourceTree;
use crate::dockerfile::{GitSource, Ignore};
use crate::error::{At, Error, ErrorKind, Result, escape};
use crate::fs::dirents::Names;
use crate::fs::root::open_dir_at;
use crate::fs::stat::stat_at;
use crate::fs::{Kind, Root};

const OP: &str = "fetch repository";
/// How deep directories of a repository may be.
const MAX_DEPTH: usize = 256;
/// The settings of every call.
const SETTINGS: [(&str, &str); 15] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.symlinks", "true"),
    ("credential.helper", ""),
    ("fetch.fsckObjects", "true"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    ("init.defaultBranch", "main"),
    ("submodule.recurse", "false"),
    // Where git's own directory is kept, it has the same bytes each time.
    ("core.logAllRefUpdates", "false"),
    ("pack.threads", "1"),
];

/// The command by which git starts ssh: without the user's settings, and with no other keys than those of an agent that the
/// build was given.
const SSH: &str = "ssh -F none -oBatchMode=yes -oStrictHostKeyChecking=yes -oPermitLocalCommand=no -oIdentityFile=none \
    -oPreferredAuthentications=publickey -oForwardAgent=no";

/// A commit of a repository.
#[derive(Debug)]
pub(super) struct Repository {
    source: GitSource,
    commit: String,
    keep_git_dir: bool,
    files: Option<SourceTree>,
}

impl Repository {
    /// Returns the files, once they were fetched.
    pub(super) fn into_files(self) -> Result<SourceTree> {
        self.files.ok_or_else(|| Error::new(ErrorKind::Internal, OP, "no files"))
    }

    /// Returns the address and the commit.
    pub(super) fn fact(&self) -> Fact {
        Fact::commit(&self.source.address, &self.commit)
    }

    /// Returns the cache key of the files, by the commit.
    pub(super) fn key(&self) -> String {
        let GitSource { subdir, submodules, .. } = &self.source;
        format!("git {} {subdir:?} {} {}", self.commit, self.keep_git_dir, submodules.unwrap_or(true))
    }
}

impl Elsewhere<'_> {
    /// Finds the commit that a reference means now.
    pub(super) fn repository(&self, source: &GitSource, keep_git_dir: bool) -> Result<Repository> {
        let keep_git_dir = source.keep_git_dir.unwrap_or(keep_git_dir);
        let commit = match source.commit() {
            Some(commit) => commit.to_string(),
            None => self.resolve(source)?,
        };
        if let Some(wanted) = source.checksum.as_ref().filter(|wanted| !commit.starts_with(*wanted)) {
            let message = format!("the commit is {commit}, not {wanted}");
            return Err(Error::corrupt(OP, message).with_path(&source.address));
        }
        Ok(Repository { source: source.clone(), commit, keep_git_dir, files: None })
    }

    /// Returns the files of a commit.
    pub(super) fn files<'r>(&self, repository: &'r mut Repository) -> Result<&'r mut SourceTree> {
        if repository.files.is_none() {
            repository.files = Some(self.fetch(repository)?);
        }
        repository.files.as_mut().ok_or_else(|| Error::new(ErrorKind::Internal, OP, "no files"))
    }

    fn resolve(&self, source: &GitSource) -> Result<String> {
        let (place, _root) = Place::new(self.store)?;
        let asked = source.reference.as_deref().unwrap_or("HEAD");
        let peeled = format!("{asked}^{{}}");
        let answer = self.git(place.path(), source, &["ls-remote", "--", &source.address, asked, &peeled])?;
        let mut found: Vec<(&str, &str)> = Vec::new();
        for line in answer.lines() {
            if let Some((commit, name)) = line.split_once('\t').filter(|(commit, _)| is_commit(commit)) {
                found.push((commit, name));
            }
        }
        // As gitrevisions(7) has it: the full name, a tag, a branch. What an annotated tag stands for is the commit.
        let names = [asked.to_string(), format!("refs/tags/{asked}"), format!("refs/heads/{asked}")];
        for name in names {
            for name in [format!("{name}^{{}}"), name] {
                if let Some((commit, _)) = found.iter().find(|(_, known)| *known == name) {
                    return Ok(commit.to_string());
                }
            }
        }
        Err(Error::not_found(OP, format!("the repository has no {}", escape(asked.as_bytes())))
            .with_path(&source.address)
            .with_hint("name a branch, a tag, or a commit with all of its 40 digits"))
    }

    fn fetch(&self, repository: &Repository) -> Result<SourceTree> {
        let Repository { source, commit, keep_git_dir, .. } = repository;
        let (place, root) = Place::new(self.store)?;
        let dir = place.path();
        let git = |arguments: &[&str]| self.git(dir, source, arguments);
        git(&["init", "-q", "--template=", "."])?;
        git(&["remote", "add", "--", "origin", &source.address])?;
        let alone = git(&["fetch", "-q", "--depth=1", "--no-tags", "--", "origin", commit]);
        if let Err(error) = alone {
            // Some servers give nothing but what has a name.
            self.control.check(OP)?;
            let all = ["fetch", "-q", "--tags", "--", "origin", "+refs/heads/*:refs/remotes/origin/*"];
            git(&all).map_err(|_| error)?;
        }
        git(&["checkout", "-q", "--detach", commit, "--"])?;
        let here = git(&["rev-parse", "--verify", "HEAD^{commit}"])?;
        if here.trim() != commit {
            let message =
                format!("the repository gave the commit {}, not {commit}", escape(here.trim().as_bytes()));
            return Err(Error::corrupt(OP, message).with_path(&source.address));
        }
        if source.submodules.unwrap_or(true) && has(&root, c".gitmodules") {
            git(&["submodule", "update", "-q", "--init", "--recursive", "--checkout", "--depth=1"])?;
        }
        if *keep_git_dir {
            self.settle_git_dir(dir, source, &root)?;
        }
        let time = git(&["show", "-s", "--no-show-signature", "--format=%ct", commit])?;
        let time = time.trim().parse::<i64>().ok().filter(|time| *time >= 0).unwrap_or(0);
        settle(root.as_fd(), *keep_git_dir, time, 0).at(OP, &source.address)?;
        let shown = |path: &str| format!("{}:{path}", source.address);
        let root = match &source.subdir {
            None => root,
            Some(subdir) => {
                let below = root.open_dir(subdir.trim_start_matches('/').as_bytes()).map_err(|error| {
                    Error::io(OP, shown(subdir), error).with_hint("name a directory of the repository")
                })?;
                Root::from_fd(below, dir.join(subdir.trim_start_matches('/')))
            }
        };
        let ignore = match keep_git_dir {
            true => Ignore::default(),
            false => Ignore::parse(b"", b"**/.git")?,
        };
        let mut tree = SourceTree::directory(Arc::new(root), ignore, None, None)?;
        tree.name = shown(source.subdir.as_deref().unwrap_or_default());
        Ok(tree.within(place))
    }

    /// Makes git's own directory the same each time: packs of what there is, an index that has seen no file, nothing about the fetch.
    /// Those of submodules stay as they are.
    fn settle_git_dir(&self, dir: &Path, source: &GitSource, root: &Root) -> Result<()> {
        let git = |arguments: &[&str]| self.git(dir, source, arguments);
        git(&["repack", "-q", "-a", "-d", "-f"])?;
        git(&["read-tree", "HEAD"])?;
        let own = root.open_dir(b".git").at(OP, &source.address)?;
        for name in ["FETCH_HEAD", "ORIG_HEAD"] {
            match rustix::fs::unlinkat(&own, name, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(Error::io(OP, &source.address, error)),
            }
        }
        Ok(())
    }

    /// Calls git in a directory. Gives what it printed.
    fn git(&self, dir: &Path, source: &GitSource, arguments: &[&str]) -> Result<String> {
        let Some(Git(run)) = &self.options.git else {
            return Err(Error::new(ErrorKind::Unsupported, OP, "this build starts no git")
                .with_path(&source.address)
                .with_hint("clone the repository first, and build its directory"));
        };
        let mut settings: Vec<(String, String)> =
            SETTINGS.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        // From what is encrypted nothing leads to what is not, neither a redirect nor a submodule; what is not may be answered by anybody,
        // and follows no redirect.
        let secure = !["http://", "git://"].iter().any(|scheme| source.address.starts_with(scheme));
        let mut redirects = secure;
        if let Some((place, header)) = self.git_authorization(&source.address)? {
            settings.push((format!("http.{place}.extraHeader"), format!("Authorization: {header}")));
            // The header would go along.
            redirects = false;
        }
        if !redirects {
            settings.push(("http.followRedirects".into(), "false".into()));
        }
        let text = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let mut environment = vec![
            // Not the user's, and nothing that the repository fills.
            text("HOME", "/dev/null"),
            (
                OsString::from("GIT_CEILING_DIRECTORIES"),
                dir.parent().unwrap_or(dir).as_os_str().to_os_string(),
            ),
            text("GIT_CONFIG_NOSYSTEM", "1"),
            text("GIT_CONFIG_GLOBAL", "/dev/null"),
            text("GIT_ATTR_NOSYSTEM", "1"),
            text("GIT_TERMINAL_PROMPT", "0"),
            text("GIT_ASKPASS", "/bin/false"),
            text("SSH_ASKPASS", "/bin/false"),
            text("GIT_SSH_COMMAND", SSH),
            // Neither files of this machine nor helpers of other names (git-remote-ext).
            text("GIT_ALLOW_PROTOCOL", if secure { "https:ssh" } else { "https:http:git:ssh" }),
            text("LC_ALL", "C"),
            text("GIT_CONFIG_COUNT", &settings.len().to_string()),
        ];
        for (number, (name, value)) in settings.iter().enumerate() {
            environment.push(text(&format!("GIT_CONFIG_KEY_{number}"), name));
            environment.push(text(&format!("GIT_CONFIG_VALUE_{number}"), value));
        }
        #[cfg(feature = "sandbox")]
        if let Some(agent) = self.options.agents.iter().rev().find(|agent| agent.id == "default") {
            environment.push((OsString::from("SSH_AUTH_SOCK"), agent.socket.clone().into_os_string()));
        }
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        self.control.check(OP)?;
        let cap = self.store.limits().blob_bytes;
        let answer = bounded(OP, dir, cap, &self.control.cancel, |cancel| {
            run(&GitCall { directory: dir, arguments: &arguments, environment: &environment, cancel })
        });
        let answer = answer.map_err(|error| match error.kind() {
            ErrorKind::Limit => error.with_path(&source.address),
            _ => error,
        })?;
        self.control.check(OP)?;
        if !answer.success {
            let said = String::from_utf8_lossy(&answer.errors);
            let line = said.lines().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
            let line = line.or(said.lines().next_back()).unwrap_or("git failed");
            let line: String = line.chars().take(500).collect();
            return Err(
                Error::new(ErrorKind::Network, OP, escape(line.as_bytes())).with_path(&source.address)
            );
        }
        Ok(String::from_utf8_lossy(&answer.output).into_owned())
    }

    /// Returns the credentials that a server asks for, and the place that they are for: a secret `GIT_AUTH_HEADER` or
    /// `GIT_AUTH_TOKEN`, with `.HOST` behind it for one host.
    #[cfg(feature = "registry")]
    fn git_authorization(&self, address: &str) -> Result<Option<(String, String)>> {
        use base64::Engine as _;
        let Some((scheme, rest)) = address.split_once("://").filter(|(scheme, _)| scheme.starts_with("http"))
        else {
            return Ok(None);
        };
        let host = rest.split('/').next().unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let place = format!("{scheme}://{host}/");
        let is_kept = crate::registry::Location::parse(&place).is_ok_and(|it| it.origin().keeps_secrets());
        for suffix in [format!(".{host}"), format!(".{name}"), String::new()] {
            let header = self.secret(&format!("GIT_AUTH_HEADER{suffix}"))?;
            let token = self.secret(&format!("GIT_AUTH_TOKEN{suffix}"))?;
            let basic = |token: String| {
                let pair = format!("x-access-token:{token}");
                format!("basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            };
            let Some(header) = header.or(token.map(basic)) else { continue };
            if !is_kept {
                let message = format!("the secret for {host} is not sent without encryption");
                return Err(Error::invalid(OP, message).with_path(address).with_hint("use https"));
            }
            return Ok(Some((place, header)));
        }
        Ok(None)
    }
}

#[cfg(not(feature = "registry"))]
impl Elsewhere<'_> {
    fn git_authorization(&self, _: &str) -> Result<Option<(String, String)>> {
        Ok(None)
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn has(root: &Root, name: &CStr) -> bool {
    stat_at(root, name).is_ok_and(|stat| stat.kind == Kind::File)
}

/// Gives everything the modes that git keeps, whatever the umask was, and the time of the commit.
fn settle(dir: impl AsFd, keep_git_dir: bool, time: i64, depth: usize) -> std::io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(std::io::Error::other(format!("directories are more than {MAX_DEPTH} deep")));
    }
    let dir = dir.as_fd();
    let mut names = Names::default();
    names.read(dir)?;
    let stamp = Timespec { tv_sec: time, tv_nsec: 0 };
    let times = Timestamps { last_access: stamp, last_modification: stamp };
    for at in 0..names.len() {
        let name = names.get(at);
        if name == c".git" && !keep_git_dir {
            continue;
        }
        let stat = stat_at(dir, name)?;
        match stat.kind {
            Kind::Directory => {
                let below: OwnedFd = open_dir_at(dir, name)?;
                settle(&below, keep_git_dir, time, depth + 1)?;
            }
            Kind::File => {
                let mode = if stat.mode & 0o100 != 0 { 0o755 } else { 0o644 };
                rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
            }
            _ => {}
        }
        rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    rustix::fs::fchmod(dir, Mode::from_raw_mode(0o755))?;
    rustix::fs::futimens(dir, &times)?;
    Ok(())
}
