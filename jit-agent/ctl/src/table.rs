//! What people see: tables, summaries and errors. Pure text; the clock and the zone come in.

use std::time::Duration;

use jiff::Timestamp;
use jit_api::{
    terminal::{
        Surroundings,
        table::table,
        text::{count, iso_span, moment, port, prefix, sanitised, source, span},
    },
    wire::{Counter, Grant, GrantCounts, Interface, PacketEvent, Port, PortPatch, Revocation, Status, Uncovered, Why},
};
use jit_common::{
    abi::Mode,
    reason::{Reason, Verdict},
};
use jit_policy::Given;

mod requests;

pub(super) use self::requests::{not_known, not_opened, open, opened, requests, to_approve, waits};

fn end(grant: &Grant, surroundings: &Surroundings) -> String {
    format!("{} (in {})", moment(grant.end_time_utc, surroundings), span(Duration::from_secs(grant.remaining_seconds)))
}

/// The table of live grants.
pub(super) fn grants(grants: &[Grant], surroundings: &Surroundings) -> String {
    if grants.is_empty() {
        return "no live grants\n".to_owned();
    }
    let rows = grants.iter().map(|grant| {
        [
            grant.id.to_string(),
            port(grant.number, grant.protocol.text()),
            prefix(&grant.source),
            end(grant, surroundings),
            last(grant.last_connection_time_utc, surroundings),
            sanitised(&grant.requestor),
            grant.request_id.to_string(),
        ]
    });
    table([">grant", "port", "source", "until", "last connection", "requestor", ">request"], rows)
}

/// The time when a grant or port was last used.
fn last(time: Option<Timestamp>, surroundings: &Surroundings) -> String {
    time.map_or_else(|| "never".to_owned(), |time| moment(time, surroundings))
}

/// What would become of a packet: the verdict, what decides, what to do.
pub(super) fn why(why: &Why, surroundings: &Surroundings) -> String {
    let verdict = match why.verdict.value() {
        Some(Verdict::Drop) => "DROPPED".to_owned(),
        Some(Verdict::Pass) => "PASSES".to_owned(),
        None => sanitised(why.verdict.text()).to_uppercase(),
    };
    let mut text = format!("{verdict}  {} -> {}\n", why.source, port(why.number, why.protocol.text()));
    let mut say = |what: &str, value: &str| text.push_str(&format!("{what:<8} {}\n", sanitised(value)));
    say("because", &why.explanation);
    if let Some(reason) = &why.reason {
        say("counted", &format!("as {}, mode {}", reason.text(), why.mode.text()));
    }
    for grant in &why.grants {
        say("grant", &format!("{} of {}, until {}", grant.id, grant.requestor, end(grant, surroundings)));
    }
    if let Some(advice) = &why.advice {
        say("to do", advice);
    }
    text
}

/// The heading over [events](event).
pub(super) fn event_heading() -> String {
    event_line(["time", "verdict", "reason", "port", "source", "interface"])
}

/// The line about one packet.
pub(super) fn event(event: &PacketEvent, surroundings: &Surroundings) -> String {
    let verdict = match event.verdict.value() {
        None => sanitised(event.verdict.text()),
        Some(_) if !event.is_drop() => "pass".to_owned(),
        Some(_) if event.mode == Mode::Observe => "would drop".to_owned(),
        Some(_) => "drop".to_owned(),
    };
    let protocol = event.protocol.as_ref().map_or("?", Given::text);
    let port = event.number.map_or_else(|| "-".to_owned(), |number| port(number, protocol));
    let source = event.source.map_or_else(|| "-".to_owned(), |source| source.to_string());
    event_line([
        &moment(event.time_utc, surroundings),
        &verdict,
        &sanitised(event.reason.text()),
        &port,
        &source,
        &sanitised(&event.interface),
    ])
}

/// The line that says how many packets there were beyond those shown.
pub(super) fn not_shown(packets: u64) -> String {
    let packets = count(usize::try_from(packets).unwrap_or(usize::MAX), "more packet", "more packets");
    format!("          {packets} dropped, or would have been, and not shown\n")
}

/// Columns of fixed widths, since lines are printed as they come: the longest cause, and the longest address of IPv6.
fn event_line([time, verdict, reason, port, source, interface]: [&str; 6]) -> String {
    let longest = Reason::ALL.iter().map(|reason| reason.name().len()).max().unwrap_or_default();
    format!("{time:<8}  {verdict:<10}  {reason:<longest$}  {port:<10}  {source:<39}  {interface}\n")
}

/// Who of those with the role may approve and request, if that is not everybody.
fn narrowed(policy: &PortPatch) -> String {
    let names = |list: &Option<Vec<String>>| sanitised(&list.as_deref().unwrap_or_default().join(", "));
    let [by, from] = [&policy.approvers, &policy.requesters].map(names);
    let by = if by.is_empty() { by } else { format!(" by {by}") };
    if from.is_empty() { by } else { format!("{by}; for {from}") }
}

/// The table of port policies.
pub(super) fn ports(ports: &[Port], surroundings: &Surroundings) -> String {
    if ports.is_empty() {
        return "no protected ports\n".to_owned();
    }
    let rows = ports.iter().map(|one| {
        let Port { number, protocol, policy, activity } = one;
        let sources: Vec<_> = policy.allowed_sources.iter().flatten().map(|prefix| source(prefix)).collect();
        [
            port(*number, protocol.text()),
            policy.max_duration.as_ref().map_or_else(String::new, |span| iso_span(span.text())),
            policy.approval.as_ref().map_or_else(String::new, |word| sanitised(word.text())) + &narrowed(policy),
            policy.justification.as_ref().map_or_else(String::new, |word| sanitised(word.text())),
            policy.quota.unwrap_or_default().to_string(),
            activity.live_grants.to_string(),
            activity.approved_requests.map_or_else(|| "-".to_owned(), |count| count.to_string()),
            activity.passed_packets.to_string(),
            (activity.dropped_packets + activity.observed_packets).to_string(),
            last(activity.last_connection_time_utc, surroundings),
            activity.last_user.as_deref().map_or_else(|| "-".to_owned(), sanitised),
            sources.join(", "),
        ]
    });
    let shown = table(
        [
            "port",
            ">maximum",
            "approval",
            "justification",
            ">quota",
            ">live grants",
            ">7 days",
            ">passed",
            ">dropped",
            "last connection",
            "last user",
            "allowed sources",
        ],
        rows,
    );
    let set: Vec<_> = ports.iter().filter(|one| one.activity.set_by_agent).collect();
    if set.is_empty() {
        return shown;
    }
    let names: Vec<_> = set.iter().map(|one| port(one.number, one.protocol.text())).collect();
    format!(
        "{shown}\nset by `jitctl ports`, not by the configuration files: {}; `jitctl ports reset PORT` ends that\n",
        names.join(", ")
    )
}

/// Whether something is broken: a fault, an interface that is not covered, a grant that is not in force.
pub(super) fn is_degraded(status: &Status) -> bool {
    let Status {
        mode: _,
        version: _,
        interfaces,
        uncovered: _,
        grants: GrantCounts { intended, enforced },
        counters: _,
        faults,
        warnings: _,
        trial: _,
    } = status;
    !faults.is_empty() || enforced < intended || interfaces.iter().any(|interface| interface.fault.is_some())
}

/// The text about the agent as a whole. Faults come last, where people see them.
pub(super) fn status(status: &Status) -> String {
    let Status {
        mode,
        version,
        interfaces,
        uncovered,
        grants: GrantCounts { intended, enforced },
        counters,
        faults,
        warnings,
        trial,
    } = status;
    let on_trial = trial
        .as_ref()
        .map(|trial| format!(", on trial for {} more; keep it: jit-agent confirm", iso_span(&trial.remaining)));
    let mut text = format!(
        "mode     {}{}\nversion  {}\ngrants   {intended} intended, {enforced} enforced\n\n",
        sanitised(mode.text()),
        on_trial.unwrap_or_default(),
        sanitised(version)
    );
    text.push_str(&interface_table(interfaces, uncovered));
    text.push('\n');
    text.push_str(&counter_table(counters));
    if !warnings.is_empty() {
        text.push_str("\nWARNINGS\n");
        warnings.iter().for_each(|warning| text.push_str(&format!("- {}\n", sanitised(warning))));
    }
    if !is_degraded(status) {
        return text;
    }
    text.push_str("\nFAULTS\n");
    let not_enforced =
        (enforced < intended).then(|| format!("{} of {intended} grants not enforced", intended - enforced));
    let uncovered = interfaces
        .iter()
        .filter_map(|Interface { name, fault, .. }| fault.as_ref().map(|fault| format!("interface {name}: {fault}")))
        .filter(|fault| !faults.contains(fault));
    for fault in not_enforced.into_iter().chain(uncovered).chain(faults.iter().cloned()) {
        text.push_str(&format!("- {}\n", sanitised(&fault)));
    }
    text
}

fn interface_table(interfaces: &[Interface], uncovered: &[Uncovered]) -> String {
    let unlisted = uncovered.iter().filter(|one| !interfaces.iter().any(|interface| interface.name == one.name));
    let unlisted: Vec<&Uncovered> = unlisted.collect();
    if interfaces.is_empty() && unlisted.is_empty() {
        return "no interfaces\n".to_owned();
    }
    let index = |index: Option<u32>| index.map_or_else(|| "none".to_owned(), |index| index.to_string());
    let rows = interfaces.iter().map(|interface| {
        let attached =
            interface.attached.as_ref().map_or_else(|| "NOT ATTACHED".to_owned(), |way| sanitised(way.text()));
        [sanitised(&interface.name), index(interface.index), attached]
    });
    let more = unlisted.iter().map(|one| [sanitised(&one.name), index(Some(one.index)), "NOT COVERED".to_owned()]);
    let mut text = table(["interface", ">index", "attached"], rows.chain(more));
    for (interface, note) in interfaces.iter().filter_map(|one| Some((one, one.note.as_deref()?))) {
        text.push_str(&format!("- {}: {}\n", sanitised(&interface.name), sanitised(note)));
    }
    for Uncovered { name, reason, addresses, .. } in unlisted {
        let addresses = sanitised(&addresses.join(", "));
        text.push_str(&format!("- {} ({addresses}): {}\n", sanitised(name), sanitised(reason)));
    }
    text
}

fn counter_table(counters: &[Counter]) -> String {
    let mut counted: Vec<_> = counters.iter().filter(|counter| counter.packets > 0).collect();
    if counted.is_empty() {
        return "no packets yet\n".to_owned();
    }
    // Drops come first, because people look for them.
    counted.sort_by_key(|counter| (counter.verdict != Verdict::Drop, std::cmp::Reverse(counter.packets)));
    let rows = counted.into_iter().map(|Counter { mode, reason, verdict, packets }| {
        let verdict = match verdict.value() {
            Some(Verdict::Drop) if *mode == Mode::Observe => "would be dropped".to_owned(),
            Some(Verdict::Drop) => "dropped".to_owned(),
            Some(Verdict::Pass) => "passed".to_owned(),
            None => sanitised(verdict.text()),
        };
        [packets.to_string(), verdict, sanitised(reason.text()), sanitised(mode.text())]
    });
    table([">packets", "verdict", "reason", "mode"], rows)
}

/// The text about what a revocation closed.
pub(super) fn closed(done: &Revocation) -> String {
    let Revocation { revoked, other_entries, durable: _ } = done;
    if revoked.is_empty() && *other_entries == 0 {
        return "no live grants to revoke\n".to_owned();
    }
    let line = |grant: &Grant| {
        let port = port(grant.number, grant.protocol.text());
        format!("{port} closed for {}, grant {} of {}\n", prefix(&grant.source), grant.id, sanitised(&grant.requestor))
    };
    let mut text: String = revoked.iter().map(line).collect();
    if *other_entries > 0 {
        text.push_str(&format!("{other_entries} open entries that the agent has no grants for are closed\n"));
    }
    text
}
