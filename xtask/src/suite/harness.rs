//! Runs `cargo test`, shows its output, and learns from it what passed and what was skipped.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::{exec, summary::Summary};

/// Runs the command; failing tests go to the summary, an error means that it did not get as far.
pub(super) fn run(command: &mut Command, summary: &mut Summary) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", exec::shown(command)))?;
    let mut reader = Reader::default();
    let output = child.stdout.take().context("the test run has no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read the output of the tests")?;
        let line = String::from_utf8_lossy(&line);
        if reader.read(&line, summary) {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    summary.part(format!("tests: {} passed, {} failed", reader.passed, reader.failed));
    if !status.success() && reader.failed == 0 {
        summary.fail(format!("cargo test: {status}; see its errors above"));
    }
    Ok(())
}

#[derive(Default)]
struct Reader {
    passed: u64,
    failed: u64,
    in_successes: bool,
}

impl Reader {
    /// Learns from a line; true if it is worth showing.
    fn read(&mut self, line: &str, summary: &mut Summary) -> bool {
        let line = line.trim_end();
        if line == "successes:" {
            self.in_successes = true;
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.in_successes = false;
        }
        if line.starts_with("SKIP") {
            summary.skip(line.trim_start_matches("SKIPPED").trim_start_matches("SKIP").trim_start_matches([':', ' ']));
            return true;
        }
        if let Some(note) = line.strip_prefix("NOTE: ") {
            summary.part(note);
            return true;
        }
        if let Some(test) = line.strip_prefix("test ") {
            self.read_test(test, summary);
        }
        !self.in_successes
    }

    fn read_test(&mut self, test: &str, summary: &mut Summary) {
        if let Some(counts) = test.strip_prefix("result: ") {
            let (passed, failed) = (number_before(counts, " passed"), number_before(counts, " failed"));
            self.passed += passed;
            self.failed += failed;
            summary.count(passed, failed);
        } else if let Some(name) = test.strip_suffix(" ... FAILED") {
            summary.name_failure(name);
        } else if let Some((name, reason)) = test.split_once(" ... ignored") {
            let reason = reason.trim_start_matches([',', ' ']);
            summary.skip(format!("{name}: {}", if reason.is_empty() { "ignored" } else { reason }));
        }
    }
}

fn number_before(text: &str, unit: &str) -> u64 {
    let before = text.split(unit).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 4 tests
test grants::nested_prefixes_act_as_their_union ... ok
test slow ... ignored, takes an hour
test sctp ... ok
test broken ... FAILED

successes:

---- sctp stdout ----
SKIP: sctp: the kernel has no sctp
NOTE: 7 frames
noise

successes:
    sctp

failures:

---- broken stdout ----
assertion failed

failures:
    broken

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.04s
";

    #[test]
    fn counts_skips_and_failures_are_read_and_the_rest_is_shown() {
        let mut summary = Summary::default();
        let mut reader = Reader::default();
        let shown: Vec<_> = OUTPUT.lines().filter(|line| reader.read(line, &mut summary)).collect();
        assert_eq!((reader.passed, reader.failed), (2, 1));
        assert!(!summary.success());
        assert_eq!(summary.skips(), ["slow: takes an hour", "sctp: the kernel has no sctp"]);
        assert_eq!(summary.failures(), ["broken"]);
        assert_eq!(summary.parts(), ["7 frames"]);
        assert!(shown.contains(&"assertion failed"));
        assert!(shown.contains(&"NOTE: 7 frames"));
        assert!(!shown.contains(&"noise"));
    }
}
