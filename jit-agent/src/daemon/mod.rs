//! The daemon. It locks the ports first, then serves requests.

mod accept;
mod arguments;
mod hangup;
mod host;
mod main;
mod metrics;
mod switch;
mod unload;
mod watchdog;

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use anyhow::{Context as _, bail};
use rustix::net::{AddressFamily, SocketType, netdevice::index_to_name, socket};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

pub use self::{arguments::command, main::main, unload::remove_enforcement};
use crate::{
    accounts::{Numbers, number_of},
    clock::{Clock, SystemClock},
    config::{Config, Places, accepted, files, trust},
    core::{
        Core, CoreHandle, Origin, Parts, Start, configuration_at, connected_to,
        names::{LookUps, Named},
        refusal::StoreFault,
    },
    datapath::{
        Datapath as _,
        xdp::{EventSource, LinkWatch, XdpDatapath, probe},
    },
    events::EventHub,
    http,
    store::Store,
    warnings,
};

/// The number of threads that may wait for the disk or for a name service. The unit's TasksMax= allows for twice as many.
const BLOCKING_THREADS: usize = 32;

/// Runs the daemon until a signal stops it. The ports stay closed when the daemon ends, whatever the reason is.
///
/// # Errors
/// The ports can't be locked, or another agent is running. Ports that were locked before stay locked.
pub fn run(path: &Path) -> anyhow::Result<()> {
    // Without a boot id, no recorded trial counts as a trial of this boot. An error here must not come before the ports
    // are locked.
    let boot_id = host::boot().map(|boot| boot.boot_id).unwrap_or_default();
    let Start { config, accepted, mut origin, mut faults } = configuration_at(path, &boot_id, SystemClock.boot());
    // The watch is opened before the interfaces are listed, so that no new interface is missed in between.
    let links = LinkWatch::open();

    // The ports are locked first: no other step that may fail or take time comes before this step.
    let mut datapath = XdpDatapath::load(&config.places.bpffs)?;
    lock_ports(&mut datapath, &config, &origin)?;
    let adopted = datapath.adopted();
    tracing::info!(
        mode = ?config.mode, interfaces = %config.interfaces, ports = config.ports.iter().count(), adopted,
        "ports are locked"
    );

    host::check_time_namespace()?;
    let boot = host::boot()?;
    faults.extend(doubts(&config.places, trust::own()));
    if let Some(accepted) = accepted
        && let Err(error) = accepted::remember(&config.places.state, &accepted)
    {
        origin.not_kept = Some(accepted::not_kept(&error));
    }
    // Roles that are on trial give nobody a right.
    let named = Named::of(origin.trial.as_ref().map_or(&config, |trial| &trial.before));
    // At boot the name service of the host may not work yet, so no name is looked up here.
    let numbers = Numbers::kept(&config.places.state).unwrap_or_else(|error| {
        tracing::error!(error = format!("{error:#}"), "the last known numbers of names in [roles] can't be used");
        Numbers::default()
    });
    let (look_ups, wanted) = mpsc::channel();
    let store = Store::open(&config.places.state).map_err(|error| StoreFault::NotOpened(error.into()));
    let (socket, state) = (config.places.socket.clone(), config.places.state.clone());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics_at = config.metrics_listen;
    for fault in faults.iter().chain(origin.faults()) {
        tracing::error!(fault, "starting all the same");
    }
    let events = EventHub::new(Arc::clone(&clock));
    if let Some(source) = datapath.events() {
        follow(source, &events);
    }
    let datapath = Box::new(datapath);
    let mut core = Core::new(Parts {
        config,
        named,
        numbers,
        look_ups,
        clock,
        boot,
        datapath,
        events: events.clone(),
        store,
        faults,
        origin,
        connected_to,
        warnings: warnings::all,
    });
    core.recover(adopted);
    serve(core, &socket, metrics_at, &events, links, (wanted, state))
}

/// Checks a configuration, and whether and how this host can enforce the configuration. Changes nothing.
///
/// # Errors
/// The configuration is not valid, or this host can't enforce it. The error lists all problems of the host.
pub fn check(path: &Path) -> anyhow::Result<Vec<String>> {
    let user = owner(path);
    let loaded = files::load_for(path, user)?;
    let config = &loaded.config;
    let mut report = vec![format!("{}: {} ports, mode {:?}", path.display(), config.ports.iter().count(), config.mode)];
    host::check_time_namespace()?;
    let (lines, problems) = probe(&config.interfaces, &config.places.bpffs);
    report.extend(lines);
    report.extend(warnings::all(config).into_iter().map(|warning| format!("warning: {warning}")));
    report.extend(loaded.overrides().map(|(what, text)| {
        let kind = if what.is_conflict() { "warning" } else { "note" };
        format!("{kind}: {text}")
    }));
    if user != 0 {
        report.push(format!(
            "warning: {path} belongs to uid {user}, and only an agent of that user takes it: run `chown root {path}`",
            path = path.display()
        ));
    }
    report.extend(doubts(&config.places, runner(&config.places, user)).map(|doubt| format!("warning: {doubt}")));
    if problems.is_empty() {
        return Ok(report);
    }
    bail!("this host can't enforce it:\n  {}", problems.join("\n  "))
}

/// The user to whom the configuration belongs, and as whom the agent runs that takes it.
fn owner(path: &Path) -> u32 {
    path.metadata().map_or_else(|_| trust::own(), |metadata| metadata.uid())
}

/// The user as whom the agent runs: whoever has its directory, if the configuration is root's.
fn runner(places: &Places, user: u32) -> u32 {
    if user == 0 { owner(&places.state) } else { user }
}

/// Why the directories that an agent of this user uses can't be trusted.
fn doubts(places: &Places, user: u32) -> impl Iterator<Item = String> {
    [("state_dir", &places.state), ("bpffs_dir", &places.bpffs)].into_iter().filter_map(move |(key, path)| {
        let found = trust::find(path, user).ok()?;
        found.doubt().map(|doubt| format!("{key} can't be trusted: {doubt}"))
    })
}

fn lock_ports(datapath: &mut XdpDatapath, config: &Config, origin: &Origin) -> anyhow::Result<()> {
    let tried = origin.trial.as_ref().map(|trial| trial.protection(config));
    datapath.configure(&tried.unwrap_or_else(|| config.protection()))?;
    if let (Some(by), None) = (&origin.unloaded, &origin.trial) {
        tracing::error!(by, "enforcement was unloaded: nothing is attached until it is enabled again");
        return Ok(());
    }
    // An interface that can't be covered now may be covered later, so the daemon goes on. `jitctl status` shows the
    // fault.
    let interfaces = origin.trial.as_ref().map_or_else(|| config.interfaces.clone(), |trial| trial.interfaces(config));
    if let Err(errors) = datapath.attach(&interfaces) {
        for error in &errors {
            tracing::error!(%error, "not covered");
        }
    }
    Ok(())
}

/// Hands the packets that the BPF program reports to the hub. This runs on a separate thread for as long as the process
/// lives.
fn follow(source: EventSource, events: &EventHub) {
    let hub = events.clone();
    let started = std::thread::Builder::new().name("events".to_owned()).spawn(move || {
        // The kernel looks up a device's name in the network namespace of this socket.
        let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None).ok();
        let name = |index| index_to_name(socket.as_ref()?, index).ok();
        let followed = source.follow(|event| {
            hub.report(event, name);
            true
        });
        if let Err(error) = followed {
            hub.fail(format!("packets are not reported any more: {error}; restart the agent"));
        }
    });
    if let Err(error) = started {
        events.fail(format!("packets are not reported, as no thread can be started: {error}; restart the agent"));
    }
}

/// Looks up the names of roles when the core wants it, on a separate thread.
fn follow_names(wanted: mpsc::Receiver<LookUps>, state: PathBuf, core: &CoreHandle) {
    let core = core.clone();
    let follow = move || core.follow_names(&wanted, &state, number_of);
    if let Err(error) = std::thread::Builder::new().name("names".to_owned()).spawn(follow) {
        tracing::error!(%error, "the names in [roles] can't be looked up; their last known numbers count");
    }
}

/// Notifies the core whenever interfaces change, on a separate thread. Without this thread, the core checks the
/// interfaces every few seconds.
fn follow_links(links: io::Result<LinkWatch>, core: &CoreHandle) {
    let core = core.clone();
    let started = links.and_then(|links| {
        std::thread::Builder::new().name("links".to_owned()).spawn(move || {
            if let Err(error) = links.follow(|notified| core.reconcile(notified)) {
                tracing::error!(%error, "netlink tells nothing any more; new interfaces are covered within seconds");
            }
        })
    });
    if let Err(error) = started {
        tracing::error!(%error, "netlink can't be followed; new interfaces are covered within seconds");
    }
}

fn serve(
    core: Core,
    socket: &Path,
    metrics_at: Option<SocketAddr>,
    events: &EventHub,
    links: io::Result<LinkWatch>,
    (wanted, state): (mpsc::Receiver<LookUps>, PathBuf),
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("starting the asynchronous runtime")?;
    let served = runtime.block_on(async {
        let listener = http::bind(socket)?;
        let mut terminate = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("watching for SIGINT")?;
        let hangup = signal(SignalKind::hangup()).context("watching for SIGHUP")?;
        let (handle, commands) = CoreHandle::of(&core);
        follow_links(links, &handle);
        follow_names(wanted, state, &handle);
        // `running` is dropped when the core's thread ends, even by a panic. Without a core the daemon must stop.
        let (running, core_ended) = oneshot::channel::<()>();
        let core = std::thread::Builder::new()
            .name("core".to_owned())
            .spawn(move || {
                let _running = running;
                core.run(commands)
            })
            .context("starting the core's thread")?;
        handle.look_up_names().await;
        if let Err(error) = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]) {
            tracing::warn!(%error, "the service manager could not be told that the agent is ready");
        }
        tokio::spawn(hangup::reload_at(hangup, handle.clone()));
        if let Some(interval) = watchdog::interval() {
            tokio::spawn(watchdog::feed(handle.clone(), interval, watchdog::alive));
        }
        tracing::info!(socket = %socket.display(), "ready");
        let (stop, stopped) = oneshot::channel::<()>();
        if let Some(address) = metrics_at {
            tokio::spawn(metrics::serve(address, handle.clone(), stopped));
        }
        let stopping = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = core_ended => {}
            }
            tracing::info!("stopping; the ports stay shut, grants end on time");
            drop(stop);
            events.close();
        };
        let served = http::serve(listener, handle.clone(), stopping).await;
        handle.stop().await;
        let finished = tokio::task::spawn_blocking(move || core.join()).await.context("waiting for the core")?;
        served.context("serving the socket")?;
        match finished {
            Ok(result) => result.context("running the core"),
            Err(_) => bail!("the core failed; see the log above"),
        }
    });
    // A name service that never answers must not keep the daemon from ending.
    runtime.shutdown_background();
    served
}
