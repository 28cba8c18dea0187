//! Anonymous network namespaces, entered and left by the test's own thread.

use std::{fs::File, marker::PhantomData, os::fd::AsRawFd, path::PathBuf, process, rc::Rc, thread};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace without a name. The namespace lives as long as this handle, or a process or socket inside.
///
/// Clones are handles of the same namespace. A handle is not `Send`, since the test's thread must spawn the children:
/// the kernel kills children when the thread that spawned them ends.
#[derive(Clone)]
pub struct Namespace {
    name: Rc<str>,
    file: Rc<File>,
    same_thread: PhantomData<Rc<()>>,
}

impl Namespace {
    /// Creates an empty network namespace with its loopback device up; `name` is for messages only.
    ///
    /// # Errors
    /// The process is not root, or the kernel has no memory for the namespace.
    pub fn new(name: &str) -> Result<Self> {
        let made = thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace (CLONE_NEWNET)")?;
            File::open(OWN).with_context(|| format!("cannot open {OWN}"))
        });
        let file = made.join().map_err(|_| anyhow!("the thread that makes network namespaces panicked"))??;
        let namespace = Self { name: name.into(), file: Rc::new(file), same_thread: PhantomData };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `body` in this namespace, on the calling thread. Sockets and children that `body` creates stay in the
    /// namespace.
    ///
    /// # Errors
    /// The namespace can't be entered. A panic of `body` goes on after the thread is back in its own namespace.
    pub fn enter<T>(&self, body: impl FnOnce() -> T) -> Result<T> {
        let outside = File::open(OWN).with_context(|| format!("cannot open {OWN}"))?;
        setns(&*self.file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter the network namespace '{}'", self.name))?;
        let _back = ReturnGuard(outside);
        Ok(body())
    }

    /// A path by which another process can open this namespace, while this process lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", process::id(), self.file.as_raw_fd()).into()
    }
}

struct ReturnGuard(File);

impl Drop for ReturnGuard {
    fn drop(&mut self) {
        if setns(&self.0, CloneFlags::CLONE_NEWNET).is_err() {
            // A thread that went on in a foreign namespace would make every later observation meaningless.
            process::abort();
        }
    }
}
