//! Arguments and results behind pointers: bytes, text, numbers, lists, and the places of results.
//!
//! Each wrapper is made by an `unsafe fn new` under the contract of the header: a pointer is NULL or points to as much as
//! the header says, for as long as the call. From there on everything is checked and safe.

use std::ffi::{CStr, OsStr, c_char};
use std::marker::PhantomData;
use std::mem::{MaybeUninit, size_of};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::status::{treering_pair, treering_slice};
use crate::dockerfile::Ignore;
use crate::error::{Error, Result};
use crate::image::excludes;
use crate::tree::{OwnerSource, OwnersWanted};

/// Returns an error about an argument.
pub(super) fn bad(message: impl Into<String>) -> Error {
    Error::invalid("check arguments", message)
}

/// Bytes handed in: a path, a name.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a> {
    data: *const u8,
    len: usize,
    life: PhantomData<&'a [u8]>,
}

impl<'a> Bytes<'a> {
    /// # Safety
    /// `data` is NULL or points to `len` bytes that do not change during `'a`.
    pub unsafe fn new(data: *const u8, len: usize) -> Bytes<'a> {
        Bytes { data, len, life: PhantomData }
    }

    /// Returns the bytes. NULL is fine only where the length is 0.
    pub fn bytes(self, argument: &str) -> Result<&'a [u8]> {
        if self.len == 0 {
            return Ok(&[]);
        }
        if self.data.is_null() {
            return Err(bad(format!("{argument} is NULL")));
        }
        if self.len > isize::MAX as usize {
            return Err(bad(format!("{argument} is longer than memory")));
        }
        // SAFETY: not NULL, and the contract of `new`.
        Ok(unsafe { std::slice::from_raw_parts(self.data, self.len) })
    }

    /// Returns a path of the host: not empty, no NUL byte in it.
    pub fn path(self, argument: &str) -> Result<&'a Path> {
        let bytes = self.bytes(argument)?;
        if bytes.is_empty() {
            return Err(bad(format!("{argument} is empty")));
        }
        if bytes.contains(&0) {
            return Err(bad(format!("{argument} has a NUL byte in it")).with_path(bytes));
        }
        Ok(Path::new(OsStr::from_bytes(bytes)))
    }

    /// Returns the same, or NULL for none.
    pub fn optional_path(self, argument: &str) -> Result<Option<&'a Path>> {
        if self.data.is_null() && self.len == 0 { Ok(None) } else { self.path(argument).map(Some) }
    }
}

/// Returns a list of paths handed in.
///
/// # Safety
/// The contract of [`List::new`] for the list, and that of [`Bytes::new`] for each element.
pub(super) unsafe fn paths(list: *const treering_slice, len: usize, argument: &str) -> Result<Vec<PathBuf>> {
    // SAFETY: the caller's contract is the one of `List::new`.
    let slices = unsafe { List::new(list, len) }.items(argument)?;
    slices
        .iter()
        .map(|slice| {
            // SAFETY: the header asks of each element what `Bytes::new` asks.
            let bytes = unsafe { Bytes::new(slice.data, slice.len) };
            Ok(bytes.path(argument)?.to_path_buf())
        })
        .collect()
}

/// Returns a list of texts handed in.
///
/// # Safety
/// The contract of [`List::new`] for the list, and that of [`Text::new`] for each element.
pub(super) unsafe fn texts(list: *const *const c_char, len: usize, argument: &str) -> Result<Vec<String>> {
    // SAFETY: the caller's contract is the one of `List::new`.
    let pointers = unsafe { List::new(list, len) }.items(argument)?;
    pointers
        .iter()
        .map(|&pointer| {
            // SAFETY: the header asks of each element what `Text::new` asks.
            let text = unsafe { Text::new(pointer) };
            Ok(text.required(argument)?.to_string())
        })
        .collect()
}

/// Returns a list of keys and values handed in.
///
/// # Safety
/// The contract of [`List::new`] for the list, and that of [`Text::new`] for the two of each element.
pub(super) unsafe fn pairs(
    list: *const treering_pair,
    len: usize,
    argument: &str,
) -> Result<Vec<(String, String)>> {
    // SAFETY: the caller's contract is the one of `List::new`.
    let pairs = unsafe { List::new(list, len) }.items(argument)?;
    pairs
        .iter()
        .map(|pair| {
            // SAFETY: the header asks of each element what `Text::new` asks.
            let (key, value) = unsafe { (Text::new(pair.key), Text::new(pair.value)) };
            Ok((key.required(argument)?.into(), value.required(argument)?.into()))
        })
        .collect()
}

/// An array handed in.
pub(super) struct List<'a, T> {
    data: *const T,
    len: usize,
    life: PhantomData<&'a [T]>,
}

impl<'a, T> List<'a, T> {
    /// # Safety
    /// `data` is NULL or points to `len` elements that do not change during `'a`.
    pub unsafe fn new(data: *const T, len: usize) -> List<'a, T> {
        List { data, len, life: PhantomData }
    }

    /// Returns the elements. NULL is fine only where there are none.
    pub fn items(self, argument: &str) -> Result<&'a [T]> {
        if self.len == 0 {
            return Ok(&[]);
        }
        if self.data.is_null() || !self.data.is_aligned() {
            return Err(bad(format!("{argument} is NULL or not aligned")));
        }
        if self.len > isize::MAX as usize / size_of::<T>().max(1) {
            return Err(bad(format!("{argument} is longer than memory")));
        }
        // SAFETY: not NULL, aligned, and the contract of `new`.
        Ok(unsafe { std::slice::from_raw_parts(self.data, self.len) })
    }
}

/// Text handed in: NUL-terminated, UTF-8.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    data: *const c_char,
    life: PhantomData<&'a CStr>,
}

impl<'a> Text<'a> {
    /// # Safety
    /// `data` is NULL or points to bytes that end with a NUL and do not change during `'a`.
    pub unsafe fn new(data: *const c_char) -> Text<'a> {
        Text { data, life: PhantomData }
    }

    /// Returns the text; NULL stands for none.
    pub fn optional(self, argument: &str) -> Result<Option<&'a str>> {
        if self.data.is_null() {
            return Ok(None);
        }
        // SAFETY: not NULL, and the contract of `new`.
        let text = unsafe { CStr::from_ptr(self.data) };
        match text.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(error) => {
                let message = format!("{argument} is not UTF-8 (byte {})", error.valid_up_to());
                Err(bad(message).with_path(text.to_bytes()).with_source(error))
            }
        }
    }

    /// Returns the text, which must be there.
    pub fn required(self, argument: &str) -> Result<&'a str> {
        self.optional(argument)?.ok_or_else(|| bad(format!("{argument} is NULL")))
    }

    /// Returns a copy of the text; NULL stands for none.
    pub fn owned(self, argument: &str) -> Result<Option<String>> {
        Ok(self.optional(argument)?.map(String::from))
    }

    /// Returns the text parsed; NULL stands for none.
    pub fn parse<T: FromStr<Err = Error>>(self, argument: &str) -> Result<Option<T>> {
        self.optional(argument)?.map(str::parse).transpose()
    }
}

/// Room for bytes.
pub(super) struct Buffer<'a> {
    data: *mut u8,
    len: usize,
    life: PhantomData<&'a mut [u8]>,
}

impl<'a> Buffer<'a> {
    /// # Safety
    /// `data` is NULL or points to `len` bytes that nothing else uses during `'a`.
    pub unsafe fn new(data: *mut u8, len: usize) -> Buffer<'a> {
        Buffer { data, len, life: PhantomData }
    }

    /// Returns the room, filled with zeros. NULL is fine only where the length is 0.
    pub fn bytes(self, argument: &str) -> Result<&'a mut [u8]> {
        if self.len == 0 {
            return Ok(&mut []);
        }
        if self.data.is_null() {
            return Err(bad(format!("{argument} is NULL")));
        }
        if self.len > isize::MAX as usize {
            return Err(bad(format!("{argument} is longer than memory")));
        }
        // SAFETY: not NULL, and the contract of `new`. C need not have written anything there before.
        unsafe {
            self.data.write_bytes(0, self.len);
            Ok(std::slice::from_raw_parts_mut(self.data, self.len))
        }
    }
}

/// The place of a result of a fixed type.
#[derive(Clone, Copy)]
pub(super) struct Out<'a, T> {
    place: *mut T,
    life: PhantomData<&'a mut T>,
}

impl<'a, T> Out<'a, T> {
    /// # Safety
    /// `place` is NULL or nothing else uses what it points to during `'a`.
    pub unsafe fn new(place: *mut T) -> Out<'a, T> {
        Out { place, life: PhantomData }
    }

    /// Returns the place; NULL when the value is not wanted.
    pub fn place(self) -> Option<&'a mut MaybeUninit<T>> {
        if self.place.is_null() || !self.place.is_aligned() {
            return None;
        }
        // SAFETY: not NULL, aligned, the contract of `new`; and nothing is read from it.
        Some(unsafe { &mut *self.place.cast::<MaybeUninit<T>>() })
    }

    /// Returns the place, which must be there.
    pub fn required(self, argument: &str) -> Result<&'a mut MaybeUninit<T>> {
        self.place().ok_or_else(|| bad(format!("{argument} is NULL or not aligned")))
    }
}

/// Reads `owner` and `owner_from` of options: a policy, and a record of owners such as `fakeroot:FILE`; `None` where empty.
///
/// # Safety
/// The contracts of [`Text::new`] for the text and of [`Bytes::new`] for the slice.
pub(super) unsafe fn owners(owner: *const c_char, owner_from: treering_slice) -> Result<OwnersWanted> {
    // SAFETY: the caller's contract.
    let (owner, from) = unsafe { (Text::new(owner), Bytes::new(owner_from.data, owner_from.len)) };
    let source = from.optional_path("owner_from")?.map(OwnerSource::parse).transpose()?;
    Ok(OwnersWanted { policy: owner.parse("owner")?, source })
}

/// Patterns of what is left out, and the file of more.
///
/// # Safety
/// The contract of [`texts`] for the patterns, and that of [`Bytes::new`] for the slice.
pub(super) unsafe fn exclude(
    patterns: *const *const c_char,
    len: usize,
    file: treering_slice,
) -> Result<Ignore> {
    // SAFETY: the caller's contract.
    let (patterns, file) = unsafe { (texts(patterns, len, "exclude")?, Bytes::new(file.data, file.len)) };
    excludes(file.optional_path("ignore_file")?, &patterns)
}

/// Returns a number that a pointer leads to, because 0 is a number like any other; NULL stands for none.
///
/// # Safety
/// `pointer` is NULL or points to a value that does not change during the call.
pub(super) unsafe fn number<T: Copy>(pointer: *const T, argument: &str) -> Result<Option<T>> {
    if pointer.is_null() {
        return Ok(None);
    }
    if !pointer.is_aligned() {
        return Err(bad(format!("{argument} is not aligned")));
    }
    // SAFETY: not NULL, aligned, and the contract of this function.
    Ok(Some(unsafe { *pointer }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_must_be_utf8_and_paths_may_be_anything_but_nul() {
        // SAFETY: a C string and slices of this function.
        unsafe {
            assert!(Text::new(c"caf\xe9".as_ptr()).required("x").is_err());
            assert_eq!(Text::new(c"caf\xc3\xa9".as_ptr()).required("x").unwrap(), "café");
            assert!(Text::new(std::ptr::null()).required("x").is_err());
            let bytes = b"a\xffb";
            assert_eq!(Bytes::new(bytes.as_ptr(), 3).path("x").unwrap().as_os_str().as_bytes(), bytes);
            assert!(Bytes::new(b"a\0b".as_ptr(), 3).path("x").is_err());
            assert!(Bytes::new(std::ptr::null(), 3).path("x").is_err());
            assert!(Bytes::new(std::ptr::null(), 0).path("x").is_err());
        }
    }
}
