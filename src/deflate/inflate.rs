//! Making bytes as many as they were, within bounds.

use flate2::{Decompress, FlushDecompress, Status};

use super::{FLUSH_TAIL, KEPT_BYTES};

/// How far a message may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the message.
    pub bytes_max: usize,
    /// How many times its compressed length a message may have, if it is longer than
    /// [`Bounds::UNSUSPECTED_BYTES`]. Deflate itself ends at 1032.
    pub ratio_max: usize,
}

impl Bounds {
    /// A message of up to so many bytes may be as repetitive as it likes.
    pub const UNSUSPECTED_BYTES: usize = 64 << 10;

    /// Bytes that a message of `len` compressed ones may become, and why no more.
    fn of(&self, len: usize) -> (usize, InflateError) {
        let by_ratio = len.saturating_mul(self.ratio_max).max(Self::UNSUSPECTED_BYTES);
        if by_ratio < self.bytes_max {
            (by_ratio, InflateError::Ratio)
        } else {
            (self.bytes_max, InflateError::TooBig)
        }
    }
}

/// Why a message was not inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// It is no deflate, or not all of it.
    Broken,
    /// It would be longer than [`Bounds::bytes_max`].
    TooBig,
    /// It would grow more than [`Bounds::ratio_max`] times.
    Ratio,
}

/// Streams that one message may consist of. Ours, and those of every library known to us, are
/// one; a new one costs a reset, and needs no more than two bytes of whoever sends it.
const STREAMS_MAX: u32 = 8;

/// What the message lacks of its last flush, and an empty last block: a message that is whole
/// ends there and nowhere else.
const TAIL: [u8; 6] = [FLUSH_TAIL[0], FLUSH_TAIL[1], FLUSH_TAIL[2], FLUSH_TAIL[3], 3, 0];

/// The decompressor of a core.
///
/// Cost: 48 KB, taken at the first message and not at the start.
#[derive(Debug)]
pub struct Inflater {
    raw: Decompress,
    grown: Vec<u8>,
    streams: u32,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { raw: Decompress::new(false), grown: Vec::new(), streams: 0 }
    }
}

impl Inflater {
    /// Inflates the payload of a WebSocket message, all its parts in a row.
    ///
    /// Rule: RFC 7692 section 7.2.2. A message whose last block says that it is the last one is
    /// taken too (section 7.2.3.4), whether the empty block behind it is there or not.
    ///
    /// Cost: one pass, and one copy of what came out of it.
    ///
    /// # Errors
    /// [`InflateError`]; the message is lost, the inflater is not.
    pub fn message(&mut self, data: &[u8], bounds: Bounds) -> Result<Vec<u8>, InflateError> {
        let (bytes_max, why) = bounds.of(data.len());
        self.raw.reset(false);
        self.grown.clear();
        self.streams = 0;
        let outcome = self.inflate(data, bytes_max, why);
        let message = if self.grown.capacity() > KEPT_BYTES {
            std::mem::take(&mut self.grown)
        } else if outcome.is_ok() {
            self.grown.clone()
        } else {
            Vec::new()
        };
        outcome.map(|()| message)
    }

    fn inflate(
        &mut self,
        data: &[u8],
        bytes_max: usize,
        why: InflateError,
    ) -> Result<(), InflateError> {
        // Some send nothing where the rule wants one byte for an empty message.
        if data.is_empty() || self.feed(data, bytes_max, why)? {
            return Ok(());
        }
        if self.feed(&TAIL, bytes_max, why)? { Ok(()) } else { Err(InflateError::Broken) }
    }

    /// Takes in all of `input`; true if a stream ends with its last byte.
    fn feed(
        &mut self,
        mut input: &[u8],
        bytes_max: usize,
        why: InflateError,
    ) -> Result<bool, InflateError> {
        loop {
            self.make_room(input.len(), bytes_max);
            let (read, written) = (self.raw.total_in(), self.grown.len());
            let status = self
                .raw
                .decompress_vec(input, &mut self.grown, FlushDecompress::Sync)
                .map_err(|_| InflateError::Broken)?;
            if self.grown.len() > bytes_max {
                return Err(why);
            }
            let used = usize::try_from(self.raw.total_in() - read).expect("at most its input");
            input = &input[used..];
            let full = self.grown.len() == self.grown.capacity();
            match status {
                Status::StreamEnd if input.is_empty() => return Ok(true),
                Status::StreamEnd => {
                    self.streams += 1;
                    if self.streams >= STREAMS_MAX {
                        return Err(InflateError::Broken);
                    }
                    self.raw.reset(false);
                }
                Status::Ok | Status::BufError if full => {}
                Status::Ok | Status::BufError if input.is_empty() => return Ok(false),
                Status::Ok | Status::BufError => {
                    if used == 0 && self.grown.len() == written {
                        return Err(InflateError::Broken);
                    }
                }
            }
        }
    }

    /// Sees to it that something can be written: more than twice as much at most, and one byte
    /// more than the message may have.
    fn make_room(&mut self, input_len: usize, bytes_max: usize) {
        let len = self.grown.len();
        if len < self.grown.capacity() {
            return;
        }
        let wanted = if len == 0 { input_len.saturating_mul(4).max(1 << 10) } else { len };
        let left = (bytes_max - len).saturating_add(1);
        self.grown.reserve_exact(wanted.min(left));
    }

    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.grown.capacity()
    }
}
