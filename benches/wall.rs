//! Time of every case. `cargo bench --bench wall -- shard` measures those whose names hold that.
//!
//! Meaningful on a quiet machine only; what must hold on any is counted by `instructions.rs`. A run
//! without `--bench`, as `cargo test --all-targets` does it, does nothing: the cases have been
//! shown to work there.
#![expect(clippy::disallowed_methods, reason = "it measures time")]

mod cases;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    for case in cases::all() {
        let mut group = criterion.benchmark_group(case.name);
        group.throughput(Throughput::Elements(u64::from(case.units)));
        if case.heavy {
            group.sample_size(10);
        }
        group.bench_function(case.unit, |bencher| {
            let mut live = (case.build)();
            let mut sends = None;
            bencher.iter_custom(|runs| {
                let mut spent = Duration::ZERO;
                for _ in 0..runs {
                    live.prepare();
                    let before = live.tally().sends;
                    let began = Instant::now();
                    live.run();
                    spent += began.elapsed();
                    let sent = live.tally().sends - before;
                    assert_eq!(*sends.get_or_insert(sent), sent, "a run does what the last did");
                }
                spent
            });
        });
        group.finish();
    }
    criterion.final_summary();
}
