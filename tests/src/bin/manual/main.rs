//! Writes the manual pages and shell completions of both binaries into a directory, from the definitions of their
//! command lines. `cargo xtask dist` runs this program.
#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// The parts of `jit-agent.8` that do not come from the command line.
const AGENT_END: &str = include_str!("../../../../dist/man/jit-agent.8.end");
/// The parts of `jitctl.1` that do not come from the command line.
const CLIENT_END: &str = include_str!("../../../../dist/man/jitctl.1.end");

fn main() -> Result<()> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from).context("usage: manual DIRECTORY")?;
    for (command, section, end) in
        [(jit_agent::daemon::command(), "8", AGENT_END), (jit_ctl::command(), "1", CLIENT_END)]
    {
        completions(&command, &directory)?;
        // The pages describe every command, so there is no page for `help`.
        let mut command = command.disable_help_subcommand(true);
        command.build();
        pages(&command, section, end, &directory.join(format!("man{section}")))?;
    }
    Ok(())
}

/// Writes one page for the command, and one page for each of its subcommands.
fn pages(command: &Command, section: &str, end: &str, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        pages(subcommand, section, "", directory)?;
    }
    let page = Man::new(command.clone()).section(section).manual("Just-in-time access");
    let mut text = Vec::new();
    page.render(&mut text).context("cannot render a manual page")?;
    text.extend_from_slice(end.as_bytes());
    write(&directory.join(page.get_filename()), &text)
}

/// Writes completions for the shells whose completions packages install.
fn completions(command: &Command, directory: &Path) -> Result<()> {
    let name = command.get_name().to_owned();
    for (shell, place) in [
        (Shell::Bash, format!("bash/{name}")),
        (Shell::Zsh, format!("zsh/_{name}")),
        (Shell::Fish, format!("fish/{name}.fish")),
    ] {
        let file = directory.join(place);
        let parent = file.parent().context("a file in a directory has a parent")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), name.clone(), &mut text);
        write(&file, &text)?;
    }
    Ok(())
}

fn write(file: &Path, text: &[u8]) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
