//! Impossible configurations and requests: they are refused with the value and the remedy, and nothing is opened or
//! lost.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use anyhow::{Context, Result, ensure};
use jit_tests::{Agent, Config, Outcome, PATIENCE, Port, Reach, Response, Topology, request_body, tcp_connects};
use serde_json::{Value, json};
use toml::Value as Toml;

const ALICE: &str = "192.0.2.10";
const SSH: &str = "192.0.2.1:22";

fn ssh_only() -> Config {
    Config::enforcing("srv0").port(Port::tcp(22).allow(&["192.0.2.0/24", "2001:db8::/32"]).max("1h"))
}

fn expect_all(text: &str, parts: &[&str]) -> Result<()> {
    parts.iter().try_for_each(|part| {
        ensure!(text.contains(part), "{part:?} is not in {text:?}");
        Ok(())
    })
}

fn expect_failure(outcome: &Outcome, parts: &[&str]) -> Result<()> {
    ensure!(outcome.code() == Some(1), "{outcome:?}");
    expect_all(&outcome.stderr, parts)
}

#[test]
fn a_configuration_that_can_not_be_is_refused_by_check_and_at_a_first_start_what_can_be_used_of_it_is_in_force()
-> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::prepare(&net.sandbox, &net.server, ssh_only())?;
    let twice = Config::enforcing("srv0").port(Port::tcp(22)).port(Port::new(22, "any"));
    let port = |port: Port| Config::enforcing("srv0").port(port);
    let cases: [(Config, &[&str]); 10] = [
        (ssh_only().set("enforce", true), &["unknown field `enforce`", "mode"]),
        (ssh_only().set("mode", "enfore"), &["enfore", "`observe` or `enforce`"]),
        (twice, &["22/tcp", "22/any overlap", "keep one of them"]),
        (ssh_only().set("interfaces", vec![Toml::from("srv0"), Toml::from("srv0")]), &["`srv0` is listed twice"]),
        (ssh_only().interfaces(&["eth["]), &["`eth[` is no pattern", "eth*"]),
        (port(Port::tcp(22).set("number", 65_536)), &["65536", "use 1 to 65535"]),
        (port(Port::tcp(22).allow(&["192.0.2.1/24"])), &["192.0.2.1/24", "write 192.0.2.0/24", "or 192.0.2.1"]),
        (port(Port::tcp(22).max("25h")), &["22/tcp", "use 5 min to 24 h"]),
        (port(Port::tcp(22).max("0s")), &["22/tcp", "use 5 min to 24 h"]),
        (port(Port::tcp(22).set("allow", "all")), &["unknown field `allow`", "allowed_sources"]),
    ];
    for (config, parts) in cases {
        agent.configure(config)?;
        let checked = agent.subcommand("check")?;
        expect_failure(&checked, parts)?;
        ensure!(!agent.bpffs_dir().exists(), "something was pinned");
        agent.launch()?;
        let faults = agent.faults()?;
        expect_all(&faults, parts)?;
        expect_all(&faults, &["correct the file", "jit-agent check"])?;
        // Whatever can't be read is taken for what shuts most, also the mode.
        let status = agent.status()?;
        ensure!(status["mode"] == "enforce" && status["interfaces"][0]["attached"].is_string(), "{status}");
        agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
        agent.kill9();
        agent.unload()?.success()?;
        fs::remove_dir_all(agent.state_dir())?;
    }
    agent.configure(ssh_only())?;
    let checked = agent.subcommand("check")?.success()?;
    expect_all(&checked.stdout, &["1 ports, mode Enforce", "interface srv0", "native XDP"])?;
    ensure!(!agent.bpffs_dir().exists(), "check pinned something");
    Ok(())
}

#[test]
fn a_restart_with_a_broken_configuration_keeps_the_accepted_one_in_force() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    agent.grant(22, "TCP", ALICE, 600)?;
    agent.configure(Config::enforcing("srv0").set("enforce", true).port(Port::tcp(23)))?;
    agent.kill9();
    agent.launch()?;
    agent.expect_drop(&net.client, "192.0.2.11", SSH, "no_grant")?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "granted: the host itself answers");
    let status = agent.jitctl(&["status"])?;
    assert_eq!(status.code(), Some(7), "{status:?}");
    expect_all(&status.stdout, &["unknown field `enforce`", "the last accepted configuration stays in force"])?;
    agent.configure(ssh_only())?;
    agent.restart()?;
    assert_eq!(agent.jitctl(&["status"])?.code(), Some(0));
    Ok(())
}

#[test]
fn an_interface_that_does_not_exist_is_named_and_the_others_are_covered() -> Result<()> {
    let net = Topology::new()?;
    let missing = &["interface nic7", "there is no such interface", "correct `interfaces`"];
    let mut agent = Agent::prepare(&net.sandbox, &net.server, Config::enforcing("nic7"))?;
    expect_failure(&agent.subcommand("check")?, missing)?;
    agent.configure(ssh_only().set("interfaces", ["srv0", "nic7"].map(Toml::from).to_vec()))?;
    agent.launch()?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    let status = agent.jitctl(&["status"])?;
    assert_eq!(status.code(), Some(7), "{status:?}");
    expect_all(&status.stdout, missing)
}

/// Sends a request that must be refused with `status` and `code`, and looks for `parts` in the answer.
fn expect_refused(answer: &Response, status: u16, code: &str, parts: &[&str]) -> Result<()> {
    ensure!(answer.status == status && answer.content_type == "application/problem+json", "{answer:?}");
    ensure!(answer.json()?["code"] == code, "{answer:?}");
    expect_all(&answer.body, parts)
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = request_body(22, "TCP", &[ALICE], 600);
    change(&mut body);
    body
}

#[test]
fn a_request_that_can_not_be_is_refused_whole_with_what_would_be_allowed() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    let prefixes = "allowedSourceAddressPrefixes";
    let field = |name: &'static str, value: Value| with(move |body| body["ports"][0][name] = value);
    let cases: [(Value, u16, &str, &[&str]); 11] = [
        (field("number", json!(65_536)), 422, "invalid_value", &["65536", "1 to 65535"]),
        (field("number", json!(-1)), 422, "invalid_value", &["-1", "1 to 65535"]),
        (field("number", json!(443)), 422, "policy_violation", &["443", "22/tcp"]),
        (field("protocol", json!("UDP")), 422, "policy_violation", &["UDP", "TCP"]),
        (field(prefixes, json!(["192.0.2.10/24"])), 422, "invalid_value", &["192.0.2.10/24", "192.0.2.0/24 for"]),
        (field(prefixes, json!(["203.0.113.5"])), 422, "policy_violation", &["203.0.113.5/32", "within 192.0.2.0/24"]),
        (field("duration", json!("PT0S")), 422, "invalid_value", &["PT0S", "a time above zero"]),
        (field("duration", json!("PT61M")), 422, "policy_violation", &["1 h 1 min", "at most 1 h"]),
        (field("duration", json!("soon")), 422, "invalid_value", &["soon", "ISO 8601"]),
        (with(|body| body["justification"] = json!("")), 422, "policy_violation", &["justification", "says why"]),
        // A valid port next to an invalid one.
        (
            with(|body| {
                let other = json!({"number": 23, "allowedSourceAddressPrefix": ALICE, "duration": "PT5M"});
                body["ports"] = json!([body["ports"][0].take(), other]);
            }),
            422,
            "policy_violation",
            &["\"23\"", "22/tcp"],
        ),
    ];
    for (body, status, code, parts) in cases {
        let answer = agent.api("POST", "/v1/requests", Some(&body))?;
        expect_refused(&answer, status, code, parts).with_context(|| body.to_string())?;
        assert_eq!(agent.grant_counts()?, (0, 0), "{body}");
    }
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    for (args, code, parts) in [
        (["--port", "65536", "--from", ALICE, "--for", "10m"], 2, ["65536", "1 to 65535"]),
        (["--port", "22", "--from", "192.0.2.10/24", "--for", "10m"], 2, ["192.0.2.10/24", "192.0.2.0/24"]),
        (["--port", "22", "--from", ALICE, "--for", "0s"], 2, ["0s", "--for"]),
        (["--port", "22", "--from", ALICE, "--for", "2h"], 3, ["2 h", "at most 1 h"]),
    ] {
        let outcome = agent.jitctl(&[&["request", "-m", "test"], args.as_slice()].concat())?;
        ensure!(outcome.code() == Some(code), "{outcome:?}");
        expect_all(&outcome.stderr, &parts)?;
    }
    assert_eq!(agent.grant_counts()?, (0, 0));
    Ok(())
}

#[test]
fn a_body_that_is_not_json_or_too_large_is_refused_and_the_agent_goes_on() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    let kept = agent.grant(22, "TCP", ALICE, 600)?;
    let send = |body: &str| agent.api_raw("POST", "/v1/requests", &[], Some(body.to_owned()));
    expect_refused(&send("{\"ports\": [")?, 400, "malformed_json", &["not JSON"])?;
    expect_refused(&send("{\"ports\": []}")?, 422, "invalid_value", &["0 ports", "1 to 64 ports"])?;
    let unknown = with(|body| body["open"] = json!(true)).to_string();
    expect_refused(&send(&unknown)?, 400, "invalid_field", &["unknown field `open`"])?;
    let wrong = with(|body| body["ports"][0]["number"] = json!("22")).to_string();
    expect_refused(&send(&wrong)?, 400, "invalid_field", &["ports[0].number", "22"])?;
    let huge = with(|body| body["justification"] = json!("x".repeat(1 << 20))).to_string();
    expect_refused(&send(&huge)?, 413, "body_too_large", &["larger than 1048576 bytes", "send less"])?;
    let answer = agent.api_raw("DELETE", "/v1/requests", &[], None)?;
    expect_refused(&answer, 405, "method_not_allowed", &[])?;
    expect_refused(&agent.api("GET", "/v1/nothing", None)?, 404, "not_found", &[])?;
    assert_eq!(agent.grants()?[0]["id"], kept.id);
    assert_eq!(agent.grant_counts()?, (1, 1));
    Ok(())
}

#[test]
fn a_list_in_the_place_of_an_object_is_refused() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    // The fields by position, which only a decoder of compact formats understands.
    let port = json!([22, "TCP", [ALICE], null, "PT10M", null]);
    for body in [json!([]), json!([[port], "why"])] {
        let answer = agent.api("POST", "/v1/requests", Some(&body))?;
        expect_refused(&answer, 400, "invalid_field", &["array"]).with_context(|| body.to_string())?;
        assert_eq!(agent.grant_counts()?, (0, 0), "{body}");
    }
    Ok(())
}

#[test]
fn a_list_in_the_place_of_a_port_is_refused() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    let body = json!({"ports": [[22, "TCP", [ALICE], null, "PT10M", null]], "justification": "why"});
    let answer = agent.api("POST", "/v1/requests", Some(&body))?;
    expect_refused(&answer, 400, "invalid_field", &["ports[0]"])?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")
}

#[test]
fn bytes_that_are_not_http_are_refused_and_the_agent_goes_on() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    // The request has too many fields, not too many bytes. The agent reads it whole, so that no reset destroys the
    // answer.
    let long = format!("GET /v1/status HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(150));
    for (sent, status, code) in
        [("\x16\x03\x01 this is TLS\r\n\r\n", "400", "malformed_http"), (long.as_str(), "431", "head_too_large")]
    {
        let mut stream = UnixStream::connect(agent.socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(sent.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(|| format!("after '{answer}'"))?;
        ensure!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        expect_all(&answer, &["application/problem+json", code])?;
    }
    assert_eq!(agent.jitctl(&["status"])?.code(), Some(0));
    Ok(())
}
