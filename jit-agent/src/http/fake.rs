//! An agent without store and kernel for tests: a real socket and real routes before a core that answers by script.

mod views;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, mpsc::Sender},
    thread::JoinHandle,
    time::Duration,
};

use tempfile::TempDir;
use tokio::sync::{mpsc::Receiver, oneshot};

use self::views::closed;
pub use self::views::{audit_log, enforcement, grant, pending, port, request, status, time, why};
use crate::{
    clock::SystemClock,
    core::{
        change::{ChangeRefusal, Changed, Effects, PortEdit, PortList},
        handle::{Command, CoreHandle, Opening, Reply},
        view::{
            Enabled, EnforcementView, Extended, GrantStatus, GrantView, MetricsView, Peer, PortView, Refusal,
            RequestView, Revocation, StatusView, Submitted,
        },
    },
    events::EventHub,
    store::{AuditReader, RequestState},
};
use jit_policy::Page;
use jit_policy::{GrantId, Packet, Reload, RequestId, Submission};

/// What the core says.
#[derive(Clone)]
pub struct Script {
    /// To everything.
    pub refusal: Option<Refusal>,
    pub status: StatusView,
    pub ports: Vec<PortView>,
    pub requests: Vec<RequestView>,
    pub grants: Vec<GrantView>,
    /// Whether requests were made before.
    pub replayed: bool,
    /// From where the list of requests goes on, once.
    pub more: Option<RequestId>,
    pub durable: bool,
    /// What a change does.
    pub effects: Effects,
    pub events: EventHub,
    pub enforcement: EnforcementView,
    pub audit: Option<AuditReader>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            refusal: None,
            status: status(),
            ports: vec![port()],
            requests: vec![request()],
            grants: vec![grant(17)],
            replayed: false,
            more: None,
            durable: true,
            effects: Effects::default(),
            events: EventHub::new(Arc::new(SystemClock)),
            enforcement: enforcement(),
            audit: None,
        }
    }
}

impl Script {
    /// What becomes of a change.
    fn change(&self, confirm: bool) -> Result<Changed, Refusal> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        let effects = self.effects.clone();
        if !confirm && !effects.is_empty() {
            return Err(ChangeRefusal::Unconfirmed { effects: Box::new(effects), unnamed: Vec::new() }.into());
        }
        let (port, changed) = (self.ports.first().cloned(), vec!["3389/any".to_owned()]);
        Ok(Changed { port, changed, effects, durable: self.durable, version: "v2".to_owned(), trial: None })
    }
}

/// What the core was asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub peers: Vec<Peer>,
    pub submissions: Vec<Submission>,
    pub extensions: Vec<(GrantId, Duration)>,
    pub revocations: Vec<String>,
    pub packets: Vec<Packet>,
    pub edits: Vec<PortEdit>,
    pub reloads: Vec<Reload>,
}

/// The agent, on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Agent {
    directory: TempDir,
    asked: Arc<Mutex<Asked>>,
    watched: std::sync::mpsc::Receiver<()>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    pub fn start(script: Script) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let asked = Arc::<Mutex<Asked>>::default();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let log = Arc::clone(&asked);
        let (watch, watched) = std::sync::mpsc::channel();
        let events = script.events.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = super::bind(&path).unwrap();
                let (core, commands) = CoreHandle::new();
                tokio::spawn(answer(commands, script, log, watch));
                ready.send(()).unwrap();
                let until = async move {
                    drop(stopped.await);
                    events.close();
                };
                super::serve(listener, core, until).await.unwrap();
            });
        });
        is_ready.recv().unwrap();
        Self { directory, asked, watched, stop: Some(stop), thread: Some(thread) }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    /// Returns when somebody has asked to watch.
    pub fn wait_until_watched(&self) {
        self.watched.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    pub fn asked(&self) -> Asked {
        self.asked.lock().unwrap().clone()
    }

    /// Stops as the daemon does, and returns when it has stopped.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn answer(mut commands: Receiver<Command>, script: Script, asked: Arc<Mutex<Asked>>, watched: Sender<()>) {
    fn reply<T>(script: &Script, reply: Reply<T>, value: T) {
        // Whoever asked may have gone.
        drop(reply.send(script.refusal.clone().map_or(Ok(value), Err)));
    }
    let script = &script;
    while let Some(command) = commands.recv().await {
        let mut asked = asked.lock().unwrap();
        match command {
            Command::Status(peer, to) => {
                asked.peers.push(peer);
                reply(script, to, script.status.clone());
            }
            Command::Ports(_, to) => {
                reply(script, to, PortList { ports: script.ports.clone(), version: "v1".to_owned() });
            }
            Command::ChangePort(_, edit, to) => {
                asked.edits.push(edit.clone());
                drop(to.send(script.change(edit.confirm)));
            }
            Command::Reconcile(_, to) => to.send(()).unwrap(),
            Command::Reload(_, wish, to) => {
                asked.reloads.push(wish.clone());
                drop(to.send(script.change(wish.confirm)));
            }
            Command::Open(Opening::Submit(_, new, to)) => {
                asked.submissions.push(new);
                let request = script.requests.first().cloned().unwrap_or_else(request);
                reply(script, to, Submitted { request, replayed: script.replayed });
            }
            Command::Open(Opening::Approve(peer, id, to)) => {
                let request = RequestView { id, decided_by: Some(peer.name), ..request() };
                reply(script, to, request);
            }
            Command::Open(Opening::Extend(_, id, duration, to)) => {
                asked.extensions.push((id, duration));
                let waits = script.requests.first().filter(|request| request.pending.is_some());
                let extended = match waits {
                    Some(request) => Extended::Waits(request.clone()),
                    None => Extended::Grant(grant(id.0)),
                };
                reply(script, to, extended);
            }
            Command::Deny(peer, id, reason, to) => {
                reply(script, to, closed(id, peer, RequestState::Denied, reason));
            }
            Command::Cancel(peer, id, reason, to) => {
                reply(script, to, closed(id, peer, RequestState::Cancelled, reason));
            }
            Command::Requests(_, filter, to) => {
                let next = filter.before.is_none().then_some(script.more).flatten();
                reply(script, to, Page { value: script.requests.clone(), next });
            }
            Command::Request(_, id, to) => reply(script, to, RequestView { id, ..request() }),
            Command::Grants(_, _, to) => reply(script, to, Page { value: script.grants.clone(), next: None }),
            Command::Revoke(_, selection, reason, to) => {
                asked.revocations.push(format!("{selection:?} {reason:?}"));
                let revoked =
                    script.grants.iter().cloned().map(|grant| GrantView { status: GrantStatus::Revoked, ..grant });
                reply(script, to, Revocation { revoked: revoked.collect(), other_entries: 0, durable: script.durable });
            }
            Command::Why(_, packet, to) => {
                asked.packets.push(packet.clone());
                reply(script, to, why(packet));
            }
            Command::Watch(_, to) => {
                reply(script, to, script.events.subscribe().unwrap());
                // Not every test waits for it.
                let _ = watched.send(());
            }
            Command::Audit(_, to) => {
                let missing = || Refusal::Unavailable("no audit log".to_owned());
                let refusal = script.refusal.clone();
                let reader = refusal.map_or_else(|| script.audit.clone().ok_or_else(missing), Err);
                drop(to.send(reader));
            }
            Command::Metrics(_, to) => {
                let (status, events) = (script.status.clone(), script.events.totals());
                let (ports, live_grants) = (Vec::new(), Vec::new());
                reply(script, to, MetricsView { status, ports, live_grants, events, store_works: true });
            }
            Command::Enforcement(.., to) => reply(script, to, script.enforcement.clone()),
            Command::Enable(.., to) => {
                let enabled = Enabled { enforcement: enforcement(), grant: Some(grant(17)), durable: script.durable };
                reply(script, to, enabled);
            }
            Command::Confirm(.., to) | Command::Disable(.., to) => reply(script, to, (enforcement(), script.durable)),
            Command::Permit(_, to) => reply(script, to, ()),
            Command::Ping(to) => reply(script, to, ()),
            Command::Stop => break,
        }
    }
}
