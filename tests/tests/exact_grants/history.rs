//! Random histories of grants, and the model that a datapath or an agent must agree with.

use std::cell::RefCell;

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use jit_agent::{
    clock::{Clock as _, SystemClock},
    config::Config,
    testing::ManualClock,
};
use jit_common::abi::Transport;
use jit_policy::{BootTime, GrantId, LiveGrant, PortId, Protocol};
use jit_tests::{
    Sandbox,
    model::{Twin, probes},
};
use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestRunner},
};

use crate::{CONFIG, OTHER_PORT, PORT};

const MINUTE: u64 = 60 * 1_000_000_000;
const START: BootTime = BootTime(1_000 * MINUTE);

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<IpNet>, PortId, u64),
    /// Sets the end of a grant to so many minutes from now; the index selects one of the existing grants.
    MoveEnd(prop::sample::Index, u64),
    Revoke(prop::sample::Index),
    RevokeAll,
    /// Lets so many minutes pass.
    Pass(u64),
    /// Frees ended grants. A separate step, since time may pass without a sweep by the agent.
    Sweep,
    Restart,
    LoseMaps,
}

/// Prefixes of both families that nest up to five deep, and hosts.
fn any_source() -> impl Strategy<Value = IpNet> {
    let v4 = (0_u8..16, prop_oneof![Just(0_u8), Just(8), Just(28), 29_u8..=32])
        .prop_map(|(low, length)| format!("192.0.2.{low}/{length}"));
    let v6 = (0_u8..16, prop_oneof![Just(0_u8), Just(32), Just(64), Just(124), 125_u8..=128])
        .prop_map(|(low, length)| format!("2001:db8::{low:x}/{length}"));
    prop_oneof![v4, v6].prop_filter_map("not a prefix", |text| Some(text.parse::<IpNet>().ok()?.trunc()))
}

fn any_port() -> impl Strategy<Value = PortId> {
    let port = |number, protocol| Just(PortId { number, protocol });
    prop_oneof![
        4 => port(PORT, Protocol::Tcp),
        2 => port(PORT, Protocol::Udp),
        2 => port(PORT, Protocol::Any),
        1 => port(OTHER_PORT, Protocol::Tcp),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (prop::collection::vec(any_source(), 1..4), any_port(), 1_u64..30)
            .prop_map(|(sources, port, minutes)| Step::Add(sources, port, minutes)),
        4 => (any::<prop::sample::Index>(), 0_u64..30).prop_map(|(index, minutes)| Step::MoveEnd(index, minutes)),
        4 => any::<prop::sample::Index>().prop_map(Step::Revoke),
        1 => Just(Step::RevokeAll),
        4 => (0_u64..12).prop_map(Step::Pass),
        3 => Just(Step::Sweep),
        1 => Just(Step::Restart),
        1 => Just(Step::LoseMaps),
    ]
}

/// Turns grants into entries of a datapath: the grant book alone, or the agent's core with a store.
pub(crate) trait Keeper {
    /// Adds grants whose numbers are not known yet, all with the same port and end, and returns the numbers.
    fn add(&mut self, grants: &[LiveGrant], now: BootTime) -> Result<Vec<GrantId>>;
    /// Moves the end of a grant, and returns whether that was possible.
    fn move_end(&mut self, id: GrantId, end: BootTime) -> Result<bool>;
    fn revoke(&mut self, ids: &[GrantId]) -> Result<()>;
    fn sweep(&mut self, now: BootTime) -> Result<()>;
    /// Starts again with these grants, or with those that were recorded in a store.
    fn restart(&mut self, grants: &[LiveGrant], adopted: bool) -> Result<()>;
}

/// The model, and the keeper and datapaths that must agree with the model.
struct World<K> {
    twin: Twin,
    clock: ManualClock,
    grants: Vec<LiveGrant>,
    keeper: K,
}

impl<K: Keeper> World<K> {
    fn take(&mut self, step: &Step) -> Result<()> {
        let now = self.clock.boot();
        let end_after = |minutes: u64| BootTime(now.0 + minutes * MINUTE);
        let mut after = self.grants.clone();
        match step {
            Step::Add(sources, port, minutes) => {
                let mut sources = sources.clone();
                sources.sort_unstable();
                sources.dedup();
                let unnumbered = |source: &IpNet| LiveGrant {
                    id: GrantId(0),
                    port: *port,
                    source: *source,
                    end: end_after(*minutes),
                };
                let mut added: Vec<LiveGrant> = sources.iter().map(unnumbered).collect();
                self.twin.begin(&self.grants, &[after.clone(), added.clone()].concat());
                let ids = self.keeper.add(&added, now)?;
                ensure!(ids.len() == added.len(), "{} grants were asked for, but {ids:?} made", added.len());
                added.iter_mut().zip(ids).for_each(|(grant, id)| grant.id = id);
                after.extend(added);
            }
            Step::MoveEnd(index, minutes) if !after.is_empty() => {
                let grant = &mut after[index.index(self.grants.len())];
                grant.end = end_after(*minutes);
                let moved = *grant;
                self.twin.begin(&self.grants, &after);
                if !self.keeper.move_end(moved.id, moved.end)? {
                    self.twin.begin(&self.grants, &self.grants);
                    after.clone_from(&self.grants);
                }
            }
            Step::Revoke(index) if !after.is_empty() => {
                let grant = after.swap_remove(index.index(self.grants.len()));
                self.twin.begin(&self.grants, &after);
                self.keeper.revoke(&[grant.id])?;
            }
            Step::RevokeAll => {
                let ids: Vec<GrantId> = after.drain(..).map(|grant| grant.id).collect();
                self.twin.begin(&self.grants, &after);
                self.keeper.revoke(&ids)?;
            }
            Step::Pass(minutes) => self.twin.pass(end_after(*minutes))?,
            Step::Sweep => self.keeper.sweep(now)?,
            Step::Restart => {
                self.twin.restart()?;
                self.keeper.restart(&self.grants, true)?;
            }
            Step::LoseMaps => {
                // Until the tables are filled again, packets may be dropped, but no packet may pass that is not
                // admitted.
                self.twin.begin(&[], &self.grants);
                self.twin.lose_maps()?;
                self.keeper.restart(&self.grants, false)?;
            }
            Step::MoveEnd(..) | Step::Revoke(_) => {}
        }
        if matches!(step, Step::Sweep | Step::Restart | Step::LoseMaps) {
            after.retain(|grant| grant.end > now);
        }
        self.grants = after;
        self.twin.end()
    }
}

/// Checks random histories. Each begins in a world without grants.
pub(crate) fn check_histories<K: Keeper>(cases: u32, keeper: impl Fn(&Sandbox, &Twin) -> Result<K>) -> Result<()> {
    let sandbox = Sandbox::new()?;
    let ports = Transport::ALL.map(|transport| (PORT, transport)).into_iter().chain([(OTHER_PORT, Transport::Tcp)]);
    let probes = probes(&ports.collect::<Vec<_>>())?;
    let clock = ManualClock::new(START, SystemClock.wall());
    let twin = RefCell::new(Twin::new(
        &sandbox.bpffs().join("jit-agent"),
        &Config::parse(CONFIG, "config.toml")?.protection(),
        probes,
        clock.clone(),
    )?);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let case = |steps: &[Step]| -> Result<()> {
        let twin = twin.borrow();
        twin.clear()?;
        let mut keeper = keeper(&sandbox, &twin)?;
        keeper.restart(&[], true)?;
        let mut world = World { twin: twin.clone(), clock: clock.clone(), grants: Vec::new(), keeper };
        steps.iter().try_for_each(|step| world.take(step).with_context(|| format!("in {step:?}")))
    };
    TestRunner::new(config)
        .run(&prop::collection::vec(any_step(), 1..25), |steps| {
            case(&steps).map_err(|error| TestCaseError::fail(format!("{error:#}")))
        })
        .map_err(|failure| anyhow::anyhow!("{failure}"))?;
    Ok(())
}
