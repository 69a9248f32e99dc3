//! The decoder against the rules, against every cut, and against an independent peer.

use std::io::{self, Cursor, Read, Write};

use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::*;
use crate::base::Rng;

const LIMITS: Limits = Limits { message_bytes_max: 100_000, fragments_max: 64, deflate: false };

/// An [`Event`] that owns what it shows.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Packed(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

fn owned(event: Event<'_>) -> Seen {
    match event {
        Event::Text(text) => Seen::Text(text.into_owned()),
        Event::Binary(bytes) => Seen::Binary(bytes.into_owned()),
        Event::Packed { text, data } => Seen::Packed(text, data.into_owned()),
        Event::Ping(bytes) => Seen::Ping(bytes.to_vec()),
        Event::Pong => Seen::Pong,
        Event::Close(code) => Seen::Close(code),
    }
}

/// Feeds the pieces one after another, as a connection does that keeps what is not yet a frame.
fn decode(pieces: &[&[u8]], limits: &Limits) -> (Vec<Seen>, Result<(), WsError>) {
    let mut decoder = Decoder::default();
    let (mut kept, mut seen) = (Vec::new(), Vec::new());
    for piece in pieces {
        kept.extend_from_slice(piece);
        loop {
            let consumed = match decoder.next(&mut kept, limits) {
                Err(error) => return (seen, Err(error)),
                Ok(Step::Need { need }) => {
                    assert!(need > kept.len(), "asking again would have helped");
                    break;
                }
                Ok(Step::Absorbed { consumed }) => consumed,
                Ok(Step::Event { consumed, event }) => {
                    let is_close = matches!(event, Event::Close(_));
                    seen.push(owned(event));
                    if is_close {
                        return (seen, Ok(()));
                    }
                    consumed
                }
            };
            kept.drain(..consumed);
        }
    }
    (seen, Ok(()))
}

fn client(kind: Kind, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_client_frame(&mut out, kind, fin, [0x12, 0xEF, 0, 0x7F], payload);
    out
}

fn outcome(frames: &[Vec<u8>]) -> (Vec<Seen>, Result<(), WsError>) {
    decode(&[&frames.concat()], &LIMITS)
}

fn check_table(table: &[(&[Vec<u8>], WsError, u16)]) {
    for (frames, error, code) in table {
        let (seen, result) = outcome(frames);
        assert_eq!((seen.len(), result), (0, Err(*error)), "{code}");
        assert_eq!(error.close_code(), *code, "{error:?}");
    }
}

#[test]
fn headers_of_rfc_6455_section_5_2() {
    use WsError as E;
    let long = |first| [&[0x82, 0xFF, first][..], &[0xFF; 7], &[0; 4]].concat();
    check_table(&[
        (&[vec![0x81, 0]], E::Mask, 1002),
        (&[vec![0xC1, 0x80, 0, 0, 0, 0]], E::ReservedBits, 1002),
        (&[vec![0xA1, 0x80, 0, 0, 0, 0]], E::ReservedBits, 1002),
        (&[vec![0x91, 0x80, 0, 0, 0, 0]], E::ReservedBits, 1002),
        (&[vec![0x83, 0x80, 0, 0, 0, 0]], E::Opcode, 1002),
        (&[vec![0x8B, 0x80, 0, 0, 0, 0]], E::Opcode, 1002),
        (&[long(0x80)], E::Length, 1002),
        (&[long(0x7F)], E::TooBig, 1009),
    ]);
}

#[test]
fn messages_of_rfc_6455_sections_5_4_to_8_1() {
    use WsError as E;
    let text = |fin, payload: &[u8]| client(Kind::Text, fin, payload);
    let more = |fin, payload: &[u8]| client(Kind::Continuation, fin, payload);
    let many = |bytes| vec![b'x'; bytes];
    check_table(&[
        (&[more(true, b"x")], E::NothingToContinue, 1002),
        (&[text(false, b"a"), text(true, b"b")], E::Interleaved, 1002),
        (&[client(Kind::Ping, false, b"")], E::ControlInParts, 1002),
        (&[client(Kind::Ping, true, &[0; 126])], E::ControlTooBig, 1002),
        (&[client(Kind::Close, true, &[3])], E::CloseTooShort, 1002),
        (&[client(Kind::Close, true, &[3, 238])], E::CloseCode, 1002),
        (&[client(Kind::Close, true, &[3, 232, 0xFF])], E::Utf8, 1007),
        (&[text(true, b"\xC3")], E::Utf8, 1007),
        (&[text(true, b"\xED\xA0\x80")], E::Utf8, 1007),
        (&[text(false, b"\xC3"), more(true, b"")], E::Utf8, 1007),
        (&[text(true, &many(100_001))], E::TooBig, 1009),
        (&[text(false, &many(60_000)), more(false, &many(40_001))], E::TooBig, 1009),
    ]);
}

#[test]
fn rsv1_of_rfc_7692_section_6() {
    let packed = |kind, fin, payload: &[u8]| {
        let mut frame = client(kind, fin, payload);
        frame[0] |= 0x40;
        frame
    };
    let agreed = Limits { deflate: true, ..LIMITS };
    let hear = |frames: &[Vec<u8>], limits| decode(&[&frames.concat()], &limits);
    let text = packed(Kind::Text, true, b"\xFF");
    assert_eq!(
        hear(std::slice::from_ref(&text), agreed),
        (vec![Seen::Packed(true, vec![0xFF])], Ok(()))
    );
    assert_eq!(hear(&[text], LIMITS).1, Err(WsError::ReservedBits), "nothing was agreed on");
    let parts = [
        packed(Kind::Binary, false, b"a"),
        client(Kind::Ping, true, b"p"),
        client(Kind::Continuation, true, b"b"),
        client(Kind::Text, true, b"plain"),
    ];
    let want = [
        Seen::Ping(b"p".to_vec()),
        Seen::Packed(false, b"ab".to_vec()),
        Seen::Text("plain".to_owned()),
    ];
    assert_eq!(hear(&parts, agreed), (want.to_vec(), Ok(())));
    let control = |kind| vec![packed(kind, true, b"")];
    for wrong in [
        control(Kind::Ping),
        control(Kind::Pong),
        control(Kind::Close),
        vec![packed(Kind::Text, false, b"a"), packed(Kind::Continuation, true, b"b")],
    ] {
        assert_eq!(hear(&wrong, agreed), (vec![], Err(WsError::ReservedBits)));
    }
    for bit in [0x20, 0x10] {
        let mut frame = packed(Kind::Text, true, b"");
        frame[0] |= bit;
        assert_eq!(hear(&[frame], agreed).1, Err(WsError::ReservedBits));
    }
    // What could not be made shorter may travel a little longer than the limit, and no more.
    let most = LIMITS.message_bytes_max + LIMITS.message_bytes_max / 64 + 64;
    assert!(hear(&[packed(Kind::Binary, true, &vec![0; most])], agreed).1.is_ok());
    let over = packed(Kind::Binary, true, &vec![0; most + 1]);
    assert_eq!(hear(&[over], agreed).1, Err(WsError::TooBig));
    let parts =
        [packed(Kind::Binary, false, &vec![0; most]), client(Kind::Continuation, true, &[0])];
    assert_eq!(hear(&parts, agreed).1, Err(WsError::TooBig));
}

#[test]
fn a_header_is_judged_before_its_payload_is_there() {
    let whole = client(Kind::Binary, true, &vec![0; 100_001]);
    assert_eq!(decode(&[&whole[..14]], &LIMITS).1, Err(WsError::TooBig));
    let first = client(Kind::Binary, false, &vec![0; 100_000]);
    let second = client(Kind::Continuation, false, &[0]);
    assert_eq!(decode(&[&first, &second[..6]], &LIMITS).1, Err(WsError::TooBig));
}

#[test]
fn need_names_the_length_of_the_frame() {
    let mut whole = client(Kind::Binary, true, &[7; 300]);
    let before = whole.clone();
    let mut decoder = Decoder::default();
    for (cut, need) in [(0, 2), (1, 2), (2, 8), (7, 8), (8, 308), (307, 308)] {
        assert_eq!(decoder.next(&mut whole[..cut], &LIMITS), Ok(Step::Need { need }), "{cut}");
    }
    assert_eq!(whole, before, "what is not whole is left alone");
}

#[test]
fn broken_text_is_refused_at_the_part_that_breaks_it() {
    // The first part ends inside a character: only the second shows whether it becomes one.
    let start = client(Kind::Text, false, b"ab\xE2\x82");
    let good = client(Kind::Continuation, false, b"\xAC");
    let bad = client(Kind::Continuation, false, b"\x28");
    assert_eq!(decode(&[&start, &good], &LIMITS), (vec![], Ok(())));
    assert_eq!(decode(&[&start, &bad], &LIMITS), (vec![], Err(WsError::Utf8)));
}

#[test]
fn broken_text_is_refused_before_its_frame_is_whole() {
    let long = "ä€🦀x".repeat(1_000).into_bytes();
    let mut broken = long.clone();
    broken[6_000] = 0xFF;
    // Six bytes of header with the mask, two of length: the broken byte is the 6,009th.
    for (first, start) in [(true, 8), (false, 14)] {
        let (kind, before) = if first {
            (Kind::Text, vec![])
        } else {
            (Kind::Continuation, client(Kind::Text, false, b""))
        };
        let mut whole = before;
        whole.extend(client(kind, true, &broken));
        for step in [1, 7, 1_000, 2_999] {
            let upto = |end: usize| whole[..end].chunks(step).collect::<Vec<_>>();
            assert_eq!(decode(&upto(start + 6_000), &LIMITS).1, Ok(()), "{step}");
            assert_eq!(decode(&upto(start + 6_001), &LIMITS).1, Err(WsError::Utf8), "{step}");
        }
    }
    // A character over two frames of which the second comes in pieces.
    let mut split = client(Kind::Text, false, b"ab\xE2\x82");
    split.extend(client(Kind::Continuation, true, b"\xACcd"));
    for cut in 1..split.len() {
        let (seen, result) = decode(&[&split[..cut], &split[cut..]], &LIMITS);
        assert_eq!((seen, result), (vec![Seen::Text("ab€cd".to_owned())], Ok(())), "{cut}");
    }
    // Binary may hold anything.
    let binary = client(Kind::Binary, true, &broken);
    assert_eq!(decode(&[&binary[..7_000]], &LIMITS), (vec![], Ok(())));
}

#[test]
fn endless_tiny_fragments_end() {
    let mut decoder = Decoder::default();
    let mut part = client(Kind::Text, false, b"");
    for taken in 0.. {
        match decoder.next(&mut part, &LIMITS) {
            Ok(step) => assert_eq!(step, Step::Absorbed { consumed: 6 }),
            Err(error) => {
                assert_eq!((taken, error), (64, WsError::TooManyFragments));
                return;
            }
        }
        part = client(Kind::Continuation, false, b"");
    }
}

#[test]
fn an_idle_decoder_is_a_word_and_memory_goes_when_the_message_is_through() {
    assert_eq!(size_of::<Decoder>(), 8);
    let mut decoder = Decoder::default();
    let mut first = client(Kind::Binary, false, &[1; 5000]);
    decoder.next(&mut first, &LIMITS).unwrap();
    assert!((5000..10_000).contains(&decoder.partial_bytes()));
    let mut last = client(Kind::Continuation, true, &[2]);
    let step = decoder.next(&mut last, &LIMITS).unwrap();
    assert!(matches!(step, Step::Event { event: Event::Binary(bytes), .. } if bytes.len() == 5001));
    assert_eq!(decoder.partial_bytes(), 0);
}

#[test]
fn accept_key_of_rfc_6455_section_1_3() {
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/// Text with characters of one to four bytes.
fn random_text(rng: &mut Rng, chars: usize) -> String {
    (0..chars).map(|_| ['a', '"', 'ä', '€', '🦀', '\0'][rng.below(6)]).collect()
}

/// A legal stream of messages, some in parts with pings in between, and what it says.
fn random_stream(rng: &mut Rng) -> (Vec<u8>, Vec<Seen>) {
    let (mut bytes, mut said) = (Vec::new(), Vec::new());
    for _ in 0..=rng.below(4) {
        let size = [0, 3, 125, 126, 700][rng.below(5)];
        let text = rng.below(2) == 0;
        let payload = if text { random_text(rng, size).into_bytes() } else { rng.bytes(size) };
        let mut kind = if text { Kind::Text } else { Kind::Binary };
        let mut rest = payload.as_slice();
        loop {
            let fin = rng.below(3) > 0;
            let (part, after) =
                rest.split_at(if fin { rest.len() } else { rng.below(rest.len() + 1) });
            let mask = rng.draw().to_le_bytes()[..4].try_into().unwrap();
            write_client_frame(&mut bytes, kind, fin, mask, part);
            (kind, rest) = (Kind::Continuation, after);
            if fin {
                break;
            }
            if rng.below(4) == 0 {
                let ping = rng.bytes(5);
                write_client_frame(&mut bytes, Kind::Ping, true, mask, &ping);
                said.push(Seen::Ping(ping));
            }
        }
        said.push(if text {
            Seen::Text(String::from_utf8(payload).unwrap())
        } else {
            Seen::Binary(payload)
        });
    }
    (bytes, said)
}

#[test]
fn every_cut_of_a_legal_stream_reads_alike() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed, 0xC07);
        let (bytes, said) = random_stream(&mut rng);
        assert_eq!(decode(&[&bytes], &LIMITS), (said.clone(), Ok(())), "seed {seed}");
        for cut in 0..bytes.len() {
            let pieces = [&bytes[..cut], &bytes[cut..]];
            assert_eq!(decode(&pieces, &LIMITS), (said.clone(), Ok(())), "seed {seed} at {cut}");
        }
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&singles, &LIMITS), (said, Ok(())), "seed {seed}, byte by byte");
    }
}

/// Reads a script, swallows what is written.
struct Script(Cursor<Vec<u8>>);

impl Read for Script {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of the same bytes: the messages, and whether it found a broken rule.
fn oracle(bytes: &[u8], role: Role) -> (Vec<Seen>, bool) {
    let config = WebSocketConfig::default()
        .read_buffer_size(512)
        .max_message_size(Some(LIMITS.message_bytes_max))
        .max_frame_size(Some(LIMITS.message_bytes_max));
    let script = Script(Cursor::new(bytes.to_vec()));
    let mut socket = WebSocket::from_raw_socket(script, role, Some(config));
    let mut seen = Vec::new();
    loop {
        seen.push(match socket.read() {
            Ok(Message::Text(text)) => Seen::Text(text.to_string()),
            Ok(Message::Binary(bytes)) => Seen::Binary(bytes.to_vec()),
            Ok(Message::Ping(bytes)) => Seen::Ping(bytes.to_vec()),
            Ok(Message::Pong(_)) => Seen::Pong,
            Ok(Message::Close(Some(frame))) if frame.reason.as_str() == "Protocol violation" => {
                return (seen, true);
            }
            Ok(Message::Close(frame)) => {
                seen.push(Seen::Close(frame.map(|frame| frame.code.into())));
                return (seen, false);
            }
            Ok(Message::Frame(_)) => unreachable!("reading gives no raw frames"),
            // The script is over without a close frame.
            Err(Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => return (seen, false),
            Err(_) => return (seen, true),
        });
    }
}

#[test]
fn tungstenite_hears_what_we_hear() {
    for seed in 0..500 {
        let (bytes, said) = random_stream(&mut Rng::new(seed, 0x0C1E));
        assert_eq!(oracle(&bytes, Role::Server), (said, false), "seed {seed}");
    }
}

#[test]
fn tungstenite_reads_what_we_write() {
    for len in [0, 1, 125, 126, 65_535, 65_536] {
        let mut bytes = Vec::new();
        write_header(&mut bytes, Kind::Binary, len);
        bytes.resize(bytes.len() + len, 9);
        write_pong(&mut bytes, b"x");
        bytes.extend(close_frame(Some(1001)));
        let want = vec![Seen::Binary(vec![9; len]), Seen::Pong, Seen::Close(Some(1001))];
        assert_eq!(oracle(&bytes, Role::Client), (want, false), "{len}");
    }
}

/// One byte changed, or a few bytes of noise in front: both must draw the same line.
///
/// Two differences are meant. We refuse from the header, so the oracle may still wait for a
/// payload that the script lacks. And we refuse broken text at the part that breaks it.
#[test]
fn tungstenite_refuses_what_we_refuse() {
    let mut refused = 0;
    for seed in 0..4000 {
        let mut rng = Rng::new(seed, 0xBAD);
        let (mut bytes, _) = random_stream(&mut rng);
        if rng.below(4) == 0 {
            bytes = client(Kind::Close, true, &rng.bytes(rng.clone().below(5)));
        }
        for _ in 0..=rng.below(2) {
            let at = rng.below(bytes.len());
            bytes[at] ^= 1 << rng.below(8);
        }
        let (seen, result) = decode(&[&bytes], &LIMITS);
        let (want, broken) = oracle(&bytes, Role::Server);
        match result {
            Ok(()) => assert_eq!((seen, false), (want, broken), "seed {seed}"),
            Err(error) => {
                refused += 1;
                assert_eq!(seen, want, "seed {seed}");
                let early = matches!(error, WsError::Utf8) || waits_for_payload(&bytes, error);
                assert!(broken || early, "seed {seed}: {error:?}");
            }
        }
    }
    assert!(refused > 500, "the test found {refused} broken streams only");
}

/// Whether the rule was broken by a header whose payload the script does not hold.
fn waits_for_payload(bytes: &[u8], error: WsError) -> bool {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len() + 200_000, 0);
    let by_header = !matches!(error, WsError::CloseTooShort | WsError::CloseCode);
    by_header && oracle(&padded, Role::Server).1
}

#[test]
fn noise_never_panics_and_always_ends() {
    for seed in 0..20_000 {
        let mut rng = Rng::new(seed, 0x0153);
        let mut bytes = rng.bytes(rng.clone().below(60));
        if let [_, second, ..] = bytes.as_mut_slice() {
            *second |= 0x80;
        }
        let (seen, result) = decode(&[&bytes], &LIMITS);
        assert!(seen.len() <= bytes.len() && (result.is_ok() || bytes.len() > 1));
    }
}
