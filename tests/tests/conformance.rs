//! The API does what its OpenAPI document says: schemathesis makes valid and invalid requests from the document, and
//! compares the answers with the document.

use std::{
    env, fs, io,
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use jit_tests::{Agent, Config, Port, Program, TcpServer, Topology};

/// The requirements that `cargo xtask setup` installs. Setup puts a copy of this file beside the installation.
const REQUIREMENTS: &str = include_str!("../conformance/requirements.txt");
/// The longest time that a run may take.
const LONGEST: Duration = Duration::from_secs(300);

/// The installed schemathesis. `xtask/src/paths.rs` has the same rule for the directory.
fn schemathesis() -> Result<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    let directory = cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("jit-agent/schemathesis");
    let installed = fs::read_to_string(directory.join("requirements.txt")).unwrap_or_default();
    ensure!(installed == REQUIREMENTS, "{} is not what this test needs: run `cargo xtask setup`", directory.display());
    Ok(directory.join("bin/schemathesis"))
}

/// Forwards one connection to the agent's socket and back, since schemathesis speaks TCP only.
fn forward(client: &TcpStream, socket: &Path) -> io::Result<()> {
    let agent = UnixStream::connect(socket)?;
    let (mut from_client, mut to_agent) = (client.try_clone()?, agent.try_clone()?);
    let there = thread::spawn(move || {
        let copied = io::copy(&mut from_client, &mut to_agent);
        // A failure means that the agent has closed the connection.
        drop(to_agent.shutdown(Shutdown::Write));
        copied
    });
    let back = io::copy(&mut &agent, &mut &*client);
    client.shutdown(Shutdown::Both)?;
    drop(there.join());
    back.map(drop)
}

#[test]
fn the_api_answers_as_its_document_says() -> Result<()> {
    let schemathesis = schemathesis()?;
    let net = Topology::new()?;
    // The numbers that a generator uses most: the least, the greatest, the example.
    let config = [1, 22, 65535].into_iter().fold(Config::enforcing(&net.server_device), |config, number| {
        config.port(Port::new(number, "any").max("24h").set("justification", "optional"))
    });
    let agent = Agent::start(&net.sandbox, &net.server, config)?;
    let socket = agent.socket();
    let server = TcpServer::serve(&net.client, "127.0.0.1:0", move |stream| {
        // Either end may close the connection at any time.
        drop(forward(&stream, &socket));
    })?;
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let seed = env::var("JIT_TEST_SEED").unwrap_or_else(|_| "1".to_owned());
    let run = Program::new(schemathesis)
        .env("SCHEMATHESIS_HOOKS", files.join("hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg("--config-file")
        .arg(files.join("schemathesis.toml"))
        .args(["run", "--no-color", "--seed", &seed, "--max-examples", "60"])
        .arg(format!("http://{}/v1/openapi.json", server.address()?))
        .run_in(&net.client, LONGEST)?;
    let run = run.success()?;
    let requests = agent.api("GET", "/v1/requests", None)?.json()?;
    let granted = requests["value"].as_array().map_or(0, Vec::len);
    ensure!(granted > 0, "no request was good enough to be granted: {}", run.stdout);
    Ok(())
}
