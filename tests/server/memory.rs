//! Memory that runs out: who is refused, who goes, who stays.

use serde_json::json;

use crate::fixture::{eventually, metric};
use crate::program::Program;
use crate::wire::{POLLING, Wire, Ws, fetch, get};

/// Bytes of a message to the room.
const MESSAGE_BYTES: usize = 256 << 10;

/// A member of the room, with or without a kernel that takes in much.
fn member(program: &Program, name: &str, wire: Wire) -> Ws {
    let mut member = Ws::open_on(wire);
    let answer = member.join("/", &format!(r#"{{"userId":"{name}"}}"#));
    assert!(answer.starts_with("40{"), "{answer} at {}", program.address);
    let joined = member.ask(r#"["room:join",{"roomId":"r"}]"#);
    assert_eq!(joined[0]["success"], json!(true), "{joined}");
    member
}

/// Says something to the room; the member that reads gets it.
fn round(publisher: &mut Ws, reader: &mut Ws, padding: &str, number: u64) {
    let data = format!(r#"{{"number":{number},"padding":"{padding}"}}"#);
    publisher.ask(&format!(r#"["room:message",{{"roomId":"r","event":"said","data":{data}}}]"#));
    assert_eq!(reader.event("said")[0]["number"], json!(number));
}

fn ended(program: &Program, ending: &str) -> u64 {
    let text = fetch(program.admin, &get("/metrics")).text();
    let label = format!("ending=\"{ending}\"");
    let counts = text.lines().filter(|line| line.contains(&label));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn short_of_memory_it_refuses_newcomers_then_lets_queues_go_and_serves_the_rest() {
    let program = Program::start(&[
        "--workers=1",
        "--rooms-open=true",
        "--memory-soft=67108864",
        "--memory-hard=100663296",
        "--outbox-bytes-max=536870912",
        "--outbox-age=600000",
        "--ping-timeout=600000",
    ]);
    let pressure = || metric(program.admin, "corewire_memory_pressure");
    let padding = "x".repeat(MESSAGE_BYTES);
    let mut reader = member(&program, "reader", Wire::connect(program.address));
    let mut publisher = member(&program, "publisher", Wire::connect(program.address));
    let sleepers: Vec<Ws> = (0..2)
        .map(|at| {
            let wire = Wire::connect_narrow(program.address);
            member(&program, &format!("sleeper-{at}"), wire)
        })
        .collect();
    assert_eq!(fetch(program.admin, &get("/readyz")).status, 200);

    // 60 MiB wait for those who sleep: with what the program has of its own, between the limits.
    for number in 0..240 {
        round(&mut publisher, &mut reader, &padding, number);
    }
    eventually("memory is short", || pressure() == 1);
    let refused = fetch(program.address, &get(POLLING));
    assert_eq!(refused.status, 503, "{}", refused.head);
    assert!(refused.head.contains("retry-after: 10"), "{}", refused.head);
    let ready = fetch(program.admin, &get("/readyz"));
    assert_eq!((ready.status, &ready.json()["error"]["code"]), (503, &json!("MEMORY")));
    let health = fetch(program.admin, &get("/socket/health")).json();
    assert_eq!(health["data"]["memory"]["state"], json!("short"), "{health}");
    program.logged("memory is short");
    assert_eq!(ended(&program, "memory_shed"), 0);
    round(&mut publisher, &mut reader, "", 240);

    // 60 MiB more: the largest queues go, one half with each look.
    for number in 241..481 {
        round(&mut publisher, &mut reader, &padding, number);
    }
    eventually("both queues are let go", || ended(&program, "memory_shed") == 2);
    program.logged("memory is very short");
    eventually("memory suffices again", || pressure() == 0);
    program.logged("memory suffices again");
    let mut late = member(&program, "late", Wire::connect(program.address));
    round(&mut publisher, &mut reader, "", 481);
    assert_eq!(late.event("said")[0]["number"], json!(481));
    assert!(metric(program.admin, "corewire_memory_refusals_total") >= 1);
    assert_eq!(fetch(program.admin, &get("/readyz")).status, 200);
    drop(sleepers);
}
