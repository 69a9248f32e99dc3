//! Socket.IO packets of both parsers.

use corewire::socketio::{
    DEPTH_MAX, DecodeLimits, JsonChecker, Kind, NAMESPACE_BYTES_MAX, Packet, ParseError,
    decode_packet, encode, encode_packet, parse,
};
use serde_json::Value;

const ATTACHMENTS_MAX: u32 = 10;
const LIMITS: DecodeLimits = DecodeLimits { depth: 24, elements_max: 400 };

/// Judged, written again, carried over to msgpack and back: the same packet.
pub(super) fn text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(packet) = parse(&text, ATTACHMENTS_MAX) else { return };
    assert!(packet.attachments <= ATTACHMENTS_MAX);
    assert_eq!(packet.attachments > 0, packet.kind.is_binary());
    assert!(packet.namespace.len() <= NAMESPACE_BYTES_MAX && packet.namespace.starts_with('/'));
    let mut judge = JsonChecker::new();
    let mut out = Vec::new();
    match packet.kind {
        Kind::Event | Kind::BinaryEvent => {
            let Ok(event) = judge.event(packet.data, packet.attachments) else { return };
            is_json(packet.data);
            // A numeric name is written as a text: not the same packet.
            if event.name_is_number {
                return;
            }
            let id = packet.ack_id.map(str::parse::<u64>);
            let Ok(id) = id.transpose() else { return };
            let count = packet.attachments as usize;
            encode::event(&mut out, packet.namespace, id, &event.name, event.args, count);
            let written = String::from_utf8(out).expect("text was written");
            let again = parse(&written, ATTACHMENTS_MAX).expect("we wrote it");
            same(&packet, &again);
            let other = judge.event(again.data, again.attachments).expect("we wrote it");
            assert_eq!((other.name, other.args), (event.name, event.args));
            there_and_back(&written, &again);
        }
        Kind::Ack | Kind::BinaryAck => {
            let Ok(args) = judge.ack(packet.data, packet.attachments) else { return };
            let Some(id) = packet.ack_id else { return };
            let count = packet.attachments as usize;
            encode::ack(&mut out, packet.namespace, id.as_bytes(), args, count);
            let written = String::from_utf8(out).expect("text was written");
            let again = parse(&written, ATTACHMENTS_MAX).expect("we wrote it");
            same(&packet, &again);
            assert_eq!(judge.ack(again.data, again.attachments), Ok(args));
            there_and_back(&written, &again);
        }
        Kind::Connect => {
            if judge.connect(packet.data).is_ok() && !packet.data.is_empty() {
                is_json(packet.data);
            }
        }
        Kind::Disconnect => assert_eq!(packet.data, ""),
        Kind::ConnectError => {}
    }
}

fn is_json(text: &str) {
    let read = serde_json::from_str::<&serde_json::value::RawValue>(text);
    assert!(read.is_ok(), "judged as JSON: {text:?}");
}

fn same(one: &Packet<'_>, other: &Packet<'_>) {
    assert_eq!(
        (one.kind, one.attachments, one.namespace),
        (other.kind, other.attachments, other.namespace)
    );
    let number =
        |packet: &Packet<'_>| packet.ack_id.map(|id| id.trim_start_matches('0').to_owned());
    assert_eq!(number(one), number(other));
}

/// To msgpack and back: kind, namespace, id, attachments and meaning are kept.
fn there_and_back(text: &str, packet: &Packet<'_>) {
    let attachments: Vec<Vec<u8>> = (0..packet.attachments)
        .map(|at| vec![u8::try_from(at).expect("ten at most"); 40 * at as usize])
        .collect();
    let Ok(packed) = encode_packet(text, &attachments) else { return };
    let attached: usize = attachments.iter().map(Vec::len).sum();
    // A float takes nine bytes and three characters at least.
    assert!(packed.len() <= 3 * text.len() + attached + 64, "{} bytes of {text}", packed.len());
    let limits = DecodeLimits { depth: DEPTH_MAX, elements_max: text.len() + 20 };
    let decoded = match decode_packet(&packed, limits) {
        Ok(decoded) => decoded,
        // Ids beyond 64 bits become floats, which are no ids.
        Err(ParseError::AckId) if packet.ack_id.is_some_and(|id| id.len() > 15) => return,
        Err(error) => panic!("{error:?}: {text} as {packed:?}"),
    };
    assert_eq!(decoded.namespace, packet.namespace);
    let floats = packet.ack_id.is_some_and(|id| id.len() > 15);
    if !floats {
        let digits = packet.ack_id.map(|id| match id.trim_start_matches('0') {
            "" => String::from("0"),
            id => id.to_owned(),
        });
        assert_eq!(decoded.ack_id, digits);
    }
    fixed(&decoded.text(), &decoded.attachments);
}

/// What msgpack made of a packet stays as it is from then on.
fn fixed(text: &str, attachments: &[Vec<u8>]) {
    let packed = encode_packet(text, attachments).expect("it was a packet");
    let limits = DecodeLimits { depth: DEPTH_MAX, elements_max: text.len() + 20 };
    let again = decode_packet(&packed, limits).expect("we wrote it");
    assert_eq!(again.attachments, attachments);
    let value = |text: &str| {
        let packet = parse(text, u32::MAX).expect("it was a packet");
        serde_json::from_str::<Value>(packet.data).ok()
    };
    assert_eq!(value(&again.text()), value(text), "{text}");
}

/// Bounded, judged by the other parser's rules, and the same when written and read again.
pub(super) fn msgpack(bytes: &[u8]) {
    let Ok(decoded) = decode_packet(bytes, LIMITS) else { return };
    // An element's JSON takes at most 40 bytes beside its characters, of which each takes six.
    let bound = 40 * LIMITS.elements_max + 6 * bytes.len();
    assert!(decoded.data.len() <= bound, "{} bytes of JSON", decoded.data.len());
    let kept: usize = decoded.attachments.iter().map(Vec::len).sum();
    assert!(kept <= bytes.len() && decoded.attachments.len() <= LIMITS.elements_max);
    let text = decoded.text();
    let packet = parse(&text, u32::MAX).expect("the default parser reads it");
    assert_eq!((packet.kind, packet.namespace), (decoded.kind, &*decoded.namespace));
    assert_eq!(packet.attachments as usize, decoded.attachments.len());
    assert_eq!(packet.ack_id, decoded.ack_id.as_deref());
    let mut judge = JsonChecker::new();
    match packet.kind {
        Kind::Event | Kind::BinaryEvent => {
            judge.event(packet.data, packet.attachments).expect("a judged event");
        }
        Kind::Ack | Kind::BinaryAck => {
            judge.ack(packet.data, packet.attachments).expect("a judged answer");
        }
        Kind::Connect => judge.connect(packet.data).expect("a judged payload"),
        Kind::Disconnect => return,
        Kind::ConnectError if packet.data.is_empty() => return,
        Kind::ConnectError => judge.value(packet.data).expect("JSON"),
    }
    if !packet.data.is_empty() {
        is_json(packet.data);
        fixed(&text, &decoded.attachments);
    }
}
