//! Pins: the blobs and trees that a running operation needs, whether or not a name leads to them.
//!
//! ```text
//! pins/NAME      one line for each thing that is needed, locked as long as its operation runs:
//!                blob DIGEST     this blob
//!                image DIGEST    this blob and everything it refers to
//!                tree KEY        the record of this tree
//! ```
//!
//! A line is added, and the blob looked for or named, under one [`super::Lease`]. Prune holds the store exclusively while
//! it reads the pins, marks and removes. So a pin either counts, or is made after prune has finished; what the operation
//! then finds in the store stays there. A pin without its lock belongs to a dead process: it counts for nothing, and prune
//! removes it.

use std::collections::HashSet;
use std::fmt;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::fs::{OpenOptions, OpenOptionsExt};

use super::layout::{Hold, Rooms, Store};
use super::lease::Lease;
use super::publish::{adopt, is_leftover, open_regular, random_name};
use crate::digest::Digest;
use crate::error::{At, Error, Found, Result};
use crate::fs::lock::Locked;
use crate::fs::make_dir::open_or_make;
use crate::progress::Control;

/// The largest pin that is read, in bytes: three million blobs.
const CAP: u64 = 256 << 20;

/// A store as a running operation uses it: what the operation finds in it or writes to it stays until the pin is dropped.
///
/// It dereferences to a [`Store`] that remembers what is needed: an image that is resolved or read with everything it
/// refers to, a blob that is found or written, a tree that is bound. [`Store::prune`] removes none of these meanwhile and
/// waits for nothing. Take it once, where an operation begins, and use it instead of the store until the image is named.
///
/// Clones of the store inside share the pin, and so does a pin of a pin. It ends when the last of them is dropped, or
/// with the process. Where no pin can be written (a read-only or full disk), a [`Lease`] takes its place.
#[derive(Debug, Clone)]
#[must_use = "a pin ends when it is dropped"]
pub struct Pin(Store);

impl Deref for Pin {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.0
    }
}

impl Pin {
    /// Keeps these blobs and everything they refer to, whether they are there already or not.
    ///
    /// Blobs that are missing afterwards are missing for good: look for them after this call, not before.
    pub fn add(&self, digests: &[Digest]) -> Result<()> {
        digests.iter().try_for_each(|digest| self.0.need(Need::Image(*digest)))
    }

    /// Ends the lease of a pin that [`Store::pin_later`] began, and writes down what was needed so far. Does nothing for other pins.
    pub(crate) fn settle(&self) {
        if let Hold::Pin(pinned) = &self.0.1 {
            pinned.settle();
        }
    }
}

/// A thing that an operation needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Need {
    /// A blob alone.
    Blob(Digest),
    /// A blob and what it refers to.
    Image(Digest),
    /// The record of a tree.
    Tree(String),
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Blob(digest) => write!(f, "blob {digest}"),
            Need::Image(digest) => write!(f, "image {digest}"),
            Need::Tree(key) => write!(f, "tree {key}"),
        }
    }
}

impl Need {
    fn parse(line: &str) -> Option<Need> {
        let (kind, what) = line.split_once(' ')?;
        match kind {
            "blob" => what.parse().ok().map(Need::Blob),
            "image" => what.parse().ok().map(Need::Image),
            "tree" => Some(Need::Tree(what.into())),
            _ => None,
        }
    }
}

/// The pin of one operation; clones of its store share it.
pub(super) struct Pinned {
    rooms: Arc<Rooms>,
    pub control: Control,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The needs that were written down already.
    needs: HashSet<Need>,
    /// The file, made with the first line.
    file: Option<(String, Locked)>,
    /// Instead of lines that could not be written.
    lease: Option<Lease>,
}

impl Pinned {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a need to the file. Gives the lease back unless it has to stay in place of what could not be written.
    fn add(&self, need: Need, lease: Lease) -> Option<Lease> {
        let mut state = self.state();
        if state.needs.contains(&need) {
            return Some(lease);
        }
        if state.lease.is_some() {
            state.needs.insert(need);
            return Some(lease);
        }
        let line = format!("{need}\n");
        match state.write(&self.rooms, line.as_bytes()) {
            Ok(()) => {
                state.needs.insert(need);
                Some(lease)
            }
            // A store that cannot be written to, or a full disk, is no reason not to read.
            Err(_) => {
                state.lease = Some(lease);
                None
            }
        }
    }

    /// Writes down what the lease stands for so far, and ends it.
    fn settle(&self) {
        let mut state = self.state();
        if state.lease.is_none() {
            return;
        }
        let lines: String = state.needs.iter().map(|need| format!("{need}\n")).collect();
        // What cannot be written down is what the lease goes on for.
        if lines.is_empty() || state.write(&self.rooms, lines.as_bytes()).is_ok() {
            state.lease = None;
        }
    }
}

impl State {
    fn write(&mut self, rooms: &Rooms, line: &[u8]) -> std::io::Result<()> {
        if self.file.is_none() {
            let name = random_name();
            let mut options = OpenOptions::new();
            options.read(true).append(true).create_new(true).mode(0o600);
            let file = open_or_make(&rooms.pins, &name, &options)?;
            let made = adopt(&file, &rooms.pins).and_then(|()| Ok(file.try_lock()?));
            if let Err(error) = made {
                let _ = rooms.pins.remove_file(&name);
                return Err(error);
            }
            self.file = Some((name, Locked::new(file)));
        }
        let (_, file) = self.file.as_ref().expect("made above");
        let mut file = file.file();
        let end = file.metadata()?.len();
        file.write_all(line).inspect_err(|_| {
            // Half a line would run into the next one.
            let _ = file.set_len(end);
        })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((name, file)) = state.file.take()
            && file.is_ours()
        {
            // The next prune takes what cannot be removed here.
            let _ = self.rooms.pins.remove_file(name);
        }
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}

/// The needs of the running operations of all processes.
#[derive(Debug, Default)]
pub(super) struct Pins {
    pub blobs: HashSet<Digest>,
    pub images: HashSet<Digest>,
    pub trees: HashSet<String>,
    /// The files of dead processes.
    pub dead: Vec<String>,
}

impl Store {
    /// Begins an operation that reads or writes more than one blob, see [`Pin`]. `control` cancels it while it waits for a lock.
    ///
    /// Costs nothing until something is needed.
    pub fn pin(&self, control: &Control) -> Result<Pin> {
        if !matches!(self.1, Hold::Nothing) {
            return Ok(Pin(self.clone()));
        }
        let (rooms, state) = (Arc::clone(&self.0), Mutex::default());
        let pinned = Pinned { rooms, control: control.clone(), state };
        Ok(Pin(Store(Arc::clone(&self.0), Hold::Pin(Arc::new(pinned)))))
    }

    /// Does what [`Store::pin`] does, for an operation that may turn out to have nothing to do: it writes nothing, and
    /// holds a lease until [`Pin::settle`].
    pub(crate) fn pin_later(&self, control: &Control) -> Result<Pin> {
        let pin = self.pin(control)?;
        if let (Hold::Nothing, Hold::Pin(pinned)) = (&self.1, &pin.0.1) {
            pinned.state().lease = Some(self.lease_for(control)?);
        }
        Ok(pin)
    }

    /// Keeps a thing for the operation this store belongs to, if it belongs to one.
    pub(super) fn need(&self, need: Need) -> Result<()> {
        match &self.1 {
            Hold::Pin(pinned) if !pinned.state().needs.contains(&need) => self.need_while(need, || Ok(())),
            _ => Ok(()),
        }
    }

    /// Does what [`Store::need`] does, and something that has to happen before another process may prune.
    pub(super) fn need_while<T>(&self, need: Need, then: impl FnOnce() -> Result<T>) -> Result<T> {
        let lease = self.lease()?;
        let _lease = match &self.1 {
            Hold::Pin(pinned) => pinned.add(need, lease),
            _ => Some(lease),
        };
        then()
    }

    /// Returns the control of the operation this store belongs to.
    pub(super) fn control(&self) -> Control {
        match &self.1 {
            Hold::Pin(pinned) => pinned.control.clone(),
            _ => Control::default(),
        }
    }

    /// Returns the same store as no part of an operation: what is read through it is not pinned.
    pub(super) fn unpinned(&self) -> Store {
        match &self.1 {
            Hold::Pin(_) => Store(Arc::clone(&self.0), Hold::Nothing),
            _ => self.clone(),
        }
    }

    /// Reads the pins of all processes. The caller holds the store, exclusively if it is going to remove anything.
    pub(super) fn read_pins(&self) -> Result<Pins> {
        const OP: &str = "read pins";
        let mut pins = Pins::default();
        for entry in self.0.pins.entries().at(OP, self.path("pins"))? {
            let name = entry.at(OP, self.path("pins"))?.file_name().to_string_lossy().into_owned();
            if !is_leftover(&name) {
                continue;
            }
            let shown = self.path(&format!("pins/{name}"));
            let Some(mut file) = open_regular(&self.0.pins, &name, &shown).found()? else { continue };
            if file.try_lock().is_ok() {
                pins.dead.push(name);
                continue;
            }
            let mut text = String::new();
            file.seek(SeekFrom::Start(0)).at(OP, &shown)?;
            file.take(CAP + 1).read_to_string(&mut text).at(OP, &shown)?;
            if text.len() as u64 > CAP {
                return Err(Error::limit(OP, format!("more than {CAP} bytes")).with_path(shown));
            }
            // Half a last line is one that could not be written: its operation holds a lease instead.
            for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
                match Need::parse(line) {
                    Some(Need::Blob(digest)) => drop(pins.blobs.insert(digest)),
                    Some(Need::Image(digest)) => drop(pins.images.insert(digest)),
                    Some(Need::Tree(key)) => drop(pins.trees.insert(key)),
                    None => {
                        let message = "a running operation has a pin that this version cannot read";
                        return Err(Error::corrupt(OP, message).with_path(shown));
                    }
                }
            }
        }
        Ok(pins)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorKind;
    use crate::store::{FsckLevel, PruneOptions, PruneReport};

    fn prune(store: &Store) -> Result<PruneReport> {
        store.prune(&PruneOptions { wait: Duration::ZERO, ..PruneOptions::default() }, &Control::default())
    }

    fn fresh() -> (tempfile::TempDir, Store) {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        (temp, store)
    }

    fn pins(store: &Store) -> usize {
        store.0.pins.entries().unwrap().count()
    }

    #[test]
    fn what_was_found_written_or_asked_for_stays() {
        let (_temp, store) = fresh();
        let blobs: Vec<Digest> = [&b"found"[..], b"added", b"unneeded"]
            .iter()
            .map(|it| store.put_blob(it).unwrap().digest)
            .collect();
        let pin = store.pin(&Control::default()).unwrap();
        assert_eq!(pins(&store), 0, "nothing is needed yet");
        assert!(pin.has_blob(&blobs[0]).unwrap());
        pin.add(&[blobs[1]]).unwrap();
        let written = pin.put_blob(b"written").unwrap().digest;
        pin.bind_tree("1-2-3").unwrap();
        assert_eq!(pins(&store), 1);
        // A pin of a pin is the same one.
        let again = pin.pin(&Control::default()).unwrap();
        assert!(again.has_blob(&written).unwrap());
        drop(pin);
        assert_eq!(prune(&store).unwrap().blobs, [blobs[2]]);
        drop(again);
        assert_eq!(pins(&store), 0);
        let mut gone = prune(&store).unwrap().blobs;
        let mut all = vec![blobs[0], blobs[1], written];
        gone.sort();
        all.sort();
        assert_eq!(gone, all);
    }

    #[test]
    fn a_dead_pin_counts_for_nothing_and_goes() {
        let (_temp, store) = fresh();
        let blob = store.put_blob(b"x").unwrap().digest;
        let name = random_name();
        store.0.pins.write(&name, format!("blob {blob}\n")).unwrap();
        // A running process that has just this file open, and its lock.
        let file = store.0.pins.open(&name).unwrap().into_std();
        file.lock().unwrap();
        assert_eq!(prune(&store).unwrap().blobs, []);
        // A child that was forked meanwhile keeps the lock; without one it ends with the process.
        drop(file);
        assert_eq!(prune(&store).unwrap().blobs, [blob]);
        assert_eq!(pins(&store), 0);
    }

    /// A copy of the descriptor in an idle child does not make a pin live on.
    #[test]
    fn a_pin_ends_although_a_copy_of_its_descriptor_stays_open() {
        let (_temp, store) = fresh();
        let pin = store.pin(&Control::default()).unwrap();
        let blob = pin.put_blob(b"x").unwrap().digest;
        let Hold::Pin(pinned) = &pin.1 else { panic!("a pin") };
        let _copy = pinned.state().file.as_ref().unwrap().1.file().try_clone().unwrap();
        drop(pin);
        assert_eq!(prune(&store).unwrap().blobs, [blob]);
    }

    #[test]
    fn where_no_pin_can_be_written_a_lease_takes_its_place() {
        let (temp, store) = fresh();
        std::fs::remove_dir(temp.path().join("pins")).unwrap();
        let pin = store.pin(&Control::default()).unwrap();
        let blob = pin.put_blob(b"x").unwrap().digest;
        Store::open(temp.path()).unwrap();
        let store = Store::open(temp.path()).unwrap();
        assert_eq!(prune(&store).unwrap_err().kind(), ErrorKind::Busy);
        drop(pin);
        assert_eq!(prune(&store).unwrap().blobs, [blob]);
    }

    #[test]
    fn a_pin_for_later_writes_nothing_until_it_is_settled() {
        let (_temp, store) = fresh();
        let pin = store.pin_later(&Control::default()).unwrap();
        let blob = pin.put_blob(b"x").unwrap().digest;
        assert_eq!((pins(&store), prune(&store).unwrap_err().kind()), (0, ErrorKind::Busy));
        pin.settle();
        assert_eq!((pins(&store), prune(&store).unwrap().blobs), (1, vec![]));
        pin.settle();
        drop(pin);
        assert_eq!((pins(&store), prune(&store).unwrap().blobs), (0, vec![blob]));
    }

    #[test]
    fn what_cannot_be_read_in_a_live_pin_stops_prune() {
        let (_temp, store) = fresh();
        let blob = store.put_blob(b"x").unwrap().digest;
        let name = random_name();
        for (text, stops) in [
            (format!("mount {blob}\n"), true),
            (format!("blob {blob}x\n"), true),
            ("\u{0}\n".into(), true),
            // Cut off while it was written: its writer holds a lease instead.
            (format!("image {blob}\nblo"), false),
        ] {
            store.0.pins.write(&name, &text).unwrap();
            let file = store.0.pins.open(&name).unwrap().into_std();
            file.lock().unwrap();
            let pruned = prune(&store);
            assert_eq!(pruned.is_err(), stops, "{text:?}");
            assert!(store.has_blob(&blob).unwrap());
        }
        // Something else than a pin has no owner.
        store.0.pins.remove_file(&name).unwrap();
        store.0.pins.write("README", "mine").unwrap();
        assert_eq!(prune(&store).unwrap().blobs, [blob]);
        assert_eq!(store.0.pins.read_to_string("README").unwrap(), "mine");
    }

    /// Blobs are written and looked for through pins while others prune without a pause: what a pin saw stays.
    #[test]
    fn nothing_goes_between_being_seen_and_being_pinned() {
        let (_temp, store) = fresh();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let pruner = scope.spawn(|| {
                let mut gone = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let options = PruneOptions::default();
                    gone += store.prune(&options, &Control::default()).unwrap().blobs.len();
                    std::thread::sleep(Duration::from_millis(1));
                }
                gone
            });
            let writers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        for round in 0..25 {
                            // All write the same few, so that most are there already, in some pin's care or in none.
                            let text = format!("blob {}", round % 7);
                            let pin = store.pin(&Control::default()).unwrap();
                            let digest = Digest::of(text.as_bytes());
                            if !pin.has_blob(&digest).unwrap() {
                                pin.put_blob(text.as_bytes()).unwrap();
                            }
                            std::thread::sleep(Duration::from_micros(500));
                            assert_eq!(pin.read_blob(&digest, None, 100).unwrap(), text.as_bytes());
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.join().unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(pruner.join().unwrap() > 0, "nothing was ever pruned");
        });
        let report = store.fsck(FsckLevel::Bytes, &Control::default()).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
    }

    #[test]
    fn what_is_about_an_image_that_stays_stays() {
        use crate::store::descriptor;
        let (_temp, store) = fresh();
        let put = |text: String| {
            descriptor(crate::media_type::OCI_MANIFEST, &store.put_blob(text.as_bytes()).unwrap())
        };
        let (empty, config) = (store.put_blob(b"{}").unwrap(), |blob: &crate::store::BlobInfo| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":{}}}"#,
                blob.digest, blob.size
            )
        });
        let manifest = |note: &str, subject: Option<&crate::store::Descriptor>| {
            let subject = subject.map_or(String::new(), |it| {
                format!(
                    r#","subject":{{"mediaType":"{}","digest":"{}","size":{}}}"#,
                    it.media_type(),
                    it.digest(),
                    it.size()
                )
            });
            put(format!(
                r#"{{"schemaVersion":2,"mediaType":"{}","annotations":{{"note":"{note}"}},"config":{},"layers":[]{subject}}}"#,
                crate::media_type::OCI_MANIFEST,
                config(&empty)
            ))
        };
        let (named, other) = (manifest("named", None), manifest("other", None));
        let sbom = manifest("sbom", Some(&named));
        let signature = manifest("signature of the sbom", Some(&sbom));
        let about_other = manifest("about another", Some(&other));
        store.tag(&"app".parse().unwrap(), &named).unwrap();
        for untagged in [&signature, &sbom, &about_other, &other] {
            store.add_untagged(untagged).unwrap();
        }
        // An entry of a type that is unknown here.
        let foreign = store.put_blob(b"foreign").unwrap();
        let index = store.0.oci.read_to_string("index.json").unwrap();
        let entry = format!(
            r#"{{"mediaType":"application/x","digest":"{}","size":{}}}"#,
            foreign.digest, foreign.size
        );
        store.0.oci.write("index.json", index.replacen('[', &format!("[{entry},"), 1)).unwrap();
        let dry = PruneOptions { dry_run: true, ..PruneOptions::default() };
        let would = store.prune(&dry, &Control::default()).unwrap();
        let mut gone = prune(&store).unwrap();
        assert_eq!((&would.blobs, &would.images), (&gone.blobs, &gone.images));
        gone.images.sort();
        let digest = |it| crate::store::descriptor_digest(it).unwrap();
        let mut expected = vec![digest(&other), digest(&about_other)];
        expected.sort();
        assert_eq!((&gone.images, &gone.blobs), (&expected, &expected));
        assert_eq!(prune(&store).unwrap().blobs, []);
        // With their image they go.
        store.untag(&"app".parse().unwrap()).unwrap();
        assert_eq!(prune(&store).unwrap().images.len(), 2);
        assert!(store.has_blob(&foreign.digest).unwrap());
    }
}
