//! The figures for monitoring.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Instant,
};

use anyhow::{Result, ensure};
use jit_tests::{Config, PATIENCE, Port, Reach, tcp_connects};

use crate::{file, run::Host};

const SSH: &str = "192.0.2.1:22";

/// Each line once, with placeholders for values, and for what the kernel, its driver and foreign packets decide.
fn shape(text: &str) -> String {
    let (mut seen, mut shape) = (BTreeSet::new(), String::new());
    for line in text.lines() {
        let mut line = line.to_owned();
        if !line.starts_with('#') {
            let end = line.rfind(' ').unwrap_or(line.len());
            line.replace_range(end.., " {value}");
            if line.starts_with("jit_agent_packets_total{port=\"none\"") {
                "jit_agent_packets_total{port=\"none\",…} {value}".clone_into(&mut line);
            }
            for way in ["native", "tcx", "clsact", "generic"] {
                line = line.replace(&format!("attached=\"{way}\""), "attached=\"{way}\"");
            }
            line = line.replace(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), "version=\"{version}\"");
        }
        if seen.insert(line.clone()) {
            shape.push_str(&line);
            shape.push('\n');
        }
    }
    shape
}

/// The whole answer at the address of `metrics_listen`.
fn fetch(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_figures_have_the_names_and_labels_that_alerts_and_dashboards_use() -> Result<()> {
    let config = Config::enforcing("srv0").interfaces(&["srv0", "late*"]).set("mode", "observe");
    let config = config.port(Port::tcp(22)).port(Port::new(3389, "any")).set("metrics_listen", "127.0.0.1:9590");
    let host = Host::start(config)?;
    host.net.server.ip("link add late0 type veth peer name far0")?;
    host.net.server.ip("link set late0 up")?;
    tcp_connects(&host.net.client, "192.0.2.11", SSH, PATIENCE)?;
    host.jit_agent(&["enable", "--console", "--yes"])?.success()?;
    host.agent.grant(22, "TCP", "192.0.2.10", 600)?;
    assert_eq!(tcp_connects(&host.net.client, "192.0.2.10", SSH, PATIENCE)?, Reach::Refused);
    host.agent.expect_drop(&host.net.client, "192.0.2.11", SSH, "no_grant")?;
    let begin = Instant::now();
    let told = loop {
        let told = host.agent.api("GET", "/metrics", None)?;
        if told.body.contains("covered_after_seconds{interface=\"late0\"}") {
            break told;
        }
        ensure!(begin.elapsed() < PATIENCE, "the interface that came is not covered: {told:?}");
    };
    let text = format!("content-type: {}\n{}", told.content_type, shape(&told.body));
    file::check("metrics.txt", &text)?;
    let everybody = host.net.server.enter(|| fetch("127.0.0.1:9590"))??;
    let (_, body) = everybody.split_once("\r\n\r\n").unwrap_or_default();
    assert_eq!(shape(body), shape(&told.body), "what everybody may read");
    Ok(())
}
