//! System calls of the helper that no safe crate has. Nothing of this is called in the host program.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::{seccomp_notif, seccomp_notif_addfd, seccomp_notif_resp, sock_filter};

/// Returns the result of a call, or its errno.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Copies this process; gives the child's id, and 0 in the child. The helper has one thread, so the copy is whole.
pub fn fork() -> io::Result<i32> {
    // SAFETY: there is no other thread, so no lock is held in the copy that would not be released.
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

/// Moves this process into a namespace of this kind.
pub fn join(namespace: impl AsFd, kind: i32) -> io::Result<()> {
    // SAFETY: the helper has one thread; no descriptor changes its meaning for other code.
    check(unsafe { libc::setns(namespace.as_fd().as_raw_fd(), kind) }.into()).map(drop)
}

/// Returns the user namespace that another namespace belongs to (ioctl_ns(2)).
pub fn owner_of(namespace: impl AsFd) -> io::Result<OwnedFd> {
    const GET_USER_NAMESPACE: libc::c_ulong = 0xb701;
    // SAFETY: the operation takes no argument; the descriptor is new and ours.
    unsafe {
        let fd = check(libc::ioctl(namespace.as_fd().as_raw_fd(), GET_USER_NAMESPACE as _).into())?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Calls prctl(2) with numbers only.
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

/// Closes all descriptors but the standard streams and these two, which come back under other numbers.
pub fn keep_only(kept: [OwnedFd; 2]) -> io::Result<[OwnedFd; 2]> {
    let [a, b] = kept;
    // Out of the way first: each may have the number that the other is to get.
    let (a, b) = (rustix::io::fcntl_dupfd_cloexec(a, 64)?, rustix::io::fcntl_dupfd_cloexec(b, 64)?);
    for (fd, number) in [(&a, 3), (&b, 4)] {
        // SAFETY: what has the number is closed by this, and not used in this process from here on.
        check(unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) }.into())?;
    }
    // These are closed with all others.
    std::mem::forget((a, b));
    close_from(5);
    // SAFETY: both were made above, and nothing else owns them.
    Ok(unsafe { [OwnedFd::from_raw_fd(3), OwnedFd::from_raw_fd(4)] })
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

/// The limit of file locks (asm-generic/resource.h).
pub const RLIMIT_LOCKS: u32 = 10;

/// Returns the soft limit of file locks of the process that a thread belongs to, and sets it if there is a new one; 0 for this process.
pub fn lock_limit(tid: u32, new: Option<u64>) -> io::Result<u64> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let none = std::ptr::null::<libc::rlimit64>();
    // SAFETY: the structure lives through the call, which writes to it alone.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, tid, RLIMIT_LOCKS, none, &mut limit) })?;
    if let Some(new) = new {
        let new = libc::rlimit64 { rlim_cur: new, rlim_max: limit.rlim_max };
        let none = std::ptr::null_mut::<libc::rlimit64>();
        // SAFETY: the structure lives through the call, which reads it.
        check(unsafe { libc::syscall(libc::SYS_prlimit64, tid, RLIMIT_LOCKS, &new, none) })?;
    }
    Ok(limit.rlim_cur)
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

/// Returns a descriptor of the same open file as one of another process has.
pub fn descriptor_of(process: i32, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: numbers only; the descriptors are new and ours.
    unsafe {
        let pidfd = check(libc::syscall(libc::SYS_pidfd_open, process, 0))?;
        let pidfd = OwnedFd::from_raw_fd(pidfd as i32);
        let got = check(libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0))?;
        Ok(OwnedFd::from_raw_fd(got as i32))
    }
}

/// Reports whether descriptors of another process can be had: containers refuse pidfd_getfd(2).
pub fn has_getfd() -> bool {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(fd) = memory_file(b"") else { return false };
    descriptor_of(me, fd.as_raw_fd()).is_ok()
}

/// Reads entries of a directory as the kernel gives them; in the older form where that is wanted. Gives how many bytes there are.
pub fn entries(directory: impl AsFd, out: &mut [u8], old: bool) -> io::Result<usize> {
    #[cfg(target_arch = "x86_64")]
    let number = if old { libc::SYS_getdents } else { libc::SYS_getdents64 };
    #[cfg(not(target_arch = "x86_64"))]
    let number = {
        debug_assert!(!old, "no other architecture has the older form");
        libc::SYS_getdents64
    };
    // SAFETY: the buffer lives through the call, and its length is given.
    let got = check(unsafe {
        libc::syscall(number, directory.as_fd().as_raw_fd(), out.as_mut_ptr(), out.len() as libc::c_uint)
    })?;
    Ok(got as usize)
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
    // SAFETY: all zero bits are valid, and what the kernel takes.
    let mut call: seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the structure has the size that is part of the operation's number.
    match check(unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), RECEIVE as _, &mut call) }.into()) {
        Ok(_) => Ok(Some(call)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns whether the caller still waits for an answer.
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

/// Answers a call with a descriptor, which the caller gets as its own (Linux 5.14). `false` where the caller has no room for another one,
/// and still waits.
pub fn answer_with(listener: impl AsFd, id: u64, fd: impl AsFd, close_on_exec: bool) -> io::Result<bool> {
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
        Err(error) if error.raw_os_error() == Some(libc::EMFILE) => Ok(false),
        other => gone_is_fine(other).map(|()| true),
    }
}

fn gone_is_fine(result: io::Result<libc::c_long>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map(drop),
    }
}

/// Fills in random bytes.
pub fn random(out: &mut [u8]) -> io::Result<()> {
    // SAFETY: pointer and length are those of the slice. Less than 256 bytes come at once.
    check(unsafe { libc::syscall(libc::SYS_getrandom, out.as_mut_ptr(), out.len(), 0) }).map(drop)
}

/// Returns a file in memory with this content, to be read from its start.
pub fn memory_file(content: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("treering", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut rest = content;
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&fd, rest)?..];
    }
    rustix::fs::seek(&fd, rustix::fs::SeekFrom::Start(0))?;
    Ok(fd)
}

/// Returns what statfs(2) writes about the filesystem of a file.
pub fn filesystem(fd: impl AsFd) -> io::Result<Vec<u8>> {
    let mut out = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the structure lives through the call; all zero bits are valid, and it is plain numbers.
    unsafe {
        check(libc::fstatfs(fd.as_fd().as_raw_fd(), out.as_mut_ptr()).into())?;
        let bytes = std::slice::from_raw_parts(out.as_ptr().cast::<u8>(), size_of::<libc::statfs>());
        Ok(bytes.to_vec())
    }
}

fn local_address(path: &[u8]) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    // SAFETY: all zero bits are a valid address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    if path.len() >= address.sun_path.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = *from as libc::c_char;
    }
    Ok((address, (2 + path.len() + 1) as libc::socklen_t))
}

/// Connects a local socket.
pub fn connect(socket: impl AsFd, path: &[u8]) -> io::Result<()> {
    let (address, length) = local_address(path)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the address lives through the call, and its length is given.
    check(unsafe { libc::connect(fd, (&raw const address).cast(), length) }.into()).map(drop)
}

/// Binds a local socket.
pub fn bind(socket: impl AsFd, path: &[u8]) -> io::Result<()> {
    let (address, length) = local_address(path)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the address lives through the call, and its length is given.
    check(unsafe { libc::bind(fd, (&raw const address).cast(), length) }.into()).map(drop)
}

/// Has this process, and what it executes, never gain a privilege.
pub fn no_new_privileges() -> io::Result<()> {
    prctl_two(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Returns whether this process gains none, and no process that it makes.
pub fn has_no_new_privileges() -> bool {
    prctl_value(libc::PR_GET_NO_NEW_PRIVS) == 1
}

fn prctl_value(operation: i32) -> i32 {
    let none: libc::c_ulong = 0;
    // SAFETY: numbers only; all five, as this operation insists on the rest being 0.
    unsafe { libc::prctl(operation, none, none, none, none) }
}

fn prctl_two(operation: i32, argument: libc::c_ulong) -> io::Result<()> {
    let none: libc::c_ulong = 0;
    // SAFETY: numbers only; all five, as this operation insists on the rest being 0.
    check(unsafe { libc::prctl(operation, argument, none, none, none) }.into()).map(drop)
}

/// Returns the version of the limits that the kernel has for a process of itself (landlock(7)); 0 without any.
fn landlock_version() -> i64 {
    const VERSION: libc::c_ulong = 1;
    let none = std::ptr::null::<u64>();
    // SAFETY: numbers and a null pointer, which this operation takes.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, VERSION) }.max(0)
}

/// Returns whether this kernel can keep a process from sending signals to others (since 6.12).
pub fn can_confine_signals() -> bool {
    landlock_version() >= 6
}

/// Keeps this process from sending signals to any but itself and what it starts from now on, and from tracing them (landlock(7)).
pub fn confine_signals() -> io::Result<()> {
    const SIGNALS: u64 = 1 << 1; // LANDLOCK_SCOPE_SIGNAL
    // struct landlock_ruleset_attr: rights on files, rights on the network, what is kept within.
    let attributes = [0u64, 0, SIGNALS];
    // SAFETY: the structure lives through the call, its size is given; the descriptor is new and ours.
    let rules = unsafe {
        let size = size_of_val(&attributes);
        let fd = check(libc::syscall(libc::SYS_landlock_create_ruleset, attributes.as_ptr(), size, 0))?;
        OwnedFd::from_raw_fd(fd as i32)
    };
    restrict_to(&rules)
}

fn restrict_to(rules: &OwnedFd) -> io::Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) }).map(drop)
}

/// Limits this process to reading and executing below these directories (landlock(7)). `false` where the kernel has no such limits.
pub fn confine(directories: &[std::os::fd::BorrowedFd<'_>]) -> io::Result<bool> {
    const BELOW: libc::c_ulong = 1; // LANDLOCK_RULE_PATH_BENEATH
    const READ_AND_EXECUTE: u64 = 1 | 1 << 2 | 1 << 3;
    // All rights on files that each version has.
    let handled: u64 = match landlock_version() {
        ..=0 => return Ok(false),
        1 => 0x1fff,
        2 => 0x3fff,
        3 | 4 => 0x7fff,
        _ => 0xffff,
    };
    // SAFETY: the structure is one number in its first version, its size is given; the descriptor is new and ours.
    let rules = unsafe {
        let size = size_of_val(&handled);
        let fd = check(libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, size, 0))?;
        OwnedFd::from_raw_fd(fd as i32)
    };
    for directory in directories {
        // struct landlock_path_beneath_attr: packed.
        let mut rule = [0u8; 12];
        rule[..8].copy_from_slice(&READ_AND_EXECUTE.to_ne_bytes());
        rule[8..].copy_from_slice(&directory.as_raw_fd().to_ne_bytes());
        let directory_right = 1u64 << 3;
        let file_rights = (READ_AND_EXECUTE & !directory_right).to_ne_bytes();
        let add = |rule: &[u8; 12]| {
            // SAFETY: the rule has the size of the structure and lives through the call.
            check(unsafe {
                libc::syscall(libc::SYS_landlock_add_rule, rules.as_raw_fd(), BELOW, rule.as_ptr(), 0)
            })
        };
        if add(&rule).is_err() {
            // A file has no right of directories.
            rule[..8].copy_from_slice(&file_rights);
            add(&rule)?;
        }
    }
    restrict_to(&rules)?;
    Ok(true)
}

fn trace(operation: libc::c_uint, tid: i32, address: usize, data: usize) -> io::Result<libc::c_long> {
    // SAFETY: each caller gives what its operation takes; the kernel reads and writes within that.
    check(unsafe { libc::syscall(libc::SYS_ptrace, libc::c_ulong::from(operation), tid, address, data) })
}

/// Begins to trace a process, and all that it makes; they end with this process.
pub fn seize(tid: i32) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_EXITKILL;
    trace(libc::PTRACE_SEIZE as _, tid, 0, options as usize).map(drop)
}

/// Lets a thread go on, with a signal or none.
pub fn resume(tid: i32, signal: i32) -> io::Result<()> {
    trace(libc::PTRACE_CONT as _, tid, 0, signal as usize).map(drop)
}

/// Lets a thread go on, with a signal or none, until it begins or ends a call.
pub fn resume_to_call(tid: i32, signal: i32) -> io::Result<()> {
    trace(libc::PTRACE_SYSCALL as _, tid, 0, signal as usize).map(drop)
}

/// Has a thread stop as soon as it can.
pub fn interrupt(tid: i32) -> io::Result<()> {
    trace(libc::PTRACE_INTERRUPT as _, tid, 0, 0).map(drop)
}

/// Returns the signals that a thread that is stopped blocks, a bit for each (Linux 3.11).
pub fn signal_mask(tid: i32) -> io::Result<u64> {
    let mut mask = 0u64;
    trace(GET_SIGNAL_MASK, tid, size_of_val(&mask), (&raw mut mask) as usize)?;
    Ok(mask)
}

/// Gives a thread that is stopped other signals to block.
pub fn set_signal_mask(tid: i32, mask: u64) -> io::Result<()> {
    trace(SET_SIGNAL_MASK, tid, size_of_val(&mask), (&raw const mask) as usize).map(drop)
}

/// PTRACE_GETSIGMASK, PTRACE_SETSIGMASK and PTRACE_GET_SYSCALL_INFO of linux/ptrace.h.
const GET_SIGNAL_MASK: libc::c_uint = 0x420a;
const SET_SIGNAL_MASK: libc::c_uint = 0x420b;
const GET_CALL_INFO: libc::c_uint = 0x420e;
/// PTRACE_SYSCALL_INFO_ENTRY.
pub const CALL_BEGINS: u8 = 1;

/// A call that a thread is stopped at: struct ptrace_syscall_info of linux/ptrace.h.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct CallInfo {
    /// Where in the call it is.
    pub op: u8,
    pad: [u8; 3],
    /// The ABI, as AUDIT_ARCH.
    pub arch: u32,
    instruction: u64,
    stack: u64,
    /// The number of a call that begins.
    pub number: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
    rest: u64,
}

/// Returns what the kernel says of the call that a thread is stopped at (Linux 5.3).
pub fn call_info(tid: i32) -> io::Result<CallInfo> {
    let mut info = CallInfo::default();
    trace(GET_CALL_INFO, tid, size_of_val(&info), (&raw mut info) as usize)?;
    Ok(info)
}

/// Says to this process, as an ended child would, that there is something to look at.
pub fn ring() {
    // SAFETY: numbers only.
    unsafe { libc::kill(libc::getpid(), libc::SIGCHLD) };
}

/// Leaves a thread stopped, and gets its continuation.
pub fn listen(tid: i32) -> io::Result<()> {
    trace(libc::PTRACE_LISTEN as _, tid, 0, 0).map(drop)
}

/// Returns the number that came with an event: of a new thread, or the former number of one that executed a program.
pub fn event_message(tid: i32) -> io::Result<u64> {
    let mut message: libc::c_ulong = 0;
    trace(libc::PTRACE_GETEVENTMSG as _, tid, 0, (&raw mut message) as usize)?;
    Ok(message)
}

/// NT_PRSTATUS of elf.h.
const GENERAL: usize = 1;

/// Returns the registers of a thread that is stopped.
pub fn registers(tid: i32) -> io::Result<libc::user_regs_struct> {
    let mut out = MaybeUninit::<libc::user_regs_struct>::zeroed();
    let mut vector = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: size_of_val(&out) };
    trace(libc::PTRACE_GETREGSET as _, tid, GENERAL, (&raw mut vector) as usize)?;
    // SAFETY: all zero bits were valid, and the call filled it in.
    Ok(unsafe { out.assume_init() })
}

/// Gives a thread that is stopped other registers.
pub fn set_registers(tid: i32, registers: &libc::user_regs_struct) -> io::Result<()> {
    let base = std::ptr::from_ref(registers).cast_mut().cast();
    let mut vector = libc::iovec { iov_base: base, iov_len: size_of_val(registers) };
    trace(libc::PTRACE_SETREGSET as _, tid, GENERAL, (&raw mut vector) as usize).map(drop)
}

/// Has a thread that is stopped at a call make another one.
#[cfg(target_arch = "aarch64")]
pub fn set_call(tid: i32, number: i32) -> io::Result<()> {
    const CALL: usize = 0x404; // NT_ARM_SYSTEM_CALL of elf.h
    let mut number = number;
    let mut vector = libc::iovec { iov_base: (&raw mut number).cast(), iov_len: size_of_val(&number) };
    trace(libc::PTRACE_SETREGSET as _, tid, CALL, (&raw mut vector) as usize).map(drop)
}
