//! Every mistake stops the start with one line: the key as it was written, the value, what is
//! allowed.

use super::tests::{from_args, from_env, from_file, line, load_all, strings};
use super::{OPTIONS, Options, check, load};

const ADDRESSES: &str = "1 to 16 addresses such as 0.0.0.0:3001 or [::]:3001, or ports";
const CPUS: &str = "at most 256 CPU numbers below 1024, each once, such as 0-3,6";
const KEY: &str = "8 to 256 visible ASCII characters";
const ORIGINS: &str = "* or origins such as https://example.org, without a path";
const PATH: &str = "a path such as /socket.io/ that REST does not use";
const PING: &str = "10 to 86400000 ms";

#[test]
fn a_bad_value_in_the_file() {
    for (written, allowed) in [
        ("ping_interval_ms = 5", PING),
        ("ping_interval_ms = -5", PING),
        ("ping_interval_ms = \"25\"", PING),
        ("ping_interval_ms = 2.5", PING),
        ("workers = 257", "0 to 256"),
        ("eio3 = 1", "true or false"),
        ("driver = \"fast\"", "auto, uring or epoll"),
        ("transports = []", "a list of polling and websocket"),
        ("transports = [\"tcp\"]", "a list of polling and websocket"),
        ("admin_listen = \"host\"", "an address such as 127.0.0.1:3002, or a port"),
        ("listen = []", ADDRESSES),
        ("listen = [\"1.2.3.4\"]", ADDRESSES),
        ("listen = [true]", ADDRESSES),
        ("worker_cores = [\"3-1\"]", CPUS),
        ("worker_cores = [1, \"0-2\"]", CPUS),
        ("path = \"/api\"", PATH),
        ("namespaces = [\"chat\"]", "names that start with / and hold no comma"),
        ("cookie_name = \"a b\"", "1 to 64 letters, digits and !#$%&'*+-.^_`|~"),
        ("cors_origin = [\"https://a.example/\"]", ORIGINS),
        ("admin_cors_origin = [\"a.example\"]", ORIGINS),
    ] {
        assert_eq!(line(from_file(written)), format!("{written}: allowed is {allowed}"));
    }
    assert_eq!(line(from_file("path = { a = 1 }")), format!("path = a table: allowed is {PATH}"));
    assert_eq!(line(from_file("api_key = \"short\"")), format!("api_key = ***: allowed is {KEY}"));
}

#[test]
fn a_bad_value_in_the_environment() {
    for (name, text, allowed) in [
        ("COREWIRE_PING_INTERVAL", "+500", PING),
        ("SOCKET_PING_TIMEOUT", "", PING),
        ("COREWIRE_EIO3", "yes", "true or false"),
        ("COREWIRE_LISTEN", " , ", ADDRESSES),
        ("COREWIRE_CORS_ORIGIN", "https://*.a.example,\n", ORIGINS),
        ("SOCKET_CORS_ORIGIN", "http://a.example b", ORIGINS),
    ] {
        let said = line(from_env(&[(name, text)]));
        assert_eq!(said, format!("{name} = {text:?}: allowed is {allowed}"));
    }
    let said = line(from_env(&[("COREWIRE_API_KEY", "")]));
    assert_eq!(said, format!("COREWIRE_API_KEY = ***: allowed is {KEY}"));
    let long = "x".repeat(5000);
    assert!(line(from_env(&[("COREWIRE_WORKERS", &long)])).len() < 300);
}

#[test]
fn a_bad_flag() {
    let lone =
        "\"true\": allowed are flags only; a command stands first, and a flag starts with --";
    for (args, said) in [
        ("--ping-interval 5", "--ping-interval = \"5\": allowed is 10 to 86400000 ms"),
        ("--ping-interval -5", "--ping-interval = \"-5\": allowed is 10 to 86400000 ms"),
        ("--ping-interval=", "--ping-interval = \"\": allowed is 10 to 86400000 ms"),
        ("--eio3=maybe", "--eio3 = \"maybe\": allowed is true or false"),
        ("--eio3=", "--eio3 = \"\": allowed is true or false"),
        ("--drain", "--drain: its value is missing: allowed is 0 to 3600000 ms"),
        ("--workers --eio3", "--workers: its value is missing: allowed is 0 to 256"),
        ("--config", "--config: its value is missing: allowed is a file's name"),
        ("--driver x", "--driver = \"x\": allowed is auto, uring or epoll"),
        ("--ping-intervall 5", "--ping-intervall: no such flag; did you mean --ping-interval?"),
        ("--apikey=a-secret", "--apikey: no such flag; did you mean --api-key?"),
        ("--xyzzy", "--xyzzy: no such flag"),
        ("-x", "-x: no such flag"),
        ("--eio3 true", lone),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        assert_eq!(line(from_args(&args)), said, "{args:?}");
    }
    let said = line(from_args(&["--listen", "a,b"]));
    assert_eq!(said, format!("--listen = \"a,b\": allowed is {ADDRESSES}"));
    let said = line(from_args(&["--api-key", "hunter2"]));
    assert_eq!(said, format!("--api-key = ***: allowed is {KEY}"));
}

#[test]
fn an_unknown_key_or_bad_syntax() {
    for (file, said) in [
        ("ping_intervall_ms = 5", "ping_intervall_ms: %; did you mean ping_interval_ms?"),
        ("apikey = \"a-secret\"", "apikey: %; did you mean api_key?"),
        ("[server]\nport = 1", "server: %"),
        ("\"a\\nb\" = 1", "\"a\\nb\": %"),
        ("rule = 1", "rule: %; did you mean rules?"),
    ] {
        let said = said.replace('%', "no such option in corewire.toml");
        assert_eq!(line(from_file(file)), said);
    }
    let said = line(from_file("workers = 1\n\napi_key = \"a-secret\n"));
    assert!(said.starts_with("corewire.toml: line 3, column "), "{said}");
    assert!(!said.contains("a-secret"), "{said}");
    let said = line(from_file("workers = 1\nworkers = 2\n"));
    assert_eq!(said, "corewire.toml: line 2, column 1: duplicate key");
}

#[test]
fn a_bad_hook() {
    let row = |more: &str| {
        let secret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        format!(
            "[[hooks]]\nname = \"a\"\nurl = \"https://a.example\"\nevents = [\"event\"]\n\
             secrets = [\"{secret}\"]\n{more}"
        )
    };
    let hooks = |more: &str| from_file(&row(more)).expect("it is fine").tables.hooks;
    assert_eq!(
        (hooks("")[0].timeout_ms, hooks("headers = [\"X-A\"]")[0].headers[0].as_str()),
        (5_000, "x-a")
    );
    for (file, said) in [
        (
            row("").replace("whsec_", "secret"),
            "secrets = ***: allowed is one or two of whsec_ and 24 to 64 bytes in base64",
        ),
        (
            row("").replace("https:", "http:"),
            "url = \"http://a.example\": allowed is an https address, or an http address of this machine or a private network",
        ),
        (
            row("").replace("event\"", "events\""),
            "events = \"events\": allowed is a list of connect, event, connected, join, leave, disconnect",
        ),
        (row("timeout_ms = 1"), "timeout_ms = 1: allowed is 10 to 60000"),
        (row("on_error = \"let\""), "on_error = \"let\": allowed is one of refuse, allow"),
        (row("headers = [\"a b\"]"), "headers = [\"a b\"]: allowed is a list of names of headers"),
        (
            row("namespaces = [\"/x\"]"),
            "namespace = \"/x\": allowed is / or one of the namespaces that the option namespaces lists",
        ),
    ] {
        assert_eq!(line(from_file(&file)), format!("[[hooks]] 1: {said}"));
    }
    let twice = format!("{}{}", row(""), row(""));
    let said = "[[hooks]] 2: name = \"a\": allowed is a name that no other hook has";
    assert_eq!(line(from_file(&twice)), said);
    let to = "[[routes]]\nevent = \"x\"\nto = \"hook:";
    assert!(from_file(&format!("{}{to}a\"", row(""))).is_ok());
    for wrong in [
        format!("{}{to}b\"", row("")),
        format!("{}{to}a\"", row("").replace("\"event\"", "\"join\"")),
    ] {
        let said = line(from_file(&wrong));
        assert!(said.starts_with("[[routes]] 1: to = \"hook:"), "{said}");
    }
    for (url, warned) in
        [("http://127.0.0.1:1", false), ("http://10.0.0.1", true), ("https://b.example", false)]
    {
        let loaded = from_file(&row("").replace("https://a.example", url)).expect("it is fine");
        assert_eq!(loaded.warnings.len(), usize::from(warned), "{url}: {:?}", loaded.warnings);
    }
}

#[test]
fn an_impossible_combination() {
    for (args, said) in [
        (
            "--admin-listen 0.0.0.0:3002",
            "--admin-listen = \"0.0.0.0:3002\": without an API key only a loopback address is \
             allowed; set COREWIRE_API_KEY or [[api_keys]]",
        ),
        (
            "--listen 3002",
            "admin_listen = \"127.0.0.1:3002\": listen has that address too; give the two \
             listeners different ports",
        ),
        (
            "--workers 3 --worker-cores 0-1",
            "--workers = 3: more than the CPUs that worker_cores names; allowed is one worker \
             each, or 0",
        ),
        (
            "--outbox-soft 5000000",
            "--outbox-soft = 5000000: more than outbox_bytes_max; volatile messages are to be \
             dropped before a client is",
        ),
        (
            "--unknown-event route",
            "--unknown-event = \"route\": no [[routes]] says where to; add one with event = \"*\"",
        ),
        (
            "--presence-events",
            "--presence-events = true: presence_rooms is empty, so nobody would hear of it; name \
             a room there",
        ),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        assert_eq!(line(from_args(&args)), said);
    }
    let any = ["--cors-origin", "*", "--cors-credentials"];
    assert_eq!(from_args(&any).unwrap().warnings.len(), 1, "possible, but of no use");
}

#[test]
fn an_admin_listener_for_others_demands_a_key() {
    let admin = [("COREWIRE_ADMIN_LISTEN", "[::]:3003")];
    assert!(line(from_env(&admin)).starts_with("COREWIRE_ADMIN_LISTEN = \"[::]:3003\": without"));
    let keyed = [admin[0], ("COREWIRE_API_KEY", "a-long-secret")];
    assert!(from_env(&keyed).is_ok());
    let key = "[[api_keys]]\nname = \"a\"\nkey = \"12345678\"\nscopes = [\"read\"]";
    assert!(load_all(key, &admin, &[]).is_ok());
    for loopback in ["[::1]:3003", "127.8.8.8:3003", "[::ffff:127.0.0.1]:3003"] {
        assert!(from_env(&[("COREWIRE_ADMIN_LISTEN", loopback)]).is_ok(), "{loopback}");
    }
}

#[test]
fn a_bad_api_key() {
    let key = "[[api_keys]]\nname = \"a\"\nkey = \"12345678\"\nscopes = [\"read\"]\n";
    let scopes = "a list of emit, read, admin";
    for (file, said) in [
        ("api_keys = 5".into(), "api_keys = integer: allowed is tables, [[api_keys]]".into()),
        (
            key.replace("12345678", "hunter2"),
            format!("[[api_keys]] 1: key = ***: allowed is {KEY}"),
        ),
        (
            key.replace("key =", "kee ="),
            "[[api_keys]] 1: \"kee\": no such key; allowed are name, key, scopes".into(),
        ),
        (
            key.replace("key = \"12345678\"", ""),
            format!("[[api_keys]] 1: key is missing: allowed is {KEY}"),
        ),
        (
            key.replace("read", "write"),
            format!("[[api_keys]] 1: scopes = \"write\": allowed is {scopes}"),
        ),
        (key.replace("\"read\"", ""), format!("[[api_keys]] 1: scopes = []: allowed is {scopes}")),
        (
            key.repeat(2),
            "[[api_keys]] 2: name = \"a\": allowed is a name that no other key has".into(),
        ),
        (
            format!("{key}{}", key.replace("\"a\"", "\"b\"")),
            "[[api_keys]] 2: key = ***: allowed is a key that stands there only once".to_string(),
        ),
    ] {
        assert_eq!(line(from_file(&file)), said);
    }
}

#[test]
fn a_bad_rule() {
    const PATTERNS: &str = "a list of patterns of 1 to 256 bytes with * and ?";
    assert_eq!(line(from_file("rules = [1]")), "rules = array: allowed is tables, [[rules]]");
    for (broken, said) in [
        ("rooms = [\"user:*\"]", format!("{PATTERNS}, none of user:* or session:* rooms")),
        (
            "rooms = [\"a\", \"session:1\"]",
            format!("{PATTERNS}, none of user:* or session:* rooms"),
        ),
        ("users = []", PATTERNS.into()),
        ("namespace = \"x\"", "a name that starts with /".into()),
        (
            "namespace = \"/x\"",
            "/ or one of the namespaces that the option namespaces lists".to_string(),
        ),
    ] {
        let rooms = if broken.starts_with("rooms") { "" } else { "rooms = [\"a\"]\n" };
        let file = format!("[[rules]]\n{rooms}allow = [\"join\"]\n{broken}");
        assert_eq!(line(from_file(&file)), format!("[[rules]] 1: {broken}: allowed is {said}"));
    }
    let file = "[[rules]]\nrooms = [\"a\"]\nallow = [\"leave\"]";
    let said = "[[rules]] 1: allow = \"leave\": allowed is a list of join, publish";
    assert_eq!(line(from_file(file)), said);
}

#[test]
fn a_bad_route_or_event() {
    const KINDS: &str =
        "any, flag, name, text, text:BYTES, number, number:MIN..MAX, or a list of words";
    for (table, row, said) in [
        (
            "routes",
            "to = \"rabbitmq\"",
            "event is missing: allowed is a pattern of 1 to 256 bytes with * and ?",
        ),
        (
            "routes",
            "event = \"a\"\nto = \"kafka\"",
            "to = \"kafka\": allowed is rabbitmq, or hook: with the name of a row of [[hooks]]",
        ),
        (
            "routes",
            "event = \"a\"\nto = \"rabbitmq\"\nack = \"maybe\"",
            "ack = \"maybe\": allowed is one of confirm, reply, immediate",
        ),
        (
            "routes",
            "event = \"a\"\nto = \"rabbitmq\"\ntimeout_ms = 9",
            "timeout_ms = 9: allowed is 100 to 600000",
        ),
        (
            "routes",
            "event = \"a\"\nto = \"rabbitmq\"\nnamespace = \"/x\"",
            "namespace = \"/x\": allowed is / or one of the namespaces that the option namespaces lists",
        ),
        ("events", "name = \"a\"\nonly = 1", "only = 1: allowed is true or false"),
        ("events", "name = \"a\"\nper_second = -1", "per_second = -1: allowed is 0 to 1000000"),
        (
            "events",
            "name = \"a\"\nmembers = { b = \"text:0\" }",
            &format!("members.b = \"text:0\": allowed is {KINDS}"),
        ),
        (
            "events",
            "name = \"a\"\nmembers = { b = \"number:5..1\" }",
            &format!("members.b = \"number:5..1\": allowed is {KINDS}"),
        ),
        (
            "events",
            "name = \"a\"\nrequired = [\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]",
            "members = 9: allowed is a table of up to 8 members",
        ),
    ] {
        let file = format!("rabbitmq_url = \"amqp://localhost\"\n[[{table}]]\n{row}");
        assert_eq!(line(from_file(&file)), format!("[[{table}]] 1: {said}"));
    }
}

/// Whatever stands in the variables, the answer is a configuration or one line.
#[test]
fn noise_never_panics() {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut draw = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let letters: Vec<char> = "019-,:/[]*?.=#\"'\n ä\u{202e}a".chars().collect();
    for _ in 0..1_500 {
        let text: String = (0..draw(12)).map(|_| letters[draw(letters.len())]).collect();
        let entry = &OPTIONS[draw(OPTIONS.len())];
        let env = [(entry.variable(), text.clone())];
        let args = strings(&[&format!("--{}", entry.flag()), &text, &text]);
        let file = format!("{} = {text}", entry.name);
        let results = [
            load(Options::default(), None, env, &[]),
            load(Options::default(), None, [], &args),
            load(Options::default(), Some(("x", &file)), [], &[]),
        ];
        for result in results {
            match result {
                Ok(loaded) => assert!(check(&loaded.options, &loaded.tables).is_ok(), "{text:?}"),
                Err(error) => assert!(!error.line.contains('\n'), "{:?}", error.line),
            }
        }
    }
}
