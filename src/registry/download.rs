//! A file at an address, for builds: the transport of registries, without their credentials.

use std::io::Read;

use sha2::{Digest as _, Sha256};
use ureq::http::Method;

use super::Registries;
use super::config::{Endpoint, TlsFiles};
use super::origin::Location;
use super::session::{Failure, Payload, Request, Session, broken, date};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::{Control, Share};

const OP: &str = "download";

/// The headers of an answer that describe a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The server's tag of this version of it.
    pub etag: Option<String>,
    /// `Last-Modified`, in seconds since 1970.
    pub modified: Option<i64>,
}

/// The outcome of a request.
#[derive(Debug)]
pub(crate) enum Download {
    /// The server still has the version that was named.
    Same,
    /// The file: it went to where it was to go.
    File { head: Head, digest: Digest, size: u64 },
}

/// A function that takes the bytes of a file in order; `None` to begin again.
pub(crate) type Sink<'a> = dyn FnMut(Option<&[u8]>) -> Result<()> + 'a;

/// Fetches a file of at most `cap` bytes. `authorization` goes to the address's own origin and nowhere else; with `etag` nothing is sent
/// of a version that is known.
pub(crate) fn download(
    registries: &Registries,
    address: &str,
    authorization: Option<&str>,
    etag: Option<&str>,
    cap: u64,
    sink: &mut Sink<'_>,
    control: &Control,
) -> Result<Download> {
    let location = Location::parse(address)?;
    let session = Session::new(registries, control);
    let endpoint = session.settle(&Endpoint {
        origin: location.origin().clone(),
        fixed: true,
        repository: String::new(),
        key: String::new(),
        insecure: false,
        mirror: false,
        tls: TlsFiles::default(),
        realms: Vec::new(),
    })?;
    let headers = etag.map(|etag| ("if-none-match", etag.to_string())).into_iter().collect();
    let request = Request {
        operation: OP,
        method: Method::GET,
        location,
        headers,
        payload: Payload::None,
        scopes: &Default::default(),
    };
    session.retry(OP, || {
        let response = session.follow(&endpoint, &request, authorization)?;
        match response.status {
            200 => {}
            304 if etag.is_some() => return Ok(Download::Same),
            _ => return Err(response.into_error(OP, address)),
        }
        let modified = response.header("last-modified").and_then(date);
        let head = Head { etag: response.header("etag").map(String::from), modified };
        let too_large =
            || -> Failure { Error::limit(OP, format!("larger than {cap} bytes")).with_path(address).into() };
        let announced = response.length();
        if announced.is_some_and(|length| length > cap) {
            return Err(too_large());
        }
        let from = response.location.clone();
        let share = Share::new(control, announced.unwrap_or(0));
        sink(None)?;
        let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
        let mut reader = response.into_reader();
        loop {
            control.check(OP)?;
            let n = reader.read(&mut buffer).map_err(|error| broken(error, OP, &from))?;
            if n == 0 {
                break;
            }
            size += n as u64;
            if size > cap {
                return Err(too_large());
            }
            share.add(n as u64);
            hasher.update(&buffer[..n]);
            sink(Some(&buffer[..n]))?;
        }
        let digest = Digest::from_bytes(hasher.finalize().into());
        Ok(Download::File { head, digest, size })
    })
}
