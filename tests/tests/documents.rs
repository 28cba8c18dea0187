//! What the documents say, against the code.

use jit_common::reason::Reason;

const PACKETS: &str = include_str!("../../docs/packets.md");

#[test]
fn the_table_of_reasons_is_the_one_in_the_code() {
    let row = |reason: &Reason| {
        format!("| `{}` | {} | {} |", reason.name(), reason.verdict().name(), reason.meaning().trim())
    };
    let expected: Vec<String> = Reason::ALL.iter().map(row).collect();
    let table = PACKETS.lines().skip_while(|line| !line.starts_with("| reason |")).skip(2);
    let found: Vec<&str> = table.take_while(|line| line.starts_with('|')).collect();
    assert_eq!(found, expected);
}
