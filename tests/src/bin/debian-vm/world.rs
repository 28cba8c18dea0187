//! The world of the checks: the machine, the wire, and methods for the steps that many checks share.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use jit_tests::Namespace;
use serde_json::Value;

use crate::{
    machine::Machine,
    traffic::Traffic,
    wire::{CLIENT, Wire},
};

/// The pause between two observations of something that has no event.
const PACE: Duration = Duration::from_millis(200);

/// The machine and the outside.
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) wire: Wire,
    files: PathBuf,
    /// The file names of the packages, the earlier version first.
    names: Vec<String>,
}

impl World {
    /// Starts the machine with `packages` on a disk.
    pub(crate) fn new(image: &Path, packages: &[PathBuf]) -> Result<Self> {
        let wire = Wire::new()?;
        let files = env::temp_dir().join(format!("jit-agent-vm-{}", process::id()));
        fs::create_dir(&files).with_context(|| format!("cannot create {}", files.display()))?;
        let names = packages.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        let machine = Machine::start(image, packages, &files, &wire.outside);
        let machine = machine.inspect_err(|_| drop(fs::remove_dir_all(&files)))?;
        Ok(Self { machine, wire, files, names })
    }

    pub(crate) fn outside(&self) -> &Namespace {
        &self.wire.outside
    }

    /// Runs a command that must succeed, and returns its output.
    pub(crate) fn done(&mut self, command: &str) -> Result<String> {
        self.machine.done(command)
    }

    /// Installs the package with that number, from 0, over the present state, as an administrator would.
    pub(crate) fn install(&mut self, number: usize) -> Result<String> {
        let name = self.names[number].clone();
        self.done(&format!("DEBIAN_FRONTEND=noninteractive dpkg --install /run/packages/{name}"))
    }

    /// The output of `jitctl --json`.
    pub(crate) fn jitctl(&mut self, arguments: &str) -> Result<Value> {
        let said = self.done(&format!("jitctl --json {arguments} 2>/dev/null"))?;
        serde_json::from_str(&said).with_context(|| format!("`jitctl {arguments}` wrote no JSON: {said}"))
    }

    /// Requests access to a port for the client, and waits until the grant is live.
    pub(crate) fn grant(&mut self, port: u16, source: &str, time: &str) -> Result<()> {
        self.done(&format!("jitctl request --port {port} --from {source} --for {time} -m test")).map(drop)
    }

    /// Waits until a command succeeds.
    pub(crate) fn until(&mut self, command: &str, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let answer = self.machine.run(command)?;
            if answer.status == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "`{command}` still ends with {}: {}", answer.status, answer.output);
            std::thread::sleep(PACE);
        }
    }

    /// Waits until the agent answers a request.
    pub(crate) fn agent_answers(&mut self) -> Result<()> {
        self.until("jitctl status >/dev/null 2>&1 || [ $? = 7 ]", Duration::from_secs(120))
    }

    /// Runs `body` while the client and the stranger send. No packet with a grant is lost, and no other packet gets
    /// through.
    pub(crate) fn without_gap(&mut self, body: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let begin = Instant::now();
        let traffic = Traffic::start(self.outside())?;
        let done = body(self);
        let kept = traffic.finish();
        done?;
        kept?;
        self.wire.open(CLIENT)?;
        self.wire.shut_since(begin)
    }

    /// Prints what the machine knows about a failure.
    #[expect(clippy::print_stdout, reason = "where the results go")]
    pub(crate) fn explain(&mut self) {
        let asked =
            "systemctl --failed --no-legend --plain; jitctl status; journalctl -b -u jit-agent -n 15 --no-pager -o cat";
        match self.machine.run(asked) {
            Ok(answer) => println!("{}", answer.output),
            Err(error) => println!("{error:#}"),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // If the removal fails, a sparse file stays in the directory for temporary files.
        let _ = fs::remove_dir_all(&self.files);
    }
}
