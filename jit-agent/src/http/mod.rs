//! HTTP/1.1 and JSON on the Unix socket: bytes in, typed command to the core, answer or problem out.
//!
//! The socket is open to every local user; who may do what follows from the kernel's word on the peer. What one user
//! can hold (connections, time, memory) is therefore bounded here, before any role is asked.

mod answers;
mod audit;
mod bind;
mod body;
mod document;
mod enforcement;
mod failure;
mod limit;
mod metrics;
mod peer;
mod ports;
mod refused;
mod routes;
mod watch;

#[cfg(test)]
mod tests;

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

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
    net::{TcpListener, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch as flag},
    task::JoinSet,
    time::{sleep, timeout},
};

use self::{
    limit::{Limits, Permit},
    peer::Identity,
    refused::Refused,
};
#[cfg(any(test, feature = "testing"))]
use crate::core::peer::Peer;
use crate::core::{handle::CoreHandle, presence::Presence};

pub use self::bind::{BindError, bind};

/// Time for a request's head to arrive, and longest idle time of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;
/// Time that connections get to finish when the agent stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which a connection too many must have sent its request to be told so.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that may ask for metrics over TCP at a time, and how long each may take.
const METRICS_CONNECTIONS: usize = 16;
const METRICS_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause after the process or the host ran out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests on `listener` until `shutdown` resolves, then lets those under way finish for up to 5 s.
///
/// # Errors
/// The listener is broken. Running out of descriptors or memory is not: that is waited out.
pub async fn serve(listener: UnixListener, core: CoreHandle, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    serve_identified(listener, core, shutdown, Identity::of).await
}

/// As [`serve`], but whoever connects counts as this user: for tests, which run as whatever user there is.
///
/// # Errors
/// As [`serve`].
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
    let router = routes::router(core);
    let limits = Limits::default();
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
                    // Here, and not where they are served, so that they are counted in the order in which they came.
                    let place = take_place(&limits, &identity);
                    connections.spawn(admit(stream, identity, place, router.clone(), presence.clone(), stopping.clone()));
                }
                Err(error) if passes(&error) => {
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

/// Serves the figures for monitoring, and nothing else, to whoever connects, until `shutdown` resolves.
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
        // Beyond that many, connections wait in the kernel's queue.
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
                    // Whoever is slow or leaves early goes without.
                    drop(timeout(METRICS_TIMEOUT, connection).await);
                    drop(place);
                });
            }
            Err(error) if passes(&error) => sleep(EXHAUSTED_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

/// Whether accepting can work again after `error` without anyone touching the listener.
fn passes(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::CONNABORTED | Errno::INTR | Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// What a connection gets.
enum Place {
    Served(Permit),
    /// A word that there are too many.
    Refused(OwnedSemaphorePermit),
    Nothing,
}

fn take_place(limits: &Limits, identity: &io::Result<Identity>) -> Place {
    // Those whom the kernel doesn't name share one user's connections.
    let uid = identity.as_ref().map_or(u32::MAX, Identity::uid);
    if let Some(permit) = limits.admit(uid) {
        return Place::Served(permit);
    }
    tracing::warn!(uid, "too many connections; refusing one more");
    limits.admit_to_be_refused().map_or(Place::Nothing, Place::Refused)
}

/// Serves one connection if it has a place.
async fn admit(
    stream: UnixStream,
    identity: io::Result<Identity>,
    place: Place,
    router: Router,
    presence: Presence,
    stopping: flag::Receiver<()>,
) {
    let identity = match identity {
        Ok(identity) => Some(identity),
        Err(error) => {
            tracing::error!(%error, "can't tell who is at the other end of a connection; refusing what it asks");
            None
        }
    };
    match place {
        Place::Served(_permit) => {
            let present = match &identity {
                Some(identity) => Some(presence.enter(identity.peer().await)),
                None => None,
            };
            connection(stream, identity, router, stopping).await;
            drop(present);
        }
        // Whoever is slow to ask or to read goes without.
        Place::Refused(_permit) => drop(timeout(REFUSAL_TIMEOUT, refuse(stream)).await),
        Place::Nothing => {}
    }
}

/// Answers whatever is asked with a refusal. HTTP clients take no answer for a request they have not sent.
async fn refuse(stream: UnixStream) -> io::Result<()> {
    stream.readable().await?;
    // Left unread, the request would turn the end of the connection into a reset.
    stream.try_read(&mut vec![0; HEAD_LIMIT])?;
    stream.try_write(&Problem::too_many_connections().into_http()).map(drop)
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
        // The client's fault or its leaving; logged for those who look for it, never loudly: anyone can cause it.
        tracing::debug!(%error, "connection ended early");
    }
}
