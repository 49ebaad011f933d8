//! A registry of ours, in memory: it follows the distribution-spec, and lies, cuts and stalls when a test says so.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use treering::Digest;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its place among all requests, from 0.
    pub number: usize,
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.target.contains(part)
    }

    fn query(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.replace("%3A", ":").replace("%2F", "/").replace("%20", " "))
    }
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16) -> Answer {
        Answer { status, ..Answer::default() }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Answer {
        self.body = body.into();
        self
    }

    pub fn error(status: u16, code: &str) -> Answer {
        Answer::new(status)
            .body(format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"said the fake\"}}]}}"))
    }
}

/// An act in place of the usual answer.
#[derive(Debug, Clone)]
pub enum Act {
    /// This answer; the request has no other effect.
    Say(Answer),
    /// The usual answer, changed.
    Change(fn(Answer) -> Answer),
    /// The usual answer, its body cut after so many bytes and the connection closed.
    Cut(usize),
    /// So many bytes of the usual answer, and then nothing until the test ends.
    Hold(usize),
    /// The connection is closed before the request's body was read beyond so many bytes; they count as received.
    CutRequest(usize),
    /// The request is carried out, and the connection closed without an answer.
    Forget,
    /// The connection is closed at once.
    Close,
    /// Nothing is said until the test ends.
    Stall,
    /// A body without an end.
    Endless(Answer),
}

type Rule = dyn Fn(&Seen) -> Option<Act> + Send + Sync;

/// The way that requests are let in.
#[derive(Debug, Clone, Default)]
pub enum Door {
    #[default]
    Open,
    /// This header value is needed.
    Basic(String),
    /// A token of this realm is needed; `/token` gives them to this Basic header, or to everyone when it is empty.
    Bearer { realm: String, basic: String },
}

#[derive(Default)]
pub struct State {
    pub blobs: HashMap<(String, String), Vec<u8>>,
    pub manifests: HashMap<(String, String), (String, Vec<u8>)>,
    uploads: HashMap<String, Vec<u8>>,
    pub log: Vec<Seen>,
    pub door: Door,
    /// Whether subjects are understood.
    pub referrers: bool,
    /// The least size of a chunk that is not the last.
    pub min_chunk: usize,
    /// Whether chunks are hashed and not kept; what became of that, by digest and size.
    pub discard: bool,
    pub discarded: Vec<(String, u64)>,
    sinks: HashMap<String, (sha2::Sha256, u64)>,
    /// Blobs of any repository that end in zeros: what they begin with, and their size.
    pub zeros: HashMap<String, (Vec<u8>, u64)>,
    /// How long the server waits between two pieces of those.
    pub pause: Option<Duration>,
    /// How many tags a page has.
    pub page: usize,
    counter: usize,
}

/// A server that runs until the value is dropped.
pub struct Fake {
    pub port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    rule: Mutex<Arc<Rule>>,
    stop: AtomicBool,
    tls: Option<Arc<rustls::ServerConfig>>,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Fake {
    pub fn start() -> Fake {
        Fake::start_with(None)
    }

    /// Starts one that speaks TLS with this certificate and key, in PEM.
    pub fn start_with(certificate: Option<(&str, &str)>) -> Fake {
        let tls = certificate.map(|(chain, key)| {
            use rustls::pki_types::pem::PemObject;
            use rustls::pki_types::{CertificateDer, PrivateKeyDer};
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = rustls::ServerConfig::builder_with_provider(provider);
            let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
            Arc::new(builder.with_single_cert(chain, key).unwrap())
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            state: Mutex::new(State { page: 1000, ..State::default() }),
            rule: Mutex::new(Arc::new(|_| None)),
            stop: AtomicBool::new(false),
            tls,
        });
        let inner = shared.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if inner.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), inner) = (stream, inner.clone()) else { continue };
                std::thread::spawn(move || inner.serve(stream));
            }
        });
        Fake { port, shared, thread: Some(thread) }
    }

    /// Returns a name at this registry.
    pub fn name(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Returns the address of a path here.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}{path}", self.port)
    }

    /// Sets the rule for requests from now on; the log begins anew.
    pub fn rule(&self, rule: impl Fn(&Seen) -> Option<Act> + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = Arc::new(rule);
        self.with(|state| state.log.clear());
    }

    pub fn with<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.shared.state.lock().unwrap())
    }

    /// Returns the requests since the last rule.
    pub fn log(&self) -> Vec<Seen> {
        self.with(|state| state.log.clone())
    }

    /// Returns how many requests carried an Authorization header.
    pub fn credentials_seen(&self) -> usize {
        self.log().iter().filter(|seen| !seen.header("authorization").is_empty()).count()
    }

    /// Puts a blob in.
    pub fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes).to_string();
        self.with(|state| state.blobs.insert((repository.into(), digest.clone()), bytes.to_vec()));
        digest
    }

    /// Puts a manifest in, under a tag and its digest.
    pub fn manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes).to_string();
        self.with(|state| {
            for reference in [tag, &digest] {
                let key = (repository.to_string(), reference.to_string());
                state.manifests.insert(key, (media_type.to_string(), bytes.to_vec()));
            }
        });
        digest
    }

    pub fn tag(&self, repository: &str, tag: &str) -> Option<Vec<u8>> {
        self.with(|state| {
            state.manifests.get(&(repository.into(), tag.into())).map(|(_, bytes)| bytes.clone())
        })
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().unwrap().join();
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let stream: Box<dyn Stream> = match &self.tls {
            Some(config) => {
                let connection = rustls::ServerConnection::new(config.clone()).unwrap();
                Box::new(rustls::StreamOwned::new(connection, stream))
            }
            None => Box::new(stream),
        };
        let mut stream = BufReader::new(stream);
        while let Some(true) = self.one(&mut stream) {}
    }

    /// Handles one request; whether another one may follow.
    fn one(&self, stream: &mut BufReader<Box<dyn Stream>>) -> Option<bool> {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
        words.next().filter(|version| version.starts_with("HTTP/1."))?;
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
        }
        let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
        let mut seen = Seen { number: 0, method, target, headers, body: Vec::new() };
        self.with(|state| {
            seen.number = state.log.len();
            state.log.push(seen.clone());
        });
        let rule = self.rule.lock().unwrap().clone();
        let act = rule(&seen);
        match &act {
            Some(Act::Close) => return None,
            Some(Act::CutRequest(most)) => {
                let mut body = vec![0; length.min(*most)];
                stream.read_exact(&mut body).ok()?;
                seen.body = body;
                self.with(|state| state.keep_part(&seen));
                return None;
            }
            _ => {}
        }
        if let Some(answer) = self.discard(&seen, stream, length as u64) {
            self.write(stream, &answer, &[], true)?;
            return Some(true);
        }
        if act.is_none()
            && let Some(sent) = self.send_zeros(&seen, stream)
        {
            return Some(sent);
        }
        let read = stream.take(length as u64).read_to_end(&mut seen.body);
        self.with(|state| {
            if let Some(logged) = state.log.get_mut(seen.number) {
                logged.body.clone_from(&seen.body);
            }
        });
        if read.is_err() || seen.body.len() < length {
            self.with(|state| state.keep_part(&seen));
            return None;
        }
        let seen = &seen;
        let usual = || self.with(|state| state.answer(seen));
        let (answer, cut) = match act {
            None => (usual(), None),
            Some(Act::Say(answer)) => (answer, None),
            Some(Act::Change(change)) => (change(usual()), None),
            Some(Act::Cut(at)) => (usual(), Some(at)),
            Some(Act::Hold(at)) => {
                let answer = usual();
                self.write(stream, &answer, &answer.body[..at.min(answer.body.len())], true)?;
                self.wait_for_the_end();
                return None;
            }
            Some(Act::Forget) => {
                usual();
                return None;
            }
            Some(Act::Stall) => {
                self.wait_for_the_end();
                return None;
            }
            Some(Act::Endless(answer)) => {
                self.write(stream, &answer.with("transfer-encoding", "chunked"), &[], false)?;
                let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
                while !self.stop.load(Ordering::Relaxed) {
                    stream.get_mut().write_all(&chunk).ok()?;
                }
                return None;
            }
            Some(Act::Close | Act::CutRequest(_)) => unreachable!(),
        };
        let head = seen.method == "HEAD";
        let body = answer.body.clone();
        let whole = if head { &[][..] } else { &body[..] };
        let part = cut.map_or(whole, |at| &whole[..at.min(whole.len())]);
        self.write(stream, &answer, part, true)?;
        Some(cut.is_none())
    }

    fn wait_for_the_end(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Takes a chunk without keeping it.
    fn discard(&self, seen: &Seen, stream: &mut BufReader<Box<dyn Stream>>, length: u64) -> Option<Answer> {
        use sha2::Digest as _;
        let path = seen.target.split('?').next().unwrap();
        let id = path.rsplit('/').next().unwrap().to_string();
        let (mut hasher, mut size) = match seen.method.as_str() {
            "PATCH" if self.with(|state| state.discard) => {
                self.with(|state| state.sinks.remove(&id)).unwrap_or_default()
            }
            "PUT" if length == 0 => {
                let (hasher, size) = self.with(|state| state.sinks.remove(&id))?;
                let hash: [u8; 32] = hasher.finalize().into();
                let digest = Digest::from_bytes(hash).to_string();
                assert_eq!(Some(&digest), seen.query("digest").as_ref());
                let repository = path.strip_prefix("/v2/")?.split_once("/blobs/")?.0.to_string();
                self.with(|state| {
                    state.discarded.push((digest.clone(), size));
                    state.blobs.insert((repository, digest), Vec::new());
                });
                return Some(Answer::new(201));
            }
            _ => return None,
        };
        let mut buffer = vec![0; 128 << 10];
        let mut left = length;
        while left > 0 {
            let most = buffer.len().min(left as usize);
            let n = stream.read(&mut buffer[..most]).ok().filter(|n| *n > 0)?;
            hasher.update(&buffer[..n]);
            (size, left) = (size + n as u64, left - n as u64);
        }
        self.with(|state| state.sinks.insert(id, (hasher, size)));
        let range = format!("0-{}", size - 1);
        Some(Answer::new(202).with("location", format!("{path}?state=x")).with("range", range))
    }

    /// Sends a blob that ends in zeros; whether another request may follow.
    fn send_zeros(&self, seen: &Seen, stream: &mut BufReader<Box<dyn Stream>>) -> Option<bool> {
        let digest = seen.target.split_once("/blobs/").filter(|_| seen.method == "GET")?.1;
        let ((head, size), pause) =
            self.with(|state| Some((state.zeros.get(digest)?.clone(), state.pause)))?;
        let answer = Answer::new(200).with("content-length", size.to_string());
        let zeros = vec![0; 128 << 10];
        let mut left = size;
        let sent = self.write(stream, &answer, &[], true).and_then(|()| {
            let stream = stream.get_mut();
            let mut head = head.as_slice();
            while left > 0 && !self.stop.load(Ordering::Relaxed) {
                let from = if head.is_empty() { &zeros[..] } else { head };
                let n = from.len().min(64 << 10).min(left as usize);
                stream.write_all(&from[..n]).ok()?;
                if !head.is_empty() {
                    head = &head[n..];
                }
                left -= n as u64;
                pause.iter().for_each(|pause| std::thread::sleep(*pause));
            }
            stream.flush().ok()
        });
        Some(sent.is_some() && left == 0)
    }

    fn with<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap())
    }

    fn write(
        &self,
        stream: &mut BufReader<Box<dyn Stream>>,
        answer: &Answer,
        body: &[u8],
        sized: bool,
    ) -> Option<()> {
        let mut head = format!("HTTP/1.1 {} Whatever\r\n", answer.status);
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let given = answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if sized && !given {
            head += &format!("content-length: {}\r\n", answer.body.len());
        }
        let stream = stream.get_mut();
        stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
        stream.write_all(body).ok()?;
        stream.flush().ok()
    }
}

impl State {
    /// Returns how many uploads are neither finished nor cancelled.
    pub fn open_uploads(&self) -> usize {
        self.uploads.len()
    }

    /// Changes a byte of every upload that is not finished.
    pub fn spoil_uploads(&mut self) {
        self.uploads.values_mut().filter_map(|bytes| bytes.first_mut()).for_each(|byte| *byte ^= 1);
    }

    fn answer(&mut self, seen: &Seen) -> Answer {
        let path = seen.target.split('?').next().unwrap();
        if path == "/token" {
            return self.token(seen);
        }
        if let Some(refused) = self.refuse(seen) {
            return refused;
        }
        if path == "/v2/" {
            return Answer::new(200).body("{}");
        }
        let Some(rest) = path.strip_prefix("/v2/") else { return self.file(path) };
        if let Some((repository, digest)) = rest.split_once("/blobs/sha256:") {
            return self.get_blob(seen, repository, &format!("sha256:{digest}"));
        }
        if let Some((repository, id)) = rest.split_once("/blobs/uploads/") {
            return if id.is_empty() {
                self.start(seen, repository)
            } else {
                self.upload(seen, repository, id)
            };
        }
        if let Some((repository, reference)) = rest.split_once("/manifests/") {
            return match seen.method.as_str() {
                "PUT" => self.put_manifest(seen, repository, reference),
                _ => self.get_manifest(repository, reference),
            };
        }
        if let Some((repository, _)) = rest.split_once("/tags/list") {
            return self.tags(seen, repository);
        }
        Answer::error(404, "NAME_UNKNOWN")
    }

    /// Returns what is at a plain address: blobs of the repository `files`.
    fn file(&self, path: &str) -> Answer {
        let digest = path.trim_start_matches('/');
        match self.blobs.get(&("files".to_string(), digest.to_string())) {
            Some(bytes) => Answer::new(200).body(bytes.clone()),
            None => Answer::new(404),
        }
    }

    fn token(&self, seen: &Seen) -> Answer {
        let Door::Bearer { basic, .. } = &self.door else { return Answer::new(404) };
        let refresh =
            seen.method == "POST" && seen.body.windows(18).any(|part| part == b"refresh_token=good");
        if !refresh && !basic.is_empty() && seen.header("authorization") != basic {
            return Answer::error(401, "UNAUTHORIZED");
        }
        Answer::new(200).body("{\"token\":\"good\",\"expires_in\":300}")
    }

    fn refuse(&self, seen: &Seen) -> Option<Answer> {
        let given = seen.header("authorization");
        match &self.door {
            Door::Open => None,
            Door::Basic(wanted) => (given != wanted)
                .then(|| Answer::error(401, "UNAUTHORIZED").with("www-authenticate", "Basic realm=\"fake\"")),
            Door::Bearer { realm, .. } => (given != "Bearer good").then(|| {
                let challenge =
                    format!("Bearer realm=\"{realm}\",service=\"fake\",scope=\"repository:x:pull\"");
                Answer::error(401, "UNAUTHORIZED").with("www-authenticate", challenge)
            }),
        }
    }

    fn get_blob(&self, seen: &Seen, repository: &str, digest: &str) -> Answer {
        let Some(bytes) = self.blobs.get(&(repository.into(), digest.into())) else {
            return Answer::error(404, "BLOB_UNKNOWN");
        };
        let from = seen.header("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        match from.and_then(|from| from.parse::<usize>().ok()) {
            Some(from) if from < bytes.len() => Answer::new(206)
                .with("content-range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()))
                .body(&bytes[from..]),
            Some(_) => Answer::new(416),
            None => Answer::new(200).with("docker-content-digest", digest).body(bytes.clone()),
        }
    }

    fn start(&mut self, seen: &Seen, repository: &str) -> Answer {
        if let (Some(digest), Some(from)) = (seen.query("mount"), seen.query("from"))
            && let Some(bytes) = self.blobs.get(&(from, digest.clone())).cloned()
        {
            self.blobs.insert((repository.into(), digest), bytes);
            return Answer::new(201);
        }
        self.counter += 1;
        let id = format!("u{}", self.counter);
        self.uploads.insert(id.clone(), Vec::new());
        let answer =
            Answer::new(202).with("location", format!("/v2/{repository}/blobs/uploads/{id}?state=x"));
        match self.min_chunk {
            0 => answer,
            least => answer.with("oci-chunk-min-length", least.to_string()),
        }
    }

    /// Keeps what arrived of a chunk after its connection broke.
    fn keep_part(&mut self, seen: &Seen) {
        let id = seen.target.split('?').next().unwrap().rsplit('/').next().unwrap();
        if let Some(bytes) = self.uploads.get_mut(id).filter(|_| seen.method == "PATCH") {
            bytes.extend_from_slice(&seen.body);
        }
    }

    fn upload(&mut self, seen: &Seen, repository: &str, id: &str) -> Answer {
        let Some(bytes) = self.uploads.get_mut(id) else { return Answer::error(404, "BLOB_UPLOAD_UNKNOWN") };
        let place = format!("/v2/{repository}/blobs/uploads/{id}?state=x");
        let range = |len: usize| format!("0-{}", len.saturating_sub(1));
        match seen.method.as_str() {
            "GET" => Answer::new(204).with("location", place).with("range", range(bytes.len())),
            "PATCH" => {
                let start = seen.header("content-range").split('-').next().unwrap().parse::<usize>().unwrap();
                if start != bytes.len() {
                    return Answer::new(416).with("range", range(bytes.len()));
                }
                bytes.extend_from_slice(&seen.body);
                Answer::new(202).with("location", place).with("range", range(bytes.len()))
            }
            "PUT" => {
                let digest = seen.query("digest").unwrap();
                bytes.extend_from_slice(&seen.body);
                if Digest::of(bytes).to_string() != digest {
                    return Answer::error(400, "DIGEST_INVALID");
                }
                let bytes = self.uploads.remove(id).unwrap();
                self.blobs.insert((repository.into(), digest.clone()), bytes);
                Answer::new(201).with("docker-content-digest", digest)
            }
            "DELETE" => {
                self.uploads.remove(id);
                Answer::new(204)
            }
            _ => Answer::new(405),
        }
    }

    fn get_manifest(&self, repository: &str, reference: &str) -> Answer {
        match self.manifests.get(&(repository.into(), reference.into())) {
            Some((media_type, bytes)) => Answer::new(200)
                .with("content-type", media_type.clone())
                .with("docker-content-digest", Digest::of(bytes).to_string())
                .body(bytes.clone()),
            None => Answer::error(404, "MANIFEST_UNKNOWN"),
        }
    }

    fn put_manifest(&mut self, seen: &Seen, repository: &str, reference: &str) -> Answer {
        let value: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        // A registry takes no manifest while it lacks parts of it.
        let list = |name: &str| value[name].as_array().cloned().unwrap_or_default();
        for blob in list("layers").iter().chain([&value["config"]]).filter(|blob| !blob.is_null()) {
            let foreign = blob["mediaType"].as_str().is_some_and(|text| text.contains("nondistributable"));
            let key = (repository.to_string(), blob["digest"].as_str().unwrap().to_string());
            if !foreign && !self.blobs.contains_key(&key) {
                return Answer::error(404, "MANIFEST_BLOB_UNKNOWN");
            }
        }
        for child in list("manifests") {
            let key = (repository.to_string(), child["digest"].as_str().unwrap().to_string());
            if !self.manifests.contains_key(&key) {
                return Answer::error(404, "MANIFEST_UNKNOWN");
            }
        }
        let digest = Digest::of(&seen.body).to_string();
        for reference in [reference, &digest] {
            let document = (seen.header("content-type").to_string(), seen.body.clone());
            self.manifests.insert((repository.into(), reference.into()), document);
        }
        let answer = Answer::new(201).with("docker-content-digest", digest);
        match value["subject"]["digest"].as_str().filter(|_| self.referrers) {
            Some(subject) => answer.with("oci-subject", subject),
            None => answer,
        }
    }

    fn tags(&self, seen: &Seen, repository: &str) -> Answer {
        let mut tags: Vec<&str> = self
            .manifests
            .keys()
            .filter(|(known, reference)| known == repository && !reference.contains(':'))
            .map(|(_, tag)| tag.as_str())
            .collect();
        tags.sort();
        let last = seen.query("last").unwrap_or_default();
        let rest: Vec<&str> = tags.into_iter().filter(|tag| *tag > last.as_str()).collect();
        let page: Vec<&str> = rest.iter().copied().take(self.page).collect();
        let body = serde_json::json!({ "name": repository, "tags": page });
        let answer = Answer::new(200).body(body.to_string());
        match page.last().filter(|_| rest.len() > page.len()) {
            Some(last) => {
                answer.with("link", format!("</v2/{repository}/tags/list?last={last}>; rel=\"next\""))
            }
            None => answer,
        }
    }
}
