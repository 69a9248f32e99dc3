use serde_json::{Value, json};

use crate::base::Rng;
use crate::gateway::schema::{Fault, Payload, read, validate};
use crate::gateway::{MemberError, VerbError};

fn good(payload: Payload) -> Value {
    match payload {
        Payload::AiRequest => {
            json!({"toolId": "t", "message": "m", "requestId": "r", "sessionId": "s"})
        }
        Payload::AiResponse => json!({
            "requestId": "r", "response": {"any": 1}, "success": true, "duration": 1.5,
            "toolId": "t", "userId": "u",
        }),
        Payload::StatusUpdate => json!({"sessionId": "s", "status": "failed", "progress": 100}),
        Payload::Notification => {
            json!({"userId": "u", "type": "info", "title": "t", "message": "m", "data": null})
        }
        Payload::RoomName => json!({"roomId": "r"}),
        Payload::RoomMessage => json!({"roomId": "r", "event": "e", "data": [1]}),
        Payload::CreateRoom => json!({"roomId": "r", "name": "R"}),
        Payload::Membership => json!({"userId": "u", "roomId": "r"}),
        Payload::SendToRoom => json!({"roomId": "r", "event": "e"}),
        Payload::Emit => json!({"to": {"users": ["u"]}, "event": "e", "args": [1, {"$b64": ""}]}),
        Payload::Ask => json!({"to": {"all": true}, "event": "e", "quorum": 3, "timeoutMs": 1}),
        Payload::Batch => json!({"commands": [{"verb": "emit"}], "mode": "parallel"}),
        Payload::Rooms => json!({"to": {"sockets": ["s"]}, "rooms": ["r"]}),
        Payload::Disconnect => json!({"to": {"sessions": ["s"]}, "mode": "terminal"}),
        Payload::UsersQuery => json!({"userIds": ["u", "v"], "namespace": "/"}),
        Payload::RoomList => json!({"limit": 10_000, "prefix": "a", "auto": false}),
        Payload::Revoke => json!({"userId": "u", "issuedBefore": 1, "ttlMs": 1_000}),
        Payload::SocketList => json!({"cursor": "0.", "userId": "u"}),
        Payload::ReplayDeadLetters => json!({"hook": "h", "id": "msg_1"}),
    }
}

/// Judges both ways: the table must not mean two things.
fn judge(payload: Payload, value: &Value) -> Vec<MemberError> {
    let text = value.to_string();
    let by_text = match read(payload, &text) {
        Ok(fields) => {
            assert_eq!(fields.object, text);
            Vec::new()
        }
        Err(VerbError::Invalid(errors)) => errors,
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(by_text, validate(payload, value), "{text}");
    by_text
}

#[test]
fn good_payloads_pass_and_every_required_member_is_missed_by_name() {
    for payload in Payload::ALL {
        let value = good(payload);
        assert_eq!(judge(payload, &value), [], "{payload:?}");
        for member in payload.members() {
            let mut without = value.clone();
            without.as_object_mut().expect("an object").remove(member.name);
            let missing = MemberError { member: member.name.into(), fault: Fault::Missing };
            let expected = if member.required { vec![missing] } else { Vec::new() };
            assert_eq!(judge(payload, &without), expected, "{payload:?} {}", member.name);
        }
        let mut more = value.clone();
        more["unknown"] = json!({"nested": ["}", "\"", {}]});
        let unknown = MemberError { member: "unknown".into(), fault: Fault::Unknown };
        let expected = if payload.is_strict() { vec![unknown] } else { Vec::new() };
        assert_eq!(judge(payload, &more), expected, "unknown members pass, or do not");
        let errors = judge(payload, &json!({}));
        let names: Vec<_> = errors.iter().map(|one| &*one.member).collect();
        let required = payload.members().iter().filter(|member| member.required);
        assert_eq!(names, required.map(|member| member.name).collect::<Vec<_>>());
    }
}

#[test]
fn bounds_are_kept_to_the_byte() {
    let ok = None;
    let long = Some(Fault::Length(256));
    let status = Fault::NotOneOf(&["processing", "completed", "failed", "cancelled"]);
    let percent = Fault::NotNumber(0.0, 100.0);
    let cases = [
        (Payload::RoomName, "roomId", json!("r".repeat(256)), ok),
        (Payload::RoomName, "roomId", json!("r".repeat(257)), long),
        (Payload::RoomName, "roomId", json!("ä".repeat(128)), ok),
        (Payload::RoomName, "roomId", json!("ä".repeat(129)), long),
        (Payload::RoomName, "roomId", json!("\"\\/".repeat(85)), ok),
        (Payload::RoomName, "roomId", json!(""), long),
        (Payload::RoomName, "roomId", json!("a\nb"), Some(Fault::Control)),
        (Payload::RoomName, "roomId", json!("a\u{7f}b"), Some(Fault::Control)),
        (Payload::RoomName, "roomId", json!("a\u{85}b"), Some(Fault::Control)),
        (Payload::RoomName, "roomId", json!(7), Some(Fault::NotText)),
        (Payload::RoomName, "roomId", json!(null), Some(Fault::NotText)),
        (Payload::RoomName, "roomId", json!(["r"]), Some(Fault::NotText)),
        (Payload::RoomName, "roomId", json!("user:a"), ok),
        (Payload::Membership, "roomId", json!("user:a"), Some(Fault::AutomaticRoom)),
        (Payload::CreateRoom, "roomId", json!("session:"), Some(Fault::AutomaticRoom)),
        (Payload::SendToRoom, "event", json!("disconnecting"), Some(Fault::ReservedEvent)),
        (Payload::SendToRoom, "event", json!("notification"), ok),
        (Payload::AiRequest, "message", json!("a\nb"), ok),
        (Payload::AiRequest, "message", json!("x".repeat(1_048_576)), ok),
        (Payload::AiRequest, "message", json!("x".repeat(1_048_577)), Some(Fault::Length(1 << 20))),
        (Payload::StatusUpdate, "status", json!("done"), Some(status)),
        (Payload::StatusUpdate, "status", json!(1), Some(status)),
        (Payload::StatusUpdate, "progress", json!(0), ok),
        (Payload::StatusUpdate, "progress", json!(99.5), ok),
        (Payload::StatusUpdate, "progress", json!(100.5), Some(percent)),
        (Payload::StatusUpdate, "progress", json!(-1), Some(percent)),
        (Payload::StatusUpdate, "progress", json!("50"), Some(percent)),
        (Payload::AiResponse, "success", json!("yes"), Some(Fault::NotFlag)),
        (Payload::AiResponse, "duration", json!(-0.1), Some(Fault::NotNumber(0.0, f64::MAX))),
    ];
    for (payload, member, value, fault) in cases {
        let mut object = good(payload);
        object[member] = value;
        let expected: Vec<_> =
            fault.map(|fault| MemberError { member: member.into(), fault }).into_iter().collect();
        assert_eq!(judge(payload, &object), expected, "{object:.80}");
    }
}

#[test]
fn what_is_no_object_is_refused_as_a_whole() {
    for value in [json!(null), json!([]), json!("{}"), json!(1), json!(true)] {
        let errors = judge(Payload::RoomName, &value);
        assert_eq!(errors, [MemberError { member: "payload".into(), fault: Fault::NotAnObject }]);
    }
    assert!(read(Payload::RoomName, "").is_err(), "no argument at all");
}

#[test]
fn members_are_found_however_they_are_written() {
    for text in [
        r#"{"roomId":"a\"b"}"#,
        "{ \"roomId\" :\t\"a\\\"b\"\n}",
        r#"{"x":"roomId","roomId":"a\u0022b","y":{"roomId":1}}"#,
        r#"{"room\u0049d":"a\"b"}"#,
        r#"{"x\\":",\"roomId\":1","roomId":"a\"b"},"second argument""#,
    ] {
        let fields = read(Payload::RoomName, text).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(fields.text("roomId"), "a\"b", "{text}");
    }
    // Rule: JSON.parse takes the last, other readers the first: nobody may be shown two values.
    for text in [r#"{"roomId":"a","roomId":"b"}"#, r#"{"room\u0049d":"a","roomId":"b"}"#] {
        let errors = read(Payload::RoomName, text).expect_err("twice");
        let fault = Fault::Twice;
        assert_eq!(
            errors,
            VerbError::Invalid(vec![MemberError { member: "roomId".into(), fault }])
        );
    }
    // Legal in JavaScript: half a character.
    let fields = read(Payload::RoomName, r#"{"roomId":"\ud800"}"#).expect("it is a string");
    assert_eq!(fields.text("roomId"), "\u{FFFD}");
}

#[test]
fn errors_read_well_and_name_every_member() {
    let errors = validate(Payload::StatusUpdate, &json!({"status": "x", "progress": 101}));
    let error = VerbError::Invalid(errors);
    assert_eq!(
        error.message(),
        "sessionId is required; \
         status must be one of processing, completed, failed, cancelled; \
         progress must be a number from 0 to 100"
    );
    let details = serde_json::to_value(error.details()).expect("they can be written");
    assert_eq!(details[0], json!({"member": "sessionId", "message": "is required"}));
    assert_eq!(
        (error.code(), error.status(), error.retryable()),
        ("VALIDATION_FAILED", 422, false)
    );
}

#[test]
fn noise_never_panics() {
    let pieces = ["{", "}", "\"", "\\", ":", ",", "roomId", "\"roomId\":", "1", "[", "]", "ä", " "];
    for seed in 0..3_000 {
        let mut rng = Rng::new(seed, 11);
        let text: String = (0..rng.below(24)).map(|_| pieces[rng.below(pieces.len())]).collect();
        for payload in Payload::ALL {
            let _either = read(payload, &text);
            let _either = read(payload, &format!("{{{text}}}"));
        }
    }
}
