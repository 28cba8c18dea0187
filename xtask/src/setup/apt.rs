//! Packages of Debian and its derivatives.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::say;
use crate::{exec, paths};

/// apt-get of a Debian-like distribution.
pub(super) struct Apt {
    updated: bool,
}

impl Apt {
    /// Finds apt-get. `None` if packages come from elsewhere on this machine.
    pub(super) fn find() -> Option<Self> {
        let release = fs::read_to_string("/etc/os-release").ok()?;
        (is_debian(&release) && paths::executable("apt-get").is_some()).then_some(Self { updated: false })
    }

    /// Installs packages, as root or by sudo.
    pub(super) fn install(&mut self, packages: &[&str]) -> Result<()> {
        say(&format!("installing Debian's {}", packages.join(" ")));
        self.install_quietly(packages).with_context(|| {
            format!("install them by hand, as root: apt-get install --no-install-recommends {}", packages.join(" "))
        })
    }

    fn install_quietly(&mut self, packages: &[&str]) -> Result<()> {
        if !self.updated {
            exec::run(apt_get()?.args(["-qq", "update"]))?;
            self.updated = true;
        }
        let _quiet = packages.contains(&"openssh-server").then(SshStaysOff::begin).transpose()?;
        // dpkg reports each step on standard output, and its errors elsewhere.
        let mut install = apt_get()?;
        install.args(["-qq", "-o", "Dpkg::Use-Pty=0", "install", "-y", "--no-install-recommends"]).args(packages);
        exec::run(install.stdout(Stdio::null()))
    }
}

/// An apt-get command that asks nothing. RUNLEVEL=1 keeps `invoke-rc.d` from starting services where there is no
/// systemd.
fn apt_get() -> Result<Command> {
    let mut command = exec::privileged("env")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get"]);
    Ok(command)
}

fn is_debian(os_release: &str) -> bool {
    let values = os_release.lines().filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")));
    values.flat_map(|value| value.trim_matches('"').split(' ')).any(|word| word == "debian")
}

/// A guard. While the guard lives, systemd refuses to start OpenSSH's server. Afterwards the server's units are there
/// but disabled.
///
/// Tests and demo start an sshd of their own, so installing the package must not open a port on this machine. A mask
/// for this boot alone is used, rather than a policy-rc.d, which would hold for other packages and might be in use.
struct SshStaysOff;

const SSH_UNITS: [&str; 2] = ["ssh.service", "ssh.socket"];

impl SshStaysOff {
    /// Masks the units; `None` without systemd.
    fn begin() -> Result<Option<Self>> {
        if !Path::new("/run/systemd/system").exists() {
            return Ok(None);
        }
        say("systemd will neither start nor enable the OpenSSH server of this machine");
        exec::run(exec::privileged("systemctl")?.args(["mask", "--quiet", "--runtime"]).args(SSH_UNITS))?;
        Ok(Some(Self))
    }
}

impl Drop for SshStaysOff {
    fn drop(&mut self) {
        let systemctl = |verb: &str, options: &[&str]| {
            exec::run(exec::privileged("systemctl")?.arg(verb).arg("--quiet").args(options).args(SSH_UNITS))
        };
        if let Err(error) = systemctl("unmask", &["--runtime"]).and_then(|()| systemctl("disable", &[])) {
            say(&format!("check that {} are disabled: {error:#}", SSH_UNITS.join(" and ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_of_debian_are_recognised() {
        assert!(is_debian("NAME=\"Debian GNU/Linux\"\nID=debian\n"));
        assert!(is_debian("ID=ubuntu\nID_LIKE=debian\n"));
        assert!(is_debian("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\nID_LIKE=\"rhel\"\nHOME_URL=https://debian.example/\n"));
    }
}
