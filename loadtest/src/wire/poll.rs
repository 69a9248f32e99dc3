//! Engine.IO over long-polling: one task that gets, one that posts, a connection each.

use std::rc::Rc;

use super::helpers::{Helpers, News, Post};
use super::http::Http;
use super::target::Target;

/// Between packets of a body.
pub(super) const SEPARATOR: u8 = 0x1e;
/// Where polling happens.
const PATH: &str = "/socket.io/?EIO=4&transport=polling";

/// A connection by polling.
pub(super) struct Poller {
    pub(super) helpers: Rc<Helpers>,
    pub(super) target: Rc<Target>,
    pub(super) post: Rc<Post>,
    pub(super) conn: u32,
    /// Which of the connections of this number it is: news of an earlier one is old.
    pub(super) life: u32,
    /// Ends when the namespace is connected: a WebSocket takes over.
    pub(super) upgrades: bool,
}

/// The session id in an open packet.
pub(super) fn session(body: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(body, b"\"sid\":\"")? + 7;
    let length = memchr::memchr(b'"', &body[at..])?;
    String::from_utf8(body[at..at + length].to_vec()).ok()
}

/// Whether a body holds the answer to CONNECT.
fn has_connected(body: &[u8]) -> bool {
    let mut packets = body.split(|byte| *byte == SEPARATOR);
    packets.any(|packet| packet.starts_with(b"40") || packet.starts_with(b"44"))
}

impl Poller {
    /// Lives until the session ends, from either side.
    pub(super) async fn live(self) {
        self.helpers.active.set(self.helpers.active.get() + 1);
        let outcome = self.poll().await;
        self.helpers.active.set(self.helpers.active.get() - 1);
        if let Err(why) = outcome {
            self.post.is_closed.set(true);
            self.helpers.tell(News::Down { conn: self.conn, life: self.life, why });
        }
        self.post.bell.ring();
    }

    fn tell(&self, body: bytes::Bytes) {
        self.helpers.tell(News::Body { conn: self.conn, life: self.life, body });
    }

    async fn poll(&self) -> Result<(), String> {
        let mut http = Http::connect(&self.target, None).await?;
        let open = http.get(PATH).await?;
        let Some(sid) = session(&open.body).filter(|_| open.status == 200) else {
            return Err(format!("the handshake was answered {}", open.status));
        };
        self.tell(open.body);
        let path = format!("{PATH}&sid={sid}");
        let poster = post(Rc::clone(&self.target), Rc::clone(&self.post), path.clone());
        let (helpers, conn, life) = (Rc::clone(&self.helpers), self.conn, self.life);
        drop(monoio::spawn(async move {
            if let Err(why) = poster.await {
                helpers.tell(News::Down { conn, life, why });
            }
        }));
        while !self.post.is_closed.get() {
            let got = http.get(&path).await?;
            if got.status != 200 {
                return Err(format!("a poll was answered {}", got.status));
            }
            let ends = self.upgrades && has_connected(&got.body);
            self.tell(got.body);
            if ends {
                break;
            }
        }
        Ok(())
    }
}

/// Posts what there is until the connection is closed and nothing is left.
async fn post(target: Rc<Target>, post: Rc<Post>, path: String) -> Result<(), String> {
    let mut http: Option<Http> = None;
    loop {
        let packets = std::mem::take(&mut *post.packets.borrow_mut());
        if packets.is_empty() {
            if post.is_closed.get() {
                return Ok(());
            }
            post.bell.wait().await;
            continue;
        }
        let mut line = match http.take() {
            Some(line) => line,
            None => Http::connect(&target, None).await?,
        };
        let reply = line.post(&path, "text/plain;charset=UTF-8", packets).await?;
        if reply.status != 200 && !post.is_closed.get() {
            return Err(format!("a post was answered {}", reply.status));
        }
        http = Some(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_and_a_connect_seen() {
        assert_eq!(session(b"0{\"sid\":\"abc\",\"upgrades\":[]}").as_deref(), Some("abc"));
        assert_eq!(session(b"{}"), None);
        assert!(has_connected(b"2\x1e40{\"sid\":\"x\"}"));
        assert!(!has_connected(b"2\x1e42[\"40\"]"));
    }

    #[test]
    fn packets_are_posted_together() {
        let post = Post::default();
        post.push(b"40");
        post.push(b"42[]");
        assert_eq!(*post.packets.borrow(), b"40\x1e42[]");
    }
}
