//! What comes in and goes out through pointers, and the guard that every entry point runs in.
//!
//! Each wrapper is made by an `unsafe fn new` whose contract is the header's: a pointer is NULL or points to as much as the
//! header says, for as long as the call. From there on everything is checked and safe.

use std::any::Any;
use std::ffi::{CStr, OsStr, c_char};
use std::marker::PhantomData;
use std::mem::{MaybeUninit, size_of};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::treering_error;
use super::handle::{self, Noun};
use super::status::{treering_slice, treering_status};
use crate::error::{Error, ErrorKind, Result};

/// An error about an argument.
pub(super) fn bad(message: impl Into<String>) -> Error {
    Error::invalid("check arguments", message)
}

/// The guard: runs the body of an entry point, turns an error into an object and a panic into an error.
pub(super) fn guard(err: Out<'_, *mut treering_error>, body: impl FnOnce() -> Result<()>) -> treering_status {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panicked(&*panic)));
    let Err(error) = outcome else { return treering_status::TREERING_OK };
    let status = treering_status::from(error.kind());
    // Whatever happens in here must not unwind into C either.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if let Some(place) = err.place() {
            place.write(super::error::object(&error));
        }
    }));
    status
}

/// [`guard`] for a call that makes one handle.
pub(super) fn give<N: Noun>(
    err: Out<'_, *mut treering_error>,
    out: Out<'_, *mut N>,
    body: impl FnOnce() -> Result<N::Value>,
) -> treering_status {
    guard(err, || {
        let place = out.required("out")?;
        place.write(handle::make::<N>(body()?));
        Ok(())
    })
}

/// [`guard`] for a setter of an options object.
pub(super) fn set<N, T>(
    err: Out<'_, *mut treering_error>,
    options: *mut N,
    change: impl FnOnce(&mut T) -> Result<()>,
) -> treering_status
where
    N: Noun<Value = Mutex<T>>,
    T: Send + 'static,
{
    guard(err, || change(&mut lock(&*handle::get(options, "options")?)))
}

/// The options behind a handle, or the defaults for NULL.
pub(super) fn chosen<N, T>(handle: *const N) -> Result<T>
where
    N: Noun<Value = Mutex<T>>,
    T: Default + Clone + Send + 'static,
{
    Ok(match handle::maybe(handle, "options")? {
        Some(options) => lock(&options).clone(),
        None => T::default(),
    })
}

/// Locks; a thread that panicked meanwhile leaves nothing half done in what is locked here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = crate::error::panic_text(panic);
    Error::new(ErrorKind::Internal, "call treering", format!("a defect in treering: {text}"))
        .with_hint("please report it, with what you called and this message")
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
    /// `data` is NULL or points to `len` bytes that nobody changes during `'a`.
    pub unsafe fn new(data: *const u8, len: usize) -> Bytes<'a> {
        Bytes { data, len, life: PhantomData }
    }

    /// The bytes. NULL is fine only where the length is 0.
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

    /// A path of the host: not empty, no NUL byte in it.
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

    /// The same, or NULL for none.
    pub fn optional_path(self, argument: &str) -> Result<Option<&'a Path>> {
        if self.data.is_null() && self.len == 0 { Ok(None) } else { self.path(argument).map(Some) }
    }
}

/// A list of paths handed in.
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

/// A list of texts handed in.
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

/// An array handed in.
struct List<'a, T> {
    data: *const T,
    len: usize,
    life: PhantomData<&'a [T]>,
}

impl<'a, T> List<'a, T> {
    /// # Safety
    /// `data` is NULL or points to `len` elements that nobody changes during `'a`.
    unsafe fn new(data: *const T, len: usize) -> List<'a, T> {
        List { data, len, life: PhantomData }
    }

    fn items(self, argument: &str) -> Result<&'a [T]> {
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
    /// `data` is NULL or points to bytes that end with a NUL and that nobody changes during `'a`.
    pub unsafe fn new(data: *const c_char) -> Text<'a> {
        Text { data, life: PhantomData }
    }

    /// The text; NULL stands for none.
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

    /// The text, which must be there.
    pub fn required(self, argument: &str) -> Result<&'a str> {
        self.optional(argument)?.ok_or_else(|| bad(format!("{argument} is NULL")))
    }

    /// The text parsed, which must be there.
    pub fn parse<T: std::str::FromStr<Err = Error>>(self, argument: &str) -> Result<T> {
        self.required(argument)?.parse()
    }
}

/// Where one value of a fixed type goes.
#[derive(Clone, Copy)]
pub(super) struct Out<'a, T> {
    place: *mut T,
    life: PhantomData<&'a mut T>,
}

impl<'a, T> Out<'a, T> {
    /// # Safety
    /// `place` is NULL or nobody else uses what it points to during `'a`.
    pub unsafe fn new(place: *mut T) -> Out<'a, T> {
        Out { place, life: PhantomData }
    }

    /// The place; NULL when the value is not wanted.
    pub fn place(self) -> Option<&'a mut MaybeUninit<T>> {
        if self.place.is_null() || !self.place.is_aligned() {
            return None;
        }
        // SAFETY: not NULL, aligned, the contract of `new`; and nothing is read from it.
        Some(unsafe { &mut *self.place.cast::<MaybeUninit<T>>() })
    }

    /// The place, which must be there.
    pub fn required(self, argument: &str) -> Result<&'a mut MaybeUninit<T>> {
        self.place().ok_or_else(|| bad(format!("{argument} is NULL or not aligned")))
    }
}

/// Marks structures of the header that are copied out byte by byte.
pub(super) trait Plain: Copy {}

/// Where plain structures go: an array of `max` elements of `size` bytes each, as the caller's header has them.
pub(super) struct Items<'a, T> {
    data: *mut T,
    size: usize,
    max: usize,
    life: PhantomData<&'a mut [T]>,
}

impl<'a, T: Plain> Items<'a, T> {
    /// # Safety
    /// `data` is NULL or points to `max` times `size` bytes that nobody else uses during `'a`.
    pub unsafe fn new(data: *mut T, size: usize, max: usize) -> Items<'a, T> {
        Items { data, size, max, life: PhantomData }
    }

    /// How many elements there is room for.
    pub fn room(&self) -> usize {
        self.max
    }

    /// Refuses what nothing can be written to.
    pub fn check(&self, argument: &str) -> Result<()> {
        if self.max > 0 && self.data.is_null() {
            return Err(bad(format!("{argument} is NULL")));
        }
        if self.size < align_of::<T>() || !self.size.is_multiple_of(align_of::<T>()) {
            return Err(bad(format!("the size of {argument} is {}: pass sizeof", self.size)));
        }
        if !self.data.is_aligned()
            || self.max.checked_mul(self.size).is_none_or(|all| all > isize::MAX as usize)
        {
            return Err(bad(format!("{argument} is not aligned or longer than memory")));
        }
        Ok(())
    }

    /// Writes element `index`: a caller with an older header gets the part it knows, one with a newer one zeros behind.
    pub fn write(&self, index: usize, value: &T) {
        assert!(index < self.max);
        let known = self.size.min(size_of::<T>());
        // SAFETY: the contract of `new`; `check` refused NULL; `index` is below `max`; padding is copied, never read.
        unsafe {
            let to = self.data.cast::<MaybeUninit<u8>>().add(index * self.size);
            to.copy_from_nonoverlapping((&raw const *value).cast(), known);
            to.add(known).write_bytes(0, self.size - known);
        }
    }
}

/// One plain structure, with its size.
pub(super) struct Record<'a, T>(Items<'a, T>);

impl<'a, T: Plain> Record<'a, T> {
    /// # Safety
    /// `data` is NULL or points to `size` bytes that nobody else uses during `'a`.
    pub unsafe fn new(data: *mut T, size: usize) -> Record<'a, T> {
        // SAFETY: the same contract.
        Record(unsafe { Items::new(data, size, 1) })
    }

    /// The place, or nothing when it is NULL; a size that cannot be is an error.
    pub fn optional(self, argument: &str) -> Result<Option<Record<'a, T>>> {
        if self.0.data.is_null() {
            return Ok(None);
        }
        self.0.check(argument)?;
        Ok(Some(self))
    }

    /// The place, which must be there.
    pub fn required(self, argument: &str) -> Result<Record<'a, T>> {
        self.optional(argument)?.ok_or_else(|| bad(format!("{argument} is NULL")))
    }

    /// Writes the structure.
    pub fn write(&self, value: &T) {
        self.0.write(0, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Pair(u64, u64);
    impl Plain for Pair {}

    fn no_error() -> Out<'static, *mut treering_error> {
        // SAFETY: NULL is allowed.
        unsafe { Out::new(std::ptr::null_mut()) }
    }

    #[test]
    fn a_panic_is_a_status_and_an_error() {
        let mut err = std::ptr::null_mut();
        // SAFETY: a local variable.
        let out = unsafe { Out::new(&raw mut err) };
        assert_eq!(guard(out, || panic!("oh {}", "no")), treering_status::TREERING_INTERNAL);
        assert!(handle::get(err, "err").unwrap().text().contains("oh no"));
        handle::free(err);
        assert_eq!(guard(no_error(), || panic!("again")), treering_status::TREERING_INTERNAL);
        assert_eq!(guard(no_error(), || std::panic::panic_any(7)), treering_status::TREERING_INTERNAL);
    }

    #[test]
    fn structures_of_other_sizes_are_cut_or_filled_up() {
        let mut place = [9u64; 6];
        // SAFETY: 48 bytes, as one structure of 24 and one of 8 need at most.
        let long = unsafe { Items::new(place.as_mut_ptr().cast::<Pair>(), 24, 2) };
        long.check("out").unwrap();
        long.write(1, &Pair(1, 2));
        assert_eq!(place, [9, 9, 9, 1, 2, 0]);
        // SAFETY: the same memory.
        let short = unsafe { Items::new(place.as_mut_ptr().cast::<Pair>(), 8, 1) };
        short.check("out").unwrap();
        short.write(0, &Pair(3, 4));
        assert_eq!(place[..2], [3, 9]);
        for size in [0, 4, 12] {
            // SAFETY: only checked.
            assert!(unsafe { Items::new(place.as_mut_ptr().cast::<Pair>(), size, 1) }.check("out").is_err());
        }
    }

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
