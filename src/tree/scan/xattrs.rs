//! Reading the extended attributes of one entry.

use std::ffi::CStr;
use std::os::fd::AsFd;

use super::kept_xattr;
use crate::error::{At, Error, Result};
use crate::fs::root::c_name;
use crate::fs::xattr;

/// The most bytes the attributes of one entry may have together: more than a layer can hold of one, and far less than some
/// filesystems do.
const MOST: usize = 1 << 20;

/// Reads the attributes in `list` (names ended by NUL) that a layer carries, or all of them, sorted by name.
pub(crate) fn read(
    dir: impl AsFd,
    name: &CStr,
    list: &[u8],
    all: bool,
    shown: impl Fn() -> Vec<u8>,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut bytes = 0;
    for attribute in list.split(|&c| c == 0).filter(|a| !a.is_empty()) {
        if !all && !kept_xattr(attribute) {
            continue;
        }
        let c_attribute = c_name(attribute).at("read extended attribute", shown())?;
        let mut value = Vec::new();
        match xattr::get_at(&dir, name, &c_attribute, &mut value) {
            Ok(()) => {
                if attribute == b"security.capability" {
                    normalise_capability(&mut value);
                }
                bytes += attribute.len() + value.len();
                if bytes > MOST {
                    let message = format!("its extended attributes have more than {MOST} bytes");
                    return Err(Error::limit("read extended attribute", message).with_path(shown()));
                }
                pairs.push((attribute.to_vec(), value));
            }
            // Gone between the listing and the reading.
            Err(error) if error.raw_os_error() == Some(libc::ENODATA) => {}
            Err(error) => return Err(Error::io("read extended attribute", shown(), error)),
        }
    }
    pairs.sort();
    Ok(pairs)
}

/// Rewrites a capability set as images carry it. Inside a user namespace it carries the namespace's root id (revision 3,
/// linux/capability.h); images carry revision 2, which means the same for the root of the machine it is unpacked on.
fn normalise_capability(value: &mut Vec<u8>) {
    const REVISION_2: u32 = 0x0200_0000;
    const REVISION_3: u32 = 0x0300_0000;
    if value.len() == 24 {
        let magic = u32::from_le_bytes([value[0], value[1], value[2], value[3]]);
        if magic & 0xff00_0000 == REVISION_3 {
            let magic = REVISION_2 | (magic & 0x00ff_ffff);
            value[..4].copy_from_slice(&magic.to_le_bytes());
            value.truncate(20);
        }
    }
}
