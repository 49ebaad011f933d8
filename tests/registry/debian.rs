//! Debian's `docker-registry` on the loopback address: plain, with TLS, with passwords.

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::tools::need;
use support::{Scratch, sh};

/// `user` with the password `secret`, as htpasswd -B writes it.
const PASSWORDS: &str = "user:$2y$05$1t6mB6C4zFK3Dg3jtUXoKOR49T/IMFhYGMMtAENAF57pSnLkPIdDq\n";

/// A registry that runs until the value is dropped.
pub struct Debian {
    child: Child,
    pub port: u16,
    pub scratch: Scratch,
}

/// The configuration of the registry.
#[derive(Default, Clone, Copy)]
pub struct Setup {
    pub tls: bool,
    pub passwords: bool,
}

impl Debian {
    /// Starts one; `None` where this machine has none.
    pub fn start(setup: Setup) -> Option<Debian> {
        if !need("docker-registry", &["--version"]) || setup.tls && !need("openssl", &["version"]) {
            return None;
        }
        let scratch = Scratch::new();
        // Another process may take the port between here and there; then the next one does.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut text = format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: false}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n",
                scratch.join("data").display()
            );
            if setup.passwords {
                std::fs::write(scratch.join("htpasswd"), PASSWORDS).unwrap();
                text += &format!(
                    "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                    scratch.join("htpasswd").display()
                );
            }
            text += &format!("http: {{addr: '127.0.0.1:{port}'");
            if setup.tls {
                certificates(scratch.path());
                let (cert, key) = (scratch.join("server.pem"), scratch.join("server.key"));
                text += &format!(", tls: {{certificate: {}, key: {}}}", cert.display(), key.display());
            }
            text += "}\n";
            let config = scratch.join("config.yml");
            File::create(&config).unwrap().write_all(text.as_bytes()).unwrap();
            let log = File::create(scratch.join("log")).unwrap();
            let mut child = Command::new("docker-registry")
                .arg("serve")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(20) && child.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(Debian { child, port, scratch });
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("docker-registry does not start: {}", std::fs::read_to_string(scratch.join("log")).unwrap());
    }

    /// Returns a name at this registry.
    pub fn name(&self, name: &str) -> String {
        format!("localhost:{}/{name}", self.port)
    }

    /// Returns the certificate authority, where there is TLS.
    pub fn ca(&self) -> PathBuf {
        self.scratch.join("ca.pem")
    }

    /// Returns the requests so far, as `METHOD PATH STATUS`.
    pub fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.scratch.join("log")).unwrap();
        let line = |line: &str| {
            let mut parts = line.split('"');
            let (_, request, status) = (parts.next()?, parts.next()?, parts.next()?);
            let mut words = request.split(' ');
            let (method, path) = (words.next()?, words.next()?);
            words.next().filter(|version| version.starts_with("HTTP/"))?;
            Some(format!("{method} {path} {}", status.split_whitespace().next()?))
        };
        log.lines().filter_map(line).collect()
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a certificate authority, and a server's certificate for `localhost` by it.
pub fn certificates(dir: &Path) {
    sh(
        dir,
        "set -e
         openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=treering-test 2>/dev/null
         openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost 2>/dev/null
         printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' >ext
         openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.pem 2>/dev/null",
    );
}
