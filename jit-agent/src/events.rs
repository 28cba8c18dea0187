//! The hub that passes the packets that the program reports to the watching clients.
//!
//! The program reports only a sample: a limited number of packets per second for each CPU and port. Of this sample, the
//! hub shows a limited share per source. The packets that are not shown are counted, so that a watching client knows
//! how many are missing.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use jit_api::wire::PacketEvent;
use jit_common::{
    abi::{Event, Mode},
    reason::Verdict,
};
use jit_policy::BootTime;
use tokio::sync::broadcast;

use crate::clock::Clock;

/// The largest number of packets of one source that are shown in a second.
const PER_SOURCE: u32 = 8;
/// The largest number of sources that are distinguished in a second. Packets of further sources are only counted.
const SOURCES: usize = 4096;
/// The largest number of news that wait for a slow reader before the reader loses the oldest.
const BACKLOG: usize = 1024;
/// The largest number of watching clients at a time.
const WATCHERS: usize = 16;
const SECOND: Duration = Duration::from_secs(1);

/// The news for watching clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The news of a packet.
    Packet(PacketEvent),
    /// The number of further packets that were dropped, or would have been, but were not shown.
    NotShown(u64),
}

/// Sums since the agent's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The number of packets that the program reported.
    pub reported: u64,
    /// The number of reported packets that were not shown because their source had used up its share.
    pub over_share: u64,
    /// The number of packets that were dropped, or would have been, but were not shown, whatever the cause.
    pub not_shown: u64,
}

/// Why packets are not reported to one more client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The agent ends.
    #[error("the agent is stopping")]
    Stopping,
    /// Too many clients are watching.
    #[error("too many are watching already; end some of them")]
    TooMany,
}

/// A hub that passes reported packets to all watching clients. Clones share the same hub.
#[derive(Clone)]
pub struct EventHub {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The sender of news. `None`: the agent is stopping.
    news: Option<broadcast::Sender<News>>,
    totals: Totals,
    /// The number of dropped packets that were shown since the first count.
    shown_drops: u64,
    /// The numbers of dropped packets at the first count and at the last count.
    drops: Option<(u64, u64)>,
    /// The beginning of the second in which shares are counted.
    second: BootTime,
    shares: HashMap<IpAddr, u32>,
    fault: Option<String>,
}

impl EventHub {
    /// Makes a hub that no client watches yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (news, _) = broadcast::channel(BACKLOG);
        let state = State {
            news: Some(news),
            totals: Totals::default(),
            shown_drops: 0,
            drops: None,
            second: BootTime::default(),
            shares: HashMap::new(),
            fault: None,
        };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a receiver of the news from now on.
    ///
    /// # Errors
    /// Too many clients are watching already, or the agent is stopping.
    pub fn subscribe(&self) -> Result<broadcast::Receiver<News>, SubscribeError> {
        match &self.state().news {
            None => Err(SubscribeError::Stopping),
            // Each watching client occupies a connection, and other clients must still get connections.
            Some(news) if news.receiver_count() >= WATCHERS => Err(SubscribeError::TooMany),
            Some(news) => Ok(news.subscribe()),
        }
    }

    /// Takes a packet that the program reported. `name` returns the name of an interface by its index.
    pub fn report(&self, event: &Event, name: impl FnOnce(u32) -> Option<String>) {
        let Some(reason) = event.reason() else {
            tracing::error!(?event, "a packet was reported for a reason that this version does not know");
            return;
        };
        let (flow, mode) = (event.flow(), event.mode());
        let source = flow.map(|(source, ..)| IpAddr::from(source));
        let now = self.clock.boot();
        let mut state = self.state();
        state.totals.reported += 1;
        if !state.has_share(source, now) {
            state.totals.over_share += 1;
            return;
        }
        if reason.verdict() == Verdict::Drop {
            state.shown_drops += 1;
        }
        let age = now.since(BootTime(event.time));
        let packet = PacketEvent {
            time_utc: self.clock.wall().saturating_sub(age).unwrap_or(Timestamp::MIN),
            source,
            number: flow.map(|(_, number, _)| number),
            protocol: flow.map(|(.., transport)| transport.into()),
            verdict: if mode == Mode::Observe { Verdict::Pass } else { reason.verdict() }.into(),
            reason: reason.into(),
            mode: mode.into(),
            interface: name(event.interface()).unwrap_or_else(|| event.interface().to_string()),
        };
        state.broadcast(News::Packet(packet));
    }

    /// Takes the number of packets that were dropped, or would have been, since the tables were made.
    pub fn count_drops(&self, dropped: u64) {
        let mut state = self.state();
        let (first, last) = *state.drops.get_or_insert((dropped, dropped));
        state.drops = Some((first, dropped));
        // Packets of the last count have been reported by now, if they are reported at all.
        let not_shown = last.saturating_sub(first).saturating_sub(state.shown_drops);
        let more = not_shown.saturating_sub(state.totals.not_shown);
        if more > 0 {
            state.totals.not_shown = not_shown;
            state.broadcast(News::NotShown(more));
        }
    }

    /// Returns the sums so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.state().totals
    }

    /// Returns why no more packets are reported. `None`: packets are reported.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.state().fault.clone()
    }

    /// Records that no more packets will be reported.
    pub fn fail(&self, fault: String) {
        tracing::error!(fault, "packets are not reported any more");
        self.state().fault = Some(fault);
    }

    /// Ends all watching when the agent stops.
    pub fn close(&self) {
        self.state().news = None;
    }
}

impl State {
    /// Whether a packet of this source may still be shown in this second.
    fn has_share(&mut self, source: Option<IpAddr>, now: BootTime) -> bool {
        if now.since(self.second) >= SECOND {
            self.second = now;
            self.shares.clear();
        }
        // Packets that don't tell their source have one share together.
        let source = source.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        if self.shares.len() >= SOURCES && !self.shares.contains_key(&source) {
            return false;
        }
        let share = self.shares.entry(source).or_default();
        *share += 1;
        *share <= PER_SOURCE
    }

    fn broadcast(&self, news: News) {
        if let Some(sender) = &self.news {
            // An error means that no client watches.
            let _ = sender.send(news);
        }
    }
}

#[cfg(test)]
mod tests {
    use jit_common::{
        abi::Transport,
        parse::{Flow, Source},
        reason::Reason,
    };

    use super::*;
    use crate::testing::ManualClock;

    const START: u64 = 100_000_000_000;

    fn hub() -> (EventHub, ManualClock) {
        let clock = ManualClock::new(BootTime(START), "2026-11-23T12:00:00Z".parse().unwrap());
        (EventHub::new(Arc::new(clock.clone())), clock)
    }

    fn event(source: u32, reason: Reason) -> Event {
        let mut event = Event::new(START - 1_500_000_000, 3, Mode::Enforce as u8, reason as u8);
        let (source, transport) = (Source::V4(source), Transport::Tcp);
        event.set_flow(&Flow { source, port: 22, transport, fragment: false, transport_header: 34 });
        event
    }

    fn news(receiver: &mut broadcast::Receiver<News>) -> Vec<News> {
        std::iter::from_fn(|| receiver.try_recv().ok()).collect()
    }

    #[test]
    fn a_packet_is_told_with_its_time_source_port_reason_and_interface() {
        let (hub, _) = hub();
        let mut watcher = hub.subscribe().unwrap();
        hub.report(&event(0xc000_020a, Reason::NoGrant), |index| (index == 3).then(|| "eth0".to_owned()));
        hub.report(&Event::new(START, 9, Mode::Observe as u8, Reason::TruncatedIp as u8), |_| None);
        let expected = [
            PacketEvent {
                time_utc: "2026-11-23T11:59:58.5Z".parse().unwrap(),
                source: Some("192.0.2.10".parse().unwrap()),
                number: Some(22),
                protocol: Some(Transport::Tcp.into()),
                verdict: Verdict::Drop.into(),
                reason: Reason::NoGrant.into(),
                mode: Mode::Enforce.into(),
                interface: "eth0".to_owned(),
            },
            PacketEvent {
                time_utc: "2026-11-23T12:00:00Z".parse().unwrap(),
                source: None,
                number: None,
                protocol: None,
                verdict: Verdict::Pass.into(),
                reason: Reason::TruncatedIp.into(),
                mode: Mode::Observe.into(),
                interface: "9".to_owned(),
            },
        ];
        assert_eq!(news(&mut watcher), expected.map(News::Packet));
    }

    #[test]
    fn one_source_gets_its_share_of_a_second_and_others_get_theirs() {
        let (hub, clock) = hub();
        let mut watcher = hub.subscribe().unwrap();
        for _ in 0..PER_SOURCE + 5 {
            hub.report(&event(1, Reason::NoGrant), |_| None);
        }
        hub.report(&event(2, Reason::NoGrant), |_| None);
        assert_eq!(news(&mut watcher).len(), PER_SOURCE as usize + 1);
        assert_eq!((hub.totals().reported, hub.totals().over_share), (u64::from(PER_SOURCE) + 6, 5));
        clock.advance(SECOND);
        hub.report(&event(1, Reason::NoGrant), |_| None);
        assert_eq!(news(&mut watcher).len(), 1);
    }

    #[test]
    fn more_sources_than_are_told_apart_are_counted_only() {
        let (hub, _) = hub();
        for source in 0..=SOURCES as u32 {
            hub.report(&event(source, Reason::NoGrant), |_| None);
        }
        assert_eq!(hub.totals().over_share, 1);
        assert_eq!(hub.state().shares.len(), SOURCES);
    }

    #[test]
    fn drops_that_were_not_shown_are_told_a_count_later_and_only_once() {
        let (hub, _) = hub();
        let mut watcher = hub.subscribe().unwrap();
        hub.count_drops(1000);
        assert_eq!(news(&mut watcher), [], "what was before the agent is no news");
        hub.report(&event(1, Reason::NoGrant), |_| None);
        hub.report(&event(2, Reason::HostGrant), |_| None);
        news(&mut watcher);
        hub.count_drops(1010);
        assert_eq!(news(&mut watcher), [], "reports of these may be under way");
        hub.count_drops(1010);
        assert_eq!(news(&mut watcher), [News::NotShown(9)], "ten drops, one shown; what passed is no drop");
        hub.count_drops(1010);
        assert_eq!(news(&mut watcher), []);
        assert_eq!(hub.totals().not_shown, 9);
    }

    #[test]
    fn a_reader_that_is_too_slow_loses_the_oldest_and_the_others_lose_nothing() {
        let (hub, clock) = hub();
        let (mut slow, mut quick) = (hub.subscribe().unwrap(), hub.subscribe().unwrap());
        let mut seen = 0;
        for number in 0..BACKLOG + 10 {
            clock.advance(SECOND);
            hub.report(&event(number as u32, Reason::NoGrant), |_| None);
            seen += news(&mut quick).len();
        }
        assert_eq!(seen, BACKLOG + 10);
        assert_eq!(slow.try_recv(), Err(broadcast::error::TryRecvError::Lagged(10)));
    }

    #[test]
    fn a_closed_hub_ends_all_watching() {
        let (hub, _) = hub();
        let mut watcher = hub.subscribe().unwrap();
        hub.close();
        assert_eq!(watcher.try_recv(), Err(broadcast::error::TryRecvError::Closed));
        assert_eq!(hub.subscribe().unwrap_err(), SubscribeError::Stopping);
    }

    #[test]
    fn those_who_watch_leave_connections_to_others() {
        let (hub, _) = hub();
        let mut watchers: Vec<_> = (0..WATCHERS).map(|_| hub.subscribe().unwrap()).collect();
        assert_eq!(hub.subscribe().unwrap_err(), SubscribeError::TooMany);
        watchers.pop();
        assert!(hub.subscribe().is_ok());
    }
}
