//! The agent under test: the real daemon, its client and its API.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use anyhow::{Context, Result, ensure};

use crate::{Config, Namespace, Outcome, PATIENCE, Process, Program, Response, Sandbox, Stream, api};

/// A `jit-agent` in a namespace. Its files are named after the agent, which has the namespace's name unless it was
/// given another. Dropping the value kills the daemon; what the daemon pinned stays until [`Agent::unload`] or the end
/// of the sandbox.
pub struct Agent {
    sandbox: Sandbox,
    namespace: Namespace,
    name: String,
    dir: PathBuf,
    starts: u32,
    process: Option<Process>,
}

impl Agent {
    /// Writes the configuration, starts the daemon, and returns when it has reported that it is ready.
    ///
    /// # Errors
    /// The binaries aren't built, or the daemon doesn't get ready; the text shows the daemon's output.
    pub fn start(sandbox: &Sandbox, namespace: &Namespace, config: Config) -> Result<Self> {
        let mut agent = Self::prepare(sandbox, namespace, config)?;
        agent.launch()?;
        Ok(agent)
    }

    /// Writes the configuration only. `socket`, `state_dir` and `bpffs_dir` point into the sandbox unless set.
    ///
    /// # Errors
    /// The configuration can't be written.
    pub fn prepare(sandbox: &Sandbox, namespace: &Namespace, config: Config) -> Result<Self> {
        Self::prepare_named(sandbox, namespace, namespace.name(), config)
    }

    /// Like [`Agent::prepare`], but under another name: for a second agent in the same namespace.
    ///
    /// # Errors
    /// The name is taken, or the configuration can't be written.
    pub fn prepare_named(sandbox: &Sandbox, namespace: &Namespace, name: &str, config: Config) -> Result<Self> {
        let dir = sandbox.path(&format!("agent-{name}"));
        fs::create_dir(&dir).with_context(|| format!("cannot make {}: two agents of one name?", dir.display()))?;
        let (sandbox, namespace, name) = (sandbox.clone(), namespace.clone(), name.to_owned());
        let agent = Self { sandbox, namespace, name, dir, starts: 0, process: None };
        agent.configure(config)?;
        Ok(agent)
    }

    /// Replaces the configuration file; a running daemon isn't notified.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn configure(&self, config: Config) -> Result<()> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let config = config
            .or_set("socket", text(self.socket()))
            .or_set("state_dir", text(self.state_dir()))
            .or_set("bpffs_dir", text(self.bpffs_dir()));
        let path = self.config_file();
        fs::write(&path, config.to_toml()).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// The agent's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("agent.sock")
    }

    /// The directory of the agent's store.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The directory of the agent's pins.
    #[must_use]
    pub fn bpffs_dir(&self) -> PathBuf {
        self.sandbox.bpffs().join(format!("jit-agent-{}", self.name))
    }

    /// Starts the daemon without waiting for anything: for tests in which it should refuse to start.
    ///
    /// # Errors
    /// The binary isn't built or can't be executed.
    pub fn spawn(&mut self) -> Result<Process> {
        self.starts += 1;
        let notify = self.dir.join(format!("notify-{}", self.starts));
        self.program("run")?.notify_at(notify).spawn_in(&self.namespace)
    }

    /// Starts the daemon, which must not be running, and returns when it is ready.
    ///
    /// # Errors
    /// The daemon ends or isn't ready in time; the text shows its output.
    pub fn launch(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the agent already runs: stop or kill it first");
        let process = self.spawn()?;
        process.wait_for_line(Stream::Notify, "READY=1", PATIENCE)?;
        self.process = Some(process);
        Ok(())
    }

    /// The running daemon.
    ///
    /// # Errors
    /// The daemon was not started, or was stopped or killed.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("the agent isn't running")
    }

    /// Ends the daemon with SIGTERM.
    ///
    /// # Errors
    /// The daemon isn't running or doesn't end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let process = self.process.take().context("the agent isn't running")?;
        process.terminate(PATIENCE)
    }

    /// Kills the daemon with SIGKILL and returns when it is gone.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Stops the daemon and starts it again.
    ///
    /// # Errors
    /// The daemon doesn't end with status 0, or doesn't get ready again.
    pub fn restart(&mut self) -> Result<()> {
        let status = self.stop()?;
        ensure!(status.success(), "the stopped agent ended with {status}");
        self.launch()
    }

    /// Runs `jit-agent unload`.
    ///
    /// # Errors
    /// The command can't be executed. Its exit status isn't checked.
    pub fn unload(&self) -> Result<Outcome> {
        self.subcommand("unload")
    }

    /// Removes the program and its tables, and nothing else: the next start makes new ones, as after a reboot.
    ///
    /// # Errors
    /// The program or the tables can't be removed.
    pub fn lose_pins(&self) -> Result<()> {
        self.unload()?.success()?;
        fs::remove_file(self.state_dir().join("unloaded")).context("cannot remove the mark of unloading")
    }

    /// Runs another subcommand of `jit-agent`, such as `check`, with the configuration file.
    ///
    /// # Errors
    /// The command can't be executed. Its exit status isn't checked.
    pub fn subcommand(&self, name: &str) -> Result<Outcome> {
        self.program(name)?.run_in(&self.namespace, PATIENCE)
    }

    /// Runs `jitctl --socket … ARGS` as root.
    ///
    /// # Errors
    /// `jitctl` can't be executed. Its exit status isn't checked: see [`Outcome::success`].
    pub fn jitctl(&self, args: &[&str]) -> Result<Outcome> {
        self.client(args)?.run_in(&self.namespace, PATIENCE)
    }

    /// Runs `jitctl` as another user of the sandbox, like `alice`.
    ///
    /// # Errors
    /// The errors of [`Agent::jitctl`].
    pub fn jitctl_as(&self, user: &str, args: &[&str]) -> Result<Outcome> {
        let program = Program::new_as(user, self.sandbox.binary("jitctl")?);
        program.arg("--socket").arg(self.socket()).args(args).run_in(&self.namespace, PATIENCE)
    }

    /// Runs `jitctl` as a user of the sandbox after another user logged in and became this user, as by `sudo`.
    ///
    /// # Errors
    /// The errors of [`Agent::jitctl`].
    pub fn jitctl_after_login(&self, login_uid: u32, user: &str, args: &[&str]) -> Result<Outcome> {
        let program = Program::new_as_after_login(login_uid, user, self.sandbox.binary("jitctl")?);
        program.arg("--socket").arg(self.socket()).args(args).run_in(&self.namespace, PATIENCE)
    }

    /// The command `jitctl --socket … ARGS`, which the caller runs: in the background, or with an environment.
    ///
    /// # Errors
    /// `jitctl` isn't built.
    pub fn client(&self, args: &[&str]) -> Result<Program> {
        Ok(Program::new(self.sandbox.binary("jitctl")?).arg("--socket").arg(self.socket()).args(args))
    }

    /// Sends one HTTP request to the agent's socket, as root. `body` is sent as JSON.
    ///
    /// # Errors
    /// No answer comes. An answer of any status is returned.
    pub fn api(&self, method: &str, path: &str, body: Option<&serde_json::Value>) -> Result<Response> {
        self.api_raw(method, path, &[], body.map(ToString::to_string))
    }

    /// Like [`Agent::api`], but with headers, and with a body that need not be JSON.
    ///
    /// # Errors
    /// The errors of [`Agent::api`].
    pub fn api_raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Response> {
        let said = || self.process.as_ref().map_or_else(|| "it isn't running".to_owned(), Process::report);
        api::call(&self.socket(), method, path, headers, body).with_context(|| format!("the agent: {}", said()))
    }

    /// The directory of the agent's files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn program(&self, subcommand: &str) -> Result<Program> {
        let binary = self.sandbox.binary("jit-agent")?;
        Ok(Program::new(binary).arg(subcommand).arg("--config").arg(self.config_file()))
    }
}
