//! A tar of a filesystem as an image of one layer.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::compress::{DecodeLimits, DecodeOptions, Decoder, Profile, Written, write};
use crate::diff::Stat;
use crate::error::{At, Error, Result};
use crate::fs::staged::Staged;
use crate::image::{
    Committed, Platform, Recipe, Step, StepLayer, compose, creation_time, enter, record_layer,
};
use crate::layer::header::EntryKind;
use crate::layer::model::{Model, NoDisk};
use crate::layer::read::{ChunkStream, LayerReader, ReadLimits};
use crate::layer::source::{Filled, TarSource};
use crate::layer::whiteout::{self, Strictness, Whiteout};
use crate::progress::Control;
use crate::store::{BlobWriter, Reference, Store, check_new_name};
use crate::tree::builder::Builder;

const IMPORT: &str = "import";
/// The longest target of a symbolic link that Linux stores: PATH_MAX without its NUL.
const MAX_LINK: usize = 4095;

/// How a tar becomes an image.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Dockerfile instructions that make the configuration: `CMD`, `ENV`, `LABEL` and so on.
    pub changes: Vec<String>,
    /// A message for the history.
    pub message: Option<String>,
    /// Who made the image.
    pub author: Option<String>,
    /// The platform; `None` for this machine's.
    pub platform: Option<Platform>,
    /// When the image was made, in seconds since 1970; `None` for now.
    pub created: Option<i64>,
    /// How to compress the layer; `None` keeps the bytes as they come, compressed or not.
    pub profile: Option<Profile>,
    /// Caps on the archive.
    pub limits: ReadLimits,
    /// Caps on its decompression.
    pub decode: DecodeLimits,
    /// Threads to use; 0 for one per processor. The result does not depend on it.
    pub threads: usize,
}

impl Default for ImportOptions {
    /// Bytes as they come, default caps.
    fn default() -> Self {
        ImportOptions {
            changes: Vec::new(),
            message: None,
            author: None,
            platform: None,
            created: None,
            profile: None,
            limits: ReadLimits::default(),
            decode: DecodeLimits::default(),
            threads: 0,
        }
    }
}

/// Makes an image of a tar of a filesystem, as `docker import` does: plain, gzip or zstd. Without a name it is kept
/// nameless.
///
/// The tar is read strictly to its end first, and only then becomes a layer: names, links and sizes that readers would
/// take differently are errors, and so are whiteouts, which would delete files where a filesystem has none to delete. With
/// [`ImportOptions::profile`] it is compressed anew, by way of an unnamed file in the store.
///
/// # Errors
/// Nothing is visible in the store after an error. [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for xz, bzip2 and other compressions.
pub fn import(
    store: &Store,
    input: Box<dyn Read + Send>,
    name: Option<&Reference>,
    options: &ImportOptions,
    control: &Control,
) -> Result<Committed> {
    name.map(check_new_name).transpose()?;
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let (written, layer, stat) = match &options.profile {
        None => keep(store, input, options, control)?,
        Some(profile) => recompress(store, input, profile, options, control)?,
    };
    let created = creation_time(options.created, IMPORT)?;
    let step = Step {
        created: Some(created),
        created_by: Some(format!("treering import {}", written.diff_id.short())),
        author: options.author.clone(),
        // Docker's words for a tar that comes without an address.
        comment: options.message.clone().or_else(|| Some("Imported from -".into())),
        layer: Some(layer),
    };
    let made = compose(
        store,
        &Recipe {
            platform: options.platform.clone(),
            steps: &[step],
            changes: &options.changes,
            author: options.author.clone(),
            created: Some(created),
            ..Recipe::default()
        },
    )?;
    enter(store, name, &made.entry)?;
    Ok(Committed {
        manifest: made.manifest.digest,
        image_id: made.image_id,
        layer: Some(written),
        stat,
        skipped: Vec::new(),
        owners_replaced: 0,
        former_image: None,
    })
}

/// The input becomes the layer's blob, byte for byte.
fn keep(
    store: &Store,
    input: Box<dyn Read + Send>,
    options: &ImportOptions,
    control: &Control,
) -> Result<(Written, StepLayer, Stat)> {
    let blob = Arc::new(Mutex::new(Some(store.unhashed_blob_writer()?)));
    let tee = Tee { input, blob: Arc::clone(&blob) };
    let decoder = Decoder::new(Box::new(tee), decode_options(options, true), control.clone())?;
    let (decoder, stat) = examine(decoder, &options.limits, control)?;
    let decoded = decoder.finish()?;
    let blob = blob.lock().unwrap_or_else(PoisonError::into_inner).take().expect("nobody else takes it");
    let digest = decoded.digest.expect("asked for");
    blob.finish_with(digest, decoded.size)?;
    let written = Written {
        diff_id: decoded.diff_id.expect("asked for"),
        diff_size: decoded.diff_size,
        digest,
        size: decoded.size,
    };
    let layer = record_layer(store, &written, decoded.compression.media_type())?;
    Ok((written, layer, stat))
}

/// The tar inside the input is compressed anew. The encoder takes parts of it in any order, so it is a file until then.
fn recompress(
    store: &Store,
    input: Box<dyn Read + Send>,
    profile: &Profile,
    options: &ImportOptions,
    control: &Control,
) -> Result<(Written, StepLayer, Stat)> {
    let tmp = store.dir().open_dir("tmp").at(IMPORT, "tmp")?;
    let file = Staged::new(&tmp, &tmp, 0o600).and_then(Staged::into_unnamed).at(IMPORT, "tmp")?;
    let decoder = Decoder::new(input, decode_options(options, false), control.clone())?;
    let spool = Spool { decoder, file, len: 0 };
    let (spool, stat) = examine(spool, &options.limits, control)?;
    let Spool { decoder, file, len } = spool;
    decoder.finish()?;
    let mut blob = store.unhashed_blob_writer()?;
    let threads = crate::threads::count(options.threads);
    let written = write(&TarFile { file, len }, profile, threads, &mut blob, control)?;
    blob.finish_with(written.digest, written.size)?;
    let layer = record_layer(store, &written, profile.media_type())?;
    Ok((written, layer, stat))
}

fn decode_options(options: &ImportOptions, hash: bool) -> DecodeOptions {
    DecodeOptions {
        hash_input: hash,
        hash_output: hash,
        limits: options.decode.clone(),
        ..DecodeOptions::with_threads(options.threads)
    }
}

/// Reads a whole archive and makes sure that it unpacks to a filesystem.
fn examine<S: ChunkStream>(stream: S, limits: &ReadLimits, control: &Control) -> Result<(S, Stat)> {
    let mut reader = LayerReader::new(stream, limits.clone());
    let mut model = Model::new(Builder::empty(), Strictness::Strict, limits);
    model.next_layer();
    let mut stat = Stat::default();
    while let Some(entry) = reader.next_entry()? {
        control.check(IMPORT)?;
        if whiteout::classify(&entry.path, entry.kind, entry.size, Strictness::Strict)? != Whiteout::None {
            let message = "names that begin with .wh. mark deletions in a layer and cannot be imported";
            return Err(Error::corrupt(IMPORT, message)
                .with_path(&entry.path)
                .with_hint("treering layer apply unpacks layers; import takes whole filesystems"));
        }
        if entry.kind == EntryKind::Symlink && entry.link.len() > MAX_LINK {
            let message =
                format!("the link's target has more than the {MAX_LINK} bytes that Linux can store");
            return Err(Error::limit(IMPORT, message).with_path(&entry.path));
        }
        if !entry.path.is_empty() {
            stat.added += 1;
        }
        if entry.kind == EntryKind::File {
            stat.bytes += entry.size;
        }
        model.entry(&entry, &mut NoDisk)?;
    }
    // Of an import nobody knows a digest: its end is all that tells a whole archive from one whose writer died.
    if !reader.has_end() {
        return Err(Error::corrupt(
            IMPORT,
            "the input ends where no tar archive ends: it was cut short, or is empty",
        )
        .with_hint("an archive ends with two blocks of zeros; see whether what wrote it failed"));
    }
    Ok((reader.finish()?, stat))
}

/// Writes everything that is read into a blob as well.
struct Tee {
    input: Box<dyn Read + Send>,
    blob: Arc<Mutex<Option<BlobWriter>>>,
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        let mut blob = self.blob.lock().unwrap_or_else(PoisonError::into_inner);
        let blob = blob.as_mut().ok_or_else(|| io::Error::other("the blob is complete"))?;
        blob.write_all(&buffer[..n])?;
        Ok(n)
    }
}

/// Writes the tar it passes on into a file.
struct Spool {
    decoder: Decoder,
    file: File,
    len: u64,
}

impl ChunkStream for Spool {
    fn next_chunk(&mut self) -> Result<Option<Arc<Vec<u8>>>> {
        let chunk = self.decoder.next_chunk()?;
        if let Some(chunk) = &chunk {
            self.file.write_all(chunk).at(IMPORT, "tmp")?;
            self.len += chunk.len() as u64;
        }
        Ok(chunk)
    }
}

/// A tar in a file of ours that nobody else has a name for.
struct TarFile {
    file: File,
    len: u64,
}

impl TarSource for TarFile {
    type Worker = ();

    fn len(&self) -> u64 {
        self.len
    }

    fn worker(&self) {}

    fn fill(&self, (): &mut (), offset: u64, buffer: &mut [u8]) -> Result<Filled> {
        self.file.read_exact_at(buffer, offset).at(IMPORT, "tmp")?;
        Ok(Filled::Data)
    }
}
