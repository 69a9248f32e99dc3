//! The seven kinds of packet.

/// Which revision of the protocol a session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// `EIO=3`: clients of Socket.IO 1 and 2.
    V3,
    /// `EIO=4`: clients of Socket.IO 3 and 4.
    V4,
}

impl Revision {
    /// The number in the query and in the handshake.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }
}

/// Rule: engine.io-protocol v4, "Packet encoding" (the kind is the first character).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Server to client, once.
    Open,
    /// Either side is leaving; meaningful on polling only.
    Close,
    /// Server to client in v4, client to server in v3, and the probe.
    Ping,
    /// The answer to a ping.
    Pong,
    /// What the layer above sends.
    Message,
    /// Client to server, on the transport that takes over.
    Upgrade,
    /// Releases a waiting poll.
    Noop,
}

/// Why a packet was refused. Both are the peer's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// No kind character at all.
    Empty,
    /// The first character is no kind.
    UnknownKind,
    /// A length, separator or base64 text of a payload is wrong.
    Malformed,
}

impl Kind {
    /// In wire order: the entry at index `n` is written as the digit `n`.
    const TABLE: [Self; 7] =
        [Self::Open, Self::Close, Self::Ping, Self::Pong, Self::Message, Self::Upgrade, Self::Noop];

    /// Splits a text packet into its kind and its data.
    ///
    /// # Errors
    /// [`PacketError::Empty`] and [`PacketError::UnknownKind`].
    pub fn split(text: &str) -> Result<(Self, &str), PacketError> {
        let first = *text.as_bytes().first().ok_or(PacketError::Empty)?;
        let index = usize::from(first.wrapping_sub(b'0'));
        let kind = *Self::TABLE.get(index).ok_or(PacketError::UnknownKind)?;
        Ok((kind, text.get(1..).ok_or(PacketError::UnknownKind)?))
    }

    /// The digit.
    #[must_use]
    pub const fn digit(self) -> u8 {
        b'0' + self as u8
    }
}

const _: () = {
    let mut n = 0;
    while n < Kind::TABLE.len() {
        assert!(Kind::TABLE[n] as usize == n);
        n += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_a_digit_and_its_data() {
        assert_eq!(Kind::split("4hello"), Ok((Kind::Message, "hello")));
        assert_eq!(Kind::split("2probe"), Ok((Kind::Ping, "probe")));
        assert_eq!(Kind::split("6"), Ok((Kind::Noop, "")));
        assert_eq!(Kind::split(""), Err(PacketError::Empty));
        for unknown in ["7", "x", "ä", "\u{0}"] {
            assert_eq!(Kind::split(unknown), Err(PacketError::UnknownKind), "{unknown}");
        }
    }
}
