//! Bonds: the program is attached to their members, even when members join and leave.

use anyhow::{Result, ensure};
use jit_agent::datapath::{Datapath as _, xdp::XdpDatapath};
use jit_policy::Way;
use jit_tests::{Link, Namespace};

use crate::wire::{GRANTED, STRANGER, clean, connections_need_a_grant, cover};

/// A bond on each side, over two veths.
struct Bond {
    server: Namespace,
    client: Namespace,
    datapath: XdpDatapath,
}

impl Bond {
    /// Creates a bond of the first veths, and covers these interfaces.
    fn new(interfaces: &[&str]) -> Result<Self> {
        let (server, client) = (Namespace::new("server")?, Namespace::new("client")?);
        for number in 0..2 {
            Link::new(&server, &format!("srv{number}"), &client, &format!("cli{number}")).up()?;
        }
        clean()?;
        for (namespace, addresses) in [(&server, &["192.0.2.1"][..]), (&client, &[GRANTED, STRANGER])] {
            // Both ends use their members in turn to send.
            namespace.ip("link add bond9 type bond mode balance-rr miimon 100")?;
            for address in addresses {
                namespace.ip(&format!("address add {address}/24 dev bond9"))?;
            }
        }
        join(&server, "srv0")?;
        join(&client, "cli0")?;
        for namespace in [&server, &client] {
            namespace.ip("link set bond9 up")?;
        }
        let datapath = server.enter(|| cover(interfaces))??;
        Ok(Self { server, client, datapath })
    }

    /// Adds the members with that number on both sides.
    fn join(&self, number: u8) -> Result<()> {
        join(&self.server, &format!("srv{number}"))?;
        join(&self.client, &format!("cli{number}"))
    }

    /// Removes the members with that number on both sides.
    fn leave(&self, number: u8) -> Result<()> {
        self.server.ip(&format!("link set srv{number} nomaster"))?;
        self.client.ip(&format!("link set cli{number} nomaster")).map(drop)
    }

    fn reconcile(&mut self) -> Result<()> {
        self.server.enter(|| self.datapath.reconcile(None)).map(drop)
    }

    /// Expects that exactly these interfaces are covered natively, and that nobody gets in through the bond without a
    /// grant.
    fn is_covered_on(&self, members: &[&str]) -> Result<()> {
        let view = self.server.enter(|| self.datapath.interfaces())?;
        let covered: Vec<_> = view.iter().map(|view| (view.name.as_str(), view.attached)).collect();
        let expected: Vec<_> = members.iter().map(|name| (*name, Some(Way::Native))).collect();
        ensure!(covered == expected, "{view:?}");
        let uncovered = self.server.enter(|| self.datapath.uncovered())?;
        ensure!(!uncovered.iter().any(|view| view.name == "bond9"), "{uncovered:?}");
        connections_need_a_grant(&self.server, &self.client)
    }
}

/// Adds a device to the bond, for which the device must be down.
fn join(namespace: &Namespace, device: &str) -> Result<()> {
    namespace.ip(&format!("link set {device} down"))?;
    namespace.ip(&format!("link set {device} master bond9"))?;
    Ok(())
}

/// No reconciling is needed: a program on a card stays there when the card joins or leaves a bond.
pub(crate) fn members_stay_covered() -> Result<()> {
    let bond = Bond::new(&["auto"])?;
    bond.is_covered_on(&["srv0", "srv1"])?;
    bond.join(1)?;
    bond.is_covered_on(&["srv0", "srv1"])?;
    bond.leave(0)?;
    bond.is_covered_on(&["srv0", "srv1"])?;
    bond.join(0)?;
    bond.leave(1)?;
    bond.is_covered_on(&["srv0", "srv1"])
}

pub(crate) fn a_bond_stands_for_its_members() -> Result<()> {
    let mut bond = Bond::new(&["bond9"])?;
    bond.is_covered_on(&["srv0"])?;
    bond.join(1)?;
    bond.reconcile()?;
    bond.is_covered_on(&["srv0", "srv1"])?;
    bond.leave(0)?;
    bond.reconcile()?;
    bond.is_covered_on(&["srv1"])
}
