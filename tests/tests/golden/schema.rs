//! The store's tables.

use std::fmt::Write as _;

use anyhow::Result;
use jit_tests::Config;
use rusqlite::{Connection, types::Value};

use crate::{file, run::Host};

#[test]
fn the_store_has_the_tables_that_later_versions_have_to_read() -> Result<()> {
    let mut host = Host::start(Config::enforcing("srv0"))?;
    host.agent.stop()?;
    let store = Connection::open(host.agent.state_dir().join("jit-agent.sqlite"))?;
    let mut text = String::new();
    for pragma in ["application_id", "user_version", "journal_mode", "encoding", "page_size", "auto_vacuum"] {
        let value: Value = store.pragma_query_value(None, pragma, |row| row.get(0))?;
        writeln!(text, "PRAGMA {pragma}: {value:?}")?;
    }
    let mut schema = store.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")?;
    for sql in schema.query_map([], |row| row.get::<_, String>(0))? {
        writeln!(text, "\n{};", sql?)?;
    }
    file::check("schema.sql.txt", &text)
}
