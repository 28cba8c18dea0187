//! What was typed and what came of it, as a person at a terminal sees it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use jit_tests::Outcome;

use crate::{
    normal::normal,
    run::{Host, as_user, run},
};

/// Commands, with what they wrote and how they ended.
#[derive(Default)]
pub(crate) struct Transcript(pub(crate) String);

impl Transcript {
    /// A heading between commands.
    pub(crate) fn heading(&mut self, text: &str) {
        if !self.0.is_empty() && !self.0.ends_with("\n\n") {
            self.0.push('\n');
        }
        let _ = writeln!(self.0, "## {text}\n");
    }

    /// A command as a user typed it, and its outcome.
    pub(crate) fn add(&mut self, user: &str, command: &str, outcome: &Outcome) -> Result<()> {
        let code = outcome.code().with_context(|| format!("ended by a signal: {outcome:?}"))?;
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "{user}$ {command}");
        if !outcome.stdout.is_empty() {
            self.0.push_str(&normal(&outcome.stdout));
        }
        for line in normal(&outcome.stderr).lines() {
            let _ = writeln!(self.0, "! {line}");
        }
        let _ = writeln!(self.0, "[{code}]\n");
        Ok(())
    }
}

/// Runs a script. A line has a user, or `user@address` where the user came from there over SSH, and the arguments of
/// `jitctl`; or `jit-agent` with its arguments. `option` is given to each `jitctl`, `{config}` is the path of the
/// configuration, and a heading starts with `#`.
pub(crate) fn play(host: &Host, script: &str, option: Option<&str>, told: &mut Transcript) -> Result<()> {
    for line in script.lines().filter(|line| !line.is_empty()) {
        if let Some(heading) = line.strip_prefix("# ") {
            told.heading(heading);
            continue;
        }
        let words = split(line);
        let (who, arguments) = words.split_first().context("no user")?;
        let (user, address) = who.split_once('@').unwrap_or((who, ""));
        let (binary, arguments) = match arguments.split_first() {
            Some((&"jit-agent", rest)) => ("jit-agent", rest.to_vec()),
            _ => ("jitctl", option.into_iter().chain(arguments.iter().copied()).collect()),
        };
        let mut program = as_user(user, &host.net.sandbox, binary)?;
        if !address.is_empty() {
            program = program.env("SSH_CONNECTION", format!("{address} 50000 192.0.2.1 22"));
        }
        if binary == "jitctl" && !arguments.contains(&"--socket") {
            program = program.arg("--socket").arg(host.agent.socket());
        }
        let config = host.agent.config_file().display().to_string();
        program = program.args(arguments.iter().map(|argument| argument.replace("{config}", &config)));
        told.add(who, &typed(binary, &arguments), &run(program, &host.net.server)?)?;
    }
    Ok(())
}

/// The words of a line; quotes hold several together.
fn split(line: &str) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), line.trim());
    while !rest.is_empty() {
        let quoted = rest.strip_prefix('\'').and_then(|inner| inner.split_once('\''));
        let (word, after) = quoted.or_else(|| rest.split_once(' ')).unwrap_or((rest, ""));
        words.push(word);
        rest = after.trim_start();
    }
    words
}

/// A command line with what a shell would need quoted in quotes.
fn typed(binary: &str, arguments: &[&str]) -> String {
    let quoted = arguments.iter().map(|argument| {
        let is_plain = !argument.is_empty() && !argument.contains(|c: char| " '\"$*=?()".contains(c));
        if is_plain { (*argument).to_owned() } else { format!("'{argument}'") }
    });
    [binary.to_owned()].into_iter().chain(quoted).collect::<Vec<_>>().join(" ")
}
