//! Tables in plain text.

/// Aligns rows in columns; the first `left` columns are words, the others figures.
pub(crate) fn aligned<const N: usize>(rows: &[[String; N]], left: usize) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column < left {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_left_and_figures_right() {
        let rows = [["name", "ms"], ["a", "12.5"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows, 1), "  name    ms\n  a     12.5");
    }
}
