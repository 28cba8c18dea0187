//! A real OpenSSH server with a user, keys and files of its own.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::{Namespace, PATIENCE, Process, Program, Sandbox, Stream};

const SSHD: &str = "/usr/sbin/sshd";

/// An OpenSSH server that admits the user `alice` with a key made for the test. Dropping the value ends the server and
/// all its sessions.
pub struct SshServer {
    process: Process,
    key: PathBuf,
}

impl SshServer {
    /// Starts a server on `port` of every address of `namespace`.
    ///
    /// # Errors
    /// OpenSSH isn't installed, or the server doesn't start; the text shows the server's output.
    pub fn start(sandbox: &Sandbox, namespace: &Namespace, port: u16) -> Result<Self> {
        anyhow::ensure!(fs::exists(SSHD)?, "{SSHD} is missing: install openssh-server (`cargo xtask setup` does)");
        let (host_key, key) = (sandbox.path("ssh_host_key"), sandbox.path("ssh_key"));
        for path in [&host_key, &key] {
            let _ = fs::remove_file(path);
            let keygen =
                Program::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f"]).arg(path);
            keygen.spawn()?.outcome(PATIENCE)?.success()?;
        }
        fs::create_dir_all("/run/sshd").context("cannot make sshd's privilege separation directory")?;
        let config = format!(
            "Port {port}\nHostKey {}\nAuthorizedKeysFile {}.pub\nPidFile {}\nAuthenticationMethods publickey\n\
             StrictModes no\nUsePAM no\nUseDNS no\nPrintLastLog no\nAllowUsers alice\n",
            host_key.display(),
            key.display(),
            sandbox.path("sshd.pid").display()
        );
        let config = sandbox.write("sshd_config", config)?;
        // The server has a PID namespace of its own. Otherwise sshd's children would outlive the server, and with them
        // the session of a client whose packets are dropped.
        let program = Program::new("unshare")
            .args(["--fork", "--pid", "--mount-proc", "--kill-child=KILL", SSHD, "-D", "-e", "-f"])
            .arg(config);
        let process = program.spawn_in(namespace)?;
        process.wait_for_line(Stream::Stderr, "Server listening on ::", PATIENCE)?;
        process.wait_for_line(Stream::Stderr, "Server listening on 0.0.0.0", PATIENCE)?;
        Ok(Self { process, key })
    }

    /// An `ssh` client that connects from the address `from` to `to` and runs `command` there. The client stops
    /// connecting after two seconds, and reads no configuration of this machine.
    #[must_use]
    pub fn client(&self, from: &str, to: &str, command: &str) -> Program {
        let options = [
            "BatchMode=yes",
            "ConnectTimeout=2",
            "GlobalKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ];
        let program = Program::new("ssh").args(["-F", "none"]);
        let program = options.iter().fold(program, |program, option| program.arg("-o").arg(option));
        program.arg("-i").arg(&self.key).args(["-b", from, &format!("alice@{to}"), command])
    }

    /// The server's process, for its messages.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}
