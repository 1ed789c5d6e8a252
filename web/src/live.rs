//! `/events`: what became searchable, as it happens: server-sent events, or a WebSocket for clients that ask for one.
//!
//! Each event carries its place in the history, so a reader that comes back with it (`Last-Event-ID`, or `?after=`)
//! misses nothing that is still kept. A reader that is too slow is cut off, and comes back the same way: the history
//! cuts off who is too far behind, the server who takes nothing of what is sent. All readers together have a limit, and
//! each client has one.

mod readers;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt, future, stream};
use gharvest_state::Published;
pub(crate) use readers::{Client, Readers, Seat};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    access::{Caller, unauthorized},
    error::{ApiError, ApiResult},
    extract::Params,
    requests::live::{Change, may_hear},
    state::{Keys, WebState},
};

/// Something is said at least this often, so that the dead are noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The longest message that a reader of a WebSocket may send, bytes: nothing is expected from it.
const LONGEST_MESSAGE: usize = 1024;

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
    Extension(client): Extension<Client>,
    Extension(keys): Extension<Keys>,
    Params(params): Params<EventsParams>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let seat = state.readers.seat(&client).map_err(|full| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, full))?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let changes = changes(&state, Listener { caller, keys }, last.or(params.after), seat).await?;
    match upgrade {
        Ok(upgrade) => {
            let upgrade = upgrade.max_message_size(LONGEST_MESSAGE).max_frame_size(LONGEST_MESSAGE);
            Ok(upgrade.on_upgrade(move |socket| converse(socket, changes)))
        }
        // Whoever asks for a WebSocket wrongly is told so; everybody else wants events.
        Err(rejection) if headers.contains_key("sec-websocket-key") => Ok(rejection.into_response()),
        Err(_) => Ok(server_sent(changes)),
    }
}

/// A change with its place in the history.
struct Heard {
    sequence: u64,
    json: Value,
}

/// Who listens, and by which keys that was found out.
struct Listener {
    caller: Caller,
    keys: Keys,
}

/// The changes that the listener may hear of, until it is too slow, a key was made or revoked, or the process stops.
async fn changes(
    state: &WebState,
    listener: Listener,
    after: Option<u64>,
    seat: Seat,
) -> ApiResult<impl Stream<Item = Heard> + Send + use<>> {
    let published = state.backends.state.subscribe(after).await?;
    let shutdown = state.shutdown.clone();
    let listener = Arc::new((state.clone(), listener));
    let changes = published
        .then(move |published| {
            // The seat is taken as long as the stream lives.
            let _taken = &seat;
            let listener = Arc::clone(&listener);
            async move {
                let (state, listener) = &*listener;
                heard(state, listener, published?).await
            }
        })
        // An error is the end: the reader comes back with its last place.
        .take_while(|heard| future::ready(heard.is_ok()))
        .filter_map(|heard: ApiResult<Option<Heard>>| future::ready(heard.ok().flatten()))
        .take_until(async move { shutdown.cancelled().await });
    Ok(changes)
}

/// What a listener is told of a change, if anything. An error if they have to say again who they are: by the keys of now
/// they may be somebody else, or nobody.
async fn heard(state: &WebState, listener: &Listener, published: Published) -> ApiResult<Option<Heard>> {
    if state.keys().await? != listener.keys {
        return Err(unauthorized());
    }
    let standings = state.standings_for(published.event.item.repository, published.event.at).await?;
    if !may_hear(&listener.caller, &standings, &published) {
        return Ok(None);
    }
    let sequence = published.sequence;
    let item = published.event.item.to_string();
    let Ok(mut json) = serde_json::to_value(Change::from(published)) else { return Ok(None) };
    json["item"] = item.into();
    Ok(Some(Heard { sequence, json }))
}

fn server_sent(changes: impl Stream<Item = Heard> + Send + 'static) -> Response {
    let event = |heard: Heard| Event::default().id(heard.sequence.to_string()).event("change").json_data(heard.json);
    let events = changes.filter_map(move |heard| future::ready(event(heard).ok().map(Ok::<_, Infallible>)));
    // Something is said at once, so that readers know that they are connected.
    let hello = stream::once(async { Ok(Event::default().comment("gharvest").retry(Duration::from_secs(3))) });
    let mut response = Sse::new(hello.chain(events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // Proxies such as nginx would otherwise hold events back to send them in blocks.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Sends each change as one text message of JSON, until either side ends. What the reader says is not listened to.
async fn converse(mut socket: WebSocket, changes: impl Stream<Item = Heard> + Send) {
    let mut changes = std::pin::pin!(changes);
    let mut alive = interval(KEEP_ALIVE);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            heard = changes.next() => match heard {
                Some(heard) => socket.send(Message::text(heard.json.to_string())).await,
                None => break,
            },
            _ = alive.tick() => socket.send(Message::Ping(axum::body::Bytes::new())).await,
            said = socket.recv() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => Ok(()),
            },
        };
        if sent.is_err() {
            return;
        }
    }
    // It may be gone already.
    drop(socket.send(Message::Close(None)).await);
}
