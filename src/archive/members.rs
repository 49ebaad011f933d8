//! The files of an archive to write, and writing them: one thread reads and verifies, another one writes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, sync_channel};

use super::tarout::TarOut;
use super::{BLOBS, SAVE, blob_path};
use crate::compress::{DecodeOptions, Decoder};
use crate::error::{Error, ErrorKind, Result};
use crate::image::Layer;
use crate::layer::header::{EntryKind, MtimePrecision};
use crate::progress::{Control, Share};
use crate::store::{BlobInfo, Store};
use crate::threads;

/// How much is read, hashed and handed on at once.
const CHUNK: usize = 1 << 20;

/// The files of an archive by their paths, which is the order they are written in.
#[derive(Default)]
pub(super) struct Members(BTreeMap<String, Member>);

enum Member {
    Bytes(Vec<u8>),
    Blob(BlobInfo),
    /// The tar inside a layer, and its size.
    Plain(Box<Layer>, u64),
}

impl Members {
    /// Adds a file with these bytes.
    pub fn bytes(&mut self, path: impl Into<String>, bytes: Vec<u8>) {
        self.0.insert(path.into(), Member::Bytes(bytes));
    }

    /// Adds a blob of the store as it is.
    pub fn blob(&mut self, info: BlobInfo) {
        self.0.entry(blob_path(&info.digest)).or_insert(Member::Blob(info));
    }

    /// Adds the tar inside a layer as a blob of its own; it has this size.
    pub fn plain(&mut self, layer: &Layer, size: u64) {
        self.0.insert(blob_path(&layer.diff_id), Member::Plain(Box::new(layer.clone()), size));
    }

    /// Writes everything: directories first, files sorted by path.
    pub fn write(&self, store: &Store, out: &mut (dyn Write + Send), control: &Control) -> Result<()> {
        let size = |content: &Member| match content {
            Member::Bytes(bytes) => bytes.len() as u64,
            Member::Blob(info) => info.size,
            Member::Plain(_, size) => *size,
        };
        let share = Share::new(control, self.0.values().map(size).sum());
        let mut out = TarOut::new(out, MtimePrecision::Seconds, control);
        out.plain("blobs", EntryKind::Directory, 0)?;
        out.plain(BLOBS, EntryKind::Directory, 0)?;
        // One thread reads and verifies, this one writes.
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel(4);
            let (back, spare) = sync_channel(8);
            let run = move || {
                let mut sink = |piece| Ok(send.send(Ok(piece)).is_ok());
                let mut each = |content| read(store, content, &spare, control, &mut sink);
                // A send fails when the writer has stopped: then this ends as well.
                let sent = self.0.values().try_for_each(|content| match each(content) {
                    Ok(true) => ControlFlow::Continue(()),
                    Ok(false) => ControlFlow::Break(None),
                    Err(error) => ControlFlow::Break(Some(error)),
                });
                if let ControlFlow::Break(Some(error)) = sent {
                    // If the writer stopped, it reports its own error.
                    let _ = send.send(Err(error));
                }
            };
            // Where no thread is to be had, this one does both.
            let alone = threads::spawn(scope, "treering-read", run).is_err();
            let (_, unused) = sync_channel(1);
            for (path, content) in &self.0 {
                let mut left = size(content);
                out.plain(path, EntryKind::File, left)?;
                if let Member::Bytes(bytes) = content {
                    out.data(bytes)?;
                    share.add(left);
                    continue;
                }
                if alone {
                    let mut write = |piece: Piece| {
                        share.add(piece.bytes().len() as u64);
                        out.data(piece.bytes()).map(|()| true)
                    };
                    read(store, content, &unused, control, &mut write)?;
                    continue;
                }
                while left > 0 {
                    let piece = match receive.recv() {
                        Ok(piece) => piece?,
                        Err(_) => return Err(Error::new(ErrorKind::Internal, SAVE, "a thread is gone")),
                    };
                    out.data(piece.bytes())?;
                    left -= piece.bytes().len() as u64;
                    share.add(piece.bytes().len() as u64);
                    if let Piece::Own(buffer) = piece {
                        let _ = back.try_send(buffer);
                    }
                }
                // Only now is it known that all of it was right.
                match receive.recv() {
                    Ok(Ok(Piece::End)) => {}
                    Ok(Err(error)) => return Err(error),
                    _ => return Err(Error::new(ErrorKind::Internal, SAVE, "a thread is out of step")),
                }
            }
            out.finish()
        })
    }
}

/// A receiver of pieces; `false` when no more are wanted.
type Sink<'a> = &'a mut dyn FnMut(Piece) -> Result<bool>;

/// Reads a file piece by piece, with an end mark after it.
fn read(
    store: &Store,
    content: &Member,
    spare: &Receiver<Vec<u8>>,
    control: &Control,
    sink: Sink<'_>,
) -> Result<bool> {
    let wanted = match content {
        Member::Bytes(_) => return Ok(true),
        Member::Blob(info) => read_blob(store, info, spare, control, sink)?,
        Member::Plain(layer, size) => read_plain(store, layer, *size, control, sink)?,
    };
    Ok(wanted && sink(Piece::End)?)
}

/// A piece of content on its way to the writer.
enum Piece {
    Own(Vec<u8>),
    Shared(crate::compress::Chunk),
    /// The file is complete and verified.
    End,
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Own(bytes) => bytes,
            Piece::Shared(bytes) => bytes,
            Piece::End => &[],
        }
    }
}

fn read_blob(
    store: &Store,
    info: &BlobInfo,
    spare: &Receiver<Vec<u8>>,
    control: &Control,
    sink: Sink<'_>,
) -> Result<bool> {
    let shown = info.digest.to_string();
    let mut reader = store.verified_reader(&info.digest, info.size)?;
    loop {
        control.check(SAVE)?;
        let mut buffer = spare.try_recv().unwrap_or_default();
        buffer.resize(CHUNK, 0);
        let mut filled = 0;
        while filled < CHUNK {
            match reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(SAVE, &shown, error)),
            }
        }
        if filled == 0 {
            return Ok(true);
        }
        buffer.truncate(filled);
        if !sink(Piece::Own(buffer))? {
            return Ok(false);
        }
    }
}

fn read_plain(store: &Store, layer: &Layer, size: u64, control: &Control, sink: Sink<'_>) -> Result<bool> {
    let file = store.open_blob(&layer.digest)?;
    // What is written of it is counted.
    let (options, share) = (DecodeOptions::default(), Share::uncounted());
    let mut decoder = Decoder::counting(Box::new(file), options, control.clone(), share)?;
    let mut left = size;
    let wrong = || {
        let message = format!("the layer is not {size} bytes long when decompressed");
        Error::corrupt(SAVE, message).with_path(layer.digest.to_string())
    };
    while let Some(chunk) = decoder.next_chunk()? {
        control.check(SAVE)?;
        left = left.checked_sub(chunk.len() as u64).ok_or_else(wrong)?;
        if !sink(Piece::Shared(chunk))? {
            return Ok(false);
        }
    }
    if left > 0 {
        return Err(wrong());
    }
    layer.check(&decoder.finish()?)?;
    Ok(true)
}
