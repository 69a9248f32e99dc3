//! Axes: where a value stands between the ends, and which ticks are worth a label.

/// How an axis turns a value into a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From zero on, so that lengths can be compared.
    Linear,
    /// Each factor of ten as wide as the next.
    Log,
    /// Of quantiles: each nine as wide as the next.
    Nines,
}

/// What an axis measures, and so how its values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Microseconds.
    Time,
    /// Seconds since the start.
    Seconds,
    /// Bytes.
    Bytes,
    /// Things, or things a second.
    Quantity,
    /// CPUs kept busy.
    Cpus,
    /// 0 to 1, as percentiles.
    Quantile,
}

impl Unit {
    /// A value as it is written under the pointer.
    pub(super) fn write(self, value: f64) -> String {
        match self {
            Self::Time => super::duration(value),
            Self::Bytes => super::bytes(value),
            Self::Quantity => super::quantity(value),
            Self::Seconds => format!("{value:.0} s"),
            Self::Cpus => format!("{value:.2}"),
            Self::Quantile => quantile_name(value),
        }
    }

    /// A round value as it is written at a tick: no digit more than it needs.
    fn tick(self, value: f64) -> String {
        match self {
            Self::Time | Self::Bytes if value == 0.0 => "0".to_owned(),
            Self::Cpus => plain(value),
            _ => {
                let text = self.write(value);
                let (figure, unit) = text.split_once(' ').unwrap_or((&text, ""));
                let short = match figure.contains('.') {
                    true => figure.trim_end_matches('0').trim_end_matches('.'),
                    false => figure,
                };
                let gap = if unit.is_empty() { "" } else { " " };
                format!("{short}{gap}{unit}")
            }
        }
    }
}

/// `50%`, `99.9%`: as many nines as there are.
fn quantile_name(quantile: f64) -> String {
    let beyond = ((1.0 - quantile) * 100.0).max(1e-9);
    let digits = (1.0 - beyond.log10()).ceil().clamp(0.0, 6.0) as usize;
    let text = format!("{:.digits$}", quantile * 100.0);
    let short = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{short}%")
}

/// A number without zeros that say nothing.
fn plain(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A tick: where, 0 to 1 from the low end, and what it says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// One axis of a chart.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// What it measures, for its title.
    pub(super) label: String,
    pub(super) unit: Unit,
    kind: Kind,
    low: f64,
    high: f64,
}

/// Where the axis of quantiles ends at most: 99.999%.
const NINES_MAX: f64 = 5.0;

impl Axis {
    /// An axis that holds all `values`; of those only finite ones count, on a log axis only those
    /// above zero.
    pub(super) fn fit(label: &str, unit: Unit, kind: Kind, values: &[f64]) -> Self {
        let above = |value: &f64| value.is_finite() && (kind == Kind::Linear || *value > 0.0);
        let seen: Vec<f64> = values.iter().copied().filter(above).collect();
        let least = seen.iter().copied().fold(f64::INFINITY, f64::min);
        let most = seen.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = match kind {
            _ if seen.is_empty() => (1.0, 10.0),
            Kind::Linear if unit == Unit::Seconds => (0.0, most.max(1.0)),
            Kind::Linear => (0.0, linear_top(unit, most)),
            Kind::Log => log_ends(least, most),
            Kind::Nines => {
                let nines = |quantile: f64| -(1.0 - quantile).max(1e-9).log10();
                (0.0, (nines(most) - 1e-6).ceil().clamp(2.0, NINES_MAX))
            }
        };
        Self { label: label.to_owned(), unit, kind, low, high }
    }

    /// Linear where the values are of one size, else log: a log axis hides what is near zero, a
    /// linear one what is small.
    pub(super) fn fit_either(label: &str, unit: Unit, values: &[f64]) -> Self {
        const SPAN_MAX: f64 = 20.0;
        let above = values.iter().copied().filter(|value| *value > 0.0);
        let (least, most) =
            above.fold((f64::INFINITY, 0.0_f64), |(a, b), value| (a.min(value), b.max(value)));
        let kind = if most > least * SPAN_MAX { Kind::Log } else { Kind::Linear };
        Self::fit(label, unit, kind, values)
    }

    /// Where a value stands, 0 to 1; none beyond the ends or where the axis has no place for it.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        const ROUNDING: f64 = 1e-9;
        let at = match self.kind {
            Kind::Linear => (value - self.low) / (self.high - self.low),
            Kind::Log => (value / self.low).log10() / (self.high / self.low).log10(),
            Kind::Nines => -(1.0 - value).log10() / self.high,
        };
        let inside = at.is_finite() && (-ROUNDING..=1.0 + ROUNDING).contains(&at);
        inside.then(|| at.clamp(0.0, 1.0))
    }

    /// Whether equal steps are equal factors, for the reader to be told.
    pub(super) const fn is_log(&self) -> bool {
        matches!(self.kind, Kind::Log)
    }

    /// The ticks, from low to high.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let values = match self.kind {
            Kind::Linear => self.linear_ticks(),
            Kind::Log => self.log_ticks(),
            Kind::Nines => {
                let nines = (1..=self.high as i32).map(|nines| 1.0 - 10_f64.powi(-nines));
                [0.5].into_iter().chain(nines).collect()
            }
        };
        let tick =
            |value: f64| self.place(value).map(|at| Tick { at, label: self.unit.tick(value) });
        values.into_iter().filter_map(tick).collect()
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let step = linear_step(self.unit, self.high);
        let last = (self.high / step * (1.0 + 1e-9)).floor() as u32;
        (0..=last).map(|at| f64::from(at) * step).collect()
    }

    fn log_ticks(&self) -> Vec<f64> {
        let factors: &[f64] = match (self.high / self.low).log10() {
            decades if decades > 2.5 => &[1.0],
            decades if decades > 1.5 => &[1.0, 3.0],
            _ => &[1.0, 2.0, 5.0],
        };
        let mut values = Vec::new();
        let mut decade = 10_f64.powf((self.low * (1.0 + 1e-9)).log10().floor());
        while decade <= self.high * (1.0 + 1e-9) {
            values.extend(factors.iter().map(|factor| factor * decade));
            decade *= 10.0;
        }
        values
    }
}

/// The unit that round steps are counted in: binary ones for bytes.
fn base(unit: Unit, most: f64) -> f64 {
    match unit {
        Unit::Bytes => {
            let power = (most.max(1.0).log2() / 10.0).floor().clamp(0.0, 3.0);
            (power * 10.0).exp2()
        }
        _ => 1.0,
    }
}

/// A round step that gives about five ticks up to `most`.
fn linear_step(unit: Unit, most: f64) -> f64 {
    const TICKS: f64 = 5.0;
    let base = base(unit, most);
    let wanted = most / base / TICKS;
    let decade = 10_f64.powf(wanted.log10().floor());
    let round = [1.0, 2.0, 2.5, 5.0, 10.0];
    let step = round.iter().map(|factor| factor * decade).find(|step| *step >= wanted * 0.999);
    base * step.unwrap_or(10.0 * decade)
}

/// The tick at or above `most`.
fn linear_top(unit: Unit, most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let step = linear_step(unit, most);
    (most / step * (1.0 - 1e-9)).ceil() * step
}

/// The nearest 1, 2 or 5 of a decade below and above.
fn log_ends(least: f64, most: f64) -> (f64, f64) {
    let steps = |value: f64| {
        let decade = 10_f64.powf(value.log10().floor());
        [0.5, 1.0, 2.0, 5.0, 10.0, 20.0].map(|factor| factor * decade)
    };
    let below = steps(least).into_iter().rev().find(|step| *step <= least);
    let above = steps(most).into_iter().find(|step| *step >= most);
    let (low, high) = (below.unwrap_or(least), above.unwrap_or(most));
    if high > low { (low, high) } else { (low / 2.0, high * 2.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn linear_axes_start_at_zero_and_end_at_a_tick() {
        let axis = Axis::fit("rate", Unit::Quantity, Kind::Linear, &[1_900_000.0, 2_080_000.0]);
        assert_eq!(labels(&axis), ["0", "500 k", "1 M", "1.5 M", "2 M", "2.5 M"]);
        assert_eq!(axis.place(0.0), Some(0.0));
        assert_eq!(axis.place(2_500_000.0), Some(1.0));
        assert_eq!(axis.place(2_600_000.0), None);
    }

    #[test]
    fn sizes_have_binary_ticks() {
        let axis = Axis::fit("memory", Unit::Bytes, Kind::Linear, &[14.6 * 1_048_576.0]);
        assert_eq!(labels(&axis), ["0", "5 MiB", "10 MiB", "15 MiB"]);
        let axis = Axis::fit("memory", Unit::Bytes, Kind::Linear, &[1_790.0]);
        assert_eq!(labels(&axis), ["0", "512 B", "1 KiB", "1.5 KiB", "2 KiB"]);
    }

    #[test]
    fn log_axes_end_at_round_values_and_have_no_place_for_zero() {
        let axis = Axis::fit("latency", Unit::Time, Kind::Log, &[0.0, 270.0, 8_100.0]);
        assert_eq!(labels(&axis), ["300 µs", "1 ms", "3 ms", "10 ms"]);
        assert_eq!(axis.place(0.0), None);
        assert_eq!(axis.place(10_000.0), Some(1.0));
        let axis = Axis::fit("latency", Unit::Time, Kind::Log, &[30.0, 2_500_000.0]);
        assert_eq!(labels(&axis), ["100 µs", "1 ms", "10 ms", "100 ms", "1 s"]);
    }

    #[test]
    fn one_value_still_has_an_axis() {
        for kind in [Kind::Linear, Kind::Log] {
            let axis = Axis::fit("latency", Unit::Time, kind, &[1_000.0]);
            assert!(axis.ticks().len() >= 2, "{kind:?}");
            assert!(axis.place(1_000.0).is_some(), "{kind:?}");
        }
        let axis = Axis::fit("nothing", Unit::Time, Kind::Linear, &[]);
        assert!(!axis.ticks().is_empty());
        let axis = Axis::fit("zeros", Unit::Quantity, Kind::Linear, &[0.0, 0.0]);
        assert_eq!(axis.place(0.0), Some(0.0));
    }

    #[test]
    fn each_nine_is_as_wide_as_the_next() {
        let axis = Axis::fit("share", Unit::Quantile, Kind::Nines, &[0.0, 0.9999]);
        assert_eq!(labels(&axis), ["50%", "90%", "99%", "99.9%", "99.99%"]);
        let at = |quantile| axis.place(quantile).expect("it is inside");
        assert!((at(0.9) - 0.25).abs() < 1e-9);
        assert!((at(0.99) - 0.5).abs() < 1e-9);
        assert_eq!(axis.place(1.0), None);
    }

    #[test]
    fn the_kind_follows_the_span() {
        assert!(!Axis::fit_either("x", Unit::Time, &[10.0, 150.0]).is_log());
        assert!(Axis::fit_either("x", Unit::Time, &[0.0, 10.0, 350.0]).is_log());
    }
}
