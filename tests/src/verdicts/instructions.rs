//! The number of instructions that the verifier walks through for each program, compared with the recorded number.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use jit_agent::datapath::xdp::{Entry, XdpDatapath};

/// The recorded counts, by series of kernels and by program.
type Recorded = BTreeMap<String, BTreeMap<String, u32>>;

const FILE: &str = "tests/verifier-instructions.toml";
static TEXT: &str = include_str!("../../verifier-instructions.toml");

/// The percentage by which a count may exceed the recorded one.
const MARGIN: u64 = 10;

/// The series of a kernel: `6.12` of `6.12.57+deb13-amd64`.
#[must_use]
pub fn series(release: &str) -> &str {
    let end = release.match_indices(|character: char| !character.is_ascii_digit()).nth(1);
    end.map_or(release, |(end, _)| &release[..end])
}

/// Loads every program, and returns the number of instructions that the verifier walked through for each, as lines of
/// the file.
///
/// # Errors
/// The kernel refuses a program, or a count exceeds the recorded one by more than the margin.
pub fn check(datapath: &mut XdpDatapath, release: &str) -> Result<Vec<String>> {
    let series = series(release);
    let recorded: Recorded = toml::from_str(TEXT).with_context(|| format!("{FILE} is damaged"))?;
    let recorded = recorded.get(series);
    let (mut lines, mut grown) = (vec![format!("[\"{series}\"]")], Vec::new());
    for entry in Entry::ALL {
        datapath.load_entry(entry)?;
        let name = datapath.entry_name(entry);
        let Some(count) = datapath.info(entry).and_then(|info| info.verified_instruction_count()) else {
            ensure!(recorded.is_none(), "Linux {release} tells no counts any more, but {FILE} has some for {series}");
            return Ok(vec![format!(
                "Linux {release} does NOT TELL how many instructions the verifier walked through"
            )]);
        };
        lines.push(format!("{name} = {count}"));
        match recorded.and_then(|programs| programs.get(name)) {
            Some(old) if u64::from(count) * 100 > u64::from(*old) * (100 + MARGIN) => {
                grown.push(format!("{name} from {old} to {count}"));
            }
            Some(_) => {}
            None if recorded.is_some() => grown.push(format!("{name} from nothing to {count}")),
            None => {}
        }
    }
    if !grown.is_empty() {
        bail!(
            "on Linux {release} the verifier walks through more than {MARGIN} % more than recorded: {}. If that is worth \
             it, record in {FILE}: {}",
            grown.join(", "),
            lines.join(" | ")
        );
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::series;

    #[test]
    fn a_series_is_the_first_two_numbers_of_a_release() {
        assert_eq!(series("6.12.57+deb13-amd64"), "6.12");
        assert_eq!(series("5.10.0-36-amd64"), "5.10");
        assert_eq!(series("6.18-rc1"), "6.18");
        assert_eq!(series("7.0"), "7.0");
    }
}
