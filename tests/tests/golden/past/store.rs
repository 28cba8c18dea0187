//! A store as SQL, and SQL as a store of this machine.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use rusqlite::Connection;
use rustix::time::{ClockId, clock_gettime};

/// In place of the ids of the machine and the boot that a dump is from.
const BOOT: &str = "00000000-0000-4000-8000-000000000000";
const MACHINE: &str = "00000000000000000000000000000000";

/// In which boot of this machine a store was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Boot {
    This,
    Earlier,
}

fn boot_id() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn machine_id() -> String {
    fs::read_to_string("/etc/machine-id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// The store as SQL, without the ids of this machine and boot.
pub(super) fn dump(path: &Path) -> Result<String> {
    let store = Connection::open(path)?;
    let texts = |sql: &str| -> Result<Vec<String>> {
        let mut statement = store.prepare(sql).with_context(|| sql.to_owned())?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    };
    let mut text = String::new();
    for pragma in ["application_id", "user_version"] {
        let value: i64 = store.pragma_query_value(None, pragma, |row| row.get(0))?;
        writeln!(text, "PRAGMA {pragma} = {value};")?;
    }
    text.push_str("BEGIN;\n");
    let tables = "FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid";
    for sql in texts(&format!("SELECT sql {tables}"))? {
        writeln!(text, "{sql};")?;
    }
    for table in texts(&format!("SELECT name {tables}"))?.iter().map(String::as_str).chain(["sqlite_sequence"]) {
        let columns = texts(&format!("SELECT 'quote(' || name || ')' FROM pragma_table_info('{table}')"))?;
        if table == "sqlite_sequence" {
            text.push_str("DELETE FROM sqlite_sequence;\n");
        }
        for values in texts(&format!("SELECT {} FROM {table}", columns.join(" || ', ' || ")))? {
            writeln!(text, "INSERT INTO {table} VALUES ({values});")?;
        }
    }
    // Triggers come last, so that they don't act on what they have acted on already.
    for sql in texts("SELECT sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL ORDER BY rowid")? {
        writeln!(text, "{sql};")?;
    }
    text.push_str("COMMIT;\n");
    let machine = machine_id();
    let text = text.replace(&boot_id()?, BOOT);
    Ok(if machine.is_empty() { text } else { text.replace(&machine, MACHINE) })
}

/// Makes a store of a dump, as if it were of this machine and its agent had been stopped just now. What was open then
/// still is, while the audit log and all that is over keep their times.
pub(super) fn load(dump: &str, path: &Path, boot: Boot) -> Result<()> {
    let store = Connection::open(path)?;
    store.execute_batch(dump).context("the dump can't be loaded")?;
    let (noted_wall, noted_boot): (i64, i64) =
        store.query_row("SELECT wall, boottime_ns FROM checkpoint", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let wall = i64::try_from(Timestamp::now().as_nanosecond())? - noted_wall;
    store.execute("UPDATE checkpoint SET machine_id = ?", [machine_id()])?;
    let shift = "UPDATE checkpoint SET wall = wall + ?1;
        UPDATE grants SET start_wall = start_wall + ?1, end_wall = end_wall + ?1 WHERE state IN ('opening', 'live');
        UPDATE requests SET decide_wall = decide_wall + ?1 WHERE status = 'pending';
        UPDATE idempotency SET wall = wall + ?1";
    for sql in shift.split(';') {
        store.execute(sql, [wall])?;
    }
    if boot == Boot::This {
        let now = clock_gettime(ClockId::Boottime);
        let boot = now.tv_sec * 1_000_000_000 + now.tv_nsec - noted_boot;
        let shift = "UPDATE checkpoint SET boottime_ns = boottime_ns + ?1, boot_id = ?2 WHERE boot_id = ?3;
            UPDATE grants SET end_boot = end_boot + ?1, boot_id = ?2 WHERE boot_id = ?3;
            UPDATE requests SET decide_boot = decide_boot + ?1, decide_boot_id = ?2 WHERE decide_boot_id = ?3";
        for sql in shift.split(';') {
            store.execute(sql, (boot, boot_id()?, BOOT))?;
        }
    }
    store.pragma_update(None, "journal_mode", "WAL")?;
    Ok(())
}
