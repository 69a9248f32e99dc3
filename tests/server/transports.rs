//! Ways of carrying a session, on one worker and on two.

use corewire::base::CoreId;
use corewire::config::{Driver, Options};
use corewire::ws::Kind;

use crate::fixture::{Fixture, options, start, start_with};
use crate::wire::{Heard, Polling, Wire, Ws, core_of, fetch, frame, get, post};

/// Clients on every worker.
fn one_on_each(fixture: &Fixture, workers: u8) -> Vec<Ws> {
    (0..workers).map(|core| Ws::connect_on(fixture.address, CoreId(core))).collect()
}

#[test]
fn websocket_clients_emit_and_are_acknowledged_on_every_worker() {
    for workers in [1, 2] {
        let fixture = start(u16::from(workers));
        for client in &mut one_on_each(&fixture, workers) {
            for number in 0..50 {
                let event = format!(r#"["echo",{number},"ü",{{"a":[null,true]}}]"#);
                let wanted = serde_json::json!([number, "ü", {"a": [null, true]}]);
                assert_eq!(client.ask(&event), wanted);
            }
            client.text(r#"451-77["echo",{"_placeholder":true,"num":0}]"#);
            client.wire.send(&frame(Kind::Binary, &[0, 255, 7]));
            assert_eq!(client.packet(), r#"461-77[{"_placeholder":true,"num":0}]"#);
            assert_eq!(client.heard(), Heard::Binary(vec![0, 255, 7]));
        }
    }
}

#[test]
fn many_small_frames_in_one_write_and_one_frame_in_many_writes() {
    let fixture = start(1);
    let mut client = Ws::connect(fixture.address);
    let mut bytes = Vec::new();
    for number in 0..500 {
        bytes.extend(frame(Kind::Text, format!(r#"42{number}["echo",{number}]"#).as_bytes()));
    }
    client.wire.send(&bytes);
    for number in 0..500 {
        assert_eq!(client.packet(), format!("43{number}[{number}]"));
    }
    for byte in frame(Kind::Text, br#"427["echo","slowly"]"#) {
        client.wire.send(&[byte]);
    }
    assert_eq!(client.packet(), r#"437["slowly"]"#);
    let large = "y".repeat(400_000);
    client.text(&format!(r#"428["echo","{large}"]"#));
    assert_eq!(client.packet(), format!(r#"438["{large}"]"#));
}

#[test]
fn polling_requests_may_arrive_at_any_worker() {
    let fixture = start(2);
    let mut clients = Vec::new();
    for core in [CoreId(0), CoreId(1)] {
        let on_core = |client: &Polling| core_of(&client.sid) == core;
        let mut opened = std::iter::repeat_with(|| Polling::open(fixture.address));
        clients.extend(opened.by_ref().take(200).filter(on_core).take(2));
    }
    assert_eq!(clients.len(), 4, "200 sessions and not two on each worker");
    for client in &clients {
        client.post("40");
        assert!(client.poll()[0].starts_with("40{"));
    }
    for number in 0..40 {
        for client in &clients {
            client.post(&format!(
                "42{number}[\"echo\",{number}]\u{1e}42{}[\"echo\",\"b\"]",
                number + 1_000
            ));
            let mut packets = client.poll();
            if packets.len() == 1 {
                packets.extend(client.poll());
            }
            let wanted = [format!("43{number}[{number}]"), format!("43{}[\"b\"]", number + 1_000)];
            assert_eq!(packets, wanted);
        }
    }
    // 4 clients, 80 requests each; half of them land on the other worker, by the kernel's chance.
    let moved = fixture.metric("corewire_handovers_in_total");
    assert!(moved > 40, "only {moved} connections moved");
    assert_eq!(moved, fixture.metric("corewire_handovers_out_total"));
}

#[test]
fn pipelined_requests_of_sessions_on_two_workers_are_answered_in_order() {
    let fixture = start(2);
    let mut clients: Vec<Polling> = Vec::new();
    while clients.len() < 2 {
        let client = Polling::connect(fixture.address);
        if clients.iter().all(|known| core_of(&known.sid) != core_of(&client.sid)) {
            clients.push(client);
        }
    }
    let mut wire = Wire::connect(fixture.address);
    let mut requests = Vec::new();
    for number in 0..60 {
        for client in &clients {
            let body = format!(r#"42{number}["echo","{}"]"#, client.sid);
            requests.extend(post(&client.target(), &body));
            requests.extend(get(&client.target()));
            requests.extend(get("/nothing/here"));
        }
    }
    // Cut into pieces that end in the middle of heads and bodies.
    for piece in requests.chunks(1_777) {
        wire.send(piece);
    }
    for number in 0..60 {
        for client in &clients {
            assert_eq!(wire.reply().text(), "ok");
            assert_eq!(wire.reply().text(), format!(r#"43{number}["{}"]"#, client.sid));
            assert_eq!(wire.reply().status, 404);
        }
    }
    assert!(fixture.metric("corewire_handovers_in_total") >= 119);
}

#[test]
fn a_polling_session_moves_to_websocket_from_either_worker() {
    let fixture = start(2);
    for _ in 0..8 {
        let client = Polling::connect(fixture.address);
        // What is queued before the change arrives after it.
        client.post(r#"420["echo","before"]"#);
        let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", client.sid);
        let mut socket = Ws::upgraded(Wire::connect(fixture.address), &target);
        socket.text("2probe");
        assert_eq!(socket.message(), "3probe");
        assert_eq!(client.poll(), [r#"430["before"]"#]);
        // A poll that waits is released, so that the client can be sure nothing comes there.
        assert_eq!(client.poll(), ["6"]);
        client.post(r#"421["echo","between"]"#);
        socket.text("5");
        assert_eq!(socket.packet(), r#"431["between"]"#);
        assert_eq!(socket.ask(r#"["whoami"]"#)[2], "websocket");
        let reply = fetch(fixture.address, &get(&client.target()));
        assert_eq!((reply.status, reply.json()["code"].clone()), (400, 3.into()));
    }
    assert_eq!(fixture.metric("corewire_upgrades_completed_total"), 8);
    assert_eq!(fixture.metric("corewire_upgrades_failed_total"), 0);
}

#[test]
fn a_candidate_that_goes_away_leaves_its_session_alone() {
    let fixture = start(2);
    let client = Polling::connect(fixture.address);
    let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", client.sid);
    let mut candidate = Ws::upgraded(Wire::connect(fixture.address), &target);
    candidate.text("2probe");
    assert_eq!(candidate.message(), "3probe");
    candidate.wire.reset();
    client.post(r#"421["echo","still here"]"#);
    let packets: Vec<String> =
        std::iter::repeat_with(|| client.poll()).flatten().find(|p| p != "6").into_iter().collect();
    assert_eq!(packets, [r#"431["still here"]"#]);
}

#[test]
fn without_a_ring_the_same_is_served_and_the_start_line_says_so() {
    let fixture = start_with(Options { driver: Driver::Epoll, ..options(2) });
    assert!(fixture.notes[0].contains("on epoll"), "{:?}", fixture.notes);
    for client in &mut one_on_each(&fixture, 2) {
        assert!(client.is_well());
    }
    let polling: Vec<Polling> = (0..6).map(|_| Polling::connect(fixture.address)).collect();
    for client in &polling {
        client.post(r#"421["echo",1]"#);
        assert_eq!(client.poll(), ["431[1]"]);
    }
}
