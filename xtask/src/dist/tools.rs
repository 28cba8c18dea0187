//! cargo-deb and cargo-generate-rpm, in one version each, kept in the cache.

use std::path::PathBuf;

use anyhow::Result;

use super::say;
use crate::{exec, paths};

/// The programs that make the packages.
pub(super) struct Tools {
    pub(super) deb: PathBuf,
    pub(super) rpm: PathBuf,
}

/// Installs the programs that are missing.
pub(super) fn provide() -> Result<Tools> {
    Ok(Tools { deb: tool("cargo-deb", "3.8.0")?, rpm: tool("cargo-generate-rpm", "0.21.1")? })
}

fn tool(name: &str, version: &str) -> Result<PathBuf> {
    let root = paths::cache()?.join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.exists() {
        say(&format!("building {name} {version} from crates.io into {} (about two minutes)", root.display()));
        let mut command = exec::cargo("install");
        command
            .args([name, "--version", version, "--locked", "--force", "--quiet", "--root"])
            .arg(&root)
            // The flags and the target directory of a build in progress are not meant for this program.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR");
        exec::run(&mut command)?;
    }
    Ok(program)
}
