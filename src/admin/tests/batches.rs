//! Batches, and commands that come twice.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::fake::World;
use super::{Answer, answer, key, post, request, send};
use crate::config::Scope;

fn emit(user: &str, arg: usize) -> Value {
    json!({"verb": "emit", "to": {"users": [user]}, "event": "e", "args": [arg]})
}

fn batch(world: &World, body: &Value) -> Answer {
    post(world, "/api/v1/batch", &body.to_string())
}

fn statuses(answer: &Answer) -> Vec<u64> {
    let results = answer.at("/data/results");
    results.as_array().unwrap().iter().map(|one| one["status"].as_u64().unwrap()).collect()
}

#[test]
fn a_thousand_events_arrive_in_their_order_and_each_has_its_answer() {
    let world = World::new(2, |_| {});
    let (ann, bob) = (world.connect(0, "ann"), world.connect(1, "bob"));
    for mode in ["sequential", "parallel"] {
        let commands: Vec<Value> = (0..1_000).map(|at| emit(["ann", "bob"][at % 2], at)).collect();
        let told = batch(&world, &json!({"commands": commands, "mode": mode}));
        assert_eq!((told.at("/data/succeeded"), told.at("/data/failed")), (1_000.into(), 0.into()));
        assert_eq!(told.at("/data/results/999/body/data/queued"), 1);
        for (client, first) in [(ann, 0), (bob, 1)] {
            let expected: Vec<_> =
                (first..1_000).step_by(2).map(|at| format!("42[\"e\",{at}]")).collect();
            assert_eq!(world.heard(client), expected, "{mode}");
        }
    }
}

#[test]
fn commands_of_a_batch_stand_and_fall_alone() {
    let world = World::new(2, |_| {});
    let ann = world.connect(0, "ann");
    let body = json!({"commands": [
        {"verb": "join", "to": {"users": ["ann"]}, "rooms": ["r"]},
        {"verb": "emit", "to": {"rooms": ["r"]}, "event": "first"},
        {"verb": "emit", "to": {}, "event": "e"},
        {"verb": "emit", "to": {"all": true, "namespace": "/x"}, "event": "e"},
        {"verb": "notification", "userId": "ann", "type": "info", "title": "t", "message": "m"},
        {"verb": "room_message", "roomId": "r", "event": "second"},
        {"verb": "room_join", "userId": "nobody", "roomId": "r"},
        {"verb": "ask", "to": {"all": true}, "event": "e"},
        {"verb": "batch", "commands": []},
        {"to": {"all": true}, "event": "e"},
        {"verb": "leave", "to": {"users": ["ann"]}, "rooms": ["r"]},
        {"verb": "emit", "to": {"rooms": ["r"]}, "event": "e"},
        {"verb": "disconnect", "to": {"users": ["ann"]}, "mode": "terminal"},
    ]});
    let told = batch(&world, &body);
    assert_eq!(told.status, 200, "{told:?}");
    let expected = [200, 200, 422, 404, 200, 200, 404, 422, 422, 422, 200, 200, 200];
    assert_eq!(statuses(&told), expected);
    assert_eq!((told.at("/data/succeeded"), told.at("/data/failed")), (7.into(), 6.into()));
    assert_eq!(told.at("/data/results/4/body/data"), json!({"recipients": 1}));
    assert_eq!(told.at("/data/results/2/body/error/details/0/member"), "to");
    assert_eq!(told.at("/data/results/8/body/error/details/0/member"), "verb");
    assert_eq!(told.at("/data/results/11/body/data/matched"), 0);
    let heard = world.heard(ann);
    let events: Vec<_> = heard.iter().map(|text| text.split(['"', ',']).nth(1)).collect();
    assert_eq!(events, [Some("first"), Some("notification"), Some("second"), None], "{heard:?}");
}

#[test]
fn a_batch_may_stop_at_the_first_that_fails() {
    let world = World::new(2, |_| {});
    let ann = world.connect(0, "ann");
    let wrong = json!({"verb": "emit", "to": {"all": true, "namespace": "/x"}, "event": "e"});
    let commands = json!([emit("ann", 1), wrong, emit("ann", 2), emit("ann", 3)]);
    let told = batch(&world, &json!({"commands": commands, "stopOnError": true}));
    assert_eq!(statuses(&told), [200, 404, 424, 424]);
    assert_eq!(told.at("/data/results/3/body/error/code"), "SKIPPED");
    assert_eq!(world.heard(ann), [r#"42["e",1]"#]);

    let many = vec![emit("ann", 1); 1_001];
    let refused = batch(&world, &json!({"commands": many}));
    assert_eq!(refused.at("/error/details/0/member"), "commands");
    for (body, member) in [
        (json!({}), "commands"),
        (json!({"commands": [1]}), "commands[0]"),
        (json!({"commands": [], "mode": "fast"}), "mode"),
        (json!({"commands": [], "stop_on_error": true}), "stop_on_error"),
    ] {
        assert_eq!(batch(&world, &body).at("/error/details/0/member"), member, "{body}");
    }
    assert_eq!(statuses(&batch(&world, &json!({"commands": []}))), [] as [u64; 0]);
    world.queue.full.store(true, Ordering::Relaxed);
    let told = batch(&world, &json!({"commands": [emit("ann", 1), emit("ann", 2)]}));
    assert_eq!(statuses(&told), [503, 503]);
    assert_eq!(told.at("/data/results/1/body/error/retryable"), true);
}

fn keyed(path: &str, body: &Value, key: &str) -> Request<Body> {
    let mut request = request("POST", path, &body.to_string());
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

fn event() -> Value {
    json!({"to": {"users": ["ann"]}, "event": "e"})
}

#[test]
fn a_command_that_comes_twice_is_done_once() {
    let world = World::new(2, |_| {});
    let ann = world.connect(0, "ann");
    let seed = json!({"userId": "ann", "type": "info", "title": "t", "message": "m"});
    for (path, body) in [("/api/v1/emit", event()), ("/socket/notifications", seed)] {
        let first = send(&world, keyed(path, &body, path));
        assert_eq!((first.status, first.header("idempotency-replayed")), (200, ""));
        let again = send(&world, keyed(path, &body, path));
        assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"));
        assert_eq!(again.body, first.body, "the id too");
        assert_eq!(world.heard(ann).len(), 1);
        let other = send(&world, keyed(path, &json!({}), path));
        assert_eq!((other.status, other.code().as_str()), (422, "IDEMPOTENCY_MISMATCH"));
    }
    let other = send(&world, keyed("/api/v1/ask", &event(), "/api/v1/emit"));
    assert_eq!(other.code(), "IDEMPOTENCY_MISMATCH", "the key belongs to one verb");
    let wrong = send(&world, keyed("/api/v1/emit", &event(), &"k".repeat(257)));
    assert_eq!(wrong.at("/error/details/0/member"), "Idempotency-Key");
    let mut two = keyed("/api/v1/emit", &event(), "one");
    two.headers_mut().append("idempotency-key", "two".parse().unwrap());
    assert_eq!(send(&world, two).at("/error/details/0/member"), "Idempotency-Key");
}

#[test]
fn what_failed_for_now_is_done_when_it_comes_again() {
    let world = World::new(1, |_| {});
    world.connect(0, "ann");
    world.queue.full.store(true, Ordering::Relaxed);
    assert_eq!(send(&world, keyed("/api/v1/emit", &event(), "k")).status, 503);
    world.queue.full.store(false, Ordering::Relaxed);
    let done = send(&world, keyed("/api/v1/emit", &event(), "k"));
    assert_eq!((done.status, done.header("idempotency-replayed")), (200, ""));
    // What can never be done is kept: another answer would be another command's.
    let wrong = json!({"to": {}, "event": "e"});
    assert_eq!(send(&world, keyed("/api/v1/emit", &wrong, "w")).status, 422);
    assert_eq!(
        send(&world, keyed("/api/v1/emit", &wrong, "w")).header("idempotency-replayed"),
        "true"
    );
}

#[test]
fn while_the_first_runs_the_second_waits_outside() {
    let world = World::new(1, |_| {});
    let ann = world.connect(0, "ann");
    let question = json!({"to": {"all": true}, "event": "q", "timeoutMs": 10_000});
    let one = || keyed("/api/v1/ask", &question, "k");
    let (first, second) = world.run(async {
        let (mut first, mut second) = (pin!(answer(&world, one())), None);
        poll_fn(|context| {
            if let Poll::Ready(first) = first.as_mut().poll(context) {
                return Poll::Ready((first, second.take().unwrap()));
            }
            if second.is_none() {
                let mut call = pin!(answer(&world, one()));
                let Poll::Ready(told) = call.as_mut().poll(context) else { panic!("it waits") };
                second = Some(told);
            }
            for heard in world.heard(ann) {
                let id: String = heard[2..].chars().take_while(char::is_ascii_digit).collect();
                world.say(ann, &format!("43{id}[1]"));
            }
            Poll::Pending
        })
        .await
    });
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!((second.status, second.code().as_str()), (409, "IDEMPOTENCY_IN_PROGRESS"));
    assert_eq!((second.header("retry-after"), second.at("/error/retryable")), ("1", true.into()));
    assert_eq!(send(&world, one()).header("idempotency-replayed"), "true");
}

#[test]
fn whoever_hangs_up_has_its_command_done_nonetheless() {
    let world = World::new(1, |_| {});
    let ann = world.connect(0, "ann");
    world.run(async {
        let mut call = Box::pin(answer(&world, keyed("/api/v1/emit", &event(), "k")));
        poll_fn(|context| {
            assert!(call.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    });
    let mut again = send(&world, keyed("/api/v1/emit", &event(), "k"));
    while again.status == 409 {
        // Lets the command that was left alone go on.
        world.run(tokio::task::yield_now());
        again = send(&world, keyed("/api/v1/emit", &event(), "k"));
    }
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"));
    assert_eq!(world.heard(ann).len(), 1);
}

#[test]
fn keys_of_two_callers_never_meet() {
    let world = World::new(1, |admin| {
        admin.keys = vec![
            key("one", "secret-one", &[Scope::Emit]),
            key("two", "secret-two", &[Scope::Emit]),
        ];
    });
    let ann = world.connect(0, "ann");
    for secret in ["secret-one", "secret-two"] {
        let mut asked = keyed("/api/v1/emit", &event(), "k");
        asked.headers_mut().insert("x-api-key", secret.parse().unwrap());
        let told = send(&world, asked);
        assert_eq!((told.status, told.header("idempotency-replayed")), (200, ""), "{secret}");
    }
    assert_eq!(world.heard(ann).len(), 2);
}
