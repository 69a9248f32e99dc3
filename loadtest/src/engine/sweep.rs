//! How cost grows with a size: a scenario run once for each of several.

use super::run::{Options, once};
use crate::check::oracle;
use crate::model::{Report, Series};
use crate::scenario::{Kind, Scenario, Sweep, with};

/// Runs the scenario for each value. The report is that of the last run, with the series and the
/// oracle of all.
pub(super) fn run(scenario: &Scenario, sweep: &Sweep, options: &Options) -> Result<Report, String> {
    let mut options = options.clone();
    let mut last: Option<Report> = None;
    let label = if sweep.label.is_empty() { &sweep.key } else { &sweep.label };
    let series = |name: &str, y_label: &str| Series {
        name: name.to_owned(),
        x_label: label.clone(),
        y_label: y_label.to_owned(),
        points: Vec::new(),
    };
    let mut cpu = series("CPU of the server for one operation", "CPU, us");
    let mut memory = series("Memory of the server for one connection", "memory, bytes");
    let mut p50 = series("Latency, p50", "latency, us");
    for value in &sweep.values {
        let sized = with(scenario, sweep, *value)?;
        let mut report = once(&sized, &options)?;
        #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
        let size = *value as f64 * sweep.times;
        if let Some(server) = &report.server {
            options.anon_before.get_or_insert(server.anon_before_bytes);
            cpu.points.extend(server.cpu_us_per_operation.map(|cost| (size, cost)));
            // Elsewhere what the load leaves behind is larger than what a connection costs.
            let idle = server.anon_bytes_per_connection.filter(|_| sized.kind == Kind::Idle);
            memory.points.extend(idle.map(|cost| (size, cost)));
        }
        let main = crate::load::main_timing(sized.kind).name();
        p50.points.extend(report.latencies.get(main).map(|latency| (size, latency.p50)));
        if let Some(last) = last {
            oracle::add(&mut report.oracle, &last.oracle);
        }
        last = Some(report);
    }
    let mut report = last.ok_or("sweep.values: at least one")?;
    report.scenario = toml::to_string(scenario).unwrap_or_default();
    report.series =
        [cpu, memory, p50].into_iter().filter(|series| !series.points.is_empty()).collect();
    Ok(report)
}
