//! The routes of packets: what would become of a packet, and packets as they are reported, as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream::{self, Stream};
use jit_api::{
    problem::{Code, Problem},
    wire::{self, NotShown},
};
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    failure::Failure,
    params::{Answer, bad_query},
    places::{Place, Places},
};
use crate::{
    core::{handle::CoreHandle, names::Permit, peer::Peer},
    events::News,
};

/// The longest pause between two messages. A keep-alive message shows whether the client is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The number of clients that watch packets at a time, for each user and for root.
const STREAMS: usize = 2;
const STREAMS_OF_ROOT: usize = 16;

pub(super) fn routes() -> OpenApiRouter<CoreHandle> {
    let streams = Places::new(STREAMS, STREAMS_OF_ROOT);
    OpenApiRouter::new().routes(routes!(why)).routes(routes!(events)).layer(Extension(streams))
}

/// What would become of a packet now, and why.
#[utoipa::path(get, path = "/v1/why", params(wire::WhyQuery), responses((status = 200, body = wire::Why)))]
async fn why(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<wire::WhyQuery>, QueryRejection>,
) -> Answer<wire::Why> {
    let Query(query) = query
        .map_err(|error| bad_query(&error, "?source=192.0.2.7&port=22&protocol=TCP&to=192.0.2.1&interface=eth0"))?;
    let packet = query.check().map_err(Problem::invalid_query)?;
    Ok(Json(core.why(peer, packet).await?))
}

/// Packets as they are reported: events `packet` with a PacketEvent and `not_shown` with a NotShown, without end.
#[utoipa::path(
    get, path = "/v1/events",
    responses((status = 200, body = String, content_type = "text/event-stream"))
)]
async fn events(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    Extension(streams): Extension<Places>,
) -> Result<Response, Failure> {
    let uid = peer.uid;
    let (news, permit) = core.watch(peer).await?;
    let place = streams.take(uid).ok_or_else(|| {
        Failure::new(Code::Unavailable, format!("you watch packets {STREAMS} times already; end one of them first"))
    })?;
    Ok(follow(news, permit, place).into_response())
}

/// All news from now on, until the agent stops, the client leaves, or the client's role goes.
fn follow(news: Receiver<News>, permit: Permit, place: Place) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::unfold((news, permit, place), |(mut news, mut permit, place)| async {
        let received = tokio::select! {
            biased;
            () = permit.lost() => return None,
            received = news.recv() => received,
        };
        let event = match received {
            Ok(News::Packet(packet)) => event("packet", &packet),
            Ok(News::NotShown(not_shown)) => event("not_shown", &NotShown { not_shown }),
            // This client reads too slowly and has missed some news.
            Err(RecvError::Lagged(not_shown)) => event("not_shown", &NotShown { not_shown }),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), (news, permit, place)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // Strings and numbers always serialise, without line breaks.
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}
