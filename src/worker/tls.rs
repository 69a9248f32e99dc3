//! TLS of one connection, without its socket: what came in, what is to go out.
//!
//! rustls keeps no buffer of its own here: records are opened where they were received, and sealed
//! into a buffer of the core. An idle connection holds its keys and nothing else.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{HandshakeKind, ServerConfig};

use crate::base::HALF_OPEN_BYTES;

/// Plaintext of one record.
const RECORD_BYTES: usize = 16 << 10;
/// What a record adds at most: its head, its tag, its kind, an explicit nonce.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// An alert, or a record of a handshake that is about to be sized.
const SMALL_BYTES: usize = 512;

/// What one connection holds of TLS beside records in part: its keys and the state of rustls.
/// Measured over 1,000 idle ones of TLS 1.2, by the kernel's count: 3,485 bytes; doubled, and some.
pub const TLS_CONN_BYTES: usize = 8 << 10;
/// What a core has of TLS once: the buffer it seals into and the one it opens into.
pub const TLS_BUFFERS_BYTES: usize = 512 << 10;

/// One connection's TLS.
pub(super) struct Tls {
    session: UnbufferedServerConnection,
    /// Received and not opened: a record that is not complete.
    kept: Vec<u8>,
    /// Something was received.
    has_begun: bool,
    /// It broke the rules: nothing can be opened or sealed any more.
    broken: bool,
    /// By a mistake of rustls, or of how it is used here.
    has_panicked: bool,
    said_goodbye: bool,
}

/// The connection broke the rules of TLS. What is to be said about it has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// What receiving has brought about, beside plaintext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// The peer sends no more.
    pub(super) ended: bool,
}

impl fmt::Debug for Tls {
    /// Without its keys.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tls").field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Tls {
    /// A connection whose first byte is yet to come.
    pub(super) fn new(config: &Arc<ServerConfig>) -> Option<Self> {
        let session = UnbufferedServerConnection::new(Arc::clone(config)).ok()?;
        Some(Self {
            session,
            kept: Vec::new(),
            has_begun: false,
            broken: false,
            has_panicked: false,
            said_goodbye: false,
        })
    }

    /// Whether anything was received.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the handshake goes on.
    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether the handshake went on from an earlier connection.
    pub(super) fn is_resumed(&self) -> bool {
        self.session.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether rustls has panicked here since this was last asked.
    pub(super) fn take_panicked(&mut self) -> bool {
        std::mem::take(&mut self.has_panicked)
    }

    /// Bytes kept until the rest of a record comes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.capacity()
    }

    /// Takes in what was received; once a rule was broken, nothing any more. Appends what was in it
    /// to `plain`, and what is to be sent for it (a part of the handshake, an alert) to `out`.
    ///
    /// # Errors
    /// The peer broke a rule.
    pub(super) fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Received, Broken> {
        if self.broken {
            return Ok(Received::default());
        }
        self.has_begun = true;
        // A record that began before, and what has come now.
        let mut whole = std::mem::take(&mut self.kept);
        let input = if whole.is_empty() {
            bytes
        } else {
            whole.extend_from_slice(bytes);
            &mut whole[..]
        };
        let opened = self.guarded(|tls| tls.open(input, plain, out))?;
        let rest = &input[opened.used..];
        if rest.len() > HALF_OPEN_BYTES && self.is_handshaking() {
            self.broken = true;
            return Err(Broken);
        }
        self.kept = rest.to_vec();
        Ok(Received { ended: opened.ended })
    }

    /// Runs a part of rustls that reads what the peer sent. It must not panic; if it does, that
    /// ends one connection and not the core.
    fn guarded<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Broken>,
    ) -> Result<T, Broken> {
        let outcome = catch_unwind(AssertUnwindSafe(|| read(self)));
        self.has_panicked |= outcome.is_err();
        let outcome = outcome.unwrap_or(Err(Broken));
        self.broken |= outcome.is_err();
        outcome
    }

    fn open(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Opened, Broken> {
        let (mut used, mut ended) = (0, false);
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.session.process_tls_records(&mut input[used..]);
            let Ok(state) = state else {
                self.write_alerts(&mut input[used + discard..], out);
                return Err(Broken);
            };
            let mut is_done = false;
            match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|_| Broken)?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, out)?,
                // It goes out in order, though later: nothing here waits for that.
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => ended = true,
                ConnectionState::Closed => (ended, is_done) = (true, true),
                ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake => {
                    is_done = true;
                }
                // Early data, which is not offered.
                _ => return Err(Broken),
            }
            used += discard;
            if is_done {
                return Ok(Opened { used, ended });
            }
        }
    }

    /// What is to be said about a broken rule, and what waited before it. Only as long as there is
    /// something: rustls would look at what was broken again, and have another alert. It
    /// remembers places in what it was given, so that it is given the rest of that.
    fn write_alerts(&mut self, mut rest: &mut [u8], out: &mut Vec<u8>) {
        while self.session.wants_write() {
            let UnbufferedStatus { discard, state } = self.session.process_tls_records(rest);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            if encode(&mut data, out).is_err() {
                return;
            }
            rest = &mut rest[discard..];
        }
    }

    /// Seals `plain` into `sealed`, a buffer that keeps its length from call to call; returns how
    /// many of its bytes are to be sent. With `goodbye` it is the last that is.
    ///
    /// # Errors
    /// The connection is broken, or its handshake is not complete: nothing can be said.
    pub(super) fn seal(
        &mut self,
        plain: &[u8],
        goodbye: bool,
        sealed: &mut Vec<u8>,
    ) -> Result<usize, Broken> {
        if self.broken {
            return Err(Broken);
        }
        let goodbye = goodbye && !std::mem::replace(&mut self.said_goodbye, goodbye);
        self.guarded(|tls| tls.write(plain, goodbye, sealed))
    }

    fn write(
        &mut self,
        plain: &[u8],
        goodbye: bool,
        sealed: &mut Vec<u8>,
    ) -> Result<usize, Broken> {
        let records = plain.len() / RECORD_BYTES + 1;
        let room = plain.len() + records * RECORD_OVERHEAD_BYTES + SMALL_BYTES;
        if sealed.len() < room {
            sealed.resize(room, 0);
        }
        let mut at = 0;
        loop {
            let status = self.session.process_tls_records(&mut self.kept);
            let discard = status.discard;
            let mut is_done = false;
            match status.state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    if !plain.is_empty() {
                        at += into(sealed, at, |room| traffic.encrypt(plain, room))?;
                    }
                    if goodbye {
                        at += into(sealed, at, |room| close(&mut traffic, room))?;
                    }
                    is_done = true;
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let mut bytes = Vec::new();
                    encode(&mut data, &mut bytes)?;
                    at += into(sealed, at, |room| copy(&bytes, room))?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                // Nothing can be said before the handshake is through, and nothing after the end.
                Ok(_) | Err(_) => return Err(Broken),
            }
            self.kept.drain(..discard);
            if is_done {
                return Ok(at);
            }
        }
    }
}

struct Opened {
    used: usize,
    ended: bool,
}

/// Appends a part of the handshake to `out`.
fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) -> Result<(), Broken> {
    let before = out.len();
    let mut room = SMALL_BYTES;
    loop {
        out.resize(before + room, 0);
        match data.encode(&mut out[before..]) {
            Ok(written) => {
                out.truncate(before + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room => {
                room = needed.required_size;
            }
            Err(_) => {
                out.truncate(before);
                return Err(Broken);
            }
        }
    }
}

/// Writes behind `at`, making room where there is too little.
fn into(
    sealed: &mut Vec<u8>,
    at: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<usize, Broken> {
    loop {
        match write(&mut sealed[at..]) {
            Ok(written) => return Ok(written),
            Err(EncryptError::InsufficientSize(needed))
                if at + needed.required_size > sealed.len() =>
            {
                sealed.resize(at + needed.required_size, 0);
            }
            Err(_) => return Err(Broken),
        }
    }
}

fn close<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    room: &mut [u8],
) -> Result<usize, EncryptError> {
    traffic.queue_close_notify(room)
}

fn copy(bytes: &[u8], room: &mut [u8]) -> Result<usize, EncryptError> {
    let Some(room) = room.get_mut(..bytes.len()) else {
        let required_size = bytes.len();
        return Err(rustls::unbuffered::InsufficientSizeError { required_size }.into());
    };
    room.copy_from_slice(bytes);
    Ok(bytes.len())
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
