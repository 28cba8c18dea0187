//! What the binaries say of their command lines.

use anyhow::{Context as _, Result};
use jit_tests::{Namespace, Sandbox};

use crate::{
    file,
    normal::versionless,
    run::{as_user, run},
};

/// The help of a command and of all its subcommands.
fn help(sandbox: &Sandbox, namespace: &Namespace, words: &[&str], text: &mut String) -> Result<()> {
    let (binary, subcommands) = words.split_first().context("no command")?;
    let program = as_user("root", sandbox, binary)?.args(subcommands).arg("--help");
    let shown = run(program, namespace)?.success()?.stdout;
    text.push_str(&format!("$ {} --help\n{shown}\n", words.join(" ")));
    // Descriptions that take more than a line are indented further.
    let listed = shown.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    for name in names.filter(|name| *name != "help") {
        help(sandbox, namespace, &[words, &[name]].concat(), text)?;
    }
    Ok(())
}

fn check(binary: &str, name: &str) -> Result<()> {
    let (sandbox, namespace) = (Sandbox::new()?, Namespace::new("host")?);
    let version = run(as_user("root", &sandbox, binary)?.arg("--version"), &namespace)?.success()?.stdout;
    let mut text = format!("$ {binary} --version\n{version}\n");
    help(&sandbox, &namespace, &[binary], &mut text)?;
    file::check(name, &versionless(&text))
}

#[test]
fn jitctl_has_the_commands_and_options_that_people_know() -> Result<()> {
    check("jitctl", "help-jitctl.txt")
}

#[test]
fn jit_agent_has_the_commands_and_options_that_people_know() -> Result<()> {
    check("jit-agent", "help-jit-agent.txt")
}
