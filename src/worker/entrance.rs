//! What stands between a socket and its shard: a PROXY header, TLS. A plain connection has
//! neither, and pays one look for it.

use std::os::fd::AsFd;
use std::rc::Rc;

use super::conn::{ConnIo, Next};
use super::fd;
use super::run::Worker;
use super::tls::Tls;
use crate::base::Key;
use crate::http::{self, NoProxyHeader, Response};
use crate::shard::{Ending, Entrance, Said, Way};

/// How connections of a listener begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Door {
    /// With a PROXY header.
    pub proxy: bool,
    /// With TLS, behind the header if there is one.
    pub tls: bool,
}

impl Door {
    /// What a connection has to show first.
    pub(super) const fn entrance(self) -> Entrance {
        match self {
            Self { proxy: true, .. } => Entrance::Proxy,
            Self { tls: true, .. } => Entrance::Tls,
            _ => Entrance::Passed,
        }
    }
}

/// Signatures that one round makes at most. Each keeps the other connections of the core waiting
/// for as long as it takes: some 30 µs with an elliptic key, ten times that and more with RSA.
pub(super) const HANDSHAKES_A_ROUND: u32 = 4;

/// Connections of which the kernel is asked at once whether they have spoken.
const LOOKS: usize = 64;

/// A connection that is not plain.
#[derive(Debug)]
pub(super) struct Channel {
    /// Its PROXY header is still to come; what there is of it.
    header: Option<Vec<u8>>,
    tls: Option<Tls>,
}

impl Channel {
    /// What a door wants. `None` if the door has TLS and there is none to be had.
    pub(super) fn new(
        door: Door,
        config: Option<&std::sync::Arc<rustls::ServerConfig>>,
    ) -> Option<Self> {
        let tls = if door.tls { Some(Tls::new(config?)?) } else { None };
        Some(Self { header: door.proxy.then(Vec::new), tls })
    }

    /// Something is yet to be shown before the first request.
    fn is_at_entrance(&self) -> bool {
        self.header.is_some() || self.tls.as_ref().is_some_and(Tls::is_handshaking)
    }

    /// A signature may be due when more of it is read.
    pub(super) fn is_at_handshake(&self) -> bool {
        self.header.is_none() && self.tls.as_ref().is_some_and(Tls::is_handshaking)
    }

    /// Bytes held that the shard does not know of.
    pub(super) fn held_bytes(&self) -> usize {
        let header = self.header.as_ref().map_or(0, Vec::capacity);
        header + self.tls.as_ref().map_or(0, Tls::kept_bytes)
    }
}

/// What reading from a channel came to.
enum Read {
    /// The bytes are plain by now.
    Plain,
    /// It ends, with these bytes in the clear as the last word.
    TurnedAway(Ending, Vec<u8>),
    /// The connection is forgotten.
    Forgotten,
}

impl Worker {
    /// How one more comes in at this door. Who is late as far as the shard knows may have spoken
    /// since the last round, or wait for a signature: it stays then, and the next one is looked at.
    pub(super) fn way_in(&self, door: Door) -> Way {
        if door.entrance() == Entrance::Passed {
            return Way::Open;
        }
        for _ in 0..LOOKS {
            let way = self.core.with(|shard| shard.way_in());
            let Way::Instead(late) = way else { return way };
            // One that does not take what was said last has to do that first.
            let has_spoken = |io: &mut ConnIo| !io.blocked && fd::is_readable(io.fd.as_fd());
            if !self.conns.borrow_mut().get(late).is_some_and(has_spoken) {
                return way;
            }
            self.core.with(|shard| shard.hear_entrance(late, Said::Unread));
        }
        Way::Shut
    }

    /// Takes in what was received on a connection that is not plain.
    pub(super) fn read_channel(self: &Rc<Self>, key: Key, bytes: &mut [u8]) -> Next {
        let channel = self.conns.borrow_mut().get(key).and_then(|io| io.channel.take());
        let Some(mut channel) = channel else { return Next::Read };
        let mut plain = self.plain.take();
        let mut out = Vec::new();
        plain.clear();
        let read = self.open_channel(key, &mut channel, bytes, &mut plain, &mut out);
        if matches!(read, Read::Forgotten) {
            self.conns.borrow_mut().take(key);
            self.plain.replace(plain);
            return Next::Read;
        }
        if channel.is_at_entrance() {
            let said = if out.is_empty() { Said::Part } else { Said::Answered };
            self.core.with(|shard| shard.hear_entrance(key, said));
        }
        let is_plain = channel.header.is_none() && channel.tls.is_none();
        if let Some(io) = self.conns.borrow_mut().get(key) {
            io.channel = Some(channel).filter(|_| !is_plain);
        }
        self.send_outside(key, &out);
        let next = if let Read::TurnedAway(ending, last) = read {
            self.core.with(|shard| {
                let is_tls = !matches!(ending, Ending::ProxyRule);
                shard.counters_mut().tls_failures += u64::from(is_tls);
                shard.turn_away(key, ending, &last);
            });
            if let Some(io) = self.conns.borrow_mut().get(key) {
                // In the clear, if anything: there is nobody who could open it.
                io.channel = io.channel.take().filter(|_| last.is_empty());
            }
            Next::Read
        } else if plain.is_empty() {
            self.note_held(key);
            Next::Read
        } else {
            let unread = self.conns.borrow_mut().get(key).map(ConnIo::take_unread);
            self.take_in(key, unread.unwrap_or_default(), &mut plain)
        };
        if plain.capacity() > 4 * super::run::SCRATCH_BYTES {
            plain = Vec::new();
        }
        self.plain.replace(plain);
        next
    }

    fn open_channel(
        &self,
        key: Key,
        channel: &mut Channel,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Read {
        if let Some(mut header) = channel.header.take() {
            header.extend_from_slice(bytes);
            let read = match http::parse_proxy_header(&header) {
                Ok(Some(read)) => read,
                Ok(None) => {
                    channel.header = Some(header);
                    return Read::Plain;
                }
                Err(NoProxyHeader) => return Read::TurnedAway(Ending::ProxyRule, Vec::new()),
            };
            if !self.meet(key, channel, &read) {
                return Read::Forgotten;
            }
            let rest = &mut header[read.len..];
            return match &mut channel.tls {
                None => {
                    plain.extend_from_slice(rest);
                    Read::Plain
                }
                Some(_) if rest.is_empty() => Read::Plain,
                Some(tls) => self.open_tls(key, tls, rest, plain, out),
            };
        }
        match &mut channel.tls {
            Some(tls) => self.open_tls(key, tls, bytes, plain, out),
            None => {
                plain.extend_from_slice(bytes);
                Read::Plain
            }
        }
    }

    /// A PROXY header says who is there. False if they may not come in.
    fn meet(&self, key: Key, channel: &Channel, read: &http::ProxyHeader) -> bool {
        self.core.with(|shard| {
            shard.counters_mut().proxy_headers += 1;
            if read.secure {
                shard.set_secure(key);
            }
            if let Some(client) = read.client
                && !shard.set_client(key, client)
            {
                return false;
            }
            if channel.tls.is_some() {
                shard.expect_entrance(key, Entrance::Tls);
            } else {
                shard.pass(key);
            }
            true
        })
    }

    fn open_tls(
        &self,
        key: Key,
        tls: &mut Tls,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Read {
        let was_handshaking = tls.is_handshaking();
        if !tls.has_begun() && !begins_tls(bytes) {
            return Read::TurnedAway(Ending::TlsPlain, answer_in_the_clear(bytes));
        }
        let received = tls.receive(bytes, plain, out);
        if was_handshaking && !out.is_empty() {
            self.handshakes_left.set(self.handshakes_left.get().saturating_sub(1));
        }
        self.count_panic(tls);
        let Ok(received) = received else {
            return Read::TurnedAway(Ending::TlsRule, Vec::new());
        };
        if was_handshaking && !tls.is_handshaking() {
            let resumed = u64::from(tls.is_resumed());
            self.core.with(|shard| {
                shard.counters_mut().tls_handshakes += 1;
                shard.counters_mut().tls_resumed += resumed;
                shard.set_secure(key);
                shard.pass(key);
            });
        }
        if received.ended
            && let Some(io) = self.conns.borrow_mut().get(key)
        {
            io.ended = true;
        }
        Read::Plain
    }

    /// A mistake of rustls, or of how it is used, must not pass for one of the peer.
    fn count_panic(&self, tls: &mut Tls) {
        if tls.take_panicked() {
            self.core.with(|shard| shard.counters_mut().tls_panics += 1);
        }
    }

    /// Sends what is no answer of the shard's: a part of a handshake, an alert.
    fn send_outside(&self, key: Key, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.core.with(|shard| shard.counters_mut().bytes_out += bytes.len() as u64);
        let waits = self.conns.borrow_mut().get(key).is_some_and(|io| io.blocked);
        if waits {
            self.core.with(|shard| shard.handle_blocked_more(key, bytes));
        } else {
            self.send(key, bytes);
        }
    }

    /// Seals what the shard has to say and sends it; with `goodbye` it is the last. Returns what
    /// [`Self::send`] does.
    pub(super) fn send_sealed(&self, key: Key, plain: &[u8], goodbye: bool) -> bool {
        if plain.is_empty() && !goodbye {
            return true;
        }
        let mut sealed = self.sealed.take();
        let count = {
            let mut conns = self.conns.borrow_mut();
            let channel = conns.get(key).and_then(|io| io.channel.as_mut());
            let tls = channel.and_then(|channel| channel.tls.as_mut());
            // What cannot be sealed cannot be said, and is gone: the connection is broken, or a
            // deadline ended it at its handshake.
            tls.map_or(0, |tls| {
                let sealing = tls.seal(plain, goodbye, &mut sealed);
                if sealing.is_err() {
                    self.count_panic(tls);
                }
                sealing.unwrap_or(0)
            })
        };
        let more = count.saturating_sub(plain.len());
        self.core.with(|shard| shard.counters_mut().bytes_out += more as u64);
        let sent = self.send(key, &sealed[..count]);
        if sealed.len() > 4 * super::flush::WRITE_BYTES {
            sealed = Vec::new();
        }
        self.sealed.replace(sealed);
        sent
    }

    /// Shuts the sending side, or both.
    pub(super) fn shut(&self, key: Key, both: bool) {
        if let Some(io) = self.conns.borrow_mut().get(key) {
            fd::shut(&io.fd, both);
        }
    }
}

/// Whether the first bytes are those of a TLS record with a handshake in it.
///
/// Rule: RFC 8446 section 5.1.
fn begins_tls(bytes: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    bytes.first() == Some(&HANDSHAKE) && bytes.get(1).is_none_or(|major| *major == 3)
}

/// Somebody who speaks plain HTTP is told what is wrong; anything else is not spoken to.
fn answer_in_the_clear(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if bytes.first().is_some_and(u8::is_ascii_uppercase) {
        Response::text(400, "This port speaks TLS: use https or wss").write(&mut out, false);
    }
    out
}
