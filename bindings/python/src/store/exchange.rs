//! Of `Store`, what moves images in and out: archives and registries.

use pyo3::prelude::*;
use treering::archive::{ExportOptions, ImportOptions};
use treering::error::Error;
use treering::image::UnpackOptions;
use treering::layer::ApplyOptions;
use treering::registry::{ListAnnotation, PullOptions, PushOptions};
use treering::store::Reference;

use super::shown;
use crate::archive;
use crate::arguments::{self, PathArg};
use crate::errors::{OrRaise, to_python};
use crate::handle::Store;
use crate::image::Image;
use crate::image_argument::{ImageArg, ImageArgs};
use crate::layer_values::losses;
use crate::output::make;
use crate::registry::{self, Registries};

#[pymethods]
impl Store {
    /// Write one image or several into one archive: a path, written atomically, or an object with ``write``.
    ///
    /// ``"docker-archive"`` is what ``docker load`` and ``podman load`` read (an OCI layout with a ``manifest.json``
    /// beside it); ``"oci-archive"`` leaves that out, and may hold images for several platforms. ``platform`` is the one to save
    /// of an image for several.
    #[pyo3(signature = (images, file, *, format = "docker-archive", platform = None, progress = None))]
    fn save(
        &self,
        py: Python<'_>,
        images: ImageArgs,
        file: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = arguments::text)] format: &str,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let platform = arguments::platform(py, platform)?;
        archive::save(py, &self.open(py)?, images, file, format, platform, progress)
    }

    /// Load every image of an archive: a path, or an object with ``read``. All of it is checked before any image gets its
    /// name. ``names`` says what happens when the archive has a name that the store has for another image: ``"keep"`` is
    /// an error, ``"move"`` takes the name as ``docker load`` does; ``"ignore"`` loads without names. ``max_bytes`` caps
    /// the archive and each layer in it, uncompressed.
    #[pyo3(signature = (file, *, names = "keep", max_bytes = None, max_entries = None, progress = None))]
    fn load<'py>(
        &self,
        py: Python<'py>,
        file: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = arguments::text)] names: &str,
        #[pyo3(from_py_with = arguments::maybe_number)] max_bytes: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_entries: Option<u64>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        archive::load(py, &self.open(py)?, file, names, max_bytes, max_entries, progress)
    }

    /// Make an image of a tar of a filesystem: a path, or an object with ``read``; plain, gzip, zstd, xz or bzip2. Without
    /// ``compression`` the bytes become the layer as they come.
    #[pyo3(signature = (
        file, name = None, *, changes = None, message = None, author = None, platform = None, created = None,
        compression = None, level = None, max_bytes = None, max_entries = None, threads = 0, progress = None
    ))]
    fn import_(
        &self,
        py: Python<'_>,
        file: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = arguments::maybe_text)] name: Option<&str>,
        #[pyo3(from_py_with = arguments::texts)] changes: Option<Vec<String>>,
        #[pyo3(from_py_with = arguments::maybe_text)] message: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] author: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        created: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = arguments::maybe_text)] compression: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_number)] level: Option<i32>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_bytes: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_entries: Option<u64>,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Image> {
        let store = self.open(py)?;
        if compression.is_none() && level.is_some() {
            let message = "a level needs a compression";
            return Err(to_python(py, &Error::invalid("import", message)));
        }
        let mut options = ImportOptions {
            changes: changes.unwrap_or_default(),
            message: message.map(String::from),
            author: author.map(String::from),
            platform: arguments::platform(py, platform)?,
            created: arguments::seconds(created)?,
            profile: compression.map(|name| arguments::profile(py, name, level)).transpose()?,
            threads,
            ..ImportOptions::default()
        };
        archive::caps(&mut options.limits, &mut options.decode, max_bytes, max_entries);
        let name = name.map(Reference::parse).transpose().or_raise(py)?;
        let (committed, made) = archive::import(py, &store, file, name, options, progress)?;
        self.made(py, store, &committed, made)
    }

    /// Write the filesystem of an image or of a directory as one tar, as ``docker export`` does. What is a path-like, or
    /// bytes, is a directory; a ``str`` or an ``Image`` is an image.
    #[pyo3(signature = (source, file, *, platform = None, owner = None, owner_from = None, clamp_mtime = None, nanoseconds = false, threads = 0, progress = None))]
    fn export(
        &self,
        py: Python<'_>,
        source: &Bound<'_, PyAny>,
        file: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        owner: Option<&Bound<'_, PyAny>>,
        owner_from: Option<PathArg>,
        clamp_mtime: Option<&Bound<'_, PyAny>>,
        nanoseconds: bool,
        threads: usize,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let options = ExportOptions {
            platform: arguments::platform(py, platform)?,
            layer: arguments::layer(clamp_mtime, nanoseconds)?,
            owners: arguments::owners(py, owner, owner_from)?,
            threads,
        };
        archive::export(py, &self.open(py)?, source, file, options, progress)
    }

    /// Fetch an image from a registry, as ``docker pull`` does; the name moves to it. Layers that the store holds are not
    /// fetched, transfers that are cut go on, and all of it is checked before the name changes. ``auth`` is a user name and a
    /// password; without, those are used that docker or podman keep. ``all_platforms`` fetches all that the image's index lists.
    /// ``as_name`` is the name that the image gets here. ``max_ratio`` is how many times larger than its blob a layer may get.
    #[pyo3(signature = (
        name, *, platform = None, all_platforms = false, as_name = None, max_ratio = None, auth = None, registries = None,
        progress = None, events = None
    ))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn pull<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = arguments::text)] name: &str,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        all_platforms: bool,
        #[pyo3(from_py_with = arguments::maybe_text)] as_name: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_ratio: Option<u64>,
        auth: Option<(String, String)>,
        registries: Option<PyRef<'py, Registries>>,
        progress: Option<&Bound<'py, PyAny>>,
        events: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = PullOptions {
            platform: arguments::platform(py, platform)?,
            all_platforms,
            name: as_name.map(Reference::parse).transpose().or_raise(py)?,
            decode: arguments::decode(None, max_ratio),
        };
        let call = registry::Call { auth, registries, progress, events };
        registry::pull(py, &self.open(py)?, name.to_string(), options, call)
    }

    /// Fetch an image as ``pull`` does and unpack it as ``unpack`` does, both at once: layers are applied while they arrive. After an
    /// error neither the name nor the directory is there.
    #[pyo3(signature = (
        name, dir, *, platform = None, all_platforms = false, as_name = None, owner_xattr = None, deny_loss = false,
        lenient = false, max_bytes = None, max_entries = None, max_ratio = None, sync = false, temporary = false, threads = 0,
        auth = None, registries = None, progress = None, events = None
    ))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn pull_unpack<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = arguments::text)] name: &str,
        dir: PathArg,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        all_platforms: bool,
        #[pyo3(from_py_with = arguments::maybe_text)] as_name: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] owner_xattr: Option<&str>,
        deny_loss: bool,
        lenient: bool,
        #[pyo3(from_py_with = arguments::maybe_number)] max_bytes: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_entries: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_ratio: Option<u64>,
        sync: bool,
        temporary: bool,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        auth: Option<(String, String)>,
        registries: Option<PyRef<'py, Registries>>,
        progress: Option<&Bound<'py, PyAny>>,
        events: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let py = slf.py();
        let store = slf.get().open(py)?;
        let options = PullOptions {
            platform: arguments::platform(py, platform)?,
            all_platforms,
            name: as_name.map(Reference::parse).transpose().or_raise(py)?,
            decode: arguments::decode(max_bytes, max_ratio),
        };
        let unpack = UnpackOptions {
            apply: ApplyOptions {
                owner_xattr: owner_xattr.map(str::parse).transpose().or_raise(py)?,
                ..arguments::apply(threads, deny_loss, lenient, max_bytes, max_entries)
            },
            platform: None,
            sync,
            decode: arguments::decode(max_bytes, max_ratio),
        };
        let call = registry::Call { auth, registries, progress, events };
        let place = (name.to_string(), dir.0.clone());
        let (image, pulled, unpacked) = registry::pull_unpack(py, &store, place, (options, unpack), call)?;
        let report =
            make(py, "Unpacked", (unpacked.entries, unpacked.in_ledger, losses(py, &unpacked.losses)?))?;
        let class = py.import("treering._tree")?.getattr("Tree")?;
        let image = Image::new(store, image);
        Ok((pulled, class.call1((slf, shown(py, &dir.0)?, image, report, temporary))?))
    }

    /// Send an image to a registry, as ``docker push`` does, under ``name`` or its own. What the registry has, or can take
    /// from another of its repositories, is not sent. ``platform`` sends one out of an image for several; with ``no_mount`` nothing
    /// is taken from other repositories.
    #[pyo3(signature = (
        image, name = None, *, platform = None, no_mount = false, auth = None, registries = None, progress = None, events = None
    ))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn push<'py>(
        &self,
        py: Python<'py>,
        image: ImageArg,
        #[pyo3(from_py_with = arguments::maybe_text)] name: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        no_mount: bool,
        auth: Option<(String, String)>,
        registries: Option<PyRef<'py, Registries>>,
        progress: Option<&Bound<'py, PyAny>>,
        events: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let store = self.open(py)?;
        let name = name.map_or_else(|| image.named(&store), String::from);
        let options = PushOptions { platform: arguments::platform(py, platform)?, no_mount };
        let call = registry::Call { auth, registries, progress, events };
        registry::push(py, &store, image.0, name, options, call)
    }

    /// Make a list of images for several platforms (an index), give it a name in the store, from where ``push`` takes it, and return
    /// its digest. Each image is one of the store, or else one of its registry, of which manifest and configuration are fetched. Of
    /// an image for several platforms all are taken. ``amend`` adds to the list that has the name; without it a name that is there is
    /// an ``AlreadyExistsError``.
    #[pyo3(signature = (name, images, *, amend = false, auth = None, registries = None, progress = None, events = None))]
    #[allow(clippy::too_many_arguments)]
    fn create_list<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = arguments::text)] name: &str,
        images: ImageArgs,
        amend: bool,
        auth: Option<(String, String)>,
        registries: Option<PyRef<'py, Registries>>,
        progress: Option<&Bound<'py, PyAny>>,
        events: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<String> {
        let call = registry::Call { auth, registries, progress, events };
        registry::create_list(
            py,
            &self.open(py)?,
            name.to_string(),
            images.0.into_iter().map(|image| image.0).collect(),
            amend,
            call,
        )
    }

    /// Change what a list in the store says about one of its images: its platform, and annotations. The image is named as it was when
    /// the list was made, or by its digest. Returns the digest of the list.
    #[pyo3(signature = (name, image, *, platform = None, annotations = None))]
    fn annotate_list(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::text)] name: &str,
        image: ImageArg,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        annotations: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<String> {
        let change = ListAnnotation {
            platform: arguments::platform(py, platform)?,
            annotations: arguments::pairs(annotations)?.into_iter().collect(),
        };
        registry::annotate_list(py, &self.open(py)?, name.to_string(), image.0, change)
    }
}
