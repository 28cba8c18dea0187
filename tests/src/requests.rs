//! Requests, grants and status over the API, as tests need them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{Agent, Cut, Response, UdpSession};

/// The time by which a grant may seem to end early, since a datagram is sent after its time was taken.
const TOLERANCE: Duration = Duration::from_millis(300);

/// A grant and its end. The grant's time counts from some moment while the request was under way.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The grant's number.
    pub id: i64,
    /// The earliest moment at which the grant may end.
    pub earliest_end: Instant,
    /// The latest moment at which the grant may end.
    pub latest_end: Instant,
}

impl Grant {
    /// Keeps `session` going until it is cut off, and checks that the cut happens when this grant ends.
    ///
    /// # Errors
    /// The session is cut off too early or too late.
    pub fn cuts_on_time(&self, session: &mut UdpSession) -> Result<()> {
        let Cut { last_answered, first_lost } =
            session.until_lost(self.latest_end.saturating_duration_since(Instant::now()) + Duration::from_secs(5))?;
        let late = last_answered.saturating_duration_since(self.latest_end);
        ensure!(late.is_zero(), "a datagram was answered that was sent {late:?} after the end");
        let early = self.earliest_end.saturating_duration_since(first_lost);
        ensure!(early < TOLERANCE, "a datagram was lost that was sent {early:?} before the end");
        Ok(())
    }
}

/// The body of a request for one port; `protocol` as the API spells it: `TCP`, `UDP` or `*`.
#[must_use]
pub fn request_body(number: u16, protocol: &str, sources: &[impl AsRef<str>], seconds: u64) -> Value {
    let sources: Vec<&str> = sources.iter().map(AsRef::as_ref).collect();
    json!({
        "ports": [{
            "number": number,
            "protocol": protocol,
            "allowedSourceAddressPrefixes": sources,
            "duration": format!("PT{seconds}S"),
        }],
        "justification": "a test",
    })
}

impl Agent {
    /// Requests one port for `sources`. Any answer is returned.
    ///
    /// # Errors
    /// No answer comes.
    pub fn request(&self, number: u16, protocol: &str, sources: &[impl AsRef<str>], seconds: u64) -> Result<Response> {
        self.api("POST", "/v1/requests", Some(&request_body(number, protocol, sources, seconds)))
    }

    /// Requests one port for one source, and expects a grant.
    ///
    /// # Errors
    /// The request is not granted.
    pub fn grant(&self, number: u16, protocol: &str, source: &str, seconds: u64) -> Result<Grant> {
        let duration = Duration::from_secs(seconds);
        let earliest_end = Instant::now() + duration;
        let response = self.request(number, protocol, &[source], seconds)?;
        let latest_end = Instant::now() + duration;
        ensure!(response.status == 201, "not granted: {response:?}");
        let grants = &response.json()?["grants"];
        let id = grants[0]["id"].as_i64().with_context(|| format!("no grant in {response:?}"))?;
        Ok(Grant { id, earliest_end, latest_end })
    }

    /// Revokes grants by number.
    ///
    /// # Errors
    /// The request is refused or isn't durable.
    pub fn revoke(&self, ids: &[i64]) -> Result<()> {
        let response = self.api("POST", "/v1/grants/revoke", Some(&json!({"ids": ids, "reason": "a test"})))?;
        ensure!(response.status == 200 && response.json()?["durable"] == true, "not revoked: {response:?}");
        Ok(())
    }

    /// The live grants.
    ///
    /// # Errors
    /// The agent doesn't answer.
    pub fn grants(&self) -> Result<Vec<Value>> {
        let response = self.api("GET", "/v1/grants", None)?;
        let list = response.json()?;
        list["value"].as_array().cloned().with_context(|| format!("no list of grants: {response:?}"))
    }

    /// The status.
    ///
    /// # Errors
    /// The agent doesn't answer.
    pub fn status(&self) -> Result<Value> {
        let response = self.api("GET", "/v1/status", None)?;
        ensure!(response.status == 200, "no status: {response:?}");
        response.json()
    }

    /// The number of grants in the agent's book, and the number of those in force in the kernel's tables.
    ///
    /// # Errors
    /// The errors of [`Agent::status`].
    pub fn grant_counts(&self) -> Result<(u64, u64)> {
        let status = self.status()?;
        let count = |field: &str| {
            status["grants"][field].as_u64().with_context(|| format!("no number of {field} grants in {status}"))
        };
        Ok((count("intended")?, count("enforced")?))
    }

    /// The faults, one a line; empty when there are no faults.
    ///
    /// # Errors
    /// The errors of [`Agent::status`].
    pub fn faults(&self) -> Result<String> {
        let status = self.status()?;
        let faults = status["faults"].as_array().with_context(|| format!("no faults in {status}"))?;
        Ok(faults.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"))
    }
}
