//! Which package may depend on which, and which module: the tables of `docs/architecture.md`, held against manifests and
//! source.

mod groups;
mod modules;
mod packages;
mod source;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

/// The root of the workspace.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// The names in the first column of the table that has `heading` as the name of that column, from top to bottom.
fn table(heading: &str) -> Result<Vec<String>> {
    let page = fs::read_to_string(root().join("docs/architecture.md")).context("docs/architecture.md")?;
    let start = format!("| {heading} |");
    let rows = page.lines().skip_while(|line| !line.starts_with(&start)).skip(2);
    let names: Vec<_> = rows
        .map_while(|line| line.strip_prefix("| "))
        .filter_map(|row| row.split('`').nth(1).map(str::to_owned))
        .collect();
    ensure!(!names.is_empty(), "docs/architecture.md has no table of {heading}s");
    Ok(names)
}

/// Whether `upper` stands above `lower` in a table; both must be there.
fn is_above(table: &[String], upper: &str, lower: &str) -> Result<bool> {
    let row = |name: &str| {
        let found = table.iter().position(|row| row == name);
        found.with_context(|| format!("{name} has no row in docs/architecture.md"))
    };
    Ok(row(upper)? < row(lower)?)
}
