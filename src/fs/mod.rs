//! Every system call: in-root opening, directory reading, metadata, extended attributes, publishing, locks.
