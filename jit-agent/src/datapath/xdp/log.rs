//! The program's messages, in builds with the feature `log`.

use std::{thread, time::Duration};

use aya::Ebpf;
use aya_log::EbpfLogger;

/// How often messages are fetched.
const INTERVAL: Duration = Duration::from_millis(100);

/// Shows the program's messages in the agent's log from now on.
pub(super) fn follow(object: &mut Ebpf) {
    match EbpfLogger::init(object) {
        Ok(mut logger) => {
            thread::spawn(move || {
                loop {
                    logger.flush();
                    thread::sleep(INTERVAL);
                }
            });
        }
        Err(error) => tracing::warn!(%error, "the program's messages can't be shown"),
    }
}
