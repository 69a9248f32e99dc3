//! Compression over the wire: what is agreed on, what travels, what ends a connection.

use std::io::Read as _;

use corewire::api::{App, Io, PlainMessage};
use corewire::config::Options;
use corewire::server::Server;
use corewire::ws::{self, Kind};

use crate::fixture::{Fixture, eventually, options, start_server, start_with};
use crate::wire::{PACKED, POLLING, Polling, Wire, fetch, frame, upgrade};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// A server whose Socket.IO clients may compress.
fn packing(also: impl FnOnce(&mut Options)) -> Fixture {
    let mut options = Options { deflate: true, ..options(1) };
    also(&mut options);
    start_with(options)
}

/// A server with a plain echo of 100,000 bytes at `/echo`.
fn echoing(also: impl FnOnce(&mut Options)) -> corewire::server::Running {
    let mut options = options(1);
    also(&mut options);
    let app = |_io: &Io| {
        App::new().on_plain_message(|message: PlainMessage<'_>| message.reply(message.message))
    };
    let server = Server::new(options, app).plain_endpoint("/echo", 100_000);
    server.deflate_endpoint("/echo").start().expect("the server starts")
}

/// A WebSocket with these header lines in its handshake, and the answer's head.
fn open(address: std::net::SocketAddr, target: &str, headers: &str) -> (Wire, String) {
    let mut wire = Wire::connect(address);
    wire.send(upgrade(target, headers).as_bytes());
    let reply = wire.reply();
    assert_eq!(reply.status, 101, "{}", reply.head);
    (wire, reply.head)
}

/// A Socket.IO client in `/` that takes compressed messages.
fn packer(fixture: &Fixture) -> Wire {
    let target = "/socket.io/?EIO=4&transport=websocket";
    let (mut wire, head) = open(fixture.address, target, OFFER);
    assert!(head.contains("\r\nsec-websocket-extensions: permessage-deflate; "), "{head}");
    assert_eq!(wire.frame().0, 0x81, "the open packet is short");
    wire.send(&frame(Kind::Text, b"40"));
    assert_eq!(wire.frame().0, 0x81);
    wire
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut raw = flate2::Compress::new(flate2::Compression::best(), false);
    let mut out = Vec::with_capacity(data.len() + 1_000);
    raw.compress_vec(data, &mut out, flate2::FlushCompress::Sync).expect("there is room");
    out.truncate(out.len() - TAIL.len());
    out
}

fn inflate(data: &[u8]) -> Vec<u8> {
    let mut raw = flate2::Decompress::new(false);
    let mut out = Vec::with_capacity(1 << 20);
    let data = [data, &TAIL].concat();
    raw.decompress_vec(&data, &mut out, flate2::FlushDecompress::Sync).expect("it is deflate");
    out
}

/// A client's frame that says it is compressed.
fn packed(kind: Kind, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ws::write_client_frame(&mut out, kind, fin, [9, 8, 7, 6], payload);
    out[0] |= PACKED;
    out
}

fn rest(fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ws::write_client_frame(&mut out, Kind::Continuation, fin, [9, 8, 7, 6], payload);
    out
}

#[test]
fn nothing_is_agreed_on_unless_it_is_on_and_offered() {
    let target = "/socket.io/?EIO=4&transport=websocket";
    let silent = |address, headers| {
        let (_, head) = open(address, target, headers);
        assert!(!head.contains("sec-websocket-extensions"), "{head}");
    };
    let off = start_with(options(1));
    silent(off.address, OFFER);
    silent(off.address, "Sec-WebSocket-Extensions: ;;;\r\n");
    let on = packing(|_| {});
    silent(on.address, "");
    silent(on.address, "Sec-WebSocket-Extensions: constructor, permessage-deflate; a=b\r\n");
    let alone = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; \
                 client_no_context_takeover";
    for (offer, answer) in [
        ("permessage-deflate; client_max_window_bits", format!("{alone}\r\n")),
        (
            "permessage-deflate; server_max_window_bits=10",
            format!("{alone}; server_max_window_bits=10\r\n"),
        ),
    ] {
        let header = format!("Sec-WebSocket-Extensions: {offer}\r\n");
        let (_, head) = open(on.address, target, &header);
        assert!(head.contains(&answer), "{head}");
    }
    let refused = upgrade(target, "Sec-WebSocket-Extensions: permessage-deflate;\r\n");
    assert_eq!(fetch(on.address, refused.as_bytes()).status, 400);
}

#[test]
fn messages_are_inflated_in_one_piece_or_in_parts_and_answers_compressed_if_long() {
    let fixture = packing(|_| {});
    let mut client = packer(&fixture);
    let long = format!("421[\"echo\",\"{}\"]", "a longish text, ".repeat(200));
    let data = deflate(long.as_bytes());
    client.send(&packed(Kind::Text, true, &data));
    let (first, payload) = client.frame();
    assert_eq!(first, 0xC1, "text, final, compressed");
    let want = long.replacen("421[\"echo\",", "431[", 1);
    assert_eq!(inflate(&payload), want.as_bytes());
    // In parts, cut anywhere, with a ping between them.
    let (one, two) = data.split_at(data.len() / 3);
    client.send(&packed(Kind::Text, false, one));
    client.send(&frame(Kind::Ping, b"now"));
    client.send(&rest(false, &[]));
    client.send(&rest(true, two));
    assert_eq!(client.frame(), (0x8A, b"now".to_vec()));
    assert_eq!(inflate(&client.frame().1), want.as_bytes());
    // Short ones stay as they are, and may come as they are.
    client.send(&packed(Kind::Text, true, &deflate(b"422[\"echo\",1]")));
    assert_eq!(client.frame(), (0x81, b"432[1]".to_vec()));
    client.send(&frame(Kind::Text, b"423[\"echo\",2]"));
    assert_eq!(client.frame(), (0x81, b"433[2]".to_vec()));
    // Attachments, each a message of its own.
    client.send(&packed(
        Kind::Text,
        true,
        &deflate(b"451-4[\"echo\",{\"_placeholder\":true,\"num\":0}]"),
    ));
    client.send(&packed(Kind::Binary, true, &deflate(&[7; 5_000])));
    assert!(client.frame().1.starts_with(b"461-4["));
    let (first, payload) = client.frame();
    assert_eq!((first, inflate(&payload)), (0xC2, vec![7; 5_000]));
}

#[test]
fn what_breaks_a_rule_or_a_bound_ends_with_its_code() {
    let server = echoing(|options| options.deflate_ratio_max = 50);
    let zeros = |count: usize| deflate(&vec![0; count]);
    let control = |kind| packed(kind, true, b"");
    let table: [(&str, Vec<u8>, u16); 10] = [
        ("a ping that is compressed", control(Kind::Ping), 1002),
        ("a close that is", control(Kind::Close), 1002),
        (
            "RSV1 on a later part",
            [packed(Kind::Text, false, b"a"), packed(Kind::Continuation, true, b"b")].concat(),
            1002,
        ),
        ("no deflate at all", packed(Kind::Text, true, &[0xFF; 40]), 1007),
        ("half of a message", packed(Kind::Text, true, &deflate(b"half of it")[..5]), 1007),
        ("text that is none", packed(Kind::Text, true, &deflate(&[0xFF, 0xFE])), 1007),
        ("one byte too much", packed(Kind::Binary, true, &incompressible(100_001)), 1009),
        ("more than may travel", packed(Kind::Binary, true, &vec![0; 102_000]), 1009),
        ("a bomb", packed(Kind::Binary, true, &zeros(20_000_000)), 1009),
        ("a small bomb", packed(Kind::Binary, true, &zeros(90_000)), 1009),
    ];
    for (what, bytes, code) in table {
        let (mut client, _) = open(server.addresses[0], "/echo", OFFER);
        client.send(&bytes);
        let (first, payload) = client.frame();
        assert_eq!((first, payload.as_slice()), (0x88, &code.to_be_bytes()[..]), "{what}");
    }
    // Without an agreement the bit means nothing.
    let (mut client, _) = open(server.addresses[0], "/echo", "");
    client.send(&packed(Kind::Text, true, &deflate(b"hello")));
    assert_eq!(client.frame(), (0x88, 1002_u16.to_be_bytes().to_vec()));
    // What is as long as it may be, and what does not grow, is taken.
    let (mut client, _) = open(server.addresses[0], "/echo", OFFER);
    for data in [incompressible(100_000), zeros(65_536)] {
        let want = inflate(&data);
        client.send(&packed(Kind::Binary, true, &data));
        let (first, payload) = client.frame();
        let heard = if first & PACKED == 0 { payload } else { inflate(&payload) };
        assert_eq!(heard, want);
    }
    server.stop();
}

/// A message of so many bytes that compressing does not shorten.
fn incompressible(bytes: usize) -> Vec<u8> {
    deflate(&corewire::base::Rng::new(7, 7).bytes(bytes))
}

#[test]
fn a_broadcast_is_compressed_once_for_all_who_take_it() {
    let fixture = packing(|_| {});
    let mut takers: Vec<Wire> = (0..20).map(|_| packer(&fixture)).collect();
    let mut others: Vec<_> = (0..3).map(|_| crate::wire::Ws::connect(fixture.address)).collect();
    for taker in &mut takers {
        taker.send(&frame(Kind::Text, b"420[\"join\",\"all\"]"));
        assert!(taker.frame().1.starts_with(b"430["));
    }
    for other in &mut others {
        other.ask("[\"join\",\"all\"]");
    }
    let mut sender = crate::wire::Ws::connect(fixture.address);
    sender.ask("[\"pad\",\"all\",1,30000]");
    let want = format!("42[\"padded\",1,\"{}\"]", "x".repeat(30_000));
    let first = takers[0].frame();
    assert_eq!((first.0, inflate(&first.1)), (0xC1, want.as_bytes().to_vec()));
    for taker in &mut takers[1..] {
        assert_eq!(taker.frame(), first, "the very same bytes");
    }
    for other in &mut others {
        assert_eq!(other.packet(), want);
    }
    let before = fixture.metric("corewire_events_in_total");
    sender.ask("[\"echo\",0]");
    eventually("all that was said is counted", || {
        fixture.metric("corewire_events_in_total") > before
    });
    assert_eq!(fixture.metric("corewire_deflated_total"), 1);
    assert_eq!(fixture.metric("corewire_deflate_held_bytes"), 0, "nobody waits for it any more");
}

#[test]
fn without_memory_for_compressed_forms_messages_leave_as_they_are() {
    let fixture = packing(|options| options.deflate_memory_bytes = 0);
    let mut takers: Vec<Wire> = (0..3).map(|_| packer(&fixture)).collect();
    let mut sender = crate::wire::Ws::connect(fixture.address);
    sender.ask(&format!("[\"relay\",\"{}\"]", "y".repeat(5_000)));
    assert!(takers.iter_mut().all(|taker| taker.frame().0 == 0x81));
    eventually("skipping is counted", || fixture.metric("corewire_deflate_skipped_total") == 3);
    // What only one gets is kept for nobody.
    let long = format!("420[\"echo\",\"{}\"]", "y".repeat(5_000));
    takers[0].send(&frame(Kind::Text, long.as_bytes()));
    assert_eq!(takers[0].frame().0, 0xC1);
}

#[test]
fn who_asks_for_a_small_window_gets_compressed_what_fits_in_it() {
    let server = echoing(|options| options.deflate_threshold_bytes = 100);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n";
    let (mut client, head) = open(server.addresses[0], "/echo", offer);
    assert!(head.contains("server_max_window_bits=9\r\n"), "{head}");
    for (bytes, first) in [(99, 0x82), (100, 0xC2), (512, 0xC2), (513, 0x82)] {
        client.send(&frame(Kind::Binary, &vec![5; bytes]));
        assert_eq!(client.frame().0, first, "{bytes}");
    }
    server.stop();
}

/// A poll of 3,000 bytes with these header lines, and its answer.
fn long_poll(fixture: &Fixture, bytes: usize, headers: &str) -> crate::wire::Reply {
    let client = Polling::connect(fixture.address);
    client.post(&format!("420[\"echo\",\"{}\"]", "z".repeat(bytes)));
    let target = format!("{POLLING}&sid={}", client.sid);
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let reply = fetch(fixture.address, request.as_bytes());
    assert_eq!(reply.status, 200);
    reply
}

#[test]
fn answers_to_polls_are_compressed_for_whoever_asks() {
    let fixture = start_with(options(1));
    let want = format!("430[\"{}\"]", "z".repeat(3_000));
    let gzip = long_poll(&fixture, 3_000, "Accept-Encoding: gzip, deflate, br\r\n");
    assert!(gzip.head.contains("\r\ncontent-encoding: gzip\r\n"), "{}", gzip.head);
    assert!(gzip.head.contains("\r\nvary: accept-encoding\r\n"), "{}", gzip.head);
    assert!(gzip.head.contains("\r\ncontent-type: text/plain; charset=utf-8\r\n"));
    assert!(gzip.body.len() < 200);
    let mut back = String::new();
    flate2::read::GzDecoder::new(gzip.body.as_slice()).read_to_string(&mut back).unwrap();
    assert_eq!(back, want);
    let zlib = long_poll(&fixture, 3_000, "Accept-Encoding: gzip;q=0.1, deflate;q=0.2\r\n");
    assert!(zlib.head.contains("\r\ncontent-encoding: deflate\r\n"), "{}", zlib.head);
    back.clear();
    flate2::read::ZlibDecoder::new(zlib.body.as_slice()).read_to_string(&mut back).unwrap();
    assert_eq!(back, want);
    for headers in ["", "Accept-Encoding: gzip;q=0\r\n", "Accept-Encoding: br\r\n"] {
        let plain = long_poll(&fixture, 3_000, headers);
        assert!(!plain.head.contains("content-encoding"), "{}", plain.head);
        assert!(plain.head.contains("\r\nvary: accept-encoding\r\n"), "a cache has to know");
        assert_eq!(plain.text(), want);
    }
    let short = long_poll(&fixture, 100, "Accept-Encoding: gzip\r\n");
    assert!(!short.head.contains("content-encoding") && !short.head.contains("vary"));
}

#[test]
fn compression_of_polls_can_be_off_or_begin_elsewhere() {
    let asks = "Accept-Encoding: gzip\r\n";
    let off = start_with(Options { http_compression: false, ..options(1) });
    let head = long_poll(&off, 3_000, asks).head;
    assert!(!head.contains("content-encoding") && !head.contains("vary"), "{head}");
    let early = Options { http_compression_threshold_bytes: 60, ..options(1) };
    let early = start_server(early, |server| server);
    assert!(long_poll(&early, 100, asks).head.contains("content-encoding: gzip"));
}
