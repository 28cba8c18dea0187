//! The sources that are connected to this host now, from the kernel's list of sockets.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use procfs::net::{TcpNetEntry, TcpState};

/// The kernel's list of connections can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the list of connections can't be read: {0}")]
pub struct Unreadable(#[from] procfs::ProcError);

/// A function that finds the sources that are connected to ports, each with the port.
pub type ConnectedTo = fn(&[u16]) -> Result<Vec<(IpAddr, u16)>, Unreadable>;

/// Returns the TCP connections from other hosts to these ports of this host. Each pair of source and port appears once,
/// ordered by port and source.
///
/// # Errors
/// The kernel's lists can't be read.
pub fn connected_to(ports: &[u16]) -> Result<Vec<(IpAddr, u16)>, Unreadable> {
    // A kernel without IPv6 has no second list.
    let lists = [procfs::net::tcp()?, procfs::net::tcp6().unwrap_or_default()];
    Ok(of_entries(lists.iter().flatten(), ports))
}

fn of_entries<'a>(entries: impl Iterator<Item = &'a TcpNetEntry>, ports: &[u16]) -> Vec<(IpAddr, u16)> {
    let open = entries.filter(|entry| entry.state == TcpState::Established);
    let to_ports = open.filter(|entry| ports.contains(&entry.local_address.port()));
    let address = |address: SocketAddr| address.ip().to_canonical();
    let remote = to_ports.filter(|entry| !address(entry.remote_address).is_loopback());
    let found: BTreeSet<(u16, IpAddr)> =
        remote.map(|entry| (entry.local_address.port(), address(entry.remote_address))).collect();
    found.into_iter().map(|(port, source)| (source, port)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    fn entry(local: &str, remote: &str, state: TcpState) -> TcpNetEntry {
        let mut entry = procfs::net::tcp().unwrap().pop().or_else(|| procfs::net::tcp6().unwrap().pop()).unwrap();
        entry.local_address = local.parse().unwrap();
        entry.remote_address = remote.parse().unwrap();
        entry.state = state;
        entry
    }

    #[test]
    fn those_connected_to_the_ports_are_listed_once_each_and_nobody_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let entries = [
            entry("198.51.100.1:22", "192.0.2.7:50000", TcpState::Established),
            entry("198.51.100.1:22", "192.0.2.7:50001", TcpState::Established),
            entry("[::ffff:198.51.100.1]:22", "[::ffff:192.0.2.8]:50001", TcpState::Established),
            entry("[2001:db8::1]:3389", "[2001:db8::7]:50000", TcpState::Established),
            entry("198.51.100.1:443", "192.0.2.9:50000", TcpState::Established),
            entry("198.51.100.1:50000", "192.0.2.9:22", TcpState::Established),
            entry("198.51.100.1:22", "192.0.2.10:50000", TcpState::TimeWait),
            entry("127.0.0.1:22", "127.0.0.1:50000", TcpState::Established),
        ];
        let expected = [("192.0.2.7", 22), ("192.0.2.8", 22), ("2001:db8::7", 3389)];
        let expected = expected.map(|(source, port)| (source.parse().unwrap(), port));
        assert_eq!(of_entries(entries.iter(), &[22, 3389]), expected);
        assert_eq!(
            connected_to(&[port]).unwrap(),
            [],
            "a connection within the host passes no interface that is covered"
        );
    }
}
