//! Changes to port policies in the text of the files. The changes look as if a person made them: the rest of the text
//! stays the same.

use jit_common::abi::Mode;
use jit_policy::{Plain, PortId, PortPolicies, PortPolicy, Protocol};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value, value};

use super::{files::Part, raw};

const PORT: &str = "port";
const MODE: &str = "mode";

/// A change to one port policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The port gets this policy.
    Set(PortPolicy),
    /// The port's policy is removed.
    Remove(PortId),
}

impl Edit {
    /// The port whose policy changes.
    #[must_use]
    pub const fn port(&self) -> PortId {
        match self {
            Self::Set(policy) => policy.id,
            Self::Remove(id) => *id,
        }
    }
}

/// The reason why a text can't be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is not TOML.
    #[error("{path}: {problem}")]
    Syntax {
        /// The file.
        path: String,
        /// The problem.
        problem: String,
    },
    /// No file has a policy of the port to remove.
    #[error("no file has a policy of port {0}")]
    NoPort(PortId),
    /// There is no file to change.
    #[error("there is no file")]
    NoFile,
}

/// Makes a change in one of the files: the file that has the port's policy, or else the first file. Returns the file's
/// index in `parts` and the file's new text. `present` are the policies in force, which come from these files.
///
/// # Errors
/// A file is not TOML, or no file has a policy of the port to remove.
pub fn edit(parts: &[Part], present: &PortPolicies, change: &Edit) -> Result<(usize, String), EditError> {
    let mut documents = parts.iter().map(document).collect::<Result<Vec<_>, _>>()?;
    let id = change.port();
    if documents.iter().all(|document| !document.contains_key(PORT)) {
        // The default policies are in force. They are written out, except the changed one, because the defaults no
        // longer apply once a file names a port.
        let Some(first) = documents.first_mut() else { return Err(EditError::NoPort(id)) };
        let mut policies = raw::default_policies();
        policies.retain(|policy| policy.id != id);
        if let Edit::Set(policy) = change {
            policies.push(policy.clone());
            policies.sort_by_key(|policy| policy.id);
        }
        write_policies(first, &policies);
        return Ok((0, first.to_string()));
    }
    let place = documents.iter().position(|document| position_of(document, id).is_some());
    let (index, document) = match (place, change) {
        (Some(place), _) => (place, documents.get_mut(place)),
        (None, Edit::Set(_)) => (0, documents.first_mut()),
        (None, Edit::Remove(_)) => return Err(EditError::NoPort(id)),
    };
    let Some(document) = document else { return Err(EditError::NoPort(id)) };
    match change {
        Edit::Set(policy) => match position_of(document, id) {
            Some(place) => {
                let known = present.for_port(id).filter(|known| known.id == id);
                update_policy(document, place, policy, known);
            }
            None => add(document, policy),
        },
        Edit::Remove(_) => remove(document, id),
    }
    Ok((index, document.to_string()))
}

/// Sets the mode in the file that sets it now, or else in the first file. Returns the file's index in `parts` and the
/// file's new text.
///
/// # Errors
/// A file is not TOML.
pub fn set_mode(parts: &[Part], mode: Mode) -> Result<(usize, String), EditError> {
    let mut documents = parts.iter().map(document).collect::<Result<Vec<_>, _>>()?;
    let index = documents.iter().position(|document| document.contains_key(MODE)).unwrap_or(0);
    let Some(document) = documents.get_mut(index) else { return Err(EditError::NoFile) };
    match document.get_mut(MODE).and_then(Item::as_value_mut) {
        // The key may be bare or in quotes.
        Some(old) if old.as_str() == Some(mode.name()) => {}
        Some(old) => {
            // The new value keeps the blanks and the comment around the old value.
            let decor = old.decor().clone();
            *old = Value::from(mode.name());
            *old.decor_mut() = decor;
        }
        None => drop(document.insert(MODE, value(mode.name()))),
    }
    Ok((index, document.to_string()))
}

fn document(part: &Part) -> Result<DocumentMut, EditError> {
    part.text.parse().map_err(|error: toml_edit::TomlError| EditError::Syntax {
        path: part.path.display().to_string(),
        problem: error.to_string(),
    })
}

/// The index of a port's policy in the list.
fn position_of(document: &DocumentMut, id: PortId) -> Option<usize> {
    match document.get(PORT)? {
        Item::ArrayOfTables(tables) => tables.iter().position(|table| is_for(table, id)),
        Item::Value(Value::Array(list)) => {
            list.iter().position(|value| value.as_inline_table().is_some_and(|table| is_for(table, id)))
        }
        _ => None,
    }
}

fn is_for(table: &dyn TableLike, id: PortId) -> bool {
    let number = table.get("number").and_then(Item::as_integer);
    let protocol = table.get("protocol").and_then(Item::as_str).and_then(|name| name.parse::<Protocol>().ok());
    number == Some(i64::from(id.number)) && protocol == Some(id.protocol)
}

/// A value as people write it.
fn as_toml(value: Plain) -> Value {
    match value {
        Plain::Texts(texts) => Value::from(texts.into_iter().collect::<Array>()),
        Plain::Time(span) => Value::from(span.in_file()),
        Plain::Text(text) => Value::from(text),
        Plain::Number(number) => Value::from(i64::from(number)),
    }
}

/// The keys in which a policy differs from another policy.
fn differing(policy: &PortPolicy, other: &PortPolicy) -> impl Iterator<Item = (&'static str, Value)> {
    let pairs = policy.keys().into_iter().zip(other.keys());
    pairs.filter(|(new, old)| new != old).map(|((key, value), _)| (key, as_toml(value)))
}

fn update_policy(document: &mut DocumentMut, place: usize, policy: &PortPolicy, known: Option<&PortPolicy>) {
    let table: Option<&mut dyn TableLike> = match document.get_mut(PORT) {
        Some(Item::ArrayOfTables(tables)) => tables.get_mut(place).map(|table| table as &mut dyn TableLike),
        Some(Item::Value(Value::Array(list))) => {
            list.get_mut(place).and_then(Value::as_inline_table_mut).map(|table| table as &mut dyn TableLike)
        }
        _ => None,
    };
    let Some(table) = table else { return };
    let default = PortPolicy::new(policy.id);
    for (key, new) in differing(policy, known.unwrap_or(&default)) {
        match table.get_mut(key).and_then(Item::as_value_mut) {
            Some(old) => {
                // The new value keeps the blanks and the comment around the old value.
                let decor = old.decor().clone();
                *old = new;
                *old.decor_mut() = decor;
            }
            None => drop(table.insert(key, Item::Value(new))),
        }
    }
}

/// Writes number, protocol, and every setting that is not the default.
fn write_keys(table: &mut dyn TableLike, policy: &PortPolicy) {
    table.insert("number", value(i64::from(policy.id.number)));
    table.insert("protocol", value(policy.id.protocol.to_string()));
    for (key, new) in differing(policy, &PortPolicy::new(policy.id)) {
        table.insert(key, Item::Value(new));
    }
}

fn table_of(policy: &PortPolicy) -> Table {
    let mut table = Table::new();
    write_keys(&mut table, policy);
    table.decor_mut().set_prefix("\n");
    table
}

fn add(document: &mut DocumentMut, policy: &PortPolicy) {
    match document.get_mut(PORT) {
        Some(Item::ArrayOfTables(tables)) => tables.push(table_of(policy)),
        Some(Item::Value(Value::Array(list))) if !list.is_empty() => push_inline(list, policy),
        // The file has `port = []`, or it has no ports while another file has some.
        _ => write_policies(document, std::slice::from_ref(policy)),
    }
}

/// Adds a policy to a list in brackets, with the layout of the last element.
fn push_inline(list: &mut Array, policy: &PortPolicy) {
    let mut table = InlineTable::new();
    write_keys(&mut table, policy);
    let mut new = Value::InlineTable(table);
    let layout = list.iter().last().and_then(|last| last.decor().prefix()).cloned();
    match layout {
        Some(prefix) if list.len() > 1 => new.decor_mut().set_prefix(prefix),
        _ => new.decor_mut().set_prefix(" "),
    }
    list.push_formatted(new);
}

/// Writes policies into a file that has no other policies.
fn write_policies(document: &mut DocumentMut, policies: &[PortPolicy]) {
    if policies.is_empty() {
        document.insert(PORT, value(Array::new()));
        return;
    }
    // A comment above `port = []` moves with the key.
    let above = document.key(PORT).and_then(|key| key.leaf_decor().prefix()?.as_str()).unwrap_or_default().to_owned();
    document.remove(PORT);
    let mut tables = ArrayOfTables::new();
    policies.iter().for_each(|policy| tables.push(table_of(policy)));
    if let Some(first) = tables.get_mut(0).filter(|_| !above.trim().is_empty()) {
        first.decor_mut().set_prefix(format!("\n{}", above.trim_start_matches('\n')));
    }
    document.insert(PORT, Item::ArrayOfTables(tables));
}

fn remove(document: &mut DocumentMut, id: PortId) {
    let Some(place) = position_of(document, id) else { return };
    match document.get_mut(PORT) {
        Some(Item::ArrayOfTables(tables)) => {
            let above = tables.get(place).map(detached_text_above).unwrap_or_default();
            tables.remove(place);
            let is_empty = tables.is_empty();
            match tables.get_mut(place) {
                Some(next) => prepend(next, &above),
                None if !above.trim().is_empty() => append_to_end(document, &above),
                None => {}
            }
            if is_empty {
                // Without the key, the default policies would be in force.
                document.insert(PORT, value(Array::new()));
            }
        }
        Some(Item::Value(Value::Array(list))) => drop(list.remove(place)),
        _ => {}
    }
}

/// The text above a table that does not belong to the table: everything up to the last blank line.
fn detached_text_above(table: &Table) -> String {
    let prefix = table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
    let end = prefix.rfind("\n\n").map_or(0, |at| at + 1);
    prefix[..end].to_owned()
}

fn prepend(table: &mut Table, text: &str) {
    if text.trim().is_empty() {
        return;
    }
    let prefix = table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
    let prefix = format!("{text}{prefix}");
    table.decor_mut().set_prefix(prefix);
}

fn append_to_end(document: &mut DocumentMut, text: &str) {
    let trailing = format!("{text}{}", document.trailing().as_str().unwrap_or_default());
    document.set_trailing(trailing);
}

#[cfg(test)]
mod tests;
