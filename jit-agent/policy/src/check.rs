//! The subset check: does a request stay within the port policies?

use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
    time::Duration,
};

use ipnet::IpNet;
use jiff::Timestamp;

use super::{
    port::{Justification, PortId},
    port_policies::PortPolicies,
    port_policy::PortPolicy,
    request::{ApprovedPort, NewRequest, RequestedPort, Until, Violation},
    span::Span,
};

/// How many items a violation lists before it only counts the rest.
const LISTED: usize = 16;

impl PortPolicies {
    /// Checks a request as a whole against the policies, at `now` by the wall clock. `held` tells how many grants the
    /// requestor has, or waits for, under a policy.
    ///
    /// The approved ports have no repetition: the same port and source occurs once.
    ///
    /// # Errors
    /// The request goes beyond the policies or makes no sense. The error lists every violation, and nothing is
    /// approved.
    pub fn check(
        &self,
        request: &NewRequest,
        now: Timestamp,
        held: impl Fn(PortId) -> usize,
    ) -> Result<Vec<ApprovedPort>, Vec<Violation>> {
        let mut check =
            Check { policies: self, now, asked: HashMap::new(), approved: Vec::new(), violations: Vec::new() };
        if request.ports.is_empty() {
            check.violate("", "ports", "none", "at least one port");
        }
        for requested in &request.ports {
            check.port(requested, &request.justification);
        }
        check.quotas(held);
        if check.violations.is_empty() {
            return Ok(check.approved);
        }
        // A port or source that is asked for twice has one violation.
        let mut seen = HashSet::new();
        check.violations.retain(|violation| seen.insert(violation.clone()));
        Err(check.violations)
    }
}

/// A check under way.
struct Check<'policies> {
    policies: &'policies PortPolicies,
    now: Timestamp,
    /// The durations that were asked for so far.
    asked: HashMap<(PortId, IpNet), Duration>,
    approved: Vec<ApprovedPort>,
    violations: Vec<Violation>,
}

impl<'policies> Check<'policies> {
    fn violate(
        &mut self,
        port: impl Display,
        field: &'static str,
        given: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        self.violations.push(Violation { port: port.to_string(), field, given: given.into(), allowed: allowed.into() });
    }

    fn port(&mut self, requested: &RequestedPort, justification: &str) {
        let policies = self.policies_for(requested);
        let name = match (requested.protocol, policies.as_slice()) {
            (Some(protocol), _) => format!("{}/{protocol}", requested.number),
            (None, [policy]) => policy.id.to_string(),
            (None, _) => requested.number.to_string(),
        };
        if requested.sources.is_empty() {
            self.violate(&name, "allowedSourceAddressPrefixes", "none", "at least one source");
        }
        let duration = self.duration(requested, &name);
        // What can't be approved anyway costs no more than this.
        if let Some(policy) = policies.iter().find(|policy| requested.sources.len() > most_grants(policy)) {
            let given = format!("{} sources", requested.sources.len());
            self.violate(&name, "quota", given, format!("at most {} a person", policy.quota));
            return;
        }
        for policy in policies {
            let port = PortId { protocol: requested.protocol.unwrap_or(policy.id.protocol), ..policy.id };
            self.limits(port, policy, requested, duration);
            if policy.justification == Justification::Required && justification.trim().is_empty() {
                self.violate(port, "justification", "none", "a text that says why");
            }
            if let Some(duration) = duration {
                self.approve(port, requested, duration);
            }
        }
    }

    /// The policies that the requested port falls under. If the protocol goes beyond them, all policies of the number,
    /// so that the other limits are checked all the same.
    fn policies_for(&mut self, requested: &RequestedPort) -> Vec<&'policies PortPolicy> {
        let policies = self.policies;
        let number = u16::try_from(requested.number).unwrap_or(0);
        let of_number: Vec<&PortPolicy> = policies.for_number(number).collect();
        if of_number.is_empty() {
            let protected = listed(policies.iter().map(|policy| policy.id), ", ");
            let allowed = if protected.is_empty() { "nothing: no port is protected".to_owned() } else { protected };
            self.violate(requested.number, "number", requested.number.to_string(), allowed);
        }
        let Some(protocol) = requested.protocol else { return of_number };
        let including: Vec<&PortPolicy> =
            of_number.iter().copied().filter(|policy| policy.id.protocol.includes(protocol)).collect();
        if including.is_empty() && !of_number.is_empty() {
            let allowed = listed(of_number.iter().map(|policy| policy.id.protocol.wire_name()), " or ");
            self.violate(format_args!("{number}/{protocol}"), "protocol", protocol.wire_name(), allowed);
            return of_number;
        }
        including
    }

    /// How long the port is asked for. Returns `None`, and adds a violation, if the request gives no valid time.
    fn duration(&mut self, requested: &RequestedPort, name: &str) -> Option<Duration> {
        match requested.until {
            Until::For(duration) if duration.is_zero() => {
                self.violate(
                    name,
                    "duration",
                    Span(duration).to_string(),
                    format!("more than {}", Span(Duration::ZERO)),
                );
                None
            }
            Until::For(duration) => Some(duration),
            Until::Time(end) => {
                let duration = Duration::try_from(end.duration_since(self.now)).ok().filter(|left| !left.is_zero());
                if duration.is_none() {
                    let allowed = format!("after {}, the time of the request", self.now);
                    self.violate(name, "endTimeUtc", end.to_string(), allowed);
                }
                duration
            }
        }
    }

    /// Checks the sources and the duration.
    fn limits(&mut self, port: PortId, policy: &PortPolicy, requested: &RequestedPort, duration: Option<Duration>) {
        for source in requested.sources.iter().filter(|source| !policy.allows_source(source)) {
            let allowed = match policy.allowed_sources.as_slice() {
                [] => "nothing: the port's policy can't be read, see `jitctl status`".to_owned(),
                sources => format!("within {}", listed(sources, " or ")),
            };
            self.violate(port, "allowedSourceAddressPrefixes", source.to_string(), allowed);
        }
        if duration.is_some_and(|duration| duration > policy.max_duration) {
            let maximum = Span(policy.max_duration);
            match requested.until {
                Until::For(duration) => {
                    self.violate(port, "duration", Span(duration).to_string(), format!("at most {maximum}"));
                }
                Until::Time(end) => {
                    let latest = self.now.saturating_add(policy.max_duration).unwrap_or(Timestamp::MAX);
                    let allowed = format!("at most {maximum} from now, until {latest}");
                    self.violate(port, "endTimeUtc", end.to_string(), allowed);
                }
            }
        }
    }

    fn quotas(&mut self, held: impl Fn(PortId) -> usize) {
        for policy in self.policies.iter() {
            let asked = self.asked.keys().filter(|(port, _)| policy.covers(*port)).count();
            let held = if asked > 0 { held(policy.id) } else { 0 };
            if asked + held > most_grants(policy) {
                let given = format!("{asked} more than the {held} that are live or wait for approval");
                self.violate(policy.id, "quota", given, format!("at most {} a person", policy.quota));
            }
        }
    }

    /// Approves the port and those sources that the request does not already ask for.
    fn approve(&mut self, port: PortId, requested: &RequestedPort, duration: Duration) {
        let mut new: Vec<IpNet> = Vec::new();
        let mut seen = HashSet::new();
        for source in requested.sources.iter().map(IpNet::trunc).filter(|source| seen.insert(*source)) {
            match self.asked.insert((port, source), duration) {
                None => new.push(source),
                Some(earlier) if earlier == duration => {}
                Some(earlier) => {
                    let field = if matches!(requested.until, Until::For(_)) { "duration" } else { "endTimeUtc" };
                    let given = format!("{} and {} for {source}", Span(earlier), Span(duration));
                    self.violate(port, field, given, "one duration for the same port and source");
                }
            }
        }
        if !new.is_empty() {
            self.approved.push(ApprovedPort { port, sources: new, duration });
        }
    }
}

fn most_grants(policy: &PortPolicy) -> usize {
    usize::try_from(policy.quota).unwrap_or(usize::MAX)
}

fn listed<T: Display>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    let mut items = items.into_iter();
    let mut text: Vec<String> = items.by_ref().take(LISTED).map(|item| item.to_string()).collect();
    let rest = items.count();
    if rest > 0 {
        text.push(format!("{rest} more"));
    }
    text.join(separator)
}

#[cfg(test)]
mod tests;
