//! Figures as people read them: three digits that count, and a unit that fits.

/// Three digits that count: `4.52`, `45.2`, `452`.
fn three(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if size < 9.995 {
        format!("{value:.2}")
    } else if size < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// The unit of a table that leaves fewer than four digits before the point.
fn fitting(value: f64, units: &[(f64, &str)]) -> String {
    let fits = |(size, _): &&(f64, &str)| value.abs() >= size * 0.9995;
    let (size, unit) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{} {unit}", three(value / size))
}

/// A time in microseconds, as `4.52 µs`, `1.30 ms` or `12.4 s`.
#[must_use]
pub fn duration(us: f64) -> String {
    if us == 0.0 {
        return "0 µs".to_owned();
    }
    fitting(us, &[(1.0, "µs"), (1e3, "ms"), (1e6, "s")])
}

/// A size in bytes, as `257 B`, `1.74 KiB` or `16.2 MiB`.
#[must_use]
pub fn bytes(size: f64) -> String {
    const KIB: f64 = 1024.0;
    if size.abs() < 999.5 {
        return format!("{size:.0} B");
    }
    fitting(size, &[(KIB, "KiB"), (KIB * KIB, "MiB"), (KIB * KIB * KIB, "GiB")])
}

/// A rate or another amount that may be large, as `852`, `9,213`, `204 k` or `1.43 M`.
#[must_use]
pub fn quantity(value: f64) -> String {
    if value.abs() < 9_999.5 {
        if value.fract() == 0.0 || value.abs() >= 999.5 {
            return grouped(&format!("{value:.0}"));
        }
        return three(value);
    }
    fitting(value, &[(1e3, "k"), (1e6, "M"), (1e9, "G")])
}

/// A number of things, whole: `6,123,004`.
#[must_use]
pub fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// A share from 0 to 1, as `62%`.
#[must_use]
pub fn share(value: f64) -> String {
    format!("{:.0}%", value * 100.0)
}

/// Puts a comma before each three digits.
fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut text = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_three_digits_and_change_unit_where_they_would_grow_a_fourth() {
        let cases = [
            (0.0, "0 µs"),
            (0.42, "0.42 µs"),
            (4.523, "4.52 µs"),
            (9.996, "10.0 µs"),
            (99.96, "100 µs"),
            (950.0, "950 µs"),
            (999.6, "1.00 ms"),
            (1_300.0, "1.30 ms"),
            (12_449.0, "12.4 ms"),
            (1_240_000.0, "1.24 s"),
            (75_000_000.0, "75.0 s"),
        ];
        for (us, text) in cases {
            assert_eq!(duration(us), text, "{us}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        for (size, text) in [
            (0.0, "0 B"),
            (257.0, "257 B"),
            (1023.0, "1.00 KiB"),
            (1782.0, "1.74 KiB"),
            (16_986_931.0, "16.2 MiB"),
            (-2048.0, "-2.00 KiB"),
        ] {
            assert_eq!(bytes(size), text, "{size}");
        }
    }

    #[test]
    fn amounts_are_grouped_and_then_shortened() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.50"),
            (852.0, "852"),
            (852.4, "852"),
            (9_213.4, "9,213"),
            (9_999.6, "10.0 k"),
            (204_812.0, "205 k"),
            (1_430_000.0, "1.43 M"),
        ] {
            assert_eq!(quantity(value), text, "{value}");
        }
        assert_eq!(count(6_123_004), "6,123,004");
        assert_eq!(count(123), "123");
        assert_eq!(share(0.617), "62%");
    }
}
