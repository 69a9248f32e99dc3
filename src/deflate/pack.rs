//! Making bytes fewer.

use flate2::{Compress, Compression, FlushCompress};

use super::{FLUSH_TAIL, KEPT_BYTES};

/// Longest message that is compressed: a longer one would hold up a core for milliseconds.
pub const PACK_BYTES_MAX: usize = 1 << 20;

/// How hard we try. On JSON of 1 KiB, release build: level 1 takes 8.0 µs and leaves 371 bytes,
/// level 2 11.0 µs and 258, level 6 19.6 µs and 253; at 64 KiB 203, 233 and 751 µs.
const LEVEL: u32 = 2;

/// The compressor of a core.
///
/// Cost: 380 KB, taken at the first message and not at the start; beginning anew for each
/// message costs some 4 µs and allocates nothing.
#[derive(Debug)]
pub struct Deflater {
    raw: Compress,
    packed: Vec<u8>,
}

impl Default for Deflater {
    fn default() -> Self {
        Self { raw: Compress::new(Compression::new(LEVEL), false), packed: Vec::new() }
    }
}

impl Deflater {
    /// The payload of a compressed WebSocket message, if that is shorter than `data`.
    ///
    /// Rule: RFC 7692 section 7.2.1. Distances are never longer than the message, so a message
    /// of up to 2^n bytes is legal for whoever asked for a window of n bits.
    pub fn message(&mut self, data: &[u8]) -> Option<&[u8]> {
        self.press(data, FlushCompress::Sync)?;
        let len = self.packed.strip_suffix(&FLUSH_TAIL)?.len();
        (len < data.len()).then(|| &self.packed[..len])
    }

    /// `data` as one finished stream without any framing, if that is shorter.
    pub(super) fn stream(&mut self, data: &[u8]) -> Option<&[u8]> {
        self.press(data, FlushCompress::Finish)?;
        (self.packed.len() < data.len()).then_some(&self.packed)
    }

    /// Compresses into `packed`. `None` if it does not become shorter, or is too long to try.
    fn press(&mut self, data: &[u8], flush: FlushCompress) -> Option<()> {
        self.packed.clear();
        if data.is_empty() || data.len() > PACK_BYTES_MAX {
            return None;
        }
        self.raw.reset();
        // Room for what is as long as before and its end: whatever needs more is of no use.
        self.packed.reserve_exact(data.len() + 2 * FLUSH_TAIL.len());
        self.raw.compress_vec(data, &mut self.packed, flush).ok()?;
        let whole = self.raw.total_in() == data.len() as u64;
        // A buffer that is full to its last byte may lack something.
        (whole && self.packed.len() < self.packed.capacity()).then_some(())
    }

    /// Gives back what a long message took; call it when what it was compressed to is written.
    pub fn trim(&mut self) {
        if self.packed.capacity() > KEPT_BYTES {
            self.packed = Vec::new();
        }
    }

    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.packed.capacity()
    }
}
