//! HTTP proxies: which hosts they are asked for, requests without TLS that they pass on (RFC 9112, 3.2.2), and their refusals.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ureq::http::Uri;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport};
use ureq::{Proxy, ProxyProtocol};

use super::origin::{Origin, is_localhost};
use super::session::{Failure, is_transient};
use super::transport::{Dial, Socket, Tcp, must_not};
use crate::error::{Error, ErrorKind, Result};

/// Refuses a host that a server named by an address which it must not lead to, before a proxy is asked for it. Where another name leads is for
/// the proxy to decide, which looks it up.
pub(super) fn check_target(origin: &Origin, dial: &Dial) -> Result<()> {
    let allowed = match literal(origin.host()) {
        _ if dial.named => true,
        None => true,
        // What is this machine goes through no proxy: there it would be another machine.
        Some(Some(address)) => dial.allows(address) && !address.to_canonical().is_loopback(),
        Some(None) => false,
    };
    if allowed { Ok(()) } else { Err(must_not(origin.host(), origin.host())) }
}

/// Returns the address that a host is by its text, in every notation that resolvers take (`inet_aton`); `Some(None)` for what is neither an
/// address nor a name.
fn literal(host: &str) -> Option<Option<IpAddr>> {
    let host = host.trim_end_matches('.');
    if let Some(inner) = host.strip_prefix('[') {
        return Some(inner.strip_suffix(']').and_then(|inner| inner.parse().ok()));
    }
    if is_localhost(host) {
        return Some(Some(Ipv4Addr::LOCALHOST.into()));
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    // No top-level domain is a number (RFC 1123, 2.1).
    let numeric = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) || number(last).is_some();
    numeric.then(|| inet_aton(host).map(IpAddr::V4))
}

/// Reads an IPv4 address of one to four numbers, of which the last has all bytes that are left.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last().filter(|(_, first)| first.len() <= 3)?;
    let mut out = u64::from(*last);
    if out >> (8 * (4 - first.len())) != 0 {
        return None;
    }
    for (at, part) in first.iter().enumerate() {
        out |= u64::from(u8::try_from(*part).ok()?) << (24 - 8 * at);
    }
    u32::try_from(out).ok().map(Ipv4Addr::from)
}

/// Reads a number as in C: decimal, octal behind `0`, hexadecimal behind `0x`.
fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some("") => return Some(0),
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    let fine = digits.bytes().all(|b| char::from(b).is_digit(radix));
    u32::from_str_radix(digits, radix).ok().filter(|_| fine)
}

/// A connector to a proxy that requests are given to as they are: those to an origin without TLS.
#[derive(Debug)]
pub(super) struct Forward(pub Tcp);

/// Returns whether requests to a scheme are given to the proxy; for others it connects.
fn forwards(proxy: &Proxy, scheme: Option<&str>) -> bool {
    proxy.protocol() == ProxyProtocol::Http && scheme == Some("http")
}

impl<In: Transport> Connector<In> for Forward {
    type Out = Either<In, Forwarded>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let mine = |proxy: &&Proxy| chained.is_none() && forwards(proxy, details.uri.scheme_str());
        let Some(proxy) = details.config.proxy().filter(mine) else { return Ok(chained.map(Either::A)) };
        let found = details.resolver.resolve(proxy.uri(), details.config, details.timeout)?;
        let addresses: Vec<SocketAddr> =
            found.iter().map(|address| SocketAddr::new(address.ip(), proxy.port())).collect();
        let socket = self.0.open_any(&addresses, details)?;
        let place = place(details.uri).ok_or(ureq::Error::HostNotFound)?;
        Ok(Some(Either::B(Forwarded { socket, place, proof: proof(proxy), fresh: true })))
    }
}

/// Returns the part of an address before its path.
fn place(uri: &Uri) -> Option<String> {
    let host = uri.host()?;
    Some(match uri.port_u16().filter(|port| *port != 80) {
        Some(port) => format!("http://{host}:{port}"),
        None => format!("http://{host}"),
    })
}

/// Returns the header that a proxy gets as proof, if there is a user name for it.
fn proof(proxy: &Proxy) -> String {
    match (proxy.username(), proxy.password()) {
        (None, None) => String::new(),
        (user, password) => {
            let both = format!("{}:{}", user.unwrap_or_default(), password.unwrap_or_default());
            format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(both))
        }
    }
}

/// A connection to a proxy, with requests in the form that it takes.
pub(super) struct Forwarded {
    socket: Socket,
    place: String,
    proof: String,
    /// Whether what is sent next begins a request: nothing was, since an answer came.
    fresh: bool,
}

// Without the proof.
impl std::fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Forwarded").field(&self.socket).field(&self.place).finish()
    }
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.socket.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if !self.fresh || amount == 0 {
            return self.socket.transmit_output(amount, timeout);
        }
        self.fresh = false;
        let head = &self.socket.buffers().output()[..amount];
        let head = absolute(head, &self.place, &self.proof);
        // A request line is far shorter than a buffer.
        let head = head.ok_or_else(|| std::io::Error::other("a request without a path"))?;
        self.socket.send(&head)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.fresh = true;
        self.socket.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.socket.is_open()
    }
}

/// Puts a place before the path of a request, and headers behind its first line.
fn absolute(request: &[u8], place: &str, headers: &str) -> Option<Vec<u8>> {
    let path = request.iter().position(|b| *b == b' ')? + 1;
    let end = request.windows(2).position(|two| two == b"\r\n")? + 2;
    let (method, rest, more) = (&request[..path], request.get(path..end)?, &request[end..]);
    rest.starts_with(b"/").then(|| [method, place.as_bytes(), rest, headers.as_bytes(), more].concat())
}

/// Returns a proxy's address without user name and password.
pub(super) fn shown(proxy: &str) -> String {
    let (scheme, rest) = proxy.split_once("://").unwrap_or(("http", proxy));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    format!("{scheme}://{}", authority.rsplit('@').next().unwrap_or_default())
}

/// Returns a proxy as an error names it, where it passes requests to the origin on: then answers may be its own.
pub(super) fn between(origin: &Origin, proxy: Option<&str>) -> Option<String> {
    proxy.filter(|proxy| !origin.is_secure() && proxy.starts_with("http://")).map(shown)
}

/// Returns the status in the reason that a tunnel could not be had.
pub(super) fn status(reason: &str) -> Option<u16> {
    let mut numbers = reason.split(|c: char| !c.is_ascii_digit());
    numbers.find(|digits| digits.len() == 3).and_then(|digits| digits.parse().ok())
}

/// Returns the error of a proxy that does not lead to the origin.
pub(super) fn refusal(
    operation: &'static str,
    origin: &Origin,
    proxy: &str,
    status: Option<u16>,
    reason: &str,
) -> Failure {
    let message = match status {
        Some(407) => format!("{proxy} answered 407: it asks for a user name and a password, or refuses them"),
        Some(status) => format!("{proxy} answered {status}, and does not connect"),
        None => format!("{proxy} does not connect: {reason}"),
    };
    let error = Error::new(ErrorKind::Network, operation, format!("the proxy {message}"));
    let error = error.with_path(origin.to_string());
    let error = match status {
        Some(407) => {
            error.with_hint("HTTP_PROXY and HTTPS_PROXY take USER:PASSWORD@ before the proxy's host")
        }
        _ => error.with_hint("NO_PROXY names hosts that are reached without the proxy"),
    };
    Failure { error, again: status.is_none_or(is_transient), pause: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::origin::Location;

    #[test]
    fn hosts_that_are_addresses_are_seen_in_every_notation() {
        for (host, address) in [
            ("169.254.169.254", "169.254.169.254"),
            ("169.254.169.254.", "169.254.169.254"),
            ("2852039166", "169.254.169.254"),
            ("0xa9fea9fe", "169.254.169.254"),
            ("0251.0376.0251.0376", "169.254.169.254"),
            ("169.254.43518", "169.254.169.254"),
            ("169.16689662", "169.254.169.254"),
            ("127.1", "127.0.0.1"),
            ("0", "0.0.0.0"),
            ("localhost", "127.0.0.1"),
            ("a.localhost.", "127.0.0.1"),
            ("[::1]", "::1"),
            ("[fe80::1]", "fe80::1"),
        ] {
            assert_eq!(literal(host), Some(Some(address.parse().unwrap())), "{host}");
        }
        for host in ["a.example", "a.example.", "metadata", "1.example", "0x.example", "a.0xg", ""] {
            assert_eq!(literal(host), None, "{host}");
        }
        for host in ["a.1", "1.2.3.4.5", "256.1.1.1", "1.2.3.256", "09", "[fe80::1%25eth0]", "4294967296"] {
            assert_eq!(literal(host), Some(None), "{host}");
        }
    }

    #[test]
    fn a_request_to_a_proxy_names_its_host_and_nothing_else_changes() {
        let uri: Uri = Location::parse("http://a.example/x").unwrap().to_string().parse().unwrap();
        assert_eq!(place(&uri).unwrap(), "http://a.example");
        let other: Uri = "http://[::1]:5000/x".parse().unwrap();
        assert_eq!(place(&other).unwrap(), "http://[::1]:5000");
        let request = b"PUT /v2/?a=http://b HTTP/1.1\r\nhost: a\r\n\r\nPUT / x";
        let made = absolute(request, "http://a", "Proxy: p\r\n").unwrap();
        let expected = b"PUT http://a/v2/?a=http://b HTTP/1.1\r\nProxy: p\r\nhost: a\r\n\r\nPUT / x";
        assert_eq!(made, expected);
        for none in [&b"GET"[..], b"GET /", b"\r\nGET / x", b"GET x HTTP/1.1\r\n"] {
            assert_eq!(absolute(none, "http://a", ""), None);
        }
    }

    #[test]
    fn what_is_shown_of_a_proxy_has_no_password() {
        for (proxy, text) in [
            ("http://user:p@ss@proxy.example:3128", "http://proxy.example:3128"),
            ("https://proxy.example/path", "https://proxy.example"),
            ("user:pass@proxy.example", "http://proxy.example"),
        ] {
            assert_eq!(shown(proxy), text);
        }
        assert_eq!(status("proxy server responded 407/407"), Some(407));
        assert_eq!(status("proxy server did not respond"), None);
    }
}
