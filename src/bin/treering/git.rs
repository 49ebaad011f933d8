//! git, for builds from repositories.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use treering::build::{Git, GitAnswer, GitCall};
use treering::error::{At, Result};
use treering::{Error, ErrorKind};

const OP: &str = "start git";
/// The most that is kept of either stream.
const MAX_OUTPUT: u64 = 4 << 20;
/// Variables of the environment that git needs to reach servers.
const PASSED: [&str; 12] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];

/// Returns a function that runs git, from the directories of `PATH`.
pub fn runner() -> Git {
    Git(Arc::new(run))
}

fn run(call: &GitCall<'_>) -> Result<GitAnswer> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let places = absolute(&path);
    let program =
        places.iter().map(|directory| directory.join("git")).find(|program| program.is_file()).ok_or_else(
            || {
                Error::new(ErrorKind::NotFound, OP, "there is no git on PATH")
                    .with_hint("install git, or clone first")
            },
        )?;
    let mut command = Command::new(program);
    command.args(call.arguments).current_dir(call.directory).env_clear().env("PATH", joined(&places));
    command.envs(PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(call.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().at(OP, "git")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let output = scope.spawn(|| keep(stdout));
        let errors = scope.spawn(|| keep(stderr));
        let success = wait(&mut child, call);
        let read = |thread: std::thread::ScopedJoinHandle<'_, Vec<u8>>| thread.join().unwrap_or_default();
        Ok(GitAnswer { success: success?, output: read(output), errors: read(errors) })
    })
}

/// Returns the absolute directories of a `PATH`: a relative one would be one of the repository.
fn absolute(path: &OsStr) -> Vec<PathBuf> {
    std::env::split_paths(path).filter(|directory| directory.is_absolute()).collect()
}

/// Returns directories of a `PATH` as one.
fn joined(places: &[PathBuf]) -> OsString {
    // What came out of a PATH has no colon.
    std::env::join_paths(places).unwrap_or_default()
}

/// Reads a stream to its end, and keeps the beginning.
fn keep(stream: Option<impl Read>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return kept };
    let _ = stream.by_ref().take(MAX_OUTPUT).read_to_end(&mut kept);
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
    kept
}

/// Waits for git, and ends it with what it started when the build is cancelled.
fn wait(child: &mut Child, call: &GitCall<'_>) -> Result<bool> {
    let mut pause = Duration::from_millis(1);
    let mut ended = false;
    loop {
        if let Some(status) = child.try_wait().at(OP, "git")? {
            return Ok(status.success());
        }
        if call.cancel.is_cancelled() && !ended {
            ended = true;
            let group = rustix::process::Pid::from_child(child);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_gets_no_relative_directory_of_path() {
        for (path, kept) in [
            ("/usr/bin:bin:/bin", "/usr/bin:/bin"),
            (":/usr/bin::./x:.", "/usr/bin"),
            ("..", ""),
            ("/a", "/a"),
        ] {
            assert_eq!(joined(&absolute(OsStr::new(path))), kept, "{path}");
        }
    }
}
