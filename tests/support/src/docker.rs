//! A Docker engine of a test's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::is_root;
use crate::tools::{missing, need, run};

/// An engine on a socket in a directory, which touches nothing of the machine's network. It ends with the value.
pub struct Engine {
    process: Child,
    socket: String,
}

impl Engine {
    /// Starts an engine that keeps all it has below a directory. `None`, and a line that says so, where none can be started.
    pub fn start(dir: &Path) -> Option<Engine> {
        if !is_root() {
            println!("SKIP-PART docker: an engine of our own needs root; the same test runs as root");
            return None;
        }
        if !need("dockerd", &["--version"]) || !need("docker", &["--version"]) {
            return None;
        }
        let socket = format!("unix://{}", dir.join("docker.sock").display());
        let path = dir.join("dockerd.log");
        let log = std::fs::File::create(&path).unwrap();
        let mut dockerd = Command::new("dockerd");
        dockerd.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "-H", &socket]);
        for (option, name) in
            [("--data-root", "docker-data"), ("--exec-root", "docker-exec"), ("--pidfile", "docker.pid")]
        {
            dockerd.arg(option).arg(dir.join(name));
        }
        dockerd.stdout(log.try_clone().unwrap()).stderr(log);
        let engine = Engine { process: dockerd.spawn().unwrap(), socket };
        for _ in 0..300 {
            if engine.command(&["info"]).output().is_ok_and(|out| out.status.success()) {
                return Some(engine);
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        missing("TOOL", "dockerd", &std::fs::read_to_string(path).unwrap_or_default());
        None
    }

    /// Returns a call of the client.
    pub fn command(&self, args: &[&str]) -> Command {
        // That of the distribution, where there is one: it has a BuildKit client inside, which others may lack.
        let own: PathBuf = "/usr/bin/docker".into();
        let mut command = Command::new(if own.exists() { own } else { "docker".into() });
        command.args(["-H", &self.socket]).args(args);
        command
    }

    /// Makes a call that has to succeed; gives what it printed.
    pub fn docker(&self, args: &[&str]) -> String {
        run(&mut self.command(args))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.process.id() as i32).expect("a child has an id");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}
