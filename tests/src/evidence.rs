//! The agent's own counters as evidence: a missing answer alone does not show what dropped the packet.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Agent, Namespace, Reach, SILENCE, tcp_connects};

impl Agent {
    /// The number of packets that were counted for `reason`, such as `no_grant`, while enforcing.
    ///
    /// # Errors
    /// The agent doesn't answer, or its status has no counters.
    pub fn counted(&self, reason: &str) -> Result<u64> {
        sum(&self.api("GET", "/v1/status", None)?.json()?, "reason", reason)
    }

    /// The number of packets that were dropped, for any reason.
    ///
    /// # Errors
    /// The errors of [`Agent::counted`].
    pub fn dropped(&self) -> Result<u64> {
        sum(&self.api("GET", "/v1/status", None)?.json()?, "verdict", "drop")
    }

    /// Tries a TCP connection, which must get no answer. The agent must have dropped the packets: `reason` is counted.
    ///
    /// # Errors
    /// There is an answer, or the packets were not counted.
    pub fn expect_drop(&self, client: &Namespace, from: &str, to: &str, reason: &str) -> Result<()> {
        let before = self.counted(reason)?;
        let reach = tcp_connects(client, from, to, SILENCE)?;
        ensure!(reach == Reach::Silent, "a connection from {from} to {to} should meet silence, but was {reach:?}");
        let after = self.counted(reason)?;
        ensure!(after > before, "{from} met silence at {to}, but `{reason}` was not counted: {before} and {after}");
        Ok(())
    }
}

/// Adds up the packets of the counters of enforcement whose `field` is `wanted`. A counter that isn't listed is zero.
fn sum(status: &Value, field: &str, wanted: &str) -> Result<u64> {
    let counters = status["counters"].as_array().with_context(|| format!("no `counters` in {status}"))?;
    let matching = counters.iter().filter(|counter| counter["mode"] == "enforce" && counter[field] == wanted);
    matching
        .map(|counter| counter["packets"].as_u64().with_context(|| format!("no number of `packets` in {counter}")))
        .sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_counters_of_enforcement_are_added_up() {
        let counter = |mode: &str, reason: &str, verdict: &str, packets: u64| json!({"mode": mode, "reason": reason, "verdict": verdict, "packets": packets});
        let status = json!({"counters": [
            counter("enforce", "no_grant", "drop", 3),
            counter("enforce", "grant_expired", "drop", 4),
            counter("enforce", "host_grant", "pass", 50),
            counter("observe", "no_grant", "drop", 600),
        ]});
        assert_eq!(sum(&status, "reason", "no_grant").unwrap(), 3);
        assert_eq!(sum(&status, "verdict", "drop").unwrap(), 7);
        assert_eq!(sum(&status, "reason", "not_listed").unwrap(), 0);
        let error = sum(&json!({"faults": []}), "reason", "no_grant").unwrap_err().to_string();
        assert!(error.contains("no `counters`"), "{error}");
    }
}
