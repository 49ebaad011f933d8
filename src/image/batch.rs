//! Reading many entries of one layer with several threads.
//!
//! Entries that are reached from the same point of the blob are one piece of work, so that nothing is decoded twice. Pieces are
//! handed out in the order of the layer and given on in that order, whichever thread was faster; there are never more at
//! hand than twice the number of threads.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::progress::Control;
use crate::threads;

/// More threads than this wait for the one that takes the content.
const MOST: usize = 8;
/// Pieces of work are put together up to so many bytes of content.
const ENOUGH: u64 = 1 << 20;

/// An entry to be read: where it begins in the tar, from where it is reached, and about how many bytes it has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub place: u64,
    pub start: u64,
    pub size: u64,
}

/// Cuts a list of entries, in the order of the tar, into pieces of work.
pub(super) fn pieces(wanted: &[Wanted]) -> Vec<&[Wanted]> {
    let (mut out, mut begin, mut size) = (Vec::new(), 0, 0);
    for (at, one) in wanted.iter().enumerate() {
        if size >= ENOUGH && one.start != wanted[at - 1].start {
            out.push(&wanted[begin..at]);
            (begin, size) = (at, 0);
        }
        size += one.size;
    }
    if begin < wanted.len() {
        out.push(&wanted[begin..]);
    }
    out
}

/// Does `read` for every piece of work, on several threads where there are several pieces, and gives what came of it to `take`, in
/// order. An error of `take` ends it.
pub(super) fn each<W: Sync, T: Send>(
    work: &[W],
    control: &Control,
    read: impl Fn(&W) -> Result<T> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let count = threads::count(0).min(MOST).min(work.len());
    if count < 2 {
        return work.iter().try_for_each(|piece| take(read(piece)?));
    }
    let (hand_out, numbers) = channel::<usize>();
    let (give, came) = channel::<(usize, Result<T>)>();
    let numbers = Mutex::new(numbers);
    std::thread::scope(|scope| {
        let worker = |give: Sender<(usize, Result<T>)>| {
            let (numbers, read) = (&numbers, &read);
            move || {
                while let Some(number) = next(numbers) {
                    if give.send((number, read(&work[number]))).is_err() {
                        return;
                    }
                }
            }
        };
        let mut started = 0;
        for _ in 0..count {
            if threads::spawn(scope, "treering-read", worker(give.clone())).is_err() {
                break;
            }
            started += 1;
        }
        drop(give);
        // Moved in, so that the threads end however this ends.
        let (hand_out, came) = (hand_out, came);
        if started == 0 {
            return work.iter().try_for_each(|piece| take(read(piece)?));
        }
        let ahead = (2 * started).min(work.len());
        let hand = |number: usize| hand_out.send(number).map_err(|_| lost());
        (0..ahead).try_for_each(hand)?;
        let (mut early, mut given) = (BTreeMap::new(), 0);
        while given < work.len() {
            control.check("read layer")?;
            let (number, read) = came.recv().map_err(|_| lost())?;
            early.insert(number, read);
            while let Some(read) = early.remove(&given) {
                take(read?)?;
                if given + ahead < work.len() {
                    hand(given + ahead)?;
                }
                given += 1;
            }
        }
        Ok(())
    })
}

fn next(numbers: &Mutex<Receiver<usize>>) -> Option<usize> {
    numbers.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn lost() -> Error {
    Error::new(ErrorKind::Internal, "read layer", "a reading thread stopped")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn pieces_end_where_decoding_begins_anew() {
        let one = |place, start, size| Wanted { place, start, size };
        let list = [one(0, 0, 5 << 20), one(1, 0, 1), one(2, 2, 1), one(3, 3, 4 << 20), one(4, 4, 1)];
        let lengths: Vec<usize> = pieces(&list).iter().map(|piece| piece.len()).collect();
        assert_eq!(lengths, [2, 2, 1]);
        assert!(pieces(&[]).is_empty());
    }

    #[test]
    fn what_was_read_comes_in_order_and_little_of_it_early() {
        let work: Vec<usize> = (0..200).collect();
        let (read, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut came = Vec::new();
        let slow_at_first = |&number: &usize| {
            std::thread::sleep(std::time::Duration::from_micros(if number % 5 == 0 { 500 } else { 1 }));
            let ahead = read.fetch_add(1, Ordering::SeqCst) - taken.load(Ordering::SeqCst);
            assert!(ahead <= 2 * MOST + 1, "{ahead}");
            Ok(number)
        };
        each(&work, &Control::default(), slow_at_first, |number| {
            taken.fetch_add(1, Ordering::SeqCst);
            came.push(number);
            Ok(())
        })
        .unwrap();
        assert_eq!(came, work);
    }

    #[test]
    fn an_error_on_either_side_ends_it() {
        let work: Vec<usize> = (0..100).collect();
        let control = Control::default();
        let bad = |at: usize| move |&number: &usize| if number == at { Err(lost()) } else { Ok(number) };
        let mut count = 0;
        let failed = each(&work, &control, bad(40), |_| {
            count += 1;
            Ok(())
        });
        assert!(failed.is_err() && count == 40, "what came before it was taken: {count}");
        assert!(
            each(&work, &control, bad(1000), |number| if number == 3 { Err(lost()) } else { Ok(()) })
                .is_err()
        );
        control.cancel.cancel();
        assert!(each(&work, &control, bad(1000), |_| Ok(())).is_err());
    }
}
