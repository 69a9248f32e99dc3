//! Scenarios against a real server, and against one that loses and doubles.
#![expect(clippy::disallowed_methods, reason = "a test reads the environment and starts programs")]

mod liar;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use corewire_loadtest::check::oracle::is_clean;
use corewire_loadtest::engine::{Options, run};
use corewire_loadtest::model::Report;
use corewire_loadtest::scenario::{Scenario, parse, read};
use corewire_loadtest::wire::rest::Rest;
use corewire_loadtest::wire::target::Target;

/// The bench server: named by `BENCH_SERVER`, or else built here, which costs nothing if it is
/// built already.
fn bench_server() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var("BENCH_SERVER") {
        Ok(path) => PathBuf::from(path),
        Err(_) => build("--example", "bench_server"),
    })
}

/// The gateway, likewise.
fn gateway() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("--bin", "corewire"))
}

fn build(kind: &str, name: &str) -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let built = Command::new(env!("CARGO"))
        .args(["build", "-q", "-p", "corewire", kind, name])
        .args(["--message-format", "json"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{name} builds");
    let path = String::from_utf8(built.stdout).expect("JSON is text");
    let mut path = path.lines().filter_map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = value["target"]["name"] == name && value["executable"].is_string();
        is_it.then(|| value["executable"].as_str().map(PathBuf::from)).flatten()
    });
    path.next_back().expect("cargo names what it built")
}

/// A server of one worker, ended with the test.
struct Server {
    child: Child,
    url: String,
    admin_url: String,
}

impl Server {
    fn start() -> Self {
        Self::start_as(bench_server(), &[])
    }

    fn start_as(program: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--workers", "1"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut urls = lines.map_while(Result::ok).filter_map(|line| {
            let address =
                line.strip_prefix("listening on ").or_else(|| line.strip_prefix("admin on "));
            address.map(|address| format!("http://{address}"))
        });
        let url = urls.next().expect("it says where it listens");
        let admin_url = urls.next().expect("it says where its admin listens");
        Self { child, url, admin_url }
    }

    fn run(&self, scenario: &Scenario) -> Report {
        let mut options = options(&self.url, &self.admin_url);
        options.pid = Some(self.child.id());
        run(scenario, &options).expect("the server can be reached")
    }
}

fn options(url: &str, admin_url: &str) -> Options {
    let target = |url| Target::parse(url).expect("it is an address");
    Options {
        rest: Rest { public: target(url), admin: target(admin_url), key: None },
        pid: None,
        cores: Vec::new(),
        quiet: true,
        anon_before: None,
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }
}

/// A short scenario. The client sleeps when it has nothing to do: tests share their cores.
fn scenario(kind: &str, keys: &str) -> Scenario {
    let text = format!(
        "name = \"t\"\nkind = \"{kind}\"\nbusy_poll = false\nwarmup_seconds = 0.1\n\
         seconds = 0.4\ndrain_ms = 10000\n{keys}"
    );
    parse(&text, &[]).expect("the scenario is right")
}

fn assert_clean(report: &Report, what: &str) {
    let oracle = &report.oracle;
    assert!(is_clean(oracle), "{what}: {oracle:?} {}", report.trouble);
    assert_eq!(oracle.delivered, oracle.expected, "{what}");
    assert!(report.totals.operations > 0, "{what}: {}", report.trouble);
    assert_eq!(report.totals.connect_failures, 0, "{what}: {}", report.trouble);
}

#[test]
fn every_kind_of_the_bench_contract_runs_clean() {
    let server = Server::start();
    for (kind, keys) in [
        ("connect", "connections = 50"),
        ("echo", "connections = 10\noutstanding = 3"),
        ("echo", "connections = 10\nrate = 500.0\nthreads = 2"),
        ("rooms", "connections = 40\nroom_size = 40\npublishers = 1\noutstanding = 4"),
        ("rooms", "connections = 40\nroom_size = 40\nthreads = 2\nrate = 100.0"),
        ("rooms", "connections = 40\nroom_size = 5\nrooms_per_connection = 70\nthreads = 2"),
        ("slow", "connections = 10\nroom_size = 10\nslow_per_room = 2\nrate = 200.0"),
        (
            "churn",
            "connections = 20\nroom_size = 5\nrate = 200.0\nchurners = 8\nstay_ms = 5\njoins_per_connection = 3",
        ),
        (
            "mixed",
            "connections = 20\nroom_size = 5\nrate = 200.0\nchurners = 4\nechoers = 4\nidlers = 9",
        ),
    ] {
        let report = server.run(&scenario(kind, keys));
        assert_clean(&report, &format!("{kind} {keys}"));
        let main = &report.latencies[&report.main_latency];
        assert!(main.count > 0 && main.p50 > 0.0 && main.p50 <= main.max, "{kind}");
        let server = report.server.expect("the process is named");
        assert!(server.cpu_us_per_operation.is_some_and(|cost| cost >= 0.0));
    }
}

#[test]
fn every_kind_of_the_gateway_runs_clean() {
    let server = Server::start_as(gateway(), &["--rooms-open=true"]);
    for (kind, keys) in [
        ("notify", "connections = 20\nrate = 100.0"),
        ("ai", "connections = 10\nrate = 100.0\npayload_bytes = 200"),
        ("rooms", "connections = 12\nroom_size = 6\noutstanding = 1"),
        ("rooms", "connections = 20\nroom_size = 20\npublish = \"rest\""),
        ("churn", "connections = 20\nroom_size = 5\nrate = 100.0\nchurners = 4"),
    ] {
        let report = server.run(&scenario(kind, &format!("app = \"gateway\"\n{keys}")));
        assert_clean(&report, &format!("{kind} {keys}"));
    }
}

#[test]
fn a_gateway_whose_rooms_are_closed_is_found_to_refuse() {
    let server = Server::start_as(gateway(), &[]);
    let keys = "app = \"gateway\"\nconnections = 5\nroom_size = 5\nchurners = 4\nrate = 10.0";
    let mut options = options(&server.url, &server.admin_url);
    options.pid = Some(server.child.id());
    match run(&scenario("churn", keys), &options) {
        Ok(report) => assert!(!is_clean(&report.oracle), "{:?}", report.oracle),
        Err(why) => assert!(why.contains("refused"), "{why}"),
    }
}

#[test]
fn every_scenario_that_comes_with_it_can_be_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        read(&path, &[]).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        found += 1;
    }
    assert!(found >= 10, "{found}");
}

/// The program itself, on the echo that comes with it: its exit code, and what it said.
fn loadtest(url: &str, more: &[&str]) -> (i32, String) {
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/echo.toml");
    let ended = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["run", scenario, "--url", url, "--quiet"])
        .args(["connections=1", "warmup_seconds=0.1", "seconds=0.3", "drain_ms=300"].map(set))
        .arg("--set=busy_poll=false")
        .args(more)
        .output()
        .expect("it starts");
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.code().expect("it is not killed"), String::from_utf8_lossy(&said).into_owned())
}

fn set(pair: &str) -> String {
    format!("--set={pair}")
}

/// A folder of this process alone.
fn folder() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(std::process::id().to_string());
    std::fs::create_dir_all(&path).expect("it can be made");
    path
}

#[test]
fn the_exit_code_says_what_became_of_it() {
    let (server, folder) = (Server::start(), folder());
    let budget = folder.join("budget");
    let (out, budget) = (folder.to_str().expect("text"), budget.to_str().expect("text"));
    let (code, said) = loadtest(&server.url, &["--out", out]);
    assert_eq!(code, 0, "{said}");
    for file in ["report.html", "report.json", "report.txt", "round_trip.hgrm"] {
        assert!(folder.join(file).exists(), "{file}");
    }
    assert!(said.contains("version not told (--server-version)"), "{said}");
    let page = || std::fs::read_to_string(folder.join("report.html")).expect("it is written");
    assert!(page().contains("not told (--server-version)"));
    // The server's admin listener tells, unless whoever runs the test knows better.
    let admin = ["--out", out, "--admin-url", server.admin_url.as_str()];
    let (code, said) = loadtest(&server.url, &admin);
    assert_eq!((code, said.contains(", corewire 0.")), (0, true), "{said}");
    assert!(page().contains("corewire 0.") && !page().contains("not told"));
    let (_, said) = loadtest(&server.url, &[&admin[..], &["--server-version=mine 3"]].concat());
    assert!(said.contains(", mine 3\n"), "{said}");
    std::fs::write(budget, "p99 <= 60s\nlost == 0\n").expect("it can be written");
    let (code, said) = loadtest(&server.url, &["--budget", budget]);
    assert_eq!((code, said.contains("BROKEN")), (0, false), "{said}");
    std::fs::write(budget, "p99 <= 0us\n").expect("it can be written");
    let (code, said) = loadtest(&server.url, &["--budget", budget]);
    assert_eq!((code, said.contains("BROKEN")), (1, true), "{said}");
    let (code, said) = loadtest(&liar::serve(liar::Lie::Lose), &["--set=outstanding=4"]);
    assert_eq!((code, said.contains("lost")), (1, true), "{said}");
    let (code, said) = loadtest("http://127.0.0.1:1", &[]);
    assert_eq!((code, said.contains("start the server")), (2, true), "{said}");
    let report = folder.join("report.json");
    let page = folder.join("compare.html");
    let compared = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args([Path::new("--compare"), &report, &report, Path::new("--out"), &page])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&compared.stdout);
    assert!(compared.status.success() && said.contains("round trip p50"), "{said}");
    assert!(std::fs::read_to_string(page).expect("it is written").contains("<svg"));
    std::fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn every_transport_runs_clean() {
    let server = Server::start();
    for transport in ["websocket", "polling", "upgrade"] {
        let keys = format!("connections = 6\ntransport = \"{transport}\"");
        assert_clean(&server.run(&scenario("echo", &keys)), transport);
    }
}

#[test]
fn an_open_loop_sends_what_was_asked_for() {
    let server = Server::start();
    let report = server.run(&scenario("echo", "connections = 5\nrate = 250.0"));
    assert_clean(&report, "open loop");
    assert_eq!(report.totals.operations, 100, "0.4 s at 250 a second, however late they came");
}

#[test]
fn steps_and_sweeps_end_with_an_answer() {
    let server = Server::start();
    let keys = "connections = 4\n[steps]\nstart_rate = 50.0\nfactor = 4.0\nwithin = 3.0\n\
                seconds = 0.2\nlate_ms = 5000\np99_ms = 0.0001";
    let report = server.run(&scenario("echo", keys));
    assert!(!report.steps.is_empty(), "rates were tried");
    assert_eq!(report.totals.sustained_rate, None, "no server answers within 0.1 us");
    assert!(report.steps.iter().all(|step| !step.sustained && !step.why.is_empty()));
    assert!(report.steps[0].why.contains("p99"), "{}", report.steps[0].why);
    let keys = "connections = 4\n[sweep]\nkey = \"connections\"\nvalues = [2, 4, 8]";
    let report = server.run(&scenario("echo", keys));
    let sizes: Vec<f64> = report.series[0].points.iter().map(|(size, _)| *size).collect();
    assert_eq!(sizes, [2.0, 4.0, 8.0]);
    assert_eq!(report.totals.connections, 8);
}

#[test]
fn a_server_that_loses_doubles_or_alters_is_found_out() {
    use liar::Lie;
    for lie in [Lie::Lose, Lie::Double, Lie::Alter, Lie::Swap] {
        let url = liar::serve(lie);
        let mut scenario = scenario("echo", "connections = 1\noutstanding = 4");
        // What it loses never comes.
        scenario.drain_ms = 200;
        let oracle = run(&scenario, &options(&url, &url)).expect("it can be reached").oracle;
        let found = match lie {
            Lie::Lose => oracle.lost,
            Lie::Double => oracle.doubled,
            Lie::Alter => oracle.corrupted,
            Lie::Swap => oracle.reordered,
        };
        assert!(found > 0, "{lie:?}: {oracle:?}");
        assert!(!is_clean(&oracle));
    }
}

#[test]
fn a_server_that_is_not_there_is_named_with_what_to_do() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let error = run(&scenario("echo", ""), &options(&url, &url)).unwrap_err();
    assert!(error.contains("start the server"), "{error}");
}
