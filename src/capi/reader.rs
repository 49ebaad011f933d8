//! Streams that the library gives: read piece by piece, or copied to a descriptor.

use std::io::{self, Read, Write};
use std::sync::Mutex;

use super::arguments::{Buffer, Out};
use super::control::{control_of, treering_control};
use super::error::treering_error;
use super::guard::guard;
use super::handle::{self, noun};
use super::status::treering_status;
use super::stream::file;
use super::walk::alone;
use crate::error::{Error, Result};

/// Bytes that the library gives from their start to their end: a file of an image, a layer. Owned by the caller, freed with
/// treering_reader_free(). One thread at a time: a call while another thread is in one is TREERING_BUSY. It keeps what it needs
/// of the store and the image alive.
pub struct treering_reader {
    _opaque: (),
}
noun!(treering_reader, Mutex<Box<dyn Read + Send>>);

const READ: &str = "read";
/// How much is copied between two looks whether it was cancelled.
const PIECE: usize = 64 << 10;

/// Reads the next bytes. What they belong to was verified before, or is by the time of the end: an error is
/// TREERING_CORRUPT then, and what came is not to be used.
///
/// @param buffer room for `capacity` bytes.
/// @param capacity how many bytes are wanted at most.
/// @param n receives how many were written, which may be fewer; 0 at the end, and when `capacity` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_reader_read(
    reader: *mut treering_reader,
    buffer: *mut u8,
    capacity: usize,
    n: *mut usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (buffer, n, err) = unsafe { (Buffer::new(buffer, capacity), Out::new(n), Out::new(err)) };
    guard(err, || {
        let n = n.required("n")?;
        let buffer = buffer.bytes("buffer")?;
        let reader = handle::get(reader, "reader")?;
        let count = if buffer.is_empty() { 0 } else { read(&mut **alone(&reader)?, buffer)? };
        n.write(count);
        Ok(())
    })
}

/// Writes all that is left to a descriptor.
///
/// @param fd where to write, from its present position on; stays open and yours.
/// @param control may be NULL.
/// @param n receives how many bytes were written; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_reader_copy_fd(
    reader: *mut treering_reader,
    fd: i32,
    control: *const treering_control,
    n: *mut u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (n, err) = unsafe { (Out::new(n), Out::new(err)) };
    guard(err, || {
        let mut out = file(fd, "fd")?;
        let cancel = control_of(control)?.cancel;
        let reader = handle::get(reader, "reader")?;
        let mut reader = alone(&reader)?;
        let (mut piece, mut total) = (vec![0; PIECE], 0);
        loop {
            cancel.check(READ)?;
            let count = read(&mut **reader, &mut piece)?;
            if count == 0 {
                break;
            }
            out.write_all(&piece[..count]).map_err(|error| Error::io("write to descriptor", "", error))?;
            total += count as u64;
        }
        if let Some(place) = n.place() {
            place.write(total);
        }
        Ok(())
    })
}

/// Frees a reader. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_reader_free(reader: *mut treering_reader) -> treering_status {
    handle::free(reader)
}

/// Reads once, again after a signal.
pub(super) fn read(reader: &mut dyn Read, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(|error| Error::io(READ, "", error)),
        }
    }
}
