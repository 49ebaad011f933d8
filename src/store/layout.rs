//! Opening a store: where it is, what lies in it, which users may look inside.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, PermissionsExt};
use serde_json::json;

use super::limits::Limits;
use super::pin::Pinned;
use super::publish::{self, Durability};
use crate::error::{At, Error, ErrorKind, Found, Result};
use crate::fs::make_dir::make_missing;
use crate::hint::Hint;

const OP: &str = "open store";
/// Names at the top of a store.
const ROOMS: [&str; 9] =
    ["oci", "layers", "containers", "boxes", "cache", "pins", "tmp", "lock", "index.lock"];
/// Names in `oci`.
const LAYOUT: [&str; 3] = ["oci-layout", "index.json", "blobs"];
const LAYOUT_VERSION: &str = "1.0.0";
/// The largest `oci-layout` that is read, in bytes.
const LAYOUT_CAP: u64 = 4096;

/// A store, open. Cheap to clone; clones share the same directory handles. `Send` and `Sync`: every method may be
/// called from any thread, and any number of processes may have the same store open.
#[derive(Clone)]
pub struct Store(pub(super) Arc<Rooms>, pub(super) Hold);

/// A holder of the store besides its user.
#[derive(Clone)]
pub(super) enum Hold {
    Nothing,
    /// It belongs to an operation that pins what it needs.
    Pin(Arc<Pinned>),
    /// This process holds the store alone: no lock needs to be taken, and no pin.
    Exclusive,
}

pub(super) struct Rooms {
    pub root: PathBuf,
    /// The path of `oci`.
    pub layout: PathBuf,
    pub dir: Dir,
    pub oci: Dir,
    pub blobs: Dir,
    pub layers: Dir,
    pub containers: Dir,
    pub cache: Dir,
    pub pins: Dir,
    pub tmp: Dir,
    pub limits: Limits,
}

/// Returns where the user's store is: `$TREERING_ROOT`, else `$XDG_DATA_HOME/treering`, else `$HOME/.local/share/treering`.
///
/// Only reads the environment. As the XDG base directory specification asks, an `XDG_DATA_HOME` that is empty or
/// relative is ignored. Fails with [`ErrorKind::NotFound`] when none of the three variables is usable.
pub fn default_root() -> Result<PathBuf> {
    pick_root(|name| std::env::var_os(name))
}

fn pick_root(var: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let set = |name| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(root) = set("TREERING_ROOT") {
        return Ok(root);
    }
    if let Some(data) = set("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
        return Ok(data.join("treering"));
    }
    if let Some(home) = set("HOME").filter(|path| path.is_absolute()) {
        return Ok(home.join(".local/share/treering"));
    }
    Err(Error::not_found("find store", "none of TREERING_ROOT, XDG_DATA_HOME and HOME is an absolute path")
        .with_hint("set TREERING_ROOT to a directory"))
}

impl Store {
    /// Opens the store at `root` with the default [`Limits`], creating whatever is missing.
    ///
    /// The directory gets mode 0700 whatever the umask: setuid files of images lie below it. Fails with
    /// [`ErrorKind::InvalidArgument`] when `root` is a directory holding something else, and with
    /// [`ErrorKind::PermissionDenied`] when it is readable by others and belongs to another user.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        Store::open_with(root, Limits::default())
    }

    /// Opens the store at [`default_root`], see [`Store::open`].
    pub fn open_default() -> Result<Self> {
        Store::open(default_root()?)
    }

    /// Does what [`Store::open`] does, with other [`Limits`].
    pub fn open_with(root: impl AsRef<Path>, limits: Limits) -> Result<Self> {
        let root = std::path::absolute(root.as_ref()).at(OP, root.as_ref().as_os_str().as_bytes())?;
        let shown = root.as_os_str().as_bytes();
        let opened = match Dir::open_ambient_dir(&root, ambient_authority()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                create_root(&root)?;
                Dir::open_ambient_dir(&root, ambient_authority())
            }
            opened => opened,
        };
        // The root is the only ambient path of a store; everything below goes through this handle.
        let dir = opened.at(OP, shown)?;
        check_ours(&dir, &root)?;
        keep_private(&dir, shown)?;

        let oci = room(&dir, "oci", &root)?;
        let blobs = room(&room(&oci, "blobs", &root.join("oci"))?, "sha256", &root.join("oci/blobs"))?;
        let rooms = Rooms {
            layers: room(&dir, "layers", &root)?,
            containers: room(&dir, "containers", &root)?,
            cache: room(&dir, "cache", &root)?,
            pins: room(&dir, "pins", &root)?,
            tmp: room(&dir, "tmp", &root)?,
            layout: root.join("oci"),
            oci,
            blobs,
            dir,
            root,
            limits,
        };
        lock_file(&rooms.dir, "lock", &rooms.root)?;
        lock_file(&rooms.dir, "index.lock", &rooms.root)?;
        let store = Store(Arc::new(rooms), Hold::Nothing);
        store.start_layout()?;
        Ok(store)
    }

    /// Returns the root directory, absolute.
    pub fn root_path(&self) -> &Path {
        &self.0.root
    }

    /// Returns the root directory, as a handle. Not part of the stable interface.
    #[doc(hidden)]
    pub fn dir(&self) -> &Dir {
        &self.0.dir
    }

    /// Returns the OCI image layout in it: a directory that other tools read and copy from as it is, as in
    /// `skopeo copy oci:LAYOUT:NAME docker://…` or `crane push LAYOUT NAME`. They must not write to it, since they take
    /// none of the store's locks.
    pub fn layout(&self) -> &Path {
        &self.0.layout
    }

    /// Returns a path below the root, as messages name it.
    pub(crate) fn path(&self, below: &str) -> Vec<u8> {
        self.0.root.join(below).into_os_string().into_vec()
    }

    /// Returns the caps this store was opened with.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Writes `oci-layout` and `index.json` (image-spec, image-layout.md) into a fresh store. One that holds anything and
    /// has lost its index opens all the same, so that fsck can report it; an empty index in its place would let prune take
    /// everything.
    fn start_layout(&self) -> Result<()> {
        let oci = &self.0.oci;
        let there = || -> Result<(bool, bool)> {
            let index = oci.try_exists("index.json").at(OP, self.path("oci/index.json"))?;
            Ok((index, oci.try_exists("oci-layout").at(OP, self.path("oci/oci-layout"))?))
        };
        if there()? == (true, true) {
            return self.check_layout();
        }
        // Under the lock, so that no first tag is replaced by the empty index.
        let _lease = self.lease()?;
        let _lock = self.lock_index()?;
        let (index, layout) = there()?;
        if !index {
            if layout || self.0.blobs.entries().at(OP, self.path("oci/blobs/sha256"))?.next().is_some() {
                return if layout { self.check_layout() } else { Ok(()) };
            }
            let empty = json!({
                "schemaVersion": 2,
                "mediaType": crate::media_type::OCI_INDEX,
                "manifests": [],
            });
            publish::replace(
                oci,
                "index.json",
                self.path("oci/index.json"),
                empty.to_string().as_bytes(),
                Durability::Full,
            )?;
        }
        if !layout {
            let layout = json!({ "imageLayoutVersion": LAYOUT_VERSION });
            publish::replace(
                oci,
                "oci-layout",
                self.path("oci/oci-layout"),
                layout.to_string().as_bytes(),
                Durability::Full,
            )?;
        }
        self.check_layout()
    }

    /// Refuses an `oci-layout` of another version.
    pub(super) fn check_layout(&self) -> Result<()> {
        let name = &self.path("oci/oci-layout");
        let bytes = publish::read_capped(&self.0.oci, "oci-layout", name, LAYOUT_CAP)?;
        let layout = super::json::parse_file(&bytes, name, &self.0.limits)?;
        match layout.get("imageLayoutVersion").and_then(|version| version.as_str()) {
            Some(version) if version.starts_with("1.") => Ok(()),
            Some(version) => {
                let message = format!("image layout version {version:?} is not one this treering reads");
                Err(Error::new(ErrorKind::Unsupported, OP, message).with_path(name))
            }
            None => Err(Error::corrupt(OP, "imageLayoutVersion is missing").with_path(name)),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.0.root).finish()
    }
}

/// Makes the root and what is missing above it, so that all of it survives a power loss.
#[allow(
    clippy::disallowed_methods,
    reason = "the store's own path is one that a user gave, and nothing is below it yet"
)]
fn create_root(root: &Path) -> Result<()> {
    const OP: &str = "create store";
    let shown = root.as_os_str().as_bytes();
    let missing = root.ancestors().take_while(|path| !path.exists()).count();
    let (Some(parent), Some(name)) = (root.parent(), root.file_name()) else {
        return Err(Error::invalid(OP, "the path names no directory").with_path(shown));
    };
    make_missing(parent).map_err(|(path, error)| Error::io(OP, path.as_os_str().as_bytes(), error))?;
    let dir = Dir::open_ambient_dir(parent, ambient_authority()).at(OP, shown)?;
    publish::make_dir(&dir, name).at(OP, shown)?;
    for parent in root.ancestors().skip(1).take(missing) {
        let shown = parent.as_os_str().as_bytes();
        let dir = Dir::open_ambient_dir(parent, ambient_authority()).at(OP, shown)?;
        match publish::sync_dir(&dir, shown) {
            // A directory may take entries and not be opened.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            result => result?,
        }
    }
    Ok(())
}

/// Refuses a directory that holds something else: `treering -r /home prune` must not make a store of it. A store with a
/// stray file in it is recognised by its lock and its `oci-layout`; a mere `oci` is the name of many directories.
fn check_ours(dir: &Dir, root: &Path) -> Result<()> {
    let shown = root.as_os_str().as_bytes();
    let mut stranger = stranger(dir, &ROOMS).at(OP, shown)?;
    if stranger.is_none() {
        let oci = dir.open_dir("oci").found().at(OP, root.join("oci").as_os_str().as_bytes())?;
        stranger = match oci {
            Some(oci) => self::stranger(&oci, &LAYOUT).at(OP, shown)?.map(|name| Path::new("oci").join(name)),
            None => None,
        };
    }
    let Some(stranger) = stranger else { return Ok(()) };
    let layout = publish::read_capped(dir, "oci/oci-layout", "oci/oci-layout", LAYOUT_CAP);
    let layout = layout.ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    if layout.is_some_and(|layout| layout.get("imageLayoutVersion").is_some())
        && dir.symlink_metadata("lock").is_ok()
    {
        return Ok(());
    }
    let name = crate::error::escape(stranger.as_os_str().as_bytes());
    let message = format!("the directory is neither empty nor a store: it holds {name:?}");
    let hint = match dir.symlink_metadata("oci-layout") {
        Ok(_) => Hint::LoadLayout,
        Err(_) => Hint::from("name an empty or a new directory"),
    };
    Err(Error::invalid(OP, message).with_path(shown).with_hint(hint))
}

/// Returns a name in a directory that is none of these, and nothing a dead writer left.
fn stranger(dir: &Dir, known: &[&str]) -> std::io::Result<Option<PathBuf>> {
    for entry in dir.entries()? {
        let name = entry?.file_name();
        if !known.iter().any(|known| name == *known) && !name.to_str().is_some_and(publish::is_leftover) {
            return Ok(Some(name.into()));
        }
    }
    Ok(None)
}

/// Sets mode 0700 on the open directory.
fn keep_private(dir: &Dir, shown: &[u8]) -> Result<()> {
    let mode = dir.dir_metadata().at(OP, shown)?.permissions().mode();
    if mode & 0o077 == 0 && mode & 0o700 == 0o700 {
        return Ok(());
    }
    publish::make_private(dir).map_err(|error| {
        let hint = "a store must be private to its owner (mode 0700): images hold setuid files";
        Error::io("make store private", shown, error).with_hint(hint)
    })
}

/// Opens a directory of the store, making it when missing.
fn room(parent: &Dir, name: &str, above: &Path) -> Result<Dir> {
    let shown = above.join(name).into_os_string().into_vec();
    match publish::make_dir(parent, name) {
        Ok(true) => publish::sync_dir(parent, &shown)?,
        Ok(false) => {}
        // A store on a read-only filesystem can still be read.
        Err(error) => return parent.open_dir(name).map_err(|_| Error::io(OP, shown, error)),
    }
    parent.open_dir(name).at(OP, shown)
}

/// Makes an empty lock file when it is missing.
fn lock_file(dir: &Dir, name: &str, root: &Path) -> Result<()> {
    let shown = &root.join(name).into_os_string().into_vec()[..];
    match dir.symlink_metadata(name).found().at(OP, shown)? {
        Some(meta) if meta.is_file() => return Ok(()),
        Some(_) => return Err(Error::corrupt(OP, "not a regular file").with_path(shown)),
        None => {}
    }
    let file = publish::open_or_make(dir, name).at(OP, shown)?;
    publish::adopt(&file, dir).at(OP, shown)?;
    publish::set_mode(&file).at(OP, shown)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use cap_std::fs::{Permissions, PermissionsExt as _};

    use super::*;

    #[test]
    fn the_root_follows_the_environment() {
        fn with(vars: &[(&str, &str)]) -> Result<PathBuf> {
            pick_root(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
        }
        let home = ("HOME", "/home/u");
        assert_eq!(with(&[("TREERING_ROOT", "/t"), home]).unwrap(), Path::new("/t"));
        assert_eq!(with(&[("TREERING_ROOT", ""), home]).unwrap(), Path::new("/home/u/.local/share/treering"));
        assert_eq!(with(&[("XDG_DATA_HOME", "/x"), home]).unwrap(), Path::new("/x/treering"));
        assert_eq!(
            with(&[("XDG_DATA_HOME", "x"), home]).unwrap(),
            Path::new("/home/u/.local/share/treering")
        );
        assert_eq!(with(&[]).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_directory_with_an_oci_in_it_is_no_store() {
        const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
        let cases: [(&[(&str, &str)], bool); 7] = [
            (&[("oci/main.c", ""), ("src/lib.rs", "")], false),
            (&[("oci/main.c", "")], false),
            (&[("oci/oci-layout", "{"), ("src/lib.rs", "")], false),
            // What `skopeo copy ... oci:oci` leaves in a project.
            (&[("oci/oci-layout", LAYOUT), ("oci/index.json", "{}"), ("src/lib.rs", "")], false),
            (&[("oci/oci-layout", LAYOUT), ("lock", ""), ("README", "mine")], true),
            (&[("oci/oci-layout", LAYOUT), ("lock", ""), ("oci/README", "mine")], true),
            (&[("oci/blobs/sha256/x", "")], true),
        ];
        for (files, ours) in cases {
            let temp = tempfile::tempdir().unwrap();
            let dir = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
            dir.set_permissions(".", Permissions::from_mode(0o755)).unwrap();
            for (name, content) in files {
                dir.create_dir_all(Path::new(name).parent().unwrap()).unwrap();
                dir.write(name, content).unwrap();
            }
            let opened = Store::open(temp.path());
            assert_eq!(opened.is_ok(), ours, "{files:?}: {opened:?}");
            let mode = dir.dir_metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, if ours { 0o700 } else { 0o755 }, "{files:?}");
            assert_eq!(dir.exists("containers"), ours, "{files:?}");
            if let Err(error) = opened {
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
                assert!(error.hint().is_some());
            }
        }
    }

    #[test]
    fn a_store_is_private_and_another_directory_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("a/b/store");
        let store = Store::open(&root).unwrap();
        assert_eq!(store.root_path(), root);
        let mode = |name: &str| store.dir().metadata(name).unwrap().permissions().mode() & 0o777;
        for name in
            [".", "oci", "oci/blobs", "oci/blobs/sha256", "layers", "containers", "tmp", "cache", "pins"]
        {
            assert_eq!(mode(name), 0o700, "{name}");
        }
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o777)).unwrap();
        Store::open(&root).unwrap();
        assert_eq!(mode("."), 0o700, "opening again makes it private again");

        let error = Store::open(temp.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(!temp.path().join("oci").exists());

        store.dir().write("oci/oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
        assert_eq!(Store::open(&root).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
