//! treering grows OCI images from a directory: no root, no daemon, no setuid helper, no re-exec of the host program.
//!
//! A *tree* is a root filesystem directory; each *ring* around it is a layer. [`image::commit()`] makes an image of a
//! directory, or adds what changed since the last time; [`image::unpack()`] is the way back; [`image::diff_tree`] says what
//! changed.
//!
//! ```
//! use treering::image::{CommitOptions, UnpackOptions, commit, unpack};
//! use treering::store::Store;
//! use treering::Control;
//!
//! # let scratch = tempfile::tempdir()?;
//! # let (store, tree, copy) = (scratch.path().join("s"), scratch.path().join("t"), scratch.path().join("c"));
//! # std::fs::create_dir(&tree)?;
//! std::fs::write(tree.join("hello"), "world\n")?;
//!
//! let store = Store::open(store)?;
//! let control = Control::default();
//! let options = CommitOptions { changes: vec!["CMD [\"/hello\"]".into()], ..CommitOptions::default() };
//! let image = commit(&store, &tree, Some("hello:v1"), &options, &control)?;
//! println!("{}", image.image_id);
//!
//! unpack(&store, "hello:v1", &copy, &UnpackOptions::default(), &control)?;
//! assert_eq!(std::fs::read(copy.join("hello"))?, b"world\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The modules follow the data: [`fs`], [`tree`], [`diff`], [`layer`], [`compress`], [`store`], [`image`], [`archive`]. A
//! module uses only what stands before it. Long operations take a [`Control`]: counters to poll and a token to cancel with,
//! both from any thread. Errors carry an operation, a path and a kind ([`Error`]).
//!
//! # What is stable
//!
//! Items that this documentation shows follow semantic versioning; hidden ones do not. `docs/api.txt` lists it, and a test
//! compares. Options are made with `..Default::default()`, as a new version may have more of them; results are only read,
//! and are `Clone` and `serde::Serialize` where they are plain data. What is a path is taken as `impl AsRef<Path>`. A few
//! signatures have types of other crates, so that their next incompatible version is one of ours too: [`store::Descriptor`]
//! (`oci-spec`), JSON objects and values (`serde_json`), the time in [`image::NewConfig`] (`jiff`) and flags (`bitflags`).
#![deny(missing_docs, unsafe_code)]

pub mod digest;
pub mod error;
pub mod event;
pub mod hint;
mod media_type;
pub mod progress;
// Not part of the stable interface: for the command and the Python package.
#[doc(hidden)]
pub mod threads;

pub mod archive;
pub mod build;
// What of it is stable is the header. It is public in Rust for the benches alone.
#[cfg(feature = "capi")]
#[doc(hidden)]
#[allow(unsafe_code)]
pub mod capi;
pub mod compress;
#[cfg(feature = "sandbox")]
pub mod container;
pub mod diff;
#[doc(hidden)]
pub mod dockerfile;
#[allow(unsafe_code, clippy::disallowed_methods)] // What these keep out of all other modules is at home here.
pub mod fs;
pub mod image;
pub mod info;
pub mod layer;
#[cfg(feature = "registry")]
pub mod registry;
#[cfg(feature = "sandbox")]
#[allow(unsafe_code)]
pub mod sandbox;
pub mod store;
pub mod tree;

pub use digest::Digest;
pub use error::{Error, ErrorKind, Location, Result};
pub use event::{Event, Events};
pub use hint::{Hint, Surface};
pub use progress::{Cancel, Control, Counters};

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
