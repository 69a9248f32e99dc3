//! Settings to decide before strangers can connect: the one table that the warnings at the start,
//! the doctor and the manual's page on security are made from.

use core::fmt::Write as _;
use core::net::SocketAddr;

use super::checks::shown;
use super::options::{Options, entry};
use super::shapes::Kind;
use super::tables::{Scope, Tables};
use super::words::AuthMode;

/// From which addresses a setting matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Where other machines can connect as clients, by themselves or through a proxy.
    Public,
    /// Wherever the server listens.
    Anywhere,
}

/// A setting that somebody should have decided.
pub struct OpenSetting {
    /// The option to change.
    pub option: &'static str,
    /// Where it matters.
    pub reach: Reach,
    /// Whether this configuration leaves it open, its reach left out.
    is_open: fn(&Options, &Tables) -> bool,
    /// When it is open, as half a sentence for the manual.
    pub when: &'static str,
    /// What is so while it is open, to the operator.
    pub means: &'static str,
    /// What to set.
    pub set: &'static str,
}

/// Shorter keys of REST can be tried out from outside.
const KEY_CHARS_MIN: usize = 20;

/// Every setting that can be left open.
pub const OPEN_SETTINGS: &[OpenSetting] = &[
    OpenSetting {
        option: "auth_mode",
        reach: Reach::Public,
        is_open: |options, _| options.auth_mode == AuthMode::Trusted,
        when: "it is `trusted`",
        means: "every client is believed to be who it says it is, and other machines can connect",
        set: "auth_mode = \"jwt\"",
    },
    OpenSetting {
        option: "listen",
        reach: Reach::Public,
        is_open: |options, _| {
            let bare = |address: &&SocketAddr| !options.proxy_listen.contains(address);
            options.trusted_proxies.is_empty() && options.listen.iter().filter(bare).any(is_public)
        },
        when: "other machines can connect to it, and no proxy is named in `trusted_proxies`",
        means: "what clients and this server say to each other is not encrypted on that address",
        set: "tls_listen, or trusted_proxies if a proxy ends TLS in front",
    },
    OpenSetting {
        option: "trusted_proxies",
        reach: Reach::Public,
        is_open: |options, _| options.trusted_proxies.iter().any(|network| network.ends_with("/0")),
        when: "it holds every address there is",
        means: "whoever connects is believed when it says which address it comes from",
        set: "trusted_proxies to the addresses of your proxies",
    },
    OpenSetting {
        option: "cors_origin",
        reach: Reach::Public,
        is_open: |options, _| options.cors_origin.iter().any(|origin| origin == "*"),
        when: "it holds `*`",
        means: "pages of any site may connect from a visitor's browser",
        set: "cors_origin to the sites that are yours",
    },
    OpenSetting {
        option: "strict_origin",
        reach: Reach::Public,
        is_open: |options, tables| {
            let hears = |hook: &super::Hook| {
                hook.headers.iter().any(|name| name.eq_ignore_ascii_case("cookie"))
            };
            !options.strict_origin && tables.hooks.iter().any(hears)
        },
        when: "it is off and a webhook judges clients by their cookies",
        means: "a page of any site can open a WebSocket with its visitor's cookies",
        set: "strict_origin = true",
    },
    OpenSetting {
        option: "rooms_open",
        reach: Reach::Public,
        is_open: |options, _| options.rooms_open,
        when: "it is on",
        means: "every client may read and write in every room whose name it knows or guesses",
        set: "rooms_open = false, and rules for who may what",
    },
    OpenSetting {
        option: "address_conns_max",
        reach: Reach::Public,
        is_open: |options, _| options.address_conns_max == 0,
        when: "it is 0",
        means: "one address may take all connections there are",
        set: "address_conns_max to what your largest shared address needs",
    },
    OpenSetting {
        option: "address_handshakes_per_s",
        reach: Reach::Public,
        is_open: |options, _| options.address_handshakes_per_s == 0,
        when: "it is 0",
        means: "one address may begin sessions as fast as it can",
        set: "address_handshakes_per_s, with room for a crowd that comes back",
    },
    OpenSetting {
        option: "socket_events_per_s",
        reach: Reach::Public,
        is_open: |options, _| options.socket_events_per_s == 0,
        when: "it is 0",
        means: "one client may send events as fast as it can",
        set: "socket_events_per_s to several times what yours send",
    },
    OpenSetting {
        option: "eio3",
        reach: Reach::Public,
        is_open: |options, _| options.eio3,
        when: "it is on",
        means: "whoever learns the socket id of such a client can read its session",
        set: "eio3 = false, or tell nobody those ids",
    },
    OpenSetting {
        option: "api_key",
        reach: Reach::Public,
        is_open: |_, tables| {
            tables.api_keys.iter().any(|key| key.key.expose().len() < KEY_CHARS_MIN)
        },
        when: "one of the keys has fewer than 20 characters",
        means: "REST answers strangers too, and a key is short enough to be tried out",
        set: "a key of 32 random characters: openssl rand -hex 16",
    },
    OpenSetting {
        option: "admin_listen",
        reach: Reach::Anywhere,
        is_open: |options, _| is_public(&options.admin_listen),
        when: "other machines can connect to it",
        means: "keys, metrics and what back ends send cross the network unencrypted",
        set: "admin_listen to 127.0.0.1 or an address of a private network",
    },
    OpenSetting {
        option: "admin_cors_origin",
        reach: Reach::Anywhere,
        is_open: |options, tables| {
            let any = options.admin_cors_origin.iter().any(|origin| origin == "*");
            any && tables.api_keys.iter().any(|key| key.scopes.contains(&Scope::Emit))
        },
        when: "it holds `*`",
        means: "pages of any site may call REST with a key that they have",
        set: "admin_cors_origin to the sites that are yours",
    },
    OpenSetting {
        option: "jwt_audience",
        reach: Reach::Anywhere,
        is_open: |options, _| options.auth_mode == AuthMode::Jwt && options.jwt_audience.is_empty(),
        when: "it is empty and tokens are verified",
        means: "tokens that were issued for other services are taken too",
        set: "jwt_audience to the name of this service",
    },
    OpenSetting {
        option: "jwt_issuer",
        reach: Reach::Anywhere,
        is_open: |options, _| {
            let named = !options.jwt_issuer.is_empty() || !options.oidc_issuer.is_empty();
            options.auth_mode == AuthMode::Jwt && !named
        },
        when: "it is empty, and so is `oidc_issuer`, and tokens are verified",
        means: "tokens are taken whoever has issued them",
        set: "jwt_issuer to who issues yours",
    },
    OpenSetting {
        option: "token_in_query",
        reach: Reach::Anywhere,
        is_open: |options, _| options.token_in_query && options.auth_mode != AuthMode::Trusted,
        when: "it is on and tokens are verified",
        means: "tokens will stand in the logs of proxies",
        set: "token_in_query = false, and hand tokens over in auth",
    },
];

/// Whether other machines can connect to an address.
fn is_public(address: &SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// The settings that a gateway with this configuration leaves open.
pub fn open_settings<'a>(
    options: &'a Options,
    tables: &'a Tables,
) -> impl Iterator<Item = &'static OpenSetting> + use<'a> {
    // Who comes through a proxy comes from elsewhere.
    let public = !options.trusted_proxies.is_empty()
        || options.listen.iter().chain(&options.tls_listen).any(is_public);
    OPEN_SETTINGS.iter().filter(move |setting| {
        (public || setting.reach == Reach::Anywhere) && (setting.is_open)(options, tables)
    })
}

/// One line for each setting that a gateway with this configuration leaves open.
#[must_use]
pub fn open_warnings(options: &Options, tables: &Tables) -> Vec<String> {
    let line = |setting: &OpenSetting| {
        let value = entry(setting.option).map(|entry| (entry.kind(), entry.get(options)));
        let value = match value {
            Some((Kind::Secret, _)) | None => String::new(),
            Some((kind, items)) => format!(" = {}", shown(kind, &items)),
        };
        format!("{}{value}: {}; set {}", setting.option, setting.means, setting.set)
    };
    open_settings(options, tables).map(line).collect()
}

/// The table for the manual, in Markdown.
#[must_use]
pub fn open_markdown() -> String {
    let mut page =
        String::from("| option | warns when | while it is so | set |\n| --- | --- | --- | --- |\n");
    for setting in OPEN_SETTINGS {
        let OpenSetting { option, when, means, set, .. } = setting;
        let _infallible = writeln!(page, "| `{option}` | {when} | {means} | {set} |");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ApiKey, Loaded, load};

    const LOCAL: &str = "listen = [\"127.0.0.1:3001\"]\n";
    const HOOK: &str = "[[hooks]]\nname = \"a\"\nurl = \"https://a.example\"\nsecrets = \
        [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\nevents = [\"connect\"]\nheaders = ";
    /// Nothing of it is open but the address itself.
    const CLOSED: &str = "auth_mode = \"jwt\"\njwt_secret = \"0123456789abcdef0123456789abcdef\"\n\
        jwt_audience = [\"a\"]\njwt_issuer = [\"a\"]\naddress_conns_max = 1000\n\
        address_handshakes_per_s = 100\nsocket_events_per_s = 100\n";

    fn loaded(file: &str) -> Loaded {
        let base = Options::gateway();
        load(base, Some(("corewire.toml", file)), Vec::new(), &[]).expect(file)
    }

    fn open(file: &str) -> Vec<&'static str> {
        let Loaded { options, tables, .. } = loaded(file);
        open_settings(&options, &tables).map(|setting| setting.option).collect()
    }

    /// What opens a setting over `CLOSED`, where one line of it is replaced or one is added.
    fn opened(option: &str) -> String {
        let without = |name: &str| {
            let kept = CLOSED.lines().filter(|line| !line.starts_with(name));
            kept.map(|line| format!("{line}\n")).collect::<String>()
        };
        let with = |line: &str| format!("{CLOSED}{line}\n");
        match option {
            "auth_mode" => without("auth_mode"),
            "listen" => CLOSED.to_owned(),
            "trusted_proxies" => with("trusted_proxies = [\"0.0.0.0/0\"]"),
            "cors_origin" => with("cors_origin = [\"*\"]"),
            "strict_origin" => with(&format!("{HOOK}[\"Cookie\"]")),
            "rooms_open" | "eio3" | "token_in_query" => with(&format!("{option} = true")),
            "api_key" => with("api_key = \"short-key\""),
            "admin_listen" => with(
                "admin_listen = \"0.0.0.0:3002\"\napi_key = \"0123456789abcdef0123456789abcdef\"",
            ),
            "admin_cors_origin" => {
                with("admin_cors_origin = [\"*\"]\napi_key = \"0123456789abcdef0123456789abcdef\"")
            }
            other => without(other),
        }
    }

    #[test]
    fn each_setting_is_found_open_and_alone() {
        assert_eq!(open(CLOSED), ["listen"]);
        for setting in OPEN_SETTINGS {
            let option = setting.option;
            let mut found = open(&opened(option));
            found.retain(|name| *name != "listen" || option == "listen");
            assert_eq!(found, [option], "{}", opened(option));
        }
    }

    #[test]
    fn what_matters_to_strangers_is_silent_where_none_can_come() {
        assert_eq!(open(&format!("{LOCAL}{CLOSED}")), [""; 0]);
        for setting in OPEN_SETTINGS {
            // A proxy brings strangers along.
            let reached = setting.reach == Reach::Anywhere || setting.option == "trusted_proxies";
            let expected = usize::from(reached);
            let found = open(&format!("{LOCAL}{}", opened(setting.option)));
            assert_eq!(found.len(), expected, "{}", setting.option);
        }
    }

    #[test]
    fn with_tls_or_behind_a_proxy_nothing_travels_in_the_clear() {
        let tls = "tls_listen = [\"0.0.0.0:443\"]\ntls_cert_file = \"a\"\ntls_key_file = \"b\"\n";
        assert_eq!(open(&format!("{LOCAL}{tls}{CLOSED}")), [""; 0]);
        let without = CLOSED.replace("auth_mode = \"jwt\"", "");
        assert_eq!(open(&format!("{LOCAL}{tls}{without}")), ["auth_mode"], "strangers can come");
        let proxy = "trusted_proxies = [\"10.0.0.1\"]\n";
        assert_eq!(open(&format!("{CLOSED}{proxy}")), [""; 0]);
        assert_eq!(open(&format!("{LOCAL}{proxy}{without}")), ["auth_mode"], "through the proxy");
    }

    #[test]
    fn a_hook_that_sees_no_cookie_does_not_ask_for_strict_origins() {
        let file = format!("{CLOSED}{HOOK}[\"authorization\"]");
        assert_eq!(open(&file), ["listen"]);
    }

    #[test]
    fn lines_name_the_option_and_what_to_set_and_no_secret() {
        let Loaded { options, mut tables, .. } = loaded("");
        tables.api_keys = vec![ApiKey {
            name: "a".into(),
            key: crate::config::Secret::new("hush-hush"),
            scopes: vec![Scope::Read],
        }];
        let lines = open_warnings(&options, &tables);
        assert!(lines[0].starts_with("auth_mode = \"trusted\": every client"), "{}", lines[0]);
        assert!(lines.iter().any(|line| line.starts_with("api_key: REST answers")), "{lines:?}");
        for line in &lines {
            assert!(line.contains("; set ") && !line.contains('\n'), "{line}");
            assert!(!line.contains("hush"), "{line}");
        }
    }

    #[test]
    fn every_row_names_an_option() {
        for setting in OPEN_SETTINGS {
            assert!(entry(setting.option).is_some(), "{}", setting.option);
            assert!(open_markdown().contains(setting.when));
        }
    }
}
