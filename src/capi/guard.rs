//! The guard that every entry point runs in: errors and panics become a status and an error object.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::arguments::Out;
use super::error::treering_error;
use super::handle::{self, Noun};
use super::status::treering_status;
use crate::error::{Error, Result};

/// Runs the body of an entry point, turns an error into an object and a panic into an error.
pub(super) fn guard(err: Out<'_, *mut treering_error>, body: impl FnOnce() -> Result<()>) -> treering_status {
    let outcome = catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|panic| Err(Error::defect("call treering", &*panic)));
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

/// Does what [`guard`] does, for a call that makes one handle.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
