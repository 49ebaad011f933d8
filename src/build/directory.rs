//! Records of build steps in a directory: an OCI image layout with a manifest for each record, as registries have them.
//!
//! `index.json` lists them under the names that are tags in a registry, so that image tools copy them from one to the other. Writers
//! take turns (flock(2) on the directory), blobs are written before the index that names them, and files replaced by one rename.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::Root;
use crate::fs::lock::Locked;
use crate::fs::make_dir::{make_dir, make_missing};
use crate::fs::publish::replace;
use crate::image::{CONFIG, DEFAULT_TAG, MAX_MANIFEST, StepRecord, new_index, record_manifest, record_tag};
use crate::progress::Control;
use crate::store::{
    BlobInfo, Descriptor, Document, DocumentKind, Limits, REF_NAME, Store, descriptor_digest,
};

const OP: &str = "use build cache directory";
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// How many records a directory keeps: those beyond it that were written first go.
const MAX_RECORDS: usize = 5000;
/// The largest `index.json`, in bytes.
const MAX_INDEX: u64 = 16 << 20;

/// A directory with records.
#[derive(Debug)]
pub(super) struct Directory {
    shown: Vec<u8>,
    dir: Dir,
    /// The manifests, by their names, as they were when it was opened.
    records: HashMap<String, Descriptor>,
    /// Keeps other writers out, where this is one.
    _turn: Option<Locked<OwnedFd>>,
}

/// A record and its layer, to be written.
pub(super) type Written = (Digest, String, Option<Descriptor>);

fn name_of(entry: &Descriptor) -> Option<&str> {
    entry.annotations().as_ref()?.get(REF_NAME).map(String::as_str)
}

impl Directory {
    /// Opens a directory to read from; `None` where there is no image layout.
    pub fn find(directory: &Path) -> Result<Option<Directory>> {
        let shown = directory.as_os_str().as_bytes().to_vec();
        let dir = match Dir::open_ambient_dir(directory, ambient_authority()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.at(OP, &shown)?,
        };
        let mut found = Directory { shown, dir, records: HashMap::new(), _turn: None };
        if !found.dir.try_exists("oci-layout").at(OP, &found.shown)? {
            return Ok(None);
        }
        let entries = found.entries()?;
        let named = |entry: Descriptor| Some((name_of(&entry)?.to_string(), entry));
        found.records = entries.into_iter().filter_map(named).collect();
        Ok(Some(found))
    }

    /// Opens a directory to write to, and makes it where it is missing, once no other writer has it. One that holds anything else is
    /// refused.
    pub fn make(directory: &Path, control: &Control) -> Result<Directory> {
        let shown = directory.as_os_str().as_bytes().to_vec();
        make_missing(directory).map_err(|(path, error)| Error::io(OP, path.as_os_str().as_bytes(), error))?;
        let dir = Dir::open_ambient_dir(directory, ambient_authority()).at(OP, &shown)?;
        let root = Root::open(directory)?;
        let turn = loop {
            match root.lock(true).at(OP, &shown)? {
                Some(turn) => break turn,
                None => control.check(OP)?,
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let layout = dir.try_exists("oci-layout").at(OP, &shown)?;
        if !layout && dir.entries().at(OP, &shown)?.next().is_some() {
            let message = "the directory is neither empty nor an image layout";
            return Err(Error::new(ErrorKind::AlreadyExists, OP, message).with_path(shown));
        }
        for (above, name) in [(".", c"blobs"), ("blobs", c"sha256")] {
            match dir.open_dir(above).and_then(|above| make_dir(&above, name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).at(OP, &shown);
                }
                _ => {}
            }
        }
        if !layout {
            write(&dir, "oci-layout", LAYOUT.as_bytes())?;
        }
        Ok(Directory { shown, dir, records: HashMap::new(), _turn: Some(turn) })
    }

    /// Returns the entries of `index.json`.
    fn entries(&self) -> Result<Vec<Descriptor>> {
        let bytes = match self.open("index.json") {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            file => self.read(file?, MAX_INDEX)?,
        };
        let limits = Limits { json_bytes: MAX_INDEX, ..Limits::default() };
        let shown = String::from_utf8_lossy(&self.shown).into_owned();
        let index = Document::parse(&bytes, None, &shown, &limits)?;
        match index.kind() {
            DocumentKind::Index => Ok(index.manifests().to_vec()),
            DocumentKind::Manifest => {
                Err(Error::corrupt(OP, "index.json is a manifest").with_path(&self.shown))
            }
        }
    }

    /// Opens a regular file: never through a symbolic link at its end, never waiting for a pipe.
    fn open(&self, name: &str) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        let file = self.dir.open_with(name, &options).at(OP, &self.shown)?.into_std();
        if !file.metadata().at(OP, &self.shown)?.is_file() {
            return Err(Error::corrupt(OP, format!("{name} is not a regular file")).with_path(&self.shown));
        }
        Ok(file)
    }

    fn read(&self, file: File, cap: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        file.take(cap + 1).read_to_end(&mut bytes).at(OP, &self.shown)?;
        if bytes.len() as u64 > cap {
            return Err(
                Error::limit(OP, format!("a document has more than {cap} bytes")).with_path(&self.shown)
            );
        }
        Ok(bytes)
    }

    fn manifest(&self, entry: &Descriptor) -> Result<Option<StepRecord>> {
        let digest = descriptor_digest(entry)?;
        let bytes = self.read(self.open(&blob(&digest))?, MAX_MANIFEST)?;
        if Digest::of(&bytes) != digest {
            return Err(Error::corrupt(OP, "a manifest has another digest").with_path(digest.to_string()));
        }
        let limits = Limits { json_bytes: MAX_MANIFEST, ..Limits::default() };
        let media_type = entry.media_type().to_string();
        Ok(StepRecord::of(&Document::parse(&bytes, Some(&media_type), &digest.to_string(), &limits)?))
    }

    /// Finds the record of a step.
    pub fn record(&self, key: &Digest) -> Result<Option<StepRecord>> {
        let Some(entry) = self.records.get(&record_tag(DEFAULT_TAG, key)) else { return Ok(None) };
        match self.manifest(entry) {
            // Others may have removed it since.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            found => found,
        }
    }

    /// Copies a layer into a store; its size and digest are checked on the way.
    pub fn copy(&self, store: &Store, layer: &BlobInfo, control: &Control) -> Result<()> {
        let shown = layer.digest.to_string();
        let mut file = self.open(&blob(&layer.digest)).map_err(|error| error.with_path(&shown))?;
        let size = file.metadata().at(OP, &shown)?.len();
        if size != layer.size {
            let message = format!("the layer has {size} bytes where {} are expected", layer.size);
            return Err(Error::corrupt(OP, message).with_path(shown));
        }
        let mut writer = store.blob_writer()?;
        pour(&mut file, &mut writer, control, &shown)?;
        writer.finish(Some(layer.digest)).map(drop)
    }

    /// Writes records that the directory does not have, each with its layer out of the store.
    pub fn put(&self, store: &Store, records: Vec<Written>, control: &Control) -> Result<()> {
        let mut entries = self.entries()?;
        let mut new = Vec::new();
        for (key, record, layer) in records {
            if let Some(layer) = &layer {
                self.put_layer(store, layer, control)?;
            }
            let (mut described, manifest) = record_manifest(record, layer)?;
            self.put_blob(&manifest)?;
            let name = record_tag(DEFAULT_TAG, &key);
            described.set_annotations(Some([(REF_NAME.to_string(), name)].into()));
            new.push(described);
        }
        if new.iter().all(|entry| entries.contains(entry)) {
            return Ok(());
        }
        self.put_blob(CONFIG)?;
        let names: HashSet<&str> = new.iter().filter_map(name_of).collect();
        entries.retain(|entry| name_of(entry).is_none_or(|name| !names.contains(name)));
        entries.extend(new.iter().cloned());
        let prefix = record_tag(DEFAULT_TAG, &Digest::of(b""));
        let prefix = &prefix[..DEFAULT_TAG.len() + 1];
        let mut too_many = entries.len().saturating_sub(MAX_RECORDS);
        let gone: Vec<Descriptor> = entries
            .extract_if(.., |entry| {
                let goes = too_many > 0 && name_of(entry).is_some_and(|name| name.starts_with(prefix));
                too_many -= usize::from(goes);
                goes
            })
            .collect();
        write(&self.dir, "index.json", &new_index(&entries, &BTreeMap::new())?)?;
        if gone.is_empty() { Ok(()) } else { self.sweep(&entries) }
    }

    fn put_layer(&self, store: &Store, layer: &Descriptor, control: &Control) -> Result<()> {
        let digest = descriptor_digest(layer)?;
        let shown = digest.to_string();
        // What is there may be damaged; that is seen where it is read.
        if self.dir.symlink_metadata(blob(&digest)).is_ok_and(|meta| meta.len() == layer.size()) {
            return Ok(());
        }
        let mut reader = store.verified_reader(&digest, layer.size())?;
        replace(&self.dir.open_dir("blobs/sha256").at(OP, &self.shown)?, digest.hex(), OP, |file| {
            pour(&mut reader, file, control, &shown)
        })
    }

    fn put_blob(&self, bytes: &[u8]) -> Result<()> {
        let digest = Digest::of(bytes);
        match self.dir.symlink_metadata(blob(&digest)) {
            Ok(meta) if meta.len() == bytes.len() as u64 => Ok(()),
            _ => write(&self.dir.open_dir("blobs/sha256").at(OP, &self.shown)?, &digest.hex(), bytes),
        }
    }

    /// Removes the blobs that no record names; none where something else than records is there, which may need them.
    fn sweep(&self, entries: &[Descriptor]) -> Result<()> {
        let mut needed: HashSet<String> = [Digest::of(CONFIG).hex()].into();
        for entry in entries {
            let Some(record) = self.manifest(entry)? else { return Ok(()) };
            needed.insert(descriptor_digest(entry)?.hex());
            needed.extend(record.layers.iter().map(Digest::hex));
        }
        let blobs = self.dir.open_dir("blobs/sha256").at(OP, &self.shown)?;
        for entry in blobs.entries().at(OP, &self.shown)? {
            let name = entry.at(OP, &self.shown)?.file_name();
            if name.to_str().is_none_or(|name| !needed.contains(name)) {
                blobs.remove_file(&name).at(OP, &self.shown)?;
            }
        }
        Ok(())
    }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn write(dir: &Dir, name: &str, bytes: &[u8]) -> Result<()> {
    replace(dir, name, OP, |file| file.write_all(bytes).at(OP, name))
}

fn pour(from: &mut dyn Read, to: &mut dyn Write, control: &Control, shown: &str) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        control.check(OP)?;
        match from.read(&mut buffer).at(OP, shown)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n]).at(OP, shown)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory may be an image layout that has images too.
    #[test]
    fn what_is_no_record_is_never_swept_away() {
        let temp = tempfile::tempdir().unwrap();
        let (store, control) = (Store::open(temp.path().join("store")).unwrap(), Control::default());
        let path = temp.path().join("cache");
        let directory = Directory::make(&path, &control).unwrap();
        let key = |text: &str| Digest::of(text.as_bytes());
        directory.put(&store, vec![(key("first"), "{}".into(), None)], &control).unwrap();
        let record = directory.entries().unwrap().remove(0);
        // An image, written before all records.
        let foreign = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;
        directory.put_blob(foreign).unwrap();
        directory.put_blob(b"a layer of it").unwrap();
        let renamed = |of: &Descriptor, name: String| {
            let mut entry = of.clone();
            entry.set_annotations(Some([(REF_NAME.to_string(), name)].into()));
            entry
        };
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let entry = renamed(&crate::store::descriptor(media_type, &BlobInfo::of(foreign)), "app:v1".into());
        let records =
            (0..MAX_RECORDS).map(|n| renamed(&record, record_tag(DEFAULT_TAG, &key(&n.to_string()))));
        let fill = |first: Option<&Descriptor>| {
            let entries: Vec<Descriptor> = first.cloned().into_iter().chain(records.clone()).collect();
            write(&directory.dir, "index.json", &new_index(&entries, &BTreeMap::new()).unwrap()).unwrap();
        };
        let has = |bytes: &[u8]| directory.dir.symlink_metadata(blob(&Digest::of(bytes))).is_ok();
        fill(Some(&entry));
        directory.put(&store, vec![(key("second"), "{\"a\":1}".into(), None)], &control).unwrap();
        let names: Vec<_> =
            directory.entries().unwrap().iter().filter_map(|it| name_of(it).map(String::from)).collect();
        assert_eq!((names.len(), names[0].as_str()), (MAX_RECORDS, "app:v1"));
        assert!(has(foreign) && has(b"a layer of it"));
        // With records alone, what none of them names goes.
        fill(None);
        directory.put(&store, vec![(key("third"), "{\"a\":2}".into(), None)], &control).unwrap();
        assert_eq!(directory.entries().unwrap().len(), MAX_RECORDS);
        assert!(!has(b"a layer of it") && has(CONFIG));
    }
}
