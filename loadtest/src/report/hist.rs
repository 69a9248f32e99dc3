//! A latency's histogram as the percentile text that plotters of `HdrHistogram` read.

use std::fmt::Write as _;

use crate::model::Latency;

/// Steps a half distance to 100 % is cut into; five is what every `HdrHistogram` tool writes.
const STEPS_PER_HALF: i32 = 5;

/// A line of the percentile table: `total` values are at most `value`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Share of the values, 0 to 1, that this line answers for.
    pub quantile: f64,
    /// Microseconds.
    pub value: f64,
    /// How many values are at most this.
    pub total: u64,
}

/// The percentile table of `bins`, pairs of a value in microseconds and how many there are, in
/// ascending order. Empty if there is nothing in them.
#[must_use]
pub fn levels(bins: &[(f64, u64)]) -> Vec<Level> {
    let count: u64 = bins.iter().map(|(_, n)| n).sum();
    let mut levels = Vec::new();
    let mut left = bins.iter();
    let (mut value, mut total) = (0.0, 0);
    // Half distances to 1 that lie behind us, and steps in the one we are in.
    let (mut halves, mut step) = (0, 0);
    while total < count {
        let half = 0.5_f64.powi(halves);
        let quantile = 1.0 - half + half / 2.0 * f64::from(step) / f64::from(STEPS_PER_HALF);
        let wanted = ((quantile * count as f64).ceil() as u64).clamp(1, count);
        while total < wanted {
            let Some((bin_value, n)) = left.next() else { break };
            value = *bin_value;
            total += n;
        }
        levels.push(Level { quantile, value, total });
        step += 1;
        if step == STEPS_PER_HALF {
            (halves, step) = (halves + 1, 0);
        }
    }
    if count > 0 {
        levels.push(Level { quantile: 1.0, value, total });
    }
    levels
}

/// The percentile distribution of a latency as text.
///
/// Rule: `HdrHistogram`, `outputPercentileDistribution`, in the form the server's
/// `GET /socket/latency?format=hgrm` has too: a head, four columns a line, the last line without
/// its fourth (it would be infinite), and lines of totals; the one on how a histogram is laid out
/// is left out, since the layout did not come with the values. Units: values in microseconds.
#[must_use]
pub fn hgrm(latency: &Latency) -> String {
    let mut text = format!(
        "{:>14} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for Level { quantile, value, total } in levels(&latency.bins) {
        put(&mut text, format_args!("{value:>14.3} {quantile:2.12} {total:10}"));
        if quantile < 1.0 {
            put(&mut text, format_args!(" {:14.2}", 1.0 / (1.0 - quantile)));
        }
        text.push('\n');
    }
    put(
        &mut text,
        format_args!(
            "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n\
             #[Max     = {:12.3}, Total count    = {:12}]\n",
            latency.mean,
            deviation(&latency.bins),
            latency.max,
            latency.count,
        ),
    );
    text
}

/// Standard deviation of the values, in microseconds; 0 where there are none.
fn deviation(bins: &[(f64, u64)]) -> f64 {
    let count: u64 = bins.iter().map(|(_, n)| n).sum();
    if count == 0 {
        return 0.0;
    }
    let sum: f64 = bins.iter().map(|(value, n)| value * *n as f64).sum();
    let mean = sum / count as f64;
    let squares: f64 = bins.iter().map(|(value, n)| (value - mean).powi(2) * *n as f64).sum();
    (squares / count as f64).sqrt()
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes all that is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 µs to 100 µs, each once.
    fn hundred() -> Latency {
        let bins: Vec<(f64, u64)> = (1..=100).map(|us| (f64::from(us), 1)).collect();
        Latency { count: 100, mean: 50.5, max: 100.0, bins, ..Latency::default() }
    }

    #[test]
    fn levels_halve_the_distance_to_one() {
        let levels = levels(&hundred().bins);
        let line = |at: usize| (levels[at].value, levels[at].total);
        assert_eq!(line(0), (1.0, 1));
        assert_eq!(line(5), (50.0, 50), "five steps to the half");
        assert_eq!(line(10), (75.0, 75), "five more to three quarters");
        let last = levels.last().expect("there are some");
        assert_eq!((last.quantile, last.value, last.total), (1.0, 100.0, 100));
        assert!(levels.windows(2).all(|pair| pair[0].quantile < pair[1].quantile));
        assert!(super::levels(&[]).is_empty());
        assert!(super::levels(&[(5.0, 0)]).is_empty());
    }

    #[test]
    fn one_value_is_two_lines() {
        let levels = levels(&[(7.0, 1000)]);
        assert_eq!(levels.len(), 2);
        assert_eq!(levels[0], Level { quantile: 0.0, value: 7.0, total: 1000 });
        assert_eq!(levels[1], Level { quantile: 1.0, value: 7.0, total: 1000 });
    }

    #[test]
    fn the_text_is_what_the_plotters_read() {
        let text = hgrm(&hundred());
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("         Value     Percentile TotalCount 1/(1-Percentile)"));
        assert_eq!(lines.next(), Some(""));
        assert_eq!(lines.next(), Some("         1.000 0.000000000000          1           1.00"));
        assert!(text.contains("\n        50.000 0.500000000000         50           2.00\n"));
        assert!(text.contains("\n       100.000 1.000000000000        100\n#["));
        assert!(text.contains("#[Mean    =       50.500, StdDeviation   =       28.866]\n"));
        assert!(text.contains("#[Max     =      100.000, Total count    =          100]\n"));
    }

    #[test]
    fn nothing_recorded_is_a_head_and_totals() {
        let text = hgrm(&Latency::default());
        assert_eq!(text.lines().count(), 4);
    }
}
