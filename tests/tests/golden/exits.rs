//! How the binaries end, and what they say when they fail.

use anyhow::Result;
use jit_tests::Config;

use crate::{
    file,
    run::Host,
    story,
    transcript::{Transcript, play},
};

const RUNNING: &str = "
# 0: done
alice request --port 22 --from 192.0.2.10 --for 10m -m test
alice@192.0.2.10 request --port 22 --from me --for 20m -m test
dave@192.0.2.10 why me 22
dave status

# 1: failed
alice revoke 999
carol approve 99 --yes
alice cancel 99
alice extend 99 --for 10m
root ports set 53 --max 1h
root ports remove 53
root audit verify --head 1:0000000000000000000000000000000000000000000000000000000000000000
root import azure /run/sandbox/no-such-file.json
root jit-agent confirm --config {config}
root jit-agent disable --config {config}
root jit-agent check --config /run/sandbox/no-such-file.toml
root jit-agent run --config {config}

# 2: usage
root
root bogus
root --bogus status
root request --port 22
root request --port 0 --from 192.0.2.10 --for 10m
root request --port 70000 --from 192.0.2.10 --for 10m
root request --port 22/icmp --from 192.0.2.10 --for 10m
root request --port 22 --from 192.0.2.1/24 --for 10m
root request --port 22 --from fe80::1 --for 10m
root request --port 22 --from host.example --for 10m
root request --port 22 --from me --for 10m
root request --port 22 --from 192.0.2.10 --for long
root request --port 22 --from 192.0.2.10 --for 10m --until 17:30
root request --port 22 --from 192.0.2.10 --until yesterday
root request --port 22 --from 192.0.2.10 --for 1mo -m test
root approve 0
root deny 1
root extend 1
root revoke
root revoke 1 --all
root why 192.0.2.0/24 22
root why 192.0.2.10 22/icmp
root why 192.0.2.10 22 --to 2001:db8::1
root audit --since never
root audit --csv --jsonl
root audit --port 0
root audit verify --head abc
root ports add 443 --max 1m
root ports add 443 --max 25h
root ports add 443 --quota 0
root ports add 443 --quota 99999999
root ports add 443 --approval maybe
root ports add 443 --allow 192.0.2.1/24
root ports add 443 --allow fe80::/10
root import azure
root jit-agent
root jit-agent bogus
root jit-agent check --bogus
root jit-agent enable --trial long --config {config}
root jit-agent enable --trial 1s --console --yes --config {config}
root jit-agent enable --trial 2h --console --yes --config {config}

# 3: refused by policy
alice request --port 22 --from 203.0.113.5 --for 12h -m ''
alice request --port 22 --from 192.0.2.10 --until '2101-01-31 17:30' -m test
alice extend 1 --for 9h
root ports remove 22
root jit-agent enable --config {config}
root jit-agent enable --yes --config {config}

# 4: not permitted
dave request --port 22 --from 192.0.2.10 --for 10m -m test
alice reload
pusher audit
pusher --json audit
bob jit-agent enable --yes --config {config}
bob jit-agent confirm --config {config}
bob jit-agent disable --config {config}

# 6: pending approval
bob request --port 5986 --from 192.0.2.10 --for 10m -m test
carol approve 3 --yes
bob extend 3 --for 20m

# 4: own request
bob approve 4 --yes
";

const STOPPED: &str = "
# 5: agent unreachable
root --socket /run/sandbox/no-such-socket status
root --socket /run/sandbox/agent-server/config.toml status
root status
root --json status
root request --port 22 --from 192.0.2.10 --for 10m -m test
root audit
root watch
root jit-agent enable --yes --console --config {config}
root jit-agent confirm --config {config}
root jit-agent disable --yes --config {config}

# 0: unloaded
root jit-agent unload --config {config}
root jit-agent unload --config {config}
";

const UNLOADED: &str = "
# 7: degraded
dave status
dave grants
";

#[test]
fn commands_end_with_the_codes_and_words_that_scripts_and_people_know() -> Result<()> {
    let config: Config = story::config().set("break_glass", Vec::<toml::Value>::new()).set("mode", "observe");
    let mut host = Host::start(config)?;
    let mut told = Transcript::default();
    play(&host, RUNNING, None, &mut told)?;
    host.agent.stop()?;
    play(&host, STOPPED, None, &mut told)?;
    host.agent.launch()?;
    play(&host, UNLOADED, None, &mut told)?;
    file::check("exits.txt", &told.0)
}
