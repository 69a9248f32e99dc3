//! Compressed forms that are kept for receivers to come, and the memory that they may take.

use std::rc::Rc;

use super::held_tests::{Crowd, emit};
use super::{Compression, Emit, Settings, Target};
use crate::base::{Key, Rng};
use crate::deflate::{Bounds, Inflater, PACK_BYTES_MAX};
use crate::ws;

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
const CLIENTS: usize = 8;

/// A core that keeps so many bytes of compressed forms.
fn settings(memory_bytes_max: usize) -> Settings {
    let compression = Compression { websocket: true, memory_bytes_max, ..Compression::default() };
    Settings { compression, ..Settings::default() }
}

/// Clients that take compressed messages, of whom only the first one reads.
fn room(memory_bytes_max: usize) -> (Crowd, Vec<Key>) {
    let mut crowd = Crowd::with(settings(memory_bytes_max));
    let joined = (0..CLIENTS).filter_map(|_| crowd.join_with(OFFER, ""));
    let clients: Vec<Key> = joined.map(|(conn, _)| conn).collect();
    assert_eq!(clients.len(), CLIENTS);
    crowd.reads = true;
    crowd.flush();
    crowd.taken.clear();
    crowd.deaf.extend(&clients[1..]);
    (crowd, clients)
}

/// Text that becomes half as long.
fn text(rng: &mut Rng, bytes: usize) -> String {
    rng.bytes(bytes / 2).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn say(crowd: &mut Crowd, text: &str) {
    crowd.shard.broadcast("/", Target::default(), &emit(&format!("\"{text}\"")), false, None);
    crowd.pass(1);
}

/// Those who did not read do so now.
fn all_read(crowd: &mut Crowd) {
    crowd.deaf.clear();
    for key in std::mem::take(&mut crowd.unsent) {
        let rest = crowd.shard.take_unsent(key);
        crowd.taken.entry(key).or_default().extend_from_slice(&rest);
        crowd.shard.handle_progress(key, rest.len(), Vec::new());
        crowd.shard.handle_written(key);
    }
    crowd.flush();
}

/// The messages that a client got, and which of them came compressed.
fn heard(mut bytes: Vec<u8>) -> Vec<(String, bool)> {
    let (mut inflater, mut at, mut heard) = (Inflater::default(), 0, Vec::new());
    while at < bytes.len() {
        // RSV1: the message is compressed.
        let is_packed = bytes[at] & 0x40 != 0;
        bytes[at] &= !0x40;
        let frame = ws::read_server_frame(&bytes[at..]).expect("a frame").expect("all of it");
        let bounds = Bounds { bytes_max: 1 << 20, ratio_max: 100 };
        let message = if is_packed {
            inflater.message(frame.payload, bounds).expect("it inflates")
        } else {
            frame.payload.to_vec()
        };
        heard.push((String::from_utf8(message).expect("text"), is_packed));
        at += frame.consumed;
    }
    heard
}

#[test]
fn forms_that_are_kept_stay_within_their_memory_and_every_message_arrives_whole() {
    const BUDGET: usize = 64 << 10;
    const MESSAGE: usize = 6_000;
    let (mut crowd, clients) = room(BUDGET);
    let mut rng = Rng::new(1, 0xDEF);
    let texts: Vec<String> = (0..100).map(|_| text(&mut rng, MESSAGE)).collect();
    let mut most = 0;
    for text in &texts {
        say(&mut crowd, text);
        let held = crowd.shard.press.held();
        assert!(held <= BUDGET + MESSAGE, "{held} bytes are kept");
        most = most.max(held);
        crowd.check();
    }
    assert!(most >= BUDGET, "only {most} bytes were kept");
    let skipped = crowd.shard.counters().deflate_skipped;
    assert!(skipped >= 50, "only {skipped} messages left as they were");

    all_read(&mut crowd);
    crowd.check();
    assert_eq!(crowd.shard.press.held(), 0, "nobody is to come for any of them");
    for (at, client) in clients.iter().enumerate() {
        let heard = heard(crowd.taken.remove(client).expect("it was written to"));
        let events = heard.iter().map(|(event, _)| event.as_str());
        let wanted = texts.iter().map(|text| format!("42[\"e\",\"{text}\"]"));
        assert!(events.eq(wanted), "client {at} misses something");
        assert!(heard[0].1, "there was room for the first one");
        assert!(at > 0 || !heard[99].1, "there was none for the last one");
    }
    // There is room again.
    say(&mut crowd, &texts[0]);
    assert_eq!(crowd.shard.counters().deflate_skipped, skipped);
    assert!(heard(crowd.taken.remove(&clients[0]).expect("it reads"))[0].1);
}

#[test]
fn no_form_is_kept_that_is_longer_than_what_is_compressed() {
    let (mut crowd, clients) = room(1);
    // Its text becomes shorter, its attachments are too long to try.
    let attachments = vec![vec![7; PACK_BYTES_MAX + 1]; 2];
    let place = |num: usize| format!("{{\"_placeholder\":true,\"num\":{num}}}");
    let args = format!("\"{}\",{},{}", "x".repeat(2_000), place(0), place(1));
    let event = Emit { attachments: &attachments, ..emit(&args) };
    // The kernel takes no more of those that do not read.
    say(&mut crowd, "first");
    crowd.shard.broadcast("/", Target::default(), &event, false, None);
    crowd.pass(1);
    crowd.check();
    all_read(&mut crowd);
    for client in &clients {
        let bytes = crowd.taken.remove(client).expect("it was written to");
        assert!(bytes.len() > 2 * PACK_BYTES_MAX, "{}", bytes.len());
    }
}

#[test]
#[should_panic(expected = "bytes of compressed forms, where 1048576 may be")]
fn the_bill_notices_forms_beyond_their_memory() {
    let (mut crowd, _) = room(16 << 20);
    let mut rng = Rng::new(2, 0xDEF);
    (0..4).for_each(|_| say(&mut crowd, &text(&mut rng, 800_000)));
    crowd.check();
    crowd.shard.settings = Rc::new(settings(0));
    crowd.check();
}
