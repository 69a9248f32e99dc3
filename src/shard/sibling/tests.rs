//! Messages between processes as bytes, and what each rule of the overlap does.

use std::sync::Arc;

use super::*;
use crate::base::{Id20, Rng};
use crate::shard::history::Log;

fn offset(seq: u64) -> Offset {
    Offset { epoch: 0xE, origin: CoreId(1), seq }
}

fn messages() -> Vec<SiblingMsg> {
    let namespace: Arc<str> = "/chat".into();
    let target = Target { rooms: vec!["a".into(), "ä".into()], except: vec!["b".into()] };
    let target = Arc::new(target);
    let strike = |rooms| {
        let (namespace, target) = (Arc::clone(&namespace), Arc::clone(&target));
        Arc::new(Strike { namespace, target, rooms })
    };
    let wire = Wire::packet(br#"51-/chat,["m",{"_placeholder":true,"num":0}]"#, &[[0, 255, 7]]);
    let claim = Claim { pid: Id20::new(CoreId(2), [7; 15]), offset: Some(offset(3)), at: 17 };
    let asker = (CoreId(3), Key::from_u64(0x5_0000_0007));
    let lost = [Lost::Unknown, Lost::Late, Lost::Log, Lost::Identity];
    let mut all = vec![
        SiblingMsg::Begin { core: CoreId(9), seq: u64::MAX },
        SiblingMsg::Strike { offset: offset(5), strike: strike(None), at: 18 },
        SiblingMsg::Strike { offset: offset(6), strike: strike(Some(vec!["a".into()])), at: 19 },
        SiblingMsg::Event {
            namespace: Arc::clone(&namespace),
            target,
            wire: Arc::new(wire),
            volatile: true,
            offset: offset(4),
            gather: Some(GatherRef { core: CoreId(1), key: Key::from_u64(9) }),
        },
        SiblingMsg::Counted {
            gather: GatherRef { core: CoreId(0), key: Key::from_u64(1) },
            matched: 300,
            queued: 299,
        },
        SiblingMsg::Recall { claim, namespace, asker },
    ];
    let missing = lost.map(|lost| SiblingMsg::Recalled { asker, claim, found: Err(lost) });
    all.extend(missing);
    all
}

#[test]
fn every_message_reads_as_it_was_packed_and_nothing_shorter_does() {
    for message in messages() {
        let mut bytes = vec![1, 2];
        assert!(message.pack(&mut bytes));
        let read = SiblingMsg::unpack(&bytes[2..]).expect("it is whole");
        assert_eq!(format!("{read:?}"), format!("{message:?}"));
        for len in 2..bytes.len() {
            assert!(SiblingMsg::unpack(&bytes[2..len]).is_none(), "{message:?} cut at {len}");
        }
        bytes.push(0);
        assert!(SiblingMsg::unpack(&bytes[2..]).is_none(), "{message:?} with something behind");
    }
}

#[test]
fn bytes_of_somebody_else_are_refused_and_break_nothing() {
    let mut rng = Rng::new(1, 1);
    let packed: Vec<Vec<u8>> = messages().iter().map(packed).collect();
    for _ in 0..20_000 {
        let mut bytes = packed[rng.below(packed.len())].clone();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len());
            bytes[at] = rng.draw().to_le_bytes()[0];
        }
        if let Some(read) = SiblingMsg::unpack(&bytes) {
            assert!(read.pack(&mut Vec::new()), "what reads can be packed again");
        }
    }
}

fn packed(message: &SiblingMsg) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(message.pack(&mut bytes));
    bytes
}

#[test]
fn what_is_not_an_event_is_not_packed() {
    let wire = Arc::new(Wire::binary(b"raw"));
    let target = Arc::default();
    let (namespace, volatile) = (Arc::from("/"), false);
    let event =
        SiblingMsg::Event { namespace, target, wire, volatile, offset: offset(1), gather: None };
    let mut bytes = Vec::new();
    assert!(!event.pack(&mut bytes) && bytes.is_empty());
}

#[test]
fn numbers_of_two_processes_change_places_on_the_way() {
    let (mut old, mut new) = (Log::new(0xA, 1), Log::new(0xB, 2));
    // The new one once replaced another, of which the old one knows nothing.
    new.add_sources(0x9, 1);
    new.begin(0x9, CoreId(0), 50);
    old.add_sources(0xB, 2);
    new.add_sources(0xA, 1);
    new.begin(0xA, CoreId(0), 7);
    assert_eq!(&*old.seen(), &[0, 0, 0]);
    assert_eq!(&*new.seen(), &[0, 0, 50, 7]);
    let sent = old.outward(&[9, 3, 4], 0xB);
    assert_eq!(&*sent, &[9, 3, 4]);
    assert_eq!(&*new.inward(&sent, 0xA), &[3, 4, 50, 9]);
    let sent = new.outward(&[3, 4, 50, 9], 0xA);
    assert_eq!(&*sent, &[3, 4, 9]);
    assert_eq!(&*old.inward(&sent, 0xB), &[9, 3, 4]);
}
