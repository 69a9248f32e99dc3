//! `rust_socketio` against the conformance program, over every transport it has:
//! `corewire-rust-client URL`. One line a check; fails with the first that does not pass.

use rust_socketio::client::Client;
use rust_socketio::{ClientBuilder, Payload, TransportType};
use serde_json::{Value, json};
use std::error::Error;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(8);

type Outcome = Result<(), Box<dyn Error>>;

/// A connected client and what it hears.
struct Session {
    client: Client,
    back: Receiver<Payload>,
    sequence: Receiver<Payload>,
}

fn hear(to: Sender<Payload>) -> impl FnMut(Payload, rust_socketio::RawClient) + Send + Sync {
    // A closed receiver only means that the check is over.
    move |payload, _| drop(to.send(payload))
}

impl Session {
    /// The client may speak only after the server let it in, which the event `auth` tells.
    fn open(url: &str, transport: TransportType, auth: &Value) -> Result<Self, Box<dyn Error>> {
        let (to_auth, heard) = channel();
        let (to_back, back) = channel();
        let (to_sequence, sequence) = channel();
        let client = ClientBuilder::new(url)
            .transport_type(transport)
            .reconnect(false)
            .auth(auth.clone())
            .on("auth", hear(to_auth))
            .on("message-back", hear(to_back))
            .on("seq", hear(to_sequence))
            .connect()?;
        expect(heard.recv_timeout(WAIT)?, Payload::Text(vec![auth.clone()]))?;
        Ok(Self { client, back, sequence })
    }

    fn ask(&self, event: &str, data: impl Into<Payload>) -> Result<Payload, Box<dyn Error>> {
        let (to_answer, answer) = channel();
        self.client.emit_with_ack(event, data, WAIT, hear(to_answer))?;
        Ok(answer.recv_timeout(WAIT)?)
    }
}

fn expect(got: Payload, expected: Payload) -> Outcome {
    if got == expected {
        return Ok(());
    }
    Err(format!("got {got:?}, expected {expected:?}").into())
}

fn text(session: &Session) -> Outcome {
    for value in [json!("hello"), json!({"a": [1, 2.5, null], "ж": "てすと 👩‍🚀"})] {
        session.client.emit("message", value.clone())?;
        expect(session.back.recv_timeout(WAIT)?, value.into())?;
    }
    Ok(())
}

fn acknowledgement(session: &Session) -> Outcome {
    let value = json!({"n": 1});
    // The library gives the whole list of an acknowledgement as one value.
    expect(session.ask("message-with-ack", value.clone())?, json!([value]).into())
}

fn binary(session: &Session) -> Outcome {
    // The library cuts what it receives at 0x1e, the separator of polling payloads, over WebSocket
    // too.
    let bytes: Vec<u8> = (0..=255).filter(|byte| *byte != 0x1e).collect();
    session.client.emit("message", bytes.clone())?;
    expect(session.back.recv_timeout(WAIT)?, bytes.into())
}

fn room(session: &Session) -> Outcome {
    session.ask("join", "r")?;
    let emit = vec![json!("r"), json!("message-back"), json!("to the room")];
    session.ask("room-emit", emit)?;
    expect(session.back.recv_timeout(WAIT)?, "to the room".into())
}

fn burst(session: &Session) -> Outcome {
    session.client.emit("burst", vec![json!(200), json!(10)])?;
    for number in 0..200 {
        let expected = vec![json!(number), json!("xxxxxxxxxx")];
        expect(session.sequence.recv_timeout(WAIT)?, expected.into())?;
    }
    Ok(())
}

fn main() -> Outcome {
    let url = std::env::args().nth(1).ok_or("usage: corewire-rust-client URL")?;
    let checks: [(&str, fn(&Session) -> Outcome); 5] = [
        ("text", text),
        ("acknowledgement", acknowledgement),
        ("binary", binary),
        ("room", room),
        ("burst", burst),
    ];
    for (name, transport) in [
        ("polling", TransportType::Polling),
        ("websocket", TransportType::Websocket),
        ("upgrade", TransportType::WebsocketUpgrade),
        ("any", TransportType::Any),
    ] {
        let session = Session::open(&url, transport, &json!({"token": name}))
            .map_err(|error| format!("{name}: connecting: {error}"))?;
        for (check, run) in checks {
            run(&session).map_err(|error| format!("{name}: {check}: {error}"))?;
            println!("ok      rust_socketio, {name}: {check}");
        }
        session.client.disconnect()?;
    }
    Ok(())
}
