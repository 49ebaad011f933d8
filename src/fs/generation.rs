//! The generation of an inode: distinguishes one use of an inode number from the next.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::stat::Stat;

#[repr(C)]
struct FileHandle {
    bytes: u32,
    kind: i32,
    data: [u8; 128],
}

/// The upper half: a hash of the handle. The lower half: one of the birth time. 0 where it is not known.
const HANDLE: u64 = 0xffff_ffff_0000_0000;

/// Returns a number that differs between two files that had the same inode number one after the other: half of it a hash of
/// the kernel's file handle (`name_to_handle_at(2)`, which carries the inode's generation), half of it one of the birth
/// time. Compare with [`same_life`]: a half is 0 where the filesystem has none, or where a sandbox refuses the call.
///
/// Both are kept because a tree that was unpacked outside of a container, where there are handles, must be recognised inside, where
/// a seccomp filter refuses them, and the other way round. Any other error is returned: a number made without the handle would
/// not match the recorded one.
pub fn generation(dir: impl AsFd, name: &CStr, stat: &Stat) -> io::Result<u64> {
    Ok(handle(dir, name, 0)? | born(stat))
}

/// Returns the [`generation`] of a file that is open, if only as a path.
#[cfg(feature = "sandbox")]
pub fn generation_of(fd: impl AsFd, stat: &Stat) -> io::Result<u64> {
    Ok(handle(fd, c"", libc::AT_EMPTY_PATH)? | born(stat))
}

fn born(stat: &Stat) -> u64 {
    let born = stat.btime.map_or(0, |born| {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&born.secs.to_le_bytes());
        bytes[8..].copy_from_slice(&born.nanos.to_le_bytes());
        hash(&bytes)
    });
    u64::from(born)
}

/// Returns whether two generations may be of the same file: by its handle where both have that, else by its birth time. Where
/// neither has anything, only the inode number distinguishes files, and the answer is yes.
pub fn same_life(a: u64, b: u64) -> bool {
    let both = |half: u64| a & half != 0 && b & half != 0;
    if both(HANDLE) {
        return a & HANDLE == b & HANDLE;
    }
    if both(!HANDLE) {
        return a & !HANDLE == b & !HANDLE;
    }
    a == 0 && b == 0
}

/// Returns the part of a [`generation`] that comes from the file's handle; `None` where it is not known.
pub fn handle_part(generation: u64) -> Option<u64> {
    Some(generation & HANDLE).filter(|part| *part != 0)
}

/// Returns the [`handle_part`] of a handle that was recorded elsewhere, as overlayfs does.
pub fn of_handle(handle: &[u8]) -> u64 {
    u64::from(hash(handle)) << 32
}

fn handle(dir: impl AsFd, name: &CStr, flags: i32) -> io::Result<u64> {
    let mut handle = FileHandle { bytes: 128, kind: 0, data: [0; 128] };
    let mut mount = 0i32;
    loop {
        // SAFETY: the handle has room for the 128 bytes it announces; both pointers live through the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                dir.as_fd().as_raw_fd(),
                name.as_ptr(),
                &mut handle as *mut FileHandle,
                &mut mount as *mut i32,
                flags,
            )
        };
        if result == 0 {
            return Ok(handle.data.get(..handle.bytes as usize).map_or(0, of_handle));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            // The filesystem has no handles, or larger ones; a sandbox refuses the call, or lacks it.
            Some(libc::EOPNOTSUPP | libc::EOVERFLOW | libc::EPERM | libc::EACCES | libc::ENOSYS) => {
                return Ok(0);
            }
            _ => return Err(error),
        }
    }
}

/// Hashes by FNV-1a, folded, and never to 0: what is hashed is short, and a collision with one's own file gains nothing.
fn hash(data: &[u8]) -> u32 {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    for &byte in data {
        h = (h ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3);
    }
    ((h ^ (h >> 32)) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_have_decides() {
        let (handle, other) = (of_handle(b"one"), of_handle(b"two"));
        let (born, later) = (7, 8);
        for (a, b, same) in [
            (handle | born, handle | born, true),
            (handle | born, handle | later, true),
            (handle | born, other | born, false),
            (handle | born, born, true),
            (handle | born, later, false),
            (handle, handle | born, true),
            (handle, born, false),
            (handle, 0, false),
            (0, 0, true),
        ] {
            assert_eq!(same_life(a, b), same, "{a:x} {b:x}");
            assert_eq!(same_life(b, a), same, "{b:x} {a:x}");
        }
    }
}
