//! Of `Store`, what makes images of directories, and directories of images.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};
use treering::fs::Root;
use treering::image::{
    self, CheckoutOptions, CloneOptions, CommitOptions, DiffOptions, EditOptions, Squash, UnpackOptions,
};
use treering::layer::ApplyOptions;

use super::shown;
use crate::arguments::{self, PathArg, diff_options};
use crate::diff::{Content, Data, Diff};
use crate::errors::OrRaise;
use crate::file::{Place, open};
use crate::handle::Store;
use crate::image::{Image, reopen};
use crate::image_argument::{self, ImageArg};
use crate::layer_values::losses;
use crate::output::make;
use crate::run::Job;

/// `squash=`: which layers become one.
fn squash_of(argument: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Squash>> {
    let Some(argument) = argument else { return Ok(None) };
    if let Ok(all) = argument.cast::<PyBool>() {
        return Ok(all.is_true().then_some(Squash::All));
    }
    Ok(Some(Squash::Last(arguments::number(argument)?)))
}

#[pymethods]
impl Store {
    /// Make an image of a directory, or add what changed in it since its base as a layer.
    ///
    /// With a name the image gets that name. ``base`` is what the image is built on: an image, ``"scratch"``, or by
    /// default the image the directory was unpacked from or last committed to. The directory is bound to the new image,
    /// so the next commit or comparison reads only what changed since. ``owner_from`` is another tool's record of owners to
    /// go by: ``"rootlesscontainers"``, ``"override-stat"`` or ``"fakeroot:FILE"``. ``changes`` are Dockerfile instructions for the
    /// configuration. With ``lowers`` the directory is the upper directory of an overlay, and its files keep their owners
    /// by default when root commits it. ``reproducible`` fixes every time there is: ``created``, and time stamps later
    /// than it, are the given time or 1970. With ``only_if_changed`` there is no new image where nothing changed and nothing is
    /// asked for but a name: the base gets the name.
    ///
    /// ``exclude`` has patterns of paths to leave out, as in a ``.dockerignore``, and ``ignore_file`` is a file of such. With
    /// ``ignore_times`` what differs in its time alone is compared by its content.
    ///
    /// An error leaves the store as it was.
    #[pyo3(signature = (
        tree, name = None, *, base = None, author = None, message = None, changes = None, owner = None,
        owner_from = None, compression = "gzip", level = None, compare = "auto", squash = false, created = None, platform = None,
        annotations = None, reproducible = false, clamp_mtime = None, nanoseconds = false, lowers = None,
        one_file_system = false, only_if_changed = false, ignore_times = false, exclude = None, ignore_file = None,
        threads = 0, progress = None
    ))]
    fn commit(
        &self,
        py: Python<'_>,
        tree: PathArg,
        #[pyo3(from_py_with = arguments::maybe_text)] name: Option<&str>,
        base: Option<ImageArg>,
        #[pyo3(from_py_with = arguments::maybe_text)] author: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] message: Option<&str>,
        #[pyo3(from_py_with = arguments::texts)] changes: Option<Vec<String>>,
        owner: Option<&Bound<'_, PyAny>>,
        owner_from: Option<PathArg>,
        #[pyo3(from_py_with = arguments::text)] compression: &str,
        #[pyo3(from_py_with = arguments::maybe_number)] level: Option<i32>,
        #[pyo3(from_py_with = arguments::text)] compare: &str,
        squash: bool,
        created: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        annotations: Option<&Bound<'_, PyAny>>,
        reproducible: bool,
        clamp_mtime: Option<&Bound<'_, PyAny>>,
        nanoseconds: bool,
        lowers: Option<Vec<PathArg>>,
        one_file_system: bool,
        only_if_changed: bool,
        ignore_times: bool,
        #[pyo3(from_py_with = arguments::texts)] exclude: Option<Vec<String>>,
        ignore_file: Option<PathArg>,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Image> {
        let store = self.open(py)?;
        let mut created = arguments::seconds(created)?;
        let mut layer = arguments::layer(clamp_mtime, nanoseconds)?;
        if reproducible {
            created = created.or(Some(0));
            layer.clamp_mtime = layer.clamp_mtime.or(created);
        }
        let options = CommitOptions {
            base: image_argument::base(py, base)?,
            compare: arguments::compare(py, compare)?,
            owners: arguments::owners(py, owner, owner_from)?,
            profile: arguments::profile(py, compression, level)?,
            layer,
            author: author.map(String::from),
            message: message.map(String::from),
            changes: changes.unwrap_or_default(),
            created,
            squash,
            // The same tree, the same image.
            only_if_changed: only_if_changed || reproducible,
            platform: arguments::platform(py, platform)?,
            annotations: arguments::pairs(annotations)?,
            one_file_system,
            ignore_times,
            exclude: arguments::exclude(py, exclude, ignore_file)?,
            threads,
            lowers: lowers.into_iter().flatten().map(|path| path.0).collect(),
        };
        let (theirs, name) = (store.clone(), name.map(String::from));
        let (committed, made) = Job::new("commit", progress).run(py, move |control, _| {
            let name = name.as_deref();
            let committed = image::commit(&theirs, &tree.0, name, &options, control)?;
            let made = reopen(&theirs, name, &committed.manifest)?;
            Ok((committed, made))
        })?;
        self.made(py, store, &committed, made)
    }

    /// Make an image out of another one, without a directory: other layers, another base, another configuration.
    ///
    /// ``append`` are layers as ``layer_create`` writes them, to be put on top: paths, and at most one object with ``read``. ``drop_last`` leaves the
    /// last layers out. ``squash`` is True to make one layer of all, or how many of the last. ``rebase`` is a pair: the image it is built
    /// on, and the one to take its place. It is always done in the order rebase, drop, append, squash, configuration. Layers that stay
    /// are not read. ``compression`` and ``level`` are for a squashed layer. Without ``created`` the image is made now.
    #[pyo3(signature = (
        image, name = None, *, changes = None, labels = None, annotations = None, author = None, message = None, created = None,
        append = None, drop_last = 0, squash = None, rebase = None, platform = None, compression = "gzip", level = None,
        max_ratio = None, threads = 0, progress = None
    ))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn edit(
        &self,
        py: Python<'_>,
        image: ImageArg,
        #[pyo3(from_py_with = arguments::maybe_text)] name: Option<&str>,
        #[pyo3(from_py_with = arguments::texts)] changes: Option<Vec<String>>,
        labels: Option<&Bound<'_, PyAny>>,
        annotations: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = arguments::maybe_text)] author: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] message: Option<&str>,
        created: Option<&Bound<'_, PyAny>>,
        append: Option<Vec<Bound<'_, PyAny>>>,
        #[pyo3(from_py_with = arguments::number)] drop_last: usize,
        squash: Option<&Bound<'_, PyAny>>,
        rebase: Option<(ImageArg, ImageArg)>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        #[pyo3(from_py_with = arguments::text)] compression: &str,
        #[pyo3(from_py_with = arguments::maybe_number)] level: Option<i32>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_ratio: Option<u64>,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Image> {
        let store = self.open(py)?;
        let options = EditOptions {
            platform: arguments::platform(py, platform)?,
            rebase: rebase.map(|(old, new)| (old.0, new.0)),
            drop_last,
            squash: squash_of(squash)?,
            changes: changes.unwrap_or_default(),
            labels: arguments::pairs(labels)?,
            annotations: arguments::pairs(annotations)?,
            author: author.map(String::from),
            message: message.map(String::from),
            created: arguments::seconds(created)?,
            profile: arguments::profile(py, compression, level)?,
            decode: arguments::decode(None, max_ratio),
            threads,
        };
        let layers = append.unwrap_or_default();
        let layers: Vec<Place<'_>> =
            layers.iter().map(|layer| Place::of(layer, "read")).collect::<PyResult<_>>()?;
        if layers.iter().filter(|layer| layer.object().is_some()).count() > 1 {
            return Err(PyTypeError::new_err(
                "append takes one object with read() at most; the others are paths",
            ));
        }
        let paths: Vec<Option<std::path::PathBuf>> = layers.iter().map(Place::path).collect();
        let file = layers.iter().find_map(Place::object);
        let (theirs, name) = (store.clone(), name.map(String::from));
        let job = Job { file, ..Job::new("edit image", progress) };
        let made = job.run(py, move |control, proxy| {
            let open = |path: Option<std::path::PathBuf>| -> treering::Result<Box<dyn Read + Send>> {
                Ok(match path {
                    Some(path) => Box::new(open(&path, control)?),
                    None => Box::new(proxy.clone()),
                })
            };
            let append = paths.into_iter().map(open).collect::<treering::Result<_>>()?;
            let edited = image::edit(&theirs, &image.0, name.as_deref(), append, &options, control)?;
            reopen(&theirs, name.as_deref(), &edited.manifest)
        })?;
        Ok(Image::new(store, made))
    }

    /// Unpack an image into a directory, which must not exist or be empty.
    ///
    /// Everything is made beside the directory, checked, and renamed into place. The tree that comes back compares itself
    /// with its image (``diff``) and grows it (``commit``). ``owner_xattr`` also writes owners into an attribute that other
    /// tools read: ``"rootlesscontainers"`` or ``"override-stat"``. ``lenient`` takes whiteouts as old tools wrote them;
    /// ``max_bytes``, ``max_entries`` and ``max_ratio`` cap what one layer may ask for: 1 TiB, ten million, and 1000
    /// times the size of its blob by default. With ``temporary`` the directory is removed at the end of a ``with`` statement.
    #[pyo3(signature = (
        image, dir, *, platform = None, owner_xattr = None, deny_loss = false, lenient = false, max_bytes = None,
        max_entries = None, max_ratio = None, sync = false, temporary = false, threads = 0, progress = None
    ))]
    fn unpack<'py>(
        slf: &Bound<'py, Self>,
        image: ImageArg,
        dir: PathArg,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] owner_xattr: Option<&str>,
        deny_loss: bool,
        lenient: bool,
        #[pyo3(from_py_with = arguments::maybe_number)] max_bytes: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_entries: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_ratio: Option<u64>,
        sync: bool,
        temporary: bool,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let store = slf.get().open(py)?;
        let options = UnpackOptions {
            apply: ApplyOptions {
                owner_xattr: owner_xattr.map(str::parse).transpose().or_raise(py)?,
                ..arguments::apply(threads, deny_loss, lenient, max_bytes, max_entries)
            },
            platform: arguments::platform(py, platform)?,
            sync,
            decode: arguments::decode(max_bytes, max_ratio),
        };
        let (theirs, place) = (store.clone(), dir.0.clone());
        let (unpacked, found) = Job::new("unpack image", progress).run(py, move |control, _| {
            let unpacked = image::unpack(&theirs, &image.0, &place, &options, control)?;
            let found = image::Image::open(&theirs, &unpacked.manifest.to_string(), None)?;
            Ok((unpacked, found))
        })?;
        let image = Image::new(store, found);
        let report =
            make(py, "Unpacked", (unpacked.entries, unpacked.in_ledger, losses(py, &unpacked.losses)?))?;
        let class = py.import("treering._tree")?.getattr("Tree")?;
        class.call1((slf, shown(py, &dir.0)?, image, report, temporary))
    }

    /// Make a directory what an image says, in place: only what differs is touched. It came from whatever image; an empty or
    /// missing one is unpacked to.
    ///
    /// ``"-"`` is the image that the directory was before the present one. Changes that are in no image are an ``InUseError`` that
    /// lists the first of them, unless ``discard`` throws them away. With ``dry_run`` nothing is done, and the report says what
    /// would be. After an error, commits and comparisons refuse the directory until the next checkout has finished.
    #[pyo3(signature = (
        image, dir, *, discard = false, dry_run = false, platform = None, deny_loss = false, max_ratio = None, sync = false,
        threads = 0, progress = None
    ))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn checkout<'py>(
        slf: &Bound<'py, Self>,
        image: ImageArg,
        dir: PathArg,
        discard: bool,
        dry_run: bool,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        deny_loss: bool,
        #[pyo3(from_py_with = arguments::maybe_number)] max_ratio: Option<u64>,
        sync: bool,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let store = slf.get().open(py)?;
        let options = CheckoutOptions {
            discard,
            dry_run,
            platform: arguments::platform(py, platform)?,
            sync,
            apply: arguments::apply(threads, deny_loss, false, None, None),
            decode: arguments::decode(None, max_ratio),
        };
        let theirs = store.clone();
        let (made, found) = Job::new("check out", progress).run(py, move |control, _| {
            let made = image::checkout(&theirs, &image.0, &dir.0, &options, control)?;
            let found = image::Image::open(&theirs, &made.manifest.to_string(), None)?;
            Ok((made, found))
        })?;
        let changes: Vec<(&str, Bound<'py, PyString>)> = made
            .changes
            .iter()
            .map(|(kind, path)| Ok((kind.name(), shown(py, std::ffi::OsStr::from_bytes(path).as_ref())?)))
            .collect::<PyResult<_>>()?;
        let losses = losses(py, &made.losses)?;
        let counts = (made.written, made.updated, made.removed, made.kept, made.in_ledger);
        let (written, updated, removed, kept, in_ledger) = counts;
        let image = Image::new(store, found);
        make(py, "CheckedOut", (image, written, updated, removed, kept, in_ledger, losses, changes))
    }

    /// Copy a tree that was unpacked or committed, with its record in the store, to a directory that does not exist or
    /// is empty.
    ///
    /// The copy has the same owners, the same image and the same changes, and its next comparison or commit reads only what
    /// changes. Blocks are shared where the filesystem can. It is made beside the directory and renamed into place. With
    /// ``temporary`` the directory is removed at the end of a ``with`` statement.
    #[pyo3(signature = (tree, dir, *, sync = false, temporary = false, threads = 0, progress = None))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn clone<'py>(
        slf: &Bound<'py, Self>,
        tree: PathArg,
        dir: PathArg,
        sync: bool,
        temporary: bool,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let store = slf.get().open(py)?;
        let options = CloneOptions { threads, sync };
        let (theirs, place) = (store.clone(), dir.0.clone());
        let (cloned, found) = Job::new("clone tree", progress).run(py, move |control, _| {
            let cloned = image::clone(&theirs, &tree.0, &place, &options, control)?;
            let found = image::Image::open(&theirs, &cloned.manifest.to_string(), None)?;
            Ok((cloned, found))
        })?;
        let image = Image::new(store, found);
        let report = make(py, "Unpacked", (cloned.entries, cloned.in_ledger, losses(py, &cloned.losses)?))?;
        let class = py.import("treering._tree")?.getattr("Tree")?;
        class.call1((slf, shown(py, &dir.0)?, image, report, temporary))
    }

    /// Compare a directory with its base, by default the image it was unpacked from or last committed to. With
    /// ``reverse`` the changes are those that make the directory into its base.
    #[pyo3(signature = (tree, *, base = None, owner = None, owner_from = None, compare = "auto", exact_times = false, platform = None, one_file_system = false, ignore_times = false, exclude = None, ignore_file = None, reverse = false, threads = 0, progress = None))]
    fn diff(
        &self,
        py: Python<'_>,
        tree: PathArg,
        base: Option<ImageArg>,
        owner: Option<&Bound<'_, PyAny>>,
        owner_from: Option<PathArg>,
        #[pyo3(from_py_with = arguments::text)] compare: &str,
        exact_times: bool,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        one_file_system: bool,
        ignore_times: bool,
        #[pyo3(from_py_with = arguments::texts)] exclude: Option<Vec<String>>,
        ignore_file: Option<PathArg>,
        reverse: bool,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Diff> {
        let store = self.open(py)?;
        let base = image_argument::base(py, base)?;
        let exclude = arguments::exclude(py, exclude, ignore_file)?;
        let options = diff_options(
            py,
            owner,
            owner_from,
            compare,
            exact_times,
            platform,
            one_file_system,
            ignore_times,
            exclude,
            threads,
        )?;
        let options = DiffOptions { reverse, ..options };
        let data = Job::new("compare trees", progress).run(py, move |control, _| {
            let root = Root::open(&tree.0)?;
            let diff = image::diff_root(Some(&store), &root, &base, &options, control)?;
            // The content of what the tree is to become is in the layers of its base.
            let content = if reverse { Content::Nowhere } else { Content::Tree(root) };
            Ok(Data::new(diff, content))
        })?;
        Ok(Diff::of(data))
    }
}
