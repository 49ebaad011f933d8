//! Extended attributes by directory descriptor and name, never following a symbolic link.
//!
//! Linux 6.13 has `listxattrat(2)` and its siblings. Before that, the way to reach the attributes of a link or a device
//! without opening it is `/proc/self/fd/N/name`, and without /proc only what can be opened can be asked.

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::root::{open_at, open_dir_at};
use super::stat::{Kind, stat_at};

// The numbers are the same on every architecture (they came after the tables were unified).
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_GETXATTRAT: libc::c_long = 464;
const SYS_LISTXATTRAT: libc::c_long = 465;
const SYS_REMOVEXATTRAT: libc::c_long = 466;

/// The argument block of `getxattrat(2)` and `setxattrat(2)` (linux/xattr.h, struct xattr_args).
#[repr(C, align(8))]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

/// Whether the calls of Linux 6.13 were found missing.
static MISSING: AtomicBool = AtomicBool::new(false);

/// A way to the attributes of a file.
enum Way {
    /// By the calls of Linux 6.13.
    At,
    /// By this path in /proc.
    Proc(CString),
    /// By opening the file.
    Open,
}

fn way(dir: BorrowedFd<'_>, name: &CStr) -> Way {
    if !MISSING.load(Ordering::Relaxed) {
        return Way::At;
    }
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let path = CString::new(path).expect("a C string and digits hold no NUL");
    if rustix::fs::access("/proc/self/fd", rustix::fs::Access::EXISTS).is_ok() {
        Way::Proc(path)
    } else {
        Way::Open
    }
}

/// Returns whether an error says that the newer call is missing. A seccomp filter without it may answer EPERM, which listing and
/// reading never do themselves; a filesystem that refuses to set an attribute does, so then the call is probed for.
fn is_missing(error: &io::Error, reads: bool) -> bool {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => true,
        Some(libc::EPERM) => reads || probe().is_err(),
        _ => false,
    }
}

fn check(result: libc::c_long) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

/// Runs a size-then-read call until the buffer is large enough; the result is in `out`.
fn grow(
    out: &mut Vec<u8>,
    first: usize,
    mut call: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let mut want = first;
    loop {
        out.resize(want, 0);
        match call(out) {
            Ok(n) => {
                out.truncate(n);
                return Ok(());
            }
            // XATTR_SIZE_MAX and XATTR_LIST_MAX are both 64 KiB.
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && want < 65536 => want = 65536,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Probes for `listxattrat(2)`, and with it its siblings, by a call without a usable descriptor.
pub(super) fn probe() -> io::Result<()> {
    // SAFETY: the name is a constant and the buffer has no length; no descriptor, so no file, is named.
    let result = unsafe {
        libc::syscall(
            SYS_LISTXATTRAT,
            -1,
            c"x".as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            std::ptr::null_mut::<u8>(),
            0usize,
        )
    };
    debug_assert_eq!(result, -1);
    super::chmod::there(io::Error::last_os_error())
}

/// Lists the attribute names of `name` in `dir` into `out`, each ended by NUL. A filesystem without attributes has none.
pub fn list_at(dir: impl AsFd, name: &CStr, out: &mut Vec<u8>) -> io::Result<()> {
    let dir = dir.as_fd();
    let result = match way(dir, name) {
        Way::At => {
            let tried = grow(out, 1024, |buffer| {
                // SAFETY: `dir` and `name` live through the call; the kernel writes at most buffer.len() bytes.
                check(unsafe {
                    libc::syscall(
                        SYS_LISTXATTRAT,
                        dir.as_raw_fd(),
                        name.as_ptr(),
                        libc::AT_SYMLINK_NOFOLLOW,
                        buffer.as_mut_ptr(),
                        buffer.len(),
                    )
                })
            });
            match tried {
                Err(error) if is_missing(&error, true) => {
                    MISSING.store(true, Ordering::Relaxed);
                    return list_at(dir, name, out);
                }
                other => other,
            }
        }
        Way::Proc(path) => grow(out, 1024, |buffer| Ok(rustix::fs::llistxattr(path.as_c_str(), buffer)?)),
        Way::Open => {
            let fd = open_any(dir, name)?;
            grow(out, 1024, |buffer| Ok(rustix::fs::flistxattr(&fd, buffer)?))
        }
    };
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            out.clear();
            Ok(())
        }
        other => other,
    }
}

/// Reads one attribute of `name` in `dir` into `out`.
pub fn get_at(dir: impl AsFd, name: &CStr, attribute: &CStr, out: &mut Vec<u8>) -> io::Result<()> {
    let dir = dir.as_fd();
    match way(dir, name) {
        Way::At => {
            let tried = grow(out, 256, |buffer| {
                let mut args =
                    XattrArgs { value: buffer.as_mut_ptr() as u64, size: buffer.len() as u32, flags: 0 };
                // SAFETY: every pointer lives through the call; the kernel writes at most args.size bytes to args.value.
                check(unsafe {
                    libc::syscall(
                        SYS_GETXATTRAT,
                        dir.as_raw_fd(),
                        name.as_ptr(),
                        libc::AT_SYMLINK_NOFOLLOW,
                        attribute.as_ptr(),
                        &mut args as *mut XattrArgs,
                        size_of::<XattrArgs>(),
                    )
                })
            });
            match tried {
                Err(error) if is_missing(&error, true) => {
                    MISSING.store(true, Ordering::Relaxed);
                    get_at(dir, name, attribute, out)
                }
                other => other,
            }
        }
        Way::Proc(path) => {
            grow(out, 256, |buffer| Ok(rustix::fs::lgetxattr(path.as_c_str(), attribute, buffer)?))
        }
        Way::Open => {
            let fd = open_any(dir, name)?;
            grow(out, 256, |buffer| Ok(rustix::fs::fgetxattr(&fd, attribute, buffer)?))
        }
    }
}

/// Sets one attribute of `name` in `dir`.
pub fn set_at(dir: impl AsFd, name: &CStr, attribute: &CStr, value: &[u8]) -> io::Result<()> {
    let dir = dir.as_fd();
    match way(dir, name) {
        Way::At => {
            let args = XattrArgs { value: value.as_ptr() as u64, size: value.len() as u32, flags: 0 };
            // SAFETY: every pointer lives through the call; the kernel reads args.size bytes at args.value.
            let tried = check(unsafe {
                libc::syscall(
                    SYS_SETXATTRAT,
                    dir.as_raw_fd(),
                    name.as_ptr(),
                    libc::AT_SYMLINK_NOFOLLOW,
                    attribute.as_ptr(),
                    &args as *const XattrArgs,
                    size_of::<XattrArgs>(),
                )
            });
            match tried {
                Err(error) if is_missing(&error, false) => {
                    MISSING.store(true, Ordering::Relaxed);
                    set_at(dir, name, attribute, value)
                }
                other => other.map(|_| ()),
            }
        }
        Way::Proc(path) => {
            Ok(rustix::fs::lsetxattr(path.as_c_str(), attribute, value, rustix::fs::XattrFlags::empty())?)
        }
        Way::Open => {
            let fd = open_any(dir, name)?;
            Ok(rustix::fs::fsetxattr(&fd, attribute, value, rustix::fs::XattrFlags::empty())?)
        }
    }
}

/// Removes one attribute of `name` in `dir`.
pub fn remove_at(dir: impl AsFd, name: &CStr, attribute: &CStr) -> io::Result<()> {
    let dir = dir.as_fd();
    match way(dir, name) {
        Way::At => {
            // SAFETY: `dir`, `name` and `attribute` live through the call, which writes nothing.
            let tried = check(unsafe {
                libc::syscall(
                    SYS_REMOVEXATTRAT,
                    dir.as_raw_fd(),
                    name.as_ptr(),
                    libc::AT_SYMLINK_NOFOLLOW as c_int,
                    attribute.as_ptr(),
                )
            });
            match tried {
                Err(error) if is_missing(&error, false) => {
                    MISSING.store(true, Ordering::Relaxed);
                    remove_at(dir, name, attribute)
                }
                other => other.map(|_| ()),
            }
        }
        Way::Proc(path) => Ok(rustix::fs::lremovexattr(path.as_c_str(), attribute)?),
        Way::Open => Ok(rustix::fs::fremovexattr(&open_any(dir, name)?, attribute)?),
    }
}

/// Removes the default ACL of a directory, which entries made in it would inherit (acl(5)). Returns whether it had one.
pub fn remove_default_acl(dir: impl AsFd) -> io::Result<bool> {
    const DEFAULT_ACL: &str = "system.posix_acl_default";
    let has = rustix::fs::fgetxattr_query(&dir, DEFAULT_ACL).is_ok();
    if has {
        rustix::fs::fremovexattr(&dir, DEFAULT_ACL)?;
    }
    Ok(has)
}

/// Returns whether a filesystem says with this error that it does not keep an attribute: not permitted, not supported, a
/// name or value it does not take, or no room for it in the inode. Anything else is a failure.
pub fn is_refusal(error: &io::Error) -> bool {
    const ERRNOS: [i32; 9] = [
        libc::EPERM,
        libc::EACCES,
        libc::EOPNOTSUPP,
        libc::ENOSYS,
        libc::EINVAL,
        libc::ENOSPC,
        libc::E2BIG,
        libc::ERANGE,
        libc::EDQUOT,
    ];
    error.raw_os_error().is_some_and(|errno| ERRNOS.contains(&errno))
}

/// Opens a file to read its attributes. Without /proc only files, directories and pipes can be asked; links and devices
/// give an error.
fn open_any(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<std::os::fd::OwnedFd> {
    match stat_at(dir, name)?.kind {
        Kind::Directory => open_dir_at(dir, name),
        Kind::File | Kind::Fifo => open_at(dir, name),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "extended attributes of links and devices need Linux 6.13 or a mounted /proc",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has the kernel answer EPERM to the calls of Linux 6.13, on this thread alone, as filters of container engines do.
    fn refuse_newer_calls() {
        let op = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
        let number = |call: libc::c_long| u32::try_from(call).unwrap();
        let program = [
            op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            op(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, number(SYS_SETXATTRAT), 0, 2),
            op(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, number(SYS_REMOVEXATTRAT), 1, 0),
            op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
            op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
        ];
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
        // SAFETY: both calls act on this thread; the program lives through the second, which only reads it.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter), 0);
        }
    }

    #[test]
    fn a_filter_that_refuses_the_newer_calls_loses_no_attribute() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        let dir = std::fs::File::open(temp.path()).unwrap();
        // Some filesystems have no user attributes.
        let takes =
            rustix::fs::setxattr(temp.path(), c"user.probe", b"", rustix::fs::XattrFlags::empty()).is_ok();
        std::thread::scope(|scope| {
            let work = || {
                refuse_newer_calls();
                assert_eq!(probe().unwrap_err().raw_os_error(), Some(libc::EPERM));
                let set = set_at(&dir, c"file", c"user.name", b"value");
                assert_eq!(set.is_ok(), takes, "{set:?}");
                if takes {
                    let mut value = Vec::new();
                    get_at(&dir, c"file", c"user.name", &mut value).unwrap();
                    assert_eq!(value, b"value");
                    remove_at(&dir, c"file", c"user.name").unwrap();
                }
            };
            crate::threads::join(scope.spawn(work));
        });
    }
}
