//! A day at an agent, as people see it and as programs do.

use anyhow::Result;
use jit_tests::{Config, Port};
use toml::{Table, Value as Toml};

use crate::{
    file,
    run::Host,
    transcript::{Transcript, play},
};

/// alice requests, bob and carol approve (bob requests too), dave views, pusher delegates.
pub(crate) fn people() -> Table {
    let list = |names: &[&str]| Toml::from(names.iter().map(|name| Toml::from(*name)).collect::<Vec<_>>());
    Table::from_iter([
        ("requester".to_owned(), list(&["@jit-users", "bob"])),
        ("approver".to_owned(), list(&["@jit-approvers"])),
        ("viewer".to_owned(), list(&["@jit-viewers"])),
        ("delegate".to_owned(), list(&["pusher"])),
    ])
}

pub(crate) fn config() -> Config {
    let within = ["192.0.2.0/24", "2001:db8::/32"];
    Config::enforcing("srv0")
        .port(Port::tcp(22).allow(&within).max("1h").set("quota", 2))
        .port(Port::tcp(5986).allow(&within).set("approval", "required").set("approval_timeout", "30m"))
        .port(Port::new(3389, "any").set("justification", "optional"))
        .set("break_glass", vec!["203.0.113.7"])
        .set("roles", Toml::Table(people()))
}

/// Who does what.
const SCRIPT: &str = "
# what there is
dave status
dave ports
dave requests
dave grants
dave audit --event granted

# a request that is granted
alice request --port 22 --from 192.0.2.10 --for 10m -m 'Look at the logs'
alice request --port 22 3389/udp --from 192.0.2.10 2001:db8::/64 --for 1h -m 'two ports'
alice grants
alice requests
bob grants
dave grants
dave why 192.0.2.10 22
dave why 192.0.2.11 22
dave why 203.0.113.7 22
dave why 192.0.2.10 80/udp

# what is refused
alice request --port 22 --from 203.0.113.5 --for 12h -m ''
alice request --port 443 22/udp --from 192.0.2.10 --for 10m -m 'no such policy'
alice request --port 22 --from 192.0.2.11 --for 10m -m 'a third one'
alice request --port 22 --from 192.0.2.11 --for 10m -m 'for bob' --requestor bob
dave request --port 22 --from 192.0.2.11 --for 10m -m 'a viewer'
alice audit
alice ports add 443

# approval
alice request --port 5986 --from 192.0.2.10 --for 1h -m 'patch day'
bob request --port 5986 --from 192.0.2.11 --for 1h -m 'patch day'
pusher request --port 5986 --from 192.0.2.11 --for 1h -m 'pushed' --requestor zoe@example.org
alice request --port 5986 --from 192.0.2.12 --for 1h -m 'a mistake'
carol requests --pending
bob approve 4 --yes
carol approve 3 --yes
carol approve 3 --yes
carol deny 4 -m 'not today'
carol deny 99 -m 'no such request'
bob approve 5 --yes
alice cancel 6
alice extend 6 --for 2h
alice extend 1 --for 30m
alice extend 1 --for 9h
alice extend 99 --for 1h
dave requests

# ends
alice revoke 1 -m 'done'
alice revoke 1
alice revoke 7
carol revoke --user zoe@example.org -m 'left'
dave grants

# ports
root ports add 443 --allow 192.0.2.0/24 --max 2h --approval required --approval-timeout 10m --justification optional --quota 3
root ports add 443
root ports add 444 --allow 192.0.2.1/24
root ports set 22 --max 30m
root ports set 22 --max 30m --yes
root ports set 23 --max 30m
root ports remove 443
root ports remove 443 --yes
root ports set 22 --allow 198.51.100.0/24 --yes
root reload
root ports

# the log
dave audit
dave audit --user alice --port 22
dave audit --since 1h --until 2001-01-01
dave audit --csv --event granted
dave audit --jsonl --event denied
dave audit verify
root revoke --all -m 'end of the day'
dave status
";

#[test]
fn people_see_what_they_know() -> Result<()> {
    file::check("story.txt", &tell(None)?)
}

#[test]
fn programs_get_what_they_know() -> Result<()> {
    file::check("story-json.txt", &tell(Some("--json"))?)
}

/// The story, with this option at each command.
fn tell(option: Option<&str>) -> Result<String> {
    let host = Host::start(config())?;
    let mut told = Transcript::default();
    play(&host, SCRIPT, option, &mut told)?;
    Ok(told.0)
}
