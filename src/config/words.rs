//! Options whose values are words of a closed list.

use super::shapes::Choice;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $( $(#[$doc:meta])+ $variant:ident = $word:literal, )+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[$doc])+ $variant, )+ }

        impl Choice for $name {
            const WORDS: &'static [(&'static str, Self)] = &[ $( ($word, Self::$variant), )+ ];
        }
    };
}

words! {
    /// A way of carrying a session.
    Transport {
        /// HTTP long-polling.
        Polling = "polling",
        /// WebSocket.
        Websocket = "websocket",
    }
}

words! {
    /// What becomes of a client event that the gateway does not know.
    UnknownEvent {
        /// Counted and refused.
        Drop = "drop",
        /// Handed to the back end.
        Route = "route",
    }
}

words! {
    /// What says whose a connection is.
    AuthMode {
        /// The client itself: for development.
        Trusted = "trusted",
        /// A signed token.
        Jwt = "jwt",
        /// A token that an identity provider is asked about.
        Introspection = "introspection",
        /// A webhook that is asked.
        Webhook = "webhook",
    }
}

words! {
    /// What becomes of tokens while the identity provider cannot be reached.
    IdpError {
        /// New ones are refused once what is known of the provider is old.
        Reject = "reject",
        /// What is known goes on being used.
        AllowCached = "allow_cached",
    }
}

words! {
    /// How workers wait for the kernel.
    Driver {
        /// io_uring where the kernel permits it, else epoll.
        Auto = "auto",
        /// io_uring, or no start.
        Uring = "uring",
        /// epoll.
        Epoll = "epoll",
    }
}

words! {
    /// The least important lines that are still written.
    LogLevel {
        /// Only what needs somebody.
        Error = "error",
        /// What may soon need somebody.
        Warn = "warn",
        /// What an operator wants to have seen.
        Info = "info",
        /// What helps to find a mistake.
        Debug = "debug",
    }
}

words! {
    /// The form of log lines.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

words! {
    /// What is done about exchanges and queues at the broker.
    RabbitDeclare {
        /// They are made where they are missing.
        Active = "active",
        /// They are looked for, and missing ones are an error.
        Passive = "passive",
        /// Nothing: whoever runs the broker has seen to it.
        None = "none",
    }
}

words! {
    /// What becomes of an event for which the spool has no room.
    SpoolFull {
        /// It is refused, and its client told so.
        Reject = "reject",
        /// The oldest make room.
        DropOldest = "drop_oldest",
        /// It is thrown away.
        DropNewest = "drop_newest",
    }
}

words! {
    /// The header in which proxies say who the client is.
    ForwardedHeader {
        /// `X-Forwarded-For`, and `X-Forwarded-Proto` beside it.
        XForwardedFor = "x-forwarded-for",
        /// `Forwarded`, as RFC 7239 has it.
        Forwarded = "forwarded",
    }
}
