//! The kernel's small formats.

/// Rule: cpuset(7), "List format": `0-3,6`. Nothing is the empty list.
#[must_use]
pub fn list(text: &str) -> Option<Vec<usize>> {
    /// More than any list of CPUs or ports holds.
    const NUMBERS_MAX: usize = 65_536;
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= NUMBERS_MAX {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// Writes what [`list`] reads.
#[must_use]
pub fn show_list(numbers: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let show = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.iter().map(show).collect::<Vec<_>>().join(",")
}

/// Rule: cpuset(7), "Mask format": words of 32 bits in hexadecimal, the highest first. Whether
/// any bit is set.
#[must_use]
pub fn mask_is_set(text: &str) -> bool {
    text.trim().chars().any(|digit| !matches!(digit, '0' | ','))
}

/// Writes CPUs as a mask.
#[must_use]
pub fn show_mask(cpus: &[usize]) -> String {
    let words = cpus.iter().max().map_or(1, |cpu| cpu / 32 + 1);
    let word = |at: usize| {
        cpus.iter().filter(|cpu| *cpu / 32 == at).fold(0u32, |bits, cpu| bits | 1 << (cpu % 32))
    };
    let mut parts = vec![format!("{:x}", word(words - 1))];
    parts.extend((0..words - 1).rev().map(|at| format!("{:08x}", word(at))));
    parts.join(",")
}

/// The first two numbers of a kernel's release: `6.18.44-cloud` is 6, 18.
#[must_use]
pub fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The word that is chosen of several: `always [madvise] never`.
#[must_use]
pub fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word)
}

/// A control group's quota in thousandths of a CPU, from quota and period in microseconds; a
/// quota of `max` or `-1` is none.
#[must_use]
pub fn quota_milli(quota: &str, period: &str) -> Option<u64> {
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok()?;
    (quota * 1_000).checked_div(period)
}

/// Whether the name of an interrupt in `/proc/interrupts` may be a queue that receives, and not
/// one for sending only or for the card's own affairs.
#[must_use]
pub fn is_receive_queue(name: &str) -> bool {
    const OTHERS: [&str; 8] =
        ["config", "control", "async", "ctrl", "cmd", "mgm", "misc", "output"];
    let name = name.to_ascii_lowercase();
    // A name alone, `eth0`, is a card's one interrupt or that for its affairs.
    let is_one_of_many =
        name.contains(['-', '.', '_']) && name.contains(|c: char| c.is_ascii_digit());
    let sends_only = name.contains("-tx-") && !name.contains("rx");
    is_one_of_many && !sends_only && !OTHERS.iter().any(|other| name.contains(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_are_those_of_the_kernel() {
        assert_eq!(list("0-3,6\n"), Some(vec![0, 1, 2, 3, 6]));
        assert_eq!(list("\n"), Some(vec![]));
        assert_eq!(list("a"), None);
        assert_eq!(list("0-99999999999"), None);
        assert_eq!(show_list(&[0, 1, 2, 3, 6]), "0-3,6");
        assert_eq!(show_list(&[]), "");
        assert!(mask_is_set("00000000,00000003") && mask_is_set("f"));
        assert!(!mask_is_set("00000000,00000000\n"));
        assert_eq!(show_mask(&[0, 1, 4]), "13");
        assert_eq!(show_mask(&[33, 0]), "2,00000001");
        assert_eq!(show_mask(&[]), "0");
    }

    #[test]
    fn other_small_formats() {
        assert_eq!(release("6.18.44-fc-v657\n"), Some((6, 18)));
        assert_eq!(release("5.4"), Some((5, 4)));
        assert_eq!(release("linux"), None);
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("always"), None);
        assert_eq!(quota_milli("150000", "100000\n"), Some(1_500));
        assert_eq!(quota_milli("max", "100000"), None);
        assert_eq!(quota_milli("-1", "100000"), None);
        assert_eq!(quota_milli("1", "0"), None);
    }

    #[test]
    fn queues_that_receive_are_told_by_their_names() {
        for name in
            ["eth0-TxRx-0", "virtio0-input.0", "mlx5_comp0@pci:0000:01:00.0", "ens5-Tx-Rx-3"]
        {
            assert!(is_receive_queue(name), "{name}");
        }
        for name in ["virtio0-config", "virtio0-output.0", "mlx5_async0@pci:0", "eth0", "eth0-tx-1"]
        {
            assert!(!is_receive_queue(name), "{name}");
        }
    }
}
