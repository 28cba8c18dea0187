//! Unloading says what it removed, and leaves no mark if it removed nothing. Root runs it, and follows nothing that the
//! user of the service could have placed.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, chown, symlink},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use jit_tests::{Agent, Config, PATIENCE, Port, Program, Topology};
use nix::mount::{MsFlags, mount};

fn config() -> Config {
    Config::enforcing("srv0").port(Port::tcp(22))
}

#[test]
fn an_unload_that_removes_nothing_says_so_and_leaves_the_mark_as_it_was() -> Result<()> {
    let net = Topology::new()?;
    let plain = net.sandbox.path("plain");
    fs::create_dir(&plain)?;
    let elsewhere = || config().set("bpffs_dir", plain.display().to_string());
    let mut agent = Agent::prepare(&net.sandbox, &net.server, elsewhere())?;
    let mark = agent.state_dir().join("unloaded");
    let failed = agent.unload()?;
    ensure!(failed.code() == Some(1), "{failed:?}");
    for part in ["nothing was removed", &plain.display().to_string(), "is not on a BPF file system"] {
        ensure!(failed.stderr.contains(part), "{part:?} is not in {failed:?}");
    }
    ensure!(!mark.exists(), "an agent that is started would load nothing");

    agent.configure(config())?;
    agent.launch()?;
    agent.unload()?.success()?;
    agent.stop()?;
    let marked = fs::read_to_string(&mark)?;
    agent.configure(elsewhere())?;
    ensure!(agent.unload()?.code() == Some(1));
    assert_eq!(fs::read_to_string(&mark)?, marked, "it is still unloaded, by the same person");
    Ok(())
}

/// The handle that the agent gives its traffic control filters, derived from the directory of its pins.
fn filter_handle(agent: &Agent, net: &Topology) -> Result<u32> {
    let path = net.sandbox.path("directory-name");
    fs::write(&path, agent.bpffs_dir().as_os_str().as_encoded_bytes())?;
    let sum = Program::new("sha256sum").arg(&path).spawn()?.outcome(PATIENCE)?.success()?;
    let start = sum.stdout.get(..8).context("no checksum")?;
    Ok(u32::from_str_radix(start, 16)? >> 1 | 1)
}

#[test]
fn filters_of_traffic_control_are_removed_and_named_also_without_the_directory_of_the_pins() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::prepare(&net.sandbox, &net.server, config())?;
    let handle = format!("{:#x}", filter_handle(&agent, &net)?);
    let tc = |arguments: &[&str]| Program::new("tc").args(arguments).run_in(&net.server, PATIENCE)?.success();
    let filters = || Ok::<_, anyhow::Error>(tc(&["filter", "show", "dev", "srv0", "ingress"])?.stdout);
    tc(&["qdisc", "add", "dev", "srv0", "clsact"])?;
    for loaded in [false, true] {
        if loaded {
            agent.launch()?;
            // A running agent would remove a filter of its own that it does not need.
            agent.stop()?;
        }
        let add = ["filter", "add", "dev", "srv0", "ingress", "prio", "7", "handle", &handle];
        tc(&[&add[..], &["bpf", "da", "bytecode", "1,6 0 0 4294967295,"]].concat())?;
        ensure!(filters()?.contains(&handle), "{}", filters()?);
        let unloaded = agent.unload()?.success()?;
        ensure!(unloaded.stdout.contains("the filter on what comes in over srv0 (clsact)"), "{unloaded:?}");
        let others = unloaded.stdout.contains(&agent.bpffs_dir().display().to_string());
        assert_eq!(others, loaded, "{unloaded:?}");
        ensure!(!filters()?.contains(&handle), "{}", filters()?);
    }
    Ok(())
}

/// The user of the service in these tests: alice.
const SERVICE: u32 = 1000;

/// Gives a file or directory to the user of the service.
fn give_to_service(path: &Path) -> Result<()> {
    chown(path, Some(SERVICE), Some(SERVICE)).with_context(|| path.display().to_string())
}

fn make_pipe(path: &Path) -> Result<()> {
    Program::new("mkfifo").arg(path).spawn()?.outcome(PATIENCE)?.success().map(drop)
}

#[test]
fn links_and_pipes_that_the_user_of_the_service_placed_lead_root_nowhere() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::prepare(&net.sandbox, &net.server, config())?;
    let victim = net.sandbox.write("victim", "precious")?;
    let (state, mark) = (agent.state_dir(), agent.state_dir().join("unloaded"));
    fs::create_dir(&state)?;
    give_to_service(&state)?;
    for name in ["unloaded.new", "unloaded", "pipe"] {
        agent.launch()?;
        agent.stop()?;
        let placed = state.join(name.replace("pipe", "unloaded"));
        if placed.symlink_metadata().is_ok() {
            fs::remove_file(&placed)?;
        }
        if name == "pipe" {
            make_pipe(&placed)?;
        } else {
            symlink(&victim, &placed)?;
        }
        let unloaded = agent.unload()?.success()?;
        ensure!(unloaded.stdout.contains("the ports are open"), "{name}: {unloaded:?}");
        assert_eq!(fs::read_to_string(&victim)?, "precious", "{name}");
        let marked = mark.symlink_metadata()?;
        ensure!(marked.is_file() && marked.uid() == SERVICE, "{name}: {marked:?}");
        ensure!(fs::read_to_string(&mark)?.starts_with("# sha256 "), "{name}");
        fs::remove_file(&mark)?;
    }
    Ok(())
}

#[test]
fn a_configuration_of_the_user_of_the_service_has_root_make_and_remove_nothing_elsewhere() -> Result<()> {
    let net = Topology::new()?;
    // The usual state_dir of this machine stays as it is.
    mount(Some("tmpfs"), "/var/lib", Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
    let usual = || config().set("bpffs_dir", "/sys/fs/bpf/jit-agent");
    let mut agent = Agent::prepare(&net.sandbox, &net.server, usual())?;
    agent.launch()?;
    agent.stop()?;
    // Pins of another product, which look like ours.
    let others = net.sandbox.bpffs().join("others");
    fs::create_dir_all(others.join("maps"))?;
    let pins = ["link-7", "maps/THEIRS"].map(|name| others.join(name));
    let map = Path::new("/sys/fs/bpf/jit-agent/maps/SETTINGS");
    for pin in &pins {
        symlink(map, pin)?;
    }
    let (made, conf_d) = (net.sandbox.path("made/by/root"), agent.dir().join("conf.d"));
    agent.configure(config().set("bpffs_dir", text(&others)).set("state_dir", text(&made)))?;
    fs::create_dir(&conf_d)?;
    make_pipe(&conf_d.join("x.toml"))?;
    for path in [agent.dir(), &agent.config_file(), &conf_d] {
        give_to_service(path)?;
    }
    let unloaded = agent.unload()?.success()?;
    for part in ["the ports are open", &text(&others), &text(&made), "was left alone", "belongs to uid 1000"] {
        ensure!(unloaded.stdout.contains(part), "{part:?} is not in {unloaded:?}");
    }
    ensure!(!Path::new("/sys/fs/bpf/jit-agent").exists(), "the program is still loaded");
    ensure!(Path::new("/var/lib/jit-agent/unloaded").exists(), "an agent that is started would load the program again");
    ensure!(!net.sandbox.path("made").exists(), "root made a directory that the configuration names");
    for pin in &pins {
        pin.symlink_metadata().with_context(|| format!("{} is gone", pin.display()))?;
    }
    Ok(())
}

#[test]
fn directories_of_the_user_of_the_service_are_unloaded_as_its_configuration_names_them() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::prepare(&net.sandbox, &net.server, config())?;
    agent.launch()?;
    agent.stop()?;
    for path in [agent.dir(), &agent.config_file(), &agent.state_dir(), &agent.bpffs_dir()] {
        give_to_service(path)?;
    }
    let unloaded = agent.unload()?.success()?;
    ensure!(unloaded.stdout.contains("the ports are open"), "{unloaded:?}");
    ensure!(!agent.bpffs_dir().exists() && agent.state_dir().join("unloaded").exists(), "{unloaded:?}");
    Ok(())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
