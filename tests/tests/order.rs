//! The order in which the kernel's tables change, with packets flowing. While entries open and close around a source, a
//! source that is admitted before and after a change loses no packet, and a source that is admitted neither before nor
//! after gains no packet.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use jit_agent::{
    clock::{Clock as _, SystemClock},
    datapath::{Datapath as _, xdp::XdpDatapath},
};
use jit_common::{
    abi::{EnforceUntil, Transport},
    reason::Reason,
};
use jit_policy::{Book, BootTime, Change, GrantId, LiveGrant, PortId, ProtectedPort, Protection, Protocol};
use jit_tests::{
    Sandbox,
    model::frame,
    watch::{can_race, watch},
};

const PORT: u16 = 22;
/// Packets to judge for each scenario and address family.
const LOOKS: u64 = 1_000_000;

/// A change to the grants. The numbers of grants are arbitrary.
#[derive(Clone, Copy)]
enum Step {
    /// Opens a grant for a source, which lasts for so many minutes. A grant of 0 minutes is expired from the start.
    Open(i64, Prefix, u64),
    /// Gives a grant another end.
    SetEnd(i64, u64),
    Close(i64),
}
use Step::{Close, Open, SetEnd};

/// A source, nested in the wider sources below.
#[derive(Clone, Copy)]
enum Prefix {
    Watched,
    Neighbour,
    /// Holds the watched source but not the neighbour.
    Inner,
    /// Holds the neighbour but not the watched source.
    Beside,
    Middle,
    Outer,
    Everybody,
}
use Prefix::{Beside, Everybody, Inner, Middle, Neighbour, Outer, Watched};

impl Prefix {
    const fn text(self, family: Family) -> &'static str {
        match (family, self) {
            (Family::V4, Watched) => "10.1.1.1/32",
            (Family::V4, Neighbour) => "10.1.1.129/32",
            (Family::V4, Inner) => "10.1.1.0/28",
            (Family::V4, Beside) => "10.1.1.128/28",
            (Family::V4, Middle) => "10.1.1.0/24",
            (Family::V4, Outer) => "10.1.0.0/16",
            (Family::V4, Everybody) => "0.0.0.0/0",
            (Family::V6, Watched) => "2001:db8:1:1::1/128",
            (Family::V6, Neighbour) => "2001:db8:1:1:8000::1/128",
            (Family::V6, Inner) => "2001:db8:1:1::/80",
            (Family::V6, Beside) => "2001:db8:1:1:8000::/80",
            (Family::V6, Middle) => "2001:db8:1:1::/64",
            (Family::V6, Outer) => "2001:db8:1::/48",
            (Family::V6, Everybody) => "::/0",
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Family {
    V4,
    V6,
}

/// The grants at first, and the changes of one round, which is repeated and ends where it began.
struct Scenario {
    name: &'static str,
    at_first: &'static [Step],
    round: &'static [Step],
}

/// The watched source is admitted all the time.
const ADMITTED: [Scenario; 7] = [
    Scenario {
        name: "its own grant moves",
        at_first: &[Open(1, Watched, 60)],
        round: &[SetEnd(1, 120), SetEnd(1, 30), SetEnd(1, 60)],
    },
    Scenario {
        name: "its host comes and goes within a prefix",
        at_first: &[Open(1, Middle, 60)],
        round: &[Open(2, Watched, 30), SetEnd(2, 90), Close(2), Open(3, Watched, 0), Close(3)],
    },
    Scenario {
        name: "a prefix comes and goes around its host",
        at_first: &[Open(1, Watched, 60)],
        round: &[Open(2, Middle, 30), Close(2), Open(3, Middle, 0), Close(3)],
    },
    Scenario {
        name: "an inner prefix comes and goes within outer ones",
        at_first: &[Open(1, Outer, 60), Open(2, Middle, 30)],
        round: &[Open(3, Inner, 10), SetEnd(3, 90), Close(3), Open(4, Inner, 0), Close(4)],
    },
    Scenario {
        name: "outer prefixes come and go around an inner one",
        at_first: &[Open(1, Inner, 60)],
        round: &[
            Open(2, Outer, 30),
            Open(3, Middle, 90),
            SetEnd(2, 120),
            Close(2),
            Close(3),
            Open(4, Middle, 0),
            Close(4),
        ],
    },
    Scenario {
        name: "a prefix comes and goes between an expired inner and an outer one",
        at_first: &[Open(1, Everybody, 60), Open(2, Inner, 0)],
        round: &[Open(3, Middle, 30), SetEnd(3, 90), SetEnd(3, 0), Close(3)],
    },
    Scenario {
        name: "an expired inner prefix is swept while the outer one is extended and shortened",
        at_first: &[Open(1, Outer, 60)],
        round: &[
            Open(2, Inner, 0),
            SetEnd(1, 120),
            Close(2),
            Open(3, Middle, 0),
            SetEnd(1, 30),
            Close(3),
            SetEnd(1, 60),
        ],
    },
];

/// The watched source is admitted all the time, first by one grant and then by another.
const ADMITTED_IN_TURN: [Scenario; 2] = [
    Scenario {
        name: "inner and outer prefix take turns",
        at_first: &[Open(1, Outer, 60)],
        round: &[Open(2, Inner, 30), Close(1), Open(1, Outer, 60), Close(2)],
    },
    Scenario {
        name: "host and prefix take turns as the port's only entries",
        at_first: &[Open(1, Watched, 60)],
        round: &[Open(2, Middle, 60), Close(1), Open(1, Watched, 60), Close(2)],
    },
];

/// The watched source is never admitted.
const NEVER_ADMITTED: [Scenario; 5] = [
    Scenario {
        name: "a host comes and goes beside it as the port's only entry",
        at_first: &[],
        round: &[Open(1, Neighbour, 60), Close(1)],
    },
    Scenario {
        name: "a prefix comes and goes beside it as the port's only entry",
        at_first: &[],
        round: &[Open(1, Beside, 60), SetEnd(1, 90), Close(1)],
    },
    Scenario {
        name: "its own grant comes and goes too late, and others take its place",
        at_first: &[],
        round: &[Open(1, Watched, 0), Close(1), Open(2, Neighbour, 60), Open(1, Watched, 0), Close(2), Close(1)],
    },
    Scenario {
        name: "prefixes around it come and go too late, with a live one within them",
        at_first: &[Open(1, Outer, 0)],
        round: &[Open(2, Beside, 60), Open(3, Middle, 0), Close(2), Open(2, Beside, 60), Close(3), Close(2)],
    },
    Scenario {
        name: "the expired prefixes around it come and go in turn",
        at_first: &[Open(1, Middle, 0)],
        round: &[Open(2, Inner, 0), Close(1), Open(3, Beside, 60), Open(1, Middle, 0), Close(2), Close(3)],
    },
];

/// The grant book, whose changes go to the kernel.
struct GrantBook {
    book: Book,
    family: Family,
    /// The moment from which minutes count.
    start: BootTime,
}

impl GrantBook {
    fn apply(&mut self, datapath: &mut XdpDatapath, step: Step) -> Result<()> {
        let after = |minutes: u64| self.start.after(Duration::from_secs(60 * minutes));
        let changes = match step {
            Open(id, prefix, minutes) => {
                let source: IpNet = prefix.text(self.family).parse()?;
                let port = PortId { number: PORT, protocol: Protocol::Tcp };
                self.book.insert(LiveGrant { id: GrantId(id), port, source, end: after(minutes) })?
            }
            SetEnd(id, minutes) => {
                let end = after(minutes);
                self.book.set_end(GrantId(id), end).context("no such grant")?
            }
            Close(id) => self.book.remove(GrantId(id)).context("no such grant")?.1,
        };
        for change in changes {
            match change {
                Change::Set { entry, deadline } => datapath.set(&entry, deadline)?,
                Change::Remove { entry, covered_until } => datapath.remove(&entry, covered_until)?,
            }
        }
        Ok(())
    }
}

/// Runs the scenarios one after the other, with packets from the watched source. These must be counted under `reasons`
/// only.
fn check_scenarios(scenarios: &[Scenario], reasons: &[Reason]) -> Result<()> {
    if !can_race() {
        return Ok(());
    }
    let sandbox = Sandbox::new()?;
    let mut datapath = XdpDatapath::load(&sandbox.bpffs().join("jit-agent"))?;
    let ports = vec![ProtectedPort::new(PORT, Transport::Tcp)];
    datapath.configure(&Protection { ports, enforce_until: EnforceUntil::ENFORCE, ..Protection::default() })?;
    let mut wrong = Vec::new();
    for (scenario, family) in scenarios.iter().flat_map(|scenario| [(scenario, Family::V4), (scenario, Family::V6)]) {
        let watched: IpAddr = Watched.text(family).parse::<IpNet>()?.addr();
        let frames = [frame(watched, PORT, Transport::Tcp)];
        let mut grants = GrantBook { book: Book::new(), family, start: SystemClock.boot() };
        scenario.at_first.iter().try_for_each(|step| grants.apply(&mut datapath, *step))?;
        let seen = watch(&mut datapath, &frames, LOOKS, |datapath, _| {
            scenario.round.iter().try_for_each(|step| grants.apply(datapath, *step))
        })
        .with_context(|| format!("{}, {family:?}", scenario.name))?;
        ensure!(seen.rounds > 0, "{}, {family:?}: nothing happened", scenario.name);
        let other = seen.other_than(reasons);
        if !other.is_empty() {
            wrong.push(format!("{}, {family:?}: {other:?} of {seen:?}", scenario.name));
        }
        for (entry, _) in datapath.entries()? {
            datapath.remove(&entry, None)?;
        }
    }
    ensure!(wrong.is_empty(), "only {reasons:?} should be counted, but:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn a_source_that_is_admitted_before_and_after_each_change_loses_no_packet() -> Result<()> {
    check_scenarios(&ADMITTED, &[Reason::HostGrant, Reason::PrefixGrant])
}

/// One look-up reads several tables in turn. A look-up that meets a single change is judged correctly. Two changes, the
/// opening of one grant and the closing of another, are harmless as long as no look-up meets both.
#[test]
fn a_source_that_one_grant_admits_after_another_loses_no_packet() -> Result<()> {
    check_scenarios(&ADMITTED_IN_TURN, &[Reason::HostGrant, Reason::PrefixGrant])
}

#[test]
fn a_source_that_is_admitted_neither_before_nor_after_each_change_gains_no_packet() -> Result<()> {
    check_scenarios(&NEVER_ADMITTED, &[Reason::NoGrant, Reason::GrantExpired])
}
