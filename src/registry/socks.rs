//! SOCKS 5 proxies (RFC 1928, with a user name and a password as RFC 1929 has them).

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use ureq::unversioned::transport::{ConnectionDetails, Connector, Either, Transport, TransportAdapter};
use ureq::{Proxy, ProxyProtocol};

use super::transport::{Socket, Tcp};

const VERSION: u8 = 5;
const NO_PROOF: u8 = 0;
const PASSWORD: u8 = 2;
const CONNECT: u8 = 1;

/// A connector through the proxy of the configuration, where that one speaks SOCKS.
#[derive(Debug)]
pub(super) struct Socks(pub Tcp);

/// An address or a name that the proxy is asked to connect to.
#[derive(Debug, Clone, Copy)]
enum Target<'a> {
    Address(SocketAddr),
    /// A name that the proxy looks up.
    Name(&'a str, u16),
}

impl<In: Transport> Connector<In> for Socks {
    type Out = Either<In, Socket>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let proxy = details.config.proxy().filter(|proxy| chained.is_none() && speaks_socks(proxy));
        let Some(proxy) = proxy else { return Ok(chained.map(Either::A)) };
        let port = match details.uri.port_u16() {
            Some(port) => port,
            None if details.uri.scheme_str() == Some("https") => 443,
            None => 80,
        };
        let host = details.uri.host().ok_or(ureq::Error::HostNotFound)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        // `socks5` has the name looked up here, `socks5h` there.
        let target = match (proxy.resolve_target(), details.addrs.first(), bare.parse()) {
            (true, Some(address), _) => Target::Address(*address),
            (true, None, _) => return Err(ureq::Error::HostNotFound),
            (false, _, Ok(address)) => Target::Address(SocketAddr::new(address, port)),
            (false, _, Err(_)) => Target::Name(host, port),
        };
        let found = details.resolver.resolve(proxy.uri(), details.config, details.timeout)?;
        let addresses: Vec<SocketAddr> =
            found.iter().map(|address| SocketAddr::new(address.ip(), proxy.port())).collect();
        let socket = self.0.open_any(&addresses, details)?;
        let mut stream = TransportAdapter::new(socket, details.current_time.clone());
        stream.set_timeout(details.timeout);
        greet(&mut stream, proxy).and_then(|()| ask(&mut stream, target)).map_err(|error| {
            match error.kind() {
                io::ErrorKind::UnexpectedEof => failed("it closed the connection"),
                _ => error,
            }
        })?;
        Ok(Some(Either::B(stream.into_inner())))
    }
}

/// Returns whether a proxy is one of those that are spoken to here.
pub(super) fn speaks_socks(proxy: &Proxy) -> bool {
    matches!(proxy.protocol(), ProxyProtocol::Socks5 | ProxyProtocol::Socks5h)
}

/// Makes an error of which the same request gets no better answer.
fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text(reason))
}

fn failed(reason: &str) -> io::Error {
    io::Error::other(text(reason))
}

fn text(reason: &str) -> String {
    format!("the SOCKS proxy does not connect: {reason}")
}

/// Agrees with the proxy on a proof, and gives it.
fn greet(stream: &mut (impl Read + Write), proxy: &Proxy) -> io::Result<()> {
    let user = proxy.username().filter(|user| !user.is_empty());
    let methods: &[u8] = if user.is_some() { &[NO_PROOF, PASSWORD] } else { &[NO_PROOF] };
    send(stream, &[&[VERSION, methods.len() as u8], methods].concat())?;
    match (receive(stream, VERSION)?, user) {
        (NO_PROOF, _) => Ok(()),
        (PASSWORD, Some(user)) => {
            let short = |text: &str| {
                u8::try_from(text.len())
                    .map_err(|_| refused("a user name or password of more than 255 bytes"))
            };
            let password = proxy.password().unwrap_or_default();
            let (user_length, password_length) = (short(user)?, short(password)?);
            let message =
                [&[1, user_length], user.as_bytes(), &[password_length], password.as_bytes()].concat();
            send(stream, &message)?;
            match receive(stream, 1)? {
                0 => Ok(()),
                _ => Err(refused("it refuses the user name and the password")),
            }
        }
        _ => Err(refused("it wants another proof than there is")),
    }
}

/// Has the proxy connect to the target.
fn ask(stream: &mut (impl Read + Write), target: Target) -> io::Result<()> {
    let (mut message, port) = (
        vec![VERSION, CONNECT, 0],
        match target {
            Target::Address(address) => address.port(),
            Target::Name(_, port) => port,
        },
    );
    match target {
        Target::Address(SocketAddr::V4(address)) => {
            message.push(1);
            message.extend_from_slice(&address.ip().octets());
        }
        Target::Address(SocketAddr::V6(address)) => {
            message.push(4);
            message.extend_from_slice(&address.ip().octets());
        }
        Target::Name(name, _) => {
            let length =
                u8::try_from(name.len()).map_err(|_| refused("a host name of more than 255 bytes"))?;
            message.extend_from_slice(&[3, length]);
            message.extend_from_slice(name.as_bytes());
        }
    }
    message.extend_from_slice(&port.to_be_bytes());
    send(stream, &message)?;
    let reply = receive(stream, VERSION)?;
    if reply != 0 {
        return Err(match reply {
            2 => refused("its rules do not allow it"),
            3 => failed("the network cannot be reached"),
            4 => failed("the host cannot be reached"),
            5 => failed("the host refuses the connection"),
            6 => failed("the host is too far away"),
            7 | 8 => refused("it does not support the request"),
            _ => failed("it failed"),
        });
    }
    // The address that it connects from is of no use, and has to be read.
    let mut kind = [0; 2];
    stream.read_exact(&mut kind)?;
    let length = match kind[1] {
        1 => 4,
        4 => 16,
        3 => {
            let mut length = [0];
            stream.read_exact(&mut length)?;
            usize::from(length[0])
        }
        _ => return Err(refused("its answer makes no sense")),
    };
    stream.read_exact(&mut vec![0; length + 2])
}

fn send(stream: &mut impl Write, message: &[u8]) -> io::Result<()> {
    stream.write_all(message)?;
    stream.flush()
}

/// Reads an answer of two bytes: the version, and what counts.
fn receive(stream: &mut impl Read, version: u8) -> io::Result<u8> {
    let mut answer = [0; 2];
    stream.read_exact(&mut answer)?;
    match answer[0] == version {
        true => Ok(answer[1]),
        false => Err(refused("it speaks another protocol")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::progress::Cancel;
    use crate::registry::config::TlsFiles;
    use crate::registry::origin::Origin;
    use crate::registry::transport::{self, Dial};

    /// Messages that a proxy reads and its answers, in turn; then it hangs up, or stays silent.
    type Script = Vec<(Vec<u8>, Vec<u8>)>;

    /// Asks for a page of `origin` through a proxy that follows the script.
    fn through(
        origin: &Origin,
        user: &str,
        script: Script,
        silent: bool,
        cancel: &Cancel,
    ) -> Result<u16, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("socks5h://{user}{}", listener.local_addr().unwrap());
        let dial = Dial {
            named: true,
            from_loopback: false,
            insecure: false,
            files: TlsFiles::default(),
            proxy: Some(proxy),
            stall: Duration::from_secs(60),
            connect: Duration::from_secs(60),
        };
        let follow = move |mut stream: TcpStream| {
            for (expected, answer) in script {
                let mut read = vec![0; expected.len()];
                stream.read_exact(&mut read).unwrap();
                assert_eq!(read, expected);
                stream.write_all(&answer).unwrap();
            }
            if silent {
                let _ = stream.read_to_end(&mut Vec::new());
            }
        };
        std::thread::scope(|scope| {
            let server = scope.spawn(move || follow(listener.accept().unwrap().0));
            let agent = transport::agent(origin, &dial, &Arc::default(), cancel).unwrap();
            let asked = agent.get(format!("{origin}/v2/")).call();
            let result = asked.map(|response| response.status().as_u16());
            drop(agent);
            server.join().unwrap();
            result.map_err(|error| transport::describe(error, "test", origin))
        })
    }

    fn plain() -> Origin {
        Origin::new(false, "registry.example", Some(5000))
    }

    /// Returns the request to connect to registry.example:5000.
    fn by_name() -> Vec<u8> {
        [&[5, 1, 0, 3, 16][..], b"registry.example", &5000u16.to_be_bytes()].concat()
    }

    const ANSWER: &[u8] = b"HTTP/1.1 204 x\r\ncontent-length: 0\r\n\r\n";

    fn connected() -> Vec<u8> {
        [&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], ANSWER].concat()
    }

    #[test]
    fn names_and_addresses_go_to_the_proxy_as_they_are() {
        let cancel = Cancel::default();
        let v4 = Origin::new(false, "192.0.2.7", None);
        let v6 = Origin::new(false, "[2001:db8::7]", Some(5000));
        let to_v4 = vec![5, 1, 0, 1, 192, 0, 2, 7, 0, 80];
        let to_v6 = [
            &[5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..],
            &5000u16.to_be_bytes(),
        ]
        .concat();
        for (origin, request) in [(plain(), by_name()), (v4, to_v4), (v6, to_v6)] {
            let script = vec![(vec![5, 1, 0], vec![5, 0]), (request, connected())];
            assert_eq!(through(&origin, "", script, false, &cancel).unwrap(), 204, "{origin}");
        }
        // The address that the proxy gives in its answer may be of any kind.
        for address in [&[4; 17][..], &[3, 2, b'a', b'b']] {
            let address = if address[0] == 4 { &[&[4][..], &[0; 16]].concat() } else { address };
            let answer = [&[5, 0, 0][..], address, &[0, 0], ANSWER].concat();
            let script = vec![(vec![5, 1, 0], vec![5, 0]), (by_name(), answer)];
            assert_eq!(through(&plain(), "", script, false, &cancel).unwrap(), 204);
        }
    }

    #[test]
    fn a_password_goes_to_a_proxy_that_asks_for_it_and_to_no_other() {
        let cancel = Cancel::default();
        let proof = [&[1, 2][..], b"me", &[3], b"p:w"].concat();
        let asked =
            vec![(vec![5, 2, 0, 2], vec![5, 2]), (proof.clone(), vec![1, 0]), (by_name(), connected())];
        assert_eq!(through(&plain(), "me:p%3Aw@", asked, false, &cancel).unwrap(), 204);
        let not_asked = vec![(vec![5, 2, 0, 2], vec![5, 0]), (by_name(), connected())];
        assert_eq!(through(&plain(), "me:p%3Aw@", not_asked, false, &cancel).unwrap(), 204);
        let wrong = vec![(vec![5, 2, 0, 2], vec![5, 2]), (proof, vec![1, 1])];
        let error = through(&plain(), "me:p%3Aw@", wrong, false, &cancel).unwrap_err();
        assert!(error.to_string().contains("refuses the user name"), "{error}");
        assert!(!error.to_string().contains("p:w"), "{error}");
    }

    #[test]
    fn a_proxy_that_refuses_or_makes_no_sense_is_an_error_that_says_so() {
        let greeted = |answer: &[u8]| vec![(vec![5, 1, 0], vec![5, 0]), (by_name(), answer.to_vec())];
        let mut cases = vec![
            (vec![(vec![5, 1, 0], vec![5, 0xff])], "another proof"),
            (vec![(vec![5, 1, 0], vec![5, 2])], "another proof"),
            (vec![(vec![5, 1, 0], b"HTTP/1.0 400 Bad Request\r\n\r\n".to_vec())], "another protocol"),
            (vec![(vec![5, 1, 0], Vec::new())], "closed the connection"),
            (greeted(&[4, 0, 0, 1]), "another protocol"),
            (greeted(&[5, 0, 0, 9]), "makes no sense"),
            (greeted(&[5, 0, 0, 1, 0]), "closed the connection"),
        ];
        for (reply, reason) in [
            (1, "it failed"),
            (2, "rules"),
            (3, "network"),
            (4, "host cannot"),
            (5, "refuses"),
            (6, "far"),
            (7, "request"),
            (8, "request"),
            (99, "it failed"),
        ] {
            cases.push((greeted(&[5, reply]), reason));
        }
        for (script, reason) in cases {
            let error = through(&plain(), "", script, false, &Cancel::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Network, "{error}");
            assert!(
                error.message().contains(reason) && error.to_string().contains("registry.example"),
                "{error}"
            );
        }
        let long = Origin::new(false, &"a".repeat(300), None);
        let error =
            through(&long, "", vec![(vec![5, 1, 0], vec![5, 0])], false, &Cancel::default()).unwrap_err();
        assert!(error.message().contains("255 bytes"), "{error}");
    }

    #[test]
    fn a_silent_proxy_is_left_when_the_operation_is_cancelled() {
        for script in [
            vec![],
            vec![(vec![5, 1, 0], vec![5, 0])],
            vec![(vec![5, 1, 0], vec![5, 0]), (by_name(), vec![5, 0])],
        ] {
            let cancel = Cancel::default();
            let began = Instant::now();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(100));
                    cancel.cancel();
                });
                let error = through(&plain(), "", script, true, &cancel).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Cancelled);
            });
            assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        }
    }

    #[test]
    fn other_versions_of_the_protocol_are_refused_by_name() {
        let dial = Dial {
            named: true,
            from_loopback: false,
            insecure: false,
            files: TlsFiles::default(),
            proxy: Some("socks4://127.0.0.1:1".into()),
            stall: Duration::ZERO,
            connect: Duration::ZERO,
        };
        let error = transport::agent(&plain(), &dial, &Arc::default(), &Cancel::default()).unwrap_err();
        assert!(error.message().contains("SOCKS 4"), "{error}");
    }
}
