//! One case under callgrind, and what decides its count.
//!
//! A harness with a runner of its own (iai-callgrind, gungraun) needs a second binary, installed
//! apart and of the very same version. This program starts itself under valgrind instead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cases::{Live, Tally};

/// The flag with which this program starts itself: the case's name follows.
pub(crate) const CHILD: &str = "--case";

/// Runs before the one that counts: caches of the allocator, tables and vectors at their size.
const WARM_RUNS: usize = 4;

/// One counted run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Instructions.
    pub(crate) instructions: u64,
    /// What was asked of the host.
    pub(crate) tally: Tally,
}

/// The child's part: sets up, warms up, runs once more, and prints what was asked of the host.
pub(crate) fn child(mut live: Box<dyn Live>) -> String {
    for _ in 0..WARM_RUNS {
        live.prepare();
        live.run();
    }
    live.prepare();
    let before = live.tally();
    counted_by_callgrind(&mut *live);
    let after = live.tally();
    let sends = after.sends - before.sends;
    let clock_reads = after.clock_reads - before.clock_reads;
    format!("{sends} {clock_reads}")
}

/// Callgrind counts between its first instruction and its last, by its name.
#[inline(never)]
fn counted_by_callgrind(live: &mut dyn Live) {
    live.run();
    // The call above must not become a jump: then nothing returns here.
    std::hint::black_box(());
}

/// Counts one case. Its profile is kept, for `callgrind_annotate`.
///
/// # Errors
/// Valgrind or the case failed: what it said.
pub(crate) fn count(program: &Path, case: &str) -> Result<Run, String> {
    let kept = profile(case);
    // Another run of this program may count the same case at this moment.
    let out = kept.with_extension(std::process::id().to_string());
    let folder = kept.parent().ok_or("the profile has a folder")?;
    let failed = |error: std::io::Error| format!("{}: {error}", out.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let child = clean("valgrind")
        // When memory goes back to the kernel the clock would decide.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        .args(["--tool=callgrind", "--collect-atstart=no", "--quiet"])
        .arg("--toggle-collect=*counted_by_callgrind*")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args([CHILD, case])
        .output()
        .map_err(|error| {
            format!("valgrind does not start ({error}); tests/run setup installs it")
        })?;
    if !child.status.success() {
        let said = String::from_utf8_lossy(&child.stderr);
        return Err(format!("{case} ended with {}:\n{said}", child.status));
    }
    let text = std::fs::read_to_string(&out).map_err(failed)?;
    std::fs::rename(&out, &kept).map_err(failed)?;
    let instructions = total(&text).ok_or_else(|| format!("{case}: no total in its profile"))?;
    let tally = tally(&child.stdout).ok_or_else(|| format!("{case} did not say its tally"))?;
    Ok(Run { instructions, tally })
}

/// Where the profile of a case is kept.
pub(crate) fn profile(case: &str) -> PathBuf {
    let file = format!("callgrind.{}.out", case.replace('/', "."));
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions").join(file)
}

/// The sum at the foot of a profile.
fn total(profile: &str) -> Option<u64> {
    let line = profile.lines().rev().find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok().filter(|total| *total > 0)
}

fn tally(stdout: &[u8]) -> Option<Tally> {
    let (sends, clock_reads) = std::str::from_utf8(stdout).ok()?.trim().split_once(' ')?;
    Some(Tally { sends: sends.parse().ok()?, clock_reads: clock_reads.parse().ok()? })
}

/// Everything that decides which instructions run, apart from the sources.
///
/// # Errors
/// The compiler or valgrind cannot be asked.
pub(crate) fn made_with(program: &Path) -> Result<BTreeMap<String, String>, String> {
    let rustc = said(Command::new("rustc").arg("-vV"))?;
    let word = |key: &str| {
        let mut lines = rustc.lines();
        lines.find_map(|line| line.strip_prefix(key)).unwrap_or("unknown").to_owned()
    };
    let first = |text: String| text.lines().next().unwrap_or("unknown").to_owned();
    Ok(BTreeMap::from([
        (String::from("rustc"), word("rustc ")),
        (String::from("llvm"), word("LLVM version: ")),
        (String::from("target"), word("host: ")),
        (String::from("cc"), first(said(Command::new("cc").arg("--version"))?)),
        (String::from("libc"), first(said(Command::new("getconf").arg("GNU_LIBC_VERSION"))?)),
        (String::from("valgrind"), first(said(Command::new("valgrind").arg("--version"))?)),
        (String::from("features"), first(said(&mut under_valgrind(program))?)),
    ]))
}

/// The flag with which this program prints the CPU features that it sees.
pub(crate) const FEATURES: &str = "--features";

/// Valgrind shows a CPU of its own making: what is chosen at run time is chosen by that.
fn under_valgrind(program: &Path) -> Command {
    let mut command = clean("valgrind");
    command.args(["--tool=none", "--quiet"]).arg(program).arg(FEATURES);
    command
}

/// A command without our environment: its size alone would move the stack.
fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

fn said(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name} does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// CPU features that some crate here looks for, when it is compiled or when it runs.
#[cfg(target_arch = "x86_64")]
pub(crate) fn features() -> String {
    let known = [
        ("aes", cfg!(target_feature = "aes"), std::is_x86_feature_detected!("aes")),
        ("avx2", cfg!(target_feature = "avx2"), std::is_x86_feature_detected!("avx2")),
        ("avx512f", cfg!(target_feature = "avx512f"), std::is_x86_feature_detected!("avx512f")),
        ("bmi2", cfg!(target_feature = "bmi2"), std::is_x86_feature_detected!("bmi2")),
        ("sse4.2", cfg!(target_feature = "sse4.2"), std::is_x86_feature_detected!("sse4.2")),
    ];
    let list = |built: bool| {
        let has = |row: &&(&str, bool, bool)| if built { row.1 } else { row.2 };
        let names: Vec<&str> = known.iter().filter(has).map(|row| row.0).collect();
        if names.is_empty() { String::from("none") } else { names.join(" ") }
    };
    format!("built with {}, found {}", list(true), list(false))
}

/// No other architecture has features that are looked for at run time here.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn features() -> String {
    String::from(std::env::consts::ARCH)
}
