//! The number of requests, grants and audit rows that the agent can handle: the real daemon, its real socket, and its
//! store on a real disk.

mod audit;
mod commands;
pub(crate) mod connection;
mod grants;
pub(crate) mod memory;
mod rate;
mod report;

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use jit_tests::Process;

use self::{audit::Audit, commands::Way, connection::Connection, grants::Grants, rate::Rates};
use crate::opening::Stage;

/// The name by which `--only` selects this measurement.
pub(crate) const NAME: &str = "requests-and-audit";

/// The first of the sources whose packets nobody observes (RFC 2544).
const OTHERS: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);

/// The results.
pub(crate) struct Requests {
    file_system: String,
    rates: Rates,
    ways: Vec<Way>,
    grants: Grants,
    /// `None` if the agent does not answer questions about its audit log.
    audit: Option<Audit>,
}

/// Measures everything.
///
/// # Errors
/// A part can't be set up, or the agent gives another answer than expected.
pub(crate) fn run() -> Result<Requests> {
    let mut stage = Stage::new(|_| Ok(()))?;
    let file_system = stage.state.file_system()?;
    let measured = measure(&mut stage);
    let (rates, ways, grants, available) = measured.with_context(|| said(&stage))?;
    // The next stage uses the directory of this stage's store.
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

/// Revokes all grants.
fn revoke_all(stage: &Stage) -> Result<()> {
    let mut connection = Connection::open(&stage.agent.socket())?;
    connection.call("POST", "/v1/grants/revoke", r#"{"all":true,"reason":"benchmark"}"#)?.expect(200)?;
    Ok(())
}
