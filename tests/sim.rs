//! Many seeds through the simulator.
#[test]
fn one() {
    let from: u64 = std::env::var("SIM_SEED").map_or(0, |s| s.parse().expect("n"));
    let n: u64 = std::env::var("SIM_N").map_or(1, |s| s.parse().expect("n"));
    for seed in from..from + n {
        eprintln!("seed {seed}");
        let r = corewire::sim::run(seed);
        eprintln!("{} steps {} delivered {} answers", r.steps, r.delivered, r.answers);
    }
}
