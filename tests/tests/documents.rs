//! The documents, held against the code.

use jit_agent::config::Config;
use jit_common::reason::Reason;
use jit_policy::audit::{AuditEvent, Key, Kind};

const AUDIT: &str = include_str!("../../docs/audit.md");
const CONFIGURATION: &str = include_str!("../../docs/configuration.md");
const MANUAL: &str = include_str!("../../dist/man/jit-agent.toml.5");
const PACKETS: &str = include_str!("../../docs/packets.md");

#[test]
fn the_table_of_reasons_is_the_one_in_the_code() {
    let row = |reason: &Reason| {
        format!("| `{}` | {} | {} |", reason.name(), reason.verdict().name(), reason.meaning().trim())
    };
    let expected: Vec<String> = Reason::ALL.iter().map(row).collect();
    assert_eq!(table(PACKETS, "reason"), expected);
}

#[test]
fn the_table_of_events_is_the_one_in_the_code() {
    let key = |key: Key| format!("`{}`{}", key.name, if key.always { "" } else { "?" });
    let row = |kind: &Kind| {
        let keys: Vec<String> = kind.keys().into_iter().map(key).collect();
        format!("| `{}` | {} | {} |", kind.name, kind.meaning(), keys.join(" "))
    };
    let expected: Vec<String> = AuditEvent::KINDS.iter().map(row).collect();
    assert_eq!(table(AUDIT, "event"), expected);
}

/// The rows of the table whose first column has this heading.
fn table<'text>(document: &'text str, heading: &str) -> Vec<&'text str> {
    let heading = format!("| {heading} |");
    let rows = document.lines().skip_while(|line| !line.starts_with(&heading)).skip(2);
    rows.take_while(|line| line.starts_with('|')).collect()
}

#[test]
fn the_defaults_in_the_document_are_those_of_the_code() {
    let block = CONFIGURATION.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let defaults = Config::parse("", "").unwrap();
    assert_eq!(Config::parse(block, "docs/configuration.md").unwrap(), defaults);
}

#[test]
fn the_manual_page_has_every_key_and_role() {
    let block = CONFIGURATION.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let table: toml::Table = toml::from_str(block).unwrap();
    let (port, roles) = (table["port"][0].as_table().unwrap(), table["roles"].as_table().unwrap());
    let keys = table.keys().filter(|key| !["port", "roles"].contains(&key.as_str()));
    let keys = keys.chain(port.keys()).map(|key| format!(".It Ic {key} ="));
    for entry in keys.chain(roles.keys().map(|role| format!(".It Ic {role}"))) {
        assert!(MANUAL.lines().any(|line| line.starts_with(&entry)), "{entry} is not in dist/man/jit-agent.toml.5");
    }
}
