//! Connections: sockets with waits that end when the operation is cancelled, name look-up, TLS, proxies.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use ureq::http::Uri;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    RustlsConnector, Transport,
};
use ureq::{Agent, Proxy, ProxyProtocol};

use super::config::TlsFiles;
use super::origin::{Origin, is_localhost};
use super::proxy::{Forward, check_target};
use super::socks::Socks;
use super::tls::explain;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::root::read_small_file;
use crate::progress::Cancel;
use crate::threads;

const CONNECT: &str = "connect to registry";
/// How long a cancelled wait goes on at most.
const PATIENCE: Duration = Duration::from_millis(25);
/// The largest file of certificates.
const MAX_CERTIFICATES: u64 = 8 << 20;
/// The most that the headers of an answer may have.
const MAX_HEADERS: usize = 64 << 10;

/// The settings of connections to an origin.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    /// Whether the user named it: then it may be anywhere. Else a server did, and it must not be on this machine or link.
    pub named: bool,
    /// Whether a server on this machine named it, for which this machine is no secret.
    pub from_loopback: bool,
    /// Whether any certificate is good enough.
    pub insecure: bool,
    /// Certificates beyond the system's.
    pub files: TlsFiles,
    /// The proxy to go through, as an address.
    pub proxy: Option<String>,
    /// How long nothing may come or go before the connection counts as broken.
    pub stall: Duration,
    /// How long connecting to one address may take.
    pub connect: Duration,
}

/// Returns a pool of connections to one origin.
pub(super) fn agent(origin: &Origin, dial: &Dial, roots: &Arc<Roots>, cancel: &Cancel) -> Result<Agent> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_response_header_size(MAX_HEADERS)
        .max_idle_connections(8)
        .max_idle_connections_per_host(8)
        .user_agent(concat!("treering/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .proxy(None);
    if origin.is_secure() {
        config = config.tls_config(tls(origin, dial, roots)?);
    }
    if let Some(proxy) = &dial.proxy {
        check_target(origin, dial)?;
        let unusable = |message: &str| Error::invalid(CONNECT, message).with_path(origin.to_string());
        let proxy = Proxy::new(proxy).map_err(|_| unusable("the proxy's address is not usable"))?;
        if matches!(proxy.protocol(), ProxyProtocol::Socks4 | ProxyProtocol::Socks4A) {
            return Err(unusable("a proxy that speaks SOCKS 4 only is not used")
                .with_hint("socks5:// or socks5h:// names one that speaks SOCKS 5"));
        }
        config = config.proxy(Some(proxy));
    }
    let tcp = || Tcp { cancel: cancel.clone(), stall: dial.stall, connect: dial.connect };
    let names = Names { origin: origin.clone(), dial: dial.clone(), cancel: cancel.clone() };
    let proxied = ().chain(Forward(tcp())).chain(ConnectProxyConnector::default()).chain(Socks(tcp()));
    let chain = proxied.chain(tcp()).chain(RustlsConnector::default());
    Ok(Agent::with_parts(config.build(), chain, names))
}

/// The certificate authorities of the system, read once; or the reason why there are none to trust.
#[derive(Default)]
pub(super) struct Roots(std::sync::OnceLock<Result<Vec<Certificate<'static>>, String>>);

impl Roots {
    /// Returns the certificates that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, else the system's own. A file that the variable names has to be
    /// there; of the others, those that can be read count.
    fn get(&self) -> Result<&[Certificate<'static>]> {
        const FILE: &str = "SSL_CERT_FILE";
        let read = || {
            let found = rustls_native_certs::load_native_certs();
            let of_file = std::env::var_os(FILE)
                .map(|path| rustls_native_certs::load_certs_from_paths(Some(Path::new(&path)), None).errors);
            match of_file.iter().flatten().next() {
                Some(error) => Err(error.to_string()),
                None => Ok(found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect()),
            }
        };
        self.0.get_or_init(read).as_deref().map_err(|reason| {
            let error = Error::invalid("read certificates", reason);
            match std::env::var_os(FILE) {
                Some(path) => error
                    .with_path(path.as_encoded_bytes())
                    .with_hint("SSL_CERT_FILE names the file of certificate authorities to trust"),
                None => error,
            }
        })
    }
}

fn tls(origin: &Origin, dial: &Dial, roots: &Roots) -> Result<TlsConfig> {
    // Reading them takes longer than a request on this machine.
    let mut certificates = if dial.insecure { Vec::new() } else { roots.get()?.to_vec() };
    if let Some(path) = &dial.files.ca {
        certificates.extend(pem(path)?);
    }
    if certificates.is_empty() && !dial.insecure {
        let message = "this machine has no certificate authorities";
        return Err(Error::new(ErrorKind::Network, CONNECT, message)
            .with_path(origin.to_string())
            .with_hint(
                "install ca-certificates, set SSL_CERT_FILE, or name a file with ca = in registries.toml",
            ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .disable_verification(dial.insecure)
        .unversioned_rustls_crypto_provider(provider);
    if let (Some(chain), Some(key)) = (&dial.files.client_cert, &dial.files.client_key) {
        let shown = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        let bytes = read_small_file(key, MAX_CERTIFICATES).at("read key", shown(key))?;
        let key_of = PrivateKey::from_pem(&bytes)
            .map_err(|_| Error::invalid("read key", "no private key in PEM").with_path(shown(key)))?;
        config = config.client_cert(Some(ClientCert::new_with_certs(&pem(chain)?, key_of)));
    }
    Ok(config.build())
}

fn pem(path: &Path) -> Result<Vec<Certificate<'static>>> {
    const OP: &str = "read certificates";
    let shown = path.as_os_str().as_encoded_bytes();
    let bytes = read_small_file(path, MAX_CERTIFICATES).at(OP, shown)?;
    let mut out = Vec::new();
    for item in ureq::tls::parse_pem(&bytes) {
        match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => out.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(Error::invalid(OP, "not PEM").with_path(shown)),
        }
    }
    if out.is_empty() {
        return Err(Error::invalid(OP, "the file holds no certificate").with_path(shown));
    }
    Ok(out)
}

/// A resolver of names that refuses addresses to which a server must not send a client.
#[derive(Debug)]
struct Names {
    origin: Origin,
    dial: Dial,
    cancel: Cancel,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?.to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<IpAddr> = match bare.parse() {
            Ok(address) => vec![address],
            // No server of names is asked for what is this machine by its name (RFC 6761, 6.3).
            Err(_) if is_localhost(&host) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Err(_) => self.look_up(host.clone(), timeout)?,
        };
        // A proxy is named by the user; only where its target leads to counts.
        let target = host == self.origin.host() && port == self.origin.port();
        let allowed: Vec<IpAddr> =
            found.iter().copied().filter(|address| !target || self.dial.allows(*address)).collect();
        if allowed.is_empty() && !found.is_empty() {
            return Err(ureq::Error::Io(must_not(&host, found[0]).into()));
        }
        let mut out = self.empty();
        for address in allowed.into_iter().take(16) {
            out.push(SocketAddr::new(address, port));
        }
        if out.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(out) }
    }
}

/// Returns the error of a host that a server named, and that is at an address which it must not lead to.
pub(super) fn must_not(host: &str, address: impl fmt::Display) -> Error {
    let message = format!("{address} is an address that a registry must not send its clients to");
    Error::new(ErrorKind::PermissionDenied, CONNECT, message).with_path(host)
}

impl Dial {
    /// Returns whether the origin may be at this address.
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let local = match address {
            IpAddr::V4(v4) => {
                v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()
            }
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast(),
        };
        self.named || !local && (self.from_loopback || !address.is_loopback())
    }
}

impl Names {
    /// Asks the system. It cannot be interrupted there, so a thread of its own asks, which a cancelled operation leaves behind.
    fn look_up(&self, host: String, timeout: NextTimeout) -> Result<Vec<IpAddr>, ureq::Error> {
        let (send, receive) = channel();
        let ask = move || {
            let found = (host.as_str(), 0).to_socket_addrs();
            // There is no receiver after a cancel.
            let _ = send.send(found.map(|found| found.map(|address| address.ip()).collect::<Vec<_>>()));
        };
        threads::start("treering-names", ask)?;
        let end =
            Instant::now() + timeout.not_zero().map_or(self.dial.stall, |left| *left).min(self.dial.stall);
        loop {
            self.cancel.check(CONNECT).map_err(io::Error::from)?;
            match receive.recv_timeout(PATIENCE) {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => return Err(ureq::Error::HostNotFound),
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(
                        io::Error::new(io::ErrorKind::TimedOut, "looking up the name took too long").into()
                    );
                }
            }
        }
    }
}

/// A connector that opens sockets.
#[derive(Debug)]
pub(super) struct Tcp {
    cancel: Cancel,
    stall: Duration,
    connect: Duration,
}

impl<In: Transport> Connector<In> for Tcp {
    type Out = Either<In, Socket>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(chained) = chained {
            return Ok(Some(Either::A(chained)));
        }
        self.open_any(&details.addrs, details).map(|socket| Some(Either::B(socket)))
    }
}

impl Tcp {
    /// Connects to the first of the addresses that can be connected to.
    pub(super) fn open_any(
        &self,
        addresses: &[SocketAddr],
        details: &ConnectionDetails,
    ) -> Result<Socket, ureq::Error> {
        let mut last = None;
        for address in addresses {
            match self.open(*address) {
                Ok(stream) => {
                    let config = details.config;
                    let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
                    let (cancel, stall) = (self.cancel.clone(), self.stall);
                    return Ok(Socket { stream, buffers, cancel, stall });
                }
                Err(error) if self.cancel.is_cancelled() => return Err(error.into()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or(ureq::Error::HostNotFound, ureq::Error::Io))
    }

    /// Connects to one address without blocking, looking at the token meanwhile.
    fn open(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        let end = Instant::now() + self.connect;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS | Errno::INTR) => loop {
                self.cancel.check(CONNECT)?;
                let wait = Timespec { tv_sec: 0, tv_nsec: PATIENCE.subsec_nanos().into() };
                let mut ready = [PollFd::new(&socket, PollFlags::OUT)];
                match poll(&mut ready, Some(&wait)) {
                    Ok(0) if Instant::now() >= end => return Err(io::ErrorKind::TimedOut.into()),
                    Ok(0) | Err(Errno::INTR) => {}
                    Ok(_) => {
                        rustix::net::sockopt::socket_error(&socket)??;
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            },
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

/// A connection that looks at the cancel token while it waits.
pub(super) struct Socket {
    stream: TcpStream,
    buffers: LazyBuffers,
    cancel: Cancel,
    stall: Duration,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({:?})", self.stream.peer_addr().ok())
    }
}

/// Makes the error of a wait that went on for too long.
fn stalled(waited: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("nothing moved for {} seconds", waited.as_secs()))
}

/// Returns whether a wait was only over for now.
fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Sends all bytes, as long as something moves.
fn send(mut stream: &TcpStream, bytes: &[u8], cancel: &Cancel, stall: Duration) -> Result<(), ureq::Error> {
    let mut done = 0;
    let mut moved = Instant::now();
    while done < bytes.len() {
        cancel.check(CONNECT).map_err(io::Error::from)?;
        match stream.write(&bytes[done..]) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(n) => {
                done += n;
                moved = Instant::now();
            }
            Err(error) if is_wait(&error) && moved.elapsed() < stall => {}
            Err(error) if is_wait(&error) => return Err(stalled(moved.elapsed()).into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Socket {
    /// Sends bytes that are not in its buffer.
    pub(super) fn send(&self, bytes: &[u8]) -> Result<(), ureq::Error> {
        send(&self.stream, bytes, &self.cancel, self.stall)
    }
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        send(&self.stream, &self.buffers.output()[..amount], &self.cancel, self.stall)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let began = Instant::now();
        let most = timeout.not_zero().map_or(self.stall, |left| *left).min(self.stall);
        loop {
            self.cancel.check(CONNECT).map_err(io::Error::from)?;
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(n) => {
                    self.buffers.input_appended(n);
                    return Ok(n > 0);
                }
                Err(error) if is_wait(&error) && began.elapsed() < most => {}
                Err(error) if is_wait(&error) && most < self.stall => {
                    return Err(ureq::Error::Timeout(timeout.reason));
                }
                Err(error) if is_wait(&error) => return Err(stalled(began.elapsed()).into()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        let quiet = |stream: &mut TcpStream| -> io::Result<bool> {
            stream.set_nonblocking(true)?;
            // Nothing is to be read between two answers: an end, or an unasked byte, is no connection to reuse.
            let quiet =
                matches!(stream.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            stream.set_nonblocking(false)?;
            Ok(quiet)
        };
        quiet(&mut self.stream).unwrap_or(false)
    }
}

/// Turns a failed request into an error for people, naming the origin. TLS errors come with their reason.
pub(super) fn describe(error: ureq::Error, operation: &'static str, origin: &Origin) -> Error {
    let network =
        |message: String| Error::new(ErrorKind::Network, operation, message).with_path(origin.to_string());
    if let Some((reason, hint)) = tls_reason(&error).map(explain) {
        let error = network(reason).with_source(error);
        return if let Some(hint) = hint { error.with_hint(hint) } else { error };
    }
    match error {
        ureq::Error::Io(error) => match error.downcast::<Error>() {
            Ok(ours) => ours,
            Err(error) if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() => {
                let text = error.to_string();
                network(if text == "timed out" { "connecting took too long".into() } else { text })
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                network("the connection ended too early".into()).with_source(error)
            }
            Err(error) => {
                let plain = Error::io(operation, "", error);
                network(plain.message().to_string())
            }
        },
        ureq::Error::HostNotFound => network("the host's name cannot be resolved".into()),
        ureq::Error::Timeout(_) => network("it took too long".into()),
        other => network(other.to_string()),
    }
}

/// Returns why TLS did not come about, where that is what went wrong.
pub(super) fn tls_reason(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        ureq::Error::Rustls(error) => Some(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_does_not_choose_addresses_of_this_machine_or_link() {
        let dial = |named, from_loopback| Dial {
            named,
            from_loopback,
            insecure: false,
            files: TlsFiles::default(),
            proxy: None,
            stall: Duration::ZERO,
            connect: Duration::ZERO,
        };
        let allows = |dial: &Dial, text: &str| dial.allows(text.parse().unwrap());
        let (foreign, local) = (dial(false, false), dial(false, true));
        for text in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(
                !allows(&foreign, text) && allows(&local, text) && allows(&dial(true, false), text),
                "{text}"
            );
        }
        for text in ["169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "::ffff:169.254.169.254"] {
            assert!(!allows(&foreign, text) && !allows(&local, text), "{text}");
        }
        for text in ["93.184.216.34", "10.0.0.1", "2606:2800::1"] {
            assert!(allows(&foreign, text), "{text}");
        }
    }

    #[test]
    fn waits_end_when_they_are_cancelled() {
        // A server that accepts and says nothing.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let origin = Origin::new(false, "127.0.0.1", Some(port));
        let dial = Dial {
            named: true,
            from_loopback: false,
            insecure: false,
            files: TlsFiles::default(),
            proxy: None,
            stall: Duration::from_secs(60),
            connect: Duration::from_secs(60),
        };
        let cancel = Cancel::default();
        let agent = agent(&origin, &dial, &Arc::default(), &cancel).unwrap();
        let began = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                cancel.cancel();
            });
            let error = agent.get(format!("{origin}/v2/")).call().unwrap_err();
            let error = describe(error, "test", &origin);
            assert_eq!(error.kind(), ErrorKind::Cancelled);
        });
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    }
}
