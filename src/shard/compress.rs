//! Compressed messages of a core: what comes in, what goes out, and what that may cost.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::Ending;
use super::frame::Wire;
use super::settings::Compression;
use crate::deflate::{Bounds, Deflater, InflateError, Inflater, PACK_BYTES_MAX};
use crate::http::Coding;
use crate::telemetry::Counters;
use crate::ws::{self, Agreed};

/// One compressor and one decompressor for all connections of a core. Both come into being with
/// the first message that needs them: a core without such clients pays a few words.
#[derive(Debug, Default)]
pub(crate) struct Press {
    deflater: Option<Box<Deflater>>,
    inflater: Option<Box<Inflater>>,
    /// Bytes of compressed forms that are kept for receivers to come; see [`Packed`].
    held: Rc<Cell<usize>>,
}

/// The frames of a [`Wire`], those compressed that become shorter by it. Made once a core, shared
/// by all receivers that agreed on permessage-deflate. Never longer than [`PACK_BYTES_MAX`].
#[derive(Debug)]
pub(crate) struct Packed {
    bytes: Box<[u8]>,
    /// Length of the longest message in it that is compressed.
    longest: usize,
    held: Rc<Cell<usize>>,
}

impl Drop for Packed {
    fn drop(&mut self) {
        self.held.set(self.held.get() - self.bytes.len());
    }
}

/// The compressed forms of one frame; `None` where compressing did not help.
#[derive(Debug, Default)]
pub(crate) struct PackedForms {
    /// For the default parser.
    pub(crate) common: OnceCell<Option<Packed>>,
    /// For the msgpack parser.
    pub(crate) msgpack: OnceCell<Option<Packed>>,
}

/// What is needed to write to a connection that agreed on permessage-deflate.
pub(crate) struct Pressing<'a> {
    pub(crate) press: &'a mut Press,
    pub(crate) agreed: Agreed,
    pub(crate) terms: Compression,
    pub(crate) counters: &'a mut Counters,
}

impl Pressing<'_> {
    /// Whether compressing is of any use for so many bytes of frames.
    pub(crate) fn is_worth(&self, bytes: usize) -> bool {
        bytes >= self.terms.threshold_bytes
    }

    /// Appends the frames of a wire that nobody else will ask for.
    pub(crate) fn write_once(&mut self, wire: &Wire, out: &mut Vec<u8>) {
        self.write_parts(wire, out, self.agreed.packed_bytes_max());
    }

    /// Appends the frames of a wire in the form that is kept in `cell` for others.
    pub(crate) fn write_shared(
        &mut self,
        wire: &Wire,
        cell: &OnceCell<Option<Packed>>,
        out: &mut Vec<u8>,
    ) {
        if wire.len() > PACK_BYTES_MAX {
            // Attachments that are too long to be compressed: one form could pass all that is kept.
            out.extend_from_slice(wire.frames());
            return;
        }
        if cell.get().is_none() && self.press.held.get() >= self.terms.memory_bytes_max {
            self.counters.deflate_skipped += 1;
            out.extend_from_slice(wire.frames());
            return;
        }
        match cell.get_or_init(|| self.pack(wire)) {
            Some(packed) if packed.longest <= self.agreed.packed_bytes_max() => {
                out.extend_from_slice(&packed.bytes);
            }
            Some(_) | None => out.extend_from_slice(wire.frames()),
        }
    }

    fn pack(&mut self, wire: &Wire) -> Option<Packed> {
        let mut bytes = Vec::with_capacity(wire.len() / 2);
        let longest = self.write_parts(wire, &mut bytes, usize::MAX);
        if longest == 0 {
            return None;
        }
        let held = Rc::clone(&self.press.held);
        held.set(held.get() + bytes.len());
        Some(Packed { bytes: bytes.into(), longest, held })
    }

    /// Appends all frames, each compressed if that makes it shorter and it has no more than
    /// `bytes_max`. Gives the length of the longest one that was.
    fn write_parts(&mut self, wire: &Wire, out: &mut Vec<u8>, bytes_max: usize) -> usize {
        let mut longest = 0;
        for (data, binary) in wire.parts() {
            let kind = if binary { ws::Kind::Binary } else { ws::Kind::Text };
            if data.len() <= bytes_max && self.write_packed(kind, data, out) {
                longest = longest.max(data.len());
            } else {
                ws::write_header(out, kind, data.len());
                out.extend_from_slice(data);
            }
        }
        longest
    }

    /// Appends one message, compressed if that makes it shorter.
    pub(crate) fn write_message(&mut self, kind: ws::Kind, data: &[u8], out: &mut Vec<u8>) {
        let fits = data.len() <= self.agreed.packed_bytes_max();
        if !(fits && self.write_packed(kind, data, out)) {
            ws::write_header(out, kind, data.len());
            out.extend_from_slice(data);
        }
    }

    /// Appends a compressed message; false, and nothing written, if that is of no use.
    fn write_packed(&mut self, kind: ws::Kind, data: &[u8], out: &mut Vec<u8>) -> bool {
        if data.len() < self.terms.threshold_bytes {
            return false;
        }
        let deflater = self.press.deflater.get_or_insert_default();
        let Some(packed) = deflater.message(data) else {
            deflater.trim();
            return false;
        };
        self.counters.deflated += 1;
        self.counters.deflated_bytes += data.len() as u64;
        self.counters.deflated_bytes_out += packed.len() as u64;
        ws::write_packed_header(out, kind, packed.len());
        out.extend_from_slice(packed);
        deflater.trim();
        true
    }
}

impl Press {
    /// A compressed body, if that is shorter.
    pub(crate) fn body(&mut self, coding: Coding, data: &[u8]) -> Option<Vec<u8>> {
        let deflater = self.deflater.get_or_insert_default();
        let body = match coding {
            Coding::Gzip => deflater.gzip(data),
            Coding::Deflate => deflater.zlib(data),
        };
        deflater.trim();
        body
    }

    /// What a compressed message of a client says.
    pub(crate) fn unpack(
        &mut self,
        text: bool,
        data: &[u8],
        bounds: Bounds,
    ) -> Result<ws::Event<'static>, Ending> {
        let inflater = self.inflater.get_or_insert_default();
        let message = inflater.message(data, bounds).map_err(|error| match error {
            InflateError::Broken => Ending::DeflateBroken,
            InflateError::TooBig => Ending::MessageTooBig,
            InflateError::Ratio => Ending::DeflateRatio,
        })?;
        if !text {
            return Ok(ws::Event::Binary(message.into()));
        }
        match String::from_utf8(message) {
            Ok(text) => Ok(ws::Event::Text(text.into())),
            Err(_) => Err(Ending::WebSocketText),
        }
    }

    /// Bytes of compressed forms that are kept.
    pub(crate) fn held(&self) -> usize {
        self.held.get()
    }
}
