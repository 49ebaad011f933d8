//! Credentials: what they are, and where they are looked up and kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use serde_json::{Value, json};

use super::auth_file::{AuthFile, HUB_KEY};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Cancel;

const FIND: &str = "find credentials";
/// The user name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// The most that a helper's answer may have.
const MAX_ANSWER: usize = 1 << 20;

/// A user's proof of identity to a registry. Never printed: `Debug` shows the user name only.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Basic { username: String, password: String },
    IdentityToken(String),
    RegistryToken(String),
}

impl Credential {
    /// Returns a user name and a password.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Credential {
        let (username, password) = (username.into(), password.into());
        if username == TOKEN_USER {
            return Credential::identity_token(password);
        }
        Credential(Kind::Basic { username, password })
    }

    /// Returns a token that the registry's token server exchanges for others (OAuth 2's refresh token).
    pub fn identity_token(token: impl Into<String>) -> Credential {
        Credential(Kind::IdentityToken(token.into()))
    }

    /// Returns a token that is sent to the registry as it is.
    pub fn registry_token(token: impl Into<String>) -> Credential {
        Credential(Kind::RegistryToken(token.into()))
    }

    /// Returns user name and password, if it is these.
    pub(super) fn as_basic(&self) -> Option<(&str, &str)> {
        match &self.0 {
            Kind::Basic { username, password } => Some((username, password)),
            _ => None,
        }
    }

    /// Returns the identity token, when it is one.
    pub(super) fn as_identity_token(&self) -> Option<&str> {
        match &self.0 {
            Kind::IdentityToken(token) => Some(token),
            _ => None,
        }
    }

    /// Returns the registry token, when it is one.
    pub(super) fn as_registry_token(&self) -> Option<&str> {
        match &self.0 {
            Kind::RegistryToken(token) => Some(token),
            _ => None,
        }
    }

    /// Returns the entry of Docker's file.
    pub(super) fn entry(&self, base64: &impl Engine) -> Value {
        match &self.0 {
            Kind::Basic { username, password } => {
                json!({ "auth": base64.encode(format!("{username}:{password}")) })
            }
            Kind::IdentityToken(token) => {
                json!({ "auth": base64.encode(format!("{TOKEN_USER}:")), "identitytoken": token })
            }
            Kind::RegistryToken(token) => json!({ "registrytoken": token }),
        }
    }

    /// Returns the user name and the secret that a helper keeps.
    fn for_helper(&self) -> (&str, &str) {
        match &self.0 {
            Kind::Basic { username, password } => (username, password),
            Kind::IdentityToken(token) | Kind::RegistryToken(token) => (TOKEN_USER, token),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Basic { username, .. } => write!(f, "Credential({username:?}, …)"),
            Kind::IdentityToken(_) => f.write_str("Credential(identity token)"),
            Kind::RegistryToken(_) => f.write_str("Credential(registry token)"),
        }
    }
}

/// A call of a credential helper: the protocol of `docker-credential-helpers`.
#[derive(Clone)]
pub struct HelperCall<'a> {
    /// The program: `docker-credential-` and the name from the file; never a path.
    pub program: &'a str,
    /// Its only argument: `get`, `store` or `erase`.
    pub action: &'a str,
    /// Its standard input. May hold a secret.
    pub input: &'a [u8],
    /// The token of the operation that needs the answer: nobody waits for it once this is cancelled.
    pub cancel: &'a Cancel,
}

/// The answer of a credential helper.
#[derive(Clone, Default)]
pub struct HelperAnswer {
    /// Whether it exited with 0.
    pub success: bool,
    /// Its standard output, at most 1 MiB of it. May hold a secret.
    pub output: Vec<u8>,
}

/// A function that starts a credential helper and waits for it. The library itself starts no process: the command has such a function, and a
/// caller of the library may give one.
pub type HelperRunner = Arc<dyn Fn(&HelperCall<'_>) -> Result<HelperAnswer> + Send + Sync>;

/// A function that is asked for the credentials of a registry (`registry.example:5000`) and a repository in it before any
/// file is; `None` sends the question on to the files.
pub type Asked = Arc<dyn Fn(&str, &str) -> Result<Option<Credential>> + Send + Sync>;

/// The sources of credentials. The default has none.
#[derive(Clone, Default)]
pub struct Credentials {
    asked: Option<Asked>,
    runner: Option<HelperRunner>,
    /// The files that are read; the first one that has an entry wins. New ones go into `write`.
    read: Vec<PathBuf>,
    write: Option<PathBuf>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("read", &self.read)
            .field("write", &self.write)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Returns the files that other tools use. `$REGISTRY_AUTH_FILE` alone when it is set; else, first one first, `auth.json` in
    /// `$XDG_RUNTIME_DIR/containers` and `$XDG_CONFIG_HOME/containers` (containers-auth.json(5)), and Docker's `config.json`
    /// in `$DOCKER_CONFIG` or `~/.docker`. New ones go to `$REGISTRY_AUTH_FILE` or to Docker's file, unless a file that is read before
    /// that has some of the registry: these are replaced there.
    pub fn from_env() -> Credentials {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Credentials::from_places(
            set("REGISTRY_AUTH_FILE"),
            set("DOCKER_CONFIG"),
            set("HOME"),
            set("XDG_RUNTIME_DIR"),
            set("XDG_CONFIG_HOME"),
        )
    }

    fn from_places(
        file: Option<PathBuf>,
        docker: Option<PathBuf>,
        home: Option<PathBuf>,
        runtime: Option<PathBuf>,
        config: Option<PathBuf>,
    ) -> Credentials {
        if let Some(file) = file {
            return Credentials { read: vec![file.clone()], write: Some(file), ..Credentials::default() };
        }
        let explicit = docker.is_some();
        let docker = docker
            .or_else(|| home.as_ref().map(|home| home.join(".docker")))
            .map(|dir| dir.join("config.json"));
        let config = config.or_else(|| home.map(|home| home.join(".config")));
        let containers = runtime.into_iter().chain(config).map(|dir| dir.join("containers/auth.json"));
        let mut read: Vec<PathBuf> = containers.collect();
        match (&docker, explicit) {
            // Named on purpose, it comes before what merely lies about.
            (Some(docker), true) => read.insert(0, docker.clone()),
            (Some(docker), false) => read.push(docker.clone()),
            (None, _) => {}
        }
        Credentials { read, write: docker, ..Credentials::default() }
    }

    /// Makes credentials that are read from and written to one file.
    pub fn in_file(path: impl Into<PathBuf>) -> Credentials {
        let path = path.into();
        Credentials { read: vec![path.clone()], write: Some(path), ..Credentials::default() }
    }

    /// Returns the same, asking a function first.
    pub fn asking(self, asked: Asked) -> Credentials {
        Credentials { asked: Some(asked), ..self }
    }

    /// Returns the same, with a function that starts credential helpers. Without one, an entry that a helper holds is an
    /// error.
    pub fn with_helpers(self, runner: HelperRunner) -> Credentials {
        Credentials { runner: Some(runner), ..self }
    }

    /// Returns the credentials of a repository; `None` for an anonymous request.
    pub(super) fn find(
        &self,
        registry: &str,
        repository: &str,
        cancel: &Cancel,
    ) -> Result<Option<Credential>> {
        if let Some(asked) = &self.asked
            && let Some(found) = asked(registry, repository)?
        {
            return Ok(Some(found));
        }
        for path in &self.read {
            let file = AuthFile::read(path)?;
            if let Some(helper) = file.helper(registry)
                && let Some(found) = self.get(helper, registry, cancel)?
            {
                return Ok(Some(found));
            }
            if let Some(found) = file.find(registry, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Keeps the credentials of a registry; returns where, for people to read. Those that are there already are replaced in their place: a
    /// new entry in another file would never be found.
    pub(super) fn store(&self, registry: &str, credential: &Credential, cancel: &Cancel) -> Result<String> {
        let mut file = match self.holder(registry, cancel)? {
            Some(file) => file,
            None => self.target()?,
        };
        let shown = file.path().display().to_string();
        if let Some(helper) = file.helper(registry).map(str::to_string) {
            let (username, secret) = credential.for_helper();
            let input = json!({ "ServerURL": server(registry), "Username": username, "Secret": secret });
            let answer = self.run(&helper, "store", input.to_string().as_bytes(), cancel)?;
            if !answer.success {
                return Err(failed(&helper, "store", &answer));
            }
            file.put(registry, None);
            file.write()?;
            return Ok(format!("the credential helper {helper}"));
        }
        file.put(registry, Some(credential));
        file.write()?;
        Ok(shown)
    }

    /// Forgets the credentials of a registry; whether there were any.
    pub(super) fn erase(&self, registry: &str, cancel: &Cancel) -> Result<bool> {
        let mut any = false;
        for path in &self.read {
            let mut file = AuthFile::read(path)?;
            if let Some(helper) = file.helper(registry).map(str::to_string)
                && self.get(&helper, registry, cancel)?.is_some()
            {
                let answer = self.run(&helper, "erase", server(registry).as_bytes(), cancel)?;
                if !answer.success {
                    return Err(failed(&helper, "erase", &answer));
                }
                any = true;
            }
            if file.remove(registry) {
                file.write()?;
                any = true;
            }
        }
        Ok(any)
    }

    /// Returns the first file that has credentials of a registry itself, or names the helper that has them.
    fn holder(&self, registry: &str, cancel: &Cancel) -> Result<Option<AuthFile>> {
        for path in &self.read {
            // A file that new entries go to is asked no further: its helper may have to be unlocked.
            if Some(path) == self.write.as_ref() {
                return Ok(None);
            }
            let file = AuthFile::read(path)?;
            let held = match file.helper(registry) {
                Some(helper) => self.get(helper, registry, cancel)?.is_some(),
                None => false,
            };
            // An entry that cannot be read would be found all the same.
            if held || !matches!(file.find(registry, ""), Ok(None)) {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    fn target(&self) -> Result<AuthFile> {
        let none = || {
            Error::invalid("write credentials", "there is no file to keep credentials in")
                .with_hint("set HOME, DOCKER_CONFIG or REGISTRY_AUTH_FILE")
        };
        AuthFile::read(self.write.as_deref().map(Path::new).ok_or_else(none)?)
    }

    fn get(&self, helper: &str, registry: &str, cancel: &Cancel) -> Result<Option<Credential>> {
        let answer = self.run(helper, "get", server(registry).as_bytes(), cancel)?;
        if !answer.success {
            // The protocol says so in words; everything else is a failure.
            let text = String::from_utf8_lossy(&answer.output);
            let none = ["credentials not found", "no credentials"].iter().any(|words| text.contains(words));
            return if none { Ok(None) } else { Err(failed(helper, "get", &answer)) };
        }
        let refuse = |message: &str| Error::corrupt(FIND, message).with_path(helper);
        let value: Value =
            serde_json::from_slice(&answer.output).map_err(|_| refuse("the helper's answer is not JSON"))?;
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
        let (username, secret) = (text("Username"), text("Secret"));
        if secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(Credential::basic(username, secret)))
    }

    fn run(&self, helper: &str, action: &str, input: &[u8], cancel: &Cancel) -> Result<HelperAnswer> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if helper.is_empty() || !helper.bytes().all(plain) {
            let message = "the name of a credential helper has letters, digits, -, _ and . only";
            return Err(Error::corrupt(FIND, message).with_path(helper));
        }
        let Some(runner) = &self.runner else {
            let message = "the credentials are with a helper program, and starting it was not allowed";
            return Err(Error::new(ErrorKind::Unauthorized, FIND, message).with_path(helper));
        };
        let program = format!("docker-credential-{helper}");
        let call = HelperCall { program: &program, action, input, cancel };
        let answer = runner(&call).map_err(|error| match error.kind() {
            // That the program is not there says nothing about the image that the credentials are for.
            ErrorKind::NotFound => {
                let message = "the credentials are with a helper program, which is not installed";
                Error::new(ErrorKind::Unauthorized, FIND, message)
                    .with_path(&program)
                    .with_hint("install it, or take its name out of credsStore and credHelpers in the file of credentials")
            }
            _ => error,
        })?;
        if answer.output.len() > MAX_ANSWER {
            return Err(Error::limit(FIND, "the helper's answer is too long").with_path(helper));
        }
        Ok(answer)
    }
}

/// Returns the name by which helpers find a registry.
fn server(registry: &str) -> &str {
    if registry == "docker.io" { HUB_KEY } else { registry }
}

fn failed(helper: &str, action: &str, answer: &HelperAnswer) -> Error {
    // On failure the output is a message.
    let text = String::from_utf8_lossy(&answer.output[..answer.output.len().min(500)]).trim().to_string();
    let message = format!("the credential helper failed to {action}: {text}");
    Error::new(ErrorKind::Unauthorized, FIND, message).with_path(helper)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn never() -> Cancel {
        Cancel::default()
    }

    #[test]
    fn files_are_asked_in_the_order_of_other_tools() {
        let path = |text: &str| Some(PathBuf::from(text));
        let places = Credentials::from_places(None, None, path("/h"), path("/r"), None);
        let shown = |paths: &[PathBuf]| paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            shown(&places.read),
            ["/r/containers/auth.json", "/h/.config/containers/auth.json", "/h/.docker/config.json"]
        );
        assert_eq!(places.write, path("/h/.docker/config.json"));
        let docker = Credentials::from_places(None, path("/d"), path("/h"), None, path("/c"));
        assert_eq!(shown(&docker.read), ["/d/config.json", "/c/containers/auth.json"]);
        let file = Credentials::from_places(path("/f"), path("/d"), path("/h"), None, None);
        assert_eq!((shown(&file.read), file.write), (vec!["/f".to_string()], path("/f")));
    }

    #[test]
    fn what_a_login_keeps_is_what_is_found() {
        let old = r#"{"auths":{"a.example":{"auth":"b2xkOm9sZA=="}}}"#;
        let kept = |name: &str| json!({ "credHelpers": { "a.example": name } }).to_string();
        // A helper that holds old credentials, and one that holds none; both take new ones.
        let held = Mutex::new(std::collections::HashMap::from([(
            "docker-credential-full".to_string(),
            r#"{"Username":"old","Secret":"old"}"#.to_string(),
        )]));
        let held = Arc::new(held);
        let runner: HelperRunner = Arc::new(move |call| {
            let mut held = held.lock().unwrap();
            let input = String::from_utf8(call.input.to_vec()).unwrap();
            let none = "credentials not found in native keychain".to_string();
            let (success, output) = match call.action {
                "store" => {
                    held.insert(call.program.into(), input);
                    (true, String::new())
                }
                _ => held.get(call.program).map_or((false, none), |text| (true, text.clone())),
            };
            Ok(HelperAnswer { success, output: output.into_bytes() })
        });
        let damaged = r#"{"auths":{"a.example":{"auth":"*"}}}"#;
        let other = r#"{"auths":{"b.example":{"auth":"b2xkOm9sZA=="},"a.example/x/y":{"auth":"eDp5"}}}"#;
        for (at, file, there) in [
            (0, old, true),
            (1, old, true),
            (2, old, true),
            (0, damaged, true),
            (0, r#"{"auths":{"https://a.example/v1/":{"auth":"b2xkOm9sZA=="}}}"#, true),
            (0, &kept("full"), true),
            (0, &kept("empty"), false),
            (1, other, false),
            (0, r#"{"auths":{"a.example":{}}}"#, false),
        ] {
            let temp = tempfile::tempdir().unwrap();
            let dir = |name: &str| Some(temp.path().join(name));
            let places = Credentials::from_places(None, None, dir("h"), dir("r"), dir("c"))
                .with_helpers(runner.clone());
            std::fs::create_dir_all(places.read[at].parent().unwrap()).unwrap();
            std::fs::write(&places.read[at], file).unwrap();
            let new = Credential::basic("new", "new");
            let shown = places.store("a.example", &new, &never()).unwrap();
            for repository in ["", "x", "x/z"] {
                assert_eq!(
                    places.find("a.example", repository, &never()).unwrap().as_ref(),
                    Some(&new),
                    "{file}"
                );
            }
            let docker = places.write.as_ref().unwrap();
            assert_eq!(docker.exists(), !there || at == 2, "{file}: {shown}");
            // What else the file has stays, and no other file was made.
            let now: Value = serde_json::from_slice(&std::fs::read(&places.read[at]).unwrap()).unwrap();
            let before: Value = serde_json::from_str(file).unwrap();
            if !there {
                assert_eq!(now, before);
            }
            assert_eq!(places.read.iter().filter(|path| path.exists()).count(), if there { 1 } else { 2 });
            assert!(places.erase("a.example", &never()).is_ok());
        }
    }

    #[test]
    fn helpers_are_asked_stored_and_erased_by_their_protocol() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("config.json");
        std::fs::write(&path, r#"{"credHelpers":{"a.example":"memory"}}"#).unwrap();
        let kept: Arc<Mutex<Option<String>>> = Arc::default();
        let memory = kept.clone();
        let runner: HelperRunner = Arc::new(move |call| {
            assert_eq!(call.program, "docker-credential-memory");
            let input = String::from_utf8(call.input.to_vec()).unwrap();
            let mut kept = memory.lock().unwrap();
            let output = match call.action {
                "store" => {
                    *kept = Some(input);
                    String::new()
                }
                "erase" => {
                    assert_eq!(input, "a.example");
                    *kept = None;
                    String::new()
                }
                _ => match &*kept {
                    Some(text) => text.clone(),
                    None => {
                        let output = b"credentials not found in native keychain\n".to_vec();
                        return Ok(HelperAnswer { success: false, output });
                    }
                },
            };
            Ok(HelperAnswer { success: true, output: output.into_bytes() })
        });
        let without = Credentials::in_file(&path);
        assert_eq!(without.find("a.example", "x", &never()).unwrap_err().kind(), ErrorKind::Unauthorized);
        let with = without.with_helpers(runner);
        assert_eq!(with.find("a.example", "x", &never()).unwrap(), None);
        for credential in [Credential::basic("u", "p"), Credential::identity_token("t")] {
            with.store("a.example", &credential, &never()).unwrap();
            assert_eq!(with.find("a.example", "x", &never()).unwrap(), Some(credential));
            assert!(!std::fs::read_to_string(&path).unwrap().contains("auth\""));
        }
        assert!(with.erase("a.example", &never()).unwrap());
        assert!(!with.erase("a.example", &never()).unwrap());
        assert_eq!(with.find("b.example", "x", &never()).unwrap(), None);
    }

    #[test]
    fn a_helper_that_is_not_installed_is_no_missing_image() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("config.json");
        std::fs::write(&path, r#"{"credsStore":"gone"}"#).unwrap();
        let missing =
            || Error::io("start credential helper", "x", std::io::Error::from_raw_os_error(libc::ENOENT));
        let runner: HelperRunner = Arc::new(move |_| Err(missing()));
        let credentials = Credentials::in_file(&path).with_helpers(runner);
        let credential = Credential::basic("u", "p");
        for error in [
            credentials.find("a.example", "x", &never()).unwrap_err(),
            credentials.store("a.example", &credential, &never()).unwrap_err(),
            credentials.erase("a.example", &never()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
            assert!(
                error.to_string().contains("docker-credential-gone") && error.hint().is_some(),
                "{error}"
            );
        }
    }

    #[test]
    fn a_helper_is_a_name_and_never_a_path() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("config.json");
        let runner: HelperRunner = Arc::new(|_| panic!("started"));
        for name in ["../evil", "a/b", "a b", "a;b", "a\nb"] {
            std::fs::write(&path, json!({ "credsStore": name }).to_string()).unwrap();
            let credentials = Credentials::in_file(&path).with_helpers(runner.clone());
            assert_eq!(
                credentials.find("a", "", &never()).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{name:?}"
            );
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        for credential in [Credential::basic("user", "hidden"), Credential::identity_token("hidden")] {
            assert!(!format!("{credential:?}").contains("hidden"));
        }
    }
}
