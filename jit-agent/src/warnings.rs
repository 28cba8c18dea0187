//! Settings that are valid but probably unintended.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jit_common::abi::{Mode, Transport};
use jit_policy::Approval;
use procfs::net::{TcpNetEntry, TcpState};

use crate::config::Config;

/// Ports that manage a host or give access to everything on it: remote login (22, 23, 512 to 514, 2222), Windows
/// remoting (5985, 5986), remote desktops (3389, 5900 to 5903), databases and caches (3306, 5432, 6379), and the
/// interfaces of Docker and Kubernetes (2375, 2376, 10250).
const MANAGEMENT: [u16; 19] =
    [22, 23, 512, 513, 514, 2222, 2375, 2376, 3306, 3389, 5432, 5900, 5901, 5902, 5903, 5985, 5986, 6379, 10250];

/// How long the facts about the host are kept.
const KEPT: Duration = Duration::from_secs(5);

/// The facts about the host that warnings depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Host {
    /// The TCP ports with a listener that other hosts can reach.
    listening: BTreeSet<u16>,
    /// The first and the last port that the host picks for its own connections.
    ephemeral: Option<(u16, u16)>,
    /// Whether `/proc` hides processes of other users from the agent.
    hides_processes: bool,
}

impl Host {
    /// Reads the facts in the network namespace of this process. What can't be read is left out.
    fn read() -> Self {
        let listens = |entry: &TcpNetEntry| {
            entry.state == TcpState::Listen && !entry.local_address.ip().to_canonical().is_loopback()
        };
        let sockets = [procfs::net::tcp(), procfs::net::tcp6()].into_iter().flatten().flatten();
        let listening = sockets.filter(listens).map(|entry| entry.local_address.port()).collect();
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let has_login = |process: &str| Path::new("/proc").join(process).join("loginuid").exists();
        // A kernel without audit has this file for no process.
        let hides_processes = has_login("self") && !has_login("1");
        Self { listening, ephemeral: port_range(&range), hides_processes }
    }
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let mut fields = text.split_whitespace();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// A function that returns the warnings about a configuration.
pub type Warn = fn(&Config) -> Vec<String>;

/// Returns the warnings about this configuration that don't depend on the host.
#[cfg(any(test, feature = "testing"))]
#[must_use]
pub fn of_config(config: &Config) -> Vec<String> {
    warnings(config, &Host::default())
}

/// Returns the warnings about this configuration on this host. The host is looked at once in some seconds: any local
/// user can make its list of sockets long.
#[must_use]
pub fn all(config: &Config) -> Vec<String> {
    static LAST: Mutex<Option<(Instant, Host)>> = Mutex::new(None);
    // Whoever asks meanwhile waits, and gets what was found.
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.as_ref().is_none_or(|(read, _)| read.elapsed() >= KEPT) {
        *last = Some((Instant::now(), Host::read()));
    }
    last.as_ref().map(|(_, host)| warnings(config, host)).unwrap_or_default()
}

fn warnings(config: &Config, host: &Host) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.mode == Mode::Observe {
        warnings.push(
            "mode = \"observe\": nothing is dropped, only counted; `jit-agent enable` shuts the ports".to_owned(),
        );
    }
    for policy in config.ports.iter().filter(|policy| policy.allows_any_source()) {
        warnings.push(format!("port {}: any source may be requested; set allowed_sources", policy.id));
    }
    let is_protected = |number| config.ports.for_transport(number, Transport::Tcp).is_some();
    for number in MANAGEMENT.into_iter().filter(|number| host.listening.contains(number) && !is_protected(*number)) {
        warnings.push(format!(
            "something listens on management port {number}/tcp, which no policy protects; `jitctl ports add {number}` \
             does"
        ));
    }
    if let Some((first, last)) = host.ephemeral {
        for policy in config.ports.iter().filter(|policy| (first..=last).contains(&policy.id.number)) {
            warnings.push(format!(
                "port {} is one of those that the host picks for its own connections ({first} to {last}), whose answers \
                 would be dropped; list it in net.ipv4.ip_local_reserved_ports",
                policy.id
            ));
        }
    }
    if host.hides_processes && config.ports.iter().any(|policy| policy.approval == Approval::Required) {
        warnings.push(
            "approval = \"required\": /proc hides processes from the agent, so it is not known who logged in, and only \
             admins can approve; mount /proc without hidepid, or with gid= of the group jit-agent"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(text: &str, listening: &[u16], ephemeral: Option<(u16, u16)>) -> Vec<String> {
        let config = Config::parse(&format!("interfaces = ['eth0']\n{text}"), "").unwrap();
        warnings(&config, &Host { listening: listening.iter().copied().collect(), ephemeral, hides_processes: false })
    }

    const SSH: &str = "mode = 'enforce'\n[[port]]\nnumber = 22\nprotocol = 'tcp'\nallowed_sources = ['10.0.0.0/8']\n";

    #[test]
    fn nothing_is_warned_of_where_all_is_as_it_should_be() {
        assert_eq!(warned(SSH, &[22, 443], Some((32_768, 60_999))), Vec::<String>::new());
    }

    #[test]
    fn observing_and_any_source_are_warned_of() {
        let warnings = warned("[[port]]\nnumber = 22\nprotocol = 'tcp'", &[], None);
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("observe") && warnings[1].contains("port 22/tcp: any source"), "{warnings:?}");
    }

    #[test]
    fn an_open_management_port_is_warned_of_unless_a_policy_for_tcp_protects_it() {
        let warnings = warned(SSH, &[22, 80, 5432], None);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("5432/tcp") && warnings[0].contains("jitctl ports add 5432"), "{warnings:?}");
        assert_eq!(warned(&SSH.replace("'tcp'", "'udp'"), &[22], None).len(), 1);
        assert_eq!(warned(&SSH.replace("'tcp'", "'any'"), &[22], None).len(), 0);
    }

    #[test]
    fn a_port_that_the_host_may_pick_for_itself_is_warned_of() {
        let warnings = warned(&SSH.replace("= 22", "= 40000"), &[], Some((32_768, 60_999)));
        assert!(warnings[0].contains("40000/tcp") && warnings[0].contains("32768 to 60999"), "{warnings:?}");
        assert_eq!(port_range("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(port_range(""), None);
    }

    #[test]
    fn a_proc_that_hides_processes_is_warned_of_where_a_second_person_must_approve() {
        let hiding = Host { hides_processes: true, ..Host::default() };
        let warned = |text: &str| {
            let config = Config::parse(&format!("interfaces = ['eth0']\n{text}"), "").unwrap();
            warnings(&config, &hiding)
        };
        assert_eq!(warned(SSH), Vec::<String>::new());
        assert!(warned(&format!("{SSH}approval = 'required'\n"))[0].contains("only admins can approve"));
        assert!(!Host::read().hides_processes, "this machine shows them");
    }

    #[test]
    fn a_socket_on_loopback_only_is_not_listening_for_others() {
        let local = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let host = Host::read();
        assert!(!host.listening.contains(&local.local_addr().unwrap().port()));
        assert!(host.listening.contains(&open.local_addr().unwrap().port()));
    }
}
