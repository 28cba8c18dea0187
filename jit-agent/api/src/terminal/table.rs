//! Tables, and other output that several commands share.

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use jit_policy::TrialKind;

use super::{
    Surroundings,
    text::{iso_span, moment, sanitised},
};
use crate::{problem::Problem, wire::Trial};

/// Rows under headings, aligned. Columns whose heading begins with `>` are numbers and align to the right.
#[must_use]
pub fn table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.set_header(headings.map(|heading| heading.trim_start_matches('>')));
    for row in rows {
        table.add_row(row);
    }
    for (column, heading) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2));
        if heading.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The end of a trial, and what to do until then.
#[must_use]
pub fn trial_lines(trial: &Trial, surroundings: &Surroundings) -> String {
    let is_of_enforcement = trial.kind == TrialKind::Enable;
    let end = if is_of_enforcement { "the ports open again" } else { "the configuration from before comes back" };
    format!(
        "the trial ends at {} (in {}): {end} then\nopen a second connection now to see that you get in, and keep it: \
         jit-agent confirm\n",
        moment(trial.until_utc, surroundings),
        iso_span(&trial.remaining)
    )
}

/// A problem, with one violation on each line.
#[must_use]
pub fn problem(problem: &Problem) -> String {
    let mut text = format!("error: {}\n", sanitised(&problem.detail));
    if problem.violations.is_empty() {
        return text;
    }
    let rows = problem.violations.iter().map(|violation| {
        [violation.port.as_deref().unwrap_or("-"), &violation.field, &violation.given, &violation.allowed]
            .map(sanitised)
    });
    for line in table(["port", "field", "given", "allowed"], rows).lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}
