//! A tree on disk and its snapshot.
