//! The default parser's packet: what stands before the JSON.

use super::ParseError;
use super::scan::BLANKS;

/// What a packet is for.
///
/// Rule: socket.io-protocol v5, "Packet encoding": the kind is the first character, '0' to '6'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client asks for a namespace, or the server lets it in.
    Connect,
    /// A namespace is left.
    Disconnect,
    /// A named event with arguments.
    Event,
    /// The answer to an event that carried an ack id.
    Ack,
    /// The server refuses a namespace. From a client it is a violation.
    ConnectError,
    /// An event whose binary parts follow as messages of their own.
    BinaryEvent,
    /// An answer whose binary parts follow as messages of their own.
    BinaryAck,
}

impl Kind {
    /// In wire order: the entry at index `n` is written as the digit `n`.
    pub const TABLE: [Self; 7] = [
        Self::Connect,
        Self::Disconnect,
        Self::Event,
        Self::Ack,
        Self::ConnectError,
        Self::BinaryEvent,
        Self::BinaryAck,
    ];

    /// The kind a wire digit names.
    #[must_use]
    pub fn from_byte(found: u8) -> Option<Self> {
        Self::TABLE.get(usize::from(found.checked_sub(b'0')?)).copied()
    }

    /// The wire digit of this kind.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        b'0' + self as u8
    }

    /// Whether messages with attachments follow a packet of this kind.
    #[must_use]
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }
}

// The table and the discriminants must tell the same story.
const _: () = {
    let mut n = 0;
    while n < Kind::TABLE.len() {
        assert!(Kind::TABLE[n] as usize == n);
        n += 1;
    }
};

/// Longest namespace read, in bytes. Node has no ceiling; contract: names are 1 to 256 bytes.
pub const NAMESPACE_BYTES_MAX: usize = 256;

/// Longest ack id read, in digits: what a `u64` needs. Ids are echoed verbatim, so ids beyond
/// 2^53 survive here, unlike in Node.
pub const ACK_ID_DIGITS_MAX: usize = 20;

/// Names an application may not use for its events: they would be taken for our own.
///
/// Rule: socket.io-parser, `RESERVED_EVENTS`. `error` is not among them (CVE-2024-38355).
pub const RESERVED_NAMES: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Whether `name` may not be the name of an event, on either side.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED_NAMES.contains(&name)
}

/// One packet of the default parser, borrowed from the text it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is for.
    pub kind: Kind,
    /// How many binary messages follow; 0 unless the kind is binary, and never 0 if it is.
    pub attachments: u32,
    /// The namespace, `/` where none was written. A query string is part of it (protocol v5).
    pub namespace: &'a str,
    /// The digits of the ack id as they stood, 1 to [`ACK_ID_DIGITS_MAX`] of them.
    pub ack_id: Option<&'a str>,
    /// The rest: JSON that nobody has looked at yet ([`super::JsonChecker`] does), or nothing.
    pub data: &'a str,
}

/// Reads what stands before the JSON; `text` is without the Engine.IO `4`.
///
/// Rule: socket.io-protocol v5, "Packet encoding":
/// `<kind>[<attachments>-][<namespace>,][<ack id>][<JSON>]`. A namespace ends at the first comma
/// or at the end of input. Blanks before the JSON are skipped (Node takes them for ack id 0;
/// no encoder sends them).
/// Cost: each byte of the prefix once, nothing copied, the JSON not looked at.
///
/// # Errors
/// [`ParseError`] for input that no rule allows, before anything is stored.
pub fn parse(text: &str, attachments_max: u32) -> Result<Packet<'_>, ParseError> {
    let first = *text.as_bytes().first().ok_or(ParseError::Empty)?;
    let kind = Kind::from_byte(first).ok_or(ParseError::UnknownKind)?;
    let mut rest = &text[1..];
    let mut attachments = 0;
    if kind.is_binary() {
        (attachments, rest) = attachment_count(rest, attachments_max)?;
    }
    let mut namespace = "/";
    if rest.starts_with('/') {
        (namespace, rest) = split_namespace(rest)?;
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits > ACK_ID_DIGITS_MAX {
        return Err(ParseError::AckIdTooLong);
    }
    let (id, rest) = rest.split_at(digits);
    let ack_id = (digits > 0).then_some(id);
    let data = rest.trim_start_matches(BLANKS);
    if kind == Kind::Disconnect && !data.is_empty() {
        return Err(ParseError::PayloadUnexpected);
    }
    Ok(Packet { kind, attachments, namespace, ack_id, data })
}

/// `<count>-`: 1 to `max`, digits only. JavaScript's other ways to write a number (`1.0`, `1e0`)
/// are refused: no encoder writes them.
fn attachment_count(rest: &str, max: u32) -> Result<(u32, &str), ParseError> {
    // Ten digits hold every u32; a longer run is over any limit and need not be read.
    let digits = rest.bytes().take(11).take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(ParseError::AttachmentCount);
    }
    if digits > 10 {
        return Err(ParseError::TooManyAttachments);
    }
    let (count, rest) = rest.split_at(digits);
    let rest = rest.strip_prefix('-').ok_or(ParseError::AttachmentCount)?;
    match count.parse::<u32>() {
        // CVE-2026-69185: a packet that waits for nothing would collect binary without end.
        Ok(0) => Err(ParseError::AttachmentCount),
        Ok(count) if count <= max => Ok((count, rest)),
        Ok(_) | Err(_) => Err(ParseError::TooManyAttachments),
    }
}

fn split_namespace(rest: &str) -> Result<(&str, &str), ParseError> {
    let window = &rest.as_bytes()[..rest.len().min(NAMESPACE_BYTES_MAX + 1)];
    match window.iter().position(|&byte| byte == b',') {
        Some(comma) => Ok((&rest[..comma], &rest[comma + 1..])),
        None if rest.len() <= NAMESPACE_BYTES_MAX => Ok((rest, "")),
        None => Err(ParseError::NamespaceTooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: Kind, namespace: &'static str, data: &'static str) -> Packet<'static> {
        Packet { kind, attachments: 0, namespace, ack_id: None, data }
    }

    /// socket.io-protocol v5, "Packet encoding", and the frames its sample session shows.
    #[test]
    fn prefixes_are_read() {
        let plain = |kind, data| packet(kind, "/", data);
        let with_id = |id, base: Packet<'static>| Packet { ack_id: Some(id), ..base };
        let table: &[(&str, Packet<'_>)] = &[
            ("0", plain(Kind::Connect, "")),
            ("0/custom,{\"token\":\"x\"}", packet(Kind::Connect, "/custom", "{\"token\":\"x\"}")),
            ("0/custom", packet(Kind::Connect, "/custom", "")),
            ("0/custom?x=1,", packet(Kind::Connect, "/custom?x=1", "")),
            ("1", plain(Kind::Disconnect, "")),
            ("1/ns,", packet(Kind::Disconnect, "/ns", "")),
            ("1 ", plain(Kind::Disconnect, "")),
            ("2", plain(Kind::Event, "")),
            ("2/a[\"x\"]", packet(Kind::Event, "/a[\"x\"]", "")),
            ("2 [\"a\"]", plain(Kind::Event, "[\"a\"]")),
            ("212[\"m\",1]", with_id("12", plain(Kind::Event, "[\"m\",1]"))),
            ("30", with_id("0", plain(Kind::Ack, ""))),
            ("39007199254740993999[]", with_id("9007199254740993999", plain(Kind::Ack, "[]"))),
            ("4{}", plain(Kind::ConnectError, "{}")),
            (
                "51-7[\"x\"]",
                with_id("7", Packet { attachments: 1, ..plain(Kind::BinaryEvent, "[\"x\"]") }),
            ),
            ("610-/é,[]", Packet { attachments: 10, ..packet(Kind::BinaryAck, "/é", "[]") }),
        ];
        for (text, wanted) in table {
            assert_eq!(parse(text, 10), Ok(*wanted), "{text}");
        }
    }

    #[test]
    fn prefixes_that_no_rule_allows_are_refused() {
        let long_namespace = format!("2/{}", "a".repeat(NAMESPACE_BYTES_MAX));
        let long_id = format!("2{}[]", "1".repeat(ACK_ID_DIGITS_MAX + 1));
        let table: &[(&str, ParseError)] = &[
            ("", ParseError::Empty),
            ("7", ParseError::UnknownKind),
            ("x", ParseError::UnknownKind),
            (" ", ParseError::UnknownKind),
            ("é", ParseError::UnknownKind),
            ("1[\"x\"]", ParseError::PayloadUnexpected),
            ("5", ParseError::AttachmentCount),
            ("5-", ParseError::AttachmentCount),
            ("5[\"x\"]", ParseError::AttachmentCount),
            ("51", ParseError::AttachmentCount),
            ("51.0-[\"x\"]", ParseError::AttachmentCount),
            ("51e0-[\"x\"]", ParseError::AttachmentCount),
            ("5-1-[\"x\"]", ParseError::AttachmentCount),
            ("50-[\"x\"]", ParseError::AttachmentCount),
            ("511-[\"x\"]", ParseError::TooManyAttachments),
            ("59999999999-[\"x\"]", ParseError::TooManyAttachments),
            ("5100000000000000000000-[\"x\"]", ParseError::TooManyAttachments),
            (&long_namespace, ParseError::NamespaceTooLong),
            (&long_id, ParseError::AckIdTooLong),
        ];
        for (text, wanted) in table {
            assert_eq!(parse(text, 10), Err(*wanted), "{text}");
        }
    }

    #[test]
    fn the_limits_themselves_are_allowed() {
        let namespace = format!("/{}", "a".repeat(NAMESPACE_BYTES_MAX - 1));
        for text in [format!("2{namespace}"), format!("2{namespace},[1]")] {
            assert_eq!(parse(&text, 10).map(|p| p.namespace), Ok(namespace.as_str()));
        }
        let id = "9".repeat(ACK_ID_DIGITS_MAX);
        assert_eq!(parse(&format!("2{id}[1]"), 10).map(|p| p.ack_id), Ok(Some(id.as_str())));
    }

    /// Cut anywhere, also inside a character: no panic, and what is left is a part of the input.
    #[test]
    fn cut_anywhere() {
        let text = "510-/naïve/ŝ,123[\"é\",{\"_placeholder\":true,\"num\":0}]";
        for cut in (0..=text.len()).filter(|&cut| text.is_char_boundary(cut)) {
            if let Ok(packet) = parse(&text[..cut], 10) {
                assert!(packet.data.len() <= cut && packet.namespace.starts_with('/'));
            }
        }
    }
}
