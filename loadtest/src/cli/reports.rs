//! What is done with a report: shown, written, compared.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::budget::Budget;
use crate::model::Report;
use crate::report;

/// What to show again.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The report.json of a run.
    report: PathBuf,
    /// Folder for report.json, report.html, report.txt and the .hgrm files.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What the run must keep, a line each, such as `p99 <= 5ms`; replaces the run's own.
    #[arg(long, value_name = "FILE")]
    budget: Option<PathBuf>,
}

/// What to compare.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// The report.json of the run to compare with.
    a: PathBuf,
    /// The report.json of the run to compare.
    b: PathBuf,
    /// File for the comparison as a page with plots.
    #[arg(long, value_name = "FILE.html", default_value = "compare.html")]
    out: PathBuf,
}

/// The budget of a file; none without a file.
///
/// # Errors
///
/// A line that says which file or which line of it is wrong.
pub(super) fn budget(path: Option<&Path>) -> Result<Option<Budget>, String> {
    let Some(path) = path else { return Ok(None) };
    let text = read(path)?;
    Budget::parse(&text).map(Some).map_err(|why| format!("{}: {why}", path.display()))
}

/// The folder that files will be written to, made if it is not there. Before the run: a folder
/// that cannot be made must not cost one.
///
/// # Errors
///
/// A line that says why it cannot be made.
pub(super) fn make_folder(folder: Option<&Path>) -> Result<(), String> {
    let Some(folder) = folder else { return Ok(()) };
    fs::create_dir_all(folder)
        .map_err(|why| format!("{}: {why}; give --out a folder to write to", folder.display()))
}

/// Writes everything of a run into `folder`.
///
/// # Errors
///
/// A line that names the file and says why.
pub(super) fn write_all(run: &Report, folder: &Path) -> Result<(), String> {
    for file in report::files(run) {
        write(&folder.join(file.name), &file.text)?;
    }
    Ok(())
}

/// The report of an earlier run, its files written again if asked for.
///
/// # Errors
///
/// A line that says which file is wrong and what to do.
pub(super) fn show(args: &ShowArgs) -> Result<Report, String> {
    let budget = budget(args.budget.as_deref())?;
    make_folder(args.out.as_deref())?;
    let mut run = load(&args.report)?;
    if let Some(budget) = budget {
        run.budget = budget.check(&run);
    }
    if let Some(folder) = &args.out {
        write_all(&run, folder)?;
    }
    Ok(run)
}

/// The comparison of two runs as text, its page written if asked for.
///
/// # Errors
///
/// A line that says which file is wrong and what to do.
pub(super) fn compare(args: &CompareArgs) -> Result<String, String> {
    let (a, b) = (load(&args.a)?, load(&args.b)?);
    write(&args.out, &report::compare_page(&a, &b))?;
    Ok(format!("{}\nboth in one page: {}\n", report::compare_table(&a, &b), args.out.display()))
}

fn load(path: &Path) -> Result<Report, String> {
    report::read(&read(path)?).map_err(|why| format!("{}: {why}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text)
        .map_err(|why| format!("{}: {why}; give --out a place to write to", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    /// A folder of this test alone, gone when it ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("corewire-loadtest-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            make_folder(Some(&path)).expect("temporary folders can be made");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_written_can_be_shown_and_compared() {
        let folder = Folder::new("shown");
        write_all(&sample::fanout(), &folder.0).expect("it can be written");
        let json = folder.0.join("report.json");
        let rules = folder.0.join("budget.txt");
        fs::write(&rules, "rate >= 1\nlost == 1\n").expect("it can be written");
        let args = ShowArgs { report: json.clone(), out: None, budget: Some(rules) };
        let run = show(&args).expect("it is a report");
        assert_eq!(run.budget.iter().map(|line| line.kept).collect::<Vec<_>>(), [true, false]);

        let page = folder.0.join("both.html");
        let args = CompareArgs { a: json.clone(), b: json, out: page.clone() };
        let text = compare(&args).expect("both are reports");
        assert!(text.contains("rate"), "{text}");
        let html = fs::read_to_string(page).expect("it was written");
        assert!(html.starts_with("<!doctype html>"));
    }

    #[test]
    fn a_wrong_file_is_named() {
        let folder = Folder::new("wrong");
        let path = folder.0.join("wrong.json");
        fs::write(&path, "p99 < quick\n").expect("it can be written");
        let said = load(&path).expect_err("it is no report");
        assert!(said.contains("wrong.json: this is no report"), "{said}");
        let said = budget(Some(&path)).expect_err("it is no budget");
        assert!(said.contains("wrong.json: budget line 1, `p99 < quick`"), "{said}");
        let said = budget(Some(&folder.0.join("none"))).expect_err("it is not there");
        assert!(said.contains("none: "), "{said}");
    }
}
