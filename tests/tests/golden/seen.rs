//! Packets that came, as they are shown and counted.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use jit_tests::{Agent, Config, PATIENCE, Port, Program, Reach, Stream, tcp_connects};

use crate::{
    file,
    normal::{normal, words},
    run::{Host, plain},
};

const ALICE: &str = "192.0.2.10";
const OTHER: &str = "192.0.2.11";
const SSH: &str = "192.0.2.1:22";

/// Lines that have one of these words, with a placeholder in columns that count packets.
fn rows(text: &str, about: &[&str], counts: std::ops::Range<usize>) -> String {
    let mut rows = String::new();
    for line in text.lines().filter(|line| about.iter().any(|word| line.contains(word))) {
        let columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty()).enumerate();
        let is_count = |at, column: &str| counts.contains(&at) && column.parse::<u64>().is_ok();
        let columns = columns.map(|(at, column)| if is_count(at, column) { "{packets}" } else { column });
        rows.push_str(&columns.collect::<Vec<_>>().join("  "));
        rows.push('\n');
    }
    rows
}

/// Waits for an event of the audit log that is written behind the packets.
fn wait_for(agent: &Agent, event: &str) -> Result<()> {
    let begin = Instant::now();
    while agent.api("GET", &format!("/v1/audit?event={event}"), None)?.json()?["value"][0].is_null() {
        ensure!(begin.elapsed() < PATIENCE, "no {event} is noted");
    }
    Ok(())
}

#[test]
fn packets_are_shown_as_people_and_programs_know_it() -> Result<()> {
    let config = Config::enforcing("srv0").port(Port::tcp(22).allow(&["192.0.2.0/24"])).set("break_glass", vec![OTHER]);
    let host = Host::start(config)?;
    let watch = |options: &[&str]| -> Result<_> {
        let watch: Program = host.agent.client(&[options, &["watch"]].concat())?;
        let watch = plain(watch).spawn_in(&host.net.server)?;
        Ok(watch)
    };
    let (people, programs) = (watch(&[])?, watch(&["--json"])?);
    let mut text = String::new();
    host.jitctl("root", &["request", "--port", "22", "--from", ALICE, "--for", "10m", "-m", "test"])?.success()?;
    // Until both are heard, packets are sent again.
    let begin = Instant::now();
    let said = loop {
        host.agent.expect_drop(&host.net.client, "2001:db8::10", "[2001:db8::1]:22", "no_grant")?;
        let said = (people.text(Stream::Stdout), programs.text(Stream::Stdout));
        if said.0.contains("no_grant") && said.1.contains("no_grant") {
            break said;
        }
        ensure!(begin.elapsed() < PATIENCE, "nothing is shown: {said:?}");
    };
    let first = |said: &str| said.lines().find(|line| line.contains("no_grant")).map(str::to_owned);
    text.push_str(&format!("watch:\n{}\n", normal(&first(&said.0).context("no line")?)));
    text.push_str(&format!("watch --json:\n{}\n", normal(&first(&said.1).context("no line")?)));

    for (source, event) in [(ALICE, "first_connection"), (OTHER, "break_glass_used")] {
        assert_eq!(tcp_connects(&host.net.client, source, SSH, PATIENCE)?, Reach::Refused);
        wait_for(&host.agent, event)?;
        for options in [&[][..], &["--jsonl"]] {
            let shown = host.jitctl("root", &[&["audit", "--event", event], options].concat())?.success()?.stdout;
            text.push_str(&format!("audit --event {event} {}:\n{}\n", options.join(" "), normal(&shown)));
        }
    }
    for (command, about, counts) in [
        ("status", &["verdict", "no_grant", "break_glass"][..], 0..1),
        ("ports", &["maximum", "22/tcp"], 7..9),
        ("grants", &["source", "22/tcp"], 0..0),
    ] {
        let shown = host.jitctl("root", &[command])?.success()?.stdout;
        text.push_str(&format!("{command}:\n{}\n", rows(&shown, about, counts)));
    }
    file::check("seen.txt", &words(&text))
}
