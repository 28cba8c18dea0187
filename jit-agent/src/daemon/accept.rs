//! `jit-agent accept`: root takes the configuration files as they are, on a host whose agent does not run.

use std::{os::unix::net::UnixStream, path::Path};

use anyhow::bail;

use super::{host, owner};
use crate::config::{accepted, files, mark, opening::Openings};

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
        Ok(former) => {
            let openings = former.map(|former| Openings::between(&former.config, &config));
            openings.filter(|openings| !openings.is_empty()).map(|openings| openings.to_string())
        }
        Err(error) => Some(format!("what, is not known, since what was accepted before can't be read: {error:#}")),
    };
    mark::set(&config.places.state, &mark::Mark::new(host::who_and_when(), &config))?;
    let opens = opens.as_deref().unwrap_or("nothing");
    Ok(format!("{}: the next start of the agent takes these files as they are; they open {opens}", path.display()))
}
