//! Facts about the host that the daemon needs before it serves requests.

use std::fs;

use anyhow::{Context as _, bail};

use crate::{accounts::name_of, config::unloaded::Remover, core::Boot};

/// Refuses to run in a time namespace with its own CLOCK_BOOTTIME. The kernel compares deadlines with its own clock, so
/// the deadlines would be wrong by the difference.
pub(super) fn check_time_namespace() -> anyhow::Result<()> {
    let offsets = match fs::read_to_string("/proc/self/timens_offsets") {
        Ok(offsets) => offsets,
        // A kernel without time namespaces has only one such clock.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("reading /proc/self/timens_offsets"),
    };
    match boottime_offset(&offsets) {
        Some((0, 0)) => Ok(()),
        Some((seconds, nanoseconds)) => bail!(
            "this process is in a time namespace whose boot clock is off by {seconds}.{nanoseconds:09} s, so grants \
             would not end on time; run jit-agent outside of it"
        ),
        None => bail!("/proc/self/timens_offsets has no line for boottime: {offsets:?}"),
    }
}

fn boottime_offset(offsets: &str) -> Option<(i64, i64)> {
    let mut fields = offsets.lines().map(str::split_whitespace).find_map(|mut fields| {
        // Kernels before 5.8 wrote the clock's number instead of the clock's name.
        matches!(fields.next(), Some("boottime" | "7")).then_some(fields)
    })?;
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The ids of this machine and of this boot.
pub(super) fn boot() -> anyhow::Result<Boot> {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
    let boot_id = read("/proc/sys/kernel/random/boot_id").context("reading this boot's id")?;
    // Without a machine id all machines look alike. After a reboot, the clocks still bound the time that is left to a
    // grant.
    let machine_id = read("/etc/machine-id").unwrap_or_default();
    Ok(Boot { machine_id, boot_id })
}

/// The person who runs this program, and the time.
pub(super) fn who_and_when() -> Remover {
    let own = nix::unistd::getuid().as_raw();
    let login = fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| text.trim().parse::<u32>().ok());
    let login = login.filter(|uid| *uid != u32::MAX && *uid != own);
    let time = jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default();
    Remover { name: name_of(own), login: login.map(|uid| (Some(uid), name_of(uid))), time }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_the_boot_clock_is_read_in_both_spellings() {
        assert_eq!(boottime_offset("monotonic           0         0\nboottime            0         0\n"), Some((0, 0)));
        assert_eq!(boottime_offset("monotonic 0 0\nboottime -86400 5\n"), Some((-86400, 5)));
        assert_eq!(boottime_offset("1 0 0\n7 3600 0\n"), Some((3600, 0)));
        assert_eq!(boottime_offset("monotonic 0 0\n"), None);
    }
}
