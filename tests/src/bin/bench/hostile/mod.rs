//! What strangers and requesters can do to others: the same figures without attackers and with them. The real daemon, its
//! real socket, and its store on a real disk.

mod attack;
mod watch;

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use jit_tests::{Agent, Config, Port, Process, Topology};
use serde_json::{Value, json};

use self::{
    attack::Attack,
    watch::{Seen, watch},
};
use crate::{requests::connection::Connection, state_dir::StateDir, table::aligned};

/// The name by which `--only` selects this measurement.
pub(crate) const NAME: &str = "hostile";

/// The port whose requests wait for approval.
const PARKED: u16 = 5986;
/// The list of what waits for approval.
const WAITING: &str = "/v1/requests?status=Pending&limit=200";
/// The time that an attack has before anything is measured.
const BEGINNING: Duration = Duration::from_secs(1);

/// The results.
pub(crate) struct Hostile {
    seconds: u32,
    file_system: String,
    alone: Seen,
    attacked: Seen,
    /// Mebibytes a minute by which the audit log grew because of others than root, in the attack.
    growth: f64,
}

/// Measures for so long without attackers, then for so long with them.
///
/// # Errors
/// A part can't be set up, or a well-behaved user gets another answer than without attackers.
pub(crate) fn run(seconds: u32) -> Result<Hostile> {
    let state = StateDir::new()?;
    let net = Topology::new()?;
    let roles = [("requester", vec!["alice", "bob", "dave", "pusher"]), ("approver", vec!["carol"])];
    let roles = roles.map(|(role, names)| (role.to_owned(), names.into()));
    let config = Config::enforcing(&net.server_device)
        .port(Port::tcp(22))
        .port(Port::tcp(3389))
        .port(Port::tcp(5985))
        .port(Port::tcp(PARKED).set("approval", "required"))
        .set("roles", toml::Table::from_iter(roles))
        .set("state_dir", state.path().to_string_lossy().into_owned());
    let agent = Agent::start(&net.sandbox, &net.server, config)?;
    let said =
        || format!("the agent: {}", agent.process().map_or_else(|_| "it isn't running".to_owned(), Process::report));
    measure(&agent, seconds, state.file_system()?).with_context(said)
}

fn measure(agent: &Agent, seconds: u32, file_system: String) -> Result<Hostile> {
    let (socket, pid) = (agent.socket(), agent.process()?.id());
    let length = Duration::from_secs(seconds.into());
    let mut root = Connection::open(&socket)?;
    let waiting = (0..20).map(|number| park(&mut root, number)).collect::<Result<Vec<_>>>()?;
    let alone = watch(&socket, pid, &waiting, length)?;
    let before = written_by_others(agent)?;
    let attack = Attack::begin(&socket);
    thread::sleep(BEGINNING);
    let attacked = watch(&socket, pid, &waiting, length);
    attack.stop();
    let attacked = attacked.context("under the attack")?;
    let bytes = written_by_others(agent)?.saturating_sub(before) as f64;
    let growth = bytes / f64::from(1 << 20) * 60.0 / (length + BEGINNING).as_secs_f64();
    Ok(Hostile { seconds, file_system, alone, attacked, growth })
}

/// Makes a request that waits for approval.
fn park(root: &mut Connection, number: u8) -> Result<i64> {
    let source = format!("198.51.100.{number}");
    let port = json!({"number": PARKED, "allowedSourceAddressPrefix": source, "duration": "PT1H"});
    let body = json!({"ports": [port], "justification": "to be approved"}).to_string();
    let made: Value = serde_json::from_slice(&root.call("POST", "/v1/requests", &body)?.expect(202)?.body)?;
    made["id"].as_i64().context("a request without a number")
}

/// The bytes of the rows of the audit log that are not about root.
fn written_by_others(agent: &Agent) -> Result<usize> {
    let log = agent.api("GET", "/v1/audit?format=jsonl", None)?.body;
    let of_root = |row: &&str| row.contains(r#""requestor":"root""#);
    Ok(log.lines().filter(|row| !of_root(row)).map(str::len).sum())
}

impl Hostile {
    pub(crate) fn to_json(&self) -> Value {
        let seen = |seen: &Seen| {
            json!({
                "revokeMilliseconds": seen.revoke.to_json(), "listMilliseconds": seen.list.to_json(),
                "whyMilliseconds": seen.why.to_json(), "requestsASecond": seen.requests, "residentMebibytes": seen.resident,
            })
        };
        json!({
            "seconds": self.seconds, "fileSystem": self.file_system, "alone": seen(&self.alone),
            "attacked": seen(&self.attacked), "logMebibytesAMinute": self.growth,
        })
    }

    pub(crate) fn to_table(&self) -> String {
        let Self { seconds, file_system, alone, attacked, growth } = self;
        let heading = format!(
            "Well-behaved users beside 16 strangers, who go through a million user ids, and 4 requesters, all doing their \
             worst\n{seconds} s without them and {seconds} s with them; store on {file_system}"
        );
        let row = |what: &str, figure: &dyn Fn(&Seen) -> f64, wanted: String| {
            [what.to_owned(), format!("{:.1}", figure(alone)), format!("{:.1}", figure(attacked)), wanted]
        };
        let most = |most: u32| format!("at most {most}");
        let calls = format!(
            "{} revocations, {} lists and {} questions in the attack",
            attacked.revoke.len(),
            attacked.list.len(),
            attacked.why.len()
        );
        let rows = [
            ["", "alone", "attacked", "wanted"].map(str::to_owned),
            row("root's revoke, p99 in ms", &|seen| seen.revoke.quantile(0.99), most(20)),
            row("the approver's whole list of what waits, p99 in ms", &|seen| seen.list.quantile(0.99), most(200)),
            row("why, p99 in ms", &|seen| seen.why.quantile(0.99), most(50)),
            row("root's requests a second", &|seen| seen.requests, format!("at least {:.1}", alone.requests / 2.0)),
            row("resident memory at most, in MiB", &|seen| seen.resident, most(64)),
            ["growth of the log by others, in MiB a minute".to_owned(), String::new(), format!("{growth:.2}"), most(1)],
        ];
        format!("{heading}\n\n{}\n{calls}", aligned(&rows, 1))
    }
}
