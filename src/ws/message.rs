//! Messages from frames.

use std::borrow::Cow;

use super::close::parse_close;
use super::frame::{FrameHead, Kind, apply_mask};

/// What one message may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message, all its parts together.
    pub message_bytes_max: usize,
    /// Parts of a message, empty ones counted.
    pub fragments_max: u32,
    /// Whether permessage-deflate was agreed on, so that RSV1 has a meaning.
    pub deflate: bool,
}

impl Limits {
    /// Bytes of a message as it travels. What cannot be made shorter becomes a little longer in
    /// the hands of a client that compresses everything; how long it is, inflating shows.
    const fn travel_bytes_max(&self, packed: bool) -> usize {
        let extra = if packed { self.message_bytes_max / 64 + 64 } else { 0 };
        self.message_bytes_max.saturating_add(extra)
    }
}

/// A rule of RFC 6455 that a peer broke, or a limit of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WsError {
    /// Section 5.1: a client masks, a server does not.
    Mask,
    /// Section 5.2: a reserved bit is set although no extension was agreed on that uses it there.
    ReservedBits,
    /// Section 5.2: a reserved opcode.
    Opcode,
    /// Section 5.2: a 64-bit length with its top bit set.
    Length,
    /// Section 5.4: a continuation with nothing to continue.
    NothingToContinue,
    /// Section 5.4: a new message before the last part of the one before.
    Interleaved,
    /// Section 5.5: a control frame in parts.
    ControlInParts,
    /// Section 5.5: a control frame of more than 125 bytes.
    ControlTooBig,
    /// Section 5.5.1: a close frame with half a code.
    CloseTooShort,
    /// Section 7.4: a close code that must not travel.
    CloseCode,
    /// Section 8.1: text, or the reason of a close, that is not UTF-8.
    Utf8,
    /// More bytes than [`Limits::message_bytes_max`].
    TooBig,
    /// More parts than [`Limits::fragments_max`].
    TooManyFragments,
}

impl WsError {
    /// The code of the close frame that answers it (RFC 6455 section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Utf8 => 1007,
            // Parts are a size of their own: a million empty ones cost more than their payload.
            Self::TooBig | Self::TooManyFragments => 1009,
            Self::Mask
            | Self::ReservedBits
            | Self::Opcode
            | Self::Length
            | Self::NothingToContinue
            | Self::Interleaved
            | Self::ControlInParts
            | Self::ControlTooBig
            | Self::CloseTooShort
            | Self::CloseCode => 1002,
        }
    }
}

/// What a client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message of text: where it lies, or put together from its parts.
    Text(Cow<'a, str>),
    /// A message of bytes, likewise.
    Binary(Cow<'a, [u8]>),
    /// A compressed message, all its parts in a row. What it says, [`crate::deflate`] finds out,
    /// and whether it is UTF-8, whoever asks that.
    Packed {
        /// Whether it has to be text.
        text: bool,
        /// Its payload.
        data: Cow<'a, [u8]>,
    },
    /// To be answered with a pong of this payload.
    Ping(&'a [u8]),
    /// Nobody asked, or somebody did; the payload does not matter to us.
    Pong,
    /// The client ends the connection; nothing after it may be read.
    Close(Option<u16>),
}

/// How far a [`Decoder`] came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The bytes do not begin with a whole frame, and were not touched.
    Need {
        /// With fewer bytes than this it is of no use to ask again: the frame's length, or its
        /// header's while that is all one can know.
        need: usize,
    },
    /// A part of a message was taken in.
    Absorbed {
        /// Bytes to drop before asking again.
        consumed: usize,
    },
    /// A message, or a control frame.
    Event {
        /// Bytes to drop before asking again.
        consumed: usize,
        /// What it was.
        event: Event<'a>,
    },
}

/// A frame that is there from its first byte to its last.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    head: FrameHead,
    mask: [u8; 4],
    /// Its bytes, with its header.
    pub len: usize,
}

/// One connection's message in parts. Eight bytes while there is none.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

#[derive(Debug)]
struct Partial {
    text: bool,
    packed: bool,
    fragments: u32,
    bytes: Vec<u8>,
    /// How much of `bytes` is known to be UTF-8; the rest is the start of one character.
    utf8_checked: usize,
    early: Early,
}

/// How far a text frame that is not whole yet has been judged.
#[derive(Debug, Default)]
struct Early {
    /// Bytes of its payload.
    seen: usize,
    /// The start of one character at their end.
    open: [u8; 3],
    open_len: usize,
}

impl Decoder {
    /// Takes one frame from the front of `bytes`, unmasking it where it lies.
    ///
    /// After an error, or after [`Event::Close`], the connection is over.
    ///
    /// Cost: no copy and no allocation for a message in one frame; one copy otherwise.
    ///
    /// # Errors
    /// The first rule that the frame breaks, from its header alone where that suffices.
    pub fn next<'a>(&mut self, bytes: &'a mut [u8], limits: &Limits) -> Result<Step<'a>, WsError> {
        let ready = match self.look(bytes, limits)? {
            Ok(ready) => ready,
            Err(need) => return Ok(Step::Need { need }),
        };
        let consumed = ready.len;
        Ok(match self.take(&ready, &mut bytes[..consumed])? {
            Some(event) => Step::Event { consumed, event },
            None => Step::Absorbed { consumed },
        })
    }

    /// The first half of [`Self::next`], for whoever wants to part the frame from what follows
    /// it: the frame at the front of `bytes`, or how many bytes it takes to know more.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn look(&mut self, bytes: &[u8], limits: &Limits) -> Result<Result<Ready, usize>, WsError> {
        let Some(head) = FrameHead::parse(bytes)? else {
            return Ok(Err(FrameHead::len_expected(bytes)));
        };
        // Rule: RFC 6455 section 5.1: "the server MUST close the connection upon receiving a
        // frame that is not masked".
        let mask = head.mask.ok_or(WsError::Mask)?;
        let payload_len = self.check(&head, limits)?;
        let len = head.header_len.saturating_add(payload_len);
        if bytes.len() >= len {
            return Ok(Ok(Ready { head, mask, len }));
        }
        self.judge_early(&head, mask, &bytes[head.header_len..])?;
        Ok(Err(len))
    }

    /// The second half: takes that very frame. `None` is a part of a message that was kept.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn take<'a>(
        &mut self,
        ready: &Ready,
        frame: &'a mut [u8],
    ) -> Result<Option<Event<'a>>, WsError> {
        let head = &ready.head;
        let payload = &mut frame[head.header_len..];
        apply_mask(payload, ready.mask);
        Ok(Some(match head.kind {
            Kind::Text | Kind::Binary if head.packed && head.fin => {
                Event::Packed { text: head.kind == Kind::Text, data: Cow::Borrowed(payload) }
            }
            Kind::Text if head.fin => {
                self.partial = None;
                Event::Text(Cow::Borrowed(text(payload)?))
            }
            Kind::Binary if head.fin => Event::Binary(Cow::Borrowed(payload)),
            Kind::Ping => Event::Ping(payload),
            Kind::Pong => Event::Pong,
            Kind::Close => Event::Close(parse_close(payload)?),
            Kind::Text | Kind::Binary | Kind::Continuation => return self.absorb(head, payload),
        }))
    }

    /// Refuses text whose frame is not whole yet as soon as nothing that follows could make it
    /// UTF-8: who is sent megabytes need not wait for the last of them.
    ///
    /// Cost: each byte is unmasked once more, into a buffer that stays in the cache.
    fn judge_early(
        &mut self,
        head: &FrameHead,
        mask: [u8; 4],
        so_far: &[u8],
    ) -> Result<(), WsError> {
        if so_far.is_empty() || head.packed {
            return Ok(());
        }
        match (head.kind, &mut self.partial) {
            (Kind::Continuation, Some(partial)) if partial.text && !partial.packed => {
                partial.judge_early(mask, so_far)
            }
            (Kind::Text, partial) => {
                let partial = partial.get_or_insert_with(|| Partial::new(head));
                partial.judge_early(mask, so_far)
            }
            _ => Ok(()),
        }
    }

    /// Bytes of memory held for a message in parts.
    #[must_use]
    pub fn partial_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.bytes.capacity())
    }

    /// The rules a header can break because of what came before it, and the limits.
    fn check(&self, head: &FrameHead, limits: &Limits) -> Result<usize, WsError> {
        // Rule: RFC 7692 section 6: RSV1 is set on the first frame of a compressed message, and
        // nowhere else.
        if head.packed && !(limits.deflate && matches!(head.kind, Kind::Text | Kind::Binary)) {
            return Err(WsError::ReservedBits);
        }
        let begun = self.partial.as_ref().filter(|partial| partial.fragments > 0);
        let (bytes_before, fragments_before, packed) = match (begun, head.kind) {
            (None, Kind::Continuation) => return Err(WsError::NothingToContinue),
            (Some(_), Kind::Text | Kind::Binary) => return Err(WsError::Interleaved),
            (Some(partial), Kind::Continuation) => {
                (partial.bytes.len(), partial.fragments, partial.packed)
            }
            (_, _) => (0, 0, head.packed),
        };
        let payload_len = usize::try_from(head.payload_len).map_err(|_| WsError::TooBig)?;
        if head.kind.is_control() {
            return Ok(payload_len);
        }
        let room = limits.travel_bytes_max(packed).saturating_sub(bytes_before);
        if payload_len > room {
            return Err(WsError::TooBig);
        }
        let in_parts = !head.fin || head.kind == Kind::Continuation;
        if in_parts && fragments_before >= limits.fragments_max {
            return Err(WsError::TooManyFragments);
        }
        Ok(payload_len)
    }

    fn absorb<'a>(
        &mut self,
        head: &FrameHead,
        payload: &[u8],
    ) -> Result<Option<Event<'a>>, WsError> {
        let partial = self.partial.get_or_insert_with(|| Partial::new(head));
        partial.fragments += 1;
        partial.early = Early::default();
        partial.bytes.extend_from_slice(payload);
        if partial.text && !partial.packed {
            partial.check_utf8()?;
        }
        let Some(whole) = self.partial.take_if(|_| head.fin) else { return Ok(None) };
        Ok(Some(if whole.packed {
            Event::Packed { text: whole.text, data: Cow::Owned(whole.bytes) }
        } else if whole.text {
            let text = String::from_utf8(whole.bytes).map_err(|_| WsError::Utf8)?;
            Event::Text(Cow::Owned(text))
        } else {
            Event::Binary(Cow::Owned(whole.bytes))
        }))
    }
}

impl Partial {
    fn new(head: &FrameHead) -> Box<Self> {
        Box::new(Self {
            text: head.kind == Kind::Text,
            packed: head.packed,
            fragments: 0,
            bytes: Vec::new(),
            utf8_checked: 0,
            early: Early::default(),
        })
    }

    /// Goes on with judging the frame that comes next, of whose payload there is only `so_far`.
    fn judge_early(&mut self, mask: [u8; 4], so_far: &[u8]) -> Result<(), WsError> {
        let Early { seen, open, open_len } = &mut self.early;
        if *seen == 0 {
            let rest = &self.bytes[self.utf8_checked..];
            open[..rest.len()].copy_from_slice(rest);
            *open_len = rest.len();
        }
        let mut clear = [0; EARLY_BYTES];
        while *seen < so_far.len() {
            clear[..*open_len].copy_from_slice(&open[..*open_len]);
            let count = (so_far.len() - *seen).min(EARLY_BYTES - *open_len);
            let end = *open_len + count;
            clear[*open_len..end].copy_from_slice(&so_far[*seen..*seen + count]);
            let mut turned = mask;
            turned.rotate_left(*seen % 4);
            apply_mask(&mut clear[*open_len..end], turned);
            let left = unfinished(&clear[..end])?;
            *open_len = left.len();
            open[..left.len()].copy_from_slice(left);
            *seen += count;
        }
        Ok(())
    }

    /// Refuses text as soon as no further part could make it UTF-8.
    ///
    /// Cost: each byte is looked at once, but for up to three a part that wait for their rest.
    fn check_utf8(&mut self) -> Result<(), WsError> {
        let left = unfinished(&self.bytes[self.utf8_checked..])?.len();
        self.utf8_checked = self.bytes.len() - left;
        Ok(())
    }
}

/// Bytes of an unfinished frame that are unmasked at a time, apart, for a look at them.
const EARLY_BYTES: usize = 1_024;

/// The start of one character at the end of what is UTF-8 otherwise: three bytes at most.
fn unfinished(bytes: &[u8]) -> Result<&[u8], WsError> {
    match simdutf8::compat::from_utf8(bytes) {
        Ok(_) => Ok(&[]),
        Err(broken) if broken.error_len().is_none() => Ok(&bytes[broken.valid_up_to()..]),
        Err(_) => Err(WsError::Utf8),
    }
}

fn text(payload: &[u8]) -> Result<&str, WsError> {
    simdutf8::basic::from_utf8(payload).map_err(|_| WsError::Utf8)
}
