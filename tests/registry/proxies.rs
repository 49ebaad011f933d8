//! Registries behind proxies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use treering::image::Image;
use treering::registry::{PushOptions, push};

use crate::debian::certificates;
use crate::fake::{Act, Answer, Door, Fake};
use crate::world::World;
use support::sh;

/// A proxy that speaks HTTP and SOCKS 5, asks for a password, and leads to one server whatever it is asked for.
struct Proxy {
    port: u16,
    /// Requests as they came: how, and the host and port.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(to: u16) -> Proxy {
        Proxy::start_with(to, 0)
    }

    /// Starts one that answers each HTTP request with a status, unless that is 0.
    fn start_with(to: u16, status: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
        // It ends with the tests.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, log) = (client.unwrap(), log.clone());
                std::thread::spawn(move || serve(client, to, status, &log));
            }
        });
        Proxy { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn serve(client: TcpStream, to: u16, status: u16, log: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut writer = client;
    let first = *reader.fill_buf().ok()?.first()?;
    if first != 5 {
        return http(&mut reader, &writer, to, status, log);
    }
    let (how, target, granted) = socks(&mut reader, &mut writer)?;
    log.lock().unwrap().push(format!("{how} {target}"));
    let mut server = TcpStream::connect(("127.0.0.1", to)).ok()?;
    writer.write_all(&granted).ok()?;
    let (mut back, mut answers) = (server.try_clone().ok()?, writer);
    let relay = std::thread::spawn(move || std::io::copy(&mut back, &mut answers));
    let _ = std::io::copy(&mut reader, &mut server);
    let _ = server.shutdown(std::net::Shutdown::Both);
    relay.join().ok()?.ok().map(drop)
}

/// Connects, or passes requests on one by one: only what is for the proxy is taken out of them.
fn http(
    reader: &mut impl BufRead,
    mut writer: &TcpStream,
    to: u16,
    status: u16,
    log: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut server: Option<TcpStream> = None;
    loop {
        let (mut head, mut proof, mut length, mut line) = (String::new(), String::new(), 0, String::new());
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let (method, rest) = line.split_once(' ')?;
        let (method, target) = (method.to_string(), rest.split(' ').next()?.to_string());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "proxy-authorization" => {
                    proof = value.trim().into();
                    continue;
                }
                "content-length" => length = value.trim().parse().ok()?,
                _ => {}
            }
            head += &line;
            if line == "\r\n" {
                break;
            }
        }
        let connects = method == "CONNECT";
        let (authority, path) = match connects {
            true => (target.as_str(), ""),
            false => target.strip_prefix("http://")?.split_at_checked(target[7..].find('/')?)?,
        };
        log.lock().unwrap().push(format!("{} {authority}", if connects { "connect" } else { "pass" }));
        // user:p@ss
        let status = if status == 0 && proof != "Basic dXNlcjpwQHNz" { 407 } else { status };
        if status != 0 {
            return write!(writer, "HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n").ok();
        }
        let server = match &mut server {
            Some(server) => server,
            none => {
                let connected = TcpStream::connect(("127.0.0.1", to)).ok()?;
                if connects {
                    writer.write_all(b"HTTP/1.1 200 Yes\r\n\r\n").ok()?;
                }
                let (mut back, mut answers) = (connected.try_clone().ok()?, writer.try_clone().ok()?);
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut back, &mut answers);
                    answers.shutdown(std::net::Shutdown::Both)
                });
                none.insert(connected)
            }
        };
        if connects {
            let _ = std::io::copy(reader, server);
            return server.shutdown(std::net::Shutdown::Both).ok();
        }
        write!(server, "{method} {path} HTTP/1.1\r\n{head}").ok()?;
        std::io::copy(&mut reader.by_ref().take(length), server).ok()?;
    }
}

type Asked = (&'static str, String, Vec<u8>);

fn socks(reader: &mut impl Read, writer: &mut impl Write) -> Option<Asked> {
    let mut bytes = |n: usize| {
        let mut out = vec![0; n];
        reader.read_exact(&mut out).ok().map(|()| out)
    };
    let methods = bytes(2)?[1];
    let offered = bytes(methods.into())?;
    if !offered.contains(&2) {
        writer.write_all(&[5, 0xff]).ok()?;
        return None;
    }
    writer.write_all(&[5, 2]).ok()?;
    let length = bytes(2)?[1];
    let user = bytes(length.into())?;
    let length = bytes(1)?[0];
    let password = bytes(length.into())?;
    let right = user == b"user" && password == b"p@ss";
    writer.write_all(&[1, u8::from(!right)]).ok()?;
    if !right {
        return None;
    }
    let (how, host) = match bytes(4)?[3] {
        1 => ("address", bytes(4)?.iter().map(u8::to_string).collect::<Vec<_>>().join(".")),
        3 => {
            let length = bytes(1)?[0];
            ("name", String::from_utf8(bytes(length.into())?).ok()?)
        }
        _ => return None,
    };
    let port = bytes(2)?;
    let target = format!("{host}:{}", u16::from_be_bytes([port[0], port[1]]));
    Some((how, target, vec![5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
}

fn pull(world: &World, variables: &[(&str, &str)], name: &str) -> Output {
    run(world, "pull", variables, name)
}

fn run(world: &World, verb: &str, variables: &[(&str, &str)], name: &str) -> Output {
    let mut command = Command::new(support::program());
    command.args([verb, name]).env_clear().env("PATH", "/usr/bin:/bin");
    command.env("HOME", world.scratch.path()).env("TREERING_ROOT", world.store.root_path());
    command.env("TREERING_REGISTRIES", world.scratch.join("registries.toml"));
    command.envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn a_registry_is_reached_through_the_proxies_of_the_environment() {
    let fake = Fake::start();
    let origin = World::with_image("registry.example/app:v1", 10_000);
    let registries = origin.registries("");
    let (from, to) = ("registry.example/app:v1", fake.name("app:v1"));
    push(&origin.store, &registries, from, &to, &PushOptions::default(), &origin.control).unwrap();
    let proxy = Proxy::start(fake.port);
    let at = |scheme: &str, user: &str| format!("{scheme}://{user}127.0.0.1:{}", proxy.port);
    let good = "user:p%40ss@";
    let name = "pass registry.example";
    for (variable, address, prefix, asked) in [
        ("HTTP_PROXY", at("http", good), "registry.example", name),
        ("http_proxy", at("http", good), "registry.example", name),
        ("ALL_PROXY", at("http", good), "registry.example", name),
        ("ALL_PROXY", at("socks5h", good), "registry.example", "name registry.example:80"),
        ("HTTP_PROXY", at("http", good), "registry.example:5000", "pass registry.example:5000"),
        ("HTTP_PROXY", at("socks5h", good), "registry.example", "name registry.example:80"),
        // What the other scheme looks up itself is an address already.
        ("ALL_PROXY", at("socks5", good), "192.0.2.7:5000", "address 192.0.2.7:5000"),
    ] {
        let world = World::new();
        world.file(
            "registries.toml",
            &format!("[[registry]]\nprefix = '{prefix}'\nlocation = 'http://{prefix}'\n"),
        );
        fake.rule(|_| None);
        let name = format!("{prefix}/app:v1");
        let out = pull(&world, &[(variable, &address)], &name);
        assert!(out.status.success(), "{variable}={address}: {}", String::from_utf8_lossy(&out.stderr));
        let image = Image::open(&world.store, &name, None).unwrap();
        assert_eq!(image.digest(), Image::open(&origin.store, from, None).unwrap().digest());
        let connections = proxy.asked();
        assert!(!connections.is_empty() && connections.iter().all(|one| one == asked), "{connections:?}");
        // What the proxy gets as proof, the registry does not see.
        let proofs = ["authorization", "proxy-authorization"];
        assert!(fake.log().iter().all(|seen| proofs.iter().all(|header| seen.header(header).is_empty())));
    }
    // What is on this machine is reached directly, whatever the environment says.
    let world = World::new();
    world.file("registries.toml", "");
    let out = pull(&world, &[("ALL_PROXY", &at("socks5h", good))], &to);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(proxy.asked().is_empty());
    // A proxy that refuses is an error that does not repeat the password.
    let world = World::new();
    world.file(
        "registries.toml",
        "[[registry]]\nprefix = 'registry.example'\nlocation = 'http://registry.example'\n",
    );
    for (scheme, reason) in [("socks5h", "refuses the user name"), ("http", "407"), ("socks4", "SOCKS 4")] {
        let out = pull(&world, &[("ALL_PROXY", &at(scheme, "user:wrong%21@"))], from);
        let text = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && text.contains(reason) && !text.contains("wrong"), "{text}");
        assert!(text.contains("registry.example"), "{text}");
        // And it is not asked again. Of a SOCKS proxy only what it grants is counted.
        assert!(proxy.asked().len() <= 1, "{scheme}");
    }
}

/// What uploads and lists of referrers need: bodies, and several requests on one connection.
#[test]
fn a_push_goes_through_a_proxy_that_passes_requests_on() {
    let fake = Fake::start();
    let name = "registry.example/app:v1";
    let world = World::with_image(name, 3 << 20);
    world.file(
        "registries.toml",
        "[[registry]]\nprefix = 'registry.example'\nlocation = 'http://registry.example'\n",
    );
    world.file("auth.json", "{\"auths\":{\"registry.example\":{\"auth\":\"dXNlcjpzZWNyZXQ=\"}}}");
    fake.with(|state| state.door = Door::Basic("Basic dXNlcjpzZWNyZXQ=".into()));
    let proxy = Proxy::start(fake.port);
    let address = format!("http://user:p%40ss@127.0.0.1:{}", proxy.port);
    let auth = world.scratch.join("auth.json");
    let variables = [("HTTP_PROXY", address.as_str()), ("REGISTRY_AUTH_FILE", auth.to_str().unwrap())];
    let out = run(&world, "push", &variables, name);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(
        fake.tag("app", "v1").unwrap(),
        Image::open(&world.store, name, None).unwrap().manifest_bytes()
    );
    assert!(proxy.asked().iter().all(|one| one == "pass registry.example"));
    assert!(fake.log().iter().all(|seen| seen.header("proxy-authorization").is_empty()));
    assert!(fake.log().iter().all(|seen| seen.header("host") == "registry.example"));
}

#[test]
fn a_proxy_that_refuses_is_named_and_asked_once() {
    for status in [403, 405, 407] {
        for scheme in ["https", "http"] {
            let proxy = Proxy::start_with(0, status);
            let world = World::new();
            world.file(
                "registries.toml",
                &format!(
                    "[[registry]]\nprefix = 'registry.example'\nlocation = '{scheme}://registry.example'\n"
                ),
            );
            let address = format!("http://user:secret@127.0.0.1:{}", proxy.port);
            let out = pull(&world, &[("ALL_PROXY", &address)], "registry.example/app:v1");
            let text = String::from_utf8_lossy(&out.stderr);
            let what = format!("{scheme} {status}: {text}");
            assert!(!out.status.success(), "{what}");
            assert_eq!(proxy.asked().len(), 1, "{what}");
            assert!(
                text.contains("registry.example") && text.contains(&format!("answered {status}")),
                "{what}"
            );
            assert!(text.contains(&format!("http://127.0.0.1:{}", proxy.port)), "{what}");
            assert!(!text.contains("secret"), "{what}");
            let hint = if status == 407 { "USER:PASSWORD@" } else { "NO_PROXY" };
            // An answer that is passed on may be the registry's as well.
            assert!(text.contains(hint) || scheme == "http" && status != 407, "{what}");
        }
    }
}

/// A proxy has a network of its own, in which a registry must not lead its clients about.
#[test]
fn a_proxy_is_not_asked_for_addresses_that_a_registry_must_not_name() {
    let fake = Fake::start();
    let origin = World::with_image("registry.example/app:v1", 10_000);
    let registries = origin.registries("");
    let (from, to) = ("registry.example/app:v1", fake.name("app:v1"));
    push(&origin.store, &registries, from, &to, &PushOptions::default(), &origin.control).unwrap();
    let proxy = Proxy::start(fake.port);
    let at = |scheme: &str| format!("{scheme}://user:p%40ss@127.0.0.1:{}", proxy.port);
    for (scheme, hosts) in [
        (
            "http",
            &[
                "169.254.169.254",
                "169.254.169.254:8080",
                "169.254.169.254.",
                "2852039166",
                "0xa9.0xfe.0xa9.0xfe",
                "[::ffff:169.254.169.254]",
                "[fe80::1]",
                "127.0.0.1:1",
                "127.1",
                "[::ffff:127.0.0.1]",
                "localhost.",
                "0.0.0.0",
            ][..],
        ),
        ("socks5h", &["169.254.169.254", "[fe80::1]", "2852039166", "localhost."][..]),
        ("socks5", &["169.254.169.254"][..]),
    ] {
        for host in hosts {
            let world = World::new();
            // By address, which the proxy of the scheme that looks names up here gets as well.
            let (prefix, named) = match scheme {
                "socks5" => ("192.0.2.7:5000", "192.0.2.7:5000"),
                _ => ("registry.example", "registry.example"),
            };
            world.file(
                "registries.toml",
                &format!("[[registry]]\nprefix = '{prefix}'\nlocation = 'http://{prefix}'\n"),
            );
            let to = format!("http://{host}");
            fake.rule(move |seen| {
                let to = format!("{to}{}", seen.target);
                seen.is("GET", "/blobs/").then(|| Act::Say(Answer::new(307).with("location", to)))
            });
            let out = pull(&world, &[("ALL_PROXY", &at(scheme))], &format!("{prefix}/app:v1"));
            let text = String::from_utf8_lossy(&out.stderr);
            assert!(!out.status.success(), "{scheme} {host}: {text}");
            assert!(
                text.contains("must not send its clients to") || text.contains("address"),
                "{host}: {text}"
            );
            let asked = proxy.asked();
            assert!(!asked.is_empty() && asked.iter().all(|one| one.contains(named)), "{host}: {asked:?}");
        }
    }
    // Where another name leads is for the proxy to decide, and what the user names may be anywhere.
    for (prefix, to) in [("registry.example", "http://files.example"), ("169.254.1.1", "http://169.254.1.1")]
    {
        let world = World::new();
        world.file(
            "registries.toml",
            &format!("[[registry]]\nprefix = '{prefix}'\nlocation = 'http://{prefix}'\n"),
        );
        let first = std::sync::atomic::AtomicBool::new(true);
        fake.rule(move |seen| {
            let first = seen.is("GET", "/blobs/") && first.swap(false, std::sync::atomic::Ordering::SeqCst);
            first.then(|| Act::Say(Answer::new(307).with("location", format!("{to}{}", seen.target))))
        });
        let out = pull(&world, &[("ALL_PROXY", &at("http"))], &format!("{prefix}/app:v1"));
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let place = to.strip_prefix("http://").unwrap();
        assert!(proxy.asked().contains(&format!("pass {place}")));
    }
}

#[test]
fn tls_goes_through_a_tunnel_unless_the_host_is_excepted() {
    if !support::tools::need("openssl", &["version"]) {
        return;
    }
    let origin = World::with_image("registry.invalid/app:v1", 10_000);
    certificates(origin.scratch.path());
    sh(
        origin.scratch.path(),
        "printf 'subjectAltName=DNS:registry.invalid,IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' >ext
         openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.pem 2>/dev/null",
    );
    let read = |name: &str| std::fs::read_to_string(origin.scratch.join(name)).unwrap();
    let fake = Fake::start_with(Some((&read("server.pem"), &read("server.key"))));
    let ca = origin.scratch.join("ca.pem");
    let (from, to) = ("registry.invalid/app:v1", fake.name("app:v1"));
    let config = format!("[[registry]]\nprefix = '127.0.0.1:{}'\nca = '{}'\n", fake.port, ca.display());
    let registries = origin.registries(&config);
    push(&origin.store, &registries, from, &to, &PushOptions::default(), &origin.control).unwrap();
    let proxy = Proxy::start(fake.port);
    let address = format!("http://user:p%40ss@127.0.0.1:{}", proxy.port);
    let ca = ca.to_str().unwrap();
    for (variable, except, through) in [
        ("HTTPS_PROXY", None, true),
        ("https_proxy", None, true),
        ("ALL_PROXY", None, true),
        ("HTTP_PROXY", None, false),
        ("HTTPS_PROXY", Some(("NO_PROXY", "other.invalid,gistry.invalid,registry.invalid:5000")), true),
        ("HTTPS_PROXY", Some(("NO_PROXY", "registry.invalid")), false),
        ("HTTPS_PROXY", Some(("no_proxy", "other.invalid, .invalid")), false),
        ("ALL_PROXY", Some(("NO_PROXY", "*")), false),
    ] {
        let world = World::new();
        world.file("registries.toml", "");
        fake.rule(|_| None);
        let variables: Vec<(&str, &str)> =
            [Some((variable, address.as_str())), Some(("SSL_CERT_FILE", ca)), except]
                .into_iter()
                .flatten()
                .collect();
        let out = pull(&world, &variables, from);
        let text = String::from_utf8_lossy(&out.stderr);
        // Without the proxy there is no such host.
        assert_eq!(out.status.success(), through, "{variable} {except:?}: {text}");
        let connections = proxy.asked();
        assert_eq!(!connections.is_empty(), through, "{variable} {except:?}");
        assert!(connections.iter().all(|one| one == "connect registry.invalid:443"), "{connections:?}");
        assert!(fake.log().iter().all(|seen| seen.header("proxy-authorization").is_empty()));
    }
}
