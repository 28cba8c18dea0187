//! Output to the terminal: the only module that writes there.

use std::io::{self, IsTerminal as _, Write};

use super::{Exit, Outcome, Surroundings};

/// Prints the outcome. Returns the exit code: that of the outcome, unless the output got lost.
#[must_use]
pub fn print(outcome: &Outcome) -> Exit {
    let Outcome { exit, stdout, stderr } = outcome;
    let printed = write(&mut io::stdout().lock(), stdout);
    // Nobody can be told if standard error is closed.
    drop(write(&mut io::stderr().lock(), stderr));
    match printed {
        Ok(()) => *exit,
        Err(error) => {
            let message = format!("error: can't write to standard output: {error}; part of it is missing\n");
            drop(write(&mut io::stderr().lock(), &message));
            if *exit == Exit::Done { Exit::Failed } else { *exit }
        }
    }
}

/// Writes all of `text`. A reader who has seen enough, like `head`, is not an error.
fn write(to: &mut impl Write, text: &str) -> io::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A way to ask whoever sits at the terminal, if anybody sits there.
pub(super) fn ask() -> Option<fn(&str) -> bool> {
    io::stdin().is_terminal().then_some(prompt)
}

fn prompt(text: &str) -> bool {
    let mut answer = String::new();
    // No answer means no.
    write(&mut io::stderr().lock(), &format!("{text}go on? [y/N] ")).is_ok()
        && io::stdin().read_line(&mut answer).is_ok()
        && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Shows a text to whoever sits at the terminal and asks whether to go on, unless `yes` says so already.
///
/// # Errors
/// Nobody is there, or the answer is no. If nobody is there, the outcome has `shown` with what to add to the command,
/// `remedy` included.
pub fn require_confirmation(shown: &str, yes: bool, remedy: &str, surroundings: &Surroundings) -> Result<(), Outcome> {
    if yes {
        return Ok(());
    }
    let Some(ask) = surroundings.ask else {
        return Err(Outcome::failed(Exit::Refused, format!("{shown}add --yes to go on{remedy}\n")));
    };
    if ask(shown) { Ok(()) } else { Err(Outcome::failed(Exit::Refused, "nothing was changed\n".to_owned())) }
}

/// The outcome of a change that is in force: done if the change is written too, else failed with a warning.
#[must_use]
pub fn in_force(stdout: String, durable: bool, warning: &str) -> Outcome {
    if durable {
        return Outcome::done(stdout);
    }
    Outcome { exit: Exit::Failed, stdout, stderr: format!("warning: {warning}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_leaves_is_no_error_and_a_full_disk_is() {
        assert!(write(&mut Failing(io::ErrorKind::BrokenPipe), "text").is_ok());
        assert!(write(&mut Failing(io::ErrorKind::StorageFull), "text").is_err());
    }
}
