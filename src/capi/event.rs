//! Events: what happens during an operation, beside the counters.

use std::ffi::{CString, c_char, c_void};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::arguments::Out;
use super::control::treering_control;
use super::error::{c_string, treering_error};
use super::guard::guard;
use super::handle::{self, noun};
use super::status::treering_status;
use super::stream::{Userdata, treering_finalizer};
use super::structures::{Plain, Record};
use crate::error::{Location, Result};
use crate::event::{Event, Events, OutputStream};
use crate::threads::lock;

/// An event of an operation. Made by treering_control_next_event(), owned by the caller, freed with treering_event_free().
/// Never changes, so any number of threads may read it at once.
pub struct treering_event {
    _opaque: (),
}
noun!(treering_event, Owned);

/// The kind of an event. A program should pass over kinds it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum treering_event_kind {
    /// A step began: `text`, and where there are such, `stage`, `place` of `places`, and where its instruction stands.
    TREERING_EVENT_STARTED = 1,
    /// The result of a step came out of the cache; TREERING_EVENT_FINISHED follows.
    TREERING_EVENT_CACHED = 2,
    /// The command of a step wrote `output` to `stream`.
    TREERING_EVENT_OUTPUT = 3,
    /// `bytes` of the output of a step were dropped: they were not read in time, or there were too many.
    TREERING_EVENT_OUTPUT_DROPPED = 4,
    /// A step ended well, after `milliseconds`, with a layer of `bytes`, or 0 for none.
    TREERING_EVENT_FINISHED = 5,
    /// A blob is on its way from or to a registry: `digest`, `bytes` so far, `bytes_total`.
    TREERING_EVENT_TRANSFER = 6,
    /// A warning: nothing failed. `text`, and where there is one, the name of the `rule`, and the place.
    TREERING_EVENT_WARNING = 7,
    /// A step failed: `text`. The operation fails as well.
    TREERING_EVENT_FAILED = 8,
}

/// An event in full. What its kind does not have is zero or NULL; the pointers live as long as the event.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_event_data {
    /// The kind of the event.
    pub kind: treering_event_kind,
    /// Number of the step, unique in its operation; 0 for a warning, which belongs to no step.
    pub step: u32,
    /// Place of the step in its stage, counted from 1.
    pub place: u32,
    /// Number of steps in the stage.
    pub places: u32,
    /// Stream that the output was written to: 1 for standard output, 2 for standard error.
    pub stream: u32,
    /// Line that the event is about, counted from 1; 0 for none.
    pub line: u32,
    /// Column in it, counted from 1 in bytes; 0 for the whole line.
    pub column: u32,
    /// Name of the file that the line is in, as it was given.
    pub file: *const u8,
    /// The bytes in `file`.
    pub file_len: usize,
    /// Text of the line, without its end.
    pub line_text: *const c_char,
    /// Name or number of the stage of a build.
    pub stage: *const c_char,
    /// The step's name, the warning, or the reason of the failure, in one line.
    pub text: *const c_char,
    /// Name of the check that warns.
    pub rule: *const c_char,
    /// Digest of the blob.
    pub digest: *const c_char,
    /// Output as it came, not cut at lines.
    pub output: *const u8,
    /// The bytes in `output`.
    pub output_len: usize,
    /// Bytes: see the kinds.
    pub bytes: u64,
    /// Bytes of the blob in all; 0 while unknown.
    pub bytes_total: u64,
    /// How long the step took.
    pub milliseconds: u64,
}
impl Plain for treering_event_data {}

/// An event with its texts as C strings.
pub struct Owned {
    kind: treering_event_kind,
    step: u32,
    place: (u32, u32),
    stream: u32,
    location: Option<Location>,
    line_text: Option<CString>,
    stage: Option<CString>,
    text: Option<CString>,
    rule: Option<CString>,
    digest: Option<CString>,
    output: Vec<u8>,
    bytes: (u64, u64),
    took: Duration,
}

impl Owned {
    fn new(kind: treering_event_kind, step: u32) -> Owned {
        Owned {
            kind,
            step,
            place: (0, 0),
            stream: 0,
            location: None,
            line_text: None,
            stage: None,
            text: None,
            rule: None,
            digest: None,
            output: Vec::new(),
            bytes: (0, 0),
            took: Duration::ZERO,
        }
    }

    fn at(self, location: Option<Location>) -> Owned {
        let line_text = location.as_ref().map(|location| c_string(&*location.text));
        Owned { location, line_text, ..self }
    }

    fn data(&self) -> treering_event_data {
        let text = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
        let file = self.location.as_ref().map(|location| &location.file[..]);
        treering_event_data {
            kind: self.kind,
            step: self.step,
            place: self.place.0,
            places: self.place.1,
            stream: self.stream,
            line: self.location.as_ref().map_or(0, |location| location.line),
            column: self.location.as_ref().map_or(0, |location| location.column),
            file: file.map_or(std::ptr::null(), <[u8]>::as_ptr),
            file_len: file.map_or(0, <[u8]>::len),
            line_text: text(&self.line_text),
            stage: text(&self.stage),
            text: text(&self.text),
            rule: text(&self.rule),
            digest: text(&self.digest),
            output: if self.output.is_empty() { std::ptr::null() } else { self.output.as_ptr() },
            output_len: self.output.len(),
            bytes: self.bytes.0,
            bytes_total: self.bytes.1,
            milliseconds: self.took.as_millis().try_into().unwrap_or(u64::MAX),
        }
    }
}

/// Returns a text, where there is one.
fn some(text: String) -> Option<CString> {
    (!text.is_empty()).then(|| c_string(text))
}

impl From<Event> for Owned {
    fn from(event: Event) -> Owned {
        use treering_event_kind::*;
        match event {
            Event::Started { step, stage, place, text, location } => Owned {
                stage: some(stage),
                place,
                text: some(text),
                ..Owned::new(TREERING_EVENT_STARTED, step)
            }
            .at(location),
            Event::Cached { step } => Owned::new(TREERING_EVENT_CACHED, step),
            Event::Output { step, stream, bytes } => Owned {
                stream: match stream {
                    OutputStream::Stdout => 1,
                    OutputStream::Stderr => 2,
                },
                output: bytes,
                ..Owned::new(TREERING_EVENT_OUTPUT, step)
            },
            Event::OutputDropped { step, bytes } => {
                Owned { bytes: (bytes, 0), ..Owned::new(TREERING_EVENT_OUTPUT_DROPPED, step) }
            }
            Event::Finished { step, took, size } => {
                Owned { took, bytes: (size, 0), ..Owned::new(TREERING_EVENT_FINISHED, step) }
            }
            Event::Transfer { step, digest, done, total } => Owned {
                digest: some(digest),
                bytes: (done, total),
                ..Owned::new(TREERING_EVENT_TRANSFER, step)
            },
            Event::Warning { rule, message, location } => {
                Owned { rule: some(rule), text: some(message), ..Owned::new(TREERING_EVENT_WARNING, 0) }
                    .at(location)
            }
            Event::Failed { step, message } => {
                Owned { text: some(message), ..Owned::new(TREERING_EVENT_FAILED, step) }
            }
        }
    }
}

/// The capacity of a queue where the caller gives none, in bytes.
const DEFAULT_LIMIT: usize = 1 << 20;

/// Starts a queue of events: operations that are given the control from now on put what happens into it, and
/// treering_control_next_event() takes it out. Takes the place of a queue from before. A queue that is full drops output, says so
/// with TREERING_EVENT_OUTPUT_DROPPED, and never holds an operation up.
///
/// @param limit how many bytes the queue holds at most, about; 0 for 1 MiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_control_enable_events(
    control: *const treering_control,
    limit: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || {
        let shared = handle::get(control, "control")?;
        let limit = if limit == 0 { DEFAULT_LIMIT } else { limit };
        // Readers that wait on the old queue return.
        std::mem::replace(&mut *lock(&shared.events), Events::queue(limit)).close();
        Ok(())
    })
}

/// Receives what happens during operations: a hook for a log. `event` and what it leads to live as long as the call. `size` is how
/// many bytes of `event` there are: sizeof(treering_event_data) in the library's version.
///
/// Called on the threads of the operation, never from two at once. Must return soon, and must not run an operation with the same
/// control. For exceptions see treering_write_fn.
pub type treering_event_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, event: *const treering_event_data, size: usize)>;

/// A function that receives events. The lock around it keeps threads from calling at once.
struct Hook {
    function: unsafe extern "C" fn(*mut c_void, *const treering_event_data, usize),
    userdata: Userdata,
}

impl Hook {
    fn receive(&self, event: &Event) {
        let owned = Owned::from(event.clone());
        let data = owned.data();
        // SAFETY: the contract of `Userdata::new`; the structure and what it leads to are local variables.
        unsafe { (self.function)(self.userdata.pointer(), &raw const data, size_of::<treering_event_data>()) }
    }
}

/// Has a function called with what happens during the operations that are given the control from now on, instead of a queue:
/// treering_control_next_event() then finds nothing. Takes the place of a queue or a function from before; operations that run
/// already keep that.
///
/// @param receive see treering_event_fn; NULL for none.
/// @param userdata handed to the callback.
/// @param finalizer called once with `userdata` when it will not be used any more: something else was set or the control freed,
/// and the last operation has ended; at once when an argument was refused or `receive` is NULL. May be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_control_set_events(
    control: *const treering_control,
    receive: treering_event_fn,
    userdata: *mut c_void,
    finalizer: treering_finalizer,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers and callbacks.
    let (userdata, err) = unsafe { (Userdata::new(userdata, finalizer), Out::new(err)) };
    guard(err, || {
        let shared = handle::get(control, "control")?;
        let new = match receive {
            None => Events::default(),
            Some(function) => {
                let hook = Mutex::new(Hook { function, userdata });
                Events::observed(Arc::new(move |event| lock(&hook).receive(event)))
            }
        };
        // The old one's finalizer is called behind the lock: it may use the control.
        let old = std::mem::replace(&mut *lock(&shared.events), new);
        old.close();
        Ok(())
    })
}

/// Takes the next event out of the queue of a control. Any thread; each event comes once.
///
/// @param wait_ms milliseconds to wait for one; 0 to return at once.
/// @param event receives the event, which is yours; NULL when none came in time, which is no error. The pointers in `out` live
/// as long as it. NULL is refused.
/// @param out receives what happened; left alone when none came.
/// @param out_size sizeof(treering_event_data).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_control_next_event(
    control: *const treering_control,
    wait_ms: u32,
    event: *mut *mut treering_event,
    out: *mut treering_event_data,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (event, out, err) = unsafe { (Out::new(event), Record::new(out, out_size), Out::new(err)) };
    guard(err, || {
        let (place, out) = (event.required("event")?, out.required("out")?);
        let events = lock(&handle::get(control, "control")?.events).clone();
        let next =
            if wait_ms == 0 { events.poll() } else { events.wait(Duration::from_millis(wait_ms.into())) };
        place.write(match next {
            Some(next) => give(next.into(), &out)?,
            None => std::ptr::null_mut(),
        });
        Ok(())
    })
}

fn give(owned: Owned, out: &Record<'_, treering_event_data>) -> Result<*mut treering_event> {
    let handle = handle::make::<treering_event>(owned);
    out.write(&handle::get(handle, "event")?.data());
    Ok(handle)
}

/// Frees an event. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_event_free(event: *mut treering_event) -> treering_status {
    handle::free(event)
}
