//! System calls of the helper that no safe crate has. Nothing of this is called in the host program.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::{seccomp_notif, seccomp_notif_addfd, seccomp_notif_resp, sock_filter};

/// What a call gave: its result, or its errno.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Copies this process; gives the child's id, and 0 in the child. The helper has one thread, so the copy is whole.
pub fn fork() -> io::Result<i32> {
    // SAFETY: there is no other thread, so no lock is held in the copy that nobody would release.
    Ok(check(unsafe { libc::fork() }.into())? as i32)
}

/// Ends this process without running anything that the parent of a copy still needs.
pub fn exit(code: i32) -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(code) }
}

/// Moves this process into new namespaces.
pub fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: the helper has one thread; no descriptor changes its meaning for other code.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// prctl(2) with numbers only.
pub fn prctl(operation: i32, argument: libc::c_ulong) -> io::Result<()> {
    // SAFETY: none of the operations used takes a pointer.
    check(unsafe { libc::prctl(operation, argument, 0, 0, 0) }.into()).map(drop)
}

/// Sets the supplementary groups of this process.
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of the slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Sets all three group ids of this process.
pub fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Sets all three user ids of this process.
pub fn set_uid(uid: u32) -> io::Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Empties the inheritable capabilities of this process: a file with such capabilities would get them back when executed.
pub fn clear_inheritable() -> io::Result<()> {
    let header = [0x2008_0522u32, 0]; // _LINUX_CAPABILITY_VERSION_3, this thread
    let mut data = [0u32; 6]; // effective, permitted, inheritable; twice
    // SAFETY: header and data have the sizes that this version of the call reads and writes.
    unsafe {
        check(libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()))?;
        (data[2], data[5]) = (0, 0);
        check(libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr())).map(drop)
    }
}

/// Blocks SIGCHLD and gives a descriptor that says when a child ended.
pub fn child_signals() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is filled in before it is used; the descriptor is new and ours.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()).into())?;
        let fd = check(libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Unblocks all signals and gives those that Rust's runtime ignores their default back.
pub fn default_signals() {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is filled in before it is used; no handler is installed.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Sends a signal to a process.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Waits for a child that ended, or for the one named; `None` when none has.
pub fn wait(pid: i32, block: bool) -> io::Result<Option<(i32, i32)>> {
    let mut status = 0;
    let flags = if block { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: the status lives through the call.
        match check(unsafe { libc::waitpid(pid, &mut status, flags | libc::__WALL) }.into()) {
            Ok(0) => return Ok(None),
            Ok(pid) => return Ok(Some((pid as i32, status))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Executes a program. Returns only with an error.
pub fn execute(
    path: &std::ffi::CStr,
    arguments: &[std::ffi::CString],
    environment: &[std::ffi::CString],
) -> io::Error {
    let list = |strings: &[std::ffi::CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (list(arguments), list(environment));
    // SAFETY: both arrays end in NULL; they and their strings live through the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Closes all descriptors from `first` on.
pub fn close_from(first: i32) {
    // SAFETY: the helper calls this before it owns any of them.
    if unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) } == 0 {
        return;
    }
    // Before Linux 5.9.
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through the call; closing what is not open does nothing.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        for fd in first..limit.rlim_cur.min(1 << 20) as i32 {
            libc::close(fd);
        }
    }
}

/// Sets attributes of a mount, and of those below it when asked (mount_setattr(2), Linux 5.12).
pub fn set_mount(fd: impl AsFd, set: u64, recursive: bool) -> io::Result<()> {
    let attributes: [u64; 4] = [set, 0, 0, 0];
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: struct mount_attr is four numbers of 64 bits; the path is a constant.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    })
    .map(drop)
}

/// Brings the loopback interface of this network namespace up.
pub fn loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all zero bits are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    (request.ifr_name[0], request.ifr_name[1]) = (b'l' as libc::c_char, b'o' as libc::c_char);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request lives through the call and has the size that the call reads.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) }.into()).map(drop)
}

/// Installs a seccomp filter on this process; with a listener, gives its descriptor.
pub fn install_filter(filter: &[sock_filter], listener: bool) -> io::Result<Option<OwnedFd>> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let install = |flags: libc::c_ulong| {
        // SAFETY: the program lives through the call, which only reads it.
        check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &program) })
    };
    if !listener {
        return install(0).map(|_| None);
    }
    // Linux 5.19: once the supervisor has a call, only a deadly signal interrupts it, so that no call is made twice.
    const WAIT_KILLABLE: libc::c_ulong = 1 << 5;
    let wanted = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let fd = match install(wanted | WAIT_KILLABLE) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => install(wanted)?,
        other => other?,
    };
    // SAFETY: the descriptor is new and ours.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

/// Has the kernel wake supervisor and command on the same processor (Linux 6.6). That it cannot is no error.
pub fn wake_in_turn(listener: impl AsFd) {
    const SET_FLAGS: libc::c_ulong = 0x4008_2104; // SECCOMP_IOCTL_NOTIF_SET_FLAGS
    // SAFETY: the argument is a number; 1 is SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP.
    unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), SET_FLAGS as _, 1 as libc::c_ulong) };
}

/// Receives a call; `None` when its caller was gone in the meantime.
pub fn notification(listener: impl AsFd) -> io::Result<Option<seccomp_notif>> {
    const RECEIVE: libc::c_ulong = 0xc050_2100; // SECCOMP_IOCTL_NOTIF_RECV
    // SAFETY: all zero bits are valid, and what the kernel wants to be given.
    let mut call: seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the structure has the size that is part of the operation's number.
    match check(unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), RECEIVE as _, &mut call) }.into()) {
        Ok(_) => Ok(Some(call)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the caller still waits for an answer.
pub fn still_waits(listener: impl AsFd, id: u64) -> bool {
    const VALID: libc::c_ulong = 0x4008_2102; // SECCOMP_IOCTL_NOTIF_ID_VALID
    // SAFETY: the number lives through the call, which reads it.
    unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), VALID as _, &id) == 0 }
}

/// Answers a call. A caller that is gone is no error.
pub fn answer(listener: impl AsFd, id: u64, value: i64, errno: i32, goes_on: bool) -> io::Result<()> {
    const SEND: libc::c_ulong = 0xc018_2101; // SECCOMP_IOCTL_NOTIF_SEND
    let flags = if goes_on { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 };
    let mut response = seccomp_notif_resp { id, val: value, error: -errno, flags };
    // SAFETY: the structure has the size that is part of the operation's number.
    gone_is_fine(check(unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), SEND as _, &mut response) }.into()))
}

/// Answers a call with a descriptor, which the caller gets as its own (Linux 5.14).
pub fn answer_with(listener: impl AsFd, id: u64, fd: impl AsFd, close_on_exec: bool) -> io::Result<()> {
    const ADD: libc::c_ulong = 0x4018_2103; // SECCOMP_IOCTL_NOTIF_ADDFD
    const AND_SEND: u32 = 2; // SECCOMP_ADDFD_FLAG_SEND
    let request = seccomp_notif_addfd {
        id,
        flags: AND_SEND,
        srcfd: fd.as_fd().as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 },
    };
    // SAFETY: the structure has the size that is part of the operation's number.
    match check(unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), ADD as _, &request) }.into()) {
        // The caller has no room for another descriptor.
        Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
            answer(listener, id, 0, libc::EMFILE, false)
        }
        other => gone_is_fine(other),
    }
}

fn gone_is_fine(result: io::Result<libc::c_long>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map(drop),
    }
}
