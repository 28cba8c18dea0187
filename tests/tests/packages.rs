//! The packages: how installing, upgrading, removing and purging them changes a host. The host is this machine, with
//! all changes kept in memory and without systemd. `cargo xtask test` builds the packages and passes their directory.

use std::{
    env, fs, io,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use jit_tests::{Outcome, PATIENCE, Process, Program, Reach, Stream, Topology, tcp_connects};
use nix::mount::{MsFlags, mount};

/// The longest time that a package manager may take.
const LONGEST: Duration = Duration::from_secs(120);
const CLIENT: &str = "192.0.2.10";
const SSH: &str = "192.0.2.1:22";
const CONFIG: &str = "etc/jit-agent/config.toml";
const STORE: &str = "var/lib/jit-agent/jit-agent.sqlite";
const WANTS: &str = "etc/systemd/system/sysinit.target.wants/jit-agent.service";

/// The settings that the test puts into the configuration, as an owner would.
const ENFORCING: &str = "mode = \"enforce\"\ninterfaces = [\"srv0\"]\n";

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Deb,
    Rpm,
}

impl Kind {
    fn install(self, package: &str) -> Vec<String> {
        let words: &[&str] = match self {
            // Triggers concern other packages, such as an index of all manual pages.
            Self::Deb => &["dpkg", "--no-triggers", "--install", package],
            // On a Debian host, rpm's database does not list the packages of the host.
            Self::Rpm => &["rpm", "--upgrade", "--nodeps", package],
        };
        self.spelled(words)
    }

    fn remove(self) -> Vec<String> {
        match self {
            Self::Deb => self.spelled(&["dpkg", "--no-triggers", "--remove", "jit-agent"]),
            Self::Rpm => self.spelled(&["rpm", "--erase", "jit-agent"]),
        }
    }

    fn spelled(self, words: &[&str]) -> Vec<String> {
        let mut words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        // Debian's rpm advises against direct use and wants to be called by other tools.
        if self == Self::Rpm && Path::new("/etc/debian_version").exists() {
            words.insert(1, "--force-debian".to_owned());
        }
        words
    }
}

/// The directory with the packages; `None`, after a message, if there are no packages or the host can't install them.
#[expect(clippy::print_stdout, reason = "the harness shows what was skipped")]
fn packages(test: &str, needed: &[&str]) -> Option<PathBuf> {
    let found = env::var_os("JIT_TEST_PACKAGES").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let missing = needed.iter().find(|name| !env::split_paths(&path).any(|directory| directory.join(name).exists()));
    let why = match (&found, missing) {
        (None, _) => "only `cargo xtask test` without a filter makes packages".to_owned(),
        (_, Some(name)) => format!("this machine has no {name}"),
        _ if Path::new("/usr/bin/jit-agent").exists() => "this machine has jit-agent installed".to_owned(),
        _ => return found,
    };
    println!("SKIP: {test}: {why}");
    None
}

/// The only file in a directory with this extension.
fn package(directory: &Path, kind: Kind) -> Result<PathBuf> {
    let ending = if kind == Kind::Deb { "deb" } else { "rpm" };
    let mut files = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|found| found == ending));
    let [file] = files.as_slice() else { anyhow::bail!("{}: {files:?}", directory.display()) };
    Ok(file.clone())
}

/// This machine's file system, with all changes to it kept in memory.
struct Host {
    net: Topology,
    root: PathBuf,
    changes: PathBuf,
    packages: PathBuf,
    kind: Kind,
}

impl Host {
    fn new(kind: Kind, packages: PathBuf) -> Result<Self> {
        let net = Topology::new()?;
        let (root, changes, work) = (net.sandbox.path("host"), net.sandbox.path("changes"), net.sandbox.path("work"));
        for directory in [&root, &changes, &work] {
            fs::create_dir(directory)?;
        }
        let options = format!("lowerdir=/,upperdir={},workdir={}", changes.display(), work.display());
        let over = |kind: &str, target: &Path, options: Option<&str>| {
            mount(Some(kind), target, Some(kind), MsFlags::empty(), options)
                .with_context(|| format!("cannot mount a {kind} on {}", target.display()))
        };
        over("overlay", &root, Some(&options))?;
        over("tmpfs", &root.join("run"), Some("mode=0755"))?;
        over("tmpfs", &root.join("tmp"), None)?;
        for (target, kind) in [("proc", "proc"), ("sys", "sysfs")] {
            // A sysfs mount shows the devices of the network namespace in which it was mounted.
            net.server.enter(|| over(kind, &root.join(target), None))??;
        }
        over("bpf", &root.join("sys/fs/bpf"), None)?;
        Ok(Self { net, root, changes, packages, kind })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A command that runs on the host, in the host's network.
    fn program(&self, words: &[String]) -> Program {
        Program::new("chroot").arg(&self.root).args(words)
    }

    fn run(&self, words: &[String]) -> Result<Outcome> {
        self.program(words).run_in(&self.net.server, LONGEST)?.success()
    }

    /// Installs the package of a revision, or upgrades to it.
    fn install(&self, revision: &str) -> Result<Outcome> {
        let file = package(&self.packages.join(revision), self.kind)?;
        let name = file.file_name().and_then(|name| name.to_str()).context("a package without a name")?;
        fs::copy(&file, self.root.join("tmp").join(name))?;
        self.run(&self.kind.install(&format!("/tmp/{name}")))
    }

    fn remove(&self) -> Result<Outcome> {
        self.run(&self.kind.remove())
    }

    /// The agent, started as the unit does but as root, and ready.
    fn agent(&self) -> Result<Process> {
        let words = ["/usr/bin/jit-agent", "run"].map(str::to_owned);
        let process = self.program(&words).spawn_in(&self.net.server)?;
        process.wait_for_line(Stream::Stderr, "ready", PATIENCE)?;
        Ok(process)
    }

    fn reach(&self) -> Result<Reach> {
        tcp_connects(&self.net.client, CLIENT, SSH, jit_tests::SILENCE)
    }

    /// Owner, group and mode of a file, with the names that the host knows.
    fn owner(&self, path: &str) -> Result<String> {
        let metadata = fs::symlink_metadata(self.path(path)).with_context(|| path.to_owned())?;
        let name = |file: &str, id: u32| -> Result<String> {
            let text = fs::read_to_string(self.path(file))?;
            let named = text.lines().find(|line| line.split(':').nth(2) == Some(&id.to_string()));
            Ok(named.and_then(|line| line.split(':').next()).unwrap_or("nobody").to_owned())
        };
        let (user, group) = (name("etc/passwd", metadata.uid())?, name("etc/group", metadata.gid())?);
        Ok(format!("{user}:{group} {:o}", metadata.mode() & 0o7777))
    }

    /// The files of ours that did not exist before, except for the records of the package manager.
    fn left(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        let mut directories = vec![self.changes.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                let inside = path.strip_prefix(&self.changes)?.to_string_lossy().into_owned();
                if inside.starts_with("var/lib/dpkg") || inside.starts_with("var/lib/rpm") {
                    continue;
                }
                if inside.contains("jit-agent") || inside.contains("jitctl") {
                    left.push(inside.clone());
                }
                if path.symlink_metadata()?.is_dir() {
                    directories.push(path);
                }
            }
        }
        left.sort();
        Ok(left)
    }
}

/// Tests the behaviour that both kinds share, up to the removal.
fn live_and_remove(kind: Kind, packages: PathBuf) -> Result<Host> {
    let host = Host::new(kind, packages)?;
    host.install("1")?;
    for (path, expected) in [
        ("usr/bin/jit-agent", "root:root 755"),
        ("usr/bin/jitctl", "root:root 755"),
        ("usr/lib/systemd/system/jit-agent.service", "root:root 644"),
        ("etc/jit-agent", "root:jit-agent 750"),
        (CONFIG, "root:jit-agent 640"),
        ("var/lib/jit-agent", "jit-agent:jit-agent 700"),
    ] {
        assert_eq!(host.owner(path)?, expected, "{path}");
    }
    host.path(WANTS).symlink_metadata().context("the service is not enabled")?;
    let unit = "/usr/lib/systemd/system/jit-agent.service";
    host.run(&["systemd-analyze", "verify", "--man=no", unit].map(str::to_owned))?;
    let groups = fs::read_to_string(host.path("etc/group"))?;
    for group in ["jit-users", "jit-approvers", "jit-viewers"] {
        ensure!(groups.contains(&format!("\n{group}:")), "{group} is not in {groups}");
    }
    let packaged: toml::Table = toml::from_str(&fs::read_to_string(host.path(CONFIG))?)?;
    assert_eq!(packaged["mode"].as_str(), Some("observe"));
    assert_eq!(host.reach()?, Reach::Refused, "installing must shut nothing");

    fs::write(host.path(CONFIG), ENFORCING)?;
    let agent = host.agent()?;
    assert_eq!(host.reach()?, Reach::Silent);
    // As version 0.1 left them, and with a link that the agent's user placed.
    host.run(&["chown", "jit-agent:jit-agent", "/etc/jit-agent", &format!("/{CONFIG}")].map(str::to_owned))?;
    fs::write(host.path("tmp/victim"), "precious")?;
    symlink("/tmp/victim", host.path("etc/jit-agent/link.toml"))?;
    host.install("2")?;
    assert_eq!(host.owner("tmp/victim")?, "root:root 644", "the upgrade followed a link");
    assert_eq!(host.owner("etc/jit-agent")?, "root:jit-agent 750");
    fs::remove_file(host.path("etc/jit-agent/link.toml"))?;
    ensure!(agent.is_running(), "the upgrade ended the agent: {}", agent.report());
    assert_eq!(host.reach()?, Reach::Silent, "the upgrade opened the port");
    assert_eq!(fs::read_to_string(host.path(CONFIG))?, ENFORCING, "the upgrade changed the configuration");
    assert_eq!(host.owner(CONFIG)?, "root:jit-agent 640");
    // There is no systemd here, which would stop the service for the package.
    agent.terminate(PATIENCE)?;
    assert_eq!(host.reach()?, Reach::Silent, "stopping opened the port");

    let removed = host.remove()?;
    ensure!(removed.stdout.contains("the ports are open"), "{removed:?}");
    assert_eq!(host.reach()?, Reach::Refused, "the port is still shut");
    ensure!(!host.path("sys/fs/bpf/jit-agent").exists(), "pins are left");
    ensure!(!host.path("run/jit-agent").exists(), "/run/jit-agent is left");
    ensure!(host.path(STORE).exists(), "the audit log is gone");
    let expected = |path: &String| path.starts_with("etc/jit-agent") || path.starts_with("var/lib/jit-agent");
    let left = host.left()?;
    ensure!(left.iter().all(expected), "left behind: {left:?}");
    ensure!(!left.contains(&"var/lib/jit-agent/unloaded".to_owned()), "it would not start when installed again");
    Ok(host)
}

#[test]
fn a_deb_observes_when_installed_stays_shut_when_upgraded_opens_when_removed_and_goes_when_purged() -> Result<()> {
    let Some(packages) = packages("the .deb", &["dpkg", "deb-systemd-helper", "systemd-analyze"]) else {
        return Ok(());
    };
    let host = live_and_remove(Kind::Deb, packages)?;
    assert_eq!(fs::read_to_string(host.path(CONFIG))?, ENFORCING);

    host.install("2")?;
    assert_eq!(fs::read_to_string(host.path(CONFIG))?, ENFORCING, "the configuration did not outlast the removal");
    host.path(WANTS).symlink_metadata().context("the service is not enabled again")?;
    let agent = host.agent()?;
    assert_eq!(host.reach()?, Reach::Silent);
    agent.terminate(PATIENCE)?;

    host.run(&["dpkg", "--purge", "jit-agent"].map(str::to_owned))?;
    assert_eq!(host.reach()?, Reach::Refused);
    assert_eq!(host.left()?, [""; 0], "left behind by the purge");
    Ok(())
}

#[test]
fn an_rpm_observes_when_installed_stays_shut_when_upgraded_and_opens_when_removed() -> Result<()> {
    let Some(packages) = packages("the .rpm", &["rpm", "systemctl", "systemd-analyze"]) else { return Ok(()) };
    let host = live_and_remove(Kind::Rpm, packages)?;
    let saved = host.path("etc/jit-agent/config.toml.rpmsave");
    assert_eq!(fs::read_to_string(&saved)?, ENFORCING);

    host.install("2")?;
    fs::rename(saved, host.path(CONFIG))?;
    let agent = host.agent()?;
    assert_eq!(host.reach()?, Reach::Silent);
    agent.terminate(PATIENCE)?;
    Ok(())
}

#[test]
fn the_same_files_give_the_same_packages() -> Result<()> {
    let Some(packages) = packages("equal packages", &[]) else { return Ok(()) };
    for kind in [Kind::Deb, Kind::Rpm] {
        let read = |name: &str| -> Result<Vec<u8>> { Ok(fs::read(package(&packages.join(name), kind)?)?) };
        ensure!(read("1")? == read("again")?, "{kind:?} differs");
    }
    Ok(())
}
