//! A client that polls.

use std::net::SocketAddr;

use serde_json::Value;

use crate::wire::{POLLING, fetch, get, post};

/// A polling client whose requests each have a connection of their own.
pub(crate) struct Polling {
    pub(crate) address: SocketAddr,
    pub(crate) sid: String,
}

impl Polling {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let reply = fetch(address, &get(POLLING));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let body = reply.text();
        let open: Value = serde_json::from_str(body.strip_prefix('0').expect("an open packet"))
            .expect("an open packet holds JSON");
        Self { address, sid: open["sid"].as_str().expect("it names the session").to_owned() }
    }

    /// Opens and joins `/`.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let client = Self::open(address);
        client.post("40");
        let packets = client.poll();
        assert!(packets[0].starts_with("40{"), "{packets:?}");
        client
    }

    pub(crate) fn target(&self) -> String {
        format!("{POLLING}&sid={}", self.sid)
    }

    pub(crate) fn post(&self, body: &str) {
        let reply = fetch(self.address, &post(&self.target(), body));
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    }

    /// The packets of the next poll that has more to say than a ping, which is answered.
    pub(crate) fn poll(&self) -> Vec<String> {
        loop {
            let reply = fetch(self.address, &get(&self.target()));
            assert_eq!(reply.status, 200, "{}", reply.text());
            let mut packets: Vec<String> =
                reply.text().split('\u{1e}').map(str::to_owned).collect();
            if packets.iter().any(|packet| packet == "2") {
                self.post("3");
                packets.retain(|packet| packet != "2");
            }
            if !packets.is_empty() {
                return packets;
            }
        }
    }
}
