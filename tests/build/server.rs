//! A web server on this machine: files, and git repositories by git's own CGI program.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// A file that is served.
#[derive(Debug, Clone, Default)]
pub struct Served {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A request: its target, and its head in lower case.
pub type Asked = (String, String);

#[derive(Debug, Default)]
struct State {
    files: HashMap<String, Served>,
    asked: Vec<Asked>,
    /// The authorization that repositories ask for.
    wanted: Option<String>,
}

#[derive(Debug)]
pub struct Server {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Serves files, and the repositories below a directory as `/git/…`. It lives as long as the test.
    pub fn start(repositories: &Path) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<Mutex<State>> = Arc::default();
        let (shared, repositories) = (state.clone(), repositories.to_path_buf());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, repositories) = (shared.clone(), repositories.clone());
                std::thread::spawn(move || answer(stream, &state, &repositories));
            }
        });
        Server { port, state }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn put(&self, path: &str, body: &[u8], headers: &[(&str, &str)]) {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let served = Served { status: 200, headers, body: body.to_vec() };
        self.state.lock().unwrap().files.insert(path.into(), served);
    }

    pub fn redirect(&self, path: &str, to: &str) {
        let headers = vec![("location".to_string(), to.to_string())];
        self.state
            .lock()
            .unwrap()
            .files
            .insert(path.into(), Served { status: 302, headers, body: Vec::new() });
    }

    pub fn want(&self, authorization: &str) {
        self.state.lock().unwrap().wanted = Some(authorization.into());
    }

    /// Returns the requests since the last look.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>, repositories: &Path) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(n) if n > 2 => head += &line,
            Ok(2) => break,
            _ => return,
        }
    }
    let header = |name: &str| {
        let wanted = format!("{name}:");
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&wanted));
        line.map(|line| line[wanted.len()..].trim().to_string()).unwrap_or_default()
    };
    let first: Vec<&str> = head.lines().next().unwrap().split(' ').collect();
    let (method, target) = (first[0].to_string(), first[1].to_string());
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let (served, wanted) = {
        let mut state = state.lock().unwrap();
        state.asked.push((target.clone(), head.to_ascii_lowercase()));
        (state.files.get(&target).cloned(), state.wanted.clone())
    };
    let write = |stream: &mut TcpStream, status: u16, headers: &[(String, String)], body: &[u8]| {
        let mut out =
            format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
        headers.iter().for_each(|(name, value)| out += &format!("{name}: {value}\r\n"));
        let _ = stream.write_all((out + "\r\n").as_bytes()).and_then(|()| stream.write_all(body));
    };
    if let Some(served) = served {
        let etag = served.headers.iter().find(|(name, _)| name == "etag");
        if etag.is_some_and(|(_, etag)| header("if-none-match") == *etag) {
            return write(&mut stream, 304, &[], b"");
        }
        return write(&mut stream, served.status, &served.headers, &served.body);
    }
    let Some(path) = target.strip_prefix("/git") else { return write(&mut stream, 404, &[], b"") };
    if wanted.is_some_and(|wanted| wanted != header("authorization")) {
        return write(&mut stream, 403, &[], b"");
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut cgi = Command::new("git");
    cgi.arg("http-backend").env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    cgi.env("GIT_PROJECT_ROOT", repositories).env("GIT_HTTP_EXPORT_ALL", "1").env("PATH_INFO", path);
    cgi.env("REQUEST_METHOD", method).env("QUERY_STRING", query).env("REMOTE_ADDR", "127.0.0.1");
    cgi.env("CONTENT_TYPE", header("content-type")).env("CONTENT_LENGTH", body.len().to_string());
    cgi.env("GIT_PROTOCOL", header("git-protocol"));
    cgi.env("HTTP_CONTENT_ENCODING", header("content-encoding"));
    cgi.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
    let mut child = cgi.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&body).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let mut headers = Vec::new();
    let mut status = 200;
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        match name {
            "Status" => status = value[..3].parse().unwrap(),
            _ => headers.push((name.to_string(), value.to_string())),
        }
    }
    write(&mut stream, status, &headers, &output[end + 4..]);
}

/// Returns a repository on the disk, made by the commands of a script.
pub fn repository(dir: &Path, script: &str) -> PathBuf {
    let made = Command::new("sh")
        .args(["-ec", script])
        .current_dir(dir)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_ALLOW_PROTOCOL", "file:http")])
        .envs(["AUTHOR", "COMMITTER"].iter().flat_map(|who| {
            [("NAME", "n"), ("EMAIL", "e@e"), ("DATE", "1000000000 +0000")]
                .map(|(what, value)| (format!("GIT_{who}_{what}"), value))
        }))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    dir.to_path_buf()
}
