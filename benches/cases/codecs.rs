//! The codecs, one function each.

use std::hint::black_box;

use corewire::deflate::{Bounds, Deflater, Inflater};
use corewire::engineio::{encode_v3_text, next_v3, next_v4};
use corewire::http::{Cors, Response, accept, parse_head};
use corewire::socketio::{DecodeLimits, JsonChecker, decode_packet, encode, encode_packet, parse};
use corewire::ws::{Decoder, Kind, Limits, Step, write_client_frame, write_header};

use super::node::UPGRADE;
use super::{Case, Live, PAYLOAD, live, steady};

/// The rows of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("http/head-poll", "head", || head(POLL)),
        Case::new("http/head-upgrade", "head", || head(UPGRADE)),
        Case::new("http/accept", "answer", accept_upgrade),
        Case::new("http/write-payload", "answer", write_answer),
        Case::new("ws/read-64", "frame", || read_frame(64)),
        Case::new("ws/read-1024", "frame", || read_frame(1_024)),
        Case::new("ws/read-16384", "frame", || read_frame(16_384)),
        Case::new("ws/write-64", "frame", write_frame),
        Case::new("engineio/split-v4", "packet", split_v4).times(PACKETS),
        Case::new("engineio/split-v3", "packet", split_v3).times(PACKETS),
        Case::new("engineio/join-v3", "packet", join_v3).times(PACKETS),
        Case::new("socketio/parse", "packet", parse_packet),
        Case::new("socketio/json-64", "payload", || check_json(64)),
        Case::new("socketio/json-1024", "payload", || check_json(1_024)),
        Case::new("socketio/json-16384", "payload", || check_json(16_384)),
        Case::new("socketio/encode-event", "packet", encode_event),
        Case::new("socketio/encode-ack", "packet", encode_ack),
        Case::new("socketio/to-msgpack-1024", "packet", to_msgpack),
        Case::new("socketio/from-msgpack-1024", "packet", from_msgpack),
        Case::new("deflate/pack-1024", "message", pack),
        Case::new("deflate/inflate-1024", "message", inflate),
    ]
}

/// A poll as a browser sends it.
const POLL: &[u8] = b"GET /socket.io/?EIO=4&transport=polling&t=abc123&sid=AAAAAAAAAAAAAAAAAAAA \
    HTTP/1.1\r\nHost: 127.0.0.1:3001\r\nConnection: keep-alive\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
    Accept: */*\r\nOrigin: http://localhost:3000\r\nReferer: http://localhost:3000/\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\n\r\n";

const HEAD_BYTES_MAX: usize = 16 << 10;

fn head(bytes: &'static [u8]) -> Box<dyn Live> {
    assert!(matches!(parse_head(bytes, HEAD_BYTES_MAX), Ok(Some(_))));
    steady((), move |()| {
        black_box(&parse_head(black_box(bytes), HEAD_BYTES_MAX));
    })
}

fn accept_upgrade() -> Box<dyn Live> {
    let (head, _) = parse_head(UPGRADE, HEAD_BYTES_MAX).expect("legal").expect("whole");
    assert!(accept(&head, &[]).is_ok());
    steady(head, |head| {
        black_box(&accept(head, &[]));
    })
}

/// Room for whatever a case writes.
fn buffer() -> Vec<u8> {
    Vec::with_capacity(64 << 10)
}

fn write_answer() -> Box<dyn Live> {
    let body = format!("42[\"msg\",\"{PAYLOAD}\"]").into_bytes();
    let state = (Cors::default(), body, buffer());
    steady(state, |(cors, body, out)| {
        out.clear();
        let headers = cors.headers(Some("http://localhost:3000"));
        Response::payload(body.clone()).with_first(headers).write(out, true);
        black_box(out);
    })
}

fn read_frame(len: usize) -> Box<dyn Live> {
    let mut frame = Vec::new();
    write_client_frame(&mut frame, Kind::Text, true, [1, 2, 3, 4], "x".repeat(len).as_bytes());
    let limits = Limits { message_bytes_max: 1_000_000, fragments_max: 16, deflate: false };
    let state = (frame.clone(), frame, Decoder::default());
    live(
        state,
        |(fresh, bytes, _)| bytes.copy_from_slice(fresh),
        move |(_, bytes, decoder)| {
            let step = decoder.next(black_box(bytes), &limits);
            assert!(matches!(step, Ok(Step::Event { .. })));
            black_box(&step);
        },
    )
}

fn write_frame() -> Box<dyn Live> {
    steady(buffer(), |out| {
        out.clear();
        write_header(out, Kind::Text, PAYLOAD.len());
        out.extend_from_slice(black_box(PAYLOAD).as_bytes());
        black_box(out);
    })
}

/// Packets of a polling body.
const PACKETS: u32 = 16;

fn packet() -> String {
    format!("42[\"msg\",\"{PAYLOAD}\"]")
}

fn split_v4() -> Box<dyn Live> {
    let body = vec![packet(); PACKETS as usize].join("\u{1e}");
    steady(body, |body| {
        let mut rest = Some(black_box(body.as_str()));
        while let Some(text) = rest {
            let (piece, after) = next_v4(text).expect("well formed");
            black_box(piece);
            rest = after;
        }
    })
}

fn join_packets(out: &mut Vec<u8>, packet: &str) {
    for _ in 0..PACKETS {
        encode_v3_text(out, black_box(packet));
    }
}

fn split_v3() -> Box<dyn Live> {
    let mut body = Vec::new();
    join_packets(&mut body, &packet());
    let body = String::from_utf8(body).expect("text");
    steady(body, |body| {
        let mut rest = Some(black_box(body.as_str()));
        while let Some(text) = rest {
            let (piece, after) = next_v3(text).expect("well formed");
            black_box(piece);
            rest = after;
        }
    })
}

fn join_v3() -> Box<dyn Live> {
    steady((buffer(), packet()), |(out, packet)| {
        out.clear();
        join_packets(out, packet);
        black_box(out);
    })
}

fn parse_packet() -> Box<dyn Live> {
    let text = format!("2/chat,17[\"msg\",\"{PAYLOAD}\"]");
    assert!(parse(&text, 10).is_ok());
    steady(text, |text| {
        black_box(&parse(black_box(text), 10));
    })
}

/// The payload of an event, about `len` bytes of many small members.
fn payload(len: usize) -> String {
    let mut text = String::from("[\"update\",{\"id\":12345");
    let mut at = 0;
    while text.len() < len.saturating_sub(2) {
        let member = match at % 3 {
            0 => format!(",\"name{at}\":\"some text\""),
            1 => format!(",\"size{at}\":{}.5", at * 37),
            _ => format!(",\"flag{at}\":[true,null]"),
        };
        text.push_str(&member);
        at += 1;
    }
    text.push_str("}]");
    text
}

fn check_json(len: usize) -> Box<dyn Live> {
    let state = (JsonChecker::new(), payload(len));
    steady(state, |(checker, text)| {
        let body = checker.event(black_box(text), 0).expect("an event");
        black_box(&body);
    })
}

fn pack() -> Box<dyn Live> {
    let state = (Deflater::default(), payload(1_024));
    steady(state, |(deflater, text)| {
        black_box(deflater.message(black_box(text.as_bytes())).expect("it becomes shorter"));
    })
}

fn inflate() -> Box<dyn Live> {
    let packed = Deflater::default().message(payload(1_024).as_bytes()).map(<[u8]>::to_vec);
    let state = (Inflater::default(), packed.expect("it becomes shorter"));
    let bounds = Bounds { bytes_max: 1 << 20, ratio_max: 100 };
    steady(state, move |(inflater, packed)| {
        black_box(inflater.message(black_box(packed), bounds).expect("its own work"));
    })
}

fn encode_event() -> Box<dyn Live> {
    let state = (buffer(), format!("\"{PAYLOAD}\""));
    steady(state, |(out, args)| {
        out.clear();
        encode::event(out, "/", None, black_box("msg"), black_box(args), 0);
        black_box(out);
    })
}

fn encode_ack() -> Box<dyn Live> {
    let state = (buffer(), format!("\"{PAYLOAD}\""));
    steady(state, |(out, args)| {
        out.clear();
        encode::ack(out, "/", black_box(b"17"), black_box(args), 0);
        black_box(out);
    })
}

fn to_msgpack() -> Box<dyn Live> {
    let text = format!("2{}", payload(1_024));
    steady(text, |text| {
        let none: &[Vec<u8>] = &[];
        let packed = encode_packet(black_box(text), none).expect("a packet");
        black_box(&packed);
    })
}

fn from_msgpack() -> Box<dyn Live> {
    let none: &[Vec<u8>] = &[];
    let packed = encode_packet(&format!("2{}", payload(1_024)), none).expect("a packet");
    let limits = DecodeLimits { depth: 32, elements_max: 100_000 };
    steady(packed, move |packed| {
        let decoded = decode_packet(black_box(packed), limits).expect("a packet");
        black_box(&decoded);
    })
}
