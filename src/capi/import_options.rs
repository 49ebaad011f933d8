//! Options of an import.

use std::ffi::c_char;

use super::arguments::{Text, number, texts};
use super::layer_options::profile;
use super::structures::{Options, cap};
use crate::archive::ImportOptions;
use crate::error::Result;

/// Options of an import.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_import_options {
    /// The configuration, as Dockerfile instructions: what treering_commit_options takes for changes.
    pub changes: *const *const c_char,
    /// Number of `changes`.
    pub changes_len: usize,
    /// Message for the history. NULL for none.
    pub message: *const c_char,
    /// Author of the image. NULL for none.
    pub author: *const c_char,
    /// Platform of the image: `os/arch[/variant]`. NULL for this machine's.
    pub platform: *const c_char,
    /// Time the image is dated: seconds since 1970. NULL for now.
    pub created: *const i64,
    /// Compression to write the layer anew with: `none`, `gzip` or `zstd`. NULL keeps its bytes as they come.
    pub compression: *const c_char,
    /// Level of that compression: 1 to 12 for gzip, 1 to 19 for zstd; 0 for the default one.
    pub level: i32,
    /// Number of threads; 0 for one per processor. The result does not depend on it.
    pub threads: usize,
    /// Most bytes that the tar may have uncompressed. 0 for 256 GiB, and 1 TiB for its files with their holes.
    pub max_bytes: u64,
    /// Most entries that the tar may have. 0 for ten million.
    pub max_entries: u64,
}

// SAFETY: `repr(C)`, of pointers and numbers.
unsafe impl Options for treering_import_options {
    type Value = ImportOptions;

    unsafe fn read(&self) -> Result<ImportOptions> {
        // SAFETY: the caller's contract.
        let mut options = unsafe {
            ImportOptions {
                changes: texts(self.changes, self.changes_len, "changes")?,
                message: Text::new(self.message).owned("message")?,
                author: Text::new(self.author).owned("author")?,
                platform: Text::new(self.platform).parse("platform")?,
                created: number(self.created, "created")?,
                profile: profile(Text::new(self.compression), self.level)?,
                threads: self.threads,
                ..ImportOptions::default()
            }
        };
        cap(self.max_bytes, |max| {
            options.limits.max_bytes = max;
            options.decode.max_output = max;
        });
        cap(self.max_entries, |max| options.limits.max_entries = max);
        Ok(options)
    }
}
