//! The one signal that stands between a program and an error message.

/// Ignores SIGXFSZ for this whole process, so that writing beyond the limit on file sizes (`RLIMIT_FSIZE`) is an error
/// (EFBIG) that names the file, and what was half written can be cleaned up; left alone, the signal kills.
///
/// Nothing in the library calls this: signals are the host program's. It is for the command.
pub fn ignore_file_size_signal() {
    // SAFETY: no handler is installed, so no code of ours runs in a signal's context; the number is a valid signal.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
