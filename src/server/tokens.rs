//! Keys of the configuration, read and parsed once, before anything starts.

use super::{StartError, read_text};
use crate::auth::{Key, KeySet, TokenRules};
use crate::config::{AuthMode, ConfigError, JwtMaterial, Options, Tables};
use crate::gateway::TokenGate;

/// The keys that tokens may be signed with. Reads the files that the configuration names.
///
/// # Errors
/// A file cannot be read, or what stands there is no such key.
pub fn token_keys(tables: &Tables) -> Result<KeySet, StartError> {
    let mut keys = Vec::new();
    for (at, row) in tables.jwt_keys.iter().enumerate() {
        let kid = row.kid.as_deref();
        let key = match &row.material {
            JwtMaterial::Secret(secret) => Key::secret(kid, &row.algs, secret.expose().as_bytes()),
            JwtMaterial::Public(text) if text.contains("-----BEGIN") => {
                Key::public_pem(kid, &row.algs, text)
            }
            JwtMaterial::Public(path) => Key::public_pem(kid, &row.algs, &read_text(path)?),
        };
        keys.push(key.map_err(|fault| {
            StartError::Config(ConfigError { line: format!("[[jwt_keys]] {}: {fault}", at + 1) })
        })?);
    }
    Ok(KeySet::new(keys))
}

/// How tokens are verified, if they are.
pub(super) fn gate(options: &Options, keys: &KeySet) -> Option<TokenGate> {
    let is_opaque = match options.auth_mode {
        AuthMode::Jwt => false,
        AuthMode::Introspection => true,
        AuthMode::Trusted | AuthMode::Webhook => return None,
    };
    let rules = TokenRules::from(options);
    Some(TokenGate { keys: keys.clone(), rules, is_opaque, in_query: options.token_in_query })
}
