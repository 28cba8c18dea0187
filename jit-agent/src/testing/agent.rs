//! An agent that serves: a real core on a machine of tests, behind real routes on real sockets.

use std::{
    future::Future,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};

use super::machine::Machine;
use crate::{
    core::{CoreHandle, peer::Peer},
    http,
};

/// The agent. It stops as the daemon does when it is dropped.
pub struct Agent {
    /// What it runs on.
    pub machine: Machine,
    /// The way into its core, beside its sockets.
    pub core: CoreHandle,
    runtime: Runtime,
    stop: Option<watch::Sender<()>>,
    /// Each with the user it takes everybody for.
    serving: Mutex<Vec<Serving>>,
    running: Option<JoinHandle<()>>,
}

struct Serving {
    who: Option<Peer>,
    socket: PathBuf,
    thread: JoinHandle<()>,
}

impl Agent {
    /// Starts an agent with the configuration of the machine's file.
    #[must_use]
    pub fn start(mut machine: Machine) -> Self {
        machine.load();
        let core = machine.start(false);
        let (handle, commands) = CoreHandle::new();
        let running = thread::spawn(move || core.run(commands).unwrap());
        let agent = Self {
            machine,
            core: handle,
            runtime: runtime(),
            stop: Some(watch::channel(()).0),
            serving: Mutex::default(),
            running: Some(running),
        };
        agent.pass(Duration::ZERO);
        agent
    }

    /// A socket at which everybody is who the kernel says.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.serve(None)
    }

    /// A socket at which everybody counts as this user.
    #[must_use]
    pub fn socket_of(&self, peer: &Peer) -> PathBuf {
        self.serve(Some(peer))
    }

    fn serve(&self, who: Option<&Peer>) -> PathBuf {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(served) = serving.iter().find(|served| served.who.as_ref() == who) {
            return served.socket.clone();
        }
        let socket = self.machine.dir.path().join(format!("agent-{}.sock", serving.len()));
        let Some(stop) = &self.stop else { return socket };
        let (core, path, peer, mut stopping) = (self.core.clone(), socket.clone(), who.cloned(), stop.subscribe());
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::spawn(move || {
            runtime().block_on(async {
                let listener = http::bind(&path).unwrap();
                ready.send(()).unwrap();
                let until = async move { drop(stopping.changed().await) };
                match &peer {
                    Some(peer) => http::serve_as(listener, core, until, peer).await.unwrap(),
                    None => http::serve(listener, core, until).await.unwrap(),
                }
            });
        });
        is_ready.recv().unwrap();
        serving.push(Serving { who: who.cloned(), socket: socket.clone(), thread });
        socket
    }

    /// Connects as a user, who is present for as long as the connection is there.
    #[must_use]
    pub fn connect(&self, peer: &Peer) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket_of(peer)).unwrap();
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        // Whoever is answered was noticed.
        stream.read_exact(&mut [0; 12]).unwrap();
        stream
    }

    /// Waits for what the core is asked.
    pub fn wait<T>(&self, asked: impl Future<Output = T>) -> T {
        self.runtime.block_on(asked)
    }

    /// Lets time pass, and returns when the core has done what was due by then.
    pub fn pass(&self, duration: Duration) {
        self.machine.clock.advance(duration);
        // The core sweeps after each batch of commands, so that it has done so when it comes to the second one.
        for _ in 0..2 {
            self.wait(self.core.ping()).unwrap();
        }
    }

    /// Stops as the daemon does, and returns when it has stopped.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        self.machine.hub.close();
        let serving = std::mem::take(self.serving.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut threads: Vec<_> = serving.into_iter().map(|served| served.thread.join()).collect();
        if let Some(running) = self.running.take() {
            self.runtime.block_on(self.core.stop());
            threads.push(running.join());
        }
        if !thread::panicking() {
            threads.into_iter().for_each(|ended| ended.unwrap());
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop();
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
