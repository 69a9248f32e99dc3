//! Rules between options, and options whose feature is missing: the second, short table.

use super::options::{OPTIONS, Options, entry};
use super::shapes::Kind;
use super::tables::{Destination, Hook, HookEvent, Tables};
use super::words::{AuthMode, UnknownEvent};
use super::{ConfigError, quoted};
use core::net::SocketAddr;

/// One rule. The option is the one to change; `says` is its reason, to the operator.
struct Check {
    option: &'static str,
    broken: fn(&Options, &Tables) -> bool,
    says: &'static str,
}

const CHECKS: &[Check] = &[
    Check {
        option: "memory_hard_bytes",
        broken: |options, _| {
            let [soft, hard] = [options.memory_soft_bytes, options.memory_hard_bytes];
            soft > 0 && hard > 0 && hard < soft
        },
        says: "it is below memory_soft_bytes; new clients are refused before queues are let go",
    },
    Check {
        option: "unknown_event",
        broken: |options, tables| {
            options.unknown_event == UnknownEvent::Route && tables.routes.is_empty()
        },
        says: "no [[routes]] says where to; add one with event = \"*\"",
    },
    Check {
        option: "admin_listen",
        broken: |options, tables| {
            let keyed = options.api_key.is_some() || !tables.api_keys.is_empty();
            !keyed && !options.admin_listen.ip().to_canonical().is_loopback()
        },
        says: "without an API key only a loopback address is allowed; \
               set COREWIRE_API_KEY or [[api_keys]]",
    },
    // Both listeners share ports on purpose (one socket a worker), so the kernel would not tell.
    Check {
        option: "admin_listen",
        broken: |options, _| {
            let mut public = options.listen.iter().chain(&options.tls_listen);
            public.any(|public| overlap(*public, options.admin_listen))
        },
        says: "listen has that address too; give the two listeners different ports",
    },
    Check {
        option: "tls_listen",
        broken: |options, _| {
            let plain = |tls: &SocketAddr| options.listen.iter().any(|one| overlap(*one, *tls));
            options.tls_listen.iter().any(plain)
        },
        says: "listen has that address too; a port is plain or has TLS",
    },
    Check {
        option: "tls_listen",
        broken: |options, _| {
            !options.tls_listen.is_empty()
                && (options.tls_cert_file.is_empty() || options.tls_key_file.is_empty())
        },
        says: "tls_cert_file and tls_key_file are needed for it",
    },
    Check {
        option: "proxy_listen",
        broken: |options, _| {
            let known = |one| options.listen.contains(one) || options.tls_listen.contains(one);
            !options.proxy_listen.iter().all(known)
        },
        says: "allowed are addresses that listen or tls_listen has, written alike",
    },
    Check {
        option: "proxy_listen",
        broken: |options, _| !options.proxy_listen.is_empty() && options.trusted_proxies.is_empty(),
        says: "trusted_proxies is empty, so nobody may connect there; name the proxies",
    },
    Check {
        option: "workers",
        broken: |options, _| {
            !options.worker_cores.is_empty()
                && usize::from(options.workers) > options.worker_cores.len()
        },
        says: "more than the CPUs that worker_cores names; allowed is one worker each, or 0",
    },
    Check {
        option: "outbox_soft_bytes",
        broken: |options, _| options.outbox_soft_bytes > options.outbox_bytes_max,
        says: "more than outbox_bytes_max; volatile messages are to be dropped before a client is",
    },
    Check {
        option: "rabbitmq_url",
        broken: |options, tables| {
            let routed = tables.routes.iter().any(|route| route.to == Destination::Rabbitmq);
            options.rabbitmq_url.is_none() && routed
        },
        says: "a row of [[routes]] has to = \"rabbitmq\"; set COREWIRE_RABBITMQ_URL, or remove it",
    },
    Check {
        option: "rabbitmq_url",
        broken: |options, _| {
            options.rabbitmq_url.is_none() && (options.rabbitmq_required || options.rabbitmq_facts)
        },
        says: "rabbitmq_required and rabbitmq_facts need it; set COREWIRE_RABBITMQ_URL",
    },
    Check {
        option: "presence_events",
        broken: |options, _| options.presence_events && options.presence_rooms.is_empty(),
        says: "presence_rooms is empty, so nobody would hear of it; name a room there",
    },
];

/// Rules about tokens.
const TOKEN_CHECKS: &[Check] = &[
    Check {
        option: "auth_mode",
        broken: |options, tables| {
            let asks = |hook: &Hook| hook.events.contains(&HookEvent::Connect);
            options.auth_mode == AuthMode::Webhook && !tables.hooks.iter().any(asks)
        },
        says: "no row of [[hooks]] has the event connect; add one",
    },
    Check {
        option: "auth_mode",
        broken: |options, tables| {
            let keyed = options.jwt_secret.is_some() || !tables.jwt_keys.is_empty();
            let fetched = !options.jwks_url.is_empty() || !options.oidc_issuer.is_empty();
            options.auth_mode == AuthMode::Jwt && !keyed && !fetched
        },
        says: "no key is known to verify tokens with; set jwt_secret, jwks_url or oidc_issuer, \
               or add [[jwt_keys]]",
    },
    Check {
        option: "auth_mode",
        broken: |options, _| {
            let known = !options.introspection_url.is_empty() || !options.oidc_issuer.is_empty();
            options.auth_mode == AuthMode::Introspection && !known
        },
        says: "nobody is known to ask about tokens; set introspection_url or oidc_issuer",
    },
    Check {
        option: "jwks_url",
        broken: |options, _| !options.jwks_url.is_empty() && !options.oidc_issuer.is_empty(),
        says: "oidc_issuer says where its keys are; set one of the two",
    },
    Check {
        option: "jwt_secret",
        broken: |options, _| {
            options.jwt_secret.as_ref().is_some_and(|secret| secret.expose().len() < 32)
        },
        says: "shorter than HS256 demands; allowed are 32 to 256 visible ASCII characters",
    },
    Check {
        option: "introspection_client_secret",
        broken: |options, _| {
            options.introspection_client_secret.is_some()
                && options.introspection_client_id.is_empty()
        },
        says: "introspection_client_id is missing, whose secret it is",
    },
];

/// Checks every value and every rule between values. [`load()`](super::load()) has done so
/// already: this is for who fills in [`Options`] by hand.
///
/// # Errors
/// One line for the first rule that is broken.
pub fn check(options: &Options, tables: &Tables) -> Result<(), ConfigError> {
    for entry in OPTIONS.iter().filter(|entry| entry.kind() != Kind::Secret) {
        let items = entry.get(options);
        if !entry.set(&mut options.clone(), &items) {
            let value = shown(entry.kind(), &items);
            return Err(ConfigError::refused(entry.name, &value, &entry.allowed()));
        }
    }
    check_rules(options, tables, &|name| name.into())
}

/// `written` gives an option's name as the operator wrote it.
pub(super) fn check_rules(
    options: &Options,
    tables: &Tables,
    written: &dyn Fn(&'static str) -> String,
) -> Result<(), ConfigError> {
    let mut checks = CHECKS.iter().chain(TOKEN_CHECKS);
    if let Some(check) = checks.find(|check| (check.broken)(options, tables)) {
        let entry = entry(check.option).expect("a test compares both tables");
        let value = shown(entry.kind(), &entry.get(options));
        let key = written(entry.name);
        return Err(ConfigError::new(format!("{key} = {value}: {}", check.says)));
    }
    let rules = tables.rules.iter().map(|rule| &rule.namespace).enumerate();
    let routes = tables.routes.iter().map(|route| &route.namespace).enumerate();
    let hooks = tables.hooks.iter().enumerate();
    let hooks = hooks.flat_map(|(at, hook)| hook.namespaces.iter().map(move |name| (at, name)));
    let events = tables.events.iter().map(|rule| &rule.namespace).enumerate();
    let named = rules.map(|row| ("rules", row)).chain(routes.map(|row| ("routes", row)));
    let named = named.chain(events.map(|row| ("events", row)));
    let named = named.chain(hooks.map(|row| ("hooks", row)));
    for (table, (index, namespace)) in named {
        if namespace != "/" && !options.namespaces.contains(namespace) {
            return Err(ConfigError::refused(
                &format!("[[{table}]] {}: namespace", index + 1),
                &quoted(namespace),
                "/ or one of the namespaces that the option namespaces lists",
            ));
        }
    }
    check_hooks(tables)
}

/// A route to a hook finds one that takes it.
fn check_hooks(tables: &Tables) -> Result<(), ConfigError> {
    for (index, route) in tables.routes.iter().enumerate() {
        let Destination::Hook(name) = &route.to else { continue };
        let takes =
            |hook: &Hook| hook.name == *name && hook.hears(HookEvent::Event, &route.namespace);
        if !tables.hooks.iter().any(takes) {
            return Err(ConfigError::refused(
                &format!("[[routes]] {}: to", index + 1),
                &quoted(&format!("hook:{name}")),
                "a row of [[hooks]] of that name, with \"event\" among its events, \
                 that hears of the route's namespace",
            ));
        }
    }
    Ok(())
}

/// What starts, but not as its operator may think.
pub(super) fn warnings(options: &Options, tables: &Tables) -> Vec<String> {
    let any = options.cors_origin.iter().any(|origin| origin == "*");
    let mut lines = Vec::new();
    if options.cors_credentials && any {
        lines.push(
            "cors_credentials = true: browsers refuse it beside cors_origin = \"*\"; \
             name the origins"
                .into(),
        );
    }
    if options.tls_listen.is_empty() && !options.tls_cert_file.is_empty() {
        lines.push("tls_cert_file is set and tls_listen is empty: nothing has TLS".into());
    }
    for hook in tables.hooks.iter().filter(|hook| hook.is_exposed()) {
        lines.push(format!(
            "[[hooks]] {}: url is plain http: whoever is in that network can read what it is told",
            quoted(&hook.name)
        ));
    }
    lines
}

/// A value in the file's notation.
pub(super) fn shown(kind: Kind, items: &[String]) -> String {
    let one = || items.first().map_or("", String::as_str);
    match kind {
        Kind::Bool | Kind::Integer => one().into(),
        Kind::Text => quoted(one()),
        Kind::Secret => "***".into(),
        Kind::List => {
            let quoted: Vec<String> = items.iter().map(|item| quoted(item)).collect();
            format!("[{}]", quoted.join(", "))
        }
    }
}

/// Whether both would take the same connections. Port 0 asks for any free one.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    let same = ip == other_ip || ip.is_unspecified() || other_ip.is_unspecified();
    one.port() != 0 && one.port() == other.port() && same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_names_an_option() {
        for check in CHECKS.iter().chain(TOKEN_CHECKS) {
            assert!(entry(check.option).is_some(), "{}", check.option);
            assert!(!check.says.contains('\n') && !check.says.ends_with('.'), "{}", check.says);
        }
    }

    #[test]
    fn addresses_overlap_by_port_and_interface() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        for (one, other, same) in [
            ("[::]:3001", "127.0.0.1:3001", true),
            ("127.0.0.1:3001", "0.0.0.0:3001", true),
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("[::]:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(overlap(at(one), at(other)), same, "{one} {other}");
        }
    }
}
