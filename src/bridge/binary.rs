//! Binary in JSON: `{"$b64":"…"}` stands where a client sees bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::socketio::from_args;

/// The one member of an object that stands for bytes.
const MARK: &str = "$b64";

/// Arguments for a back end: JSON without the brackets. Without attachments these are the client's
/// own bytes; with some, numbers beyond 64 bits become floats. Nothing if it is nested too deeply.
pub(super) fn args_out(args: &str, attachments: &[Vec<u8>]) -> Option<String> {
    if attachments.is_empty() {
        return Some(args.to_owned());
    }
    let mut values: Vec<Value> = from_args(args).ok()?;
    for value in &mut values {
        fill(value, attachments);
    }
    bare(&values)
}

/// Puts attachments where placeholders name them.
fn fill(value: &mut Value, attachments: &[Vec<u8>]) {
    if let Value::Object(members) = value
        && members.get("_placeholder") == Some(&Value::Bool(true))
    {
        let number = members.get("num").and_then(Value::as_u64);
        let bytes = number.and_then(|number| attachments.get(usize::try_from(number).ok()?));
        if let Some(bytes) = bytes {
            *value = json!({ MARK: STANDARD.encode(bytes) });
            return;
        }
    }
    for inner in inner(value) {
        fill(inner, attachments);
    }
}

/// Arguments from a back end: a JSON array becomes what
/// [`Outcome::Reply`](crate::gateway::backend::Outcome) wants. Without bytes in it the text stays
/// as it is. Nothing if it is no JSON array, or if what should be base64 is not.
pub(super) fn args_in(array: &str) -> Option<(String, Vec<Vec<u8>>)> {
    let mut values: Vec<Value> = serde_json::from_str(array).ok()?;
    let text = array.trim().strip_prefix('[')?.strip_suffix(']')?.trim().to_owned();
    if !text.contains(MARK) {
        return Some((text, Vec::new()));
    }
    let mut attachments = Vec::new();
    for value in &mut values {
        take(value, &mut attachments)?;
    }
    match attachments.is_empty() {
        true => Some((text, attachments)),
        false => Some((bare(&values)?, attachments)),
    }
}

/// Takes the bytes out and leaves placeholders.
fn take(value: &mut Value, attachments: &mut Vec<Vec<u8>>) -> Option<()> {
    if let Value::Object(members) = value {
        if let Some(Value::String(text)) = only(members, MARK) {
            let bytes = STANDARD.decode(text).ok()?;
            *value = json!({ "_placeholder": true, "num": attachments.len() });
            attachments.push(bytes);
            return Some(());
        }
        // Beside real ones, a client would take it for one.
        if members.get("_placeholder") == Some(&Value::Bool(true)) {
            return None;
        }
    }
    for inner in inner(value) {
        take(inner, attachments)?;
    }
    Some(())
}

fn only<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|_| members.len() == 1)
}

fn inner(value: &mut Value) -> Box<dyn Iterator<Item = &mut Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter_mut()),
        Value::Object(members) => Box::new(members.values_mut()),
        _ => Box::new(std::iter::empty()),
    }
}

fn bare(values: &[Value]) -> Option<String> {
    let text = serde_json::to_string(values).ok()?;
    text.strip_prefix('[')?.strip_suffix(']').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_travel_as_base64_and_come_back() {
        let args = r#"1,{"a":[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]}"#;
        let out = args_out(args, &[vec![0, 255], Vec::new()]).expect("it is flat");
        assert_eq!(out, r#"1,{"a":[{"$b64":""},{"$b64":"AP8="}]}"#);
        let (back, attachments) = args_in(&format!(" [ {out} ] ")).expect("it is an array");
        assert_eq!(attachments, [Vec::new(), vec![0, 255]]);
        assert_eq!(
            back,
            r#"1,{"a":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}"#
        );
    }

    #[test]
    fn without_bytes_the_text_stays_as_it_was() {
        let text = r#"1e400, {"b":1,"a":2,"a":"\ud800"}"#;
        assert_eq!(args_out(text, &[]).as_deref(), Some(text));
        let large = r#"12345678901234567890123 , {"b":1}"#;
        assert_eq!(args_in(&format!("[{large}]")), Some((large.into(), Vec::new())));
        assert_eq!(args_in("[]"), Some((String::new(), Vec::new())));
        let lookalike = r#"{"_placeholder":true,"num":0}"#;
        assert_eq!(args_in(&format!("[{lookalike}]")), Some((lookalike.into(), Vec::new())));
        let data = r#"{"$b64":"AP8=","more":1}"#;
        assert_eq!(args_in(&format!("[{data}]")), Some((data.into(), Vec::new())));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "",
            "{}",
            "[1",
            "[1] 2",
            r#"[{"$b64":"?"}]"#,
            r#"[{"$b64":"AP8="},{"_placeholder":true,"num":7}]"#,
        ] {
            assert_eq!(args_in(text), None, "{text}");
        }
        assert_eq!(args_in(&format!("{}{}", "[".repeat(200), "]".repeat(200))), None);
    }
}
