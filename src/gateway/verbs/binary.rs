//! Binary data in JSON: `{"$b64":"…"}` at the doors of back ends, attachments with placeholders
//! on the wire to clients.
//!
//! Rule: socket.io-protocol 5, "Packet encoding": attachments in the order of their placeholders.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::super::schema::{Fault, text_of};

/// Pieces of binary data in one event: as many as an official client takes.
const PIECES_MAX: usize = 10;
const KEY: &str = "$b64";

/// Arguments for the wire: JSON without brackets, and the attachments it refers to.
pub type Args<'a> = (Cow<'a, str>, Vec<Vec<u8>>);

/// Takes the binary data out of arguments, `[…]` as JSON that was judged before.
///
/// Cost: one pass over the text if it may hold any, nothing is copied otherwise.
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
    let (mut pieces, mut placeholders) = (Vec::new(), false);
    let out = rewrite(inner, &mut |object| {
        placeholders |= object.is_placeholder;
        let Some(raw) = object.data else { return Ok(None) };
        let data = text_of(raw).and_then(|text| decode(&text)).filter(|_| object.members == 1);
        if pieces.len() == PIECES_MAX {
            return Err(Fault::TooMuchBinary(PIECES_MAX));
        }
        let instead = format!(r#"{{"_placeholder":true,"num":{}}}"#, pieces.len());
        pieces.push(data.ok_or(Fault::NotBinary)?);
        Ok(Some(instead))
    })?;
    match (pieces.is_empty(), placeholders) {
        (true, _) => Ok((Cow::Borrowed(inner), pieces)),
        // Beside real ones, a client would take it for one.
        (false, true) => Err(Fault::NotBinary),
        (false, false) => Ok((Cow::Owned(out), pieces)),
    }
}

/// Puts attachments back into arguments that came from a client; gives `[…]`.
///
/// Cost: one pass over the text if there are attachments: workers do this to answers.
#[must_use]
pub fn give(args: &str, attachments: &[Vec<u8>]) -> String {
    if attachments.is_empty() {
        return format!("[{args}]");
    }
    // Each once, whoever wrote the text: else a short text could make much of one attachment.
    let mut left: Vec<Option<&Vec<u8>>> = attachments.iter().map(Some).collect();
    let given = rewrite(args, &mut |object| {
        let number = object.number.filter(|_| object.is_placeholder);
        let number = number.and_then(|number| number.parse::<usize>().ok());
        let data = number.and_then(|number| left.get_mut(number)?.take());
        Ok(data.map(|data| format!(r#"{{"{KEY}":"{}"}}"#, STANDARD.encode(data))))
    });
    // Nothing refuses here.
    format!("[{}]", given.unwrap_or_default())
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

/// What is seen of an object as its end is reached.
struct Object<'a> {
    /// Its `$b64`, raw.
    data: Option<&'a str>,
    /// Its `num`, raw.
    number: Option<&'a str>,
    /// Its `_placeholder` is `true`, as socket.io-parser wants it.
    is_placeholder: bool,
    members: usize,
}

/// An array or object that is not over yet.
struct Open<'a> {
    /// Where it begins in what was written.
    from: usize,
    is_array: bool,
    /// The raw name of the member that is being read, and where its value begins.
    name: Option<&'a str>,
    value_from: usize,
    object: Object<'a>,
}

impl<'a> Open<'a> {
    const fn new(from: usize, is_array: bool) -> Self {
        let object = Object { data: None, number: None, is_placeholder: false, members: 0 };
        Self { from, is_array, name: None, value_from: 0, object }
    }

    /// The value of a member ends here.
    fn end_member(&mut self, text: &'a str, at: usize) {
        let Some(name) = self.name.take().and_then(text_of) else { return };
        let value = text.get(self.value_from..at).unwrap_or_default().trim();
        self.object.members += 1;
        // Rule: JavaScript, JSON.parse: the last of two members of one name counts.
        match &*name {
            KEY => self.object.data = Some(value),
            "num" => self.object.number = Some(value),
            "_placeholder" => self.object.is_placeholder = value == "true",
            _ => {}
        }
    }
}

/// Writes JSON that was judged before, with something else in the place of some of its objects.
/// `instead` sees each that holds binary or a placeholder, in the order of their ends.
///
/// One pass without recursion: however deep it is nested, each byte is looked at once.
fn rewrite<'a>(
    text: &'a str,
    instead: &mut dyn FnMut(&Object<'a>) -> Result<Option<String>, Fault>,
) -> Result<String, Fault> {
    let (bytes, mut out) = (text.as_bytes(), String::with_capacity(text.len()));
    let (mut open, mut copied, mut at): (Vec<Open<'a>>, usize, usize) = (Vec::new(), 0, 0);
    while let Some(byte) = bytes.get(at) {
        let next = if *byte == b'"' { string_end(bytes, at) } else { at + 1 };
        match byte {
            b'"' => {
                if let Some(top) = open.last_mut().filter(|top| !top.is_array && top.name.is_none())
                {
                    top.name = text.get(at..next);
                    top.value_from = usize::MAX;
                }
            }
            b':' => {
                if let Some(top) = open.last_mut() {
                    top.value_from = at + 1;
                }
            }
            b',' => {
                if let Some(top) = open.last_mut() {
                    top.end_member(text, at);
                }
            }
            b'{' | b'[' => {
                out.push_str(text.get(copied..at).unwrap_or_default());
                copied = at;
                open.push(Open::new(out.len(), *byte == b'['));
            }
            b'}' | b']' => {
                out.push_str(text.get(copied..next).unwrap_or_default());
                copied = next;
                if let Some(mut top) = open.pop() {
                    top.end_member(text, at);
                    let Object { data, is_placeholder, .. } = top.object;
                    if (data.is_some() || is_placeholder)
                        && let Some(other) = instead(&top.object)?
                    {
                        out.truncate(top.from);
                        out.push_str(&other);
                    }
                }
            }
            _ => {}
        }
        at = next;
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Ok(out)
}

/// Where the JSON string is over that begins at `from`.
fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
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
            r#"1.0, {"a":{"_placeholder":true,"num":0},"b":[{"_placeholder":true,"num":1}, "$b64"]}, {"_placeholder":true,"num":2}"#
        );
        let back = give(&inner, &pieces);
        assert_eq!(
            back,
            r#"[1.0, {"a":{"$b64":"AQI="},"b":[{"$b64":"/w=="}, "$b64"]}, {"$b64":""}]"#
        );
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
            r#"[{"more":1,"$b64":"QQ"}]"#,
            r#"[{"$b64":"QQ","$b64":"QQ"}]"#,
            r#"[{"$b64":{"$b64":"QQ"}}]"#,
            r#"[{"$b64":["QQ"]}]"#,
            r#"[{"$b64":null}]"#,
            r#"[{"$b64":"QQ"},{"_placeholder":true,"num":0}]"#,
        ] {
            assert_eq!(take(args), Err(Fault::NotBinary), "{args}");
        }
        let many = [r#"{"$b64":"QQ"}"#; 11].join(",");
        assert_eq!(take(&format!("[{many}]")), Err(Fault::TooMuchBinary(10)));
    }
    #[test]
    fn a_clients_placeholders_are_found_wherever_they_stand() {
        let (one, two) = (vec![1], vec![2]);
        for (args, given) in [
            (r#"{ "num" : 1 , "_placeholder" : true }"#, r#"[{"$b64":"Ag=="}]"#),
            (r#""a\"{[,:", [{"_placeholder":true,"num":0}]"#, r#"["a\"{[,:", [{"$b64":"AQ=="}]]"#),
            (
                r#"{"é\\":{"_placeholder":true,"num":0},"b":1}"#,
                r#"[{"é\\":{"$b64":"AQ=="},"b":1}]"#,
            ),
            (r#"{"_placeholder":true,"num":7}"#, r#"[{"_placeholder":true,"num":7}]"#),
            (r#"{"_placeholder":true,"num":-1}"#, r#"[{"_placeholder":true,"num":-1}]"#),
            (r#"{"num":0}"#, r#"[{"num":0}]"#),
            (r#"{"_placeholder":false,"num":0}"#, r#"[{"_placeholder":false,"num":0}]"#),
            (
                r#"{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}"#,
                r#"[{"$b64":"AQ=="},{"_placeholder":true,"num":0}]"#,
            ),
            (r#"{"_placeholder":true,"num":"0"}"#, r#"[{"_placeholder":true,"num":"0"}]"#),
            ("12345678901234567890123, 1.10", "[12345678901234567890123, 1.10]"),
        ] {
            assert_eq!(give(args, &[one.clone(), two.clone()]), given, "{args}");
        }
    }

    #[test]
    fn depth_costs_nothing() {
        // A reader that looks at the rest once a level, or calls itself, does not end here.
        let levels = 100_000;
        let (open, close) = (r#"{"_placeholder":["#.repeat(levels), "]}".repeat(levels));
        let text = format!("{open}{}{close}", r#"{"_placeholder":true,"num":0}"#);
        let given = give(&text, &[vec![1]]);
        assert_eq!(given, format!("[{open}{}{close}]", r#"{"$b64":"AQ=="}"#));
        let deep = format!("[{}{}{}]", "[".repeat(levels), r#"{"$b64":"AQ"}"#, "]".repeat(levels));
        assert_eq!(take(&deep).map(|(_, pieces)| pieces), Ok(vec![vec![1]]));
    }
}
