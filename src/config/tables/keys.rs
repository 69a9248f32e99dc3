//! `[[api_keys]]`: who may call REST, and what for.

use super::super::ConfigError;
use super::super::shapes::{KEY_ALLOWED, Secret, is_key, is_name};
use super::row::Row;

/// One API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Who has it, for the log.
    pub name: String,
    /// The key itself.
    pub key: Secret,
    /// What it opens.
    pub scopes: Vec<Scope>,
}

/// A part of REST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Messages and notifications to clients, rooms made, joined and left.
    Emit,
    /// Statistics, users, rooms.
    Read,
    /// What changes or ends the server's own work.
    Admin,
}

const SCOPES: &[(&str, Scope)] =
    &[("emit", Scope::Emit), ("read", Scope::Read), ("admin", Scope::Admin)];

impl ApiKey {
    /// The key of the option `api_key`: it opens everything.
    pub(in super::super) fn of_option(key: Secret) -> Self {
        let scopes = SCOPES.iter().map(|(_, scope)| *scope).collect();
        Self { name: "api_key".into(), key, scopes }
    }

    pub(super) fn read(row: &Row<'_>) -> Result<Self, ConfigError> {
        row.only(&["name", "key", "scopes"])?;
        let key = row.text("key", KEY_ALLOWED, is_key)?;
        Ok(Self {
            name: row.text("name", "1 to 256 bytes without control characters", is_name)?,
            key: Secret::new(key),
            scopes: row.words("scopes", SCOPES)?,
        })
    }
}
