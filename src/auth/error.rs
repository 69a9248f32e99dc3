//! Why a token does not let its bearer in. One variant a broken rule.

macro_rules! errors {
    ($( $(#[doc = $doc:literal])+ $name:ident: $code:literal, $message:literal, $again:literal; )+) => {
        /// Why a token does not let its bearer in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum TokenError { $( $(#[doc = $doc])+ $name, )+ }

        impl TokenError {
            /// All of them, in the order in which they are looked for.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )+ ];

            /// For a program.
            #[must_use]
            pub const fn code(self) -> &'static str { match self { $( Self::$name => $code, )+ } }

            /// For a person. Holds nothing of the token.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $( Self::$name => $message, )+ }
            }

            /// Whether the same token may be taken later.
            #[must_use]
            pub const fn retryable(self) -> bool { match self { $( Self::$name => $again, )+ } }
        }
    };
}

errors! {
    /// There is none.
    Missing: "TOKEN_MISSING", "a token is required", false;
    /// It is longer than 8 KiB.
    TooLarge: "TOKEN_TOO_LARGE", "the token is longer than 8 KiB", false;
    /// It is no JWT.
    Malformed: "TOKEN_MALFORMED", "the token is not a signed JWT", false;
    /// Its algorithm is unknown, or is not one that its key may be used with.
    AlgorithmNotAllowed: "TOKEN_ALG_NOT_ALLOWED", "the token's algorithm is not allowed", false;
    /// No key is known that it can have been signed with.
    UnknownKey: "TOKEN_UNKNOWN_KEY", "no key is known for this token", false;
    /// No such key has signed it.
    BadSignature: "TOKEN_BAD_SIGNATURE", "the token's signature is wrong", false;
    /// The identity provider says that it is not, or no longer, one of its tokens.
    Inactive: "TOKEN_INACTIVE", "the identity provider does not accept the token", false;
    /// What it says is not written as it must be.
    BadClaims: "TOKEN_BAD_CLAIMS", "the token's claims are not what they must be", false;
    /// Its time is over.
    Expired: "TOKEN_EXPIRED", "the token has expired", false;
    /// Its time has not come.
    NotYetValid: "TOKEN_NOT_YET_VALID", "the token is not valid yet", true;
    /// It was issued for somebody else to take.
    WrongAudience: "TOKEN_WRONG_AUDIENCE", "the token is not meant for this service", false;
    /// It was issued by somebody whose tokens are not taken.
    WrongIssuer: "TOKEN_WRONG_ISSUER", "the token's issuer is not accepted", false;
    /// It was revoked.
    Revoked: "TOKEN_REVOKED", "the token has been revoked", false;
    /// The client says that it is somebody else than its token does.
    IdentityMismatch: "IDENTITY_MISMATCH", "userId or sessionId contradicts the token", false;
    /// It does not permit this namespace.
    NamespaceNotGranted: "NAMESPACE_NOT_GRANTED", "the token does not permit this namespace", false;
    /// Nobody can be asked about it now.
    Unavailable: "AUTH_UNAVAILABLE", "the token cannot be verified now", true;
}
