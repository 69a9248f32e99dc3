//! Lists of tables, which only the file can hold: API keys, rules, routes, hooks.

mod events;
mod hooks;
mod jwt_keys;
mod key;
mod keys;
mod routes;
mod row;
mod rules;

use super::{ConfigError, quoted};
use row::rows;
use toml::Table;

pub use events::{EventRule, MEMBERS_MAX, MemberKind, MemberRule};
pub use hooks::{Hook, HookEvent, OnError};
pub use jwt_keys::{JwtAlg, JwtFamily, JwtKey, JwtMaterial};
pub use key::{KeyTemplate, Slot};
pub use keys::{ApiKey, Scope};
pub use routes::{Destination, Route, RouteAck};
pub(super) use row::written;
pub use rules::{Rule, Verb, glob_match, is_reserved_room};

/// What the file says beside the options.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// Keys that REST accepts. [`load()`](super::load()) adds the one of the option `api_key`.
    pub api_keys: Vec<ApiKey>,
    /// Which users may do what in which rooms. Without any, nobody may.
    pub rules: Vec<Rule>,
    /// Which client events go to back ends; the first that takes one has it.
    pub routes: Vec<Route>,
    /// What events of the operator's own must be like; the first that is about one counts.
    pub events: Vec<EventRule>,
    /// HTTP servers that are asked and told.
    pub hooks: Vec<Hook>,
    /// Keys that tokens are signed with. [`load()`](super::load()) adds the one of the option
    /// `jwt_secret`.
    pub jwt_keys: Vec<JwtKey>,
}

const TABLES: [&str; 6] = ["api_keys", "rules", "routes", "events", "hooks", "jwt_keys"];

/// Whether `key` of the file is one of the tables read here.
pub(super) fn is_table(key: &str) -> bool {
    TABLES.contains(&key)
}

/// The names, for suggestions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.into_iter()
}

pub(super) fn read(file: &Table) -> Result<Tables, ConfigError> {
    let mut tables = Tables::default();
    for row in rows(file, "api_keys")? {
        let key = ApiKey::read(&row)?;
        if tables.api_keys.iter().any(|other| other.name == key.name) {
            return Err(row.refused("name", &quoted(&key.name), "a name that no other key has"));
        }
        if tables.api_keys.iter().any(|other| other.key == key.key) {
            return Err(row.refused("key", "***", "a key that stands there only once"));
        }
        tables.api_keys.push(key);
    }
    for row in rows(file, "rules")? {
        tables.rules.push(Rule::read(&row)?);
    }
    for row in rows(file, "routes")? {
        tables.routes.push(Route::read(&row)?);
    }
    for row in rows(file, "events")? {
        tables.events.push(EventRule::read(&row)?);
    }
    for row in rows(file, "hooks")? {
        let hook = Hook::read(&row)?;
        if tables.hooks.iter().any(|other| other.name == hook.name) {
            return Err(row.refused("name", &quoted(&hook.name), "a name that no other hook has"));
        }
        tables.hooks.push(hook);
    }
    for row in rows(file, "jwt_keys")? {
        let key = JwtKey::read(&row)?;
        let known = |other: &JwtKey| other.kid.is_some() && other.kid == key.kid;
        if tables.jwt_keys.iter().any(known) {
            let kid = quoted(key.kid.as_deref().unwrap_or_default());
            return Err(row.refused("kid", &kid, "a name that no other key has"));
        }
        tables.jwt_keys.push(key);
    }
    Ok(tables)
}
