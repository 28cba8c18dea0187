//! Runs `debian-vm` and reads what it reports.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};

use crate::{exec, paths, summary::Summary};

/// What `debian-vm` reported.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    failures: Vec<String>,
    /// How many checks passed and failed, if `debian-vm` got to its end.
    result: Option<(u64, u64)>,
}

impl Report {
    fn add(&mut self, line: &str) {
        if let Some(failure) = line.strip_prefix("FAILED ") {
            self.failures.push(failure.to_owned());
        } else if let Some(counts) = line.strip_prefix("debian-vm: ") {
            self.result = result(counts);
        }
    }
}

/// Reads "3 passed, 0 failed".
fn result(counts: &str) -> Option<(u64, u64)> {
    let (passed, failed) = counts.split_once(" passed, ")?;
    Some((passed.parse().ok()?, failed.strip_suffix(" failed")?.parse().ok()?))
}

/// Runs `debian-vm` with its output shown, and adds its results to the summary.
pub(super) fn run(image: &Path, packages: &[PathBuf], summary: &mut Summary) -> Result<()> {
    let mut command = exec::privileged_with_environment(paths::target().join("debug/debian-vm"))?;
    command.arg(image).args(packages).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", exec::shown(&command)))?;
    let output = child.stdout.take().context("debian-vm has no output")?;
    let mut report = Report::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read what debian-vm says")?;
        println!("[debian] {line}");
        report.add(&line);
    }
    let status = child.wait()?;
    let Some((passed, failed)) = report.result else { bail!("debian-vm ended without its result ({status})") };
    report.failures.iter().for_each(|failure| summary.name_failure(format!("Debian: {failure}")));
    summary.count(passed, failed);
    let failed = if failed > 0 { format!(", {failed} FAILED") } else { String::new() };
    summary.part(format!("the package in a Debian with systemd: {passed} passed{failed}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_is_understood() {
        let mut report = Report::default();
        ["ok one", "FAILED two: not so", "debian-vm: 1 passed, 1 failed"].iter().for_each(|line| report.add(line));
        assert_eq!(report, Report { failures: vec!["two: not so".to_owned()], result: Some((1, 1)) });
    }

    #[test]
    fn a_damaged_result_is_none() {
        assert_eq!(result("1 passed"), None);
        assert_eq!(result("x passed, 0 failed"), None);
    }
}
