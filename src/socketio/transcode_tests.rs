use super::*;

const LIMITS: DecodeLimits = DecodeLimits { depth: DEPTH_MAX, elements_max: 100_000 };
const NONE: [&[u8]; 0] = [];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// `{type, data, nsp: "/"}`, the data given in hex.
fn packet(kind: u8, data: &str) -> Vec<u8> {
    bytes(&format!("83a474797065{kind:02x}a464617461{data}a36e7370a12f"))
}

fn event_of(item: &str) -> Vec<u8> {
    packet(2, &format!("92 a161 {item}"))
}

fn decoded(kind: Kind, ack_id: Option<&str>, data: &str) -> Decoded {
    Decoded {
        kind,
        namespace: "/".into(),
        ack_id: ack_id.map(Into::into),
        data: data.into(),
        attachments: vec![],
    }
}

/// A decoded packet as text of the default parser.
fn to_text(packet: &Decoded) -> String {
    let mut out = Vec::new();
    encode::prefix(&mut out, packet.kind, packet.attachments.len(), &packet.namespace);
    let head = String::from_utf8(out).unwrap();
    format!("{head}{}{}", packet.ack_id.as_deref().unwrap_or(""), packet.data)
}

/// Binary messages captured from the official packages.
#[test]
fn golden_messages() {
    // Text, what a server writes for it (or none of ours does), what it reads as.
    let table = [
        ("0", "83 a474797065 00 a464617461 d40000 a36e7370 a12f"),
        ("0{\"sid\":\"abc\"}", "83a47479706500a46461746181a3736964a3616263a36e7370a12f"),
        ("2[\"hello\"]", "83 a474797065 02 a464617461 91 a568656c6c6f a36e7370 a12f"),
        ("31[\"ok\"]", "84 a474797065 03 a26964 01 a464617461 91 a26f6b a36e7370 a12f"),
        ("1", "82 a474797065 01 a36e7370 a12f"),
        ("4{\"message\":\"x\"}", "83a47479706504a46461746181a76d657373616765a178a36e7370a12f"),
        ("2/chat,[\"hello\",null]", "83a47479706502a46461746192a568656c6c6fc0a36e7370a52f63686174"),
    ];
    for (text, wire) in table {
        assert_eq!(encode_packet(text, &NONE), Ok(bytes(wire)), "{text}");
        assert_eq!(to_text(&decode_packet(&bytes(wire), LIMITS).unwrap()), text);
    }
    // A client's own order and its `options`.
    let client = "85 a474797065 02 a464617461 92 a568656c6c6f 01
        a76f7074696f6e73 81 a8636f6d7072657373 c3 a26964 00 a36e7370 a12f";
    let wanted = decoded(Kind::Event, Some("0"), "[\"hello\",1]");
    assert_eq!(decode_packet(&bytes(client), LIMITS), Ok(wanted));
}

#[test]
fn binary_becomes_attachments_in_document_order_and_back() {
    let wire = bytes(
        "84 a474797065 02 a26964 07 a464617461 93 a161 c4020102 82 a162 91 c40103 a163 c400
         a36e7370 a12f",
    );
    let found = decode_packet(&wire, LIMITS).unwrap();
    let place = |num| format!("{{\"_placeholder\":true,\"num\":{num}}}");
    let (zero, one, two) = (place(0), place(1), place(2));
    assert_eq!(found.kind, Kind::BinaryEvent);
    assert_eq!(found.data, format!("[\"a\",{zero},{{\"b\":[{one}],\"c\":{two}}}]"));
    assert_eq!(found.attachments, [vec![1, 2], vec![3], vec![]]);
    assert_eq!(encode_packet(&to_text(&found), &found.attachments), Ok(wire));

    let ack = decode_packet(&packet(3, "91 c40109"), LIMITS).unwrap();
    assert_eq!((ack.kind, ack.attachments), (Kind::BinaryAck, vec![vec![9]]));
}

/// Values that only one of the forms has.
#[test]
fn values_are_mapped_as_javascript_would() {
    let table = [
        ("c0", "null"),
        ("d40000", "null"),
        ("81 a16b d40000", "{\"k\":null}"),
        ("cf ffffffffffffffff", "18446744073709551615"),
        ("d3 8000000000000000", "-9223372036854775808"),
        ("cb 3ff8000000000000", "1.5"),
        ("ca 3fc00000", "1.5"),
        ("cb 4000000000000000", "2"),
        ("cb 8000000000000000", "0"),
        ("cb 7e37e43c8800759c", "1e300"),
        ("cb 444b1ae4d6e2ef50", "1e21"),
        ("cb 4415af1d78b58c40", "100000000000000000000"),
        ("cb 3e45798ee2308c3a", "1e-8"),
        ("cb 7ff8000000000000", "null"),
        ("cb fff0000000000000", "null"),
        ("d700 0000019b7ca98f2e", "\"2026-01-02T03:04:05.678Z\""),
        ("d700 0000000000000000", "\"1970-01-01T00:00:00.000Z\""),
        ("d700 ffffffffffffffff", "\"1969-12-31T23:59:59.999Z\""),
        ("d700 001eb208c2dc0000", "\"+275760-09-13T00:00:00.000Z\""),
        ("d700 001eb208c2dc0001", "null"),
        ("d700 ffe14df73d240000", "\"-271821-04-20T00:00:00.000Z\""),
        ("d6ff 00000001", "\"1970-01-01T00:00:01.000Z\""),
        ("d7ff 00f4240400000001", "\"1970-01-01T00:00:01.004Z\""),
        ("c70cff 0010f447 0000000000000001", "\"1970-01-01T00:00:01.001Z\""),
        ("a3eda080", "\"\u{FFFD}\""),
        ("a3220a5c", "\"\\\"\\n\\\\\""),
    ];
    for (item, wanted) in table {
        let found = decode_packet(&event_of(item), LIMITS).map(|found| found.data);
        assert_eq!(found, Ok(format!("[\"a\",{wanted}]")), "{item}");
    }
    // ArrayBuffers, also of the lengths that as fixext mean something else; and a foreign type.
    for (item, bytes) in [
        ("c70100 07", &[7][..]),
        ("c70800 0102030405060708", &[1, 2, 3, 4, 5, 6, 7, 8]),
        ("d500 0102", &[1, 2]),
        ("c70005", &[]),
    ] {
        let found = decode_packet(&event_of(item), LIMITS).unwrap();
        assert_eq!(found.attachments, [bytes], "{item}");
    }
}

#[test]
fn json_values_take_their_shortest_form() {
    let table = [
        ("1", "01"),
        ("-1", "ff"),
        ("-0", "00"),
        ("1.0", "01"),
        ("1e3", "cd03e8"),
        ("4294967296", "cf0000000100000000"),
        ("18446744073709551615", "cfffffffffffffffff"),
        ("-9223372036854775808", "d38000000000000000"),
        ("18446744073709551616", "cb43f0000000000000"),
        ("1.5", "cb3ff8000000000000"),
        ("1e999", "cb7ff0000000000000"),
        (r#""\ud83d\ude00\ud800""#, "a7f09f9880efbfbd"),
        (r#"{"_placeholder":true,"num":0}"#, "82ac5f706c616365686f6c646572c3a36e756d00"),
        ("[]", "90"),
        ("{ \"a\" : [ ] , \"a\" : {} }", "82a16190a16180"),
    ];
    for (item, wanted) in table {
        assert_eq!(
            encode_packet(&format!("2[\"a\",{item}]"), &NONE),
            Ok(event_of(wanted)),
            "{item}"
        );
    }
    let wide = format!("2[\"a\"{}]", ",1".repeat(15));
    let head = packet(2, &format!("dc0010 a161 {}", "01".repeat(15)));
    assert_eq!(encode_packet(&wide, &NONE), Ok(head));
}

#[test]
fn placeholders_become_the_bytes_they_name() {
    let two = [&[1_u8][..], &[2, 2]];
    let item =
        r#"{"x":[1,[2]],"num":1,"_placeholder":true},[{"num":0.0,"\u005fplaceholder":true}]"#;
    let wanted = packet(2, "93 a161 c4020202 91 c40101");
    assert_eq!(encode_packet(&format!("52-[\"a\",{item}]"), &two), Ok(wanted));
    for num in ["2", "-1", "0.5", "\"0\"", "null", "[]", "1e9", "1e999"] {
        let text = format!("52-[\"a\",{{\"_placeholder\":true,\"num\":{num}}}]");
        let wanted = Err(TranscodeError::Packet(ParseError::Placeholder));
        assert_eq!(encode_packet(&text, &two), wanted, "{num}");
    }
    assert_eq!(encode_packet("51-[\"a\"]", &two), Err(TranscodeError::Attachments));
    assert_eq!(encode_packet("2[\"a\"]", &two), Err(TranscodeError::Attachments));
    let empty = Err(TranscodeError::Packet(ParseError::PayloadMissing));
    assert_eq!(encode_packet("2", &NONE), empty);
    assert_eq!(
        encode_packet("30", &NONE),
        Ok(bytes("84a474797065 03 a26964 00 a464617461 90 a36e7370 a12f"))
    );
}

/// A text of some bytes for each must not make a copy of the attachment of each.
#[test]
fn an_attachment_is_not_written_more_often_than_it_came() {
    let again = ",{\"_placeholder\":true,\"num\":0}".repeat(1_000);
    let refused = Err(TranscodeError::Packet(ParseError::Placeholder));
    assert_eq!(encode_packet(&format!("51-[\"a\"{again}]"), &[vec![7; 10_000]]), refused);
    let twice = r#"{"_placeholder":true,"num":1},{"_placeholder":true,"num":1.0}"#;
    assert_eq!(encode_packet(&format!("52-[\"a\",{twice}]"), &[[1], [2]]), refused);
}

/// The rules of the default parser, which the official msgpack parser does not apply.
#[test]
fn packets_that_no_rule_allows_are_refused() {
    let forged = "93 a161 c40101 82 ac5f706c616365686f6c646572 c3 a36e756d 00";
    let table = [
        (packet(2, "90"), ParseError::EventName),
        (packet(2, "91 c0"), ParseError::EventName),
        (packet(2, "91 80"), ParseError::EventName),
        (packet(2, "91 c40101"), ParseError::EventName),
        (packet(2, "91 aa646973636f6e6e656374"), ParseError::ReservedName),
        (packet(2, "a161"), ParseError::PayloadType),
        (packet(2, "d40000"), ParseError::PayloadMissing),
        (packet(3, "80"), ParseError::PayloadType),
        (packet(0, "c0"), ParseError::PayloadType),
        (packet(0, "90"), ParseError::PayloadType),
        (packet(0, "81 a161 c40101"), ParseError::BinaryMisplaced),
        (packet(1, "90"), ParseError::PayloadUnexpected),
        (packet(4, "90"), ParseError::PayloadType),
        (packet(5, "91 a161"), ParseError::UnknownKind),
        (packet(7, "91 a161"), ParseError::UnknownKind),
        (packet(2, forged), ParseError::Placeholder),
        (packet(2, "92 a161 81 01 01"), ParseError::MapKey),
        (packet(2, "92 a161 a1ff"), ParseError::Utf8),
        (packet(2, "92 a161 d6ff"), ParseError::Msgpack),
        (bytes("90"), ParseError::Field),
        (bytes("80"), ParseError::Field),
        (bytes("81 a474797065 01"), ParseError::Field),
        (bytes("81 a36e7370 a12f"), ParseError::Field),
        (bytes("82 a474797065 01 a36e7370 c0"), ParseError::Namespace),
        (bytes("82 a474797065 01 a36e7370 a161"), ParseError::Namespace),
        (bytes("82 a474797065 01 a36e7370 a32f612c"), ParseError::Namespace),
        (bytes("82 a474797065 01 a36e7370 a12f 00"), ParseError::TrailingBytes),
        (bytes("83 a474797065 01 a26964 c0 a36e7370 a12f"), ParseError::AckId),
        (bytes("83 a474797065 01 a26964 ff a36e7370 a12f"), ParseError::AckId),
        (bytes("83 a474797065 01 a26964 a130 a36e7370 a12f"), ParseError::AckId),
        (bytes("83 a474797065 01 01 02 a36e7370 a12f"), ParseError::MapKey),
        (vec![], ParseError::Msgpack),
    ];
    for (wire, wanted) in table {
        assert_eq!(decode_packet(&wire, LIMITS), Err(wanted), "{wire:x?}");
    }
    // Numeric names are legal, and without attachments nothing is a placeholder.
    assert!(decode_packet(&packet(2, "91 05"), LIMITS).is_ok());
    assert!(decode_packet(&packet(2, &forged.replace("c40101", "c0")), LIMITS).is_ok());
    let id = bytes("83 a474797065 01 a26964 cb4014000000000000 a36e7370 a12f");
    assert_eq!(decode_packet(&id, LIMITS).unwrap().ack_id.as_deref(), Some("5"));
}

/// Of equal keys the last counts, with nothing left of those before.
#[test]
fn keys_in_any_order() {
    let wire = "86 a36e7370 a22f61 a464617461 92 a161 c40101 a464617461 91 a162 a26964 03
        a26964 d40000 a474797065 02";
    let wanted = Decoded { namespace: "/a".into(), ..decoded(Kind::Event, None, "[\"b\"]") };
    assert_eq!(decode_packet(&bytes(wire), LIMITS), Ok(wanted));
}

/// GHSA-c6g7-r2mf-pf5g (nesting), GHSA-7xpx-rcqc-8qjh (lengths), amplification.
#[test]
fn limits_hold() {
    let nested = |levels: usize| packet(2, &format!("{} a161", "91".repeat(levels)));
    assert_eq!(decode_packet(&nested(DEPTH_MAX), LIMITS), Err(ParseError::EventName));
    assert_eq!(decode_packet(&nested(DEPTH_MAX + 1), LIMITS), Err(ParseError::TooDeep));
    let boundless = DecodeLimits { depth: usize::MAX, ..LIMITS };
    assert_eq!(decode_packet(&nested(90_000), boundless), Err(ParseError::TooDeep));

    let few = DecodeLimits { elements_max: 6, ..LIMITS };
    // Three keys, the array, two items; one more is too many, also where it is passed over.
    assert!(decode_packet(&event_of("01"), few).is_ok());
    assert_eq!(decode_packet(&event_of("9101"), few), Err(ParseError::TooManyElements));
    let ignored = bytes("83 a474797065 01 a178 93010203 a36e7370 a12f");
    assert_eq!(decode_packet(&ignored, few), Err(ParseError::TooManyElements));

    let text = format!("2[\"a\",{}{}]", "[".repeat(100_000), "]".repeat(100_000));
    let deep = Err(TranscodeError::Packet(ParseError::TooDeep));
    assert_eq!(encode_packet(&text, &NONE), deep);
}

/// splitmix64, so that a failure can be repeated.
pub(super) struct Dice(pub u64);

impl Dice {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }

    pub(super) fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// A JSON document whose numbers and strings come out of both forms as they went in;
    /// `attachments` counts the placeholders in it.
    pub(super) fn document(&mut self, depth: usize, attachments: &mut Option<usize>) -> String {
        const SCALARS: [&str; 14] = [
            "null",
            "true",
            "false",
            "0",
            "-1",
            "127",
            "128",
            "65536",
            "-32769",
            "1.5",
            "-2.25e-7",
            "\"\"",
            "\"é\\n\\\"\u{1F600}\"",
            "18446744073709551615",
        ];
        const KEYS: [&str; 4] =
            ["\"\"", "\"key\"", "\"num\"", "\"a rather long key, of more than 31 bytes\""];
        match self.below(if depth == 0 { 5 } else { 9 }) {
            0..4 => self.pick(&SCALARS).to_owned(),
            4 => match attachments {
                Some(count) => {
                    *count += 1;
                    format!("{{\"_placeholder\":true,\"num\":{}}}", *count - 1)
                }
                None => "\"none\"".to_owned(),
            },
            5 | 6 => {
                let items = (0..self.below(20)).map(|_| self.document(depth - 1, attachments));
                format!("[{}]", items.collect::<Vec<_>>().join(","))
            }
            _ => {
                let members = (0..self.below(5))
                    .map(|_| {
                        let key = self.pick(&KEYS);
                        format!("{key}:{}", self.document(depth - 1, attachments))
                    })
                    .collect::<Vec<_>>();
                format!("{{{}}}", members.join(","))
            }
        }
    }
}

#[test]
fn round_trips_keep_the_text() {
    let mut dice = Dice(1);
    let mut binary = 0;
    for _ in 0..2_000 {
        let mut count = Some(0);
        let data = format!("[\"x\",{}]", dice.document(4, &mut count));
        let count = count.unwrap_or(0);
        binary += usize::from(count > 0);
        let head = if count > 0 { format!("5{count}-/n,7") } else { "2/n,7".into() };
        let attachments: Vec<_> = (0..count).map(|n| vec![7_u8; n * 90]).collect();
        let text = format!("{head}{data}");
        let wire = encode_packet(&text, &attachments).unwrap();
        let back = decode_packet(&wire, LIMITS).unwrap();
        assert_eq!(to_text(&back), text);
        assert_eq!(back.attachments, attachments);
    }
    assert!(binary > 100);
}

/// Cut anywhere and changed anywhere: no panic, and what is accepted can be written again.
#[test]
fn noise_never_panics() {
    let mut dice = Dice(2);
    let mut accepted = 0;
    for _ in 0..300 {
        let data = format!("[\"x\",{}]", dice.document(3, &mut None));
        let wire = encode_packet(&format!("27{data}"), &NONE).unwrap();
        for cut in 0..wire.len().min(200) {
            assert!(decode_packet(&wire[..cut], LIMITS).is_err());
        }
        for _ in 0..50 {
            let mut noise = wire.clone();
            for _ in 0..=dice.below(3) {
                let at = dice.below(noise.len());
                noise[at] = dice.below(256).to_be_bytes()[7];
            }
            if let Ok(found) = decode_packet(&noise, LIMITS) {
                accepted += 1;
                let text = to_text(&found);
                encode_packet(&text, &found.attachments).expect(&text);
                let value: Result<serde_json::Value, _> = serde_json::from_str(&found.data);
                assert!(value.is_ok() || found.data.is_empty(), "{}", found.data);
            }
            let text = String::from_utf8_lossy(&noise);
            drop(encode_packet(&format!("2{text}"), &NONE));
        }
    }
    assert!(accepted > 500, "{accepted}");
}
