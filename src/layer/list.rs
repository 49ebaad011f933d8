//! What is in a layer, as a list.

use super::read::{ChunkStream, LayerReader, ReadLimits, TarEntry};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Control, Counters};

/// The memory a list may take. A layer of a few megabytes can hold names and attributes for far more.
const CAP: usize = 1 << 30;

/// Every entry of a layer, in its order, whiteouts as they stand there. [`ErrorKind::Limit`] when the list would take more
/// than 1 GiB; [`LayerReader`] reads a layer of any length.
pub fn list(layer: impl ChunkStream, control: &Control) -> Result<Vec<TarEntry>> {
    up_to(CAP, layer, control)
}

fn up_to(cap: usize, layer: impl ChunkStream, control: &Control) -> Result<Vec<TarEntry>> {
    const OP: &str = "list layer";
    let mut reader = LayerReader::new(layer, ReadLimits::default());
    let (mut entries, mut bytes) = (Vec::new(), 0usize);
    while let Some(entry) = reader.next_entry()? {
        control.check(OP)?;
        let xattrs =
            entry.xattrs.iter().map(|(name, value)| size_of_val(&(name, value)) + name.len() + value.len());
        bytes += size_of::<TarEntry>() + entry.path.len() + entry.link.len() + xattrs.sum::<usize>();
        if bytes > cap {
            return Err(Error::new(ErrorKind::Limit, OP, format!("the list takes more than {cap} bytes")));
        }
        Counters::add(&control.counters.entries, 1);
        entries.push(entry);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::super::read::ReadChunks;
    use super::*;

    #[test]
    fn a_list_has_every_entry_and_a_cap() {
        let mut tar = tar::Builder::new(Vec::new());
        for name in ["d/", "d/.wh.gone", "d/file"] {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            header.set_size(0);
            header.set_entry_type(if name.ends_with('/') {
                tar::EntryType::Directory
            } else {
                tar::EntryType::Regular
            });
            tar.append_data(&mut header, name, std::io::empty()).unwrap();
        }
        let tar = tar.into_inner().unwrap();
        let read = |cap| up_to(cap, ReadChunks::new(&tar[..]), &Control::default());
        let paths: Vec<_> = read(CAP).unwrap().into_iter().map(|entry| entry.path).collect();
        assert_eq!(paths, [&b"d"[..], b"d/.wh.gone", b"d/file"]);
        assert_eq!(read(2 * size_of::<TarEntry>()).unwrap_err().kind(), ErrorKind::Limit);
        let control = Control::default();
        control.cancel.cancel();
        assert_eq!(list(ReadChunks::new(&tar[..]), &control).unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
