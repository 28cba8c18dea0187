//! The output of the demo: numbered steps, commands, their output, and whether each promise was kept.

use std::{
    io::{self, IsTerminal, Write},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

const BOLD: &str = "1";
const CYAN: &str = "36";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "31";

/// The narrator.
pub(crate) struct Stage {
    started: Instant,
    colour: bool,
    steps: u32,
    kept: u32,
    broken: u32,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { started: Instant::now(), colour, steps: 0, kept: 0, broken: 0 }
    }

    /// Shows a heading without a number.
    pub(crate) fn title(&self, text: &str) -> Result<()> {
        self.line(&self.paint(BOLD, text))
    }

    /// Begins the next numbered step.
    pub(crate) fn step(&mut self, text: &str) -> Result<()> {
        self.steps += 1;
        let clock = self.paint(DIM, &format!("({:.0} s)", self.started.elapsed().as_secs_f64()));
        self.line(&format!("\n{} {clock}", self.paint(BOLD, &format!("{}. {text}", self.steps))))
    }

    /// Shows an explanation.
    pub(crate) fn say(&self, text: &str) -> Result<()> {
        self.indented("   ", text)
    }

    /// Shows a command that is about to run.
    pub(crate) fn command(&self, command: &str) -> Result<()> {
        self.line(&format!("   {}", self.paint(CYAN, &format!("$ {command}"))))
    }

    /// Shows the output of a command.
    pub(crate) fn output(&self, text: &str) -> Result<()> {
        self.indented("     ", text)
    }

    /// Shows an observation, and whether a promise was kept.
    pub(crate) fn fact(&mut self, kept: bool, observed: &str) -> Result<()> {
        let (mark, colour) = if kept { ("✔", GREEN) } else { ("✘", RED) };
        *(if kept { &mut self.kept } else { &mut self.broken }) += 1;
        self.line(&format!("   {}", self.paint(colour, &format!("{mark} {observed}"))))
    }

    /// Waits until `end`, with a countdown on a terminal.
    pub(crate) fn countdown(&self, end: Instant, what: &str) -> Result<()> {
        let left = || end.saturating_duration_since(Instant::now());
        if !self.colour {
            self.say(&format!("… {what} in {:.0} s", left().as_secs_f64()))?;
        }
        while !left().is_zero() {
            if self.colour {
                write!(io::stdout(), "\r   … {what} in {:>2.0} s ", left().as_secs_f64().ceil())?;
                io::stdout().flush()?;
            }
            thread::sleep(left().min(Duration::from_millis(200)));
        }
        if self.colour { self.line("") } else { Ok(()) }
    }

    /// Shows the last line, and returns whether every promise was kept.
    pub(crate) fn summary(&self) -> Result<bool> {
        let seconds = self.started.elapsed().as_secs_f64();
        let all = self.kept + self.broken;
        let (text, colour) = match self.broken {
            0 => {
                (format!("All {all} observations were as promised, in {seconds:.0} s. Nothing is left behind."), GREEN)
            }
            broken => (format!("{broken} of {all} observations were NOT as promised (look for ✘ above)."), RED),
        };
        self.line(&format!("\n{}", self.paint(colour, &text)))?;
        Ok(self.broken == 0)
    }

    fn indented(&self, indent: &str, text: &str) -> Result<()> {
        text.lines().try_for_each(|line| self.line(format!("{indent}{line}").trim_end()))
    }

    /// Writes a line at once: people watch the demo while it runs.
    fn line(&self, text: &str) -> Result<()> {
        let mut out = io::stdout();
        writeln!(out, "{text}")?;
        Ok(out.flush()?)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
