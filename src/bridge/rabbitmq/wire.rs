//! Messages as the client library wants them.

use lapin::BasicProperties;
use lapin::message::BasicReturnMessage;
use lapin::types::{AMQPValue, FieldTable};

use super::message::{Header, Message};
use super::settings::Settings;

/// Rule: AMQP 0-9-1, `delivery-mode`: 2 is persistent.
pub(super) const PERSISTENT: u8 = 2;

/// The properties of a message that is published now.
pub(super) fn properties(message: &Message, settings: &Settings, now_ms: u64) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        let value = match value {
            Header::Flag(flag) => AMQPValue::Boolean(*flag),
            Header::Number(number) => AMQPValue::LongLongInt(*number),
            Header::Text(text) => AMQPValue::LongString(text.as_str().into()),
        };
        headers.insert(name.as_str().into(), value);
    }
    if message.republished > 0 {
        let times = AMQPValue::LongLongInt(message.republished);
        headers.insert("x-sio-republish".into(), times);
    }
    let mut properties = BasicProperties::default()
        .with_message_id(message.id.as_str().into())
        .with_type(short(&message.kind))
        .with_app_id("corewire".into())
        .with_timestamp(message.at_ms / 1_000)
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_headers(headers);
    if message.wants_reply {
        // Not the client's own requestId: two clients may choose the same one, and each must get
        // its own answer.
        properties = properties
            .with_correlation_id(message.id.as_str().into())
            .with_reply_to(settings.replies.as_str().into());
    }
    if let Some(deadline_ms) = message.deadline_ms {
        let left_ms = deadline_ms.saturating_sub(now_ms);
        properties = properties.with_expiration(left_ms.to_string().into());
    }
    properties
}

/// A short string has at most 255 bytes; ours are cut between two characters.
pub(super) fn short(text: &str) -> lapin::types::ShortString {
    text[..text.floor_char_boundary(255)].into()
}

/// The id of a message that came back; empty if it has none.
pub(super) fn id_of(returned: Option<BasicReturnMessage>) -> Option<String> {
    let returned = returned?;
    let id = returned.delivery.properties.message_id().as_ref().map(ToString::to_string);
    Some(id.unwrap_or_default())
}

/// Bytes of a message's headers, about: what a broker's frame holds (128 KiB unless it is told
/// otherwise), with room for those that are added when a message goes on.
const HEADERS_BYTES_MAX: usize = 65_536;

/// Whether the headers of a message leave room for more in their frame. One that does not could
/// come in and never be given away: each try would cost a connection.
pub(super) fn has_room(headers: &FieldTable) -> bool {
    table_bytes(headers, HEADERS_BYTES_MAX) <= HEADERS_BYTES_MAX
}

/// About the bytes of a table; counting ends above `enough`.
fn table_bytes(table: &FieldTable, enough: usize) -> usize {
    let mut bytes = 4;
    for (name, value) in table.inner() {
        bytes += 2 + name.as_str().len() + value_bytes(value, enough.saturating_sub(bytes));
        if bytes > enough {
            break;
        }
    }
    bytes
}

/// The same of one value. Nesting is bounded by the frame that it came in.
fn value_bytes(value: &AMQPValue, enough: usize) -> usize {
    match value {
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.as_slice().len(),
        AMQPValue::FieldTable(table) => table_bytes(table, enough),
        AMQPValue::FieldArray(items) => {
            items.as_slice().iter().map(|item| 1 + value_bytes(item, enough)).sum()
        }
        _ => 8,
    }
}

/// A header's text.
pub(super) fn text_header(properties: &BasicProperties, name: &str) -> Option<String> {
    let value = properties.headers().as_ref()?.inner().get(name)?;
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        AMQPValue::Boolean(flag) => Some(flag.to_string()),
        other => number(other).map(|number| number.to_string()),
    }
}

/// A header's number.
pub(super) fn number_header(properties: &BasicProperties, name: &str) -> Option<u64> {
    let value = properties.headers().as_ref()?.inner().get(name)?;
    match value {
        AMQPValue::LongString(text) => text.to_string().parse().ok(),
        other => number(other).and_then(|number| u64::try_from(number).ok()),
    }
}

fn number(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortShortUInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortUInt(number) => Some(i64::from(*number)),
        AMQPValue::LongInt(number) => Some(i64::from(*number)),
        AMQPValue::LongUInt(number) => Some(i64::from(*number)),
        AMQPValue::LongLongInt(number) => Some(*number),
        AMQPValue::Timestamp(number) => i64::try_from(*number).ok(),
        _ => None,
    }
}

/// The message id, if there is one.
pub(super) fn id(properties: &BasicProperties) -> Option<&str> {
    properties.message_id().as_ref().map(|id| id.as_str()).filter(|id| !id.is_empty())
}
