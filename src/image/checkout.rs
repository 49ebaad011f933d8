//! Making a tree what another image says, in place: the inverse of a commit.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::clone::unchanged;
use super::contents::entries;
use super::diff::{mount_points, open_bound};
use super::local_changes::refuse_changes;
use super::open::Image;
use super::plan::{Found, Plan};
use super::platform::Platform;
use super::read::ImageFiles;
use super::tree::{Tree, scan_options};
use super::unpack::{Origin, UnpackOptions, unpack_from};
use crate::compress::DecodeLimits;
use crate::diff::ChangeKind;
use crate::diff::transition::{Stay, Transition};
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result, escape};
use crate::fs::dirents::Names;
use crate::fs::{Kind, Root, clock};
use crate::layer::apply::{ApplyOptions, Loss, owner_on_disk};
use crate::layer::reshape::{Goal, reshape};
use crate::progress::Control;
use crate::store::Store;
use crate::tree::scan::{Scan, Skipped, scan};
use crate::tree::walk::{Descend, Walk2};
use crate::tree::{NONE, OwnerSource, Owners, ScanOptions, Snapshot};

const CHECKOUT: &str = "check out";
/// How many bytes of files may be read instead of making the list of an image.
const FEW: u64 = 16 << 20;

/// Options of a checkout.
#[derive(Debug, Clone, Default)]
pub struct CheckoutOptions {
    /// Throw away what changed in the tree since it was unpacked, committed or checked out.
    pub discard: bool,
    /// Only say what would happen.
    pub dry_run: bool,
    /// Which platform of a multi-platform image; `None` for this machine's.
    pub platform: Option<Platform>,
    /// Make everything durable before returning (syncfs(2)), before the store says so.
    pub sync: bool,
    /// How files are put on the disk. The attribute for owners is the one that the tree was unpacked with.
    pub apply: ApplyOptions,
    /// Caps on the decompression of each layer.
    pub decode: DecodeLimits,
}

/// A tree that was checked out.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct CheckedOut {
    /// The digest of the manifest of the image that the tree now is.
    pub manifest: Digest,
    /// How many entries were made, or got another content.
    pub written: u64,
    /// How many entries stayed and got other metadata, or names.
    pub updated: u64,
    /// How many entries were removed, those below a removed directory counted.
    pub removed: u64,
    /// How many entries were left as they were, the root counted.
    pub kept: u64,
    /// How many entries are in the ledger.
    pub in_ledger: u64,
    /// Attributes that could not be kept.
    pub losses: Vec<Loss>,
    /// The changes, made or to be made: the path, and whether it is added, changed or deleted. In byte order. Not filled
    /// when the directory was empty and the image was unpacked.
    #[serde(serialize_with = "as_objects")]
    pub changes: Vec<(ChangeKind, Vec<u8>)>,
}

/// Changes as objects with `kind` and `path`; bytes of the path that are not text are escaped.
fn as_objects<S: serde::Serializer>(
    changes: &[(ChangeKind, Vec<u8>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let one = |(kind, path): &(ChangeKind, Vec<u8>)| serde_json::json!({ "kind": kind.name(), "path": escape(path) });
    serializer.collect_seq(changes.iter().map(one))
}

/// Makes a tree what an image says, touching only what differs. The tree came from whatever image. A file that has the content
/// it should have is not rewritten. An empty or missing directory is unpacked to. `-` for the image is the one that the
/// tree was bound to before the present one, also after it was emptied.
///
/// The tree is bound to the image, so the next commit or comparison is one with it, and reads only what changes. Until that is so,
/// the record says what the tree is on the way to: wherever this ends, by an error or a kill, [`commit`](super::commit()) and
/// the comparisons refuse the tree until another checkout, of any image, has finished.
///
/// # Errors
/// [`ErrorKind::InUse`] when there are local changes, of which it lists the first, and [`CheckoutOptions::discard`] is not set;
/// [`ErrorKind::NotFound`] when the store has no record of the tree; [`ErrorKind::Unsupported`] when something is mounted
/// in it; [`ErrorKind::Busy`] when another checkout or commit is at work in it; [`ErrorKind::Changed`] when anything else
/// is.
pub fn checkout(
    store: &Store,
    reference: &str,
    dir: impl AsRef<Path>,
    options: &CheckoutOptions,
    control: &Control,
) -> Result<CheckedOut> {
    let dir = dir.as_ref();
    let _lease = store.lease_for(control)?;
    let root = match Root::open(dir) {
        Ok(root) => root,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return unpacked(store, reference, reference.into(), dir, options, control);
        }
        Err(error) => return Err(error),
    };
    let tree = Tree::open_unfinished(store, &root)?;
    let mut names = Names::default();
    names.read(&root).at(CHECKOUT, root.describe(b""))?;
    let (reference, name) = match reference {
        "-" => before(&tree, &root)?,
        reference => (reference.to_string(), Some(reference.to_string())),
    };
    if names.is_empty() {
        let image = Image::open(store, &reference, options.platform.as_ref())?;
        let origin = Origin::after(name.as_deref().unwrap_or(&reference), tree.before_next(image.digest()));
        return unpacked(store, &reference, origin, dir, options, control);
    }
    if !tree.is_bound() {
        return Err(Error::not_found(CHECKOUT, "the store has no record of this tree, and it is not empty")
            .with_path(root.describe(b""))
            .with_hint("unpack the image to a new directory, or commit this one first"));
    }
    let image = Image::open(store, &reference, options.platform.as_ref())?;
    let Some(_lock) = root.lock(!options.dry_run).at(CHECKOUT, root.describe(b""))? else {
        return Err(busy(&root));
    };
    Checkout::new(store, &root, tree, image, options, control)?.run(name.as_deref())
}

/// Returns the error for a tree that another process works in.
pub(super) fn busy(root: &Root) -> Error {
    Error::new(ErrorKind::Busy, CHECKOUT, "another commit or checkout is at work in this tree")
        .with_path(root.describe(b""))
}

/// Returns the image that a tree was bound to before, as a reference and as it was called.
fn before(tree: &Tree<'_>, root: &Root) -> Result<(String, Option<String>)> {
    match tree.before() {
        Some(before) => Ok((before.image(), before.reference.clone())),
        None => Err(Error::not_found(CHECKOUT, "the store has no former image of this tree")
            .with_path(root.describe(b""))
            .with_hint("name the image")),
    }
}

fn unpacked(
    store: &Store,
    reference: &str,
    origin: Origin<'_>,
    dir: &Path,
    options: &CheckoutOptions,
    control: &Control,
) -> Result<CheckedOut> {
    let image = Image::open(store, reference, options.platform.as_ref())?;
    let mut out = CheckedOut {
        manifest: *image.digest(),
        written: 0,
        updated: 0,
        removed: 0,
        kept: 0,
        in_ledger: 0,
        losses: Vec::new(),
        changes: Vec::new(),
    };
    if options.dry_run {
        out.written = u64::from(entries(store, &image, control)?.len()) - 1;
        return Ok(out);
    }
    let options = UnpackOptions {
        apply: options.apply.clone(),
        platform: options.platform.clone(),
        sync: options.sync,
        decode: options.decode.clone(),
    };
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let made = unpack_from(store, &image, origin, dir, &options, store, control)?;
    (out.written, out.in_ledger, out.losses) = (made.entries, made.in_ledger, made.losses);
    Ok(out)
}

/// The files of the image that a tree is bound to, opened when they are asked for.
struct Before<'a> {
    store: &'a Store,
    /// The image; `None` where there is none, or the list is at hand.
    manifest: Option<Digest>,
    options: &'a CheckoutOptions,
    control: &'a Control,
    files: OnceCell<Option<ImageFiles>>,
}

impl Before<'_> {
    fn files(&self) -> Result<Option<&ImageFiles>> {
        if let Some(files) = self.files.get() {
            return Ok(files.as_ref());
        }
        let files = match &self.manifest {
            None => None,
            Some(manifest) => match open_bound(self.store, manifest, self.options.platform.as_ref())
                .and_then(|image| ImageFiles::open(self.store, &image, self.control))
            {
                Ok(files) => Some(files.with_limits(self.options.decode.clone())),
                // Going back from an image that is damaged takes reading the files, and no more.
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => None,
                Err(error) => return Err(error),
            },
        };
        Ok(self.files.get_or_init(|| files).as_ref())
    }
}

/// Returns the bytes of files that have neither digest nor place in a scan; all there are where there is no index that could
/// have given them.
fn unknown(index: Option<&Snapshot>, now: &Snapshot) -> u64 {
    if index.is_none() {
        return u64::MAX;
    }
    let sizes = (0..now.len()).map(|at| (at, now.meta(at)));
    let known = |at| now.digest(at).is_some() || now.place(at).is_some();
    let files = sizes.filter(|(at, meta)| meta.kind == Kind::File && !known(*at));
    files.fold(0, |sum, (_, meta)| sum.saturating_add(meta.size))
}

struct Checkout<'a> {
    store: &'a Store,
    root: &'a Root,
    options: &'a CheckoutOptions,
    control: &'a Control,
    image: Image,
    tree: Tree<'a>,
    owners: Owners,
    /// The tree as it is, and what is in neither list.
    now: Snapshot,
    beside: HashSet<Vec<u8>>,
    files: ImageFiles,
    transition: Transition,
    digests: HashMap<u32, [u8; 32]>,
    /// Nothing is to be written down, not even that.
    settled: bool,
}

impl<'a> Checkout<'a> {
    /// Looks at the tree, and finds out what has to happen.
    fn new(
        store: &'a Store,
        root: &'a Root,
        mut tree: Tree<'a>,
        image: Image,
        options: &'a CheckoutOptions,
        control: &'a Control,
    ) -> Result<Checkout<'a>> {
        let (manifest, becoming, index) =
            (tree.image().copied(), tree.becoming().is_some(), tree.index.take());
        let mut owners = std::mem::take(&mut tree.owners);
        let look = |owners: &Owners, previous: Option<&Snapshot>| -> Result<Scan> {
            let threads = options.apply.threads;
            let beside = scan_options(owners, Some(store))?;
            scan(root, &ScanOptions { threads, previous, one_file_system: true, ..beside }, control)
        };
        let Scan { mut snapshot, skipped, .. } = look(&owners, index.as_ref())?;
        if let Some(path) = mount_points(&skipped).first() {
            return Err(Error::new(ErrorKind::Unsupported, CHECKOUT, "something is mounted in the tree")
                .with_path(root.describe(path))
                .with_hint("unmount it: what it hides cannot be compared"));
        }
        let files = ImageFiles::open(store, &image, control)?.with_limits(options.decode.clone());
        // Contents of the files that are as the index has them: those of the image that it is of.
        let to_same = manifest.as_ref() == Some(image.digest());
        let before = Before {
            store,
            manifest: manifest.filter(|_| !to_same),
            options,
            control,
            files: OnceCell::new(),
        };
        let of_index = || if to_same { Ok(Some(&files)) } else { before.files() };
        if !becoming && !options.discard {
            refuse_changes(root, index.as_ref(), &of_index, &snapshot, options, control)?;
        }
        let same_policy = owners.policy == owner_on_disk();
        if !same_policy {
            // What a fresh tree of the image would be scanned with.
            owners.policy = owner_on_disk();
            snapshot = look(&owners, None)?.snapshot;
        }
        // Where nearly all of it is known, reading the other files takes less time than making a list.
        let few = !to_same && unknown(index.as_ref(), &snapshot) <= FEW;
        let list = if few { None } else { of_index()?.map(ImageFiles::list) };
        let known = known_contents(index.as_ref(), list, &snapshot);
        let threads = options.apply.threads;
        let found = Found { root, now: &snapshot, list, known, threads };
        let Plan { transition, digests } = Plan::new(&found, &files, control)?;
        let settled = transition.is_empty()
            && !becoming
            && to_same
            && same_policy
            && index.is_some_and(|index| unchanged(&index, &snapshot).iter().all(|&at| at != NONE));
        let beside = skipped.into_iter().map(|skipped: Skipped| skipped.path).collect();
        let found = Checkout {
            store,
            root,
            options,
            control,
            image,
            tree,
            owners,
            now: snapshot,
            beside,
            files,
            transition,
            digests,
            settled,
        };
        found.refuse_to_remove_the_store()?;
        Ok(found)
    }

    /// Refuses to remove what the store stands in.
    fn refuse_to_remove_the_store(&self) -> Result<()> {
        let shown = self.store.root_path().as_os_str().as_bytes();
        let stat = crate::fs::stat::stat_fd(self.store.dir()).at(CHECKOUT, shown)?;
        for path in &self.beside {
            let gone = |at: &u32| {
                let below = [&self.now.path(*at)[..], b"/"].concat();
                path.starts_with(&below)
            };
            if !self.transition.removed.iter().any(gone) && self.files.list().lookup(path).is_none() {
                continue;
            }
            let (parent, name) = crate::fs::root::split(path);
            let found = self
                .root
                .open_dir(parent)
                .and_then(|dir| crate::fs::stat::stat_at(dir, &crate::fs::root::c_name(name)?));
            if found.is_ok_and(|found| (found.dev, found.ino) == (stat.dev, stat.ino)) {
                return Err(Error::new(ErrorKind::InUse, CHECKOUT, "the image store itself is in the way")
                    .with_path(self.root.describe(path)));
            }
        }
        Ok(())
    }

    fn run(self, reference: Option<&str>) -> Result<CheckedOut> {
        let (root, control) = (self.root, self.control);
        let mut out = self.report();
        if self.options.dry_run {
            return Ok(out);
        }
        let manifest = *self.image.digest();
        if self.settled {
            out.in_ledger = self.owners.ledger.len() as u64;
            return Ok(out);
        }
        self.tree.begin(manifest)?;
        let owner_xattr = match &self.owners.source {
            OwnerSource::Xattr(attribute) => Some(*attribute),
            OwnerSource::Nothing | OwnerSource::Fakeroot(_) => None,
        };
        let apply = ApplyOptions { owner_xattr, ..self.options.apply.clone() };
        let goal = Goal {
            root,
            now: &self.now,
            wanted: self.files.list(),
            digests: &self.digests,
            transition: &self.transition,
            beside: &self.beside,
            options: &apply,
        };
        let ledger = self.owners.ledger.clone();
        let done =
            reshape(&goal, ledger, |wanted, give| self.files.read_each(wanted, control, give), control)?;
        if self.options.sync {
            rustix::fs::syncfs(root).at(CHECKOUT, root.describe(b""))?;
        }
        let owners = Owners { ledger: done.ledger, ..self.owners.clone() };
        let shown = || root.describe(b"");
        let staged = self.tree.stage(&owners, Some(&done.snapshot))?.seal(&self.tree, manifest, reference)?;
        match clock::wait_for(root, done.clock).at_path(CHECKOUT, shown)? {
            true => staged.publish()?,
            // Without a list of the moment the next scan reads everything, and is right.
            false => self.tree.bind(manifest, reference, &owners, None)?,
        };
        // Files that were compared and turned out to be other ones are written, not updated.
        let also: u64 = self.names_of(&done.made, |stay| stay.is_some());
        (out.written, out.updated) = (out.written + also, out.updated - also);
        (out.in_ledger, out.losses) = (owners.ledger.len() as u64, done.losses);
        Ok(out)
    }

    /// Returns how many names the files have that begin with these names, of those that may stay or not.
    fn names_of(&self, leaders: &[u32], of: impl Fn(Option<Stay>) -> bool) -> u64 {
        let leaders: HashSet<u32> = leaders.iter().copied().collect();
        let steps = self.transition.files.iter().filter(|step| leaders.contains(&step.leader));
        steps.filter(|step| of(step.stays.map(|(_, stay)| stay))).map(|step| step.names.len() as u64).sum()
    }

    /// Returns what is to happen, in numbers and by name.
    fn report(&self) -> CheckedOut {
        let (now, wanted, transition) = (&self.now, self.files.list(), &self.transition);
        let mut changes = Vec::new();
        let mut removed = 0;
        for &gone in &transition.removed {
            removed += 1 + below(now, gone);
            let path = now.path(gone);
            if wanted.lookup(&path).is_none() {
                changes.push((ChangeKind::Deleted, path));
            }
        }
        let kind_of = |old: u32, new: u32| match old == NONE && now.lookup(&wanted.path(new)).is_none() {
            true => ChangeKind::Added,
            false => ChangeKind::Changed,
        };
        for &at in &transition.directories {
            changes.push((kind_of(NONE, at), wanted.path(at)));
        }
        for pair in &transition.touched {
            changes.push((ChangeKind::Changed, wanted.path(pair.new)));
        }
        let (mut written, mut updated) =
            (transition.directories.len() as u64, transition.touched.len() as u64);
        for step in &transition.files {
            for name in &step.names {
                changes.push((kind_of(name.old, name.new), wanted.path(name.new)));
            }
            match step.stays {
                Some(_) => updated += step.names.len() as u64,
                None => written += step.names.len() as u64,
            }
        }
        changes.sort_by(|a, b| a.1.cmp(&b.1));
        CheckedOut {
            manifest: *self.image.digest(),
            written,
            updated,
            removed,
            kept: transition.kept.iter().filter(|&&at| at != NONE).count() as u64,
            in_ledger: 0,
            losses: Vec::new(),
            changes,
        }
    }
}

/// Returns how many entries are below one.
fn below(list: &Snapshot, top: u32) -> u64 {
    let (mut todo, mut count) = (vec![top], 0);
    while let Some(at) = todo.pop() {
        count += list.children(at).len() as u64;
        todo.extend(list.children(at).filter(|&child| list.meta(child).kind == Kind::Directory));
    }
    count
}

/// Returns for each entry of a scan its number in the list of the image that the index is of, when the index says that it
/// is as it was there.
pub(crate) fn known_contents(index: Option<&Snapshot>, list: Option<&Snapshot>, now: &Snapshot) -> Vec<u32> {
    let (Some(index), Some(list)) = (index, list) else { return Vec::new() };
    let mut known = vec![NONE; now.len() as usize];
    let same = unchanged(index, now);
    for pair in Walk2::new(Some(list), Some(index), Descend::New) {
        if pair.old != NONE && pair.new != NONE && same[pair.new as usize] != NONE {
            known[same[pair.new as usize] as usize] = pair.old;
        }
    }
    known
}
