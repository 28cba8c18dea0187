//! A flood of one locked port: how many packets a second each filter drops, and what is left for other traffic.

mod arena;
mod client;
mod filter;
mod generator;
mod report;
mod traffic;

use std::{
    iter,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use jit_tests::Sandbox;

use self::{
    arena::{Arena, Flooded},
    client::{Client, Requests},
    generator::Generator,
};
pub(crate) use self::{client::NAME as CLIENT, filter::Filter, traffic::Traffic};
use crate::{
    cores::{Cores, pinned},
    samples::Samples,
};

/// The time for which each filter is flooded in a round.
const DURATION: Duration = Duration::from_millis(400);

/// The floods to measure.
pub(crate) struct Wanted {
    /// The kinds of traffic.
    pub(crate) traffic: Vec<Traffic>,
    /// Whether to measure a client next to the first kind too.
    pub(crate) client: bool,
}

/// The results of all floods.
pub(crate) struct Floods {
    /// The number of rounds of each measurement.
    pub(crate) rounds: u32,
    /// The processors that were used.
    pub(crate) cores: Cores,
    /// The results, one for each kind of traffic.
    pub(crate) floods: Vec<Flood>,
    /// The results of a client next to a flood of IPv4 TCP, by filter.
    pub(crate) client: Option<Client>,
}

/// The results for one kind of traffic.
pub(crate) struct Flood {
    /// The kind of traffic.
    pub(crate) traffic: Traffic,
    /// Nanoseconds that the generator takes to make a frame.
    pub(crate) generator: Samples,
    /// The rates in the order of the filters, or why a filter was not measured.
    pub(crate) results: Vec<(Filter, Result<Rate, String>)>,
}

/// The rate at which a filter handles a flood. All figures but packets a second are computed within each round, in
/// which all filters ran one after the other, so that a disturbance of the machine affects all filters.
pub(crate) struct Rate {
    /// Packets a second, in the order of the rounds.
    rounds: Vec<f64>,
    /// Millions of packets a second.
    pub(crate) mpps: Samples,
    /// That rate as a multiple of the bare program's rate.
    pub(crate) of_bare: Samples,
    /// Nanoseconds a packet, without the generator's share.
    pub(crate) net: Samples,
    /// The share of the packets that was received; the others found the device's queue full.
    pub(crate) received: Samples,
}

impl Flood {
    /// The measured rate with a filter.
    pub(crate) fn rate(&self, filter: Filter) -> Option<&Rate> {
        self.results.iter().find(|(found, _)| *found == filter)?.1.as_ref().ok()
    }

    /// The rate with `filter` as a multiple of the rate with `other`.
    pub(crate) fn ratio(&self, filter: Filter, other: Filter) -> Option<Samples> {
        let (one, other) = (self.rate(filter)?, self.rate(other)?);
        Some(Samples::new(iter::zip(&one.rounds, &other.rounds).map(|(one, other)| one / other).collect()))
    }
}

/// Measures all floods, round after round.
///
/// # Errors
/// The agent, the bare program or the generator can't run here, or packets meet another fate than expected.
pub(crate) fn run(wanted: &Wanted, rounds: u32) -> Result<Floods> {
    let sandbox = Sandbox::new()?;
    let cores = Cores::find()?;
    let mut stages = Vec::new();
    for traffic in Traffic::ALL {
        let floods = wanted.traffic.contains(&traffic);
        if floods || (wanted.client && traffic == client::BESIDE) {
            stages.push(Stage::new(&sandbox, traffic, floods, wanted.client && traffic == client::BESIDE, cores)?);
        }
    }
    for round in 0..rounds {
        for stage in &mut stages {
            stage.flood(round, cores)?;
        }
        for stage in &mut stages {
            stage.serve(round, cores)?;
        }
    }
    let client = stages.iter_mut().find_map(|stage| stage.client.take()).map(Client::new);
    let floods = stages.into_iter().filter(|stage| stage.floods).map(Stage::finish).collect::<Result<_>>()?;
    Ok(Floods { rounds, cores, floods, client })
}

/// All filters for one kind of traffic, with the measurements so far.
struct Stage {
    traffic: Traffic,
    /// Whether to measure rates too, not a client alone.
    floods: bool,
    generator: Generator,
    own: Vec<f64>,
    entries: Vec<Entry>,
    client: Option<Requests>,
}

struct Entry {
    filter: Filter,
    arena: Result<Arena, String>,
    /// The number of frames from each source in a round.
    sweeps: u32,
    rounds: Vec<Flooded>,
}

impl Stage {
    fn new(sandbox: &Sandbox, traffic: Traffic, floods: bool, client: bool, cores: Cores) -> Result<Self> {
        let generator = Generator::load(traffic, client::OFFERED)?;
        let mut entries = Vec::new();
        for (number, filter) in Filter::ALL.into_iter().enumerate() {
            let device = format!("{}-{number}", traffic.name().trim_start_matches("flood-"));
            let arena = Arena::new(sandbox, traffic, filter, &device).and_then(|mut arena| {
                let sweeps = pinned(cores.flood, || {
                    arena.check(&generator)?;
                    sweeps(|trial| Ok(arena.flood(&generator, trial)?.elapsed))
                })??;
                Ok((arena, sweeps))
            });
            let arena = match arena {
                Err(error) if filter.is_peer() => Err(format!("{error:#}")),
                other => Ok(other.with_context(|| format!("flooding {}", filter.meaning()))?),
            };
            let (arena, sweeps) = match arena {
                Ok((arena, sweeps)) => (Ok(arena), sweeps),
                Err(reason) => (Err(reason), 0),
            };
            entries.push(Entry { filter, arena, sweeps, rounds: Vec::new() });
        }
        let client = if client { Some(Requests::new(&mut entries, cores)?) } else { None };
        Ok(Self { traffic, floods, generator, own: Vec::new(), entries, client })
    }

    /// Measures one round of rates.
    fn flood(&mut self, round: u32, cores: Cores) -> Result<()> {
        if !self.floods {
            return Ok(());
        }
        let generator = &self.generator;
        let first = self.entries.iter().find_map(|entry| entry.arena.as_ref().ok());
        let first = first.context("there is nothing to flood")?;
        self.own.push(pinned(cores.flood, || first.client.enter(|| idle(first, generator)))???);
        let mut order: Vec<&mut Entry> = self.entries.iter_mut().collect();
        // The order alternates, so that no filter always runs after the same other filter.
        if round % 2 == 1 {
            order.reverse();
        }
        for entry in order {
            if let Ok(arena) = &mut entry.arena {
                entry.rounds.push(pinned(cores.flood, || arena.flood(generator, entry.sweeps))??);
            }
        }
        Ok(())
    }

    /// Measures one round of the client, if a client is wanted here.
    fn serve(&mut self, round: u32, cores: Cores) -> Result<()> {
        let Some(requests) = &mut self.client else { return Ok(()) };
        requests.round(&mut self.entries, &self.generator, round, cores)
    }

    fn finish(self) -> Result<Flood> {
        let rate = |flooded: &Flooded| flooded.received as f64 / flooded.elapsed.as_secs_f64();
        let bare = self.entries.iter().find(|entry| entry.filter == Filter::BareDrop);
        let bare: Vec<f64> = bare.context("the bare program was not flooded")?.rounds.iter().map(rate).collect();
        let own = self.own;
        let results = self.entries.into_iter().map(|entry| {
            let Entry { filter, arena, rounds, .. } = entry;
            let measured = arena.map(|_| {
                let rates: Vec<f64> = rounds.iter().map(rate).collect();
                let received = rounds.iter().map(|flooded| flooded.received as f64 / flooded.sent as f64).collect();
                Rate {
                    mpps: Samples::new(rates.iter().map(|rate| rate / 1e6).collect()),
                    of_bare: Samples::new(iter::zip(&rates, &bare).map(|(rate, bare)| rate / bare).collect()),
                    net: Samples::new(iter::zip(&rates, &own).map(|(rate, own)| 1e9 / rate - own).collect()),
                    received: Samples::new(received),
                    rounds: rates,
                }
            });
            (filter, measured)
        });
        let results = results.collect();
        Ok(Flood { traffic: self.traffic, generator: Samples::new(own), results })
    }
}

/// Nanoseconds that the generator takes for a frame that goes nowhere.
fn idle(arena: &Arena, generator: &Generator) -> Result<f64> {
    let sender = arena.sender(generator);
    let discard = |sweeps| {
        let started = Instant::now();
        sender.discard(sweeps)?;
        Ok(started.elapsed())
    };
    let sweeps = sweeps(discard)?;
    let elapsed = discard(sweeps)?;
    Ok(elapsed.as_nanos() as f64 / (f64::from(sweeps) * f64::from(traffic::SOURCES)))
}

/// The number of frames from each source that takes about as long as a round should. A call that makes live frames ends
/// with a wait for RCU of some milliseconds. One long call a round makes that share negligible, and equal for all
/// filters.
fn sweeps(flood: impl FnOnce(u32) -> Result<Duration>) -> Result<u32> {
    const TRIAL: u32 = 4;
    let elapsed = flood(TRIAL)?;
    Ok(((DURATION.as_secs_f64() / elapsed.as_secs_f64() * f64::from(TRIAL)).ceil() as u32).clamp(1, 256))
}
