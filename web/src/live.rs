//! `/events`: what became searchable, as it happens, as server-sent events.
//!
//! Each event carries its place in the history, so a reader that reconnects with `Last-Event-ID` misses nothing that is
//! still kept. A reader that is too slow is cut off, and comes back the same way.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{StreamExt, future, stream};
use gharvest_state::Published;
use serde::Deserialize;

use crate::{
    access::Caller,
    error::{ApiError, ApiResult},
    extract::Params,
    requests::live::{Change, may_hear},
    state::WebState,
};

/// Where to begin, for readers that cannot set `Last-Event-ID`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct EventsParams {
    #[serde(default)]
    after: Option<u64>,
}

/// `GET /events`
pub(crate) async fn events(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<EventsParams>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let permit = state.live_readers.clone().try_acquire_owned().map_err(|_| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too many live readers at once: [web] live_readers is the limit")
    })?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let published = state.backends.state.subscribe(last.or(params.after)).await?;
    let shutdown = state.shutdown.clone();
    let events = published
        // An error is the end: the reader reconnects with its last place.
        .take_while(|published| future::ready(published.is_ok()))
        .filter_map(move |published| {
            // The permit lives as long as the stream.
            let _held = &permit;
            let event = published.ok().filter(|published| may_hear(&caller, published)).and_then(event);
            future::ready(event.map(Ok::<_, Infallible>))
        })
        .take_until(async move { shutdown.cancelled().await });
    // Something is said at once, so that readers know that they are connected.
    let hello = stream::once(async { Ok(Event::default().comment("gharvest").retry(Duration::from_secs(3))) });
    let mut response =
        Sse::new(hello.chain(events)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response();
    // Proxies such as nginx would otherwise hold events back to send them in blocks.
    response.headers_mut().insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    Ok(response)
}

fn event(published: Published) -> Option<Event> {
    let sequence = published.sequence;
    let item = published.event.item.to_string();
    let mut json = serde_json::to_value(Change::from(published)).ok()?;
    json["item"] = item.into();
    Event::default().id(sequence.to_string()).event("change").json_data(json).ok()
}
