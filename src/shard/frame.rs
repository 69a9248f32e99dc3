//! A message encoded once, and the forms in which different clients want it.

use std::cell::OnceCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::compress::{PackedForms, Pressing};
use crate::engineio::{self, Revision};
use crate::socketio;
use crate::ws::{self, Kind as WsKind};

/// How one session wants its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) revision: Revision,
    /// The session speaks the msgpack parser (always EIO 4).
    pub(crate) msgpack: bool,
    /// Attachments that its parser takes.
    pub(crate) attachments_max: usize,
}

/// One engine packet inside the bytes of a [`Wire`], WebSocket header left out.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: u32,
    end: u32,
    binary: bool,
}

/// Encoded bytes that may travel to other cores: WebSocket frames, ready for EIO 4 and the
/// default parser, which is what nearly everybody speaks.
///
/// Shape: for text one frame `81 <len> 4 2["name",…]`; attachments follow as binary frames.
#[derive(Debug)]
pub struct Wire {
    bytes: Box<[u8]>,
    first: Part,
    more: Vec<Part>,
    /// Whether the first part is a Socket.IO packet, which the msgpack parser wants differently.
    socketio: bool,
}

impl Wire {
    /// An engine packet that is text, its digit included.
    #[must_use]
    pub fn text(packet: &[u8]) -> Self {
        Self::build(&[], packet, &[] as &[&[u8]], false)
    }

    /// A Socket.IO packet: its text (without the engine's `4`) and its attachments.
    ///
    /// Cost: one allocation of the exact size.
    #[must_use]
    pub fn packet(text: &[u8], attachments: &[impl AsRef<[u8]>]) -> Self {
        Self::build(b"4", text, attachments, true)
    }

    /// A binary message of a raw engine session.
    #[must_use]
    pub fn binary(data: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(ws::header_len(data.len()) + data.len());
        let first = push_part(&mut bytes, WsKind::Binary, &[], data);
        Self { bytes: bytes.into(), first, more: Vec::new(), socketio: false }
    }

    fn build(prefix: &[u8], text: &[u8], attachments: &[impl AsRef<[u8]>], socketio: bool) -> Self {
        let framed = |len: usize| ws::header_len(len) + len;
        let attached: usize = attachments.iter().map(|a| framed(a.as_ref().len())).sum();
        let mut bytes = Vec::with_capacity(framed(prefix.len() + text.len()) + attached);
        let first = push_part(&mut bytes, WsKind::Text, prefix, text);
        let more = attachments
            .iter()
            .map(|data| push_part(&mut bytes, WsKind::Binary, &[], data.as_ref()))
            .collect();
        Self { bytes: bytes.into(), first, more, socketio }
    }

    /// Bytes in the common form.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What it counts for in an outbox: its bytes in the common form, and its keeping.
    pub(super) fn cost(&self) -> usize {
        self.len() + KEEPING_BYTES
    }

    /// Whether there are none, which no constructor makes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The packet without header and digit, if it is a Socket.IO packet.
    pub(super) fn packet_text(&self) -> Option<&str> {
        let text = self.slice(self.first).get(1..)?;
        if self.socketio { std::str::from_utf8(text).ok() } else { None }
    }

    fn slice(&self, part: Part) -> &[u8] {
        &self.bytes[part.start as usize..part.end as usize]
    }

    /// What follows the first part.
    pub(super) fn attachments(&self) -> impl Iterator<Item = &[u8]> {
        self.more.iter().map(|part| self.slice(*part))
    }

    /// All its WebSocket frames.
    pub(crate) fn frames(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = (&[u8], bool)> {
        std::iter::once(&self.first).chain(&self.more).map(|part| (self.slice(*part), part.binary))
    }
}

fn push_part(bytes: &mut Vec<u8>, kind: WsKind, prefix: &[u8], data: &[u8]) -> Part {
    ws::write_header(bytes, kind, prefix.len() + data.len());
    let start = at(bytes);
    bytes.extend_from_slice(prefix);
    bytes.extend_from_slice(data);
    Part { start, end: at(bytes), binary: kind == WsKind::Binary }
}

fn at(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("messages are bounded far below 4 GiB")
}

/// A [`Wire`] as the outboxes of one core share it: handing it to ten thousand members costs ten
/// thousand plain increments and no atomic.
#[derive(Clone, Debug)]
pub(crate) struct Frame(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    wire: Store,
    /// The same packet for the msgpack parser, made when the first such receiver appears;
    /// `None` inside when it cannot be said in that form.
    msgpack: OnceCell<Option<Wire>>,
    /// What was compressed of it, made when a receiver appears that takes it.
    packed: OnceCell<Box<PackedForms>>,
}

impl Inner {
    fn new(wire: Store) -> Self {
        Self { wire, msgpack: OnceCell::new(), packed: OnceCell::new() }
    }
}

/// Which frame was sent, for asking later whether it still waits somewhere; keeps no bytes alive.
#[derive(Clone, Debug)]
pub(crate) struct Mark(Weak<Inner>);

impl Mark {
    /// Whether the frame waits for nobody on this core any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// Bytes that a frame takes beside its own: an allocation of 136, the rounding of another, and a
/// place of 8 in a queue that grows by doubling.
const KEEPING_BYTES: usize = 176;

#[derive(Debug)]
enum Store {
    Own(Wire),
    Shared(Arc<Wire>),
}

impl From<Wire> for Frame {
    fn from(wire: Wire) -> Self {
        Self(Rc::new(Inner::new(Store::Own(wire))))
    }
}

impl From<Arc<Wire>> for Frame {
    fn from(wire: Arc<Wire>) -> Self {
        Self(Rc::new(Inner::new(Store::Shared(wire))))
    }
}

impl Frame {
    /// What to know this frame by.
    pub(crate) fn mark(&self) -> Mark {
        Mark(Rc::downgrade(&self.0))
    }

    /// Whether it is the one with this mark.
    pub(crate) fn has(&self, mark: &Mark) -> bool {
        Rc::as_ptr(&self.0) == mark.0.as_ptr()
    }

    fn wire(&self) -> &Wire {
        match &self.0.wire {
            Store::Own(wire) => wire,
            Store::Shared(wire) => wire,
        }
    }

    /// What this frame counts for in an outbox.
    pub(crate) fn cost(&self) -> usize {
        self.wire().cost()
    }

    /// The bytes in the form a session wants, or `None` if its parser cannot take them.
    fn formed(&self, form: Form) -> Option<&Wire> {
        let wire = self.wire();
        if !wire.socketio {
            return Some(wire);
        }
        if form.msgpack {
            return self.0.msgpack.get_or_init(|| to_msgpack(wire)).as_ref();
        }
        (wire.more.len() <= form.attachments_max).then_some(wire)
    }

    /// Appends the WebSocket frames; false if this session's parser cannot take the message.
    ///
    /// Cost: one copy of the bytes.
    pub(crate) fn write_ws(&self, out: &mut Vec<u8>, form: Form) -> bool {
        let Some(wire) = self.formed(form) else { return false };
        if form.revision == Revision::V4 || wire.parts().all(|(_, binary)| !binary) {
            out.extend_from_slice(&wire.bytes);
            return true;
        }
        for (data, binary) in wire.parts() {
            // Rule: engine.io-protocol v3: binary on WebSocket starts with the packet's kind.
            let (kind, prefix): (_, &[u8]) =
                if binary { (WsKind::Binary, &[4]) } else { (WsKind::Text, &[]) };
            push_part(out, kind, prefix, data);
        }
        true
    }

    /// As [`Self::write_ws`], for a client that takes compressed messages.
    ///
    /// Cost: compressing happens once a core and form, however many take it.
    pub(crate) fn write_ws_packed(
        &self,
        out: &mut Vec<u8>,
        form: Form,
        pressing: &mut Pressing<'_>,
    ) -> bool {
        let Some(wire) = self.formed(form) else { return false };
        // Revision 3 puts a byte before binary messages: such a form is not worth keeping.
        let common = form.revision == Revision::V4 || wire.parts().all(|(_, binary)| !binary);
        if !common || !pressing.is_worth(wire.len()) {
            return self.write_ws(out, form);
        }
        if Rc::strong_count(&self.0) == 1 && self.0.packed.get().is_none() {
            pressing.write_once(wire, out);
            return true;
        }
        let forms = self.0.packed.get_or_init(Box::default);
        let cell =
            if form.msgpack && self.wire().socketio { &forms.msgpack } else { &forms.common };
        pressing.write_shared(wire, cell, out);
        true
    }

    /// Whether an EIO 3 body with this frame must be the binary form.
    pub(crate) fn has_binary(&self) -> bool {
        self.wire().parts().any(|(_, binary)| binary)
    }

    /// Appends the packets to a polling body; `false` as for [`Self::write_ws`].
    pub(crate) fn write_polling(&self, out: &mut Vec<u8>, form: Form, v3_binary: bool) -> bool {
        let Some(wire) = self.formed(form) else { return false };
        for (data, binary) in wire.parts() {
            match (form.revision, binary) {
                (Revision::V3, _) if v3_binary => engineio::encode_v3_piece(out, data, binary),
                (Revision::V3, true) => engineio::encode_v3_binary(out, data),
                (Revision::V3, false) => {
                    engineio::encode_v3_text(out, &String::from_utf8_lossy(data));
                }
                (Revision::V4, _) => {
                    if !out.is_empty() {
                        out.push(0x1e);
                    }
                    if binary {
                        out.push(b'b');
                        out.extend_from_slice(STANDARD.encode(data).as_bytes());
                    } else {
                        out.extend_from_slice(data);
                    }
                }
            }
        }
        true
    }
}

fn to_msgpack(wire: &Wire) -> Option<Wire> {
    let text = wire.packet_text()?;
    let attachments: Vec<&[u8]> = wire.more.iter().map(|part| wire.slice(*part)).collect();
    let packed = socketio::encode_packet(text, &attachments).ok()?;
    Some(Wire::binary(&packed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Form = Form { revision: Revision::V4, msgpack: false, attachments_max: 10 };
    const V3: Form = Form { revision: Revision::V3, ..V4 };

    #[test]
    fn a_packet_with_attachments_takes_every_form() {
        let frame = Frame::from(Wire::packet(
            b"51-[\"x\",{\"_placeholder\":true,\"num\":0}]",
            &[[1, 2, 3]],
        ));
        let (mut v4, mut v3) = (Vec::new(), Vec::new());
        assert!(frame.write_ws(&mut v4, V4) && frame.write_ws(&mut v3, V3));
        assert_eq!(v4[v4.len() - 5..], [0x82, 3, 1, 2, 3]);
        assert_eq!(v3[v3.len() - 6..], [0x82, 4, 4, 1, 2, 3]);

        let (mut v4, mut v3) = (Vec::new(), Vec::new());
        assert!(frame.write_polling(&mut v4, V4, false));
        assert!(frame.write_polling(&mut v3, V3, false));
        assert!(v4.ends_with(b"\x1ebAQID"));
        assert!(v3.starts_with(b"39:451-") && v3.ends_with(b"6:b4AQID"));
    }

    #[test]
    fn more_attachments_than_a_parser_takes_are_not_written() {
        let many = vec![vec![0_u8]; 11];
        let frame = Frame::from(Wire::packet(b"511-[\"x\"]", &many));
        assert!(!frame.write_ws(&mut Vec::new(), V4));
    }
}
