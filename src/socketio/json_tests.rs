use super::super::transcode_tests::Dice;
use super::*;
use crate::socketio::{Kind, Packet, parse};
use serde_json::value::RawValue;

/// A whole packet (without the Engine.IO `4`) as the server judges it.
fn judge(text: &str) -> Result<(), ParseError> {
    let Packet { kind, attachments, data, .. } = parse(text, 10)?;
    let mut checker = JsonChecker::new();
    match kind {
        Kind::Event | Kind::BinaryEvent => checker.event(data, attachments).map(drop),
        Kind::Ack | Kind::BinaryAck => checker.ack(data, attachments).map(drop),
        Kind::Connect => checker.connect(data),
        Kind::Disconnect | Kind::ConnectError => Ok(()),
    }
}

/// The list that was replayed against Node 4.8.4: each closes the connection.
#[test]
fn packets_that_must_close() {
    for text in [
        "7",
        "x",
        "",
        "2[]",
        "2{}",
        "2[null]",
        "2[\"connect\"]",
        "0[]",
        "0null",
        "0\"x\"",
        "1[\"x\"]",
        "3{}",
        "5[\"x\"]",
        "50-[\"x\"]",
        "511-[\"x\"]",
        "2[\"a\"",
        "2[\"a\"]x",
        "51-[\"x\",{\"_placeholder\":true,\"num\":1}]",
        // CVE-2023-32695 and CVE-2026-33151.
        "2[{\"toString\":\"x\"}]",
        "2[[\"a\"]]",
        "5100000000-[\"x\"]",
    ] {
        assert!(judge(text).is_err(), "{text}");
    }
    // A CONNECT_ERROR is well-formed; that clients may not send it is the session's rule.
    assert_eq!(parse("4{}", 10).map(|packet| packet.kind), Ok(Kind::ConnectError));
}

#[test]
fn packets_that_must_not_close() {
    for text in [
        "3[]",
        "30",
        "2[\"error\"]",
        "2[1,2]",
        "2 [\"a\"]",
        "2[\"\\ud800\"]",
        "0/custom",
        "0",
        "0{}",
        "0 { } ",
        "2[-1.5e3]",
        "2[\"a\",1e999]",
        "2[\"\"]",
        "2[\"__proto__\"]",
        "51-[\"x\"]",
        "51-[\"x\",[{\"_placeholder\":true,\"num\":0}]]",
    ] {
        assert_eq!(judge(text), Ok(()), "{text}");
    }
    // Ignored, by whoever asks for `is_empty` first.
    assert_eq!(judge("2"), Err(ParseError::PayloadMissing));
}

#[test]
fn events_come_apart_as_they_stood() {
    let table: &[(&str, &str, bool, &str, &str)] = &[
        (r#"["a"]"#, "a", false, r#""a""#, ""),
        (r#"["a",1]"#, "a", false, r#""a""#, "1"),
        (" [ \"a\" , 1 , [ 2 ] ] \n", "a", false, r#""a""#, "1 , [ 2 ]"),
        (r#"["a",[],{}]"#, "a", false, r#""a""#, "[],{}"),
        (
            r#"["\u0061\"\n\ud83d\ude00","x"]"#,
            "a\"\n\u{1F600}",
            false,
            r#""\u0061\"\n\ud83d\ude00""#,
            "\"x\"",
        ),
        (r#"["\ud800"]"#, "\u{FFFD}", false, r#""\ud800""#, ""),
        ("[1,2]", "1", true, "1", "2"),
        ("[-1.50e+2]", "-1.50e+2", true, "-1.50e+2", ""),
    ];
    for (data, name, name_is_number, name_raw, args) in table {
        let body = JsonChecker::new().event(data, 0).unwrap();
        let wanted =
            EventBody { name: (*name).into(), name_is_number: *name_is_number, name_raw, args };
        assert_eq!(body, wanted);
    }
}

#[test]
fn acks_give_what_is_in_the_brackets() {
    for (data, args) in
        [("", ""), ("[]", ""), (" [ ] ", ""), ("[1]", "1"), ("[ {} , [ ] ]", "{} , [ ]")]
    {
        assert_eq!(JsonChecker::new().ack(data, 0), Ok(args), "{data}");
        assert_eq!(JsonChecker::new().ack(data, 1), Ok(args), "{data}");
    }
    for bad in ["[", "[,]", "[1,]", "[]]", "[1]1", "[1 2]", "[[]", "{}", "1"] {
        assert!(JsonChecker::new().ack(bad, 0).is_err(), "{bad}");
        assert!(JsonChecker::new().ack(bad, 1).is_err(), "{bad}");
    }
}

/// Escapes do not hide a reserved name.
#[test]
fn reserved_names_are_refused() {
    for name in [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
        r"\u0063onnect",
    ] {
        let data = format!("[\"{name}\",1]");
        assert_eq!(JsonChecker::new().event(&data, 0), Err(ParseError::ReservedName), "{name}");
    }
}

/// CVE-2022-2421; what counts is what JavaScript sees after `JSON.parse`.
#[test]
fn placeholders_name_an_attachment() {
    let table = [
        (r#"{"_placeholder":true,"num":0}"#, true),
        (r#"{"num":1,"_placeholder":true}"#, true),
        (r#"{"_placeholder":true,"num":-0}"#, true),
        (r#"{"_placeholder":true,"num":10e-1}"#, true),
        (r#"{"_placeholder":true,"num":1.0,"more":[{}]}"#, true),
        (r#"[[{"a":{"_placeholder":true,"num":1}}]]"#, true),
        (r#"{"_placeholder":true,"num":9,"num":1}"#, true),
        (r#"{"_placeholder":true,"_placeholder":false,"num":9}"#, true),
        (r#"{"_placeholder":1,"num":9}"#, true),
        (r#"{"_placeholder":"true","num":9}"#, true),
        (r#"{"_placeholder":{"num":9},"num":9}"#, true),
        (r#""_placeholder",true,"num",9"#, true),
        (r#"{"_placeholder":true,"num":2}"#, false),
        (r#"{"_placeholder":true}"#, false),
        (r#"{"_placeholder":true,"num":"splice"}"#, false),
        (r#"{"_placeholder":true,"num":"0"}"#, false),
        (r#"{"_placeholder":true,"num":-1}"#, false),
        (r#"{"_placeholder":true,"num":0.5}"#, false),
        (r#"{"_placeholder":true,"num":1e9}"#, false),
        (r#"{"_placeholder":true,"num":1e999}"#, false),
        (r#"{"_placeholder":true,"num":4294967296}"#, false),
        (r#"{"_placeholder":true,"num":null}"#, false),
        (r#"{"_placeholder":true,"num":[0]}"#, false),
        (r#"{"_placeholder":true,"num":0,"num":{}}"#, false),
        (r#"{"_placeholder":false,"_placeholder":true,"num":9}"#, false),
        (r#"{"\u005fplaceholder":true,"n\u0075m":9}"#, false),
        (r#"{"_placeholder":true,"x":{"num":0}}"#, false),
        (r#"[[{"a":{"_placeholder":true,"num":2}}]]"#, false),
        (r#"{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}"#, true),
        (r#"{"_placeholder":true,"num":1},{"_placeholder":true,"num":1}"#, false),
        (r#"{"_placeholder":true,"num":1,"x":{"_placeholder":true,"num":1.0}}"#, false),
    ];
    let mut checker = JsonChecker::new();
    for (item, fine) in table {
        let (event, ack) = (format!("[\"a\",{item}]"), format!("[{item}]"));
        assert_eq!(checker.event(&event, 2).is_ok(), fine, "{item}");
        assert_eq!(checker.ack(&ack, 2).is_ok(), fine, "{item}");
        // Without attachments it is data.
        assert!(checker.event(&event, 0).is_ok() && checker.ack(&ack, 0).is_ok(), "{item}");
    }
}

/// `JSON.parse` takes these; strict parsers of other languages refuse some.
#[test]
fn the_grammar_is_javascripts() {
    for fine in [
        "null",
        "0",
        "-0",
        "0.0",
        "1E+2",
        "1e999",
        "-12345678901234567890123",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\u{7f}\u{2028}\"",
        "{\"a\":1,\"a\":2}",
        " \t\r\n1 ",
        "\"\\/\"",
        "\"\\u0000\"",
        "[[],{}]",
        "{\"\":{}}",
    ] {
        assert_eq!(JsonChecker::new().value(fine), Ok(()), "{fine}");
    }
}

#[test]
fn the_grammar_is_no_more_than_javascripts() {
    for bad in [
        "",
        " ",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "nul",
        "nulll",
        "True",
        "'a'",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "\"\u{0}\"",
        "\"\u{1f}\"",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{",
        "{]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{1:1}",
        "{,}",
        "[[]",
        "{\"a\"}",
        "1 1",
        "\u{feff}1",
        "\u{a0}1",
        "1\u{0}",
        "\u{0}",
        "/**/1",
        "[]]",
        "{}}",
        "\"a\"b",
    ] {
        assert_eq!(JsonChecker::new().value(bad), Err(ParseError::Json), "{bad:?}");
    }
}

#[test]
fn depth_is_bounded_and_recursion_is_none() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let max = crate::socketio::DEPTH_MAX;
    for text in [nested(max), objects(max)] {
        assert_eq!(JsonChecker::new().value(&text), Ok(()));
        let event = format!("[\"a\",{text}]");
        assert_eq!(JsonChecker::new().event(&event, 0), Err(ParseError::TooDeep));
    }
    for text in [nested(max + 1), objects(max + 1), nested(100_000), "[".repeat(100_000)] {
        assert_eq!(JsonChecker::new().value(&text), Err(ParseError::TooDeep));
        assert_eq!(JsonChecker::new().ack(&format!("[{text}]"), 1), Err(ParseError::TooDeep));
    }
}

/// What serde says of the structure. It looks at neither the value of a number nor the
/// pairing of surrogates, as long as nothing is built; so the two must agree everywhere but at
/// the depth limit.
fn oracle(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

#[test]
fn agrees_with_serde_on_changed_documents() {
    const PIECES: [&str; 20] = [
        "[", "]", "{", "}", ",", ":", "\"", "\\", "\\u", "d800", "0", "1", "-", "e", ".", " ", "é",
        "\n", "null", "\u{1}",
    ];
    let mut dice = Dice(3);
    let mut checker = JsonChecker::new();
    let (mut valid, mut invalid) = (0, 0);
    for _ in 0..20_000 {
        let mut text = dice.document(3, &mut None);
        for _ in 0..dice.below(4) {
            let mut from = dice.below(text.len() + 1);
            let mut to = (from + dice.below(3)).min(text.len());
            while !text.is_char_boundary(from) {
                from -= 1;
            }
            while !text.is_char_boundary(to) {
                to += 1;
            }
            let piece = dice.pick(&PIECES);
            text.replace_range(from..to, piece);
        }
        let wanted = oracle(&text);
        if wanted {
            valid += 1;
        } else {
            invalid += 1;
        }
        assert_eq!(checker.value(&text).is_ok(), wanted, "{text}");
        // As an argument: alone, and where placeholders are watched for.
        let event = format!("[\"a\",{text}]");
        let plain = checker.event(&event, 0);
        assert_eq!(plain.is_ok(), oracle(&event), "{event}");
        assert_eq!(checker.event(&event, u32::MAX), plain, "{event}");
        if let Ok(body) = plain {
            assert_eq!(body.args, text.trim_matches(BLANKS));
        }
    }
    assert!(valid > 5_000 && invalid > 5_000, "{valid} {invalid}");
}

#[test]
fn cut_anywhere() {
    let text = " [ \"né\\u0061\" , {\"_placeholder\" : true, \"num\":0}, [ 1.5e-3, null ] ] ";
    let whole = text.trim_end().len();
    for cut in (0..whole).filter(|&cut| text.is_char_boundary(cut)) {
        for attachments in [0, 1] {
            assert!(JsonChecker::new().event(&text[..cut], attachments).is_err(), "{cut}");
            assert!(JsonChecker::new().ack(&text[..cut], attachments).is_err() || cut == 0);
        }
    }
    assert!(JsonChecker::new().event(text, 1).is_ok());
}
