//! Questions to clients: who answered, who did not and why, and when the answer comes.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use serde_json::{Value, json};

use super::fake::{Client, World};
use super::{Answer, answer, get, post, request};

/// Puts a question while each of these clients answers what it hears with these arguments.
fn ask(world: &World, body: &Value, answers: &[(Client, &str)]) -> Answer {
    let asked = request("POST", "/api/v1/ask", &body.to_string());
    world.run(async {
        let mut call = pin!(answer(world, asked));
        poll_fn(|context| {
            if let Poll::Ready(answer) = call.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            for (client, args) in answers {
                for heard in world.heard(*client) {
                    let id: String = heard[2..].chars().take_while(char::is_ascii_digit).collect();
                    world.say(*client, &format!("43{id}[{args}]"));
                }
            }
            Poll::Pending
        })
        .await
    })
}

fn counts(at: &Value) -> [u64; 5] {
    ["matched", "written", "acked", "timedOut", "gone"].map(|name| at[name].as_u64().unwrap())
}

fn question(more: &Value) -> Value {
    let mut body = json!({"to": {"all": true}, "event": "q", "args": [1], "timeoutMs": 60});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn everybody_answers_and_it_is_said_who() {
    let world = World::new(2, |_| {});
    let (ann, bob) = (world.connect(0, "ann"), world.connect(1, "bob"));
    let told = ask(&world, &question(&json!({})), &[(ann, "1.10"), (bob, r#"{"b":1},null"#)]);
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(counts(&told.at("/data")), [2, 2, 2, 0, 0]);
    let mut replies = told.at("/data/replies").as_array().unwrap().clone();
    replies.sort_by_key(|reply| reply["userId"].to_string());
    assert_eq!(replies[0]["userId"], "ann");
    assert_eq!(replies[1]["args"], json!([{"b": 1}, null]));
    assert!(told.body.contains(r#""args":[1.10]"#), "to the last digit: {told:?}");
    let sockets = get(&world, "/api/v1/sockets?userId=bob");
    assert_eq!(replies[1]["socketId"], sockets.at("/data/0/socketId"));
}

#[test]
fn a_number_is_the_same_however_it_is_written() {
    let world = World::new(1, |_| {});
    for number in ["50", "50.0", "5e1", "0.5E+2"] {
        let body = format!(
            r#"{{"to":{{"users":["nobody"]}},"event":"q","timeoutMs":{number},"collect":{number},"quorum":"all"}}"#
        );
        assert_eq!(super::post(&world, "/api/v1/ask", &body).status, 200, "{number}");
        let body = format!(r#"{{"issuedBefore":{number},"ttlMs":{number}}}"#);
        assert_eq!(super::post(&world, "/api/v1/auth/revoke", &body).status, 200, "{number}");
    }
    let body = r#"{"to":{"users":["nobody"]},"event":"q","timeoutMs":50.5}"#;
    assert_eq!(super::post(&world, "/api/v1/ask", body).code(), "VALIDATION_FAILED");
}

#[test]
fn one_answer_is_enough_where_one_is_wanted() {
    let world = World::new(2, |_| {});
    let clients = [world.connect(0, "ann"), world.connect(1, "bob"), world.connect(1, "cy")];
    for (quorum, answering, acked) in
        [(json!("any"), 1, 1), (json!("majority"), 2, 2), (json!(2), 2, 2), (json!("all"), 3, 3)]
    {
        let answers: Vec<_> = clients[..answering].iter().map(|client| (*client, "true")).collect();
        let body = question(&json!({"quorum": quorum, "timeoutMs": 60_000}));
        let told = ask(&world, &body, &answers);
        assert_eq!((told.status, told.at("/data/acked")), (200, acked.into()), "{quorum}");
        for client in clients {
            world.heard(client);
        }
    }
}

#[test]
fn a_quorum_that_is_missed_is_an_error_with_the_counts() {
    let world = World::new(2, |_| {});
    let (ann, bob) = (world.connect(0, "ann"), world.connect(1, "bob"));
    let told = ask(&world, &question(&json!({})), &[(ann, "1")]);
    assert_eq!((told.status, told.code().as_str()), (504, "QUORUM_MISSED"));
    let details = told.at("/error/details");
    assert_eq!(counts(&details)[2..], [1, 1, 0], "{details}");
    assert_eq!(details["replies"][0]["userId"], "ann");
    // Bob's frame was not taken from its queue by anybody: the test reads it only now.
    assert_eq!(counts(&details)[1], 1, "written to one of them");
    assert_eq!(world.heard(bob).len(), 1);
    let nobody = json!({"users": ["nobody"]});
    let none = ask(&world, &question(&json!({"to": nobody, "quorum": "any"})), &[]);
    assert_eq!((none.status, none.at("/error/details/matched")), (504, 0.into()));
    let none = ask(&world, &question(&json!({"to": nobody})), &[]);
    assert_eq!((none.status, none.at("/data/matched")), (200, 0.into()), "all of nobody");
}

#[test]
fn whoever_goes_is_told_from_whoever_is_silent() {
    let world = World::new(2, |_| {});
    let (ann, bob) = (world.connect(0, "ann"), world.connect(1, "bob"));
    let asked = request("POST", "/api/v1/ask", &question(&json!({})).to_string());
    let told = world.run(async {
        let mut call = pin!(answer(&world, asked));
        let mut left = false;
        poll_fn(|context| {
            if let Poll::Ready(answer) = call.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            world.heard(ann);
            if !left && !world.heard(bob).is_empty() {
                left = true;
                world.vanish(bob);
            }
            Poll::Pending
        })
        .await
    });
    assert_eq!(told.status, 504);
    assert_eq!(counts(&told.at("/error/details")), [2, 2, 0, 1, 1]);
}

#[test]
fn binary_goes_out_and_comes_back() {
    let world = World::new(1, |_| {});
    let ann = world.connect(0, "ann");
    let body = question(&json!({"args": [{"$b64": "AQI="}]}));
    let asked = request("POST", "/api/v1/ask", &body.to_string());
    let told = world.run(async {
        let mut call = pin!(answer(&world, asked));
        poll_fn(|context| {
            if let Poll::Ready(answer) = call.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            if let [text, data] = &world.heard(ann)[..] {
                assert_eq!(data, "[1, 2]");
                let rest = text.strip_prefix("451-").unwrap();
                let id: String = rest.chars().take_while(char::is_ascii_digit).collect();
                world.say(ann, &format!(r#"461-{id}[{{"_placeholder":true,"num":0}}]"#));
                world.say_binary(ann, &[255]);
            }
            Poll::Pending
        })
        .await
    });
    assert_eq!(told.at("/data/replies/0/args"), json!([{"$b64": "/w=="}]), "{told:?}");
}

#[test]
fn answers_beyond_what_is_collected_are_counted() {
    let world = World::new(1, |_| {});
    let clients = [world.connect(0, "ann"), world.connect(0, "bob")];
    let answers = clients.map(|client| (client, "1"));
    let told = ask(&world, &question(&json!({"collect": 1})), &answers);
    assert_eq!(counts(&told.at("/data"))[2], 2);
    assert_eq!(told.at("/data/replies").as_array().unwrap().len(), 1);
    for (more, member) in [
        (json!({"timeoutMs": 0}), "timeoutMs"),
        (json!({"timeoutMs": 60_001}), "timeoutMs"),
        (json!({"timeoutMs": 1.5}), "timeoutMs"),
        (json!({"quorum": "some"}), "quorum"),
        (json!({"quorum": 0}), "quorum"),
        (json!({"collect": 1_001}), "collect"),
        (json!({"volatile": true}), "volatile"),
    ] {
        let refused = post(&world, "/api/v1/ask", &question(&more).to_string());
        assert_eq!(refused.status, 422, "{more}");
        assert_eq!(refused.at("/error/details/0/member"), member);
    }
    let nowhere = question(&json!({"to": {"all": true, "namespace": "/x"}}));
    assert_eq!(post(&world, "/api/v1/ask", &nowhere.to_string()).code(), "NAMESPACE_NOT_FOUND");
}
