//! An interface without XDP: a tunnel whose packets have no Ethernet header, covered by TCX, or by a filter before
//! Linux 6.6.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use jit_agent::datapath::{Coverage, Datapath as _};
use jit_policy::Way;
use jit_tests::{PATIENCE, Program, Reach, TcpServer, tcp_connects};

use crate::wire::{GRANTED, STRANGER, Wire, choose, clean, connections_need_a_grant, cover, is, pins};

/// The tunnel's device at the server's end.
const TUNNEL: &str = "tun9";
/// A classifier of one instruction, in the notation of `tc`, that leaves the verdict to the next classifier.
const FOREIGN: &str = "1,6 0 0 4294967295,";
const FOREIGN_HANDLE: &str = "0x7";

/// A tunnel over a veth, and the agent's datapath on both.
struct Tunnel {
    wire: Wire,
    way: Way,
}

impl Tunnel {
    fn new() -> Result<Self> {
        let mut wire = Wire::new()?;
        let ends = [
            (&wire.server, "srv0", "198.18.0.1", "198.18.0.2", &["192.0.2.1"][..]),
            (&wire.client, "cli0", "198.18.0.2", "198.18.0.1", &[GRANTED, STRANGER]),
        ];
        for (namespace, device, local, remote, addresses) in ends {
            namespace.ip(&format!("address add {local}/24 dev {device}"))?;
            namespace.ip(&format!("link add {TUNNEL} type ipip local {local} remote {remote}"))?;
            namespace.ip(&format!("link set {TUNNEL} up"))?;
            for address in addresses {
                namespace.ip(&format!("address add {address}/24 dev {TUNNEL}"))?;
            }
        }
        wire.server.enter(|| choose(&mut wire.datapath, &["srv0", TUNNEL]))??;
        let has_tcx = SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok();
        let tunnel = Self { wire, way: if has_tcx { Way::Tcx } else { Way::Clsact } };
        tunnel.is_covered()?;
        Ok(tunnel)
    }

    fn is_covered(&self) -> Result<()> {
        let view = self.wire.server.enter(|| self.wire.datapath.interfaces())?;
        let tunnel = view.iter().find(|view| view.name == TUNNEL).context("it is not listed")?;
        ensure!(tunnel.attached == Some(self.way) && tunnel.fault.is_none(), "not by {}: {tunnel:?}", self.way);
        ensure!(self.ours()? == 1, "{} programs of ours are on it", self.ours()?);
        connections_need_a_grant(&self.wire.server, &self.wire.client)
    }

    /// Expects that the tunnel is open. Its packets pass on the veth below, since they are neither TCP nor UDP nor
    /// SCTP.
    fn is_open(&self) -> Result<()> {
        // The kernel ends a link some time after the last reference has gone, and sends no notification.
        let deadline = Instant::now() + PATIENCE;
        while self.ours()? != 0 {
            ensure!(Instant::now() < deadline, "{} programs of ours are on it", self.ours()?);
            thread::sleep(Duration::from_millis(10));
        }
        let _server = TcpServer::echo(&self.wire.server, "192.0.2.1:22")?;
        is(tcp_connects(&self.wire.client, STRANGER, "192.0.2.1:22", PATIENCE)?, Reach::Open, "a stranger")
    }

    fn tc(&self, arguments: &str) -> Result<String> {
        let program = Program::new("tc").args(arguments.split(' '));
        Ok(program.run_in(&self.wire.server, PATIENCE)?.success()?.stdout)
    }

    /// The filters as `tc` lists them.
    fn filters(&self) -> Result<Vec<String>> {
        let shown = self.tc(&format!("filter show dev {TUNNEL} ingress"))?;
        Ok(shown.lines().filter(|line| line.contains("handle")).map(str::to_owned).collect())
    }

    fn ours(&self) -> Result<usize> {
        if self.way == Way::Tcx {
            let programs = self.wire.server.enter(|| SchedClassifier::query_tcx(TUNNEL, TcAttachType::Ingress))??;
            return Ok(programs.1.len());
        }
        Ok(self.filters()?.iter().filter(|filter| filter.contains("jit_tc_l3")).count())
    }

    /// Adds a foreign filter, before all others of its priority.
    fn add_foreign(&self) -> Result<()> {
        if self.way == Way::Tcx {
            self.tc(&format!("qdisc add dev {TUNNEL} clsact"))?;
        }
        let add = ["filter", "add", "dev", TUNNEL, "ingress", "pref", "1", "handle", FOREIGN_HANDLE];
        let program = Program::new("tc").args(add).args(["bpf", "da", "bytecode", FOREIGN]);
        program.run_in(&self.wire.server, PATIENCE)?.success().map(drop)
    }

    fn has_foreign(&self) -> Result<()> {
        let filters = self.filters()?;
        let found = filters.iter().any(|filter| filter.contains(&format!("handle {FOREIGN_HANDLE} ")));
        ensure!(found, "the filter of somebody else is gone: {filters:?}");
        Ok(())
    }

    fn detach_own_filter(&self) -> Result<()> {
        if self.way == Way::Tcx {
            let link = fs::read_dir(pins())?
                .filter_map(Result::ok)
                .find(|entry| entry.file_name().to_string_lossy().starts_with("tcx-"));
            return Ok(fs::remove_file(link.context("no link is pinned")?.path())?);
        }
        let filters = self.filters()?;
        let ours = filters.iter().find(|filter| filter.contains("jit_tc_l3")).context("there is none of ours")?;
        let handle = ours.split_once("handle ").and_then(|(_, rest)| rest.split(' ').next()).context("no handle")?;
        self.tc(&format!("filter del dev {TUNNEL} ingress pref 1 handle {handle} bpf")).map(drop)
    }

    /// Reconciles once, and returns the reasons why our program was not attached as it should be.
    fn mended(&mut self) -> Result<Vec<String>> {
        let changes = self.wire.server.enter(|| self.wire.datapath.reconcile(None))?;
        let lost = changes.into_iter().filter_map(|change| match change.coverage {
            Coverage::Lost { reason, .. } => Some(reason),
            Coverage::Gained { .. } => None,
        });
        Ok(lost.collect())
    }
}

pub(crate) fn is_covered() -> Result<()> {
    Tunnel::new().map(drop)
}

pub(crate) fn a_successor_takes_over() -> Result<()> {
    let Tunnel { wire: Wire { server, client, mut datapath }, way } = Tunnel::new()?;
    server.enter(|| datapath.keep())??;
    drop(datapath);
    connections_need_a_grant(&server, &client).context("without an agent")?;
    let datapath = server.enter(|| cover(&["srv0", TUNNEL]))??;
    ensure!(datapath.adopted(), "the maps were not taken over");
    Tunnel { wire: Wire { server, client, datapath }, way }.is_covered()
}

pub(crate) fn what_others_do_is_noticed() -> Result<()> {
    let mut tunnel = Tunnel::new()?;
    tunnel.add_foreign()?;
    let overtaken = tunnel.mended()?;
    // TCX comes before all filters.
    let expected = if tunnel.way == Way::Tcx { 0 } else { 1 };
    ensure!(overtaken.len() == expected, "{overtaken:?}");
    ensure!(overtaken.iter().all(|reason| reason.contains("of somebody else (priority 1")), "{overtaken:?}");
    tunnel.has_foreign()?;
    tunnel.is_covered()?;

    tunnel.detach_own_filter()?;
    tunnel.is_open()?;
    let lost = tunnel.mended()?;
    ensure!(matches!(&lost[..], [reason] if reason.contains("took the program off")), "{lost:?}");
    tunnel.is_covered()?;
    tunnel.has_foreign()
}

pub(crate) fn is_left_as_it_was() -> Result<()> {
    let mut tunnel = Tunnel::new()?;
    tunnel.add_foreign()?;
    let Wire { server, datapath, .. } = &mut tunnel.wire;
    server.enter(|| choose(datapath, &["srv0"]))??;
    tunnel.is_open()?;
    tunnel.has_foreign()?;
    let Wire { server, datapath, .. } = &mut tunnel.wire;
    server.enter(|| choose(datapath, &["srv0", TUNNEL]))??;
    tunnel.is_covered()?;
    tunnel.wire.server.enter(clean)??;
    tunnel.is_open()?;
    tunnel.has_foreign()
}
