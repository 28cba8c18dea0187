//! How the cost of a packet grows with the number of grants: IPv4, under BPF_PROG_TEST_RUN.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use jit_agent::datapath::xdp::XdpDatapath;
use jit_common::abi::Transport;
use jit_tests::{
    Sandbox,
    verdicts::frame::{Ipv4, protocol, segment},
};
use serde_json::{Value, json};

use crate::{
    grants::{self, Opener},
    instructions::action,
    per_packet::time,
    samples::Samples,
    table::aligned,
};

/// The name by which `--only` selects this measurement.
pub(crate) const NAME: &str = "growth";

/// Grants of each kind.
const SIZES: [u16; 4] = [0, 1000, 10_000, 60_000];
/// A protected port with host grants.
const HOSTS: u16 = 22;
/// A protected port with prefix grants.
const PREFIXES: u16 = 3389;
/// A source for which there is never a grant, however many host and prefix grants there are.
const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 18, 255, 1);

/// The results.
pub(crate) struct Growth {
    /// The number of rounds of each measurement.
    pub(crate) rounds: u32,
    /// Packets in a round.
    pub(crate) repeat: u32,
    /// The results by number of grants.
    pub(crate) sizes: Vec<Size>,
}

/// Nanoseconds a packet with one number of grants.
pub(crate) struct Size {
    grants: u16,
    host_miss: Samples,
    host_hit: Option<Samples>,
    prefix_miss: Samples,
    prefix_hit: Option<Samples>,
}

/// The tables of one size, with the packets that meet them.
struct Stage {
    grants: u16,
    datapath: XdpDatapath,
    packets: Vec<Packet>,
}

#[derive(Clone)]
struct Packet {
    frame: Vec<u8>,
    action: i32,
    times: Vec<f64>,
}

/// Measures all sizes, round after round.
///
/// # Errors
/// The kernel refuses the program or the tables, or a packet meets another verdict than expected.
pub(crate) fn run(rounds: u32, repeat: u32) -> Result<Growth> {
    let sandbox = Sandbox::new()?;
    let mut stages = SIZES.into_iter().map(|size| Stage::new(&sandbox, size)).collect::<Result<Vec<_>>>()?;
    for stage in &mut stages {
        // This round is not counted, like the first round of the costs.
        stage.round(repeat / 10)?;
        stage.packets.iter_mut().for_each(|packet| packet.times.clear());
    }
    for _ in 0..rounds {
        stages.iter_mut().try_for_each(|stage| stage.round(repeat))?;
    }
    Ok(Growth { rounds, repeat, sizes: stages.into_iter().map(Stage::finish).collect::<Result<_>>()? })
}

impl Stage {
    fn new(sandbox: &Sandbox, grants: u16) -> Result<Self> {
        let pins = sandbox.bpffs().join(format!("growth-{grants}"));
        let mut datapath = XdpDatapath::load(&pins).context("loading the program")?;
        grants::protect(&mut datapath, &[HOSTS, PREFIXES].map(|port| (port, Transport::Tcp)))?;
        Opener::new(&mut datapath, HOSTS, Transport::Tcp).open_all(grants::hosts4(grants))?;
        Opener::new(&mut datapath, PREFIXES, Transport::Tcp).open_all(grants::prefixes4(grants))?;
        let packet = |port, source, action| {
            let frame = Ipv4::new(source, protocol::TCP, segment(port)).frame();
            Packet { frame, action, times: Vec::new() }
        };
        let mut packets = [HOSTS, PREFIXES].map(|port| packet(port, STRANGER, action::DROP)).to_vec();
        let middle = usize::from(grants / 2);
        if let (Some(host), Some(prefix)) = (grants::hosts4(grants).nth(middle), grants::prefixes4(grants).nth(middle))
        {
            let network = prefix.split_once('/').map_or(prefix.as_str(), |(network, _)| network);
            packets.push(packet(HOSTS, host.parse()?, action::PASS));
            packets.push(packet(PREFIXES, network.parse()?, action::PASS));
        }
        Ok(Self { grants, datapath, packets })
    }

    fn round(&mut self, repeat: u32) -> Result<()> {
        let Self { grants, datapath, packets } = self;
        for Packet { frame, action, times } in packets {
            let run = || {
                let (found, _) = datapath.test_run(frame, repeat)?;
                let expected = action.cast_unsigned();
                ensure!(found == expected, "with {grants} grants, action {found} was returned instead of {expected}");
                Ok(())
            };
            times.push(time(run, repeat)?);
        }
        Ok(())
    }

    fn finish(self) -> Result<Size> {
        let mut samples = self.packets.into_iter().map(|packet| Samples::new(packet.times));
        Ok(Size {
            grants: self.grants,
            host_miss: samples.next().context("no host was looked for")?,
            prefix_miss: samples.next().context("no prefix was looked for")?,
            host_hit: samples.next(),
            prefix_hit: samples.next(),
        })
    }
}

impl Growth {
    /// The figures as a table, for people.
    pub(crate) fn to_table(&self) -> String {
        let Self { rounds, repeat, sizes } = self;
        let heading = format!(
            "Cost of an IPv4 packet in ns as grants grow: so many hosts, and so many prefixes for another port\n\
             BPF_PROG_TEST_RUN of one source, {rounds} rounds of {repeat} packets by turns: median (quartiles)"
        );
        let mut rows =
            vec![["grants", "host: pass", "no host: drop", "prefix: pass", "no prefix: drop"].map(str::to_owned)];
        let shown = |samples: &Option<Samples>| samples.as_ref().map_or_else(|| "-".to_owned(), |found| found.shown(1));
        rows.extend(sizes.iter().map(|Size { grants, host_miss, host_hit, prefix_miss, prefix_hit }| {
            [grants.to_string(), shown(host_hit), host_miss.shown(1), shown(prefix_hit), prefix_miss.shown(1)]
        }));
        format!("{heading}\n\n{}", aligned(&rows, 0))
    }

    /// The figures as JSON, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let Self { rounds, repeat, sizes } = self;
        let sizes = sizes.iter().map(|Size { grants, host_miss, host_hit, prefix_miss, prefix_hit }| {
            json!({
                "grants": grants,
                "hostHitNanoseconds": host_hit.as_ref().map(Samples::to_json),
                "hostMissNanoseconds": host_miss.to_json(),
                "prefixHitNanoseconds": prefix_hit.as_ref().map(Samples::to_json),
                "prefixMissNanoseconds": prefix_miss.to_json(),
            })
        });
        let sizes: Vec<_> = sizes.collect();
        json!({ "name": NAME, "rounds": rounds, "packetsPerRound": repeat, "sizes": sizes })
    }
}
