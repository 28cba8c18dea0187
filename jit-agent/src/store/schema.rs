//! The parts of the store that could change what is recorded: triggers and views. Others may have added some, in a
//! backup that was restored or with access to the file for a moment. They would go on working without a trace.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{
    error::Failure,
    file::{VERSION, schema},
};

/// Returns the triggers and views that are not exactly those that this program makes, as text for people. A store of a
/// newer minor version may have more of them, so nothing is said of it.
pub(super) fn foreign_parts(connection: &Connection) -> Result<Option<String>, Failure> {
    if connection.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0))? > VERSION {
        return Ok(None);
    }
    let own = Connection::open_in_memory()?;
    own.execute_batch(&schema())?;
    let (own, found) = (parts(&own)?, parts(connection)?);
    let mut foreign: Vec<&str> =
        found.iter().filter(|(name, text)| own.get(*name) != Some(*text)).map(|(name, _)| name.as_str()).collect();
    foreign.extend(own.keys().filter(|name| !found.contains_key(*name)).map(String::as_str));
    Ok((!foreign.is_empty()).then(|| foreign.join(", ")))
}

/// The triggers and views by kind and name, with their texts.
fn parts(connection: &Connection) -> Result<BTreeMap<String, String>, Failure> {
    let select = "SELECT type || ' ' || name, sql FROM sqlite_schema WHERE type IN ('trigger', 'view')";
    let mut statement = connection.prepare(select)?;
    let parts = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(parts.collect::<Result<_, _>>()?)
}
