//! # auth: tokens and what they permit
//!
//! A token goes in with a set of keys and the time; claims or a broken rule come out. The same for
//! answers of identity providers, and for the documents in which they publish their keys.
//!
//! Owns: nothing at run time but the set of what was revoked, which its owner keeps.
//! Imports: `config` for algorithms and patterns, `base`; ring for the mathematics. No clock, no
//! network, no task.
//!
//! Holds at all times:
//! - a token is judged in one order: size, algorithm and key, signature, claims, time, audience,
//!   issuer; nothing that it says is believed before its signature is;
//! - a key is used with the algorithms it was listed with, and there is no algorithm `none`;
//! - whatever the bytes are, nothing panics.
//!
//! Read first: `jwt.rs` (the order), then `claims.rs`.

mod claims;
mod der;
mod error;
mod grants;
mod jwks;
mod jwt;
mod key;
mod provider;
mod revoked;
mod sign;
#[cfg(test)]
mod tests;

pub use claims::Claims;
pub use der::pem;
pub use error::TokenError;
pub use grants::{Deed, Grants};
pub use jwks::{JWKS_BYTES_MAX, jwks};
pub use jwt::{Header, TOKEN_BYTES_MAX, TokenRules, header, payload, verify};
pub use key::{Key, KeyFault, KeySet};
pub use provider::{ANSWER_BYTES_MAX, Discovered, Introspected, discovery, introspection};
pub use revoked::{RevocationsFull, Revoke, Revoked};
pub use sign::{SignFault, Signer, TokenPlan};
