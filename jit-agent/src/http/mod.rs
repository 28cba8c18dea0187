//! The API: HTTP/1.1 and JSON on the Unix socket. A request becomes a typed command to the core. The core's result
//! becomes an answer or a problem.
//!
//! The socket is open to every local user. The peer credentials from the kernel decide what a user may do. Therefore
//! this module limits what one user can hold (connections, time, memory) before any role is checked.

mod answers;
mod audit;
mod bind;
mod body;
mod document;
mod enforcement;
mod failure;
mod grants;
mod limit;
mod metrics;
mod names;
mod packets;
mod params;
mod peer;
mod places;
mod ports;
mod refused;
mod requests;
mod routes;
mod status;

#[cfg(test)]
mod tests;

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use jit_api::problem::Problem;
use rustix::io::Errno;
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    net::{TcpListener, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch as flag},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use self::{
    limit::{ConnectionLimits, Permit, User},
    names::Names,
    peer::Identity,
    refused::Refused,
};
#[cfg(any(test, feature = "testing"))]
use crate::core::peer::Peer;
use crate::core::{handle::CoreHandle, presence::Presence};

pub use self::bind::{BindError, bind};

/// The time in which a request's head must arrive, and the longest idle time of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The size of the largest head of a request, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;
/// The time that connections have to finish when the agent stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// The time in which an excess connection must have sent a request to get a refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of connections for metrics over TCP at a time, and the time that each may take.
const METRICS_CONNECTIONS: usize = 16;
const METRICS_TIMEOUT: Duration = Duration::from_secs(20);
/// The least time for which a connection for metrics takes its place.
const METRICS_PAUSE: Duration = Duration::from_millis(100);
/// The pause after the process or the host ran out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests on `listener` until `shutdown` resolves. Then the requests under way have up to 5 s to finish.
///
/// # Errors
/// The listener is broken. A lack of descriptors or memory is not an error: the server waits until it is over.
pub async fn serve(listener: UnixListener, core: CoreHandle, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    serve_identified(listener, core, shutdown, Identity::of).await
}

/// Like [`serve`], but every client counts as this user. This is for tests, which can run as any user.
///
/// # Errors
/// The same conditions as for [`serve`].
#[cfg(any(test, feature = "testing"))]
pub async fn serve_as(
    listener: UnixListener,
    core: CoreHandle,
    shutdown: impl Future<Output = ()>,
    peer: &Peer,
) -> io::Result<()> {
    serve_identified(listener, core, shutdown, |_| Ok(Identity::known(peer))).await
}

async fn serve_identified(
    listener: UnixListener,
    core: CoreHandle,
    shutdown: impl Future<Output = ()>,
    identify: impl Fn(&UnixStream) -> io::Result<Identity>,
) -> io::Result<()> {
    let presence = core.presence().clone();
    let names = Names::default();
    let router = routes::router(core.clone(), names.clone());
    let limits = ConnectionLimits::default();
    let (stop, stopping) = flag::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let outcome = loop {
        tokio::select! {
            () = &mut shutdown => break Ok(()),
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let identity = identify(&stream);
                    // Connections are counted here, and not in the spawned task, so that they are counted in order of
                    // arrival.
                    let admission = decide_admission(&limits, &identity, &core);
                    let serving = Serving { router: router.clone(), names: names.clone(), presence: presence.clone() };
                    let identity = match &admission {
                        Admission::Serve(_) => identity.map(|identity| identity.with_login(&stream)),
                        Admission::Refuse(_) => identity,
                        Admission::Close => continue,
                    };
                    connections.spawn(admit(stream, identity, admission, serving, stopping.clone()));
                }
                Err(error) if is_transient(&error) => {
                    tracing::warn!(%error, "can't accept a connection; trying again");
                    sleep(EXHAUSTED_PAUSE).await;
                }
                Err(error) => break Err(error),
            },
        }
    };
    drop(stop);
    if timeout(STOP_TIMEOUT, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections did not finish in time; closing them");
    }
    outcome
}

/// Serves metrics, and nothing else, to every client until `shutdown` resolves.
///
/// # Errors
/// The listener is broken.
pub async fn serve_metrics(
    listener: TcpListener,
    core: CoreHandle,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let router = routes::metrics_only(core);
    let places = Arc::new(Semaphore::new(METRICS_CONNECTIONS));
    let mut shutdown = pin!(shutdown);
    loop {
        // Connections beyond [`METRICS_CONNECTIONS`] wait in the kernel's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            () = &mut shutdown => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    let mut server = http1::Builder::new();
                    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(false);
                    let connection = server.max_buf_size(HEAD_LIMIT).serve_connection(TokioIo::new(stream), service);
                    // If the client is slow or gone, the client gets no answer.
                    // The place stays taken for a moment, so that everybody together gets few answers a second.
                    let _ = tokio::join!(timeout(METRICS_TIMEOUT, connection), sleep(METRICS_PAUSE));
                    drop(place);
                });
            }
            Err(error) if is_transient(&error) => sleep(EXHAUSTED_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

/// Whether `accept` can work again after `error` without a new listener.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::CONNABORTED | Errno::INTR | Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// What a connection is served with.
struct Serving {
    router: Router,
    names: Names,
    presence: Presence,
}

/// What happens to a new connection.
enum Admission {
    Serve(Permit),
    /// The connection gets a refusal: there are too many connections.
    Refuse(OwnedSemaphorePermit),
    /// The connection is closed: too many connections are being refused already.
    Close,
}

fn decide_admission(limits: &ConnectionLimits, identity: &io::Result<Identity>, core: &CoreHandle) -> Admission {
    let user = match identity {
        Ok(identity) if core.has_role(&identity.nameless()) => User::Known(identity.uid()),
        Ok(identity) => User::Stranger(identity.uid()),
        // Peers that the kernel does not identify share the connections of one user.
        Err(_) => User::Stranger(u32::MAX),
    };
    if let Some(permit) = limits.admit(user) {
        return Admission::Serve(permit);
    }
    if let Some(count) = limits.refusals_to_log(Instant::now()) {
        tracing::warn!(last = ?user, count, "too many connections; some were refused");
    }
    limits.admit_for_refusal(user).map_or(Admission::Close, Admission::Refuse)
}

/// Serves, refuses or closes one connection.
async fn admit(
    stream: UnixStream,
    identity: io::Result<Identity>,
    admission: Admission,
    serving: Serving,
    stopping: flag::Receiver<()>,
) {
    let identity = match identity {
        Ok(identity) => Some(identity),
        Err(error) => {
            tracing::error!(%error, "can't tell who is at the other end of a connection; refusing what it asks");
            None
        }
    };
    match admission {
        Admission::Serve(permit) => {
            let is_known = matches!(permit.user(), User::Known(_));
            let Serving { router, names, presence } = serving;
            let present = match &identity {
                Some(identity) if is_known => Some(presence.enter(identity.peer(&names).await)),
                _ => None,
            };
            connection(stream, identity, router, stopping).await;
            drop((present, permit));
        }
        // A client that is slow to send or to read gets no refusal.
        Admission::Refuse(_permit) => drop(timeout(REFUSAL_TIMEOUT, refuse(stream)).await),
        Admission::Close => {}
    }
}

/// Answers any request with a refusal. An HTTP client does not accept an answer before it has sent a request.
async fn refuse(mut stream: UnixStream) -> io::Result<()> {
    let (mut head, answer) = (vec![0; HEAD_LIMIT], Problem::too_many_connections().into_http());
    // If the request were left unread, the connection would end with a reset. A socket that is reported as readable
    // may still have nothing to read, so both calls wait until the socket does what is asked.
    poll_fn(|context| Pin::new(&mut stream).poll_read(context, &mut ReadBuf::new(&mut head))).await?;
    poll_fn(|context| Pin::new(&mut stream).poll_write(context, &answer)).await.map(drop)
}

async fn connection(stream: UnixStream, identity: Option<Identity>, router: Router, mut stopping: flag::Receiver<()>) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(identity) = &identity {
            request.extensions_mut().insert(identity.clone());
        }
        router.call(request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_LIMIT)
            .serve_connection(Refused::new(TokioIo::new(stream)), service)
    );
    let outcome = tokio::select! {
        outcome = &mut connection => outcome,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        // The client made an error or left. The level is debug, because any user can cause this event.
        tracing::debug!(%error, "connection ended early");
    }
}
