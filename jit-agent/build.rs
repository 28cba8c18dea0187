//! Builds the package `jit-ebpf` for BPF and puts the object at `$OUT_DIR/jit-ebpf`.
//!
//! BPF needs another Rust than the rest of the workspace: one with the standard library's source, and a linker that
//! matches its LLVM. `cargo xtask setup` finds or installs them and writes their paths to a file, which is read here.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Version 3 of the instruction set (Linux 5.1) has comparisons of 32 bits, which spare shifts; headers are read by whole
/// words wherever they start, as on every processor that the kernel has a JIT compiler for.
const RUSTFLAGS: [&str; 4] =
    ["-Cdebuginfo=2", "-Ctarget-cpu=v3", "-Ctarget-feature=+allows-misaligned-mem-access", "-Clink-arg=--btf"];
const REMEDY: &str = "run `cargo xtask setup`";

/// What `cargo xtask setup` found.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    linker: PathBuf,
}

fn main() {
    if let Err(error) = build() {
        // One line: cargo shows it as the build's error, without the trace that a failing `main` would add.
        println!("cargo::error={}", format!("{error:#}").replace('\n', " "));
    }
}

fn build() -> Result<()> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = package.parent().context("jit-agent has no parent directory")?;
    for input in ["jit-ebpf/src", "jit-ebpf/Cargo.toml", "jit-common/src", "jit-common/Cargo.toml"] {
        rerun_if_changed(&workspace.join(input));
    }
    rerun_if_changed(&workspace.join("Cargo.toml"));
    rerun_if_changed(&workspace.join("Cargo.lock"));
    rerun_if_changed(&package.join("build.rs"));

    let toolchain = toolchain()?;
    let endian = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "eb",
        _ => "el",
    };
    let target = format!("bpf{endian}-unknown-none");
    let directory = out.join("ebpf-target");
    let mut command = cargo(&toolchain, &target, &directory)?;
    let status = command
        .current_dir(workspace)
        // Standard output is for cargo's directives.
        .stdout(io::stderr())
        .status()
        .with_context(|| format!("cannot start {}: {REMEDY}", toolchain.cargo.display()))?;
    if !status.success() {
        bail!(
            "jit-ebpf did not build for {target} ({status}); its errors are below. If they are about the toolchain \
             rather than the code, remove {} and {REMEDY}",
            toolchain_file()?.display()
        );
    }
    let object = directory.join(target).join("release/jit-ebpf");
    fs::copy(&object, out.join("jit-ebpf")).with_context(|| format!("cannot copy {}", object.display()))?;
    Ok(())
}

/// The cargo command, in an environment of its own: what this build was told (flags, wrappers such as clippy's, the
/// pinned toolchain, the library path) is for user space.
fn cargo(toolchain: &Toolchain, target: &str, directory: &Path) -> Result<Command> {
    let architecture = variable("CARGO_CFG_TARGET_ARCH")?;
    let mut flags = vec![format!("--cfg=bpf_target_arch=\"{architecture}\"")];
    flags.extend(RUSTFLAGS.map(str::to_owned));
    flags.extend(remapped(toolchain)?);
    let mut command = Command::new(&toolchain.cargo);
    for (name, _) in env::vars_os().filter(|(name, _)| !is_kept(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
        .args(["build", "--package", "jit-ebpf", "--release", "--locked", "-Z", "build-std=core", "--target", target])
        .arg("--target-dir")
        .arg(directory)
        // Unlocks build-std, and only here.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", &toolchain.rustc)
        .env(format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_")), &toolchain.linker)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // BTF is made from the debug information.
        .env("CARGO_PROFILE_RELEASE_STRIP", "none");
    if env::var_os("CARGO_FEATURE_LOG").is_some() {
        command.args(["--features", "log"]);
    }
    Ok(command)
}

/// Flags that keep this machine's paths out of the debug information, so that the same sources give the same object.
fn remapped(toolchain: &Toolchain) -> Result<Vec<String>> {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let sysroot = Command::new(&toolchain.rustc)
        .args(["--print", "sysroot"])
        .output()
        .with_context(|| format!("cannot start {}: {REMEDY}", toolchain.rustc.display()))?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    let places = [
        (package.parent().map(Path::to_owned), "/usr/src/jit-agent"),
        (home, "/usr/src/cargo"),
        (Some(sysroot), "/usr/src/rust"),
    ];
    let flag = |(from, to): (Option<PathBuf>, &str)| Some(format!("--remap-path-prefix={}={to}", from?.display()));
    Ok(places.into_iter().filter_map(flag).collect())
}

/// Whether a variable of this build goes on to the one for BPF.
fn is_kept(name: &str) -> bool {
    const FROM_CARGO: [&str; 10] = [
        "DEBUG",
        "HOST",
        "LD_LIBRARY_PATH",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTDOC",
        "TARGET",
        "RUSTFLAGS",
    ];
    const USERS_CARGO: [&str; 4] = ["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_HTTP_", "CARGO_NET_"];
    if name.starts_with("CARGO") {
        return USERS_CARGO.iter().any(|prefix| name.starts_with(prefix));
    }
    !(FROM_CARGO.contains(&name) || name.starts_with("RUSTC") || name == "RUSTUP_TOOLCHAIN")
}

/// The toolchain, with all its programs there.
fn toolchain() -> Result<Toolchain> {
    let file = toolchain_file()?;
    rerun_if_changed(&file);
    let text = fs::read_to_string(&file)
        .with_context(|| format!("no toolchain for BPF is set up, {} can't be read: {REMEDY}", file.display()))?;
    let toolchain: Toolchain =
        toml::from_str(&text).with_context(|| format!("{} is damaged: remove it and {REMEDY}", file.display()))?;
    for program in [&toolchain.cargo, &toolchain.rustc, &toolchain.linker] {
        if !program.exists() {
            bail!("{} is in {} but no longer there: {REMEDY}", program.display(), file.display());
        }
    }
    Ok(toolchain)
}

/// The same rule as in xtask's `paths::cache`.
fn toolchain_file() -> Result<PathBuf> {
    for name in ["XDG_CACHE_HOME", "HOME"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    let cache = cache.context("neither XDG_CACHE_HOME nor HOME is an absolute path: set one of them")?;
    Ok(cache.join("jit-agent/bpf-toolchain.toml"))
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("cargo did not set {name} for the build script"))
}

fn rerun_if_changed(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
