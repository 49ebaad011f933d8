//! The tar of a layer without the contents of its files: what is needed to read its entries back, as others will.

use std::sync::Arc;

use super::header::{BLOCK, TRAILER};
use super::plan::LayerPlan;
use super::read::ChunkStream;
use crate::error::Result;

/// Headers are put together up to this many bytes.
const CHUNK: usize = 64 * 1024;

/// The stream of a plan's tar with zeros as the content of files. A reader that passes over content gets none of them, so that a
/// layer of any size takes as long as its headers do.
pub(crate) struct Outline<'a> {
    plan: &'a LayerPlan<'a>,
    next: usize,
    header: Vec<u8>,
    /// The bytes of content that come next, and those that fill up its last block.
    content: u64,
    padding: usize,
    over: bool,
}

impl<'a> Outline<'a> {
    pub(super) fn new(plan: &'a LayerPlan<'a>) -> Outline<'a> {
        Outline { plan, next: 0, header: Vec::new(), content: 0, padding: 0, over: false }
    }
}

impl ChunkStream for Outline<'_> {
    fn next_chunk(&mut self) -> Result<Option<Arc<Vec<u8>>>> {
        if self.content > 0 {
            let length = self.content.min(CHUNK as u64);
            self.content -= length;
            return Ok(Some(Arc::new(vec![0; length as usize])));
        }
        if self.over {
            return Ok(None);
        }
        let mut chunk = vec![0; std::mem::take(&mut self.padding)];
        while chunk.len() < CHUNK && self.content == 0 {
            let Some(placed) = self.plan.entry(self.next, &mut self.header)? else {
                chunk.resize(chunk.len() + TRAILER as usize, 0);
                self.over = true;
                break;
            };
            self.next += 1;
            chunk.extend_from_slice(&self.header);
            self.content = placed.size;
            self.padding = (placed.size.next_multiple_of(BLOCK as u64) - placed.size) as usize;
        }
        Ok(Some(Arc::new(chunk)))
    }

    fn skip(&mut self, most: u64) -> u64 {
        let passed = self.content.min(most);
        self.content -= passed;
        passed
    }
}
