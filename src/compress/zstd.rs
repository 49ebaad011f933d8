//! zstd frames (RFC 8878): making our own, cutting a stream into frames, and decoding these whole.

use zstd_safe::{CCtx, CParameter, DCtx};

use crate::error::{Error, ErrorKind, Result};

/// How many bytes of tar go into one frame.
///
/// A frame cannot refer to the one before it, so larger frames are smaller in sum. At 8 MiB, all of it window, the
/// sum is several percent below one long frame with the 2 MiB window that level 3 usually has, and a window of
/// 8 MiB is what every decoder must support (RFC 8878, 3.1.1.1.2).
pub(super) const CHUNK: usize = 8 << 20;
/// The binary logarithm of [`CHUNK`].
const WINDOW_LOG: u32 = 23;

/// No frame of ours is longer: what does not compress is stored, at 3 bytes for each 128 KiB.
pub(super) const FRAME_MAX: usize = CHUNK + CHUNK / 1024 + 1024;

/// Returns an error of the compressor, which can only be a defect or a lack of memory.
fn failed(code: usize) -> Error {
    Error::new(ErrorKind::Internal, "compress layer", format!("zstd: {}", zstd_safe::get_error_name(code)))
}

/// Makes frames.
pub(super) struct FrameEncoder {
    context: CCtx<'static>,
    /// For what is not text, at levels that make a difference.
    binary: Option<CCtx<'static>>,
}

impl FrameEncoder {
    pub(super) fn new(level: i32) -> Result<Self> {
        if level != 3 {
            return Ok(FrameEncoder { context: context(level, &[])?, binary: None });
        }
        // The larger window finds what smaller tables miss, and tables that fit the cache are faster. Machine code and
        // media gain next to nothing from the second, finer search of this level, so they are spared it; text gains
        // several percent. Measured on distribution trees, sources and libraries: between 5% less and 1% more
        // than `zstd -3`, in a fifth to a quarter less time.
        let text = context(3, &[CParameter::HashLog(17), CParameter::ChainLog(13)])?;
        let binary = context(1, &[CParameter::HashLog(17), CParameter::MinMatch(6)])?;
        Ok(FrameEncoder { context: text, binary: Some(binary) })
    }

    /// Replaces `out` with the frame that holds `input`.
    pub(super) fn encode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        out.reserve(zstd_safe::compress_bound(input.len()));
        let context = match &mut self.binary {
            Some(binary) if !is_text(input) => binary,
            _ => &mut self.context,
        };
        context.compress2(out, input).map_err(failed)?;
        Ok(())
    }
}

/// Returns a compressor that has a level's parameters but for these.
fn context(level: i32, parameters: &[CParameter]) -> Result<CCtx<'static>> {
    let mut context = CCtx::try_create()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "compress layer", "zstd: out of memory"))?;
    let mut set = |parameter| context.set_parameter(parameter).map_err(failed);
    set(CParameter::CompressionLevel(level))?;
    set(CParameter::WindowLog(WINDOW_LOG))?;
    for parameter in parameters {
        set(*parameter)?;
    }
    // The size lets a reader decode frames in parallel; the layer's digests already are its checksum.
    set(CParameter::ContentSizeFlag(true))?;
    set(CParameter::ChecksumFlag(false))?;
    Ok(context)
}

/// Returns whether most of this looks like text, judged by every 61st byte: a prime, so as not to meet one column of a
/// table.
fn is_text(input: &[u8]) -> bool {
    let sampled = input.len().div_ceil(61);
    let high = input.iter().step_by(61).filter(|&&byte| byte >= 0x80).count();
    high * 20 < sampled * 3
}

/// The kind of data at the front of a stream of frames.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// More bytes are needed to decide.
    Unknown,
    /// A frame like ours: self-contained, of known and modest content size, with its first block header at this offset.
    Frame { blocks: usize, content: usize, checksum: bool },
    /// A frame to skip, of this many bytes with its header.
    Skippable(u64),
    /// A frame (or garbage) that only a streaming decoder can take.
    Other,
}

/// Returns what a stream of frames starts with.
pub(super) fn front(bytes: &[u8]) -> Front {
    let Some((magic, rest)) = bytes.split_first_chunk::<4>() else { return Front::Unknown };
    if matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18]) {
        return match rest.first_chunk::<4>() {
            Some(size) => Front::Skippable(8 + u64::from(u32::from_le_bytes(*size))),
            None => Front::Unknown,
        };
    }
    if *magic != [0x28, 0xb5, 0x2f, 0xfd] {
        return Front::Other;
    }
    let Some((&descriptor, rest)) = rest.split_first() else { return Front::Unknown };
    let single_segment = descriptor & 0x20 != 0;
    // A window of its own means the encoder was streaming; a dictionary means that it cannot be decoded; a reserved
    // bit has no reader. The streaming decoder reports it better than this would.
    if !single_segment || descriptor & 0x0b != 0 {
        return Front::Other;
    }
    let width = 1 << (descriptor >> 6);
    let Some(field) = rest.get(..width) else { return Front::Unknown };
    let mut size = [0; 8];
    size[..width].copy_from_slice(field);
    let size = u64::from_le_bytes(size) + if width == 2 { 256 } else { 0 };
    if size > CHUNK as u64 {
        return Front::Other;
    }
    Front::Frame { blocks: 5 + width, content: size as usize, checksum: descriptor & 4 != 0 }
}

/// Takes one step along the blocks of a frame: the offset behind the block with its header at `at`, and whether it is the
/// last one. `None` when the header is not there yet or is not one.
pub(super) fn block(bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    let header = bytes.get(at..at + 3)?;
    let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    let size = match header >> 1 & 3 {
        // A run is stored as one byte.
        1 => 1,
        // Reserved: nothing good follows, and the decoder will say so.
        3 => return None,
        _ => (header >> 3) as usize,
    };
    Some((at + 3 + size, header & 1 != 0))
}

/// Replaces `out` with the content of one frame.
pub(super) fn decode_frame(
    context: &mut DCtx<'static>,
    frame: &[u8],
    size: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    out.clear();
    out.reserve(size);
    let length = context.decompress(out, frame).map_err(decode_error)?;
    if length != size {
        return Err(Error::corrupt("decompress layer", "zstd: a frame is not as long as it says"));
    }
    Ok(())
}

/// Returns an error of the decompressor.
pub(super) fn decode_error(code: usize) -> Error {
    let name = zstd_safe::get_error_name(code);
    let kind = match name {
        "Dictionary mismatch" => ErrorKind::Unsupported,
        "Frame requires too much memory for decoding" => ErrorKind::Limit,
        "Allocation error : not enough memory" => ErrorKind::Limit,
        _ => ErrorKind::Corrupt,
    };
    let message = match kind {
        ErrorKind::Unsupported => "zstd: a frame needs a dictionary".to_string(),
        ErrorKind::Limit => "zstd: a frame needs a larger window than allowed".to_string(),
        _ => format!("zstd: {}", name.to_lowercase()),
    };
    let error = Error::new(kind, "decompress layer", message);
    match kind {
        ErrorKind::Unsupported | ErrorKind::Limit => error.with_hint(
            "decompress it first, or compress it anew without a dictionary and with a smaller window",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::testing;

    /// Walks a frame as the splitter does.
    fn walk(frame: &[u8]) -> Option<(usize, usize)> {
        let Front::Frame { mut blocks, content, checksum } = front(frame) else { return None };
        loop {
            let (next, last) = block(frame, blocks)?;
            blocks = next;
            if last {
                return Some((blocks + if checksum { 4 } else { 0 }, content));
            }
        }
    }

    #[test]
    fn frames_are_separated_without_decoding() {
        for level in [1, 3, 9] {
            let mut encoder = FrameEncoder::new(level).unwrap();
            for length in [0, 1, 255, 256, 70_000, 1 << 20, CHUNK] {
                for data in [testing::text(length), testing::noise(length), vec![0; length]] {
                    let mut frame = Vec::new();
                    encoder.encode(&data, &mut frame).unwrap();
                    assert!(frame.len() <= FRAME_MAX);
                    assert_eq!(walk(&frame), Some((frame.len(), length)));
                    let mut back = Vec::new();
                    decode_frame(&mut DCtx::create(), &frame, length, &mut back).unwrap();
                    assert!(back == data);
                }
            }
        }
    }

    #[test]
    fn other_fronts_are_left_to_the_streaming_decoder() {
        assert_eq!(front(b""), Front::Unknown);
        assert_eq!(front(b"\x28\xb5\x2f"), Front::Unknown);
        assert_eq!(front(b"junk"), Front::Other);
        assert_eq!(front(b"\x51\x2a\x4d\x18\x03\0\0\0"), Front::Skippable(11));
        // A window descriptor; a dictionary; a reserved bit; eight bytes of size.
        for frame in [
            &b"\x28\xb5\x2f\xfd\x00\x58"[..],
            b"\x28\xb5\x2f\xfd\x21\x01\x00",
            b"\x28\xb5\x2f\xfd\x28\x00",
            b"\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(front(frame), Front::Other);
        }
    }
}
