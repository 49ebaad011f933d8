//! A tar of a filesystem as an image of one layer.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::compress::{Archive, DecodeLimits, DecodeOptions, Decoder, Profile, Written, write_noted};
use crate::diff::Stat;
use crate::error::{At, Error, Result};
use crate::event::Event;
use crate::fs::staged::Staged;
use crate::hint::Hint;
use crate::image::{
    Committed, Notes, Platform, Reading, Recipe, Step, StepLayer, Tee, compose, creation_time, enter,
    record_layer,
};
use crate::layer::header::EntryKind;
use crate::layer::model::{Model, NoDisk};
use crate::layer::read::{ChunkStream, LayerReader, ReadLimits};
use crate::layer::source::{Filled, TarSource};
use crate::layer::whiteout::{self, Strictness, Whiteout};
use crate::progress::{Control, Counters};
use crate::store::{Reference, Store, check_new_name};
use crate::tree::builder::Builder;

const IMPORT: &str = "import";
/// The longest target of a symbolic link that Linux stores: PATH_MAX without its NUL.
const MAX_LINK: usize = 4095;

/// Options of an import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Dockerfile instructions that make the configuration: `CMD`, `ENV`, `LABEL` and so on.
    pub changes: Vec<String>,
    /// A message for the history.
    pub message: Option<String>,
    /// The author of the image.
    pub author: Option<String>,
    /// The platform; `None` for this machine's.
    pub platform: Option<Platform>,
    /// When the image was made, in seconds since 1970; `None` for now.
    pub created: Option<i64>,
    /// How to compress the layer; `None` keeps the bytes as they come, compressed or not (of xz and bzip2: the default).
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

/// Makes an image of a tar of a filesystem, as `docker import` does: plain, gzip, zstd, xz or bzip2. Without a name it is kept
/// untagged.
///
/// The tar is read strictly to its end first, and only then becomes a layer: names, links and sizes that readers would
/// take differently are errors, and so are whiteouts, which would delete files where a filesystem has none to delete. With
/// [`ImportOptions::profile`] it is compressed anew, by way of an unnamed file in the store; so are xz and bzip2, which no layer may be.
///
/// # Errors
/// Nothing is visible in the store after an error. [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for lz4 and other compressions.
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
    let notes = Notes::default();
    let input = Archive::open(input, &options.decode, control)?;
    // No layer is compressed with xz or bzip2.
    let anew = options.profile.clone().or_else(|| input.is_foreign().then(Profile::default));
    let (written, layer, stat) = match &anew {
        None => keep(store, input, options, &notes, control)?,
        Some(profile) => recompress(store, input, profile, options, &notes, control)?,
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
    notes.list_images(store, [&made.entry], control);
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

/// Makes the input the layer's blob, byte for byte.
fn keep(
    store: &Store,
    input: Archive,
    options: &ImportOptions,
    notes: &Notes,
    control: &Control,
) -> Result<(Written, StepLayer, Stat)> {
    let (input, share) = input.into_parts();
    let (tee, blob) = Tee::new(input, store.unhashed_blob_writer()?);
    let decode = DecodeOptions {
        hash_input: true,
        hash_output: true,
        restarts: store.limits().layer_indexes,
        ..decode_options(options)
    };
    let decoder = Decoder::counting(Box::new(tee), decode, control.clone(), share)?;
    let (decoder, stat, reading) = examine(decoder, &options.limits, notes, control)?;
    let (decoded, index) = decoder.finish_noted()?;
    let digest = decoded.digest.expect("asked for");
    blob.take().finish_with(digest, decoded.size)?;
    let written = Written {
        diff_id: decoded.diff_id.expect("asked for"),
        diff_size: decoded.diff_size,
        digest,
        size: decoded.size,
    };
    let layer = record_layer(store, &written, decoded.compression.media_type())?;
    notes.keep(store, &digest, reading.finish(index, written.diff_size));
    Ok((written, layer, stat))
}

/// Compresses the tar inside the input anew. The encoder takes parts of it in any order, so it is a file until then.
fn recompress(
    store: &Store,
    input: Archive,
    profile: &Profile,
    options: &ImportOptions,
    notes: &Notes,
    control: &Control,
) -> Result<(Written, StepLayer, Stat)> {
    let shown = store.path("tmp");
    let tmp = store.dir().open_dir("tmp").at(IMPORT, &shown)?;
    let file = Staged::new(&tmp, &tmp, 0o600).and_then(Staged::into_unnamed).at(IMPORT, &shown)?;
    let decoder = input.decoder(decode_options(options), control.clone())?;
    let spool = Spool { decoder, file, len: 0, shown };
    let (spool, stat, reading) = examine(spool, &options.limits, notes, control)?;
    let Spool { decoder, file, len, shown } = spool;
    decoder.finish()?;
    let mut blob = store.unhashed_blob_writer()?;
    let threads = crate::threads::count(options.threads);
    let tar = TarFile { file, len, shown };
    let (written, index) = write_noted(&tar, profile, threads, &mut blob, control)?;
    blob.finish_with(written.digest, written.size)?;
    let layer = record_layer(store, &written, profile.media_type())?;
    notes.keep(store, &written.digest, reading.finish(Some(index), written.diff_size));
    Ok((written, layer, stat))
}

/// Returns how the input is decoded, with no digest of it.
fn decode_options(options: &ImportOptions) -> DecodeOptions {
    DecodeOptions {
        hash_input: false,
        hash_output: false,
        limits: options.decode.clone(),
        ..DecodeOptions::with_threads(options.threads)
    }
}

/// Reads a whole archive and makes sure that it unpacks to a filesystem.
fn examine<'a, S: ChunkStream>(
    stream: S,
    limits: &ReadLimits,
    notes: &'a Notes,
    control: &Control,
) -> Result<(S, Stat, Reading<'a>)> {
    let mut reader = LayerReader::new(stream, limits.clone());
    let mut model = Model::new(Builder::empty(), Strictness::Strict, limits);
    model.next_layer();
    let mut stat = Stat::default();
    let mut marks = (false, false);
    let mut reading = Reading::new(notes);
    while let Some(entry) = reader.next_entry()? {
        control.check(IMPORT)?;
        Counters::add(&control.counters.entries, 1);
        if whiteout::classify(&entry.path, entry.kind, entry.size, Strictness::Strict)? != Whiteout::None {
            let message = "names that begin with .wh. mark deletions in a layer and cannot be imported";
            return Err(Error::corrupt(IMPORT, message).with_path(&entry.path).with_hint(Hint::ApplyLayer));
        }
        if entry.kind == EntryKind::Symlink && entry.link.len() > MAX_LINK {
            let message =
                format!("the link's target has more than the {MAX_LINK} bytes that Linux can store");
            return Err(Error::limit(IMPORT, message).with_path(&entry.path));
        }
        if !entry.path.is_empty() {
            stat.added += 1;
        }
        match &entry.path[..] {
            b"oci-layout" | b"manifest.json" | b"repositories" => marks.0 = true,
            path => marks.1 |= path.starts_with(b"blobs/sha256/") || path.ends_with(b"/layer.tar"),
        }
        if entry.kind == EntryKind::File {
            stat.bytes += entry.size;
        }
        model.entry(&entry, &mut NoDisk)?;
        reading.take(entry, reader.entry_offset());
    }
    if marks == (true, true) {
        let message = "the tar is an archive of images, which is loaded, not imported: its files become those of the image";
        control.events.send(Event::Warning { rule: String::new(), message: message.into(), location: None });
    }
    // An import has no digest: its end is all that distinguishes a whole archive from one that was cut off.
    if !reader.has_end() {
        return Err(Error::corrupt(
            IMPORT,
            "the input ends where no tar archive ends: it was cut short, or is empty",
        )
        .with_hint("an archive ends with two blocks of zeros; see whether what wrote it failed"));
    }
    Ok((reader.finish()?, stat, reading))
}

/// Writes the tar it passes on into a file.
struct Spool {
    decoder: Decoder,
    file: File,
    len: u64,
    /// The directory it is in, as messages have it.
    shown: Vec<u8>,
}

impl ChunkStream for Spool {
    fn next_chunk(&mut self) -> Result<Option<Arc<Vec<u8>>>> {
        let chunk = self.decoder.next_chunk()?;
        if let Some(chunk) = &chunk {
            self.file.write_all(chunk).at(IMPORT, &self.shown)?;
            self.len += chunk.len() as u64;
        }
        Ok(chunk)
    }
}

/// A tar in an unnamed file.
struct TarFile {
    file: File,
    len: u64,
    /// The directory it is in, as messages have it.
    shown: Vec<u8>,
}

impl TarSource for TarFile {
    type Worker = ();

    fn len(&self) -> u64 {
        self.len
    }

    fn worker(&self) {}

    fn fill(&self, (): &mut (), offset: u64, buffer: &mut [u8]) -> Result<Filled> {
        self.file.read_exact_at(buffer, offset).at(IMPORT, &self.shown)?;
        Ok(Filled::Data)
    }
}
