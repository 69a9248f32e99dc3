//! JSON as it is judged, and binary data in it.

use corewire::gateway::verbs::binary;
use corewire::socketio::{JsonChecker, ParseError, from_args, split_args};
use serde_json::Value;
use serde_json::value::RawValue;

/// The judge's verdict is serde_json's, which reads JavaScript's grammar where nothing is built;
/// and simd-json accepts nothing that it refuses.
pub(super) fn value(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let verdict = JsonChecker::new().value(&text);
    let deep = verdict == Err(ParseError::TooDeep);
    let wanted = serde_json::from_str::<&RawValue>(&text);
    if !deep {
        assert_eq!(verdict.is_ok(), wanted.is_ok(), "{text:?}: {verdict:?}");
        let mut copy = text.as_bytes().to_vec();
        if simd_json::to_tape(&mut copy).is_ok() {
            assert!(verdict.is_ok(), "simd-json reads {text:?}");
        }
    }
    // Items of a list, one by one, are those that a parser finds.
    let Some(inner) = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return;
    };
    let items: Vec<&str> = split_args(inner.trim()).collect();
    if verdict.is_ok() && !deep {
        let wanted: Vec<&RawValue> = serde_json::from_str(&text).expect("it was judged");
        let wanted: Vec<&str> = wanted.iter().map(|item| item.get()).collect();
        assert_eq!(items, wanted, "{text:?}");
        // Reading them may fail (numbers, depth), and must not do more than that.
        let _any = from_args::<Vec<Value>>(inner.trim());
    }
}

/// Binary data is taken out and put back: the same value, as many pieces as there were.
pub(super) fn binary(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    if !text.starts_with('[') || JsonChecker::new().value(text).is_err() {
        return;
    }
    let Ok((inner, pieces)) = binary::take(text) else { return };
    let size: usize = pieces.iter().map(Vec::len).sum();
    assert!(size <= text.len() && pieces.len() <= 10);
    let whole = format!("[{inner}]");
    assert_eq!(JsonChecker::new().value(&whole), Ok(()), "{whole}");
    let back = binary::give(&inner, &pieces);
    if pieces.is_empty() {
        return assert_eq!(back, whole);
    }
    assert_eq!(JsonChecker::new().value(&back), Ok(()), "{back}");
    let (again, same) = binary::take(&back).expect("it was given");
    assert_eq!((again, same), (inner, pieces), "{text}");
}
