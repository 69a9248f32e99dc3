//! The default parser's packets, written. Text goes to the end of a buffer that the caller
//! reuses; the Engine.IO `4` before it and the attachments after it are the caller's.

use super::packet::Kind;
use super::scan::find_special;

/// Appends an event: `2["name",args]`, or `5<n>-["name",args]` with attachments.
///
/// `args` is JSON text already judged, without brackets; it goes out as it stands.
/// Cost: one copy of each part; the name is escaped only where it must be.
pub fn event(
    out: &mut Vec<u8>,
    namespace: &str,
    ack_id: Option<u64>,
    name: &str,
    args: &str,
    attachments: usize,
) {
    out.reserve(name.len() + args.len() + namespace.len() + 32);
    let kind = if attachments == 0 { Kind::Event } else { Kind::BinaryEvent };
    prefix(out, kind, attachments, namespace);
    if let Some(id) = ack_id {
        decimal(out, id);
    }
    out.push(b'[');
    escape_json(out, name);
    if !args.is_empty() {
        out.push(b',');
        out.extend_from_slice(args.as_bytes());
    }
    out.push(b']');
}

/// Appends an acknowledgement: `3<id>[args]`, or `6<n>-<id>[args]` with attachments. `id` is the
/// digits as they came with the event.
pub fn ack(out: &mut Vec<u8>, namespace: &str, id: &[u8], args: &str, attachments: usize) {
    out.reserve(id.len() + args.len() + namespace.len() + 16);
    let kind = if attachments == 0 { Kind::Ack } else { Kind::BinaryAck };
    prefix(out, kind, attachments, namespace);
    out.extend_from_slice(id);
    out.push(b'[');
    out.extend_from_slice(args.as_bytes());
    out.push(b']');
}

/// Appends the server's CONNECT: `0{"sid":"…"}`, with `pid` where recovery is on.
pub fn connect(out: &mut Vec<u8>, namespace: &str, sid: &str, pid: Option<&str>) {
    prefix(out, Kind::Connect, 0, namespace);
    out.extend_from_slice(b"{\"sid\":");
    escape_json(out, sid);
    if let Some(pid) = pid {
        out.extend_from_slice(b",\"pid\":");
        escape_json(out, pid);
    }
    out.push(b'}');
}

/// Appends a refusal: `4{"message":"…","data":…}`; `data` is JSON text, left out if none.
pub fn connect_error(out: &mut Vec<u8>, namespace: &str, message: &str, data: Option<&str>) {
    prefix(out, Kind::ConnectError, 0, namespace);
    out.extend_from_slice(b"{\"message\":");
    escape_json(out, message);
    if let Some(data) = data {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data.as_bytes());
    }
    out.push(b'}');
}

/// Appends a DISCONNECT: `1`, or `1/ns,`.
pub fn disconnect(out: &mut Vec<u8>, namespace: &str) {
    prefix(out, Kind::Disconnect, 0, namespace);
}

/// `<kind>[<attachments>-][<namespace>,]`
pub(super) fn prefix(out: &mut Vec<u8>, kind: Kind, attachments: usize, namespace: &str) {
    out.push(kind.to_byte());
    if kind.is_binary() {
        decimal(out, attachments as u64);
        out.push(b'-');
    }
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
}

/// Appends `number` in digits.
pub(super) fn decimal(out: &mut Vec<u8>, mut number: u64) {
    // u64::MAX has 20 digits.
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        let digit = (number % 10) as u8;
        digits[at] = b'0' + digit;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `text` as a JSON string with its quotes, escaped exactly as `JSON.stringify` does.
pub fn escape_json(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut from = 0;
    loop {
        let special = find_special(bytes, from);
        out.extend_from_slice(&bytes[from..special]);
        let Some(&byte) = bytes.get(special) else {
            break;
        };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[high], HEX[low]]);
            }
        }
        from = special + 1;
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// What the official packages put on the wire (without the Engine.IO `4`).
    #[test]
    fn golden_frames() {
        let place = "{\"_placeholder\":true,\"num\":0}";
        let table = [
            (written(|o| connect(o, "/", "abc", None)), r#"0{"sid":"abc"}"#.to_owned()),
            (
                written(|o| connect(o, "/admin", "S", Some("P"))),
                r#"0/admin,{"sid":"S","pid":"P"}"#.to_owned(),
            ),
            (
                written(|o| connect_error(o, "/nope", "Invalid namespace", None)),
                r#"4/nope,{"message":"Invalid namespace"}"#.to_owned(),
            ),
            (
                written(|o| {
                    let data = Some(r#"{"content":"Please retry later"}"#);
                    connect_error(o, "/", "not authorized", data);
                }),
                r#"4{"message":"not authorized","data":{"content":"Please retry later"}}"#.into(),
            ),
            (
                written(|o| event(o, "/custom", None, "auth", r#"{"token":"x"}"#, 0)),
                r#"2/custom,["auth",{"token":"x"}]"#.to_owned(),
            ),
            (written(|o| event(o, "/", Some(0), "q", "", 0)), r#"20["q"]"#.to_owned()),
            (
                written(|o| event(o, "/", Some(u64::MAX), "q", "", 0)),
                r#"218446744073709551615["q"]"#.to_owned(),
            ),
            (written(|o| ack(o, "/", b"12", r#"1,{"a":2}"#, 0)), r#"312[1,{"a":2}]"#.to_owned()),
            (
                written(|o| event(o, "/", None, "message-back", place, 1)),
                format!(r#"51-["message-back",{place}]"#),
            ),
            (written(|o| ack(o, "/", b"7", place, 1)), format!("61-7[{place}]")),
            (written(|o| ack(o, "/a", b"7", place, 12)), format!("612-/a,7[{place}]")),
            (written(|o| disconnect(o, "/")), "1".to_owned()),
            (written(|o| disconnect(o, "/ns")), "1/ns,".to_owned()),
        ];
        for (found, wanted) in table {
            assert_eq!(found, wanted);
        }
    }

    /// Every character below 256 and some above, alone and behind seven plain ones.
    #[test]
    fn strings_are_escaped_as_serde_does() {
        let beyond = ['\u{2028}', '\u{FFFD}', '\u{1F600}', 'é'];
        for character in (0..256).filter_map(char::from_u32).chain(beyond) {
            for text in [format!("{character}"), format!("seven77{character}{character}x")] {
                let found = written(|out| escape_json(out, &text));
                assert_eq!(found, serde_json::to_string(&text).unwrap());
            }
        }
    }
}
