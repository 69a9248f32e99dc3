//! Health, statistics, latencies, metrics.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use serde_json::{Value, json};

use super::super::{GatewayRoutes, Origin, Phase};
use super::fake::World;
use super::{get, key, post, request, send};
use crate::config::{LogLevel, Scope};
use crate::telemetry::Stage;

/// Makes the last word of a core lie so far back.
fn silence(world: &World, core: usize, seconds: u64) {
    world.queue.silent.fetch_or(1 << core, Relaxed);
    let mut book = world.admin.book();
    book.known[core].heard_at = Instant::now().checked_sub(Duration::from_secs(seconds));
}

#[test]
fn health_tells_what_is_known_of_process_and_workers() {
    let world = World::new(2, |_| {});
    world.admin.introduce(crate::base::CoreId(0), "uring", Some(3));
    assert_eq!(get(&world, "/healthz").status, 200, "it waits for the first word");
    let health = get(&world, "/socket/health");
    assert_eq!((health.status, health.at("/data/status")), (200, json!("healthy")));
    assert_eq!(get(&world, "/healthz").status, 200);
    assert_eq!(get(&world, "/readyz").status, 200);
    let first = health.at("/data/workers/0");
    assert_eq!((&first["driver"], &first["cpu"]), (&json!("uring"), &json!(3)));
    let worker = health.at("/data/workers/1");
    assert_eq!((&worker["core"], &worker["label"]), (&json!(1), &json!("worker-1")));
    assert_eq!((&worker["healthy"], &worker["cpu"]), (&json!(true), &Value::Null));
    assert!(health.at("/data/memoryUsage").as_u64().unwrap() > 100_000);
    assert!(health.at("/data/cpuUsage").is_f64());
    assert!(health.at("/data/lastHeartbeat").as_str().unwrap().starts_with("20"));
}

#[test]
fn readiness_follows_the_phase() {
    let world = World::new(1, |_| {});
    assert_eq!(get(&world, "/socket/health").status, 200);
    for (phase, code) in [(Phase::Starting, "STARTING"), (Phase::Draining, "DRAINING")] {
        world.admin.set_phase(phase);
        let ready = get(&world, "/readyz");
        assert_eq!((ready.status, ready.code().as_str()), (503, code));
        assert_eq!(ready.header("retry-after"), "1");
        assert_eq!(get(&world, "/healthz").status, 200);
        assert_eq!(get(&world, "/socket/health").at("/data/status"), "degraded");
    }
    world.admin.set_phase(Phase::Serving);
    assert_eq!(get(&world, "/readyz").status, 200);
}

#[test]
fn silent_workers_degrade_health_and_the_last_one_ends_it() {
    let world = World::new(2, |_| {});
    assert_eq!(get(&world, "/socket/health").status, 200);
    silence(&world, 1, 2);
    assert_eq!(get(&world, "/socket/health").at("/data/status"), "healthy", "two seconds may be");
    silence(&world, 1, 4);
    let health = get(&world, "/socket/health");
    assert_eq!((health.status, health.at("/data/status")), (200, json!("degraded")));
    assert_eq!(health.at("/data/workers/1/healthy"), false);
    assert_eq!(get(&world, "/healthz").status, 200, "one worker answers");

    silence(&world, 0, 4);
    let health = get(&world, "/socket/health");
    assert_eq!((health.status, health.code().as_str()), (503, "UNHEALTHY"));
    assert_eq!(health.at("/data/status"), "unhealthy");
    assert_eq!(health.at("/data/workers").as_array().unwrap().len(), 2);
    assert_eq!((get(&world, "/healthz").status, get(&world, "/readyz").status), (503, 503));

    world.queue.silent.store(0, Relaxed);
    assert_eq!(get(&world, "/socket/health").at("/data/status"), "healthy", "they came back");
}

#[test]
fn a_worker_that_falls_silent_is_named_and_counted_once_and_again_when_it_is_back() {
    let world = World::new(2, |_| {});
    let look = || world.admin.watch(&*world.tell);
    get(&world, "/socket/health");
    look();
    assert_eq!(get(&world, "/socket/health").at("/data/workers/1/stuckIn"), Value::Null);
    silence(&world, 1, 4);
    look();
    look();
    let health = get(&world, "/socket/health");
    // The thread of this test plays all workers.
    assert_eq!(health.at("/data/workers/1/stuckIn"), "running");
    assert!(health.at("/data/workers/1/silentMs").as_u64().unwrap() >= 4_000);
    assert_eq!(health.at("/data/workers/0/stuckIn"), Value::Null);
    let metrics = get(&world, "/metrics").body;
    for (core, stalls) in [(0, 0), (1, 1)] {
        let line = format!("corewire_core_stalls_total{{core=\"{core}\"}} {stalls}");
        assert!(metrics.contains(&line), "{line}");
    }
    world.queue.silent.store(0, Relaxed);
    assert_eq!(get(&world, "/socket/health").at("/data/status"), "healthy");
    look();
    let said = world.said.lock().unwrap();
    let [(LogLevel::Error, gone), (LogLevel::Warn, back)] = &said[..] else { panic!("{said:?}") };
    assert!(
        gone.starts_with("worker does not answer core=1 worker=worker-1 silent_ms=4"),
        "{gone}"
    );
    assert!(gone.ends_with(" doing=running"), "{gone}");
    assert!(back.starts_with("worker answers again core=1 worker=worker-1 silent_ms="), "{back}");
}

#[test]
fn an_overloaded_worker_is_not_ready_and_not_dead() {
    let world = World::new(2, |_| {});
    assert_eq!(get(&world, "/socket/health").status, 200);
    world.queue.full.store(true, Relaxed);
    assert_eq!(get(&world, "/socket/health").at("/data/status"), "degraded");
    let ready = get(&world, "/readyz");
    assert_eq!((ready.status, ready.code().as_str()), (503, "OVERLOADED"));
    assert_eq!(get(&world, "/healthz").status, 200);
    world.queue.full.store(false, Relaxed);
    assert_eq!(get(&world, "/socket/health").at("/data/status"), "healthy");
    assert_eq!(get(&world, "/readyz").status, 200);
}

#[test]
fn strangers_learn_whether_it_is_well_and_nothing_else() {
    let world = World::new(1, |admin| {
        admin.keys = vec![
            key("reader", "read-secret", &[Scope::Read]),
            key("emitter", "emit-secret", &[Scope::Emit]),
        ];
    });
    for (secret, details) in
        [("", false), ("wrong", false), ("emit-secret", false), ("read-secret", true)]
    {
        for origin in [Origin::Public, Origin::Admin] {
            let mut request = request("GET", "/socket/health", "");
            request.headers_mut().insert("x-api-key", HeaderValue::from_static(secret));
            request.extensions_mut().insert(origin);
            let answer = send(&world, request);
            assert_eq!(answer.status, 200);
            let data = answer.at("/data");
            assert_eq!(data["status"], "healthy");
            assert_eq!(data.as_object().unwrap().len() > 1, details, "{secret}: {data}");
        }
    }
}

#[test]
fn statistics_count_whoever_connected_before_they_were_asked_for() {
    let world = World::new(2, |_| {});
    for number in 0..5 {
        let client = world.connect(number % 2, "ann");
        world.say(client, r#"42["ping"]"#);
        let data = get(&world, "/socket/stats").at("/data");
        let count = number as u64 + 1;
        assert_eq!(data["activeConnections"], count);
        assert_eq!(
            (&data["totalConnections"], &data["totalEvents"]),
            (&json!(count), &json!(count))
        );
        assert_eq!(data["eventsPerMinute"], count);
        assert!(data["latency"]["handler"]["count"].as_u64() >= Some(count));
        assert!(data["averageLatency"].as_f64().unwrap() > 0.0);
        assert_eq!(data["workers"].as_array().unwrap().len(), 2, "the admin core is none");
    }
    let off = World::new(1, |admin| admin.gateway = GatewayRoutes::Off);
    assert_eq!(get(&off, "/socket/stats").at("/data/rooms"), json!({}));
}

#[test]
fn latencies_are_told_as_json_and_as_a_table() {
    let world = World::new(1, |_| {});
    world.connect(0, "ann");
    let all = get(&world, "/socket/latency").at("/data");
    let mut names: Vec<_> = Stage::ALL.iter().map(|stage| stage.name()).collect();
    names.sort_unstable();
    assert_eq!(all.as_object().unwrap().keys().collect::<Vec<_>>(), names);
    for column in ["count", "min", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"] {
        assert!(all["handler"][column].is_number(), "{column}");
    }
    let one = get(&world, "/socket/latency?stage=handler").at("/data");
    assert_eq!(one.as_object().unwrap().len(), 1);
    let table = get(&world, "/socket/latency?format=hgrm&stage=handler");
    assert!(table.header("content-type").starts_with("text/plain"));
    assert!(table.body.trim_start().starts_with("Value"), "{}", table.body);
    let tables = get(&world, "/socket/latency?format=hgrm").body;
    assert_eq!(tables.matches("#[Stage = ").count(), Stage::ALL.len());
    for (query, member) in [("stage=nothing", "stage"), ("format=xml", "format")] {
        let answer = get(&world, &format!("/socket/latency?{query}"));
        assert_eq!(answer.at("/error/details/0/member"), member);
    }
}

#[test]
fn metrics_hold_every_core_and_the_calls_of_rest() {
    let world = World::new(2, |_| {});
    world.connect(1, "ann");
    assert_eq!(get(&world, "/socket/stats").status, 200);
    assert_eq!(post(&world, "/socket/rooms", "{}").status, 422);
    assert_eq!(get(&world, "/healthz").status, 200);
    let metrics = get(&world, "/metrics");
    assert_eq!(metrics.header("content-type"), crate::telemetry::CONTENT_TYPE);
    for line in [
        "corewire_sockets{core=\"1\"} 1",
        "corewire_core_healthy{core=\"0\"} 1",
        "corewire_rest_calls_total{core=\"2\"} 2",
        "corewire_rest_errors_total{core=\"2\"} 1",
        "corewire_gateway_users 1",
        "corewire_gateway_rooms 0",
        "corewire_up 1",
    ] {
        assert!(metrics.body.lines().any(|found| found == line), "{line}\n{}", metrics.body);
    }
    let stages = get(&world, "/socket/latency?stage=rest_call").at("/data/rest_call/count");
    assert_eq!(stages, 2, "probes are not calls");
}
