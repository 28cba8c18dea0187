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
    problem::Problem,
    wire::{self, NotShown},
};
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    failure::Failure,
    params::{Answer, bad_query},
};
use crate::{
    core::{handle::CoreHandle, names::Permit, peer::Peer},
    events::News,
};

/// The longest pause between two messages. A keep-alive message shows whether the client is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) fn routes() -> OpenApiRouter<CoreHandle> {
    OpenApiRouter::new().routes(routes!(why)).routes(routes!(events))
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
async fn events(State(core): State<CoreHandle>, Extension(peer): Extension<Peer>) -> Result<Response, Failure> {
    let (news, permit) = core.watch(peer).await?;
    Ok(follow(news, permit).into_response())
}

/// All news from now on, until the agent stops, the client leaves, or the client's role goes.
fn follow(news: Receiver<News>, permit: Permit) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::unfold((news, permit), |(mut news, mut permit)| async {
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
        Some((Ok(event), (news, permit)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // Strings and numbers always serialise, without line breaks.
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}
