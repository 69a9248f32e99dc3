//! Triggers of holes that other servers of this family had, which need a process and a kernel.

use std::collections::BTreeSet;

use crate::fixture::{eventually, start};
use crate::wire::{Polling, Wire, Ws, upgrade};

/// CVE-2022-41940: an upgrade that is refused, on a connection that is reset at once.
#[test]
fn a_reset_while_an_upgrade_is_refused_harms_nobody() {
    let fixture = start(2);
    let mut others: Vec<Ws> = (0..4).map(|_| Ws::connect(fixture.address)).collect();
    let target = "/socket.io/?EIO=4&transport=websocket";
    let refused = [
        upgrade("/socket.io/?EIO=4&transport=nothing", ""),
        upgrade("/socket.io/?EIO=9&transport=websocket", ""),
        upgrade(&format!("{target}&sid=AAAAAAAAAAAAAAAAAAAA"), ""),
        upgrade("/nowhere", ""),
        upgrade(target, "").replace("Version: 13", "Version: 12"),
        upgrade(target, "").replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
        upgrade(target, "Sec-WebSocket-Extensions: ;\r\n"),
        // By the application, a while after the reset.
        upgrade(target, "X-Guest: no\r\n"),
    ];
    for _ in 0..40 {
        for request in &refused {
            let mut wire = Wire::connect(fixture.address);
            wire.send(request.as_bytes());
            wire.reset();
        }
    }
    let open = || {
        let count = |what: &str| fixture.metric(&format!("corewire_connections_{what}_total"));
        let closed = count("closed");
        count("opened") - closed
    };
    eventually("the others are left", || open() == others.len() as u64);
    assert!(others.iter_mut().all(Ws::is_well));
    assert_eq!(fixture.metric("corewire_sessions"), others.len() as u64);
}

/// CVE-2017-16031: ids of sessions that one can guess from others.
#[test]
fn ids_have_nothing_in_common_that_one_could_count_on() {
    const IDS: usize = 1_000;
    // Their first byte is the core's, masked with the second.
    const CHANCE: std::ops::Range<usize> = 1..15;
    let fixture = start(2);
    let ids: Vec<[u8; 15]> =
        (0..IDS).map(|_| decode(&Polling::open(fixture.address).sid)).collect();

    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), IDS);
    // Of 1,000 fair coins 400 to 600 show heads, but for one time in a thousand million; there
    // are 112 here, and 112 for what changes from one id to the next.
    let fair = 400..=600;
    for byte in CHANCE {
        for bit in 0..8 {
            let is_set = |id: &[u8; 15]| id[byte] >> bit & 1 == 1;
            let set = ids.iter().filter(|id| is_set(id)).count();
            assert!(fair.contains(&set), "bit {bit} of byte {byte} is set in {set}");
            let pairs = ids.iter().zip(&ids[1..]);
            let changed = pairs.filter(|(one, next)| is_set(one) != is_set(next)).count();
            assert!(fair.contains(&changed), "bit {bit} of byte {byte} changes {changed} times");
        }
    }
}

fn decode(sid: &str) -> [u8; 15] {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(sid);
    bytes.expect("letters of base64").try_into().expect("15 bytes")
}
