//! An agent that serves: a real core on a test machine, behind real routes on real sockets.

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

/// The agent. When this value is dropped, the agent stops as the daemon does.
pub struct Agent {
    /// The machine on which the agent runs.
    pub machine: Machine,
    /// The handle of the agent's core.
    pub core: CoreHandle,
    runtime: Runtime,
    stop: Option<watch::Sender<()>>,
    /// The servers, one for each user as whom peers are treated.
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
        let (handle, commands) = CoreHandle::of(&core);
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

    /// Returns a socket that takes each peer's identity from the kernel.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.serve(None)
    }

    /// Returns a socket that treats every peer as this user.
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

    /// Connects as a user, who counts as connected until the stream is dropped.
    #[must_use]
    pub fn connect(&self, peer: &Peer) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket_of(peer)).unwrap();
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        // An answer shows that the server has added the peer to the list of connected peers.
        stream.read_exact(&mut [0; 12]).unwrap();
        stream
    }

    /// Waits for an answer of the core.
    pub fn wait<T>(&self, asked: impl Future<Output = T>) -> T {
        self.runtime.block_on(asked)
    }

    /// Advances the clocks, and returns when the core has done what was due by then.
    pub fn pass(&self, duration: Duration) {
        self.machine.clock.advance(duration);
        // The core sweeps after each batch of commands, so when it answers the second command, the sweep after the
        // first is done.
        for _ in 0..2 {
            self.wait(self.core.ping()).unwrap();
        }
    }

    /// Stops the agent as the daemon stops, and returns when the agent has stopped.
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
