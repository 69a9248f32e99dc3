//! Why the gateway does not do what was asked, for clients and for REST alike.

use std::borrow::Cow;

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::backend::RouteFailure;
use super::schema::Fault;
use crate::auth::TokenError;

/// What is wrong with one member of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberError {
    /// Its name, `to.users[3]` if it is inside another; `payload` for the whole.
    pub member: Cow<'static, str>,
    /// What is wrong with it.
    pub fault: Fault,
}

impl MemberError {
    /// What is wrong with it, for a person: `must be 1 to 256 bytes`.
    #[must_use]
    pub fn message(&self) -> String {
        self.fault.to_string()
    }
}

impl Serialize for MemberError {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut object = out.serialize_struct("MemberError", 2)?;
        object.serialize_field("member", &self.member)?;
        object.serialize_field("message", &self.message())?;
        object.end()
    }
}

/// Why a verb was not done. One variant a broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerbError {
    /// Members of the payload are not what they must be.
    Invalid(Vec<MemberError>),
    /// No rule permits it, or it can never be permitted.
    Forbidden,
    /// The gateway does not know the event.
    UnknownEvent,
    /// The user has no socket.
    UserNotConnected,
    /// As many rooms as may be, of the server or of the socket.
    LimitReached,
    /// The namespace is not served.
    NamespaceNotFound,
    /// As many questions to clients are under way as may be.
    TooManyPending,
    /// Too few clients answered in time.
    QuorumMissed,
    /// Another core is so far behind that nothing more is taken on.
    Overloaded,
    /// Too many of them in too short a time; milliseconds until there may be more.
    RateLimited(u64),
    /// The arguments are longer than so many bytes.
    PayloadTooLarge(usize),
    /// The user has as many sockets as may be.
    TooManyConnections,
    /// The token that was to replace another is not taken.
    Token(TokenError),
    /// The event did not reach the back end that its route names.
    Route(RouteFailure),
}

impl VerbError {
    /// One member is wrong.
    pub fn member(member: &'static str, fault: Fault) -> Self {
        Self::Invalid(vec![MemberError { member: Cow::Borrowed(member), fault }])
    }

    /// For a program.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Invalid(_) => "VALIDATION_FAILED",
            Self::Forbidden => "FORBIDDEN",
            Self::UnknownEvent => "UNKNOWN_EVENT",
            Self::UserNotConnected => "USER_NOT_CONNECTED",
            Self::LimitReached => "LIMIT_REACHED",
            Self::NamespaceNotFound => "NAMESPACE_NOT_FOUND",
            Self::TooManyPending => "TOO_MANY_PENDING",
            Self::QuorumMissed => "QUORUM_MISSED",
            Self::Overloaded => "OVERLOADED",
            Self::RateLimited(_) => "RATE_LIMITED",
            Self::PayloadTooLarge(_) => "PAYLOAD_TOO_LARGE",
            Self::TooManyConnections => "TOO_MANY_CONNECTIONS",
            Self::Token(error) => error.code(),
            Self::Route(failure) => failure.code(),
        }
    }

    /// For HTTP.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) => 422,
            Self::Forbidden => 403,
            Self::Token(_) => 401,
            Self::UnknownEvent | Self::UserNotConnected | Self::NamespaceNotFound => 404,
            Self::LimitReached
            | Self::TooManyPending
            | Self::RateLimited(_)
            | Self::TooManyConnections => 429,
            Self::PayloadTooLarge(_) => 413,
            Self::QuorumMissed => 504,
            Self::Overloaded | Self::Route(_) => 503,
        }
    }

    /// For a person.
    #[must_use]
    pub fn message(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Invalid(members) => {
                let parts = members.iter().map(|one| format!("{} {}", one.member, one.fault));
                return Cow::Owned(parts.collect::<Vec<_>>().join("; "));
            }
            Self::Forbidden => "this is not permitted",
            Self::UnknownEvent => "no such event is known",
            Self::UserNotConnected => "the user is not connected",
            Self::LimitReached => "there are as many rooms as there may be",
            Self::NamespaceNotFound => "the namespace is not served",
            Self::TooManyPending => "as many questions are under way as may be",
            Self::QuorumMissed => "too few clients answered in time",
            Self::Overloaded => "the server is overloaded",
            Self::RateLimited(_) => "too many in too short a time",
            Self::PayloadTooLarge(max) => {
                return Cow::Owned(format!("the arguments must be at most {max} bytes"));
            }
            Self::TooManyConnections => "the user has as many connections as may be",
            Self::Token(error) => error.message(),
            Self::Route(failure) => failure.message(),
        })
    }

    /// What is wrong with which member; nothing but for [`VerbError::Invalid`].
    #[must_use]
    pub fn details(&self) -> &[MemberError] {
        match self {
            Self::Invalid(members) => members,
            _ => &[],
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::LimitReached
            | Self::TooManyPending
            | Self::QuorumMissed
            | Self::Overloaded
            | Self::RateLimited(_)
            | Self::TooManyConnections => true,
            Self::Token(error) => error.retryable(),
            Self::Route(failure) => failure.retryable(),
            _ => false,
        }
    }

    /// How long to wait before that, if it can be said.
    #[must_use]
    pub const fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Overloaded | Self::TooManyPending => Some(1_000),
            Self::RateLimited(wait_ms) => Some(*wait_ms),
            Self::Route(failure) => failure.retry_after_ms(),
            _ => None,
        }
    }
}

/// The answer of a verb; it may be called on any core, once the last answer it needs is there.
pub type Done<T> = Box<dyn FnOnce(Result<T, VerbError>) + Send>;
