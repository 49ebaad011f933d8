//! Options of an edit.

use std::ffi::c_char;

use super::arguments::{List, Text, bad, number, pairs, texts};
use super::layer_options::profile_or_gzip;
use super::status::treering_pair;
use super::stream::treering_input;
use super::structures::{Options, cap};
use crate::error::Result;
use crate::image::{EditOptions, Squash};

/// Options of an edit: how an image becomes another one. The order is always this one: another base, layers dropped, layers
/// appended, layers squashed, then the configuration. With every member zero the image gets a name more.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_edit_options {
    /// Platform of a multi-platform image: `os/arch[/variant]`. NULL for this machine's.
    pub platform: *const c_char,
    /// Another base: the key is the image that the image is built on, the value the one to take its place. NULL for the base it has.
    pub rebase: *const treering_pair,
    /// How many of the last layers go.
    pub drop_last: usize,
    /// Layers to put on top, the first one first, as treering_layer_write_fd() writes them.
    pub append: *const treering_input,
    /// Number of `append`.
    pub append_len: usize,
    /// How many of the last layers become one; -1 for all of them, 0 for none.
    pub squash: i32,
    /// Changes of the configuration, applied in order: Dockerfile instructions as `docker commit --change` takes them.
    pub changes: *const *const c_char,
    /// Number of `changes`.
    pub changes_len: usize,
    /// Labels of the configuration, set after `changes`.
    pub labels: *const treering_pair,
    /// Number of `labels`.
    pub labels_len: usize,
    /// Annotations of the manifest. Those of the image stay.
    pub annotations: *const treering_pair,
    /// Number of `annotations`.
    pub annotations_len: usize,
    /// Author of the image. NULL for the author of the old one.
    pub author: *const c_char,
    /// Message for the history. NULL for none.
    pub message: *const c_char,
    /// Time the image is dated: seconds since 1970. NULL for now.
    pub created: *const i64,
    /// Compression of a squashed layer: `none`, `gzip` (also NULL) or `zstd`.
    pub compression: *const c_char,
    /// Level of the compression; 0 for the default one.
    pub level: i32,
    /// How many times larger than its blob an appended layer may get, beyond 64 MiB and zeros not counted. 0 for 1000.
    pub max_ratio: u64,
    /// Number of threads; 0 for one per processor. The result does not depend on it.
    pub threads: usize,
}

/// The image that is edited, and the layers to append.
pub struct Editing {
    pub(super) options: EditOptions,
    pub(super) append: Vec<treering_input>,
}

// SAFETY: `repr(C)`, of pointers and numbers.
unsafe impl Options for treering_edit_options {
    type Value = Editing;

    unsafe fn read(&self) -> Result<Editing> {
        let squash = match self.squash {
            0 => None,
            -1 => Some(Squash::All),
            count => match usize::try_from(count) {
                Ok(count) => Some(Squash::Last(count)),
                Err(_) => {
                    return Err(bad(format!("squash is {count}: expected -1, 0 or a number of layers")));
                }
            },
        };
        // SAFETY: the caller's contract.
        unsafe {
            let rebase = match self.rebase.is_null() {
                true => None,
                false => pairs(self.rebase, 1, "rebase")?.pop(),
            };
            let mut options = EditOptions {
                platform: Text::new(self.platform).parse("platform")?,
                rebase,
                drop_last: self.drop_last,
                squash,
                changes: texts(self.changes, self.changes_len, "changes")?,
                labels: pairs(self.labels, self.labels_len, "labels")?,
                annotations: pairs(self.annotations, self.annotations_len, "annotations")?,
                author: Text::new(self.author).owned("author")?,
                message: Text::new(self.message).owned("message")?,
                created: number(self.created, "created")?,
                profile: profile_or_gzip(Text::new(self.compression), self.level)?,
                threads: self.threads,
                ..EditOptions::default()
            };
            cap(self.max_ratio, |max| options.decode.ratio = max);
            let append = List::new(self.append, self.append_len).items("append")?.to_vec();
            Ok(Editing { options, append })
        }
    }
}
