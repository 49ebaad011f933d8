//! Structures that travel with their size: results that are copied out, and options that are read.

use std::marker::PhantomData;
use std::mem::{MaybeUninit, size_of};

use super::arguments::bad;
use crate::error::{Error, ErrorKind, Result};

/// Marks structures of the header that are copied out byte by byte.
pub(super) trait Plain: Copy {}

/// The place of plain structures: an array of `max` elements of `size` bytes each, as the caller's header has them.
pub(super) struct Items<'a, T> {
    data: *mut T,
    size: usize,
    max: usize,
    life: PhantomData<&'a mut [T]>,
}

impl<'a, T: Plain> Items<'a, T> {
    /// # Safety
    /// `data` is NULL or points to `max` times `size` bytes that nothing else uses during `'a`.
    pub unsafe fn new(data: *mut T, size: usize, max: usize) -> Items<'a, T> {
        Items { data, size, max, life: PhantomData }
    }

    /// Returns how many elements there is room for.
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

    /// Writes element `index`: a caller with an older header gets the part that it has, one with a newer one zeros behind.
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

/// A plain structure, with its size.
pub(super) struct Record<'a, T>(Items<'a, T>);

impl<'a, T: Plain> Record<'a, T> {
    /// # Safety
    /// `data` is NULL or points to `size` bytes that nothing else uses during `'a`.
    pub unsafe fn new(data: *mut T, size: usize) -> Record<'a, T> {
        // SAFETY: the same contract.
        Record(unsafe { Items::new(data, size, 1) })
    }

    /// Returns the place, or nothing when it is NULL; a size that cannot be is an error.
    pub fn optional(self, argument: &str) -> Result<Option<Record<'a, T>>> {
        if self.0.data.is_null() {
            return Ok(None);
        }
        self.0.check(argument)?;
        Ok(Some(self))
    }

    /// Returns the place, which must be there.
    pub fn required(self, argument: &str) -> Result<Record<'a, T>> {
        self.optional(argument)?.ok_or_else(|| bad(format!("{argument} is NULL")))
    }

    /// Writes the structure.
    pub fn write(&self, value: &T) {
        self.0.write(0, value);
    }
}

/// Marks structures of options, which a caller fills and the library reads.
///
/// # Safety
/// The structure is `repr(C)`, and zero bytes are a value of each of its members: what is not set.
pub(super) unsafe trait Options: Copy {
    /// The library's own options that it stands for.
    type Value;

    /// Returns the library's own options. What is zero stands for the default.
    ///
    /// # Safety
    /// The pointers in it are what the header says of them, for as long as the call.
    unsafe fn read(&self) -> Result<Self::Value>;
}

/// A structure of options handed in, with its size.
///
/// Any version of the structure is read, as openat2(2) does it: a shorter one is taken for one with zeros behind, and of a longer
/// one the part that the library does not have must be zero.
pub(super) struct Given<'a, T> {
    data: *const T,
    size: usize,
    life: PhantomData<&'a T>,
}

/// More than any structure of options will ever have: a size beyond it is no sizeof.
const MAX_OPTIONS: usize = 4096;

impl<'a, T: Options> Given<'a, T> {
    /// # Safety
    /// `data` is NULL or points to `size` bytes that do not change during `'a`: a `T` of the caller's header, and its
    /// pointers are what the header says of them.
    pub unsafe fn new(data: *const T, size: usize) -> Given<'a, T> {
        Given { data, size, life: PhantomData }
    }

    /// Returns the options; NULL stands for the defaults.
    pub fn read(self) -> Result<T::Value> {
        let options = self.copied()?;
        // SAFETY: the contract of `new`; zeros are NULL.
        unsafe { options.read() }
    }

    /// Returns the structure as this version has it.
    fn copied(&self) -> Result<T> {
        let mut copy = MaybeUninit::<T>::zeroed();
        if !self.data.is_null() {
            if self.size < align_of::<T>() || self.size > MAX_OPTIONS || !self.data.is_aligned() {
                return Err(bad(format!("the size of options is {}: pass sizeof", self.size)));
            }
            let known = self.size.min(size_of::<T>());
            let from = self.data.cast::<u8>();
            // SAFETY: the contract of `new`; both have `known` bytes, and a local variable overlaps with nothing.
            unsafe { copy.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(from, known) };
            // SAFETY: the contract of `new`, for the bytes behind.
            let behind = unsafe { std::slice::from_raw_parts(from.add(known), self.size - known) };
            if behind.iter().any(|&byte| byte != 0) {
                let message = "options have a member set that this version of the library does not have";
                return Err(Error::new(ErrorKind::Unsupported, "check arguments", message));
            }
        }
        // SAFETY: the contract of `Options`: zeros are a value, and so is what the caller's members are.
        Ok(unsafe { copy.assume_init() })
    }
}

/// Sets a cap, unless it is 0: that stands for the default.
pub(super) fn cap<T: Default + PartialEq>(max: T, set: impl FnOnce(T)) {
    if max != T::default() {
        set(max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Pair(u64, u64);
    impl Plain for Pair {}

    // SAFETY: two numbers.
    unsafe impl Options for Pair {
        type Value = (u64, u64);

        unsafe fn read(&self) -> Result<(u64, u64)> {
            Ok((self.0, self.1))
        }
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
    fn options_of_other_sizes_are_filled_up_or_must_be_zero_behind() {
        let given = |place: &[u64], size: usize| {
            // SAFETY: no size below that is taken is longer than the place.
            unsafe { Given::new(place.as_ptr().cast::<Pair>(), size) }.read()
        };
        assert_eq!(given(&[1, 2], 16).unwrap(), (1, 2));
        assert_eq!(given(&[1], 8).unwrap(), (1, 0), "of an older header");
        assert_eq!(given(&[1, 2, 0, 0], 32).unwrap(), (1, 2), "of a newer header, nothing new set");
        assert_eq!(given(&[1, 2, 0, 1 << 63], 32).unwrap_err().kind(), ErrorKind::Unsupported);
        for size in [0, 7, MAX_OPTIONS + 8, usize::MAX] {
            assert_eq!(given(&[1, 2], size).unwrap_err().kind(), ErrorKind::InvalidArgument, "{size}");
        }
        // SAFETY: NULL is allowed, and an address that is not aligned is only looked at.
        unsafe {
            assert_eq!(Given::<Pair>::new(std::ptr::null(), 99).read().unwrap(), (0, 0));
            let place = [1u64, 2, 3];
            let odd = place.as_ptr().cast::<u8>().add(1).cast::<Pair>();
            assert!(Given::new(odd, 16).read().is_err());
        }
    }
}
