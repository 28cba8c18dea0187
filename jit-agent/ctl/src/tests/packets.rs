//! `why` and `watch`.

use jit_api::wire::PacketEvent;
use jit_common::{
    abi::{Mode, Transport},
    reason::{Reason, Verdict},
};

use super::{super::table, *};

#[test]
fn columns_of_packets_line_up_for_every_cause_and_address() {
    let heading = table::event_heading();
    let places = ["time", "verdict", "reason", "port", "source", "interface"].map(|name| heading.find(name).unwrap());
    for reason in Reason::ALL {
        let packet = PacketEvent {
            time_utc: surroundings().now,
            source: "2001:db8:1234:5678:9abc:def0:1234:5678".parse().ok(),
            number: Some(65_535),
            protocol: Some(Transport::Sctp.into()),
            interface: "eth0".to_owned(),
            verdict: Verdict::Pass.into(),
            reason: (*reason).into(),
            mode: Mode::Observe.into(),
        };
        let line = table::event(&packet, &surroundings());
        for place in places {
            assert!(!line[place..].starts_with(' '), "{place} of {heading}{line}");
            assert!(place == 0 || line[..place].ends_with("  "), "{place} of {heading}{line}");
        }
    }
}

#[test]
fn why_says_the_verdict_first_then_what_decides() {
    let agent = granted();
    let outcome = jitctl(&agent, &["why", "me", "22", "--to", "192.0.2.1", "--interface", "eth0"]);
    let expected = "\
PASSES  192.0.2.10 -> 22/tcp
because  grant 17 of alice lets in 192.0.2.10/32 to 22/tcp
counted  as host_grant, mode enforce
grant    17 of alice, until 17:30:12 (in 29 min 50 s)
";
    shows(&outcome, Exit::Done, expected);
    let expected = "\
PASSES  192.0.2.10 -> 22/tcp
because  the program is not on a&b, so nothing is filtered there
to do    see `jitctl status` for the interfaces that are covered
";
    shows(&jitctl(&agent, &["why", "me", "22", "--interface", "a&b"]), Exit::Done, expected);
    let expected = "\
DROPPED  192.0.2.11 -> 22/tcp
because  22/tcp is protected and no live grant is for 192.0.2.11
counted  as no_grant, mode enforce
to do    request it: jitctl request --port 22/tcp --from 192.0.2.11 --for 1h -m \"the reason\"
";
    shows(&jitctl(&agent, &["why", "192.0.2.11", "22"]), Exit::Done, expected);
}

#[test]
fn why_asks_about_the_packet_that_was_described() {
    let server = Server::start(vec![(503, None, Value::Null)]);
    jitctl_at(&server.socket(), &["why", "me", "22", "--to", "192.0.2.1", "--interface", "a&b"]);
    let path = "/v1/why?source=192.0.2.10&port=22&protocol=TCP&to=192.0.2.1&interface=a%26b";
    assert_eq!(server.asked(), [(format!("GET {path}"), None, Value::Null)]);
}

#[test]
fn why_takes_one_address_and_the_protocol_of_a_packet() {
    let agent = agent();
    for (arguments, part) in [
        (["why", "192.0.2.0/24", "22"], "is a prefix; a packet comes from one address"),
        (["why", "192.0.2.1", "22/any"], "use tcp, udp or sctp"),
        (["why", "192.0.2.1", "0"], "use 1 to 65535"),
        (["why", "host", "22"], "is not an IPv4 or IPv6 address"),
    ] {
        let outcome = jitctl(&agent, &arguments);
        assert!(outcome.exit == Exit::Usage && outcome.stderr.contains(part), "{outcome:?}");
    }
}

/// Says when something is printed.
struct Printed(mpsc::Sender<()>);

impl io::Write for Printed {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Only the first time matters.
        let _ = self.0.send(());
        Ok(())
    }
}

#[test]
fn watch_ends_with_the_agent_and_says_so() {
    let mut agent = agent();
    let socket = agent.socket_of(&root());
    let (printed, is_printed) = mpsc::channel();
    let watching = std::thread::spawn(move || {
        let program = ["jitctl", "--socket", socket.to_str().unwrap(), "watch"];
        run_to(program.iter().map(Into::into), &surroundings(), &mut Printed(printed))
    });
    // The heading comes when the agent has answered.
    is_printed.recv_timeout(Duration::from_secs(20)).unwrap();
    agent.stop();
    let outcome = watching.join().unwrap();
    assert!(outcome.exit == Exit::Unreachable && outcome.stderr.contains("stopped"), "{outcome:?}");
}
