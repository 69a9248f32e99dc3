//! What a message carries so that its receiver can tell who sent it, when, and whether it is
//! whole: room, sender, sequence, time, a checksum over them, and padding that follows from the
//! checksum. All of it is one JSON string of fixed length, so that a server may order the members
//! of the object around it as it likes.

use crate::clock::Nanos;

/// Who sent a message and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The room or, for a message to oneself, the connection: below 2^24.
    pub room: u32,
    /// The sender's place among the senders of the room: below 2^18.
    pub sender: u32,
    /// How many messages the sender had sent to this room before.
    pub sequence: u32,
    /// When it was sent or, in an open loop, when it should have been: below 2^54 ns.
    pub time: Nanos,
}

/// Characters of a token without its padding.
pub const TOKEN_BYTES: usize = 27;
/// One character is six bits.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// No character of the alphabet.
const NONE: u8 = 0xff;

const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut at = 0;
    while at < 64 {
        values[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    values
};

/// Writes and reads tokens with a certain amount of padding.
#[derive(Clone, Debug)]
pub struct Codec {
    /// Any window of `padding` bytes that begins in the first 64 is some message's padding.
    pattern: Vec<u8>,
    padding: usize,
}

fn put(out: &mut [u8; TOKEN_BYTES], from: usize, count: usize, value: u64) {
    for at in 0..count {
        let shift = 6 * (count - 1 - at);
        out[from + at] = ALPHABET[(value >> shift) as usize & 63];
    }
}

/// The value of `count` characters; the top bit is set if one is not of the alphabet.
#[inline]
fn get(text: &[u8; TOKEN_BYTES], from: usize, count: usize) -> (u64, u8) {
    let mut value = 0;
    let mut bad = 0;
    for character in &text[from..from + count] {
        let six = VALUES[usize::from(*character)];
        bad |= six;
        value = value << 6 | u64::from(six & 63);
    }
    (value, bad & 0x80)
}

/// 30 bits over the whole token.
#[inline]
const fn checksum(token: &Token) -> u64 {
    let who = (token.room as u64) << 40 ^ (token.sender as u64) << 32 ^ token.sequence as u64;
    let mut sum = (who ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xff51_afd7_ed55_8ccd);
    sum ^= sum >> 32;
    sum = (sum ^ token.time).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (sum >> 30) & 0x3fff_ffff
}

impl Codec {
    /// For strings of `length` bytes: at least [`TOKEN_BYTES`].
    #[must_use]
    pub fn new(length: usize) -> Self {
        let padding = length.saturating_sub(TOKEN_BYTES);
        let pattern = (0..padding + 64).map(|at| ALPHABET[(at * 11 + at / 64) % 64]).collect();
        Self { pattern, padding }
    }

    /// Bytes of the string.
    #[must_use]
    pub const fn length(&self) -> usize {
        TOKEN_BYTES + self.padding
    }

    /// Appends the string of a token.
    #[inline]
    pub fn write(&self, token: &Token, out: &mut Vec<u8>) {
        let sum = checksum(token);
        let mut text = [0; TOKEN_BYTES];
        put(&mut text, 0, 4, u64::from(token.room));
        put(&mut text, 4, 3, u64::from(token.sender));
        put(&mut text, 7, 6, u64::from(token.sequence));
        put(&mut text, 13, 9, token.time);
        put(&mut text, 22, 5, sum);
        out.extend_from_slice(&text);
        let start = (sum & 63) as usize;
        out.extend_from_slice(&self.pattern[start..start + self.padding]);
    }

    /// Reads a string; `None` if any byte of it is not as it was written.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the widths of the fields bound them")]
    pub fn read(&self, text: &[u8]) -> Option<Token> {
        let (fields, padding) = text.split_first_chunk::<TOKEN_BYTES>()?;
        let (room, bad_a) = get(fields, 0, 4);
        let (sender, bad_b) = get(fields, 4, 3);
        let (sequence, bad_c) = get(fields, 7, 6);
        let (time, bad_d) = get(fields, 13, 9);
        let (sum, bad_e) = get(fields, 22, 5);
        let token =
            Token { room: room as u32, sender: sender as u32, sequence: sequence as u32, time };
        let start = (sum & 63) as usize;
        let whole = bad_a | bad_b | bad_c | bad_d | bad_e == 0
            && sum == checksum(&token)
            && padding == &self.pattern[start..start + self.padding];
        whole.then_some(token)
    }

    /// Finds the string of a message in a packet: the value of a member `d`. `hint` is where it
    /// was found last time, and is looked at first.
    #[inline]
    #[must_use]
    pub fn find<'a>(&self, packet: &'a [u8], hint: &mut usize) -> Option<&'a [u8]> {
        const MEMBER: &[u8] = b"\"d\":\"";
        let here = packet.get(hint.wrapping_sub(MEMBER.len())..*hint) == Some(MEMBER);
        if !here {
            *hint = find_member(packet)?;
        }
        let end = *hint + self.length();
        (packet.get(end) == Some(&b'"')).then(|| &packet[*hint..end])
    }
}

/// Where the value of the member `d` begins, whatever white space stands around its colon.
fn find_member(packet: &[u8]) -> Option<usize> {
    let finder = memchr::memmem::find_iter(packet, b"\"d\"");
    for at in finder {
        let mut next = at + 3;
        let mut colon = false;
        while let Some(byte) = packet.get(next) {
            match byte {
                b' ' => {}
                b':' if !colon => colon = true,
                b'"' if colon => return Some(next + 1),
                _ => break,
            }
            next += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Token =
        Token { room: 1_234_567, sender: 99_999, sequence: u32::MAX, time: (1 << 54) - 1 };

    #[test]
    fn a_token_comes_back_at_every_length() {
        for length in [TOKEN_BYTES, 28, 44, 300, 5_000] {
            let codec = Codec::new(length);
            let mut text = Vec::new();
            codec.write(&TOKEN, &mut text);
            assert_eq!(text.len(), length);
            assert_eq!(codec.read(&text), Some(TOKEN));
        }
    }

    #[test]
    fn any_byte_changed_is_noticed() {
        let codec = Codec::new(60);
        let mut text = Vec::new();
        codec.write(&TOKEN, &mut text);
        for at in 0..text.len() {
            for change in [1, 0x80] {
                let mut other = text.clone();
                other[at] ^= change;
                assert_eq!(codec.read(&other), None, "byte {at}");
            }
        }
        assert_eq!(codec.read(&text[..59]), None);
    }

    #[test]
    fn it_is_found_wherever_a_server_puts_it() {
        let codec = Codec::new(40);
        let mut text = Vec::new();
        codec.write(&TOKEN, &mut text);
        let text = String::from_utf8(text).unwrap();
        let mut hint = 0;
        for packet in [
            format!("2[\"msg\",{{\"room\":\"r\",\"d\":\"{text}\"}}]"),
            format!("2[\"msg\",{{\"d\":\"{text}\",\"room\":\"r\"}}]"),
            format!("2[\"msg\", {{\"d\" : \"{text}\"}}]"),
        ] {
            for _ in 0..2 {
                let found = codec.find(packet.as_bytes(), &mut hint).unwrap();
                assert_eq!(codec.read(found), Some(TOKEN));
            }
        }
        assert_eq!(codec.find(b"2[\"msg\",{}]", &mut hint), None);
        assert_eq!(codec.find(b"2[\"msg\",{\"d\":\"short\"}]", &mut hint), None);
    }
}
