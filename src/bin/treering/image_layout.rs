//! An image layout in a directory (image-layout.md): `--output type=oci,tar=false`.

use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};
use treering::error::{At, Error, Result};
use treering::fs::output::{Output, make_directories};
use treering::fs::publish::Durability;
use treering::progress::Cancel;

const WRITE: &str = "write image layout";
const INDEX: &str = "index.json";
const NAME: &str = "io.containerd.image.name";
/// The largest index.json that is read, in bytes.
const MAX_INDEX: u64 = 16 << 20;

/// Writes what `save` writes as an archive as files below a directory. An image layout that is there already keeps its blobs and images;
/// an image of the same name is replaced. The images are named last.
pub fn write(
    path: &Path,
    cancel: &Cancel,
    save: impl FnOnce(&mut (dyn Write + Send)) -> Result<()> + Send,
) -> anyhow::Result<()> {
    let shown = path.as_os_str().as_bytes();
    let (reader, mut writer) = std::io::pipe().at(WRITE, shown)?;
    std::thread::scope(|scope| {
        let saved = std::thread::Builder::new()
            .name("treering-save".into())
            .spawn_scoped(scope, move || save(&mut writer))
            .at(WRITE, shown)?;
        // The reader ends with this; a save that goes on then sees that nobody reads.
        let taken = take(path, reader, cancel);
        match (saved.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), taken) {
            (_, Err(Fault::Disk(error))) => Err(error.into()),
            (Err(error), _) | (Ok(()), Err(Fault::Archive(error))) => Err(error.into()),
            (Ok(()), Ok(())) => Ok(()),
        }
    })
}

/// An error of the files that are written, or of the archive that is read, which has its cause where that is made.
enum Fault {
    Disk(Error),
    Archive(Error),
}

fn take(path: &Path, archive: impl Read, cancel: &Cancel) -> std::result::Result<(), Fault> {
    let of_archive = |error| Fault::Archive(Error::io(WRITE, path.as_os_str().as_bytes(), error));
    let mut archive = tar::Archive::new(archive);
    let (mut new, mut layout) = (Vec::new(), Vec::new());
    directory(path).map_err(Fault::Disk)?;
    // What is something else is seen before anything is written.
    index(path).map_err(Fault::Disk)?;
    for entry in archive.entries().map_err(of_archive)? {
        let mut entry = entry.map_err(of_archive)?;
        let name = entry.path().map_err(of_archive)?.into_owned();
        let to = path.join(&name);
        if entry.header().entry_type().is_dir() {
            directory(&to).map_err(Fault::Disk)?;
        } else if name == Path::new(INDEX) {
            entry.read_to_end(&mut new).map_err(of_archive)?;
        } else if !name.starts_with("blobs") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(of_archive)?;
            layout.push((to, bytes));
        } else if std::fs::metadata(&to).is_ok_and(|meta| meta.is_file() && meta.len() == entry.size()) {
            std::io::copy(&mut entry, &mut std::io::sink()).map_err(of_archive)?;
        } else {
            let mut file = Output::open(&to, WRITE, cancel).map_err(Fault::Disk)?;
            let mut buffer = vec![0; 1 << 20];
            loop {
                let length = entry.read(&mut buffer).map_err(of_archive)?;
                if length == 0 {
                    break;
                }
                let shown = to.as_os_str().as_bytes();
                file.file().write_all(&buffer[..length]).at(WRITE, shown).map_err(Fault::Disk)?;
            }
            file.finish(Durability::Full).map_err(Fault::Disk)?;
        }
    }
    layout.into_iter().try_for_each(|(to, bytes)| put(&to, &bytes, cancel)).map_err(Fault::Disk)?;
    merge(path, &new, cancel).map_err(Fault::Disk)
}

fn directory(path: &Path) -> Result<()> {
    make_directories(path, WRITE)
}

fn put(path: &Path, bytes: &[u8], cancel: &Cancel) -> Result<()> {
    let mut file = Output::open(path, WRITE, cancel)?;
    file.file().write_all(bytes).at(WRITE, path.as_os_str().as_bytes())?;
    file.finish(Durability::Full)
}

/// Reads the index of the image layout that is there; `None` where there is none.
fn index(path: &Path) -> Result<Option<(Value, Vec<Value>)>> {
    let path = path.join(INDEX);
    let shown = path.as_os_str().as_bytes();
    let mut bytes = Vec::new();
    match std::fs::File::open(&path) {
        Ok(file) => file.take(MAX_INDEX + 1).read_to_end(&mut bytes).at(WRITE, shown)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at(WRITE, shown),
    };
    let found = images(&bytes).filter(|_| bytes.len() as u64 <= MAX_INDEX);
    found.map(Some).ok_or_else(|| {
        Error::corrupt(WRITE, "what is there is not the index of an image layout")
            .with_path(shown)
            .with_hint("name another directory, or remove what is in this one")
    })
}

/// Returns an index and the images in it.
fn images(bytes: &[u8]) -> Option<(Value, Vec<Value>)> {
    let index: Value = serde_json::from_slice(bytes).ok()?;
    let list = index.get("manifests")?.as_array()?.clone();
    Some((index, list))
}

/// Puts the images of an index into the one that is there: in place of those that have the same name, or are the same.
fn merge(path: &Path, new: &[u8], cancel: &Cancel) -> Result<()> {
    let shown = path.as_os_str().as_bytes();
    // Another build may be at it.
    let directory = std::fs::File::open(path).at(WRITE, shown)?;
    directory.lock().at(WRITE, shown)?;
    let Some(((mut index, mut list), (_, added))) = index(path)?.zip(images(new)) else {
        return put(&path.join(INDEX), new, cancel);
    };
    let name = |image: &Value| image["annotations"][NAME].as_str().map(String::from);
    list.retain(|old| {
        !added.iter().any(|new| match name(new) {
            Some(known) => name(old) == Some(known),
            None => name(old).is_none() && old["digest"] == new["digest"],
        })
    });
    list.extend(added);
    index["manifests"] = json!(list);
    let bytes = serde_json::to_vec(&index)
        .map_err(|error| Error::corrupt(WRITE, "the index cannot be written").with_source(error))?;
    put(&path.join(INDEX), &bytes, cancel)
}
