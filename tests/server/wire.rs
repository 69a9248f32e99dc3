//! Clients made of plain sockets: HTTP, polling, WebSocket.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use corewire::base::{CoreId, Id20};
use corewire::ws::{self, Kind};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use serde_json::Value;

pub(crate) use crate::polling::Polling;

/// How long anything may take before the test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// Where polling happens.
pub(crate) const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
/// RSV1, which marks a compressed message.
pub(crate) const PACKED: u8 = 0x40;
/// A mask like any other.
const MASK: [u8; 4] = [0x1d, 0xa5, 0x3c, 0xf0];

/// A connection, and what was read ahead.
pub(crate) struct Wire {
    stream: TcpStream,
    /// TLS, if it is spoken.
    tls: Option<Box<ClientConnection>>,
    bytes: Vec<u8>,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// A message on a WebSocket, or its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Text(String),
    Binary(Vec<u8>),
    /// A close frame with its code, or the end of the connection.
    Closed(Option<u16>),
}

fn client_tls(config: &Arc<ClientConfig>) -> io::Result<Box<ClientConnection>> {
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::clone(config), name).map(Box::new).map_err(io::Error::other)
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the server listens")
    }

    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::of(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// A connection whose kernel takes in little: it does not read.
    pub(crate) fn connect_narrow(address: SocketAddr) -> Self {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None);
        let socket = socket.expect("a descriptor is free");
        socket.set_recv_buffer_size(4_096).expect("the kernel takes the size");
        socket.connect(&address.into()).expect("the server listens");
        Self::of(socket.into()).expect("timeouts can be set")
    }

    /// A connection with TLS; its handshake is complete.
    pub(crate) fn connect_tls(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        Self::try_connect(address)?.over_tls(config)
    }

    /// A connection that has said the first word of TLS and heard nothing yet.
    pub(crate) fn greet_tls(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        // Made before: who is accepted is expected to speak at once.
        let mut tls = client_tls(config)?;
        let mut wire = Self::try_connect(address)?;
        tls.write_tls(&mut wire.stream)?;
        wire.tls = Some(tls);
        Ok(wire)
    }

    /// Goes over to TLS.
    pub(crate) fn over_tls(mut self, config: &Arc<ClientConfig>) -> io::Result<Self> {
        self.tls = Some(client_tls(config)?);
        self.complete_tls()
    }

    /// Goes on with a handshake to its end.
    pub(crate) fn complete_tls(mut self) -> io::Result<Self> {
        if let Some(tls) = &mut self.tls {
            while tls.is_handshaking() {
                tls.complete_io(&mut self.stream)?;
            }
        }
        Ok(self)
    }

    /// The TLS that is spoken.
    pub(crate) fn tls(&self) -> &ClientConnection {
        self.tls.as_ref().expect("TLS is spoken")
    }

    fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, tls: None, bytes: Vec::new() })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server takes it");
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(bytes),
            Some(tls) => {
                let mut both = rustls::Stream::new(&mut **tls, &mut self.stream);
                both.write_all(bytes)?;
                both.flush()
            }
        }
    }

    /// Says no more, or hears no more.
    pub(crate) fn shut(&self, how: std::net::Shutdown) {
        self.stream.shutdown(how).expect("it is connected");
    }

    /// Sends a byte that is out of the stream's order.
    pub(crate) fn urgent(&self, byte: u8) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.send_out_of_band(&[byte]).expect("the kernel takes a byte");
    }

    /// Ends with a reset instead of a goodbye.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("the socket is open");
    }

    /// Reads more; 0 at the end.
    fn more(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 << 10];
        let count = loop {
            let read = match &mut self.tls {
                None => self.stream.read(&mut chunk),
                Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).read(&mut chunk),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                count => break count?,
            }
        };
        self.bytes.extend_from_slice(&chunk[..count]);
        Ok(count)
    }

    pub(crate) fn reply(&mut self) -> Reply {
        self.try_reply().expect("a whole answer comes")
    }

    pub(crate) fn try_reply(&mut self) -> io::Result<Reply> {
        let head_len = loop {
            if let Some(at) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.must_read()?;
        };
        let head = String::from_utf8_lossy(&self.bytes[..head_len]).to_ascii_lowercase();
        self.bytes.drain(..head_len);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(head.clone()))?;
        if status == 101 || status == 100 {
            return Ok(Reply { status, head, body: Vec::new() });
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: Option<usize> = length.and_then(|length| length.trim().parse().ok());
        let body = if let Some(length) = length {
            while self.bytes.len() < length {
                self.must_read()?;
            }
            self.bytes.drain(..length).collect()
        } else if head.contains("transfer-encoding: chunked") {
            self.chunks()?
        } else {
            while self.more()? > 0 {}
            std::mem::take(&mut self.bytes)
        };
        Ok(Reply { status, head, body })
    }

    fn must_read(&mut self) -> io::Result<()> {
        if self.more()? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the answer"));
        }
        Ok(())
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let Some(end) = self.bytes.windows(2).position(|two| two == b"\r\n") else {
                self.must_read()?;
                continue;
            };
            let size = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            while self.bytes.len() < end + 2 + size + 2 {
                self.must_read()?;
            }
            body.extend_from_slice(&self.bytes[end + 2..end + 2 + size]);
            self.bytes.drain(..end + size + 4);
            if size == 0 {
                return Ok(body);
            }
        }
    }

    /// Whether the server closes without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.more() {
            Ok(count) => count == 0 && self.bytes.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// The next frame as it came: its first byte and its payload.
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            let mut bytes = self.bytes.clone();
            let first = bytes.first().copied().unwrap_or_default();
            // The library's reader takes no frame that says it is compressed.
            if let Some(byte) = bytes.first_mut() {
                *byte &= !PACKED;
            }
            if let Some(frame) = ws::read_server_frame(&bytes).expect("a frame") {
                self.bytes.drain(..frame.consumed);
                return (first, frame.payload.to_vec());
            }
            self.must_read().expect("a whole frame comes");
        }
    }

    /// The next message of a WebSocket; pings of the frame layer are not used by this server.
    pub(crate) fn heard(&mut self) -> Heard {
        loop {
            let frame = ws::read_server_frame(&self.bytes).expect("the server's frames are legal");
            if let Some(frame) = frame {
                let (kind, payload, used) = (frame.kind, frame.payload.to_vec(), frame.consumed);
                self.bytes.drain(..used);
                return match kind {
                    Kind::Text => Heard::Text(String::from_utf8(payload).expect("text is UTF-8")),
                    Kind::Binary => Heard::Binary(payload),
                    Kind::Close => {
                        Heard::Closed(payload.first_chunk().map(|code| u16::from_be_bytes(*code)))
                    }
                    other => panic!("{other:?} from a server that sends none"),
                };
            }
            match self.more() {
                Ok(0) => return Heard::Closed(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Heard::Closed(None);
                }
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }
}

pub(crate) fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

pub(crate) fn post(target: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// One request on a connection of its own.
pub(crate) fn fetch(address: SocketAddr, request: &[u8]) -> Reply {
    let mut wire = Wire::connect(address);
    wire.send(request);
    wire.reply()
}

/// A WebSocket handshake, with more header lines or none.
pub(crate) fn upgrade(target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

/// A frame of a client.
pub(crate) fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ws::write_client_frame(&mut out, kind, true, MASK, payload);
    out
}

pub(crate) fn core_of(sid: &str) -> CoreId {
    Id20::parse(sid).expect("a session id").core()
}

/// A Socket.IO client on a WebSocket.
pub(crate) struct Ws {
    pub(crate) wire: Wire,
    /// Of its Engine.IO session; empty after an upgrade.
    pub(crate) sid: String,
    acks: u64,
    ahead: VecDeque<String>,
}

impl Ws {
    /// Opens a session and joins nothing.
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::open_on(Wire::connect(address))
    }

    pub(crate) fn open_on(wire: Wire) -> Self {
        let mut client = Self::upgraded(wire, "/socket.io/?EIO=4&transport=websocket");
        let open = client.message();
        let open: Value = serde_json::from_str(open.strip_prefix('0').expect("an open packet"))
            .expect("an open packet holds JSON");
        client.sid = open["sid"].as_str().expect("it names the session").to_owned();
        client
    }

    /// A WebSocket, whatever is spoken on it.
    pub(crate) fn upgraded(mut wire: Wire, target: &str) -> Self {
        wire.send(upgrade(target, "").as_bytes());
        Self::switched(wire)
    }

    fn switched(mut wire: Wire) -> Self {
        let reply = wire.reply();
        assert_eq!(reply.status, 101, "{}", reply.head);
        Self { wire, sid: String::new(), acks: 0, ahead: VecDeque::new() }
    }

    /// The same, where a request of one's own was sent.
    pub(crate) fn answered(wire: Wire) -> Self {
        let mut client = Self::switched(wire);
        assert!(client.message().starts_with('0'), "an open packet");
        client
    }

    /// Opens a session and joins `/`.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut client = Self::open(address);
        client.join("/", "");
        client
    }

    /// The same, on the worker wanted: the kernel deals connections out by chance.
    pub(crate) fn connect_on(address: SocketAddr, core: CoreId) -> Self {
        for _ in 0..200 {
            let mut client = Self::open(address);
            if core_of(&client.sid) == core {
                client.join("/", "");
                return client;
            }
        }
        panic!("200 connections and none of them on core {}", core.0)
    }

    /// Asks to join a namespace and returns the answer; `auth` is JSON or empty.
    pub(crate) fn join(&mut self, namespace: &str, auth: &str) -> String {
        let name = if namespace == "/" { String::new() } else { format!("{namespace},") };
        self.text(&format!("40{name}{auth}"));
        self.packet()
    }

    /// Its socket's id in `/`.
    pub(crate) fn socket_id(&mut self) -> String {
        let answer = self.ask(r#"["whoami"]"#);
        answer[0].as_str().expect("an id").to_owned()
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.wire.send(&frame(Kind::Text, text.as_bytes()));
    }

    /// The next text, whatever it is.
    pub(crate) fn message(&mut self) -> String {
        match self.wire.heard() {
            Heard::Text(text) => text,
            other => panic!("a text was awaited: {other:?}"),
        }
    }

    /// The next message or the end, after pings, which are answered.
    pub(crate) fn heard(&mut self) -> Heard {
        if let Some(text) = self.ahead.pop_front() {
            return Heard::Text(text);
        }
        loop {
            match self.wire.heard() {
                Heard::Text(ping) if ping == "2" => self.text("3"),
                other => return other,
            }
        }
    }

    /// The next packet that is a text.
    pub(crate) fn packet(&mut self) -> String {
        match self.heard() {
            Heard::Text(text) => text,
            other => panic!("a packet was awaited: {other:?}"),
        }
    }

    /// The arguments of the next packet, which must be this event in `/`.
    pub(crate) fn event(&mut self, name: &str) -> Vec<Value> {
        let packet = self.packet();
        event_in(&packet, name).unwrap_or_else(|| panic!("{name} was awaited: {packet}"))
    }

    /// Emits an event (JSON with its brackets) and returns the arguments of its ack. What else
    /// arrives is kept for later.
    pub(crate) fn ask(&mut self, event: &str) -> Value {
        let id = self.acks;
        self.acks += 1;
        self.text(&format!("42{id}{event}"));
        let wanted = format!("43{id}[");
        let mut kept = std::mem::take(&mut self.ahead);
        loop {
            let packet = self.packet();
            if packet.starts_with(&wanted) {
                kept.append(&mut self.ahead);
                self.ahead = kept;
                let args = packet.get(wanted.len() - 1..).expect("it starts so");
                return serde_json::from_str(args).expect("an ack holds JSON");
            }
            kept.push_back(packet);
        }
    }

    /// Reads to the end, and returns the code of the close frame if there was one.
    pub(crate) fn ending(&mut self) -> Option<u16> {
        loop {
            if let Heard::Closed(code) = self.heard() {
                return code;
            }
        }
    }

    /// Whether it is served still.
    pub(crate) fn is_well(&mut self) -> bool {
        self.ask(r#"["echo",7]"#) == serde_json::json!([7])
    }
}

/// The arguments of a packet, if it is this event in `/`.
pub(crate) fn event_in(packet: &str, name: &str) -> Option<Vec<Value>> {
    let mut items: Vec<Value> = serde_json::from_str(packet.strip_prefix("42")?).ok()?;
    (items.first()?.as_str()? == name).then(|| items.split_off(1))
}
