//! An event as its handler sees it.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::socket::Socket;
use crate::shard::AckId;
use crate::socketio::{self, ArgsError};

/// An event, borrowed from the bytes it came in.
pub struct Event<'a> {
    pub(super) socket: Socket,
    pub(super) name: &'a str,
    pub(super) args: &'a str,
    pub(super) attachments: &'a [Vec<u8>],
    pub(super) ack: Option<AckId>,
}

impl<'a> Event<'a> {
    /// Who sent it.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Its arguments as they came: JSON without the brackets, `1,{"a":2}` for instance. Valid by
    /// JavaScript's grammar, so it may be relayed as it is.
    #[must_use]
    pub fn raw_args(&self) -> &'a str {
        self.args
    }

    /// Its arguments read as a tuple: `let (room, size): (String, u32) = event.args()?`.
    ///
    /// # Errors
    /// They are other ones.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        socketio::from_args(self.args)
    }

    /// Its binary attachments, to which placeholders in the arguments refer.
    #[must_use]
    pub fn attachments(&self) -> &'a [Vec<u8>] {
        self.attachments
    }

    /// Whether the client wants an ack.
    #[must_use]
    pub fn wants_ack(&self) -> bool {
        self.ack.is_some()
    }

    /// The ack to send; it does nothing if the client wants none.
    #[must_use]
    pub fn ack(&self) -> Ack {
        Ack { socket: self.socket.clone(), id: self.ack }
    }

    /// A copy that outlives the handler.
    #[must_use]
    pub fn to_owned_event(&self) -> OwnedEvent {
        OwnedEvent {
            socket: self.socket.clone(),
            name: self.name.to_owned(),
            args: self.args.to_owned(),
            attachments: self.attachments.to_vec(),
            ack: self.ack,
        }
    }
}

/// An event that an async handler owns.
pub struct OwnedEvent {
    /// Who sent it.
    pub socket: Socket,
    /// Its name.
    pub name: String,
    /// Its arguments, raw, as in [`Event::raw_args`].
    pub args: String,
    /// Its binary attachments.
    pub attachments: Vec<Vec<u8>>,
    ack: Option<AckId>,
}

impl OwnedEvent {
    /// Its arguments read as a tuple.
    ///
    /// # Errors
    /// They are other ones.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        socketio::from_args(&self.args)
    }

    /// The ack to send; it does nothing if the client wants none.
    #[must_use]
    pub fn ack(&self) -> Ack {
        Ack { socket: self.socket.clone(), id: self.ack }
    }
}

/// An answer that is owed. Sending it uses it up; dropping it leaves the client waiting.
#[derive(Clone)]
pub struct Ack {
    socket: Socket,
    id: Option<AckId>,
}

impl Ack {
    /// Whether the client waits for it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.id.is_some()
    }

    /// Sends a tuple, or a single value, as the arguments.
    pub fn send(self, args: &(impl Serialize + ?Sized)) {
        if self.id.is_some() {
            let args = socketio::to_args(args).unwrap_or_default();
            self.send_raw(&args, &[]);
        }
    }

    /// Sends arguments that are JSON already, without the brackets.
    pub fn send_raw(self, args: &str, attachments: &[Vec<u8>]) {
        if let Some(id) = self.id {
            let key = self.socket.key();
            self.socket.core().with(|shard| shard.send_ack(key, &id, args, attachments));
        }
    }
}

/// Arguments to send, as JSON without brackets.
pub(super) fn write_args(args: &(impl Serialize + ?Sized)) -> Cow<'static, str> {
    // What cannot be written (a map with keys that are no strings) is a mistake of the
    // application; it sends the event without arguments rather than not at all.
    socketio::to_args(args).map(Cow::Owned).unwrap_or_default()
}
