//! Starting the helper: the one place in the library where a process begins.
//!
//! `posix_spawn(3)` and nothing else: the host program may have threads, locks held and handlers set, so no code of ours may run in a
//! copy of it. The helper starts with default signals, an empty environment, a session of its own, and two things open: `/dev/null` as
//! its standard streams, and the socket. What the host left inheritable the helper closes itself.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use super::protocol::Channel;

/// The descriptor of the socket in the helper.
pub const SOCKET: i32 = 3;

/// The hidden verb by which the command is the helper.
pub const VERB: &CStr = c"sandbox-init";

/// Starts the helper at `program` with one end of a socket; gives its process id and the other end.
pub fn spawn(program: &Path, verb: &CStr) -> io::Result<(i32, Channel)> {
    let (ours, theirs) = Channel::pair()?;
    // A descriptor that has the right number already would stay close-on-exec.
    let theirs = rustix::io::fcntl_dupfd_cloexec(theirs.as_fd(), SOCKET + 1)?;
    let program = CString::new(program.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let arguments = [c"treering-init".as_ptr().cast_mut(), verb.as_ptr().cast_mut(), ptr::null_mut()];
    let environment = [ptr::null_mut()];
    let mut pid = 0;
    let attributes = Attributes::new()?;
    let actions = Actions::new(theirs.as_raw_fd())?;
    // SAFETY: program, arguments and environment are NUL-terminated strings in NULL-terminated arrays that live through the call; both
    // objects were initialised.
    let result = unsafe {
        libc::posix_spawn(
            &mut pid,
            program.as_ptr(),
            &*actions.0,
            &*attributes.0,
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    };
    check(result)?;
    Ok((pid, ours))
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

struct Attributes(Box<libc::posix_spawnattr_t>);

impl Attributes {
    fn new() -> io::Result<Attributes> {
        let mut all = MaybeUninit::uninit();
        let mut none = MaybeUninit::uninit();
        // SAFETY: both are plain sets of bits that these calls fill in.
        let (all, none): (libc::sigset_t, libc::sigset_t) = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::sigemptyset(none.as_mut_ptr());
            (all.assume_init(), none.assume_init())
        };
        let mut attributes = Box::new(MaybeUninit::uninit());
        // SAFETY: the call initialises what it is given, and says so by 0.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised one line above.
        let mut attributes = Attributes(unsafe { attributes.assume_init() });
        let flags = libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID;
        // SAFETY: the object is initialised; the sets live through the calls.
        unsafe {
            check(libc::posix_spawnattr_setsigdefault(&mut *attributes.0, &all))?;
            check(libc::posix_spawnattr_setsigmask(&mut *attributes.0, &none))?;
            check(libc::posix_spawnattr_setflags(&mut *attributes.0, flags as libc::c_short))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        unsafe { libc::posix_spawnattr_destroy(&mut *self.0) };
    }
}

/// From spawn.h of glibc (2.26) and musl; the crate has it for some targets only.
const POSIX_SPAWN_SETSID: i32 = 0x80;

struct Actions(Box<libc::posix_spawn_file_actions_t>);

impl Actions {
    fn new(socket: i32) -> io::Result<Actions> {
        let mut actions = Box::new(MaybeUninit::uninit());
        // SAFETY: the call initialises what it is given, and says so by 0.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: initialised one line above.
        let mut actions = Actions(unsafe { actions.assume_init() });
        for stream in 0..3 {
            let null = c"/dev/null".as_ptr();
            // SAFETY: the object is initialised; the path is a constant, and copied.
            check(unsafe {
                libc::posix_spawn_file_actions_addopen(&mut *actions.0, stream, null, libc::O_RDWR, 0)
            })?;
        }
        // SAFETY: the object is initialised; the descriptor is open until the spawn.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&mut *actions.0, socket, SOCKET) })?;
        Ok(actions)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut *self.0) };
    }
}
