//! Private mounts of a test: directories that exist only for its thread and the children of that thread.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};

use crate::{Namespace, users};

/// A mount namespace of the calling thread with an empty `/run` and a private bpffs.
///
/// The agent's default paths (`/run/jit-agent`, `/sys/fs/bpf/jit-agent`, and where they exist `/etc/jit-agent` and
/// `/var/lib/jit-agent`) are hidden too, so that a test that forgets an option can't reach a real installation. On
/// every machine, the users are root, alice (1000), who is in the group jit-users (2000), and bob (1001), who isn't.
///
/// Clones share the mounts, which go with the last clone or with the thread. A thread has one sandbox at a time: a
/// second sandbox would hide the files of the first one.
#[derive(Clone)]
pub struct Sandbox {
    inner: Rc<Inner>,
}

struct Inner {
    dir: PathBuf,
    mounted: RefCell<Vec<PathBuf>>,
}

impl Sandbox {
    /// Makes the private mounts for the calling thread.
    ///
    /// # Errors
    /// The process is not root, or the kernel refuses mount namespaces or bpffs. Tests fail then: no test passes
    /// without having run.
    pub fn new() -> Result<Self> {
        ensure!(
            geteuid().is_root(),
            "namespaces, mounts and BPF need root, but the user id is {}: run `cargo xtask test` (or `cargo xtask demo`), \
             which asks for it",
            geteuid()
        );
        unshare(CloneFlags::CLONE_NEWNS).context("cannot make a private mount namespace (CLONE_NEWNS)")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .context("cannot make the mounts of this thread private")?;
        let inner = Inner { dir: PathBuf::from("/run/sandbox"), mounted: RefCell::default() };
        inner.mount("tmpfs", Path::new("/run"), Some("mode=0755"))?;
        for dir in ["bpf", "bin"] {
            fs::create_dir_all(inner.dir.join(dir))?;
        }
        inner.mount("bpf", &inner.dir.join("bpf"), None).context("tests need a bpffs: CONFIG_BPF_SYSCALL")?;
        for real in ["/sys/fs/bpf", "/etc/jit-agent", "/var/lib/jit-agent"].map(Path::new) {
            if real.exists() {
                inner.mount(if real.starts_with("/sys") { "bpf" } else { "tmpfs" }, real, None)?;
            }
        }
        let sandbox = Self { inner: Rc::new(inner) };
        users::replace(&sandbox)?;
        Ok(sandbox)
    }

    /// The directory for files of the test, in memory. Only the test and its children see the directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// A path for the file `name` in [`Sandbox::dir`].
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.inner.dir.join(name)
    }

    /// The mount point of the sandbox's own bpffs.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.path("bpf")
    }

    /// Writes the file `name` in [`Sandbox::dir`] and returns its path.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Mounts `source` over the existing file `target`, for this sandbox only.
    ///
    /// # Errors
    /// The source or the target doesn't exist.
    pub fn overlay_file(&self, source: &Path, target: &Path) -> Result<()> {
        mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("cannot bind {} over {}", source.display(), target.display()))?;
        self.inner.mounted.borrow_mut().push(target.to_owned());
        Ok(())
    }

    /// Shows the devices of `namespace` in `/sys`, as on a separate host, instead of this machine's devices.
    ///
    /// # Errors
    /// Sysfs can't be mounted.
    pub fn show_sysfs_of(&self, namespace: &Namespace) -> Result<()> {
        namespace.enter(|| self.inner.mount("sysfs", Path::new("/sys"), None))??;
        self.inner.mount("bpf", Path::new("/sys/fs/bpf"), None)
    }

    /// The path, within the sandbox, of a binary of this workspace such as `jitctl`.
    ///
    /// The binary is bound into the sandbox, so that users who can't read the build directory can run it too.
    ///
    /// # Errors
    /// The binary isn't built.
    pub fn binary(&self, name: &str) -> Result<PathBuf> {
        let inside = self.path("bin").join(name);
        if !inside.exists() {
            let built = built_binary(name)?;
            fs::write(&inside, "")?;
            self.overlay_file(&built, &inside)?;
        }
        Ok(inside)
    }
}

/// Finds a binary beside the running executable, in `target/PROFILE/`; tests themselves are in the `deps/` below.
fn built_binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell the path of this executable")?;
    let dir = own.parent().context("this executable has no directory")?;
    let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    let path = dir.join(name);
    ensure!(
        path.exists(),
        "{} doesn't exist: run `cargo build` first (with `--release` when the tests are). A build directory under /run \
         can't be used, since tests hide /run",
        path.display()
    );
    Ok(path)
}

impl Inner {
    fn mount(&self, kind: &str, target: &Path, options: Option<&str>) -> Result<()> {
        mount(Some(kind), target, Some(kind), MsFlags::empty(), options)
            .with_context(|| format!("cannot mount a {kind} on {}", target.display()))?;
        self.mounted.borrow_mut().push(target.to_owned());
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The mounts are detached, since children that are just being killed may still hold files. A mount that can't
        // be detached goes with the mount namespace when the thread ends.
        for target in self.mounted.borrow().iter().rev() {
            let _ = umount2(target, MntFlags::MNT_DETACH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_that_is_not_built_is_named_with_the_remedy() {
        let text = built_binary("no-such-binary").unwrap_err().to_string();
        assert!(text.contains("/no-such-binary doesn't exist: run `cargo build` first"), "{text}");
    }
}
