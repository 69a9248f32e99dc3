//! WebSocket frames as a client reads and writes them.

use std::ops::Range;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The rest of a fragmented message.
    Continuation,
    /// Text.
    Text,
    /// Bytes.
    Binary,
    /// The end.
    Close,
    /// A question that wants a pong.
    Ping,
    /// An answer.
    Pong,
}

/// A frame that stands whole in a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: Kind,
    /// Whether the message ends with it.
    pub is_last: bool,
    /// Where its payload stands in the buffer.
    pub payload: Range<usize>,
}

/// A frame that no server may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Reads the frame at `at`; `None` if it is not whole yet. It ends where its payload ends.
///
/// # Errors
/// A masked frame, a reserved bit or an unknown kind.
#[inline]
pub fn read(bytes: &[u8], at: usize) -> Result<Option<Frame>, Broken> {
    let Some([first, second]) = bytes.get(at..at + 2) else { return Ok(None) };
    let kind = match first & 0x0f {
        0 => Kind::Continuation,
        1 => Kind::Text,
        2 => Kind::Binary,
        8 => Kind::Close,
        9 => Kind::Ping,
        10 => Kind::Pong,
        _ => return Err(Broken),
    };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(Broken);
    }
    let (start, length) = match second {
        126 => {
            let Some(length) = bytes.get(at + 2..).and_then(|rest| rest.first_chunk()) else {
                return Ok(None);
            };
            (at + 4, usize::from(u16::from_be_bytes(*length)))
        }
        127 => {
            let Some(length) = bytes.get(at + 2..).and_then(|rest| rest.first_chunk()) else {
                return Ok(None);
            };
            let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| Broken)?;
            (at + 10, length)
        }
        short => (at + 2, usize::from(*short)),
    };
    let end = start.checked_add(length).ok_or(Broken)?;
    if end > bytes.len() {
        return Ok(None);
    }
    Ok(Some(Frame { kind, is_last: first & 0x80 != 0, payload: start..end }))
}

/// Masks of frames, each another. They hide nothing; they only have to change.
#[derive(Debug)]
pub struct Masks(u32);

impl Masks {
    /// Starts at `seed`.
    #[must_use]
    pub const fn new(seed: u32) -> Self {
        Self(seed | 1)
    }

    fn next(&mut self) -> [u8; 4] {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0.to_ne_bytes()
    }
}

/// Appends a masked frame of one fragment.
#[inline]
pub fn write(out: &mut Vec<u8>, masks: &mut Masks, kind: Kind, payload: &[u8]) {
    let opcode = match kind {
        Kind::Continuation => 0,
        Kind::Text => 1,
        Kind::Binary => 2,
        Kind::Close => 8,
        Kind::Ping => 9,
        Kind::Pong => 10,
    };
    let length = payload.len();
    out.reserve(length + 14);
    out.push(0x80 | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => out.push(0x80 | short),
        (_, Ok(medium)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = masks.next();
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    xor(&mut out[start..], mask);
}

/// Eight bytes a step.
fn xor(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server does with a frame of ours.
    fn unmask(bytes: &[u8], header: usize) -> Vec<u8> {
        let mask = &bytes[header..header + 4];
        let payload = bytes[header + 4..].iter();
        payload.zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
    }

    #[test]
    fn frames_of_every_length_are_masked_and_their_masks_differ() {
        let mut masks = Masks::new(7);
        let mut seen = Vec::new();
        for (length, header) in [(0, 2), (5, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut out = Vec::new();
            write(&mut out, &mut masks, Kind::Text, &payload);
            assert_eq!(out[0], 0x81);
            assert_eq!(out[1] & 0x80, 0x80, "masked");
            assert_eq!(unmask(&out, header), payload);
            seen.push(out[header..header + 4].to_vec());
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn frames_of_a_server_are_read_where_they_stand() {
        let bytes = b"\x81\x02hi\x8a\x00\x01\x01a\x80\x01b";
        let first = read(bytes, 0).unwrap().unwrap();
        assert_eq!(
            (first.kind, first.is_last, &bytes[first.payload.clone()]),
            (Kind::Text, true, &b"hi"[..])
        );
        let second = read(bytes, first.payload.end).unwrap().unwrap();
        assert_eq!((second.kind, second.payload.len()), (Kind::Pong, 0));
        let third = read(bytes, second.payload.end).unwrap().unwrap();
        assert_eq!((third.kind, third.is_last), (Kind::Text, false));
        let fourth = read(bytes, third.payload.end).unwrap().unwrap();
        assert_eq!((fourth.kind, fourth.is_last), (Kind::Continuation, true));
        assert_eq!(fourth.payload.end, bytes.len());
    }

    #[test]
    fn a_frame_cut_anywhere_is_not_whole() {
        let mut medium = vec![0x81, 126, 0, 200];
        medium.extend([b'x'; 200]);
        let mut long = vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0];
        long.extend(vec![b'y'; 65_536]);
        for whole in [b"\x81\x02hi".to_vec(), medium, long] {
            for cut in [0, 1, 2, 3, whole.len() - 1] {
                assert_eq!(read(&whole[..cut], 0), Ok(None));
            }
            assert_eq!(read(&whole, 0).unwrap().unwrap().payload.end, whole.len());
        }
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        assert_eq!(read(b"\x81\x82aaaahi", 0), Err(Broken), "masked");
        assert_eq!(read(b"\xc1\x00", 0), Err(Broken), "a reserved bit");
        assert_eq!(read(b"\x83\x00", 0), Err(Broken), "an unknown kind");
        assert_eq!(read(b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 0), Err(Broken));
    }
}
