//! The OpenAPI document.

use anyhow::Result;
use jit_tests::Config;

use crate::{file, normal::versionless, run::Host};

#[test]
fn the_openapi_document_is_the_one_that_clients_know() -> Result<()> {
    let host = Host::start(Config::enforcing("srv0"))?;
    let document = host.agent.api("GET", "/v1/openapi.json", None)?.json()?;
    file::check("openapi.json", &versionless(&format!("{document:#}\n")))
}
