//! What passed, failed and was skipped, over all parts of the tests.

/// Counts, and the names of all that did not pass.
#[derive(Default)]
pub(crate) struct Summary {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
    skips: Vec<String>,
    parts: Vec<String>,
}

impl Summary {
    /// Adds the counts of one test program or kernel.
    pub(crate) fn count(&mut self, passed: u64, failed: u64) {
        self.passed += passed;
        self.failed += failed;
    }

    /// Notes what failed, without counting it.
    pub(crate) fn name_failure(&mut self, what: impl Into<String>) {
        self.failures.push(what.into());
    }

    /// Notes and counts a part that failed as a whole.
    pub(crate) fn fail(&mut self, what: impl Into<String>) {
        self.failed += 1;
        self.failures.push(what.into());
    }

    /// Notes what was skipped, with its reason.
    pub(crate) fn skip(&mut self, what: impl Into<String>) {
        self.skips.push(what.into());
    }

    /// Notes what a part came to.
    pub(crate) fn part(&mut self, line: impl Into<String>) {
        self.parts.push(line.into());
    }

    /// Adds all that another part came to.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
        self.parts.extend(other.parts);
    }

    /// Whether something was tested and nothing failed.
    pub(crate) fn success(&self) -> bool {
        self.failed == 0 && self.failures.is_empty() && self.passed > 0
    }

    /// Shows it all; the last line has the totals.
    pub(crate) fn print(&self) {
        println!("\n==== summary ====");
        self.parts.iter().for_each(|part| println!("{part}"));
        self.skips.iter().for_each(|skip| println!("SKIPPED  {skip}"));
        self.failures.iter().for_each(|failure| println!("FAILED   {failure}"));
        if self.passed == 0 {
            println!("FAILED   no test was run");
        }
        println!("total: {} passed, {} failed, {} skipped", self.passed, self.failed, self.skips.len());
    }
}

#[cfg(test)]
impl Summary {
    pub(crate) fn skips(&self) -> &[String] {
        &self.skips
    }

    pub(crate) fn parts(&self) -> &[String] {
        &self.parts
    }

    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_any_test_is_no_success() {
        let mut summary = Summary::default();
        summary.skip("everything");
        assert!(!summary.success());
        summary.count(1, 0);
        assert!(summary.success());
        summary.fail("kernel 5.10 hangs");
        assert!(!summary.success());
    }

    #[test]
    fn what_fails_in_a_part_fails_in_the_whole() {
        let mut summary = Summary::default();
        summary.count(1, 0);
        let mut part = Summary::default();
        part.part("the part");
        part.skip("a third of it");
        part.fail("another third");
        summary.add(part);
        assert!(!summary.success());
        assert_eq!(
            (summary.parts(), summary.skips()),
            (&["the part".to_owned()][..], &["a third of it".to_owned()][..])
        );
        assert_eq!(summary.failures(), ["another third"]);
    }
}
