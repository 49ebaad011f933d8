//! Reports of what could not be kept or was left out.

use std::ffi::{CString, c_char};
use std::sync::Arc;

use super::arguments::Out;
use super::error::{c_string, treering_error};
use super::guard::guard;
use super::handle::{self, noun};
use super::status::treering_status;
use super::structures::{Items, Plain};
use crate::error::Result;
use crate::layer::Loss;
use crate::tree::Skipped;

/// A report of what an operation could not keep or left out: a list of notes. Owned by the caller, freed with treering_report_free().
/// Never changes, so any number of threads may read it at once.
pub struct treering_report {
    _opaque: (),
}
noun!(treering_report, Report);

/// The subject of a note.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum treering_note_kind {
    /// An attribute could be kept neither on disk nor in the ledger.
    TREERING_NOTE_LOSS = 1,
    /// An entry of the tree cannot be part of a layer and was left out.
    TREERING_NOTE_SKIPPED = 2,
}

/// A note of a report. The pointers live as long as the report.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_note {
    /// The kind of the note.
    pub kind: treering_note_kind,
    /// A path below the root of the tree.
    pub path: *const u8,
    /// The bytes in `path`.
    pub path_len: usize,
    /// The attribute that was lost: the name of an extended attribute, or `mtime`. NULL for what was skipped.
    pub attribute: *const u8,
    /// The bytes in `attribute`.
    pub attribute_len: usize,
    /// Why, in plain words, NUL-terminated.
    pub reason: *const c_char,
}
impl Plain for treering_note {}

/// The notes of one operation.
#[derive(Default)]
pub struct Report(Vec<Note>);

struct Note {
    kind: treering_note_kind,
    path: Arc<[u8]>,
    attribute: Option<Vec<u8>>,
    reason: CString,
}

impl Report {
    /// Returns a report of what was skipped.
    pub(super) fn skipped(list: Vec<Skipped>) -> Report {
        let note = |one: Skipped| Note {
            kind: treering_note_kind::TREERING_NOTE_SKIPPED,
            path: one.path.into(),
            attribute: None,
            reason: c_string(one.reason),
        };
        Report(list.into_iter().map(note).collect())
    }

    /// Returns a report of what was lost.
    pub(super) fn losses(list: Vec<Loss>) -> Report {
        let note = |one: Loss| Note {
            kind: treering_note_kind::TREERING_NOTE_LOSS,
            path: one.path,
            attribute: Some(one.attribute),
            reason: c_string(one.reason),
        };
        Report(list.into_iter().map(note).collect())
    }

    /// This report, and behind it another one.
    pub(super) fn and(mut self, mut other: Report) -> Report {
        self.0.append(&mut other.0);
        self
    }

    /// Returns how many notes there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Gives the caller a report, where one is wanted.
pub(super) fn hand_over(out: Out<'_, *mut treering_report>, report: Report) {
    if let Some(place) = out.place() {
        place.write(handle::make(report));
    }
}

/// Frees a report. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_report_free(report: *mut treering_report) -> treering_status {
    handle::free(report)
}

/// Returns how many notes there are; 0 when `report` is no report.
#[unsafe(no_mangle)]
pub extern "C" fn treering_report_len(report: *const treering_report) -> usize {
    handle::get(report, "report").map_or(0, |report| report.0.len())
}

/// Copies notes out.
///
/// @param first the number of the first note wanted, from 0.
/// @param out room for `max` notes.
/// @param note_size sizeof(treering_note).
/// @param n receives how many were written; 0 behind the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_report_get(
    report: *const treering_report,
    first: usize,
    out: *mut treering_note,
    note_size: usize,
    max: usize,
    n: *mut usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, n, err) = unsafe { (Items::new(out, note_size, max), Out::new(n), Out::new(err)) };
    guard(err, || {
        let report = handle::get(report, "report")?;
        copy_list(&report.0, first, out, n, |note| treering_note {
            kind: note.kind,
            path: note.path.as_ptr(),
            path_len: note.path.len(),
            attribute: note.attribute.as_ref().map_or(std::ptr::null(), |name| name.as_ptr()),
            attribute_len: note.attribute.as_ref().map_or(0, Vec::len),
            reason: note.reason.as_ptr(),
        })
    })
}

/// Copies a part of a list into an array of the caller.
pub(super) fn copy_list<T, P: Plain>(
    list: &[T],
    first: usize,
    out: Items<'_, P>,
    n: Out<'_, usize>,
    plain: impl Fn(&T) -> P,
) -> Result<()> {
    out.check("out")?;
    let n = n.required("n")?;
    let part = list.get(first..).unwrap_or_default();
    let part = &part[..part.len().min(out.room())];
    for (index, one) in part.iter().enumerate() {
        out.write(index, &plain(one));
    }
    n.write(part.len());
    Ok(())
}
