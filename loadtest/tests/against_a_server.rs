//! Scenarios against a real server, and against one that loses and doubles.
#![expect(clippy::disallowed_methods, reason = "a test reads the environment and starts programs")]

mod liar;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use corewire_loadtest::check::oracle::is_clean;
use corewire_loadtest::engine::{Options, run};
use corewire_loadtest::model::Report;
use corewire_loadtest::scenario::{Scenario, parse};
use corewire_loadtest::wire::rest::Rest;
use corewire_loadtest::wire::target::Target;

/// The bench server: named by `BENCH_SERVER`, or else built here, which costs nothing if it is
/// built already.
fn bench_server() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var("BENCH_SERVER") {
        Ok(path) => PathBuf::from(path),
        Err(_) => build(),
    })
}

fn build() -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let built = Command::new(env!("CARGO"))
        .args(["build", "-q", "-p", "corewire", "--example", "bench_server"])
        .args(["--message-format", "json"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "the bench server builds");
    let path = String::from_utf8(built.stdout).expect("JSON is text");
    let mut path = path.lines().filter_map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = value["target"]["name"] == "bench_server";
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
        let mut child = Command::new(bench_server())
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--workers", "1"])
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
