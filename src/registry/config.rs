//! Where registries are: mirrors, plain http, certificate authorities.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::origin::{Location, Origin};
use crate::error::{At, Error, Result};
use crate::store::Reference;

const OP: &str = "read registries.toml";
/// The largest file that is read.
const MAX_FILE: u64 = 1 << 20;
/// The server that Docker Hub's API is on.
const HUB: &str = "registry-1.docker.io";

/// The settings of registries: the content of `registries.toml`.
///
/// ```toml
/// [[registry]]
/// prefix = "docker.io"                   # what it applies to: a registry, or a registry and a path; the longest wins
/// location = "hub.corp.example/docker"   # where it is instead
/// mirrors = ["10.0.0.5:5000/hub"]        # asked first when pulling, in order
/// insecure = true                        # http, or https with any certificate; for `location`
/// ca = "corp.pem"                        # certificates to trust besides the system's; relative to this file
/// client_cert = "me.pem"                 # a certificate to show, and its key
/// client_key = "me.key"
/// realms = ["https://sso.corp.example"]  # other origins that may ask for this registry's credentials
/// ```
///
/// A location may begin with `http://` or `https://`; without, it is https, unless `insecure` or a loopback address lets a
/// server that speaks no TLS be spoken to in plain http. `ca` and `insecure` are for one place: a token server, an upload or a redirect at another
/// one is trusted as the entry says that has its host and port as prefix.
#[derive(Debug, Clone, Default)]
pub struct Config {
    entries: Vec<Entry>,
}

/// The settings of the names below one prefix.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    prefix: String,
    location: Option<String>,
    #[serde(default)]
    mirrors: Vec<String>,
    #[serde(default)]
    insecure: bool,
    ca: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    #[serde(default)]
    realms: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    registry: Vec<Entry>,
}

/// A place where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The origin; its scheme is only certain when `fixed`.
    pub origin: Origin,
    /// Whether the scheme was given.
    pub fixed: bool,
    /// The repository's path there.
    pub repository: String,
    /// The key of its credentials: `HOST[:PORT]`, as it is written in names.
    pub key: String,
    /// Whether any certificate is good enough, and plain http.
    pub insecure: bool,
    /// Whether it is a copy that is asked before the registry itself.
    pub mirror: bool,
    /// Files with certificates to trust, and to show.
    pub tls: TlsFiles,
    /// Other origins that may ask for this one's credentials.
    pub realms: Vec<Origin>,
}

/// The files of trusted certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TlsFiles {
    pub ca: Option<PathBuf>,
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

impl Config {
    /// Reads the file that `$TREERING_REGISTRIES` names, else `$XDG_CONFIG_HOME/treering/registries.toml` or
    /// `~/.config/treering/registries.toml`. Without `$TREERING_REGISTRIES` the file need not be there.
    pub fn from_env() -> Result<Config> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = set("TREERING_REGISTRIES") {
            return Config::read(Path::new(&path));
        }
        let home = || set("HOME").map(|home| Path::new(&home).join(".config"));
        let Some(dir) = set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home) else {
            return Ok(Config::default());
        };
        match Config::read(&dir.join("treering/registries.toml")) {
            Err(error) if error.kind() == crate::ErrorKind::NotFound => Ok(Config::default()),
            result => result,
        }
    }

    /// Reads a file.
    pub fn read(path: impl AsRef<Path>) -> Result<Config> {
        let path = path.as_ref();
        let shown = path.as_os_str().as_encoded_bytes();
        let bytes = crate::fs::root::read_small_file(path, MAX_FILE).at(OP, shown)?;
        let text = String::from_utf8(bytes).map_err(|_| Error::invalid(OP, "not UTF-8").with_path(shown))?;
        let mut config = Config::parse(&text).map_err(|error| error.with_path(shown))?;
        let dir = path.parent().unwrap_or(Path::new(""));
        for entry in &mut config.entries {
            for file in [&mut entry.ca, &mut entry.client_cert, &mut entry.client_key].into_iter().flatten() {
                *file = dir.join(&*file);
            }
        }
        Ok(config)
    }

    /// Reads the text of a file. Paths in it stay as they are.
    pub fn parse(text: &str) -> Result<Config> {
        let mut file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            let message = error.message().trim().replace('\n', " ");
            Error::invalid(OP, format!("line {line}: {message}"))
        })?;
        let mut seen = HashSet::new();
        for entry in &mut file.registry {
            let refuse = |message: String| Err(Error::invalid(OP, message));
            entry.prefix = prefix_of(&entry.prefix)?;
            if !seen.insert(entry.prefix.clone()) {
                return refuse(format!("prefix {:?} stands there twice", entry.prefix));
            }
            if entry.client_cert.is_some() != entry.client_key.is_some() {
                return refuse(format!("{}: client_cert and client_key go together", entry.prefix));
            }
            for place in entry.location.iter().chain(&entry.mirrors) {
                place_of(place)?;
            }
            for realm in &entry.realms {
                Location::parse(realm)?;
            }
        }
        Ok(Config { entries: file.registry })
    }

    /// Returns where a name's repository is: its mirrors, then the registry itself.
    pub(super) fn endpoints(&self, name: &Reference) -> Result<Vec<Endpoint>> {
        self.find(name.domain(), name.path())
    }

    /// Returns the place where a name's repository itself is, without its mirrors.
    pub(super) fn of(&self, name: &Reference) -> Result<Endpoint> {
        Ok(self.endpoints(name)?.pop().expect("the registry itself comes last"))
    }

    /// Returns a registry by its name alone, for logging in to it.
    pub(super) fn registry(&self, domain: &str) -> Result<Endpoint> {
        Ok(self.find(domain, "")?.pop().expect("the registry itself comes last"))
    }

    /// Returns how an origin is trusted that a server named: as the entry says that has it as its prefix. A certificate of the user's is not
    /// among that: like other credentials it is only for what the user named.
    pub(super) fn trust(&self, origin: &Origin) -> (bool, TlsFiles) {
        let about = |entry: &&Entry| {
            let is = |place: &str| Origin::of_domain(origin.is_secure(), place).is_ok_and(|it| it == *origin);
            // What an entry says is about its location.
            let there = entry.location.as_deref().is_none_or(|place| {
                place_of(place)
                    .is_ok_and(|(it, _, _)| it.host() == origin.host() && it.port() == origin.port())
            });
            !entry.prefix.contains('/') && is(&entry.prefix) && there
        };
        let Some(entry) = self.entries.iter().find(about) else { return Default::default() };
        (entry.insecure, TlsFiles { ca: entry.ca.clone(), ..TlsFiles::default() })
    }

    fn find(&self, domain: &str, path: &str) -> Result<Vec<Endpoint>> {
        let host = domain.to_ascii_lowercase();
        let whole = if path.is_empty() { host } else { format!("{host}/{path}") };
        let below = |prefix: &str| {
            whole.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let found = self.entries.iter().filter(|entry| below(&entry.prefix));
        let Some(entry) = found.max_by_key(|entry| entry.prefix.len()) else {
            return Ok(vec![Endpoint::of_domain(domain, path)?]);
        };
        let rest = whole[entry.prefix.len()..].trim_start_matches('/');
        let mut out = Vec::new();
        for mirror in &entry.mirrors {
            let mut endpoint = Endpoint::of_place(mirror, rest)?;
            // What a mirror is trusted by is said where it is a prefix of its own.
            if let Some(own) = self.entries.iter().find(|entry| entry.prefix == endpoint.key) {
                own.apply(&mut endpoint)?;
            }
            endpoint.mirror = true;
            out.push(endpoint);
        }
        let mut own = match &entry.location {
            Some(location) => Endpoint::of_place(location, rest)?,
            None => Endpoint::of_domain(domain, path)?,
        };
        entry.apply(&mut own)?;
        out.push(own);
        Ok(out)
    }
}

impl Entry {
    /// Puts what the entry says about trust into an endpoint.
    fn apply(&self, endpoint: &mut Endpoint) -> Result<()> {
        endpoint.insecure = self.insecure;
        endpoint.tls = TlsFiles {
            ca: self.ca.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
        };
        for realm in &self.realms {
            endpoint.realms.push(Location::parse(realm)?.origin().clone());
        }
        Ok(())
    }
}

impl Endpoint {
    /// Returns the place that a name's registry and path mean by themselves.
    fn of_domain(domain: &str, path: &str) -> Result<Endpoint> {
        let host = if domain == "docker.io" { HUB } else { domain };
        Ok(Endpoint {
            origin: Origin::of_domain(true, host)?,
            fixed: false,
            repository: path.to_string(),
            key: domain.to_string(),
            insecure: false,
            mirror: false,
            tls: TlsFiles::default(),
            realms: Vec::new(),
        })
    }

    /// Returns the place that a location of the file names, with what follows the prefix in the name.
    fn of_place(location: &str, rest: &str) -> Result<Endpoint> {
        let (origin, fixed, path) = place_of(location)?;
        let mut parts = vec![path.as_str(), rest];
        parts.retain(|part| !part.is_empty());
        let repository = parts.join("/");
        let key = origin.authority();
        Ok(Endpoint { origin, fixed, key, ..Endpoint::of_domain("localhost", &repository)? })
    }
}

/// Returns a prefix as names of images begin: one that none can begin with would say nothing about any.
fn prefix_of(text: &str) -> Result<String> {
    let (domain, path) = text.split_once('/').unwrap_or((text, ""));
    let path = path.strip_suffix('/').unwrap_or(path);
    let refuse = || Error::invalid(OP, format!("prefix {text:?} is not a registry and path"));
    if domain.contains('*') {
        return Err(refuse().with_hint("there are no patterns: name each registry"));
    }
    let domain = domain.to_ascii_lowercase();
    // `host/x` has a registry when the host has a dot, a colon, or is localhost.
    let name = Reference::parse(&format!("{domain}/x")).map_err(|_| refuse())?;
    if !path_ok(path) || Origin::of_domain(true, &domain).is_err() {
        return Err(refuse());
    }
    let (written, domain) = (domain, name.domain());
    if domain == "docker.io" && !written.ends_with("docker.io") {
        return Err(
            refuse().with_hint(format!("of Docker Hub, write docker.io/{text} or docker.io/library/{text}"))
        );
    }
    Ok(if path.is_empty() { domain.to_string() } else { format!("{domain}/{path}") })
}

fn path_ok(path: &str) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    path.is_empty() || path.split('/').all(|part| !part.is_empty() && part != ".." && part.bytes().all(ok))
}

/// Reads `[SCHEME://]HOST[:PORT][/PATH]`: the origin, whether the scheme was given, and the path.
fn place_of(text: &str) -> Result<(Origin, bool, String)> {
    let fixed = text.starts_with("http://") || text.starts_with("https://");
    let location = match fixed || text.contains("://") {
        true => Location::parse(text)?,
        false => Location::parse(&format!("https://{text}"))?,
    };
    let path = location.target().trim_matches('/');
    if !path_ok(path) {
        return Err(Error::invalid(OP, "not a path of repositories").with_path(text));
    }
    Ok((location.origin().clone(), fixed, path.to_string()))
}

/// Returns whether a host is among those of `NO_PROXY`: names and the names below them, addresses, networks, `*`.
pub(super) fn bypasses_proxy(list: &OsStr, origin: &Origin) -> bool {
    let host = origin.host().trim_matches(['[', ']']);
    list.to_string_lossy().split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let (Some(address), Some((network, bits))) = (origin.address(), entry.split_once('/')) {
            let inside = network.parse().ok().zip(bits.parse().ok());
            return inside.is_some_and(|(network, bits)| in_network(address, network, bits));
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
                (name, port.parse::<u16>().ok())
            }
            _ => (entry, None),
        };
        let name = name.trim_matches(['[', ']']).trim_start_matches("*.").trim_start_matches('.');
        let name = name.to_ascii_lowercase();
        port.is_none_or(|port| port == origin.port())
            && (host == name || host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.')))
    })
}

fn in_network(address: std::net::IpAddr, network: std::net::IpAddr, bits: u32) -> bool {
    use std::net::IpAddr::{V4, V6};
    match (address, network) {
        (V4(a), V4(n)) if bits <= 32 => {
            (u32::from(a) ^ u32::from(n)).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (V6(a), V6(n)) if bits <= 128 => {
            (u128::from(a) ^ u128::from(n)).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(config: &Config, name: &str) -> Vec<(String, String, bool, bool)> {
        let found = config.endpoints(&Reference::parse(name).unwrap()).unwrap();
        found.into_iter().map(|e| (e.origin.to_string(), e.repository, e.mirror, e.insecure)).collect()
    }

    #[test]
    fn names_lead_to_places() {
        let none = Config::default();
        let hub = "https://registry-1.docker.io".to_string();
        assert_eq!(endpoints(&none, "debian"), [(hub.clone(), "library/debian".into(), false, false)]);
        assert_eq!(
            endpoints(&none, "localhost:5000/a/b"),
            [("https://localhost:5000".into(), "a/b".into(), false, false)]
        );
        let config = Config::parse(
            r#"
            [[registry]]
            prefix = "docker.io"
            mirrors = ["http://10.0.0.5:5000/hub", "mirror.example"]
            [[registry]]
            prefix = "docker.io/corp"
            location = "corp.example/team"
            insecure = true
            "#,
        )
        .unwrap();
        assert_eq!(
            endpoints(&config, "debian"),
            [
                ("http://10.0.0.5:5000".into(), "hub/library/debian".into(), true, false),
                ("https://mirror.example".into(), "library/debian".into(), true, false),
                (hub, "library/debian".into(), false, false),
            ]
        );
        assert_eq!(
            endpoints(&config, "corp/app"),
            [("https://corp.example".into(), "team/app".into(), false, true)]
        );
        // However a prefix is written, it is that of the names.
        for (prefix, name) in [
            ("reg.corp/", "reg.corp/a"),
            ("Reg.Corp", "reg.corp/a"),
            ("reg.corp", "REG.corp/a"),
            ("index.docker.io", "debian"),
            ("docker.io/library/", "debian"),
            ("localhost", "localhost/a"),
            ("[::1]:5000", "[::1]:5000/a"),
        ] {
            let one = Config::parse(&format!("[[registry]]\nprefix = '{prefix}'\ninsecure = true")).unwrap();
            assert!(endpoints(&one, name)[0].3, "{prefix}");
        }
        // A prefix ends at a slash.
        assert_eq!(endpoints(&config, "corporate/app").len(), 3);
    }

    #[test]
    fn what_a_server_names_is_trusted_as_its_own_entry_says() {
        let config = Config::parse(
            r#"
            [[registry]]
            prefix = "a.example"
            ca = "a.pem"
            insecure = true
            client_cert = "me.pem"
            client_key = "me.key"
            [[registry]]
            prefix = "a.example/team"
            ca = "team.pem"
            [[registry]]
            prefix = "b.example:5000"
            ca = "b.pem"
            [[registry]]
            prefix = "c.example"
            location = "d.example"
            ca = "d.pem"
            insecure = true
            [[registry]]
            prefix = "e.example"
            location = "e.example/team"
            ca = "e.pem"
            "#,
        )
        .unwrap();
        let trust = |text: &str| config.trust(Location::parse(text).unwrap().origin());
        let only = |insecure, ca: &str| (insecure, TlsFiles { ca: Some(ca.into()), ..TlsFiles::default() });
        assert_eq!(trust("https://a.example/"), only(true, "a.pem"), "no certificate of the user's");
        assert_eq!(trust("https://b.example:5000/"), only(false, "b.pem"));
        assert_eq!(trust("https://e.example/"), only(false, "e.pem"));
        // Neither another port nor another name, nor the name that stands for another place, nor the place itself.
        for text in [
            "https://a.example:5000/",
            "https://x.a.example/",
            "https://b.example/",
            "https://c.example/",
            "https://d.example/",
        ] {
            assert_eq!(trust(text), Default::default(), "{text}");
        }
    }

    #[test]
    fn files_that_make_no_sense_are_refused() {
        for text in [
            "registry = 1",
            "[[registry]]",
            "[[registry]]\nprefix = ''",
            "[[registry]]\nprefix = 'a.example/../b'",
            "[[registry]]\nprefix = 'a.example//b'",
            "[[registry]]\nprefix = 'debian'",
            "[[registry]]\nprefix = '*.a.example'",
            "[[registry]]\nprefix = 'https://a.example'",
            "[[registry]]\nprefix = 'user@a.example'",
            "[[registry]]\nprefix = 'a.example'\n[[registry]]\nprefix = 'A.example/'",
            "[[registry]]\nprefix = 'a.b'\nunknown = 1",
            "[[registry]]\nprefix = 'a.b'\nlocation = 'ftp://b'",
            "[[registry]]\nprefix = 'a.b'\nmirrors = ['https://user@b']",
            "[[registry]]\nprefix = 'a.b'\nrealms = ['b']",
            "[[registry]]\nprefix = 'a.b'\nclient_cert = 'b'",
            "[[registry]]\nprefix = 'a.b'\n[[registry]]\nprefix = 'a.b'",
        ] {
            assert!(Config::parse(text).is_err(), "{text}");
        }
        let error = Config::parse("[[registry]]\nprefix = 'a.b'\nunknown = 1\n").unwrap_err();
        assert!(error.message().starts_with("line 3: "), "{error}");
    }

    #[test]
    fn proxies_are_bypassed_for_what_is_named() {
        let bypasses = |list: &str, host: &str, port| {
            bypasses_proxy(OsStr::new(list), &Origin::new(true, host, Some(port)))
        };
        for (list, host) in [
            ("*", "a.example"),
            ("b, .a.example", "x.a.example"),
            ("a.example", "a.example"),
            ("A.example", "x.a.example"),
            ("*.a.example", "x.a.example"),
            ("a.example:5000", "a.example"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("::1", "[::1]"),
            ("fc00::/7", "[fd00::1]"),
            ("0.0.0.0/0", "1.2.3.4"),
        ] {
            assert!(bypasses(list, host, 5000), "{list} {host}");
        }
        for (list, host) in [
            ("", "a.example"),
            ("a.example:443", "a.example"),
            ("example", "example.test"),
            ("a.example", "ba.example"),
            ("10.0.0.0/8", "11.1.2.3"),
            ("10.0.0.0/99", "10.1.2.3"),
            ("10.0.0.0/8", "a.example"),
        ] {
            assert!(!bypasses(list, host, 5000), "{list} {host}");
        }
    }
}
