//! The file of a run: written whole, and read back only where its format is known.

use std::fmt;

use serde::Deserialize;

use crate::model::{FORMAT, Report};

/// Why a file is not the report of a run that this program can read.
#[derive(Debug)]
pub enum ReadError {
    /// It is no JSON, or no report.
    Unreadable(serde_json::Error),
    /// It is a report of another format.
    Format {
        /// The number it names.
        found: u32,
        /// The program that wrote it, as far as it says.
        tool: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(
                out,
                "this is no report of a run ({why}): give the report.json that `loadtest run` \
                 wrote into the folder of --out"
            ),
            Self::Format { found, tool } => {
                let writer = if tool.is_empty() { "another version" } else { tool };
                write!(
                    out,
                    "this report has format {found} and this program reads format {FORMAT}: run \
                     the scenario again with this program, or read the file with the one that \
                     wrote it ({writer})"
                )
            }
        }
    }
}

impl std::error::Error for ReadError {}

/// What every format has, so that a report of another one can be told from rubbish.
#[derive(Deserialize)]
struct Head {
    format: u32,
    #[serde(default)]
    tool: String,
}

/// The report as JSON, with a line end behind it.
#[must_use]
pub fn write(report: &Report) -> String {
    let mut text =
        serde_json::to_string(report).expect("a report holds nothing that JSON cannot say");
    text.push('\n');
    text
}

/// Reads what [`write()`] wrote.
///
/// # Errors
///
/// [`ReadError`] says what to do: the text is no report, or one of another format.
pub fn read(text: &str) -> Result<Report, ReadError> {
    let head: Head = serde_json::from_str(text).map_err(ReadError::Unreadable)?;
    if head.format != FORMAT {
        return Err(ReadError::Format { found: head.format, tool: head.tool });
    }
    serde_json::from_str(text).map_err(ReadError::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_report_comes_back_as_it_was() {
        let report = sample::fanout();
        let back = read(&write(&report)).expect("it was just written");
        let (was, is) = (&report.latencies["delivery"], &back.latencies["delivery"]);
        assert_eq!((is.count, is.p9999), (was.count, was.p9999));
        assert!(is.bins == was.bins && is.curve.len() == was.curve.len());
        assert_eq!((back.name, back.scenario), (report.name, report.scenario));
        assert_eq!(back.oracle, report.oracle);
        assert_eq!(back.timeline.len(), report.timeline.len());
    }

    #[test]
    fn another_format_is_refused_with_what_to_do() {
        let text = r#"{"format":99,"tool":"loadtest 9.0","new":[]}"#;
        let error = read(text).expect_err("it is of another format").to_string();
        for part in ["format 99", "format 1", "run the scenario again", "loadtest 9.0"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn rubbish_is_refused_with_what_to_do() {
        for text in ["", "{}", "[1]", r#"{"format":1}"#] {
            let error = read(text).expect_err("it is no report").to_string();
            assert!(error.contains("report.json that `loadtest run` wrote"), "{text}: {error}");
        }
    }
}
