//! schemathesis, which tries the agent's API by its OpenAPI document, in a Python environment of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{apt::Apt, say};
use crate::{exec, paths};

/// The list of what is installed, each package in one version.
const REQUIREMENTS: &str = "tests/conformance/requirements.txt";
/// The modules that Python needs to make an environment with pip.
const MODULES: &str = "import venv, ensurepip";

/// Installs schemathesis, unless the environment that is there was made from the same list. Returns whether anything
/// was installed.
///
/// The copy of the list is written last, so that an interrupted installation begins anew.
pub(super) fn install(apt: Option<&mut Apt>) -> Result<bool> {
    let list = paths::workspace().join(REQUIREMENTS);
    let wanted = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let directory = paths::cache()?.join("schemathesis");
    let installed = directory.join("requirements.txt");
    if fs::read_to_string(&installed).is_ok_and(|text| text == wanted) && runs(&directory) {
        return Ok(false);
    }
    let python = python(apt)?;
    say(&format!("installing what {REQUIREMENTS} lists from PyPI to {}", directory.display()));
    exec::run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&directory))?;
    let mut pip = Command::new(directory.join("bin/python"));
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--requirement"]).arg(&list);
    exec::run(&mut pip).context("the test of the API needs schemathesis from PyPI")?;
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(true)
}

/// Whether schemathesis still starts. It does not after another version has replaced the system's Python.
fn runs(directory: &Path) -> bool {
    exec::output(Command::new(directory.join("bin/schemathesis")).arg("--version")).is_ok()
}

/// A Python that can make environments.
fn python(apt: Option<&mut Apt>) -> Result<PathBuf> {
    if let Some(python) = usable() {
        return Ok(python);
    }
    if let Some(apt) = apt {
        apt.install(&["python3-venv"])?;
    }
    match usable() {
        Some(python) => Ok(python),
        None => bail!("the test of the API needs a python3 in PATH with the modules venv and ensurepip: install it"),
    }
}

fn usable() -> Option<PathBuf> {
    let python = paths::executable("python3")?;
    exec::output(Command::new(&python).args(["-c", MODULES])).is_ok().then_some(python)
}
