//! Copying the content of one open file to another: shared blocks where the filesystem has them, else inside the kernel, else
//! through memory. Holes stay holes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::SeekFrom;
use rustix::io::{Errno, retry_on_intr};

use crate::progress::{Control, Counters};

/// The most bytes that one call copies: between two calls a copy can be cancelled.
const PIECE: u64 = 8 << 20;
/// The buffer of a copy through memory.
const BUFFER: usize = 256 * 1024;

/// Copies files between two filesystems, and does not try again what these refused once. May be shared by threads.
#[derive(Debug, Default)]
pub struct Copier {
    no_sharing: AtomicBool,
    no_kernel_copy: AtomicBool,
}

impl Copier {
    /// Makes the content of `to`, an empty file open for writing, that of `from`, which has `size` bytes and `blocks` blocks
    /// of 512. Adds to [`Counters::bytes_written`].
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when `from` is shorter. Whether it changed otherwise is for the caller to see in its
    /// stat afterwards.
    pub fn copy(
        &self,
        from: impl AsFd,
        to: impl AsFd,
        (size, blocks): (u64, u64),
        control: &Control,
    ) -> io::Result<()> {
        let (from, to) = (from.as_fd(), to.as_fd());
        if size > 0 && !self.share(from, to)? {
            // Fewer blocks than the size asks for: there are holes. Finding them costs two calls.
            match blocks.saturating_mul(512) < size {
                true => self.sparse(from, to, size, control)?,
                false => self.range(from, to, 0, size, control)?,
            }
        }
        Counters::add(&control.counters.bytes_written, size);
        Ok(())
    }

    /// Shares all blocks, `ioctl_ficlone(2)`; `false` where that is not possible.
    fn share(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<bool> {
        if self.no_sharing.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match retry_on_intr(|| rustix::fs::ioctl_ficlone(to, from)) {
            Ok(()) => Ok(true),
            // Never here: another filesystem, or one without shared blocks, or a kernel or sandbox without the call.
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS) => {
                self.no_sharing.store(true, Ordering::Relaxed);
                Ok(false)
            }
            // Not this file.
            Err(Errno::INVAL | Errno::BADF | Errno::PERM | Errno::ACCESS | Errno::TXTBSY) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn sparse(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        size: u64,
        control: &Control,
    ) -> io::Result<()> {
        let mut end = 0;
        while let Some((start, stop)) = data(from, end, size)? {
            self.range(from, to, start, stop, control)?;
            end = stop;
        }
        // A hole at the end.
        if end < size {
            retry_on_intr(|| rustix::fs::ftruncate(to, size))?;
        }
        Ok(())
    }

    fn range(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        start: u64,
        stop: u64,
        control: &Control,
    ) -> io::Result<()> {
        let (mut read, mut written) = (start, start);
        while read < stop && !self.no_kernel_copy.load(Ordering::Relaxed) {
            control.check("copy file")?;
            let len = (stop - read).min(PIECE) as usize;
            match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), len) {
                // Some filesystems say so of what they cannot copy; reading distinguishes that from the end.
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::NOSYS | Errno::XDEV | Errno::OPNOTSUPP | Errno::PERM) => {
                    self.no_kernel_copy.store(true, Ordering::Relaxed);
                }
                Err(Errno::INVAL) => break,
                Err(error) => return Err(error.into()),
            }
        }
        if read < stop { through_memory(from, to, read, stop, control) } else { Ok(()) }
    }
}

fn through_memory(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    mut at: u64,
    stop: u64,
    control: &Control,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER.min((stop - at) as usize)];
    while at < stop {
        control.check("copy file")?;
        let want = buffer.len().min((stop - at) as usize);
        let got = retry_on_intr(|| rustix::io::pread(from, &mut buffer[..want], at))?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = &buffer[..got];
        while !rest.is_empty() {
            let n = retry_on_intr(|| rustix::io::pwrite(to, rest, at))?;
            rest = &rest[n..];
            at += n as u64;
        }
    }
    Ok(())
}

/// Finds the next run of data at or after `at`; `None` when a hole reaches to the end. A filesystem that does not say where
/// holes are has none.
fn data(fd: BorrowedFd<'_>, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Some((at, size))),
        Err(error) => return Err(error.into()),
    };
    if start >= size {
        return Ok(None);
    }
    let stop = match rustix::fs::seek(fd, SeekFrom::Hole(start)) {
        Ok(stop) if stop > start => stop.min(size),
        Ok(_) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NXIO) => size,
        Err(error) => return Err(error.into()),
    };
    Ok(Some((start, stop)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    /// Files with data and holes at their ends and in between, by every way there is.
    #[test]
    fn content_and_holes_are_the_same_by_every_way() {
        let temp = tempfile::tempdir().unwrap();
        let shapes: [(&str, &[(u64, usize)], u64); 6] = [
            ("empty", &[], 0),
            ("small", &[(0, 10)], 10),
            ("hole", &[], 5 << 20),
            ("middle", &[(3 << 20, 70_000)], 9 << 20),
            ("ends", &[(0, 1), ((20 << 20) - 1, 1)], 20 << 20),
            ("full", &[(0, 9 << 20)], 9 << 20),
        ];
        for (name, runs, size) in shapes {
            let path = temp.path().join(name);
            let file = File::create_new(&path).unwrap();
            file.set_len(size).unwrap();
            for &(at, len) in runs {
                file.write_all_at(&vec![7; len], at).unwrap();
            }
            drop(file);
            let (from, content) = (File::open(&path).unwrap(), std::fs::read(&path).unwrap());
            let stat = from.metadata().unwrap();
            for (way, no_sharing, no_kernel_copy) in
                [("share", false, false), ("range", true, false), ("memory", true, true)]
            {
                let copier = Copier { no_sharing: no_sharing.into(), no_kernel_copy: no_kernel_copy.into() };
                let target = temp.path().join(format!("{name}-{way}"));
                let to = File::create_new(&target).unwrap();
                let control = Control::default();
                copier.copy(&from, &to, (stat.size(), stat.blocks()), &control).unwrap();
                assert!(std::fs::read(&target).unwrap() == content, "{name} {way}");
                assert_eq!(control.counters.bytes_written.load(Ordering::Relaxed), size, "{name} {way}");
                let (had, has) = (stat.blocks(), to.metadata().unwrap().blocks());
                assert!(has <= had + 32, "{name} {way}: {had} blocks became {has}");
            }
        }
    }

    #[test]
    fn a_file_that_ends_early_and_a_copy_that_is_cancelled_are_errors() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("short");
        std::fs::write(&path, "short").unwrap();
        for no_kernel_copy in [false, true] {
            let copier = Copier { no_sharing: true.into(), no_kernel_copy: no_kernel_copy.into() };
            let (from, to) = (File::open(&path).unwrap(), File::create(temp.path().join("to")).unwrap());
            let control = Control::default();
            let error = copier.copy(&from, &to, (6, 8), &control).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            control.cancel.cancel();
            let error = copier.copy(&from, &to, (5, 8), &control).unwrap_err();
            assert_eq!(crate::Error::io("copy", "x", error).kind(), crate::ErrorKind::Cancelled);
        }
    }
}
