//! The files that hold credentials: Docker's `config.json` and containers' `auth.json`.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::fs::Mode;
use serde_json::{Map, Value, json};

use super::credentials::Credential;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::make_dir::PrivateDirs;
use crate::fs::publish::{Durability, Replacement};
use crate::fs::root::{c_name, parent_of, read_small_file};

const READ: &str = "read credentials";
const WRITE: &str = "write credentials";
/// The largest file that is read.
const MAX_FILE: u64 = 4 << 20;
/// The key of Docker Hub's credentials in Docker's file.
pub(super) const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Docker writes padding, other tools need not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A file of credentials, with all its other members.
#[derive(Clone)]
pub(super) struct AuthFile {
    path: PathBuf,
    object: Map<String, Value>,
}

impl AuthFile {
    /// Reads a file; one that is not there, or empty, holds nothing.
    pub fn read(path: &Path) -> Result<AuthFile> {
        let shown = path.as_os_str().as_bytes();
        let bytes = match read_small_file(path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io(READ, shown, error)),
        };
        AuthFile::parse(path, &bytes)
    }

    /// Reads the bytes of a file. No error repeats what is in it.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<AuthFile> {
        let refuse = |message: String| Error::corrupt(READ, message).with_path(path.as_os_str().as_bytes());
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(AuthFile { path: path.to_path_buf(), object: Map::new() });
        }
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| refuse(format!("not JSON: line {}, column {}", error.line(), error.column())))?;
        let Value::Object(object) = value else { return Err(refuse("not a JSON object".into())) };
        for name in ["auths", "credHelpers"] {
            if object.get(name).is_some_and(|value| !value.is_object() && !value.is_null()) {
                return Err(refuse(format!("{name} is not an object")));
            }
        }
        Ok(AuthFile { path: path.to_path_buf(), object })
    }

    /// Returns the path it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the helper that holds the credentials of a registry, if one does: its name without `docker-credential-`.
    pub fn helper(&self, registry: &str) -> Option<&str> {
        let helpers = self.object.get("credHelpers").and_then(Value::as_object);
        let own = helpers.and_then(|helpers| {
            let mut found = keys(registry).into_iter().filter_map(|key| helpers.get(&key)?.as_str());
            found.next()
        });
        let all = || self.object.get("credsStore").and_then(Value::as_str);
        own.or_else(all).filter(|name| !name.is_empty())
    }

    /// Returns the credentials of a repository: `registry/path`, then each path above it, then the registry itself.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Option<Credential>> {
        let Some(auths) = self.object.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let mut path = repository;
        while !path.is_empty() {
            if let Some(found) = auths.get(&format!("{registry}/{path}")).map(|entry| self.entry(entry)) {
                return found;
            }
            path = path.rsplit_once('/').map_or("", |(above, _)| above);
        }
        for key in keys(registry) {
            if let Some(entry) = auths.get(&key) {
                return self.entry(entry);
            }
        }
        match auths.iter().find(|(key, _)| is_address(key, registry)) {
            Some((_, entry)) => self.entry(entry),
            None => Ok(None),
        }
    }

    fn entry(&self, entry: &Value) -> Result<Option<Credential>> {
        let refuse =
            |message: &str| Error::corrupt(READ, message).with_path(self.path.as_os_str().as_bytes());
        let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Credential::identity_token(token)));
        }
        if let Some(token) = text("registrytoken") {
            return Ok(Some(Credential::registry_token(token)));
        }
        if let Some(auth) = text("auth") {
            let bytes = BASE64.decode(auth.trim()).map_err(|_| refuse("an entry's auth is not base64"))?;
            let plain = String::from_utf8(bytes).map_err(|_| refuse("an entry's auth is not UTF-8"))?;
            let (username, password) =
                plain.split_once(':').ok_or_else(|| refuse("an entry's auth has no colon"))?;
            // Docker ends the password with a NUL that it does not send.
            return Ok(Some(Credential::basic(username, password.trim_end_matches('\0'))));
        }
        match (text("username"), text("password")) {
            (Some(username), Some(password)) => Ok(Some(Credential::basic(username, password))),
            _ => Ok(None),
        }
    }

    /// Puts the credentials of a registry in; `None` leaves an entry that says where a helper holds them, as Docker does.
    pub fn put(&mut self, registry: &str, credential: Option<&Credential>) {
        let entry = credential.map_or_else(|| json!({}), |credential| credential.entry(&BASE64));
        let key = if registry == "docker.io" { HUB_KEY.to_string() } else { registry.to_string() };
        let auths = self.object.entry("auths").or_insert_with(|| json!({}));
        if auths.is_null() {
            *auths = json!({});
        }
        if let Some(auths) = auths.as_object_mut() {
            for other in keys(registry).into_iter().filter(|other| *other != key) {
                auths.shift_remove(&other);
            }
            auths.insert(key, entry);
        }
    }

    /// Takes the credentials of a registry out; whether there were any.
    pub fn remove(&mut self, registry: &str) -> bool {
        let Some(auths) = self.object.get_mut("auths").and_then(Value::as_object_mut) else { return false };
        let known = auths.len();
        auths.retain(|key, _| !(keys(registry).contains(key) || is_address(key, registry)));
        auths.len() != known
    }

    /// Writes the file atomically, readable by its owner alone. A link to a file elsewhere stays a link.
    pub fn write(&self) -> Result<()> {
        // Where dotfiles are links, the file behind the link is the one to replace.
        let path = crate::fs::root::follow(&self.path).at(WRITE, self.path.as_os_str().as_bytes())?;
        let shown = path.as_os_str().as_bytes();
        let name =
            path.file_name().ok_or_else(|| Error::invalid(WRITE, "not a file name").with_path(shown))?;
        let dir = open_private(parent_of(&path))?;
        let mut bytes = serde_json::to_vec_pretty(&self.object)
            .map_err(|error| Error::new(ErrorKind::Internal, WRITE, error.to_string()))?;
        bytes.push(b'\n');
        let mut file = Replacement::new(&dir).at(WRITE, shown)?;
        rustix::fs::fchmod(file.file(), Mode::RUSR | Mode::WUSR).at(WRITE, shown)?;
        std::io::Write::write_all(file.file(), &bytes).at(WRITE, shown)?;
        file.publish(name, Durability::Full).at(WRITE, shown)
    }
}

const HUB_HOST: &str = "index.docker.io";

/// Returns the keys a registry's entry may stand under.
fn keys(registry: &str) -> Vec<String> {
    match registry {
        "docker.io" => vec![HUB_KEY.into(), "docker.io".into(), HUB_HOST.into()],
        _ => vec![registry.into()],
    }
}

/// Returns whether a key is an address of a registry: Docker finds an entry by its host, however its key is written.
fn is_address(key: &str, registry: &str) -> bool {
    key.contains("://") && keys(registry).iter().any(|known| host_of(known) == host_of(key))
}

/// Returns the host and port of a key that may be an address.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Opens the directory of the file, making it (mode 0700) when it is not there.
fn open_private(path: &Path) -> Result<Dir> {
    let shown = path.as_os_str().as_bytes();
    match Dir::open_ambient_dir(path, ambient_authority()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        opened => return opened.at(WRITE, shown),
    }
    let Some(name) = path.file_name() else {
        return Err(Error::not_found(WRITE, "the directory does not exist").with_path(shown));
    };
    let above = open_private(parent_of(path))?;
    match c_name(name.as_bytes()).and_then(|name| PrivateDirs::default().make(&above, &name)) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io(WRITE, shown, error));
        }
        _ => {}
    }
    above.open_dir(name).at(WRITE, shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> AuthFile {
        AuthFile::parse(Path::new("config.json"), text.as_bytes()).unwrap()
    }

    #[test]
    fn entries_are_found_however_tools_write_them() {
        // u:p, with and without padding and Docker's NUL.
        let file = parse(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"a.example":{"auth":"dTpwcA"},
            "a.example/team":{"auth":"dDpw"},"https://b.example/v2/":{"username":"u","password":"p:p"},
            "c.example:5000":{"identitytoken":"tok"},"d.example":{},"e.example":{"auth":"dTpwAA=="}}}"#,
        );
        let find = |registry: &str, path: &str| file.find(registry, path).unwrap();
        assert_eq!(find("docker.io", "library/debian"), Some(Credential::basic("u", "p")));
        assert_eq!(find("a.example", "other"), Some(Credential::basic("u", "pp")));
        assert_eq!(find("a.example", "team/app/x"), Some(Credential::basic("t", "p")));
        assert_eq!(find("a.example", "teams"), Some(Credential::basic("u", "pp")));
        assert_eq!(find("b.example", ""), Some(Credential::basic("u", "p:p")));
        assert_eq!(find("c.example:5000", "x"), Some(Credential::identity_token("tok")));
        assert_eq!(find("e.example", "x"), Some(Credential::basic("u", "p")));
        // Another port is another registry, and so is a host that only ends alike.
        for registry in
            ["c.example", "a.example:443", "xa.example", "example", "d.example", "index.docker.io"]
        {
            let found = find(registry, "team");
            assert!(found.is_none() || registry == "index.docker.io", "{registry}");
        }
    }

    #[test]
    fn what_is_found_can_be_removed() {
        for (key, registry) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("https://index.docker.io/v2/", "docker.io"),
            ("http://index.docker.io", "docker.io"),
            ("index.docker.io", "docker.io"),
            ("https://docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("https://a.example/v1/", "a.example"),
            ("http://a.example:5000", "a.example:5000"),
            ("a.example:5000", "a.example:5000"),
        ] {
            let mut file = parse(&json!({ "auths": { key: { "auth": "dTpw" } } }).to_string());
            assert!(file.find(registry, "x").unwrap().is_some(), "{key}");
            assert!(file.remove(registry) && file.find(registry, "x").unwrap().is_none(), "{key}");
        }
        // Nothing of another registry goes along.
        let mut file = parse(r#"{"auths":{"https://a.example:5000/v1/":{"auth":"dTpw"},"b.example":{}}}"#);
        assert!(!file.remove("a.example") && !file.remove("docker.io"));
    }

    #[test]
    fn files_that_are_none_are_refused_without_repeating_them() {
        for text in ["[]", "{", r#"{"auths":1}"#, r#"{"auths":{},"credHelpers":[]}"#] {
            let error = AuthFile::parse(Path::new("f"), text.as_bytes()).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{text}");
        }
        let secret = r#"{"auths":{"a":{"auth":"c2VjcmV0"}}}"#;
        let error = parse(secret).find("a", "").unwrap_err();
        assert!(!error.to_string().contains("secret") && !error.to_string().contains("c2Vj"), "{error}");
        assert!(parse("  \n").find("a", "").unwrap().is_none());
        assert!(parse(r#"{"auths":null}"#).find("a", "").unwrap().is_none());
    }

    #[test]
    fn writing_keeps_what_is_not_understood() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("deep/er/config.json");
        let mut file = AuthFile::read(&path).unwrap();
        file.object.insert("psFormat".into(), json!("x"));
        file.put("docker.io", Some(&Credential::basic("u", "p")));
        file.put("a.example", Some(&Credential::identity_token("t")));
        file.write().unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);

        let link = temp.path().join("link");
        symlink(&path, &link).unwrap();
        let mut again = AuthFile::read(&link).unwrap();
        assert_eq!(again.find("docker.io", "").unwrap(), Some(Credential::basic("u", "p")));
        assert!(again.remove("docker.io") && !again.remove("docker.io"));
        again.write().unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        let text = std::fs::read_to_string(&path).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            json!({"psFormat": "x", "auths": {"a.example": {"identitytoken": "t", "auth": "PHRva2VuPjo="}}})
        );
    }

    #[test]
    fn helpers_of_a_registry_come_before_the_store_of_all() {
        let file =
            parse(r#"{"credsStore":"desktop","credHelpers":{"a.example":"ecr-login","b.example":""}}"#);
        assert_eq!(file.helper("a.example"), Some("ecr-login"));
        assert_eq!(file.helper("b.example"), None);
        assert_eq!(file.helper("c.example"), Some("desktop"));
        assert_eq!(parse("{}").helper("a"), None);
    }
}
