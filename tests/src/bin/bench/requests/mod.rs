//! How many requests the agent can have, and how many grants and audit rows: the real daemon, its real socket, and its
//! store on a real disk.

mod audit;
mod commands;
mod connection;
mod grants;
mod memory;
mod rate;
mod report;

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use jit_tests::Process;

use self::audit::Audit;
use self::commands::Way;
use self::connection::Connection;
use self::grants::Grants;
use self::rate::Rates;
use crate::opening::Stage;

/// The name to select it by.
pub(crate) const NAME: &str = "requests-and-audit";

/// The first of the sources whose packets nobody looks at (RFC 2544).
const OTHERS: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);

/// What was measured.
pub(crate) struct Requests {
    file_system: String,
    rates: Rates,
    ways: Vec<Way>,
    grants: Grants,
    /// `None`: the agent does not answer questions about its audit log.
    audit: Option<Audit>,
}

/// Measures all of it.
///
/// # Errors
/// A part can't be set up, or the agent does not do as it should.
pub(crate) fn run() -> Result<Requests> {
    let mut stage = Stage::new(|_| Ok(()))?;
    let file_system = stage.state.file_system()?;
    let measured = measure(&mut stage);
    let (rates, ways, grants, available) = measured.with_context(|| said(&stage))?;
    // Its store's place is taken by another one.
    drop(stage);
    let audit = available.then(|| {
        let stage = Stage::new(audit::fill)?;
        audit::run(&stage).with_context(|| said(&stage))
    });
    Ok(Requests { file_system, rates, ways, grants, audit: audit.transpose()? })
}

fn measure(stage: &mut Stage) -> Result<(Rates, Vec<Way>, Grants, bool)> {
    Ok((rate::run(stage)?, commands::run(stage)?, grants::run(stage)?, audit::is_available(stage)?))
}

fn said(stage: &Stage) -> String {
    let said = stage.agent.process().map_or_else(|_| "it isn't running".to_owned(), Process::report);
    format!("the agent: {said}")
}

/// Ends all grants.
fn revoke_all(stage: &Stage) -> Result<()> {
    let mut connection = Connection::open(&stage.agent.socket())?;
    connection.call("POST", "/v1/grants/revoke", r#"{"all":true,"reason":"benchmark"}"#)?.expect(200)?;
    Ok(())
}
