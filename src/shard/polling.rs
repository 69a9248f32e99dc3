//! Polls and posts of a polling session.

use std::borrow::Cow;

use super::conn::{Phase, PostBody, Speaks, Then};
use super::frame::{Frame, Wire};
use super::message::Dispatch;
use super::session::Transport;
use super::{Ending, Shard};
use crate::base::Key;
use crate::engineio::{self, Kind as EngineKind, Piece, Revision};
use crate::http::{self, Coding, Head, Response};

/// Media type of a polling answer that is text.
const TEXT: &str = "text/plain; charset=UTF-8";
/// Media type of an EIO 3 answer in the binary form.
pub(super) const OCTETS: &str = "application/octet-stream";

impl Shard {
    /// Answers a waiting poll with what waits for its session, and `last` behind it.
    pub(super) fn answer_poll(&mut self, session_key: Key, conn_key: Key, last: Option<u8>) {
        let attachments_max = self.settings.limits.attachments_max;
        let Some(session) = self.sessions.get_mut(session_key) else { return };
        if session.transport == (Transport::Polling { poll: Some(conn_key) }) {
            session.transport = Transport::Polling { poll: None };
        }
        let form = session.form(attachments_max);
        let v3_binary = session.revision == Revision::V3
            && session.polls_binary
            && session.outbox.iter().any(Frame::has_binary);
        let mut body = Vec::with_capacity(session.outbox.bytes() + 4);
        let mut undeliverable = 0;
        let had_any = !session.outbox.is_empty();
        let waited = self.now - session.queued_at.min(self.now);
        while let Some(frame) = session.outbox.pop() {
            self.outbox_bytes -= frame.cost();
            undeliverable += u64::from(!frame.write_polling(&mut body, form, v3_binary));
        }
        if let Some(packet) = last {
            Frame::from(Wire::text(&[packet])).write_polling(&mut body, form, v3_binary);
        }
        if had_any {
            self.hists.record(crate::telemetry::Stage::QueuedToWritten, waited);
        }
        self.counters.attachments_undeliverable += undeliverable;
        let Some(conn) = self.conns.get_mut(conn_key) else { return };
        let old = std::mem::replace(&mut conn.speaks, Speaks::Http(Phase::Head));
        if let Speaks::Http(Phase::Poll { keep_alive, coding, origin, .. }) = old {
            let media = if v3_binary { OCTETS } else { TEXT };
            let cors = self.settings.cors.headers(origin.as_deref());
            let response = self.payload(media, body, coding).with_first(cors);
            self.respond(conn_key, &response, keep_alive);
        }
    }

    /// Rule: engine.io-protocol v4: one poll at a time; a second one ends the session, the first
    /// getting a close packet.
    pub(super) fn begin_poll(&mut self, key: Key, session_key: Key, head: &Head<'_>) {
        let origin: Option<Box<str>> = http::origin_of(head).unwrap_or_default().map(Box::from);
        let Some(session) = self.sessions.get_mut(session_key) else { return };
        let coding = if self.settings.compression.polling { http::coding_of(head) } else { None };
        let keep_alive = head.keep_alive;
        let phase = Phase::Poll { session: session_key, keep_alive, coding, origin };
        match session.transport {
            Transport::Polling { poll: Some(_) } => {
                self.counters.polls_duplicate += 1;
                let cors = self.settings.cors.headers(http::origin_of(head).unwrap_or_default());
                self.respond(key, &Response::empty(400).with_first(cors), head.keep_alive);
                self.end_session(session_key, Ending::RequestDuplicated);
            }
            Transport::LastWords { packet, .. } => {
                // What waits comes first; the close packet has an answer of its own.
                let says_something = !session.outbox.is_empty();
                self.set_phase(key, phase);
                self.answer_poll(session_key, key, (!says_something).then_some(packet));
                if !says_something {
                    self.forget_session(session_key);
                }
            }
            _ => {
                session.transport = Transport::Polling { poll: Some(key) };
                self.set_phase(key, phase);
                let waiting = self.sessions.get(session_key).is_some_and(|s| !s.outbox.is_empty());
                if waiting {
                    self.answer_poll(session_key, key, None);
                }
            }
        }
    }

    /// What a poll gets: packets, compressed if the client asks for that and they are many.
    ///
    /// Rule: engine.io, `httpCompression`: on, from 1,024 bytes.
    pub(super) fn payload(
        &mut self,
        media: &str,
        body: Vec<u8>,
        coding: Option<Coding>,
    ) -> Response {
        let answer = |body: Vec<u8>| {
            if media == OCTETS { Response::payload_binary(body) } else { Response::payload(body) }
        };
        let terms = self.settings.compression;
        if !terms.polling || body.len() < terms.polling_threshold_bytes {
            return answer(body);
        }
        let packed = coding.and_then(|coding| Some((coding, self.press.body(coding, &body)?)));
        let response = match packed {
            None => answer(body),
            Some((coding, packed)) => {
                self.counters.deflated += 1;
                self.counters.deflated_bytes += body.len() as u64;
                self.counters.deflated_bytes_out += packed.len() as u64;
                answer(packed).with("Content-Encoding", coding.name())
            }
        };
        // Rule: RFC 9110 section 12.5.5: said too where the plain body was chosen.
        response.with("Vary", "Accept-Encoding")
    }

    pub(super) fn begin_post(&mut self, key: Key, session_key: Key, head: &Head<'_>, binary: bool) {
        let origin: Option<Box<str>> = http::origin_of(head).unwrap_or_default().map(Box::from);
        let Some(session) = self.sessions.get_mut(session_key) else { return };
        let v4 = session.revision == Revision::V4;
        if let Some(first) = session.post {
            // Rule: a second post while one is being received: 400, the first is destroyed.
            let cors = self.settings.cors.headers(origin.as_deref());
            self.respond(key, &Response::empty(400).with_first(cors), false);
            self.end_session(session_key, Ending::RequestDuplicated);
            self.conn_ends(first, Ending::RequestDuplicated);
            return;
        }
        if binary && v4 {
            // Rule: CVE-2026-59725: an octet-stream post of EIO 4 is answered, and ends the session.
            self.end_session(session_key, Ending::EngineRule);
            let cors = self.settings.cors.headers(origin.as_deref());
            self.respond(key, &Response::empty(400).with_first(cors), false);
            return;
        }
        session.post = Some(key);
        self.begin_body(key, head, Then::Post { session: session_key, binary, origin });
    }

    /// Gives out the next packet of a post; answers the post when there is none left.
    pub(super) fn next_packet<'b>(&mut self, key: Key) -> Option<Dispatch<'b>> {
        loop {
            let conn = self.conns.get_mut(key)?;
            let Speaks::Http(Phase::Payload(payload)) = &mut conn.speaks else { return None };
            let session_key = payload.session;
            let session = self.sessions.get(session_key);
            let session = session.filter(|_| payload.at <= payload.body.len() && !payload.bad);
            let Some(session) = session else {
                self.finish_post(key);
                return None;
            };
            let split = split_packet(&payload.body, payload.at, session.revision);
            let Some((piece, used)) = split.filter(|(piece, _)| piece.is_packet()) else {
                payload.bad = true;
                self.counters.parse_errors += 1;
                self.end_session(session_key, Ending::EnginePacket);
                continue;
            };
            payload.at += used;
            let dispatch = match piece {
                Owned::Text(text) => self.engine_text(session_key, Cow::Owned(text)),
                Owned::Binary(data) => self.engine_binary(session_key, data),
            };
            if dispatch.is_some() {
                return dispatch;
            }
        }
    }

    /// Answers a post: 400 if a packet could not be read (Node says `ok` even then), else `ok`.
    pub(super) fn finish_post(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let old = std::mem::replace(&mut conn.speaks, Speaks::Http(Phase::Head));
        let Speaks::Http(Phase::Payload(payload)) = old else { return };
        if let Some(session) = self.sessions.get_mut(payload.session) {
            session.post = None;
        }
        let response = if payload.bad { Response::empty(400) } else { Response::posted() };
        let cors = self.settings.cors.headers(payload.origin.as_deref());
        self.respond(key, &response.with_first(cors), payload.keep_alive);
    }

    /// Whether a post must wait because its session has as many async handlers as it may.
    pub(super) fn post_waits(&self, key: Key) -> bool {
        let Some(Speaks::Http(Phase::Payload(payload))) = self.conns.get(key).map(|c| &c.speaks)
        else {
            return false;
        };
        self.sessions.get(payload.session).is_some_and(|session| self.handlers_full(session))
    }
}

enum Owned {
    Text(String),
    Binary(Vec<u8>),
}

impl Owned {
    /// Whether it says of what kind it is.
    fn is_packet(&self) -> bool {
        match self {
            Self::Text(text) => text.starts_with('b') || EngineKind::split(text).is_ok(),
            Self::Binary(_) => true,
        }
    }
}

/// Takes the packet of a body that begins at `at` and how many bytes it took; one more than there
/// are if it was the last one. Cost: one copy of the packet.
fn split_packet(body: &PostBody, at: usize, revision: Revision) -> Option<(Owned, usize)> {
    let own = |piece: Piece<'_>| match piece {
        Piece::Text(text) => Owned::Text(text.to_owned()),
        Piece::Binary(data) => Owned::Binary(data),
    };
    let used = |rest: usize, after: Option<usize>| after.map_or(rest + 1, |after| rest - after);
    match body {
        PostBody::Unreadable => None,
        PostBody::Binary(bytes) => {
            let rest = bytes.get(at..)?;
            let (piece, after) = engineio::next_v3_binary(rest).ok()?;
            Some((own(piece), used(rest.len(), after.map(<[u8]>::len))))
        }
        PostBody::Text(text) => {
            let rest = text.get(at..)?;
            let (piece, after) = match revision {
                Revision::V4 => engineio::next_v4(rest).ok()?,
                Revision::V3 => engineio::next_v3(rest).ok()?,
            };
            Some((own(piece), used(rest.len(), after.map(str::len))))
        }
    }
}
