//! Binary data in JSON: `{"$b64":"…"}` at the doors of back ends, attachments with placeholders
//! on the wire to clients.
//!
//! Rule: socket.io-protocol 5, "Packet encoding": attachments in the order of their placeholders.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::super::schema::{Fault, pairs, text_of};
use crate::socketio::split_args;

/// Pieces of binary data in one event: as many as an official client takes.
const PIECES_MAX: usize = 10;
const KEY: &str = "$b64";

/// Arguments for the wire: JSON without brackets, and the attachments it refers to.
pub type Args<'a> = (Cow<'a, str>, Vec<Vec<u8>>);

/// Takes the binary data out of arguments, `[…]` as JSON that was judged before.
///
/// # Errors
/// What stands there for binary is none, or there is more of it than one event may have.
pub fn take(args: &str) -> Result<Args<'_>, Fault> {
    let inner = args.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or("");
    let inner = inner.trim();
    // A key may be written with escapes; then its `$` or a backslash is there.
    if !inner.contains(KEY) && !inner.contains("\\u00") {
        return Ok((Cow::Borrowed(inner), Vec::new()));
    }
    let (mut out, mut pieces) = (String::with_capacity(inner.len()), Vec::new());
    let mut placeholders = false;
    list(inner, &mut out, &mut |object, out| {
        placeholders |= member(object, "_placeholder").is_some();
        let Some(raw) = member(object, KEY) else { return Ok(false) };
        let is_alone = pairs(object).is_some_and(|pairs| pairs.count() == 1);
        let data = text_of(raw).and_then(|text| decode(&text)).filter(|_| is_alone);
        let data = data.ok_or(Fault::NotBinary)?;
        placeholder(pieces.len(), out);
        pieces.push(data);
        Ok(true)
    })?;
    if pieces.is_empty() {
        return Ok((Cow::Borrowed(inner), pieces));
    }
    if placeholders {
        return Err(Fault::NotBinary);
    }
    if pieces.len() > PIECES_MAX {
        return Err(Fault::TooMuchBinary(PIECES_MAX));
    }
    Ok((Cow::Owned(out), pieces))
}

/// Puts attachments back into arguments that came from a client; gives `[…]`.
#[must_use]
pub fn give(args: &str, attachments: &[Vec<u8>]) -> String {
    let mut out = String::with_capacity(args.len() + 2);
    out.push('[');
    if attachments.is_empty() {
        out.push_str(args);
    } else {
        let given = list(args, &mut out, &mut |object, out| {
            let number = member(object, "num").filter(|_| member(object, "_placeholder").is_some());
            let number = number.and_then(|number| number.parse::<usize>().ok());
            let Some(data) = number.and_then(|number| attachments.get(number)) else {
                return Ok::<_, Fault>(false);
            };
            out.push_str("{\"$b64\":\"");
            STANDARD.encode_string(data, out);
            out.push_str("\"}");
            Ok(true)
        });
        debug_assert!(given.is_ok(), "nothing here refuses");
    }
    out.push(']');
    out
}

/// Either alphabet, with or without padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    let plain: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            c => c,
        })
        .collect();
    let padded = text.len() - plain.len();
    if padded > 2 || (padded > 0 && !text.len().is_multiple_of(4)) {
        return None;
    }
    URL_SAFE_NO_PAD.decode(plain).ok()
}

fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let found = pairs(object)?.filter(|(known, _)| known == name);
    found.last().map(|(_, value)| value)
}

fn placeholder(number: usize, out: &mut String) {
    out.push_str("{\"_placeholder\":true,\"num\":");
    out.push_str(&number.to_string());
    out.push('}');
}

/// Writes a JSON object instead of another one; false leaves it to be copied.
type Instead<'a> = dyn FnMut(&str, &mut String) -> Result<bool, Fault> + 'a;

fn list(inner: &str, out: &mut String, instead: &mut Instead<'_>) -> Result<(), Fault> {
    for (at, item) in split_args(inner).enumerate() {
        if at > 0 {
            out.push(',');
        }
        value(item, out, instead)?;
    }
    Ok(())
}

fn value(raw: &str, out: &mut String, instead: &mut Instead<'_>) -> Result<(), Fault> {
    if let Some(inner) = raw.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        out.push('[');
        list(inner.trim(), out, instead)?;
        out.push(']');
        return Ok(());
    }
    let Some(inner) = raw.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        out.push_str(raw);
        return Ok(());
    };
    if instead(raw, out)? {
        return Ok(());
    }
    out.push('{');
    for (at, item) in split_args(inner.trim()).enumerate() {
        if at > 0 {
            out.push(',');
        }
        let name = name_len(item);
        let (name, rest) = item.split_at(name);
        out.push_str(name);
        out.push(':');
        value(rest.trim_start().trim_start_matches(':').trim(), out, instead)?;
    }
    out.push('}');
    Ok(())
}

/// Bytes of the JSON string that `item` begins with.
fn name_len(item: &str) -> usize {
    let bytes = item.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    item.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_becomes_attachments_in_document_order_and_comes_back() {
        let args = r#"[1.0, {"a":{"$b64":"AQI="},"b":[{"$b64":"_w"}, "$b64"]}, {"$b64":""}]"#;
        let (inner, pieces) = take(args).expect("it is binary");
        assert_eq!(pieces, [vec![1, 2], vec![255], vec![]]);
        assert_eq!(
            inner,
            r#"1.0,{"a":{"_placeholder":true,"num":0},"b":[{"_placeholder":true,"num":1},"$b64"]},{"_placeholder":true,"num":2}"#
        );
        let back = give(&inner, &pieces);
        assert_eq!(back, r#"[1.0,{"a":{"$b64":"AQI="},"b":[{"$b64":"/w=="},"$b64"]},{"$b64":""}]"#);
    }

    #[test]
    fn what_holds_no_binary_stays_as_it_was_to_the_last_blank() {
        for (args, inner) in [
            ("[]", ""),
            ("[ ]", ""),
            (r#"[ {"a" : 1.10} , "\u0041"]"#, r#"{"a" : 1.10} , "\u0041""#),
            (r#"["$b64",{"x":"$b64"}]"#, r#""$b64",{"x":"$b64"}"#),
            (r#"[{"_placeholder":true,"num":0}]"#, r#"{"_placeholder":true,"num":0}"#),
        ] {
            assert_eq!(take(args), Ok((Cow::Borrowed(inner), vec![])), "{args}");
            assert_eq!(give(inner, &[]), format!("[{inner}]"));
        }
    }

    #[test]
    fn a_key_is_found_however_it_is_written() {
        let (inner, pieces) = take(r#"[{"\u0024b64":"QQ"}]"#).expect("it is binary");
        assert_eq!((&*inner, pieces), (r#"{"_placeholder":true,"num":0}"#, vec![vec![65]]));
    }

    #[test]
    fn what_is_no_binary_is_refused() {
        for args in [
            r#"[{"$b64":1}]"#,
            r#"[{"$b64":"!"}]"#,
            r#"[{"$b64":"A"}]"#,
            r#"[{"$b64":"QQ==="}]"#,
            r#"[{"$b64":"QQ","more":1}]"#,
            r#"[{"$b64":"QQ"},{"_placeholder":true,"num":0}]"#,
        ] {
            assert_eq!(take(args), Err(Fault::NotBinary), "{args}");
        }
        let many = [r#"{"$b64":"QQ"}"#; 11].join(",");
        assert_eq!(take(&format!("[{many}]")), Err(Fault::TooMuchBinary(10)));
    }
}
