//! Two cores with the application of the bench contract, and what goes from one to the other.

use std::rc::Rc;

use super::node::Node;
use super::whole::{event_to, join_of, start};
use super::{Case, Input, Live, hosted};

/// The rows of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("mesh/batch-64", "message", batch).times(64),
        Case::new("mesh/pub-1000-over-2", "delivery", || publish(1_000)).times(1_000),
    ]
}

/// 64 messages of one core for one member on the other, in one batch.
fn batch() -> Box<dyn Live> {
    run(1, |_| 1, 64)
}

/// A message to a room of `members`, half of them on each core.
fn publish(members: usize) -> Box<dyn Live> {
    run(members, |at| at % 2, 1)
}

/// `count` events in one read on the first core, to a room whose members are where `home` says.
fn run(members: usize, home: fn(usize) -> usize, count: usize) -> Box<dyn Live> {
    let tally = Rc::default();
    let cores = start(2, &tally);
    for at in 0..members {
        let node = &cores[home(at)];
        let client = node.connect("");
        node.ask(client, &join_of("room"));
    }
    let client = cores[0].connect("");
    let sends = tally.get().sends;
    cores[0].ask(client, &event_to("room"));
    settle(&cores);
    assert_eq!(tally.get().sends - sends, members as u64, "each member gets one");
    let input = Input::new(event_to("room").repeat(count));
    hosted(
        &tally,
        (cores, client, input),
        |(_, _, input)| input.refresh(),
        |(cores, client, input)| {
            cores[0].read(*client, &mut input.bytes);
            settle(cores);
        },
    )
}

/// The end of the first core's tick, then the second one's turn.
fn settle(cores: &[Node]) {
    cores[0].flush();
    cores[1].receive();
    cores[1].flush();
}
