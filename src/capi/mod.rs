//! The C ABI: `include/treering.h` is generated from the files of this module, one per section of the header.
//!
//! Every entry point that takes an `err` has the same shape. It turns its pointers into the checked wrappers of `arguments` and
//! `structures`, in one unsafe block, and runs its body in the guard (`guard`), which turns errors and panics into a status and
//! an error object. Options are structures that travel with their size; each is read in one place. An accessor looks one handle
//! up and gives a part of what is behind it, and a `_free` catches the panic of what it drops: there is nothing else in them that
//! could panic, and if it did, `extern "C"` ends the process rather than unwind into C. Handles are looked up in a table, never
//! followed (`handle`). So misuse is reported as an error; only pointers to memory that is not there cannot be detected.
// These names are C's, and so are the shapes of the functions.
#![allow(non_camel_case_types, clippy::too_many_arguments)]
// The contract for pointers is the same everywhere and stands once, at the top of the header.
#![allow(clippy::missing_safety_doc)]

mod arguments;
mod guard;
mod handle;
mod structures;

pub mod apply_options;
pub mod archive;
pub mod build;
pub mod build_options;
pub mod bytes;
pub mod checkout;
pub mod checkout_options;
pub mod clone;
pub mod clone_options;
pub mod commit;
pub mod commit_options;
pub mod container;
pub mod container_copy;
pub mod container_options;
pub mod control;
pub mod diff;
pub mod diff_options;
pub mod edit;
pub mod edit_options;
pub mod error;
pub mod event;
pub mod export_options;
pub mod files;
pub mod git;
pub mod hooks;
pub mod image;
pub mod import_options;
pub mod layer;
pub mod layer_files;
pub mod layer_list;
pub mod layer_list_options;
pub mod layer_options;
pub mod load_options;
pub mod process;
pub mod prune_options;
pub mod pull_options;
pub mod push_options;
pub mod reader;
pub mod refs;
pub mod registries;
pub mod registries_options;
pub mod registry;
pub mod report;
pub mod run_options;
pub mod save_options;
pub mod scan;
pub mod scan_options;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod store_options;
pub mod stream;
pub mod unpack;
pub mod version;
pub mod walk;
