//! The SSH session of an ancestor of this process, as Linux shows it in `/proc`.

use std::{fs, os::unix::process::parent_id};

use super::NAMES;

/// How many ancestors are looked at, at most.
const GENERATIONS: usize = 32;

/// The session of the nearest ancestor that has a session in its environment and lets us read that environment.
pub(super) fn session() -> Option<String> {
    let mut process = parent_id();
    for _ in 0..GENERATIONS {
        if process <= 1 {
            return None;
        }
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        if let Some(session) = of_environment(&environment) {
            return Some(session);
        }
        process = parent_of(&fs::read_to_string(format!("/proc/{process}/status")).ok()?)?;
    }
    None
}

fn of_environment(environment: &[u8]) -> Option<String> {
    NAMES.into_iter().find_map(|name| {
        let mut variables = environment.split(|byte| *byte == 0);
        let value = variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        String::from_utf8(value.to_vec()).ok()
    })
}

fn parent_of(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_found_in_the_environment_of_an_ancestor() {
        let environment = b"TERM=x\0SSH_CLIENT=192.0.2.7 5 22\0SSH_CONNECTION=192.0.2.7 5 192.0.2.1 22\0";
        assert_eq!(of_environment(environment).as_deref(), Some("192.0.2.7 5 192.0.2.1 22"));
        assert_eq!(of_environment(b"SSH_CLIENT=192.0.2.7 5 22\0").as_deref(), Some("192.0.2.7 5 22"));
        assert_eq!(of_environment(b"MY_SSH_CLIENT=x\0SSH_CLIENTS=y"), None);
        assert_eq!(parent_of("Name:\tsh\nPid:\t7\nPPid:\t5\n"), Some(5));
    }
}
