//! Unloading says what it removed, and leaves no mark if it removed nothing.

use std::fs;

use anyhow::{Context, Result, ensure};
use jit_tests::{Agent, Config, PATIENCE, Port, Program, Topology};

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
