//! Arguments as back ends answer them.

use serde_json::Value;

use crate::gateway::verbs::binary::take;

/// Arguments from a back end, a JSON array with binary as `{"$b64":"…"}`, become what
/// [`Outcome::Reply`](crate::gateway::backend::Outcome) wants, by the rules of the verbs. What
/// holds no bytes stays as it was written. Nothing if it is no JSON array, is nested deeper than
/// any other body may be, or holds what a client would not take.
pub(super) fn args_in(array: &str) -> Option<(String, Vec<Vec<u8>>)> {
    let _judged: Vec<Value> = serde_json::from_str(array).ok()?;
    let (args, attachments) = take(array.trim()).ok()?;
    Some((args.into_owned(), attachments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_other_text_stays_as_it_was() {
        let (args, attachments) =
            args_in(r#" [ 1,{"a":[{"$b64":"_w"},{"$b64":""}]} ] "#).expect("it is an array");
        assert_eq!(attachments, [vec![255], Vec::new()]);
        assert_eq!(
            args,
            r#"1,{"a":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}"#
        );
        let large = r#"12345678901234567890123 , {"b":1}"#;
        assert_eq!(args_in(&format!("[{large}]")), Some((large.into(), Vec::new())));
        assert_eq!(args_in("[]"), Some((String::new(), Vec::new())));
        let lookalike = r#"{"_placeholder":true,"num":0}"#;
        assert_eq!(args_in(&format!("[{lookalike}]")), Some((lookalike.into(), Vec::new())));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let many = [r#"{"$b64":"QQ"}"#; 11].join(",");
        for text in [
            "",
            "{}",
            "[1",
            "[1] 2",
            r#"[{"$b64":"?"}]"#,
            r#"[{"$b64":"AP8=","more":1}]"#,
            r#"[{"$b64":"AP8="},{"_placeholder":true,"num":7}]"#,
            &format!("[{many}]"),
        ] {
            assert_eq!(args_in(text), None, "{text}");
        }
        assert_eq!(args_in(&format!("{}{}", "[".repeat(200), "]".repeat(200))), None);
    }
}
