//! One entry, put together from its header and what stands before it.

use super::acl;
use super::block::{Block, Format};
use super::extended::{Extended, narrow_owner};
use super::name::normalise;
use super::sparse::{self, Map, MapParser, Region, SparseFile};
use super::stream::ChunkStream;
use super::{Holes, LayerReader, Pending, Step, TarEntry, padding, stop};
use crate::layer::fault::{Fault, Parsed};
use crate::layer::header::{BLOCK, EntryKind, MAX_OCTAL_11};

impl<S: ChunkStream> LayerReader<S> {
    /// Returns the entry of this header, with its content ready to be read.
    pub(super) fn entry(&mut self, block: &Block<'_>, pending: Pending) -> Step<TarEntry> {
        let mut extended = pending.extended.unwrap_or_default();
        let sparse = extended.sparse.take().map(|keys| keys.resolve()).transpose()?;

        let sparse_name = sparse.as_ref().and_then(|sparse| sparse.name.as_deref());
        let named = agreed(pending.name.as_deref(), sparse_name.or(extended.path.as_deref()), "names")?;
        let (prefix, short) = (block.prefix(), block.name());
        let parts = match named {
            Some(named) => &[named][..],
            None if prefix.is_empty() => &[short][..],
            None => &[prefix, short][..],
        };
        self.path.extend_from_slice(parts[parts.len() - 1]);
        let slash = self.path.ends_with(b"/");
        let name = normalise(parts, "name", &self.limits)?;
        if !name.path.is_empty() {
            self.path.clone_from(&name.path);
        }
        if block.typeflag() == 0 && named.is_some() && slash != short.ends_with(b"/") {
            return stop("by its name in one header this is a directory, by that in the other it is not");
        }
        let kind = kind(block.typeflag(), slash)?;
        if name.directory && kind != EntryKind::Directory {
            return stop("the name is that of a directory and the type is another");
        }

        let link = agreed(pending.link.as_deref(), extended.link.as_deref(), "link targets")?;
        let link = self.link(kind, link.unwrap_or_else(|| block.link()))?;
        if kind == EntryKind::Hardlink && link == name.path {
            return stop("a hard link joins itself");
        }

        let size = self.body(block, kind, extended.size, sparse)?;
        self.declared = self.declared.saturating_add(size);
        if self.declared > self.limits.max_bytes {
            let message = format!("the files have more than {} bytes together", self.limits.max_bytes);
            return Err(Fault::limit(message).into());
        }

        let uid = match extended.uid.or(self.globals.uid).flatten() {
            Some(uid) => uid,
            None => narrow_owner(block.uid()?)?,
        };
        let gid = match extended.gid.or(self.globals.gid).flatten() {
            Some(gid) => gid,
            None => narrow_owner(block.gid()?)?,
        };
        let mtime = match extended.mtime.or(self.globals.mtime).flatten() {
            Some(mtime) => mtime,
            None => (block.mtime()?, 0),
        };
        // With an access ACL, what the mode says of the group is its mask (acl(5)); libarchive writes the group's own
        // permissions there.
        let acl = extended.xattrs.iter().find(|(name, _)| name == acl::ACCESS);
        let mode = match acl.and_then(|(_, value)| acl::mask(value)) {
            Some(mask) => block.mode()? & !0o070 | mask << 3,
            None => block.mode()?,
        };
        Ok(TarEntry {
            path: name.path,
            kind,
            mode,
            uid,
            gid,
            size,
            mtime,
            link,
            rdev: if kind.is_device() { device(block, &extended)? } else { (0, 0) },
            xattrs: extended.xattrs,
            lost: extended.lost,
        })
    }

    /// Returns what a link points to: any bytes for a symbolic link, a name in the layer for a hard link.
    fn link(&self, kind: EntryKind, target: &[u8]) -> Parsed<Vec<u8>> {
        match kind {
            EntryKind::Symlink => {
                if target.is_empty() || target.contains(&0) {
                    return Err(Fault::corrupt("the target of a symbolic link is empty or holds a NUL byte"));
                }
                if target.len() > self.limits.max_symlink {
                    return Err(Fault::limit(format!("the link target has {} bytes", target.len())));
                }
                Ok(target.to_vec())
            }
            EntryKind::Hardlink => {
                let name = normalise(&[target], "link target", &self.limits)?;
                if name.directory {
                    return Err(Fault::corrupt("a hard link joins a directory, or nothing"));
                }
                Ok(name.path)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Sets up the content of the entry and says how long it is when written out.
    fn body(
        &mut self,
        block: &Block<'_>,
        kind: EntryKind,
        pax_size: Option<u64>,
        sparse: Option<SparseFile>,
    ) -> Step<u64> {
        let in_header = block.size()?;
        let stored = match pax_size {
            // libarchive fills the field with sevens where the size does not fit.
            Some(size) if in_header == MAX_OCTAL_11 && size > MAX_OCTAL_11 => size,
            Some(size) if in_header != 0 && in_header != size => {
                return stop("the size in the header and the size in the PAX header differ");
            }
            Some(size) => size,
            None => in_header,
        };
        let gnu_sparse = block.typeflag() == b'S';
        // Some writers give a hard link the size of the file it joins, and no content. No reader looks for any unless a PAX
        // header has the size; where there is some after all, what follows is no header, and an error.
        if kind == EntryKind::Hardlink && pax_size.is_none() && sparse.is_none() {
            return Ok(0);
        }
        if kind != EntryKind::File {
            if stored != 0 || sparse.is_some() {
                return stop("an entry that is not a file has content");
            }
            return Ok(0);
        }
        if gnu_sparse && (sparse.is_some() || pax_size.is_some()) {
            return stop("a GNU sparse file has a PAX size or map");
        }
        self.padding = padding(stored);
        self.stored = stored;
        let (map, real) = match sparse {
            None if gnu_sparse => {
                if block.format != Format::Gnu {
                    return Err(Fault::unsupported("this is a sparse file of star's own format").into());
                }
                self.gnu_map(block)?
            }
            None => return Ok(stored),
            Some(SparseFile { real, map: Map::Known(map), .. }) => (map, real),
            Some(SparseFile { real, map: Map::InContent, .. }) => (self.map_in_content()?, real),
        };
        sparse::check(&map, real, self.stored)?;
        self.holes = Some(Holes { map, next: 0, at: 0, real });
        Ok(real)
    }

    /// Returns the map of a GNU sparse file: in its header, and in blocks that follow.
    fn gnu_map(&mut self, block: &Block<'_>) -> Step<(Vec<Region>, u64)> {
        let (fields, mut more, real) = block.gnu_sparse()?;
        let mut map = Vec::new();
        let mut open = sparse::gnu_regions(fields, &mut map, &self.limits)?;
        while more {
            if !open {
                return stop("a sparse map goes on after its end");
            }
            let Ok(bytes) = self.cursor.block()? else {
                return stop("the archive ends inside a sparse map");
            };
            open = sparse::gnu_regions(&bytes[..504], &mut map, &self.limits)?;
            more = bytes[504] != 0;
        }
        Ok((map, real))
    }

    /// Returns the map of a PAX 1.0 sparse file: the first blocks of its content.
    fn map_in_content(&mut self) -> Step<Vec<Region>> {
        let mut parser = MapParser::default();
        loop {
            if self.stored < BLOCK as u64 {
                return stop("the content of a sparse file ends inside its map");
            }
            let Ok(bytes) = self.cursor.block()? else {
                return stop("the archive ends inside a sparse map");
            };
            self.stored -= BLOCK as u64;
            if let Some(map) = parser.feed(&bytes, &self.limits)? {
                return Ok(map);
            }
        }
    }
}

/// Returns one of two values for the same thing. GNU tar takes the PAX one, Go the GNU one, Python the outer one: both may
/// be there only if they are equal.
fn agreed<'a>(gnu: Option<&'a [u8]>, pax: Option<&'a [u8]>, what: &'static str) -> Parsed<Option<&'a [u8]>> {
    match (gnu, pax) {
        (Some(gnu), Some(pax)) if gnu != pax => {
            Err(Fault::corrupt(format!("a GNU and a PAX header give one entry different {what}")))
        }
        _ => Ok(gnu.or(pax)),
    }
}

fn kind(typeflag: u8, slash: bool) -> Parsed<EntryKind> {
    Ok(match typeflag {
        0 if slash => EntryKind::Directory,
        // A contiguous file is a file where nothing is contiguous.
        0 | b'0' | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::Hardlink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        b'D' | b'M' | b'N' | b'V' | b'A' | b'E' | b'I' | b'X' => {
            let flag = char::from(typeflag);
            return Err(Fault::unsupported(format!(
                "entries of type {flag} (backups, volumes) are not for layers"
            )));
        }
        _ => return Err(Fault::corrupt(format!("the type of an entry is unknown: {typeflag:#04x}"))),
    })
}

fn device(block: &Block<'_>, extended: &Extended) -> Parsed<(u32, u32)> {
    let (major, minor) = block.device()?;
    let narrow =
        |number: u64| u32::try_from(number).map_err(|_| Fault::corrupt("a device number is too large"));
    Ok((extended.major.map_or_else(|| narrow(major), Ok)?, extended.minor.map_or_else(|| narrow(minor), Ok)?))
}
