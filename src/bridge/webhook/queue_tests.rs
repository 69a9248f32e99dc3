use std::sync::Arc;

use super::queue::{Batch, Bounds, Full, Queue, backoff_ms};
use crate::base::Rng;

const BOUNDS: Bounds =
    Bounds { items_max: 100, bytes_max: 10_000, batch_max: 4, batch_wait_ms: 50, batches_max: 2 };

fn queue(bounds: Bounds) -> Queue {
    Queue::new(bounds, 7)
}

fn push(queue: &mut Queue, lane: &str, json: &str, now_ms: u64) {
    queue.push(&Arc::from(lane), json.into(), now_ms).expect("there is room");
}

fn take(queue: &mut Queue, now_ms: u64) -> Option<Batch> {
    queue.next(now_ms, || "id".into())
}

fn items(batch: &Batch) -> Vec<&str> {
    batch.items.iter().map(String::as_str).collect()
}

#[test]
fn a_batch_waits_for_others_and_not_for_ever() {
    let mut queue = queue(BOUNDS);
    assert_eq!((queue.due_ms(), take(&mut queue, 9_000)), (None, None));
    push(&mut queue, "a", "a1", 1_000);
    push(&mut queue, "b", "b1", 1_020);
    push(&mut queue, "a", "a2", 1_030);
    assert_eq!((queue.due_ms(), take(&mut queue, 1_049)), (Some(1_050), None));
    let batch = take(&mut queue, 1_050).expect("its time has come");
    assert_eq!(items(&batch), ["a1", "a2", "b1"], "lane by lane");
    for (at, item) in ["c1", "d1", "e1", "f1", "g1"].into_iter().enumerate() {
        push(&mut queue, &item[..1], item, 2_000 + at as u64);
    }
    let full = take(&mut queue, 2_004).expect("a full one does not wait");
    assert_eq!(items(&full), ["c1", "d1", "e1", "f1"]);
    assert_eq!(queue.due_ms(), None, "two are under way, which is as many as may be");
    queue.done(&batch);
    assert_eq!(queue.due_ms(), Some(2_054));
    queue.hurry();
    assert_eq!(items(&take(&mut queue, 2_005).expect("in a hurry")), ["g1"]);
    assert_eq!(queue.len(), 5);
}

#[test]
fn a_lane_stands_still_while_its_front_is_under_way() {
    let mut queue = queue(BOUNDS);
    push(&mut queue, "a", "a1", 0);
    let first = take(&mut queue, 50).expect("due");
    push(&mut queue, "a", "a2", 51);
    push(&mut queue, "b", "b1", 60);
    assert_eq!(queue.due_ms(), Some(110), "of b; a cannot go on");
    let second = take(&mut queue, 110).expect("due");
    assert_eq!(items(&second), ["b1"]);
    queue.done(&first);
    assert_eq!(items(&take(&mut queue, 111).expect("it has waited long enough")), ["a2"]);
}

#[test]
fn bounds_count_what_is_under_way_too() {
    let mut queue = queue(Bounds { items_max: 2, bytes_max: 10, batch_wait_ms: 0, ..BOUNDS });
    let lane: Arc<str> = "a".into();
    assert_eq!(queue.push(&lane, "12345678901".into(), 0), Err(Full));
    push(&mut queue, "a", "12345", 0);
    let batch = take(&mut queue, 0).expect("due");
    assert_eq!(queue.push(&lane, "123456".into(), 0), Err(Full));
    push(&mut queue, "a", "12345", 0);
    assert_eq!(queue.push(&lane, String::new(), 0), Err(Full));
    let back = queue.push_again(Batch::for_test("x", "")).expect_err("no room either");
    queue.done(&batch);
    queue.push_again(back).expect("there is room again");
    assert_eq!(take(&mut queue, 0).expect("due").id, "x", "what comes again comes first");
}

#[test]
fn a_batch_has_a_bound_in_bytes_but_one_item_always_fits() {
    let mut queue = queue(Bounds { bytes_max: 10 << 20, batch_wait_ms: 0, ..BOUNDS });
    let large = "x".repeat(600 << 10);
    push(&mut queue, "a", &large, 0);
    push(&mut queue, "a", "a2", 0);
    push(&mut queue, "b", "b1", 0);
    let first = take(&mut queue, 0).expect("due");
    assert_eq!(first.items.len(), 1);
    assert_eq!(items(&take(&mut queue, 0).expect("due")), ["b1"], "a2 waits for its front");
}

/// Many lanes, batches that end in any order: everything comes out once, each lane in order.
#[test]
fn whatever_happens_lanes_keep_their_order() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed, 1);
        let mut queue = queue(Bounds { batches_max: 3, batch_wait_ms: 5, ..BOUNDS });
        let (mut now_ms, mut sent, mut moving) = (0, [0_u32; 5], Vec::new());
        let mut heard: Vec<Vec<u32>> = vec![Vec::new(); 5];
        let mut hear = |batch: &Batch| {
            for item in &batch.items {
                let (lane, number) = item.split_once('-').expect("as it was written");
                heard[lane.parse::<usize>().unwrap()].push(number.parse().unwrap());
            }
        };
        for _ in 0..300 {
            now_ms += rng.below(4) as u64;
            match rng.below(3) {
                0 => {
                    let lane = rng.below(5);
                    let json = format!("{lane}-{}", sent[lane]);
                    if queue.push(&Arc::from(lane.to_string()), json, now_ms).is_ok() {
                        sent[lane] += 1;
                    }
                }
                1 => moving.extend(take(&mut queue, now_ms)),
                _ if moving.is_empty() => {}
                _ => {
                    let batch: Batch = moving.swap_remove(rng.below(moving.len()));
                    hear(&batch);
                    queue.done(&batch);
                }
            }
        }
        queue.hurry();
        loop {
            moving.extend(take(&mut queue, now_ms));
            let Some(batch) = moving.pop() else { break };
            hear(&batch);
            queue.done(&batch);
        }
        for (lane, numbers) in heard.iter().enumerate() {
            assert_eq!(*numbers, (0..sent[lane]).collect::<Vec<_>>(), "seed {seed}, lane {lane}");
        }
        assert_eq!(queue.len(), 0);
    }
}

#[test]
fn attempts_are_further_and_further_apart() {
    for (attempts, low, high) in [(0, 100, 200), (1, 100, 200), (2, 200, 400), (5, 1_600, 3_200)] {
        assert_eq!(backoff_ms(attempts, 0), low);
        assert_eq!(backoff_ms(attempts, low), high);
        assert!((low..=high).contains(&backoff_ms(attempts, u64::MAX)));
    }
    assert_eq!(backoff_ms(u32::MAX, 0), 15_000, "but not for ever");
}
