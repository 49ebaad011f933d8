//! Names of images.

use std::ffi::{CString, c_char};

use super::arguments::{Out, Text};
use super::error::{c_string, treering_error};
use super::guard::{give, guard};
use super::handle::{self, noun};
use super::report::copy_list;
use super::status::{treering_digest, treering_status};
use super::store::treering_store;
use super::structures::{Items, Plain, Record};
use crate::error::Result;
use crate::progress::Control;
use crate::store::{Descriptor, Reference, descriptor_digest};

/// The images of a store at one moment, in the order of its index, those without a name included. Owned by the caller, freed
/// with treering_refs_free(). Never changes, so any number of threads may read it at once.
pub struct treering_refs {
    _opaque: (),
}
noun!(treering_refs, Vec<Row>);

/// A name and the image it stands for. The pointers live as long as the list they came from.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_ref {
    /// The name, always with a tag; NULL for an image without a name.
    pub name: *const c_char,
    /// The media type of the manifest or index it stands for.
    pub media_type: *const c_char,
    /// The digest of that manifest or index.
    pub digest: treering_digest,
    /// The size of that document, in bytes.
    pub size: u64,
}
impl Plain for treering_ref {}

/// The image that a name stands for.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_resolved {
    /// The digest of the manifest or index.
    pub digest: treering_digest,
    /// The size of that document, in bytes.
    pub size: u64,
}
impl Plain for treering_resolved {}

/// A row of [`treering_refs`].
pub struct Row {
    name: Option<CString>,
    media_type: CString,
    digest: treering_digest,
    size: u64,
}

fn row(name: Option<&Reference>, descriptor: &Descriptor) -> Result<Row> {
    Ok(Row {
        name: name.map(|name| c_string(name.to_string())),
        media_type: c_string(descriptor.media_type().to_string()),
        digest: (&descriptor_digest(descriptor)?).into(),
        size: descriptor.size(),
    })
}

/// Lists the images of a store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_refs_list(
    store: *const treering_store,
    out: *mut *mut treering_refs,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || {
        let entries = handle::get(store, "store")?.entries()?;
        // Entries of other tools, with names that are no reference, are found by digest.
        entries.iter().map(|entry| row(entry.name.as_ref(), &entry.descriptor)).collect()
    })
}

/// Frees a list. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_refs_free(refs: *mut treering_refs) -> treering_status {
    handle::free(refs)
}

/// Returns how many entries a list has; 0 when `refs` is no list.
#[unsafe(no_mangle)]
pub extern "C" fn treering_refs_len(refs: *const treering_refs) -> usize {
    handle::get(refs, "refs").map_or(0, |refs| refs.len())
}

/// Copies entries out.
///
/// @param first the number of the first entry wanted, from 0.
/// @param out room for `max` entries.
/// @param ref_size sizeof(treering_ref).
/// @param n receives how many were written; 0 behind the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_refs_get(
    refs: *const treering_refs,
    first: usize,
    out: *mut treering_ref,
    ref_size: usize,
    max: usize,
    n: *mut usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, n, err) = unsafe { (Items::new(out, ref_size, max), Out::new(n), Out::new(err)) };
    guard(err, || {
        let refs = handle::get(refs, "refs")?;
        copy_list(&refs, first, out, n, |row| treering_ref {
            name: row.name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr()),
            media_type: row.media_type.as_ptr(),
            digest: row.digest,
            size: row.size,
        })
    })
}

/// Finds what a reference stands for: a name (`app`, `app:v1`, `docker.io/library/app:v1`), `NAME@DIGEST`, a digest, or at
/// least 4 hex digits of one. Errors: TREERING_NOT_FOUND; TREERING_INVALID_ARGUMENT when a prefix fits several images.
///
/// @param out_size sizeof(treering_resolved).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_refs_resolve(
    store: *const treering_store,
    reference: *const c_char,
    out: *mut treering_resolved,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (reference, out, err) = unsafe { (Text::new(reference), Record::new(out, out_size), Out::new(err)) };
    guard(err, || {
        let out = out.required("out")?;
        let found = handle::get(store, "store")?.resolve(reference.required("reference")?)?;
        let digest = (&descriptor_digest(&found.descriptor)?).into();
        out.write(&treering_resolved { digest, size: found.descriptor.size() });
        Ok(())
    })
}

/// Gives an image a name, moving the name when another image has it.
///
/// @param reference the image, as treering_refs_resolve() finds it.
/// @param name the new name; `:latest` is added where it has no tag.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_refs_tag(
    store: *const treering_store,
    reference: *const c_char,
    name: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (reference, name, err) = unsafe { (Text::new(reference), Text::new(name), Out::new(err)) };
    guard(err, || {
        let store = handle::get(store, "store")?;
        let name = Reference::parse(name.required("name")?)?;
        // An image that was found must not be pruned before it is named.
        let store = store.pin(&Control::default())?;
        let found = store.resolve(reference.required("reference")?)?;
        store.tag(&name, &found.descriptor)?;
        Ok(())
    })
}

/// Takes a name away; the image stays until the next prune. TREERING_NOT_FOUND when no image has the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_refs_untag(
    store: *const treering_store,
    name: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (name, err) = unsafe { (Text::new(name), Out::new(err)) };
    guard(err, || {
        let name = Reference::parse(name.required("name")?)?;
        handle::get(store, "store")?.untag(&name)?;
        Ok(())
    })
}

/// Takes all names of an image away, and its entry in the index; its blobs stay until the next prune.
///
/// @param reference the image, as treering_refs_resolve() finds it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_refs_remove(
    store: *const treering_store,
    reference: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (reference, err) = unsafe { (Text::new(reference), Out::new(err)) };
    guard(err, || {
        let store = handle::get(store, "store")?;
        let found = store.resolve(reference.required("reference")?)?;
        store.remove(&descriptor_digest(&found.descriptor)?)?;
        Ok(())
    })
}
