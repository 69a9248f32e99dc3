//! TLS without sockets, against the client of rustls: whole, cut to bytes, forged, noisy.

use std::io::{Read, Write};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};

use super::*;
use crate::base::Rng;

struct Pki {
    server: Arc<ServerConfig>,
    root: CertificateDer<'static>,
}

fn pki() -> Pki {
    let made = rcgen::generate_simple_self_signed(vec![String::from("localhost")]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let root = made.cert.der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![root.clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    server.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    Pki { server: Arc::new(server), root }
}

impl Pki {
    fn client_config(&self, spoken: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[spoken])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    fn pair(&self, spoken: &'static SupportedProtocolVersion) -> Pair {
        Pair::new(&self.server, &self.client_config(spoken))
    }
}

/// Both ends, and what the server has heard.
struct Pair {
    client: ClientConnection,
    tls: Tls,
    heard: Vec<u8>,
    sealed: Vec<u8>,
}

impl Pair {
    fn new(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        Self {
            client: ClientConnection::new(Arc::clone(client), name).unwrap(),
            tls: Tls::new(server).unwrap(),
            heard: Vec::new(),
            sealed: Vec::new(),
        }
    }

    /// What the client has to send.
    fn heard(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    fn tell(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            self.client.process_new_packets().unwrap();
        }
    }

    /// Hands bytes to the server in pieces of this size, and its answer to the client.
    fn hand_in(&mut self, bytes: &[u8], piece: usize) -> Result<Received, Broken> {
        let mut last = Ok(Received::default());
        for piece in bytes.chunks(piece.max(1)) {
            let (mut piece, mut out) = (piece.to_vec(), Vec::new());
            last = self.tls.receive(&mut piece, &mut self.heard, &mut out);
            self.tell(&out);
            if last.is_err() {
                break;
            }
        }
        last
    }

    fn shake_hands(&mut self, piece: usize) {
        while self.client.is_handshaking() || self.tls.is_handshaking() {
            let bytes = self.heard();
            self.hand_in(&bytes, piece).unwrap();
        }
    }

    fn say(&mut self, text: &[u8], goodbye: bool) -> Vec<u8> {
        let count = self.tls.seal(text, goodbye, &mut self.sealed).unwrap();
        self.sealed[..count].to_vec()
    }

    fn hear(&mut self, len: usize) -> Vec<u8> {
        let mut text = vec![0; len];
        self.client.reader().read_exact(&mut text).unwrap();
        text
    }
}

const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

#[test]
fn both_versions_however_the_bytes_are_cut() {
    let pki = pki();
    for (spoken, piece) in BOTH.into_iter().flat_map(|spoken| [1, 7, 1 << 20].map(|p| (spoken, p)))
    {
        let mut pair = pki.pair(spoken);
        pair.shake_hands(piece);
        assert_eq!(pair.client.alpn_protocol(), None, "it was not asked for");
        let large: Vec<u8> = (0..100_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        for text in [b"hello".as_slice(), &large] {
            pair.client.set_buffer_limit(None);
            pair.client.writer().write_all(text).unwrap();
            let bytes = pair.heard();
            pair.hand_in(&bytes, piece).unwrap();
            assert_eq!(std::mem::take(&mut pair.heard), text);
            let answer = pair.say(text, false);
            assert!(answer.len() > text.len());
            for part in answer.chunks(4_096) {
                pair.tell(part);
                let mut heard = vec![0; 1 << 17];
                while let Ok(count @ 1..) = pair.client.reader().read(&mut heard) {
                    pair.heard.extend_from_slice(&heard[..count]);
                }
            }
            assert_eq!(std::mem::take(&mut pair.heard), text);
        }
        assert_eq!(pair.tls.kept_bytes(), 0, "an idle connection holds no bytes");
    }
}

#[test]
fn a_goodbye_is_said_once_and_heard() {
    let pki = pki();
    for spoken in BOTH {
        let mut pair = pki.pair(spoken);
        pair.shake_hands(1 << 20);
        let last = pair.say(b"last", true);
        assert_eq!(pair.say(b"", true), b"", "it is said once");
        pair.tell(&last);
        assert_eq!(pair.hear(4), b"last");
        assert_eq!(pair.client.reader().read(&mut [0; 8]).unwrap(), 0, "a clean end");

        pair.client.send_close_notify();
        let bytes = pair.heard();
        assert_eq!(pair.hand_in(&bytes, 1 << 20), Ok(Received { ended: true }));
    }
}

#[test]
fn a_client_that_comes_back_goes_on_from_where_it_was() {
    let pki = pki();
    for spoken in BOTH {
        let config = pki.client_config(spoken);
        let mut resumed = Vec::new();
        for _ in 0..2 {
            let mut pair = Pair::new(&pki.server, &config);
            pair.shake_hands(1 << 20);
            // The tickets of 1.3 follow the handshake.
            let text = pair.say(b"x", false);
            pair.tell(&text);
            assert_eq!(pair.hear(1), b"x");
            resumed.push(pair.tls.is_resumed());
        }
        assert_eq!(resumed, [false, true]);
    }
}

#[test]
fn a_forged_record_is_told_of_and_ends_it() {
    let pki = pki();
    for spoken in BOTH {
        let mut pair = pki.pair(spoken);
        pair.shake_hands(1 << 20);
        pair.client.writer().write_all(b"hello").unwrap();
        let mut bytes = pair.heard();
        *bytes.last_mut().unwrap() ^= 1;
        let mut out = Vec::new();
        assert_eq!(pair.tls.receive(&mut bytes, &mut pair.heard, &mut out), Err(Broken));
        assert!(!out.is_empty() && pair.heard.is_empty());
        assert!(pair.tls.seal(b"x", true, &mut pair.sealed).is_err(), "nothing more is said");
        assert_eq!(pair.hand_in(b"anything", 8), Ok(Received::default()), "nor heard");
    }
}

#[test]
fn what_is_no_handshake_is_refused_and_a_long_one_is_not_kept() {
    let pki = pki();
    for noise in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        &[0x80; 64],
        &[0x16, 3, 1, 0xff, 0xff],
        &[0x16, 3, 1, 0, 4, 9, 9, 9, 9],
    ] {
        let mut pair = pki.pair(&version::TLS13);
        let mut bytes = noise.to_vec();
        let got = pair.tls.receive(&mut bytes, &mut Vec::new(), &mut Vec::new());
        assert_eq!(got, Err(Broken), "{}", noise.escape_ascii());
        assert!(!pair.tls.has_panicked, "{}", noise.escape_ascii());
    }
    // A greeting that goes on and on, in records that are each legal.
    let mut pair = pki.pair(&version::TLS13);
    let mut greeting = vec![0x16, 3, 1, 0x40, 0x00, 1, 0, 0xff, 0xff];
    greeting.resize(5 + 0x4000, 0);
    let mut fed = 0;
    loop {
        let mut bytes = greeting.clone();
        fed += bytes.len();
        if pair.tls.receive(&mut bytes, &mut Vec::new(), &mut Vec::new()).is_err() {
            break;
        }
        assert!(pair.tls.kept_bytes() <= 2 * (HALF_OPEN_BYTES + greeting.len()));
        assert!(fed < 1 << 20, "it is cut at last");
        greeting = [&[0x16, 3, 1, 0x40, 0x00][..], &[0; 0x4000]].concat();
    }
}

#[test]
fn nothing_is_said_before_the_handshake_is_through() {
    let pki = pki();
    let mut pair = pki.pair(&version::TLS13);
    assert_eq!(pair.tls.seal(b"too early", false, &mut pair.sealed), Err(Broken));
}

#[test]
fn noise_never_panics_and_never_becomes_plaintext() {
    let pki = pki();
    for seed in 0..600 {
        let mut rng = Rng::new(seed, 0x7155);
        let mut pair = pki.pair(BOTH[rng.below(2)]);
        if rng.below(2) == 0 {
            pair.shake_hands(1 << 20);
            pair.client.writer().write_all(&[7; 300]).unwrap();
        }
        let mut bytes = pair.heard();
        for _ in 0..=rng.below(4) {
            let at = rng.below(bytes.len());
            match rng.below(3) {
                0 => bytes[at] ^= 1 << rng.below(8),
                1 => bytes.insert(at, rng.bytes(1)[0]),
                _ => drop(bytes.remove(at)),
            }
        }
        let mut out = Vec::new();
        for piece in bytes.chunks(1 + rng.below(200)) {
            let mut piece = piece.to_vec();
            let _ended = pair.tls.receive(&mut piece, &mut pair.heard, &mut out);
        }
        assert!(pair.heard.is_empty() || pair.heard == [7; 300], "seed {seed}");
        assert!(!pair.tls.has_panicked, "seed {seed}");
    }
}

#[test]
fn a_panic_of_the_library_breaks_one_connection_and_is_told_once() {
    let mut pair = pki().pair(&version::TLS13);
    let outcome = pair.tls.guarded(|_| -> Result<(), Broken> { panic!("on purpose") });
    assert_eq!(outcome, Err(Broken));
    assert!(pair.tls.take_panicked());
    assert!(!pair.tls.take_panicked(), "it is counted once");
    assert_eq!(pair.tls.seal(b"x", false, &mut pair.sealed), Err(Broken));
}
