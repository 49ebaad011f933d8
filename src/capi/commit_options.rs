//! Options of a commit.

use std::ffi::c_char;

use super::arguments::{Text, exclude, number, owners, pairs, paths, texts};
use super::layer_options::profile_or_gzip;
use super::status::{treering_pair, treering_slice};
use super::structures::Options;
use crate::error::Result;
use crate::image::CommitOptions;
use crate::layer::{LayerOptions, MtimePrecision};

/// Options of a commit.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_commit_options {
    /// The base of the image: `auto` (also NULL) for the image the directory was unpacked from or last committed to, if
    /// any; `scratch` for nothing; else the reference of an image.
    pub base: *const c_char,
    /// How far metadata is trusted: `auto` (also NULL) trusts device, inode, ctime and the like, and compares the content of
    /// everything else with the same metadata; `metadata` trusts size and times alone; `content` trusts nothing.
    pub compare: *const c_char,
    /// Owner of the files: `root`, `keep`, `UID:GID` or `map:IMAGE:DISK:COUNT[,...]`. NULL for what the store has for the
    /// tree, else `root`; with lower directories, for the owners on disk when root commits.
    pub owner: *const c_char,
    /// Record of owners to go by, which counts for more than `owner` and what the store has: `none`; `rootlesscontainers` or
    /// `override-stat` for the extended attribute `user.rootlesscontainers` or `user.containers.override_stat`, which then is
    /// no attribute of the file; `fakeroot:FILE` for what `fakeroot -s FILE` saved. Empty for what the store has for the tree,
    /// else `none`.
    pub owner_from: treering_slice,
    /// Compression of the layer: `none`, `gzip` (also NULL) or `zstd`.
    pub compression: *const c_char,
    /// Level of the compression: 1 to 12 for gzip, 1 to 19 for zstd; 0 for the default one.
    pub level: i32,
    /// Write time stamps with nanoseconds, instead of whole seconds as most tools write.
    pub nanoseconds: bool,
    /// Put everything into one layer and drop the base's layers and history; its configuration stays.
    pub squash: bool,
    /// Do not look at what is mounted: a mount point counts as unchanged, or as empty where there was nothing.
    pub one_file_system: bool,
    /// Latest time stamp in the layer, as SOURCE_DATE_EPOCH gives it: seconds since 1970. NULL for no limit.
    pub clamp_mtime: *const i64,
    /// Time the image is dated: seconds since 1970. NULL for now. Set it (and nothing else that varies) for an image with a
    /// digest that depends on its content alone.
    pub created: *const i64,
    /// Author of the image. NULL for the author of the base, if any.
    pub author: *const c_char,
    /// Message for the history. NULL for none.
    pub message: *const c_char,
    /// Changes of the configuration, applied in order: Dockerfile instructions as `docker commit --change` takes them (`CMD`,
    /// `ENTRYPOINT`, `ENV`, `EXPOSE`, `HEALTHCHECK`, `LABEL`, `ONBUILD`, `STOPSIGNAL`, `USER`, `VOLUME`, `WORKDIR`).
    pub changes: *const *const c_char,
    /// Number of `changes`.
    pub changes_len: usize,
    /// Annotations of the manifest.
    pub annotations: *const treering_pair,
    /// Number of `annotations`.
    pub annotations_len: usize,
    /// Lower directories, topmost first: the tree is then the upper directory of an overlay over these. Such a commit needs
    /// its base named.
    pub lowers: *const treering_slice,
    /// Number of `lowers`.
    pub lowers_len: usize,
    /// Platform of the new image, and of a multi-platform base: `os/arch[/variant]`. NULL for the base's, else this machine's.
    pub platform: *const c_char,
    /// Number of threads; 0 for one per processor. The result does not depend on it.
    pub threads: usize,
    /// Make no image where nothing changed and nothing is asked for but a name: the base gets the name. Otherwise the image has a
    /// row of history more than its base, as Docker has it.
    pub only_if_changed: bool,
    /// Let times say nothing: what differs in its time alone is compared by its content.
    pub ignore_times: bool,
    /// Patterns of paths to leave out, as in a .dockerignore; the last one that matches decides, `!` takes in again. Of what is
    /// left out nothing changes.
    pub exclude: *const *const c_char,
    /// Number of `exclude`.
    pub exclude_len: usize,
    /// File of such patterns, one a line, which count before `exclude`. Empty for none.
    pub ignore_file: treering_slice,
}

// SAFETY: `repr(C)`, of pointers, numbers and bools.
unsafe impl Options for treering_commit_options {
    type Value = CommitOptions;

    unsafe fn read(&self) -> Result<CommitOptions> {
        // SAFETY: the caller's contract.
        unsafe {
            Ok(CommitOptions {
                base: Text::new(self.base).parse("base")?.unwrap_or_default(),
                compare: Text::new(self.compare).parse("compare")?.unwrap_or_default(),
                owners: owners(self.owner, self.owner_from)?,
                profile: profile_or_gzip(Text::new(self.compression), self.level)?,
                layer: LayerOptions {
                    precision: MtimePrecision::nanoseconds(self.nanoseconds),
                    clamp_mtime: number(self.clamp_mtime, "clamp_mtime")?,
                },
                author: Text::new(self.author).owned("author")?,
                message: Text::new(self.message).owned("message")?,
                changes: texts(self.changes, self.changes_len, "changes")?,
                created: number(self.created, "created")?,
                squash: self.squash,
                only_if_changed: self.only_if_changed,
                platform: Text::new(self.platform).parse("platform")?,
                annotations: pairs(self.annotations, self.annotations_len, "annotations")?,
                ignore_times: self.ignore_times,
                exclude: exclude(self.exclude, self.exclude_len, self.ignore_file)?,
                one_file_system: self.one_file_system,
                threads: self.threads,
                lowers: paths(self.lowers, self.lowers_len, "lowers")?,
            })
        }
    }
}
