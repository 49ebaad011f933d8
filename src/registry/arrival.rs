//! A blob on its way in: written once, and read by others while it arrives.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::progress::Cancel;
use crate::threads::lock;

const OP: &str = "pull layer";
/// How long a cancelled wait goes on at most.
const PATIENCE: Duration = Duration::from_millis(25);

/// The progress of a blob that arrives.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The file, once there is one.
    file: Option<Arc<File>>,
    written: u64,
    /// Whether it is whole; `None` while it is arriving.
    whole: Option<bool>,
}

impl Arrival {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Sets the file that the blob is written into.
    pub fn begin(&self, file: File) {
        self.lock().file = Some(Arc::new(file));
        self.moved.notify_all();
    }

    /// Notes that so many bytes are in the file.
    pub fn advance(&self, written: u64) {
        self.lock().written = written;
        self.moved.notify_all();
    }

    /// Notes that nothing will follow: the blob is whole, or it never will be.
    pub fn end(&self, whole: bool) {
        self.lock().whole.get_or_insert(whole);
        self.moved.notify_all();
    }

    /// Reads the blob from its beginning, waiting for what has not arrived yet.
    pub fn reader(self: &Arc<Self>, cancel: &Cancel) -> ArrivalReader {
        ArrivalReader { arrival: self.clone(), at: 0, cancel: cancel.clone() }
    }

    /// Returns the file, and how many bytes of it may be read at `at`; zero at the end.
    fn wait(&self, at: u64, cancel: &Cancel) -> Result<(Option<Arc<File>>, u64)> {
        let mut state = self.lock();
        loop {
            cancel.check(OP)?;
            if state.written > at {
                return Ok((state.file.clone(), state.written - at));
            }
            match state.whole {
                Some(true) => return Ok((None, 0)),
                Some(false) => {
                    return Err(Error::new(ErrorKind::Network, OP, "the layer did not arrive"));
                }
                None => {}
            }
            state = self.moved.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A reader of a blob while it arrives.
#[derive(Debug)]
pub(super) struct ArrivalReader {
    arrival: Arc<Arrival>,
    at: u64,
    cancel: Cancel,
}

impl Read for ArrivalReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (file, ready) = self.arrival.wait(self.at, &self.cancel)?;
        let Some(file) = file.filter(|_| ready > 0) else { return Ok(0) };
        let most = buffer.len().min(usize::try_from(ready).unwrap_or(usize::MAX));
        let n = file.read_at(&mut buffer[..most], self.at)?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_reader_keeps_up_with_the_writer() {
        let mut file = tempfile::tempfile().unwrap();
        let arrival = Arc::new(Arrival::default());
        let cancel = Cancel::default();
        let bytes: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut out = Vec::new();
                arrival.reader(&cancel).read_to_end(&mut out).map(|_| out)
            });
            arrival.begin(file.try_clone().unwrap());
            let mut written = 0;
            for piece in bytes.chunks(7_001) {
                file.write_all(piece).unwrap();
                written += piece.len() as u64;
                arrival.advance(written);
            }
            arrival.end(true);
            assert!(reader.join().unwrap().unwrap() == bytes);
        });
        // Once it is whole, a later end changes nothing.
        arrival.end(false);
        assert_eq!(arrival.reader(&cancel).read_to_end(&mut Vec::new()).unwrap(), bytes.len());
    }

    #[test]
    fn a_blob_that_breaks_off_and_a_cancel_are_errors() {
        let arrival = Arc::new(Arrival::default());
        arrival.end(false);
        let error = arrival.reader(&Cancel::default()).read(&mut [0; 8]).unwrap_err();
        assert_eq!(Error::io("x", "", error).kind(), ErrorKind::Network);
        let (arrival, cancel) = (Arc::new(Arrival::default()), Cancel::default());
        cancel.cancel();
        let error = arrival.reader(&cancel).read(&mut [0; 8]).unwrap_err();
        assert_eq!(Error::io("x", "", error).kind(), ErrorKind::Cancelled);
    }
}
