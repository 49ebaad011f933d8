//! The list of a layer's entries.

use super::read::{ChunkStream, LayerReader, ReadLimits, TarEntry};
use crate::error::{Error, ErrorKind, Result};
use crate::hint::Hint;
use crate::progress::{Control, Counters};

/// Limits of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOptions {
    /// Caps on what the layer may ask for.
    pub limits: ReadLimits,
    /// Bytes of memory the list may take: a layer of a few megabytes can hold names and attributes for far more. Default
    /// 1 GiB.
    pub max_memory: u64,
}

impl Default for ListOptions {
    fn default() -> Self {
        ListOptions { limits: ReadLimits::default(), max_memory: 1 << 30 }
    }
}

/// Returns every entry of a layer, in its order, whiteouts as they stand there. [`ErrorKind::Limit`] when the list would
/// take more than it may; [`LayerReader`] reads a layer of any length.
pub fn list(layer: impl ChunkStream, options: &ListOptions, control: &Control) -> Result<Vec<TarEntry>> {
    const OP: &str = "list layer";
    let cap = options.max_memory;
    // No digest says that all of it came.
    let limits = ReadLimits { require_end: true, ..options.limits.clone() };
    let mut reader = LayerReader::new(layer, limits);
    let (mut entries, mut bytes) = (Vec::new(), 0u64);
    while let Some(entry) = reader.next_entry()? {
        control.check(OP)?;
        let xattrs =
            entry.xattrs.iter().map(|(name, value)| size_of_val(&(name, value)) + name.len() + value.len());
        let held = size_of::<TarEntry>() + entry.path.len() + entry.link.len() + xattrs.sum::<usize>();
        bytes += held as u64;
        if bytes > cap {
            let message = format!("the list takes more than {cap} bytes");
            return Err(Error::new(ErrorKind::Limit, OP, message).with_hint(Hint::RaiseMemory));
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
        let read = |options| list(ReadChunks::new(&tar[..]), &options, &Control::default());
        let all = read(ListOptions::default()).unwrap();
        let paths: Vec<_> = all.into_iter().map(|entry| entry.path).collect();
        assert_eq!(paths, [&b"d"[..], b"d/.wh.gone", b"d/file"]);
        let little = ListOptions { max_memory: 2 * size_of::<TarEntry>() as u64, ..ListOptions::default() };
        assert_eq!(read(little).unwrap_err().kind(), ErrorKind::Limit);
        let few = ReadLimits { max_entries: 2, ..ReadLimits::default() };
        let few = ListOptions { limits: few, ..ListOptions::default() };
        assert_eq!(read(few).unwrap_err().kind(), ErrorKind::Limit);
        let control = Control::default();
        control.cancel.cancel();
        assert_eq!(
            list(ReadChunks::new(&tar[..]), &ListOptions::default(), &control).unwrap_err().kind(),
            ErrorKind::Cancelled
        );
    }
}
