//! Packages of the workspace.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use toml::{Table, Value};

use crate::{is_above, root, table};

/// What a program that only talks to the agent has no use for: the agent itself, BPF, a database, C.
const NOT_OF_CLIENTS: [&str; 9] =
    ["jit-agent", "jit-ebpf", "aya", "aya-obj", "rusqlite", "libsqlite3-sys", "libbpf-sys", "openssl-sys", "cc"];

#[test]
fn packages_need_only_those_below_them_in_the_table() -> Result<()> {
    let rows = table("package")?;
    let packages = workspace()?;
    let missing: Vec<_> = packages.keys().filter(|name| !rows.contains(name)).collect();
    assert!(missing.is_empty(), "docs/architecture.md has no row for {missing:?}");
    let mut wrong = Vec::new();
    for (name, manifest) in &packages {
        for kind in ["dependencies", "build-dependencies"] {
            let needed = manifest.get(kind).and_then(Value::as_table).into_iter().flat_map(Table::keys);
            for needed in needed.filter(|needed| packages.contains_key(*needed)) {
                if !is_above(&rows, name, needed)? {
                    wrong.push(format!("{name} needs {needed}, which is not below it"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn the_client_needs_neither_the_agent_nor_bpf_nor_a_database_nor_c() -> Result<()> {
    for package in ["jit-policy", "jit-api", "jitctl"] {
        let needed = needed_by(package)?;
        assert!(needed.contains("jit-common") && needed.contains("serde"), "{package} needs only {needed:?}");
        let wrong: Vec<_> = NOT_OF_CLIENTS.iter().filter(|name| needed.contains(**name)).collect();
        assert!(wrong.is_empty(), "{package} needs {wrong:?}: see `cargo tree -p {package} -e normal,build`");
    }
    Ok(())
}

#[test]
fn the_agent_does_not_need_its_client() -> Result<()> {
    let needed = needed_by("jit-agent")?;
    assert!(needed.contains("jit-api") && !needed.contains("jitctl"), "{needed:?}");
    Ok(())
}

/// The manifests of all packages of the workspace, by name.
fn workspace() -> Result<BTreeMap<String, Table>> {
    let read = |directory: &str| -> Result<Table> {
        let file = root().join(directory).join("Cargo.toml");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        text.parse().with_context(|| file.display().to_string())
    };
    let members = read("")?["workspace"]["members"].as_array().context("a workspace without members")?.clone();
    let mut packages = BTreeMap::new();
    for member in &members {
        let manifest = read(member.as_str().context("a member that is no text")?)?;
        let name = manifest["package"]["name"].as_str().context("a package without a name")?;
        packages.insert(name.to_owned(), manifest);
    }
    Ok(packages)
}

/// All packages that building this one alone compiles on this machine.
fn needed_by(package: &str) -> Result<BTreeSet<String>> {
    let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none", "--package", package])
        .current_dir(root())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}
