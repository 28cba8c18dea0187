//! Metrics in Prometheus' text format 0.0.4.

use std::{
    fmt::{self, Display, Write as _},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use jit_common::abi::Mode;
use jit_policy::{Right, Way};
use tokio::{sync::Mutex, time::Instant};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    core::{
        answer::{Metrics, Whole},
        handle::CoreHandle,
        peer::Peer,
    },
    datapath::PortCounts,
    http::failure::Failure,
};

const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How long a text is handed out. Whoever asks more often gets the same text.
const KEPT: Duration = Duration::from_secs(1);

pub(super) fn routes() -> OpenApiRouter<CoreHandle> {
    OpenApiRouter::new().routes(routes!(metrics_of_peer)).layer(Extension(LastText::default()))
}

/// The last text, and when it was made. However many clients ask, the core is asked once a second.
#[derive(Clone, Default)]
pub(super) struct LastText(Arc<Mutex<Option<(Instant, Bytes)>>>);

impl LastText {
    async fn get(&self, core: &CoreHandle) -> Result<Response, Failure> {
        // Clients that ask meanwhile wait for the same text.
        let mut last = self.0.lock().await;
        let text = match last.as_ref().filter(|(made, _)| made.elapsed() < KEPT) {
            Some((_, text)) => text.clone(),
            None => {
                let made = Bytes::from(text(&core.metrics().await?));
                *last = Some((Instant::now(), made.clone()));
                made
            }
        };
        Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response())
    }
}

/// Figures for monitoring, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics_of_peer(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    Extension(last): Extension<LastText>,
) -> Result<Response, Failure> {
    core.check_role(&peer, Right::ReadAll)?;
    last.get(&core).await
}

/// The metrics for every client of the listener at `metrics_listen`.
pub(super) async fn for_everybody(
    State(core): State<CoreHandle>,
    Extension(last): Extension<LastText>,
) -> Result<Response, Failure> {
    last.get(&core).await
}

/// All metrics as text.
fn text(metrics: &Metrics) -> String {
    let mut text = Text(String::new());
    // Writing to a string can't fail.
    let _ = write(&mut text, metrics);
    text.0
}

fn write(text: &mut Text, metrics: &Metrics) -> fmt::Result {
    let Metrics { whole, ports, live_grants, events, store_works } = metrics;
    let Whole { mode, interfaces, uncovered, intended_grants, enforced_grants, counters: _, faults, trial_remaining } =
        whole;

    text.head("build_info", "gauge", "Version of the agent.")?;
    text.sample("build_info", &[("version", &env!("CARGO_PKG_VERSION"))], 1)?;
    text.head("enforcing", "gauge", "Whether drops are carried out.")?;
    text.sample("enforcing", &[], u8::from(*mode == Mode::Enforce))?;
    if let Some(remaining) = trial_remaining {
        text.head("trial_seconds_remaining", "gauge", "How long the trial still runs; left out where none does.")?;
        text.sample("trial_seconds_remaining", &[], remaining.as_secs())?;
    }
    text.head("faults", "gauge", "Things that are broken, as status lists them.")?;
    text.sample("faults", &[], faults.len())?;
    text.head("store_working", "gauge", "Whether the store can be used; if not, nothing can be opened.")?;
    text.sample("store_working", &[], u8::from(*store_works))?;

    text.head("packets_total", "counter", "Packets by protected port (none: not to one), mode, verdict and reason.")?;
    for port in ports {
        packets(text, port)?;
    }
    text.head("events_sent_total", "counter", "Packets by protected port that the program put into the ring buffer.")?;
    for port in ports {
        text.sample("events_sent_total", &[("port", &port_name(port))], port.events)?;
    }
    text.head("grants", "gauge", "Live grants: intended by the agent, and enforced by the kernel.")?;
    text.sample("grants", &[("state", &"intended")], intended_grants)?;
    text.sample("grants", &[("state", &"enforced")], enforced_grants)?;
    text.head("live_grants", "gauge", "Live grants by port policy.")?;
    for (id, count) in live_grants {
        text.sample("live_grants", &[("port", &id.number), ("protocol", &id.protocol)], count)?;
    }
    text.head("interface_covered", "gauge", "Whether the program is on an interface that is to be covered, and how.")?;
    for interface in interfaces {
        let attached = interface.attached.map_or("no", Way::name);
        let labels: [(&str, &dyn Display); 2] = [("interface", &interface.name), ("attached", &attached)];
        text.sample("interface_covered", &labels, u8::from(interface.attached.is_some()))?;
    }
    text.head(
        "interface_covered_after_seconds",
        "gauge",
        "How long it took until an interface that came was covered.",
    )?;
    for interface in interfaces {
        if let Some(after) = interface.covered_after {
            let labels: [(&str, &dyn Display); 1] = [("interface", &interface.name)];
            text.sample("interface_covered_after_seconds", &labels, after.as_secs_f64())?;
        }
    }
    text.head("uncovered_interfaces", "gauge", "Interfaces with an address over which packets come in unseen.")?;
    text.sample("uncovered_interfaces", &[], uncovered.len())?;

    text.head("events_reported_total", "counter", "Packets that the program reported since the agent's start.")?;
    text.sample("events_reported_total", &[], events.reported)?;
    text.head("events_over_share_total", "counter", "Reported packets not shown, as their source had its share.")?;
    text.sample("events_over_share_total", &[], events.over_share)?;
    text.head("drops_not_shown_total", "counter", "Drops since the agent's start that no event showed.")?;
    text.sample("drops_not_shown_total", &[], events.not_shown)
}

fn port_name(port: &PortCounts) -> String {
    match port.ports[..] {
        [] => "none".to_owned(),
        [number] => number.to_string(),
        _ => "others".to_owned(),
    }
}

fn packets(text: &mut Text, port: &PortCounts) -> fmt::Result {
    let name = port_name(port);
    // Most of the possible series stay at zero and are left out.
    for (mode, reason, packets) in port.counters.iter().filter(|(.., packets)| *packets > 0) {
        let labels: [(&str, &dyn Display); 4] = [
            ("port", &name),
            ("mode", &mode.name()),
            ("verdict", &reason.verdict().name()),
            ("reason", &reason.name()),
        ];
        text.sample("packets_total", &labels, packets)?;
    }
    Ok(())
}

/// The text that was written so far.
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        writeln!(self.0, "# HELP jit_agent_{name} {help}\n# TYPE jit_agent_{name} {kind}")
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) -> fmt::Result {
        write!(self.0, "jit_agent_{name}")?;
        for (number, (label, text)) in labels.iter().enumerate() {
            let escaped = text.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(self.0, "{}{label}=\"{escaped}\"", if number == 0 { '{' } else { ',' })?;
        }
        writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" })
    }
}

#[cfg(test)]
mod tests {
    use jit_common::{abi::Mode, reason::Reason};

    use super::*;
    use crate::{datapath::Datapath as _, events::Totals, http::tests::granted};

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let agent = granted();
        let mut interfaces = agent.machine.kernel.interfaces();
        interfaces[0].name = "odd\"name\\".to_owned();
        interfaces[0].covered_after = Some(Duration::from_millis(2));
        agent.machine.kernel.set_interfaces(&interfaces);
        let metrics = Metrics {
            // The tables in memory count only packets, so these figures are set by hand.
            ports: vec![
                PortCounts { ports: vec![], counters: vec![(Mode::Enforce, Reason::NotIp, 5)], events: 0 },
                PortCounts {
                    ports: vec![22],
                    counters: vec![(Mode::Enforce, Reason::NoGrant, 7), (Mode::Observe, Reason::NoGrant, 0)],
                    events: 3,
                },
            ],
            events: Totals { reported: 3, over_share: 1, not_shown: 4 },
            store_works: false,
            ..agent.wait(agent.core.metrics()).unwrap()
        };
        let text = text(&metrics);
        for line in [
            "# TYPE jit_agent_packets_total counter",
            "jit_agent_packets_total{port=\"none\",mode=\"enforce\",verdict=\"pass\",reason=\"not_ip\"} 5",
            "jit_agent_packets_total{port=\"22\",mode=\"enforce\",verdict=\"drop\",reason=\"no_grant\"} 7",
            "jit_agent_events_sent_total{port=\"22\"} 3",
            "jit_agent_grants{state=\"intended\"} 1",
            "jit_agent_live_grants{port=\"22\",protocol=\"tcp\"} 1",
            "jit_agent_interface_covered{interface=\"odd\\\"name\\\\\",attached=\"native\"} 1",
            "jit_agent_interface_covered_after_seconds{interface=\"odd\\\"name\\\\\"} 0.002",
            "jit_agent_uncovered_interfaces 0",
            "jit_agent_events_over_share_total 1",
            "jit_agent_drops_not_shown_total 4",
            "jit_agent_enforcing 1",
            "jit_agent_store_working 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("observe\""), "series that never began are left out");
        // Each family's samples stand together behind one HELP and one TYPE line, and values are numbers.
        let mut families = Vec::new();
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(family) => families.push(family.split(' ').next().unwrap()),
                None if line.starts_with('#') => {}
                None => {
                    let name = line.split(['{', ' ']).next().unwrap();
                    assert_eq!(families.last(), Some(&name), "{line}");
                    line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
                }
            }
        }
        let names = families.len();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), names);
    }
    #[test]
    fn however_many_ask_the_figures_are_made_once_a_second() {
        let agent = granted();
        agent.wait(async {
            tokio::time::pause();
            let last = LastText::default();
            let made = async || {
                drop(last.get(&agent.core).await.unwrap());
                last.0.lock().await.as_ref().map(|(made, _)| *made)
            };
            let first = made().await;
            tokio::time::advance(KEPT / 2).await;
            assert_eq!(made().await, first);
            tokio::time::advance(KEPT).await;
            assert!(made().await > first);
        });
    }
}
