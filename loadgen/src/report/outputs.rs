//! Writes a report to where it was asked for: `--json --csv --hlog --html`, each to a file or `-`, and `--out DIR`.
//!
//! Why: one place knows which formats exist, so that a new one is one line in [`Format::ALL`].
//!
//! Invariants: a file is written whole or not at all (a temporary name, then a rename), so that a script never reads
//! half a report; an error names the path.

use super::{Report, csv, hlog, html, text};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A way to write a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The document `loadgen/1`.
    Json,
    /// The series.
    Csv,
    /// The histograms.
    Hlog,
    /// The page.
    Html,
    /// The summary, without colour.
    Text,
}

impl Format {
    /// Every format, in the order in which `--out` writes them.
    pub const ALL: [Self; 5] = [Self::Json, Self::Csv, Self::Hlog, Self::Html, Self::Text];

    /// The file's name inside `--out DIR`.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Json => "report.json",
            Self::Csv => "series.csv",
            Self::Hlog => "latency.hlog",
            Self::Html => "report.html",
            Self::Text => "summary.txt",
        }
    }

    /// Renders a report in this format.
    ///
    /// # Errors
    /// When a part cannot be serialised.
    pub fn render(self, report: &Report) -> io::Result<Vec<u8>> {
        match self {
            Self::Json => {
                let mut out = serde_json::to_vec_pretty(report)?;
                out.push(b'\n');
                Ok(out)
            }
            Self::Csv => Ok(csv::render(report).into_bytes()),
            Self::Hlog => hlog::render(report),
            Self::Html => Ok(html::render(report).into_bytes()),
            Self::Text => Ok(text::render(report, false).into_bytes()),
        }
    }
}

/// Writes one format to a path; `-` is stdout.
///
/// # Errors
/// When the path cannot be written; the error names it.
pub fn write(report: &Report, format: Format, path: &Path) -> io::Result<()> {
    let bytes = format.render(report)?;
    if path == Path::new("-") {
        return to_stdout(&bytes);
    }
    replace(path, &bytes)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Writes every format into a directory, which is made if it is missing; returns the paths written.
///
/// # Errors
/// When the directory or one of the files cannot be written; the error names it.
pub fn write_all(report: &Report, dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(dir)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))?;
    Format::ALL
        .into_iter()
        .map(|format| {
            let path = dir.join(format.file_name());
            write(report, format, &path).map(|()| path)
        })
        .collect()
}

/// Writes to stdout; that nobody reads on (`loadgen | head`) is no error.
///
/// # Errors
/// Stdout cannot be written for another reason, such as a full disk.
pub fn to_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|error| io::Error::new(error.kind(), format!("stdout: {error}"))),
    }
}

/// Writes to stderr; if that fails there is nobody to tell.
pub fn to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Refuses, before a run, a path whose directory does not exist: half a minute later it would be too late.
///
/// # Errors
/// One line that names the path.
pub fn check_path(path: &Path) -> Result<(), String> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    if path.is_dir() {
        return Err(format!("{}: is a directory; --out DIR writes every output into one", path.display()));
    }
    if dir.is_dir() {
        Ok(())
    } else {
        Err(format!("{}: there is no directory {}", path.display(), dir.display()))
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A device or pipe (`/dev/stdout`, a process substitution) must be written, not replaced.
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return fs::write(path, bytes);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, path).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::verdict::tests::clean;

    #[test]
    fn out_writes_every_format_and_leaves_nothing_else() {
        let dir = std::env::temp_dir().join(format!("loadgen-outputs-{}", std::process::id()));
        let written = write_all(&clean(), &dir).expect("a writable directory");
        assert_eq!(written.len(), Format::ALL.len());
        assert_eq!(fs::read_dir(&dir).expect("exists").count(), Format::ALL.len());
        let json = fs::read(dir.join("report.json")).expect("written");
        let back: Report = serde_json::from_slice(&json).expect("reads back");
        assert_eq!(back.deliveries, clean().deliveries);
        fs::remove_dir_all(&dir).expect("ours");
    }

    #[test]
    fn a_path_that_cannot_work_is_known_before_the_run() {
        assert_eq!(check_path(Path::new("report.json")), Ok(()));
        assert_eq!(check_path(Path::new("/dev/null")), Ok(()));
        assert!(
            check_path(Path::new("/nowhere/x.json")).is_err_and(|why| why.contains("no directory /nowhere"))
        );
        assert!(check_path(Path::new("/")).is_err_and(|why| why.contains("--out")));
    }

    #[test]
    fn an_error_names_the_path() {
        let error = write(&clean(), Format::Csv, Path::new("/proc/nowhere/x.csv")).expect_err("not writable");
        assert!(error.to_string().starts_with("/proc/nowhere/x.csv: "), "{error}");
    }
}
