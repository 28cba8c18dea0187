//! Reported packets as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use jit_api::wire::{NotShown, PacketEvent};
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::events::News;

/// The longest pause between two messages. A keep-alive message shows whether the client is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// All news from now on, until the agent stops or the client leaves.
pub(super) fn follow(news: Receiver<News>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::unfold(news, |mut news| async {
        let event = match news.recv().await {
            Ok(News::Packet(packet)) => event("packet", &PacketEvent::from(packet)),
            Ok(News::NotShown(not_shown)) => event("not_shown", &NotShown { not_shown }),
            // This client reads too slowly and has missed some news.
            Err(RecvError::Lagged(not_shown)) => event("not_shown", &NotShown { not_shown }),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), news))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // Strings and numbers always serialise, without line breaks.
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}
