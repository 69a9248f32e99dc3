//! The table is sound, the layers stand in their order, the pages say what the table says.

use super::*;
use std::collections::BTreeSet;

pub(super) fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

pub(super) fn load_all(
    file: &str,
    env: &[(&str, &str)],
    args: &[&str],
) -> Result<Loaded, ConfigError> {
    let env = env.iter().map(|(name, text)| (name.to_string(), text.to_string()));
    load(Options::default(), Some(("corewire.toml", file)), env, &strings(args))
}

pub(super) fn from_file(file: &str) -> Result<Loaded, ConfigError> {
    load_all(file, &[], &[])
}

pub(super) fn from_env(env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    load_all("", env, &[])
}

pub(super) fn from_args(args: &[&str]) -> Result<Loaded, ConfigError> {
    load_all("", &[], args)
}

pub(super) fn line(result: Result<Loaded, ConfigError>) -> String {
    let line = result.expect_err("a mistake stops the start").line;
    assert!(!line.contains('\n'), "{line}");
    line
}

#[test]
fn the_table_is_sound() {
    let mut names = BTreeSet::new();
    let mut flags = BTreeSet::from(["config".into(), "help".into(), "version".into()]);
    for entry in OPTIONS {
        let name = entry.name;
        assert!(names.insert(entry.variable()), "{name}: its variable twice");
        assert!(!entry.variable().starts_with("COREWIRE_PORT"), "{name}: would be ignored");
        assert!(!entry.variable().starts_with("COREWIRE_SERVICE_"), "{name}: would be ignored");
        assert!(flags.insert(entry.flag()), "{name}: its flag twice");
        for also in entry.also {
            assert!(names.insert(also.to_string()), "{also} twice");
        }
        assert!(entry.help.ends_with('.'), "{name}: help is a sentence");
        assert!(entry.help.starts_with(char::is_uppercase), "{name}: help is a sentence");
        assert!(!entry.help.contains("  ") && !entry.help.contains(".A"), "{name}: spaces");
        assert!(!entry.allowed().is_empty(), "{name}");

        for base in [Options::default(), Options::gateway()] {
            let mut options = base.clone();
            if entry.kind() != Kind::Secret {
                assert!(entry.set(&mut options, &entry.get(&base)), "{name}: its default fails");
            }
            assert_eq!(options, base, "{name}: its default reads as something else");
        }
    }
    assert_eq!(check(&Options::default(), &Tables::default()), Ok(()));
    assert_eq!(check(&Options::gateway(), &Tables::default()), Ok(()));
}

#[test]
fn names_drop_their_unit_only() {
    for (name, flag, variable, unit) in [
        ("ping_interval_ms", "ping-interval", "COREWIRE_PING_INTERVAL", "ms"),
        ("max_payload_bytes", "max-payload", "COREWIRE_MAX_PAYLOAD", "bytes"),
        ("outbox_bytes_max", "outbox-bytes-max", "COREWIRE_OUTBOX_BYTES_MAX", "bytes"),
        ("conns_max", "conns-max", "COREWIRE_CONNS_MAX", ""),
    ] {
        let entry = entry(name).unwrap();
        assert_eq!(
            (entry.flag().as_str(), entry.variable().as_str(), entry.unit()),
            (flag, variable, unit)
        );
    }
}

/// The names that the contract promises.
#[test]
fn the_promised_flags_exist() {
    let loaded = from_args(&[
        "--listen=127.0.0.1:4001",
        "--listen",
        ":4002,4003",
        "--admin-listen",
        "4004",
        "--workers",
        "2",
        "--worker-cores",
        "0-1,4",
        "--ping-interval",
        "300",
        "--ping-timeout",
        "200",
        "--connect-timeout",
        "1000",
        "--max-payload",
        "1000000",
        "--cors-origin",
        "*",
        "--eio3",
        "--recovery",
        "--deflate=false",
        "--config",
        "some.toml",
        "--serve-client=false",
    ])
    .unwrap();
    let options = loaded.options;
    let listen: Vec<String> = options.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:4001", "[::]:4002", "[::]:4003"]);
    assert_eq!(options.admin_listen.to_string(), "127.0.0.1:4004");
    assert_eq!((options.workers, options.worker_cores), (2, vec![0, 1, 4]));
    assert_eq!((options.ping_interval_ms, options.ping_timeout_ms), (300, 200));
    assert_eq!((options.connect_timeout_ms, options.max_payload_bytes), (1000, 1_000_000));
    assert_eq!(options.cors_origin, ["*"]);
    assert!(options.eio3 && options.recovery && !options.deflate && !options.serve_client);
    assert!(!loaded.listen_is_default);
}

#[test]
fn every_option_can_be_set_in_every_layer() {
    let gateway = Options::gateway();
    for entry in OPTIONS.iter().filter(|entry| entry.kind() != Kind::Secret) {
        let text = entry.get(&gateway).join(",");
        let env = [(entry.variable(), text.clone())];
        let by_env = load(gateway.clone(), None, env, &[]).unwrap();
        let args = [format!("--{}={text}", entry.flag())];
        let by_flag = load(gateway.clone(), None, [], &args).unwrap();
        assert_eq!(by_env.options, gateway, "{}", entry.name);
        assert_eq!(by_flag.options, gateway, "{}", entry.name);
        assert_eq!(by_env.warnings, strings(&[]), "{}", entry.name);
    }
}

#[test]
fn later_layers_win() {
    let file = "ping_interval_ms = 1000\nping_timeout_ms = 1001\nworkers = 3\n\
                cors_origin = [\"http://a.example\", \"http://b.example\"]";
    let env = [("COREWIRE_PING_INTERVAL", "2000"), ("COREWIRE_WORKERS", "4")];
    let options = load_all(file, &env, &["--workers", "5", "--workers", "6"]).unwrap().options;
    assert_eq!(options.ping_timeout_ms, 1001, "file over default");
    assert_eq!(options.ping_interval_ms, 2000, "environment over file");
    assert_eq!(options.workers, 6, "flag over environment, the last of several");
    assert_eq!(options.cors_origin, ["http://a.example", "http://b.example"]);
    assert_eq!(options.connect_timeout_ms, 45_000, "default");

    let replaced = load_all(file, &[], &["--cors-origin", "http://c.example"]).unwrap();
    assert_eq!(replaced.options.cors_origin, ["http://c.example"], "a list replaces a list");
}

#[test]
fn the_older_variables_keep_their_meaning() {
    let env = [
        ("SOCKET_CORS_ORIGIN", "http://localhost:3000, https://Example.org"),
        ("SOCKET_PING_TIMEOUT", "61000"),
        ("SOCKET_PING_INTERVAL", "26000"),
        ("SOCKET_OTHER", "not ours"),
    ];
    let loaded = from_env(&env).unwrap();
    assert_eq!(loaded.options.cors_origin, ["http://localhost:3000", "https://example.org"]);
    assert_eq!(loaded.options.ping_timeout_ms, 61_000);
    assert_eq!(loaded.options.ping_interval_ms, 26_000);
    assert_eq!(loaded.warnings, strings(&[]));

    for (text, origins) in [("*", vec!["*"]), ("", vec![]), ("null", vec!["null"])] {
        let loaded =
            load(Options::gateway(), None, [("SOCKET_CORS_ORIGIN".into(), text.into())], &[]);
        assert_eq!(loaded.unwrap().options.cors_origin, origins, "{text:?}");
    }
    assert_eq!(
        line(from_env(&[("SOCKET_PING_TIMEOUT", "soon")])),
        r#"SOCKET_PING_TIMEOUT = "soon": allowed is 10 to 86400000 ms"#
    );
}

#[test]
fn our_variable_wins_over_the_older_one_and_says_so() {
    let env = [("COREWIRE_PING_INTERVAL", "2000"), ("SOCKET_PING_INTERVAL", "soon")];
    let loaded = from_env(&env).unwrap();
    assert_eq!(loaded.options.ping_interval_ms, 2000);
    assert_eq!(
        loaded.warnings,
        ["SOCKET_PING_INTERVAL is ignored: COREWIRE_PING_INTERVAL is set too"]
    );
}

#[test]
fn stray_variables_warn_but_for_those_of_kubernetes() {
    let env = [
        ("COREWIRE_PING_INTERVALL", "secret"),
        ("COREWIRE_XYZZY", "1"),
        ("COREWIRE_PORT", "tcp://10.0.0.1:3001"),
        ("COREWIRE_PORT_3001_TCP_ADDR", "10.0.0.1"),
        ("COREWIRE_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ];
    assert_eq!(
        from_env(&env).unwrap().warnings,
        [
            "COREWIRE_PING_INTERVALL: no such variable; did you mean COREWIRE_PING_INTERVAL?",
            "COREWIRE_XYZZY: no such variable",
        ]
    );
}

#[test]
fn options_made_by_hand_are_checked_too() {
    let options = Options { ping_interval_ms: 0, ..Options::default() };
    assert_eq!(
        check(&options, &Tables::default()).unwrap_err().line,
        "ping_interval_ms = 0: allowed is 10 to 86400000 ms"
    );
}

#[test]
fn values_are_normalised() {
    let loaded = from_file(
        "path = \"ws\"\nlisten = \"localhost:1, 2\"\nworker_cores = [7, \"0-2\"]\n\
         transports = [\"websocket\", \"websocket\"]",
    );
    let options = loaded.unwrap().options;
    assert_eq!(options.path, "/ws/");
    let listen: Vec<String> = options.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:1", "[::]:2"]);
    assert_eq!(options.worker_cores, [7, 0, 1, 2]);
    assert_eq!(options.transports, [Transport::Websocket]);
    for path in ["", "/", "//", "/a//b/", "/a b/", "/../", "/a?b", "/healthz/"] {
        let file = format!("path = {path:?}");
        assert!(from_file(&file).is_err(), "{path:?}");
    }
}

#[test]
fn no_secret_is_ever_written() {
    let secret = "correct-horse-battery";
    let file = format!("[[api_keys]]\nname = \"a\"\nkey = \"{secret}2\"\nscopes = [\"emit\"]");
    let loaded = load_all(&file, &[("COREWIRE_API_KEY", secret)], &[]).unwrap();
    assert!(loaded.options.api_key.as_ref().is_some_and(|key| key.matches(secret)));
    assert!(!format!("{loaded:?}").contains("horse"));
    let shown = entry("api_key").unwrap().get(&loaded.options);
    assert_eq!(shown, ["***"]);

    let keys: Vec<(&str, usize)> =
        loaded.tables.api_keys.iter().map(|key| (key.name.as_str(), key.scopes.len())).collect();
    assert_eq!(keys, [("a", 1), ("api_key", 3)], "the option's key opens everything");

    let key = Secret::new("abc");
    for (candidate, same) in
        [("abc", true), ("", false), ("ab", false), ("abd", false), ("abcabc", false)]
    {
        assert_eq!(key.matches(candidate), same, "{candidate}");
    }
}

#[test]
fn rules_are_read_and_permit_what_they_say() {
    let tables = from_file(
        "namespaces = [\"/ops\"]\n\
         [[rules]]\nrooms = [\"chat:*\", \"*er:*\"]\nallow = [\"join\"]\n\
         [[rules]]\nnamespace = \"/ops\"\nusers = [\"admin-?\"]\nrooms = [\"*\"]\n\
         allow = [\"join\", \"publish\"]",
    )
    .unwrap()
    .tables;
    let permitted = |namespace, user, room, verb| {
        tables.rules.iter().any(|rule| rule.permits(namespace, user, room, verb))
    };
    assert!(permitted("/", "ann", "chat:1", Verb::Join));
    assert!(!permitted("/", "ann", "chat:1", Verb::Publish));
    assert!(!permitted("/", "ann", "other", Verb::Join));
    assert!(permitted("/ops", "admin-1", "any", Verb::Publish));
    assert!(!permitted("/ops", "admin-10", "any", Verb::Publish));
    assert!(!permitted("/", "ann", "user:bob", Verb::Join), "reserved, though *er:* matches");
    assert!(!permitted("/ops", "admin-1", "session:x", Verb::Join), "reserved, though * matches");
}

#[test]
fn flags_are_shown_without_keys() {
    let args =
        ["--config", "a.toml", "--api-key", "hush", "--takeover", "--listen=1", "--listen=2"];
    let shown = super::shown_flags(&strings(&args)).unwrap();
    assert_eq!(shown, ["--config=a.toml", "--listen=1", "--listen=2", "--takeover=true"]);
    assert_eq!(super::shown_flags(&[]), Ok(Vec::new()));
}

#[test]
fn commands_stand_first() {
    let parse = |args: &[&str]| parse_command(&strings(args));
    for (args, command, rest) in [
        (&[][..], Command::Serve, &[][..]),
        (&["--eio3"], Command::Serve, &["--eio3"]),
        (&["serve", "--eio3"], Command::Serve, &["--eio3"]),
        (&["check-config", "--config", "x"], Command::CheckConfig, &["--config", "x"]),
        (&["doctor", "--eio3"], Command::Doctor, &["--eio3"]),
        (&["default-config"], Command::DefaultConfig, &[]),
        (&["config-reference"], Command::ConfigReference, &[]),
        (&["version"], Command::Version, &[]),
        (&["--version"], Command::Version, &[]),
        (&["help"], Command::Help, &[]),
        (&["serve", "-h"], Command::Help, &[]),
    ] {
        assert_eq!(parse(args), Ok((command, strings(rest))), "{args:?}");
    }
    assert_eq!(
        parse(&["start"]).unwrap_err().line,
        "\"start\": no such command; allowed are serve, check-config, doctor, \
         default-config, config-reference, rabbitmq-policy, token, version, help"
    );
}

#[test]
fn the_format_is_taken_off_wherever_it_stands() {
    let take = |args: &[&str]| take_format(&strings(args));
    for (args, json, rest) in [
        (&["--eio3"][..], false, &["--eio3"][..]),
        (&["--format", "json", "--eio3"], true, &["--eio3"]),
        (&["--eio3", "--format=json"], true, &["--eio3"]),
        (&["--format=json", "--format=text"], false, &[]),
        (&["--formats"], false, &["--formats"]),
    ] {
        assert_eq!(take(args), Ok((json, strings(rest))), "{args:?}");
    }
    let line = "--format = \"xml\": allowed is text or json";
    assert_eq!(take(&["--format=xml"]).unwrap_err().line, line);
    assert!(take(&["--format"]).is_err());
}

#[test]
fn the_file_is_found_before_anything_is_read() {
    let path = |args: &[&str]| config_path(&strings(args)).unwrap();
    assert_eq!(path(&["--eio3", "--config", "a.toml", "--workers", "x"]), Some("a.toml".into()));
    assert_eq!(path(&["--config=b.toml"]), Some("b.toml".into()));
    assert_eq!(path(&["--eio3"]), None);
}

#[test]
fn the_default_file_loads_back_to_the_defaults() {
    let file = default_toml();
    let load = |text: &str| load(Options::gateway(), Some(("x", text)), [], &[]).unwrap();
    assert_eq!(load(&file).options, Options::gateway());

    let set: Vec<&str> = file
        .lines()
        .map(|line| line.strip_prefix('#').filter(|key| !key.starts_with(' ')).unwrap_or(line))
        .collect();
    let loaded = self::load(Options::default(), Some(("x", &set.join("\n"))), [], &[]).unwrap();
    assert_eq!(loaded.options, Options::gateway());
    let keys = set.iter().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    assert_eq!(keys + 4, OPTIONS.len(), "all but the secrets");
    assert!(file.lines().all(|line| line.chars().count() <= 100));

    // The tables shown at its end are in order too, once keys are filled in.
    let (_, tables) = file.split_once("stand last ----").unwrap();
    let tables = tables
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.starts_with('[') || line.contains(" = "))
        .map(|line| line.replace('…', "12345678"));
    let broker = String::from("rabbitmq_url = \"amqp://localhost\"");
    let tables = std::iter::once(broker).chain(tables);
    let tables = load(&tables.collect::<Vec<String>>().join("\n")).tables;
    assert_eq!((tables.api_keys.len(), tables.rules.len()), (1, 1));
    assert_eq!((tables.routes.len(), tables.events.len(), tables.jwt_keys.len()), (1, 1, 1));
}

#[test]
fn the_pages_name_every_option() {
    let (reference, help) = (reference_markdown(), help("corewire", &Options::gateway()));
    for entry in OPTIONS {
        let begin = format!("| `{}` | `--{}` |", entry.name, entry.flag());
        let row = reference.lines().find(|line| line.starts_with(&begin)).expect("it has a row");
        assert!(row.contains(&format!(" | {} | ", entry.changes.word())), "{row}");
        assert!(help.contains(&format!("--{}", entry.flag())), "{}", entry.name);
        for variable in entry.also {
            assert!(reference.contains(variable), "{variable}");
        }
    }
    assert!(reference.contains("| `60000` |") && help.contains("[default: 60000] "));
    assert!(help.contains("check-config"));
    assert!(help.lines().all(|line| line.chars().count() <= 100));
    for row in reference.lines().filter(|line| line.starts_with('|')) {
        assert_eq!(row.replace("\\|", "").matches('|').count(), 8, "{row}");
    }
}
