//! Names that carry their home core.

use std::fmt;

/// Which core owns something; also its index in the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u8);

impl CoreId {
    /// The core at `index`.
    ///
    /// # Panics
    /// Above 255: the server refuses to start with more than 256 workers.
    #[must_use]
    pub fn from_index(index: usize) -> Self {
        Self(u8::try_from(index).expect("at most 256 workers are started"))
    }

    /// Its place in arrays of cores.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Characters of an identifier on the wire.
pub const ID20_LEN: usize = 20;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// An engine session id or a public socket id: 15 bytes, 20 characters of base64url on the wire.
///
/// 14 bytes are chance (112 bits); the first is the home core, masked with the second, so that
/// any core can tell the owner without asking and ids of one core do not look alike.
///
/// Rule: engine.io-protocol v4, "Handshake": the sid is unique and unguessable. Node writes 20
/// characters too, and the sharded Redis adapter tells private rooms by that length.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id20([u8; 15]);

impl Id20 {
    /// Makes an id of `core` from 14 bytes of chance (the first of `chance` is not used).
    #[must_use]
    pub const fn new(core: CoreId, chance: [u8; 15]) -> Self {
        let mut bytes = chance;
        bytes[0] = core.0 ^ bytes[1];
        Self(bytes)
    }

    /// The core that owns what this id names. Any well-formed id names some core: the caller
    /// checks that it exists.
    #[must_use]
    pub const fn core(self) -> CoreId {
        CoreId(self.0[0] ^ self.0[1])
    }

    /// Reads the 20 characters; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text: &[u8; ID20_LEN] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 15];
        for (three, four) in bytes.chunks_exact_mut(3).zip(text.chunks_exact(4)) {
            let mut word = 0_u32;
            for &character in four {
                word = word << 6 | u32::from(sextet(character)?);
            }
            three.copy_from_slice(&word.to_be_bytes()[1..]);
        }
        Some(Self(bytes))
    }

    /// The 20 characters.
    #[must_use]
    pub fn text(self) -> IdText {
        let mut out = [0; ID20_LEN];
        for (three, four) in self.0.chunks_exact(3).zip(out.chunks_exact_mut(4)) {
            let word = u32::from_be_bytes([0, three[0], three[1], three[2]]);
            for (place, character) in four.iter_mut().enumerate() {
                let sextet = word >> (18 - 6 * place) & 63;
                *character = ALPHABET[sextet as usize];
            }
        }
        IdText(out)
    }
}

/// The written form of an [`Id20`], without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdText([u8; ID20_LEN]);

impl IdText {
    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }
}

impl fmt::Debug for Id20 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text().as_str())
    }
}

impl fmt::Display for Id20 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text().as_str())
    }
}

const fn sextet(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    #[test]
    fn an_id_reads_back_and_names_its_core() {
        let mut rng = Rng::new(1, 2);
        for core in [0, 1, 7, 255] {
            let chance: [u8; 15] = rng.bytes(15).try_into().expect("15 were drawn");
            let id = Id20::new(CoreId(core), chance);
            assert_eq!(Id20::parse(id.text().as_str()), Some(id));
            assert_eq!(id.core(), CoreId(core));
        }
    }

    #[test]
    fn what_is_not_twenty_characters_of_base64url_is_no_id() {
        for text in ["", "__proto__", "AAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAA=", "ÄÄÄÄÄÄÄÄÄÄ"]
        {
            assert_eq!(Id20::parse(text), None, "{text}");
        }
    }
}
