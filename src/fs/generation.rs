//! What tells one life of an inode number from the next.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};

use super::stat::Stat;

#[repr(C)]
struct FileHandle {
    bytes: u32,
    kind: i32,
    data: [u8; 128],
}

/// A number that differs between two files that had the same inode number one after the other: a hash of the kernel's
/// file handle (`name_to_handle_at(2)`, which carries the inode's generation), or of the birth time where the filesystem
/// gives no handle. 0 where it gives neither.
pub fn generation(dir: impl AsFd, name: &CStr, stat: &Stat) -> u64 {
    let mut handle = FileHandle { bytes: 128, kind: 0, data: [0; 128] };
    let mut mount = 0i32;
    // SAFETY: the handle has room for the 128 bytes it announces; both pointers live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            dir.as_fd().as_raw_fd(),
            name.as_ptr(),
            &mut handle as *mut FileHandle,
            &mut mount as *mut i32,
            0,
        )
    };
    if result == 0 && handle.bytes as usize <= handle.data.len() {
        return hash(b'h', &handle.data[..handle.bytes as usize]);
    }
    match stat.btime {
        Some(born) => {
            let mut bytes = [0; 12];
            bytes[..8].copy_from_slice(&born.secs.to_le_bytes());
            bytes[8..].copy_from_slice(&born.nanos.to_le_bytes());
            hash(b'b', &bytes)
        }
        None => 0,
    }
}

/// The [`generation`] of a file whose handle was written down somewhere else, as overlayfs does.
pub fn of_handle(handle: &[u8]) -> u64 {
    hash(b'h', handle)
}

/// FNV-1a: the handle is short and nobody gains by a collision with their own file.
fn hash(tag: u8, data: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    for &byte in std::iter::once(&tag).chain(data) {
        h = (h ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3);
    }
    h
}
