//! `jit-agent accept`: root takes the configuration files as they are, on a host whose agent does not run.

use std::{os::unix::net::UnixStream, path::Path};

use anyhow::bail;

use super::{host, owner};
use crate::config::{accepted, files, mark, opening};

/// Marks the files, so that the next start takes them whatever they open. Returns a report.
///
/// # Errors
/// The files are not a valid configuration, an agent runs, or the mark can't be written.
pub(super) fn accept(path: &Path) -> anyhow::Result<String> {
    let config = files::load_for(path, owner(path))?.config;
    if UnixStream::connect(&config.places.socket).is_ok() {
        bail!(
            "an agent runs and answers at {}; run `jitctl reload`, which says what to name with --allow-open",
            config.places.socket.display()
        );
    }
    let opens = match accepted::recall(&config.places.state) {
        Ok(Some(former)) => {
            let opened = opening::opened(&former.config, &config).into_iter().map(|opened| opened.name);
            let left_out = opening::left_out(&former.config.interfaces, &config.interfaces);
            opened.chain(left_out.iter().map(|pattern| format!("interfaces = \"{pattern}\""))).collect()
        }
        Ok(None) => Vec::new(),
        Err(error) => vec![format!("what, is not known, since what was accepted before can't be read: {error:#}")],
    };
    mark::set(&config.places.state, &mark::Mark::new(host::who_and_when(), &config))?;
    let opens =
        if opens.is_empty() { "they open nothing".to_owned() } else { format!("they open {}", opens.join(", ")) };
    Ok(format!("{}: the next start of the agent takes these files as they are; {opens}", path.display()))
}
