//! Bodies of REST and of back ends.

use corewire::gateway::verbs::{
    AskRequest, CreateRoom, DisconnectRequest, EmitRequest, Membership, Notification, Page,
    RevokeRequest, RoomMessage, RoomsRequest,
};
use corewire::gateway::{Payload, validate};
use serde_json::Value;

use super::choice;

/// A body that is judged as right is read as what it is, and nothing it says goes too far.
pub(super) fn body(bytes: &[u8]) {
    let (first, rest) = choice(bytes);
    let payload = Payload::ALL[usize::from(first) % Payload::ALL.len()];
    let Ok(value) = serde_json::from_slice::<Value>(rest) else { return };
    let errors = validate(payload, &value);
    if let Some(cursor) = value.get("cursor").and_then(Value::as_str)
        && let Ok(page) = Page::of(1, Some(cursor), 3)
    {
        assert!(page.start().0.index() < 3, "a core that there is not");
    }
    assert_eq!(
        corewire::gateway::request::<Value>(payload, &value).is_ok(),
        errors.is_empty(),
        "{payload:?}"
    );
    if errors.is_empty() {
        read(payload, rest);
    }
}

/// Reads the body as the type of its verb. What is right may still be refused by what the shape
/// does not say (nobody is meant, a member stands there twice), and does no harm then.
fn read(payload: Payload, body: &[u8]) {
    match payload {
        Payload::Emit => {
            let read = serde_json::from_slice::<EmitRequest>(body);
            let _sent = read.map(|request| request.emission().is_ok());
        }
        Payload::Ask => {
            let Ok(read) = serde_json::from_slice::<AskRequest>(body) else { return };
            if let Ok(question) = read.question() {
                assert!(question.terms.timeout_ms <= corewire::gateway::verbs::ASK_TIMEOUT_MAX_MS);
            }
        }
        Payload::Rooms => {
            let read = serde_json::from_slice::<RoomsRequest>(body);
            let _aim = read.map(|request| request.to.aim().is_ok());
        }
        Payload::Disconnect => {
            let read = serde_json::from_slice::<DisconnectRequest>(body);
            let _away = read.map(|request| request.dismissal().is_ok());
        }
        Payload::Revoke => {
            let read = serde_json::from_slice::<RevokeRequest>(body);
            let _back = read.map(|request| request.revocation().is_ok());
        }
        Payload::CreateRoom => {
            let Ok(read) = serde_json::from_slice::<CreateRoom>(body) else { return };
            assert!((1..=256).contains(&read.room_id.len()));
            assert!(!read.room_id.chars().any(char::is_control));
        }
        Payload::Membership => {
            let Ok(read) = serde_json::from_slice::<Membership>(body) else { return };
            assert!((1..=256).contains(&read.user_id.len()));
        }
        Payload::Notification => {
            let Ok(read) = serde_json::from_slice::<Notification>(body) else { return };
            let _sent = read.emission();
        }
        Payload::SendToRoom => {
            let Ok(read) = serde_json::from_slice::<RoomMessage>(body) else { return };
            let _sent = read.emission();
        }
        _ => {}
    }
}
