//! The configuration file, and the flags beside it.

use corewire::config::{Options, load, parse_command};

/// A mistake is one line, and what was read once is read again.
pub(super) fn file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // Comments that begin with a flag are the command line of this run.
    let args: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix('#')).map(str::to_owned).take(8).collect();
    let _command = parse_command(&args);
    let read = || load(Options::default(), Some(("corewire.toml", &text)), [], &args);
    match read() {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                assert!(!warning.contains('\n'), "{warning:?}");
            }
            assert!(read().is_ok_and(|again| again == loaded), "read twice, and otherwise");
        }
        Err(error) => {
            let line = error.to_string();
            assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
        }
    }
}
