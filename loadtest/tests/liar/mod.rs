//! A server of one connection at a time that answers echoes, and lies about the third of each
//! round of eight.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use corewire_loadtest::wire::frame;

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Does not answer.
    Lose,
    /// Answers twice.
    Double,
    /// Answers with other bytes.
    Alter,
    /// Answers after the next one.
    Swap,
}

/// Serves on a thread that ends with the process. Returns its address.
pub(crate) fn serve(lie: Lie) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes ends its connection, not the server.
            let _ended = talk(stream, lie);
        }
    });
    format!("http://{address}")
}

fn text(stream: &mut TcpStream, payload: &[u8]) -> std::io::Result<()> {
    let mut bytes = vec![0x81];
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => bytes.push(short),
        _ => {
            bytes.push(126);
            let length = u16::try_from(payload.len()).expect("answers are small");
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    stream.write_all(&bytes)
}

fn talk(mut stream: TcpStream, lie: Lie) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4_096];
    while !bytes.ends_with(b"\r\n\r\n") {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
    bytes.clear();
    // The client's key is always that of RFC 6455's example.
    stream.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    )?;
    text(&mut stream, b"0{\"sid\":\"liar\",\"upgrades\":[],\"pingInterval\":25000}")?;
    let mut asked = 0;
    let mut held: Option<Vec<u8>> = None;
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&chunk[..count]);
        while let Some(payload) = take(&mut bytes) {
            if payload.starts_with(b"40") {
                text(&mut stream, b"40{\"sid\":\"x\"}")?;
                continue;
            }
            let Some(answer) = answer(&payload) else { continue };
            asked += 1;
            let lies = asked % 8 == 3;
            match lie {
                Lie::Lose if lies => {}
                Lie::Double if lies => {
                    text(&mut stream, &answer)?;
                    text(&mut stream, &answer)?;
                }
                Lie::Alter if lies => {
                    let mut other = answer;
                    let at = other.len() - 5;
                    other[at] ^= 1;
                    text(&mut stream, &other)?;
                }
                Lie::Swap if lies => held = Some(answer),
                _ => {
                    text(&mut stream, &answer)?;
                    if let Some(late) = held.take() {
                        text(&mut stream, &late)?;
                    }
                }
            }
        }
    }
}

/// Takes a masked frame off the front.
fn take(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    // The reader of the client's side wants no mask; it is taken off first.
    let short = bytes.get(1)? & 0x7f;
    let header = if short == 126 { 4 } else { 2 };
    let mut plain = bytes.clone();
    plain[1] &= 0x7f;
    let mask: [u8; 4] = plain.get(header..header + 4)?.try_into().ok()?;
    plain.drain(header..header + 4);
    let frame = frame::read(&plain, 0).expect("the client's frames are legal")?;
    let payload = plain[frame.payload.clone()].iter();
    let payload = payload.zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    bytes.drain(..frame.payload.end + 4);
    Some(payload)
}

/// `42ID["echo",X]` as `43ID[X]`.
fn answer(payload: &[u8]) -> Option<Vec<u8>> {
    let rest = payload.strip_prefix(b"42")?;
    let bracket = rest.iter().position(|byte| *byte == b'[')?;
    let argument = rest[bracket..].strip_prefix(b"[\"echo\",")?;
    let mut answer = b"43".to_vec();
    answer.extend_from_slice(&rest[..bracket]);
    answer.push(b'[');
    answer.extend_from_slice(argument);
    Some(answer)
}
