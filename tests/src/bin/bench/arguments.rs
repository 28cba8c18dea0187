//! The benchmark's command line.

use anyhow::{Context, Result, bail, ensure};

/// The usage text.
pub(crate) const USAGE: &str = "\
Usage: cargo xtask bench [OPTIONS]

  --json          print JSON instead of a table
  --only NAME     measure only what has NAME in its name, such as `locked-drop`, `ipv6`, `rights`, `growth`,
                  `request`, `requests-and-audit`, `hostile`, `flood`, `flood-ipv4-tcp` or
                  `client`
  --rounds N      rounds of each cost per packet, flood and client, at least 7 [default: 11]
  --repeat N      packets in each round of a cost per packet [default: 1000000]
  --requests N    requests to the agent, at most 60000 [default: 1000]
  --seconds N     seconds of the attack, and of the time without it [default: 60]
  --help          print this";

/// The least number of rounds: fewer say nothing about the spread.
const LEAST_ROUNDS: u32 = 7;
/// The most requests: each takes an entry of a table that has 65,536 entries.
const MOST_REQUESTS: u32 = 60_000;

/// The task that the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print the usage text.
    Help,
    /// Run the measurements.
    Measure(Arguments),
}

/// The measurements to run, and the form of the report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Report JSON instead of a table.
    pub(crate) json: bool,
    /// Part of the names of the measurements to run; `None` selects all.
    pub(crate) only: Option<String>,
    /// Rounds of each cost per packet, flood and client.
    pub(crate) rounds: u32,
    /// Packets in each round of a cost per packet.
    pub(crate) repeat: u32,
    /// Requests to the agent.
    pub(crate) requests: u32,
    /// Seconds of the attack, and of the time without it.
    pub(crate) seconds: u32,
}

impl Arguments {
    /// Reads the command line, without the program's name.
    ///
    /// # Errors
    /// An option is unknown, or its value is missing or out of range.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Command> {
        let mut words = words.into_iter();
        let mut arguments =
            Self { json: false, only: None, rounds: 11, repeat: 1_000_000, requests: 1000, seconds: 60 };
        while let Some(option) = words.next() {
            let mut value = || words.next().with_context(|| format!("{option} needs a value"));
            match option.as_str() {
                "--help" | "-h" => return Ok(Command::Help),
                "--json" => arguments.json = true,
                "--only" => arguments.only = Some(value()?),
                "--rounds" => arguments.rounds = number(&option, &value()?, LEAST_ROUNDS, 10_000)?,
                "--repeat" => arguments.repeat = number(&option, &value()?, 1000, 100_000_000)?,
                "--requests" => arguments.requests = number(&option, &value()?, 1, MOST_REQUESTS)?,
                "--seconds" => arguments.seconds = number(&option, &value()?, 1, 3600)?,
                _ => bail!("there is no option '{option}'"),
            }
        }
        Ok(Command::Measure(arguments))
    }
}

fn number(option: &str, value: &str, least: u32, most: u32) -> Result<u32> {
    let number: u32 = value.parse().with_context(|| format!("{option} {value} is no number"))?;
    ensure!((least..=most).contains(&number), "{option} {value} is not within {least} to {most}");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_in_any_order() {
        let Command::Measure(arguments) = parse("--rounds 9 --json --only ipv6").unwrap() else { panic!() };
        assert_eq!((arguments.json, arguments.only.as_deref(), arguments.rounds), (true, Some("ipv6"), 9));
        assert_eq!(parse("--json --help").unwrap(), Command::Help);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (line, text) in [
            ("--fast", "there is no option '--fast'"),
            ("--only", "--only needs a value"),
            ("--rounds many", "--rounds many is no number"),
            ("--rounds 3", "--rounds 3 is not within 7 to 10000"),
            ("--requests 70000", "--requests 70000 is not within 1 to 60000"),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), text);
        }
    }
}
