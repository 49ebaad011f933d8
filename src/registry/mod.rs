//! Registries: log in, pull, push, copy (OCI distribution-spec).
//!
//! The only room that opens sockets, and only in the functions below; each connection is closed when its function returns.
//! Requests are blocking, on a few threads of the operation's own; every wait looks at the cancel token within 100 ms. Nothing
//! is trusted: sizes and digests are checked before anything is published, bodies have caps, and credentials go to the origin
//! they belong to and to no other.
//!
//! ```no_run
//! use treering::registry::{PullOptions, PushOptions, Registries, pull, push};
//! use treering::store::Store;
//! use treering::Control;
//!
//! let (store, control) = (Store::open("/srv/images")?, Control::default());
//! let registries = Registries::from_env()?;
//! let pulled = pull(&store, &registries, "debian:12", &PullOptions::default(), &control)?;
//! println!("{}", pulled.digest);
//! push(&store, &registries, "debian:12", "registry.example/debian:12", &PushOptions::default(), &control)?;
//! # Ok::<(), treering::Error>(())
//! ```

mod arrival;
mod auth;
mod auth_file;
mod cargo;
mod challenge;
mod client;
mod config;
mod copy;
mod credentials;
mod documents;
mod download;
mod fetch;
mod list;
mod login;
mod origin;
mod proxy;
mod pull;
mod push;
mod records;
mod referrers;
mod session;
mod socks;
mod tags;
mod tls;
mod transfer;
mod transport;
mod upload;

use std::path::Path;
use std::time::Duration;

use crate::error::Result;

pub use config::Config;
pub use copy::{Copied, CopyOptions, copy};
pub use credentials::{Asked, Credential, Credentials, HelperAnswer, HelperCall, HelperRunner};
pub(crate) use download::{Download, download};
pub use list::{ListAnnotation, RemoteManifest, annotate_list, create_list, read_manifest};
pub use login::{Login, login, logout};
pub(crate) use origin::Location;
pub use pull::{PullOptions, Pulled, pull, pull_and_unpack};
pub use push::{PushOptions, Pushed, push};
pub(crate) use records::Records;
pub use tags::tags;

// Not part of the stable interface: for the fuzz targets of this repository.
#[doc(hidden)]
pub use challenge::{Challenge, parse as parse_challenges};

/// Looks credentials up in the bytes of a file. Not part of the stable interface.
#[doc(hidden)]
pub fn credentials_in(bytes: &[u8], registry: &str, repository: &str) -> Result<Option<Credential>> {
    auth_file::AuthFile::parse(Path::new("config.json"), bytes)?.find(registry, repository)
}

/// The registries as this program reaches them: where they are, with which credentials, through which proxies, and how much
/// patience there is. Cheap to keep and to clone; connections belong to single operations.
#[derive(Clone)]
pub struct Registries {
    config: Config,
    credentials: Credentials,
    proxies: session::Proxies,
    roots: session::SharedRoots,
    stall: Duration,
    connect: Duration,
    attempts: u32,
    backoff: Duration,
}

impl std::fmt::Debug for Registries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registries")
            .field("config", &self.config)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl Registries {
    /// Returns registries with this configuration and these credentials, reached without a proxy.
    pub fn new(config: Config, credentials: Credentials) -> Registries {
        Registries {
            config,
            credentials,
            proxies: session::Proxies::default(),
            roots: session::SharedRoots::default(),
            stall: Duration::from_secs(60),
            connect: Duration::from_secs(30),
            attempts: 5,
            backoff: Duration::from_millis(250),
        }
    }

    /// Reads the environment: [`Config::from_env`], [`Credentials::from_env`], and the proxies in `HTTP_PROXY`,
    /// `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    pub fn from_env() -> Result<Registries> {
        Ok(Registries::new(Config::from_env()?, Credentials::from_env()).with_proxies_of_env())
    }

    /// Returns the same, through the proxies in the environment.
    pub fn with_proxies_of_env(self) -> Registries {
        Registries { proxies: session::Proxies::from_env(), ..self }
    }

    /// Returns the same, with other credentials.
    pub fn with_credentials(self, credentials: Credentials) -> Registries {
        Registries { credentials, ..self }
    }

    /// Returns the credentials in use.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Returns the same with other patience: how long a connection may stand still (60 s), how often a request is tried in
    /// all (5 times), and the first pause between two tries (250 ms), which doubles. A registry that asks for another pause
    /// gets it, up to a minute.
    pub fn with_patience(self, stall: Duration, attempts: u32, backoff: Duration) -> Registries {
        Registries { stall, connect: stall.min(self.connect), attempts: attempts.max(1), backoff, ..self }
    }
}
