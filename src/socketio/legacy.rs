//! What is worded differently: packets for clients of Socket.IO 1 and 2 (EIO 3), and packets
//! that came in the msgpack parser's form.

use super::encode::{escape_json, prefix};
use super::{Decoded, Kind};

/// Appends the CONNECT of an old client: a bare `0`, or `0/ns`.
pub fn connect_bare(out: &mut Vec<u8>, namespace: &str) {
    prefix(out, Kind::Connect, 0, namespace);
    if out.last() == Some(&b',') {
        out.pop();
    }
}

/// Appends the refusal of an old client: the data alone, or the message as a string.
pub fn connect_error_v4(out: &mut Vec<u8>, namespace: &str, message: &str, data: Option<&str>) {
    prefix(out, Kind::ConnectError, 0, namespace);
    match data {
        Some(data) => out.extend_from_slice(data.as_bytes()),
        None => escape_json(out, message),
    }
}

impl Decoded {
    /// The packet as the default parser would have written it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = Vec::with_capacity(self.data.len() + self.namespace.len() + 32);
        prefix(&mut out, self.kind, self.attachments.len(), &self.namespace);
        if let Some(id) = &self.ack_id {
            out.extend_from_slice(id.as_bytes());
        }
        out.extend_from_slice(self.data.as_bytes());
        String::from_utf8(out).expect("made of texts")
    }
}
