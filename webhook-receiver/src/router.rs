//! The receiver over HTTP.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::{Bytes, BytesMut};
use gharvest_service_kit::{settings::WebhookSettings, trace};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::time::timeout_at;
use tracing::{Instrument as _, Span};

use crate::{
    classify::Headers,
    hooks::Hook,
    payload::{self, Payload, PayloadError},
    receive::{Received, Receiver},
    room::{Place, Room},
    signature::{Secrets, Signed},
};

/// GitHub gives up after ten seconds, so the answer comes before.
const DEADLINE: Duration = Duration::from_millis(9_500);

/// A body has to be here after this long, so that there is time left to make it durable.
const BODY_DEADLINE: Duration = Duration::from_secs(5);

/// Room for a body has to be there after this long, so that the rest of it can still come.
const ROOM_DEADLINE: Duration = Duration::from_secs(4);

/// The longest delivery id: GitHub's are GUIDs of 36 characters.
const LONGEST_DELIVERY_ID: usize = 64;

#[derive(Debug)]
struct Context {
    receiver: Receiver,
    secrets: Secrets,
    allow_unsigned: bool,
    max_body_bytes: usize,
    room: Room,
}

/// All routes of the receiver. Hooks of older deployments point to the second.
pub fn router(receiver: Receiver, settings: &WebhookSettings) -> Router {
    let context = Context {
        receiver,
        secrets: Secrets::of(settings),
        allow_unsigned: settings.allow_unsigned,
        max_body_bytes: settings.max_body_bytes,
        room: Room::default(),
    };
    if context.allow_unsigned {
        tracing::warn!(
            "deliveries without a signature are accepted: anybody who reaches this address can cause downloads"
        );
    }
    Router::new()
        .route("/webhooks/github", post(deliver))
        .route("/webhooks/github/receive", post(deliver))
        .with_state(Arc::new(context))
}

async fn deliver(State(context): State<Arc<Context>>, request: Request) -> Response {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (event, delivery) = (text("x-github-event"), text("x-github-delivery"));
    let span = match trace::is_on() {
        true => tracing::info_span!(parent: None, "webhook", event = printable(event), delivery = printable(delivery)),
        false => Span::none(),
    };
    let hook = Hook::from_headers(text("x-github-hook-id"), text("x-github-hook-installation-target-type"));
    let accepting = accept(&context, &headers, Headers { event, delivery, hook }, body).instrument(span);
    let result = match tokio::time::timeout(DEADLINE, accepting).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::NotDurable("it could not be made durable in time".to_owned())),
    };
    let outcome = match &result {
        Ok((received, _)) => received.outcome.as_str(),
        Err(refusal) => refusal.name(),
    };
    let (subject, action) = match &result {
        Ok((received, action)) => (received.subject.as_str(), action.as_deref().unwrap_or_default()),
        Err(_) => ("", ""),
    };
    tracing::info!(
        delivery = printable(delivery),
        event = printable(event),
        action = printable(action),
        subject,
        outcome,
        milliseconds = begun.elapsed().as_millis() as u64,
        "delivery"
    );
    metrics::counter!("gharvest_webhook_deliveries_total", "event" => metric_label(event), "outcome" => outcome)
        .increment(1);
    metrics::histogram!("gharvest_webhook_seconds").record(begun.elapsed().as_secs_f64());
    match result {
        Ok(_) => accepted(outcome),
        Err(refusal) => refusal.into_response(),
    }
}

/// What GitHub's list of deliveries will show: made by hand, because this is the answer to nearly every delivery.
fn accepted(outcome: &'static str) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::ACCEPTED, json, format!("{{\"outcome\":\"{outcome}\"}}")).into_response()
}

/// Verify first, decode later: nothing unsigned is looked into.
async fn accept(
    context: &Context,
    http: &HeaderMap,
    headers: Headers<'_>,
    body: Body,
) -> Result<(Received, Option<String>), Refusal> {
    if headers.event.is_empty() || !is_delivery_id(headers.delivery) {
        return Err(Refusal::NotADelivery);
    }
    if http.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Refusal::Compressed);
    }
    let (body, place) = read(context, body).await?;
    let signed = verify(context, http, &body)?;
    let content_type = http.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let json = match payload::json_of(content_type, &body).map_err(Refusal::Payload)? {
        Cow::Borrowed(json) => body.slice_ref(json),
        Cow::Owned(json) => Bytes::from(json),
    };
    // A form is as long as what it has in its field.
    drop(body);
    let mut payload = Payload::from_json(&json).map_err(Refusal::Payload)?;
    drop(json);
    // What is kept of one of the longest may be nearly as long.
    let _held = place.is_large().then_some(place);
    check_scope(context, &signed, &mut payload).await?;
    let received =
        context.receiver.receive(headers, &payload).await.map_err(|error| Refusal::NotDurable(error.to_string()))?;
    Ok((received, payload.action))
}

fn is_delivery_id(text: &str) -> bool {
    (1..=LONGEST_DELIVERY_ID).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Reads a body as far as it may go, and holds room for it.
async fn read(context: &Context, mut body: Body) -> Result<(Bytes, Place), Refusal> {
    let begun = tokio::time::Instant::now();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > context.max_body_bytes {
        return Err(Refusal::TooLarge(context.max_body_bytes));
    }
    // Where nothing is announced anything may come.
    let expected = if announced > 0 { announced } else { context.max_body_bytes };
    let (mut bytes, mut place) = (BytesMut::new(), Place::default());
    while let Some(frame) = timeout_at(begun + BODY_DEADLINE, body.frame()).await.map_err(|_| Refusal::TooSlow)? {
        let Ok(data) = frame.map_err(|_| Refusal::BrokenBody)?.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > context.max_body_bytes {
            return Err(Refusal::TooLarge(context.max_body_bytes));
        }
        let roomy = context.room.make(&mut place, length);
        timeout_at(begun + ROOM_DEADLINE, roomy).await.map_err(|_| Refusal::Busy)?;
        if bytes.is_empty() && body.is_end_stream() {
            return Ok((data, place));
        }
        place.widen(&mut bytes, length, expected);
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), place))
}

/// Who signed it.
fn verify(context: &Context, http: &HeaderMap, body: &[u8]) -> Result<Signed, Refusal> {
    match http.get("x-hub-signature-256").map(|value| value.to_str()) {
        Some(signature) if !context.secrets.is_empty() => {
            signature.ok().and_then(|text| context.secrets.verify(text, body)).ok_or(Refusal::WrongSignature)
        }
        _ if context.allow_unsigned => Ok(Signed::unchecked()),
        _ if context.secrets.is_empty() => Err(Refusal::NoSecret),
        _ => Err(Refusal::Unsigned),
    }
}

/// A secret of one owner or repository says nothing about others, whatever name it gives their ids.
async fn check_scope(context: &Context, signed: &Signed, payload: &mut Payload) -> Result<(), Refusal> {
    if signed.covers_everybody() {
        return Ok(());
    }
    if !payload.whose().is_some_and(|(owner, name)| signed.covers(owner, name)) {
        return Err(Refusal::WrongScope);
    }
    payload.restrict(|name| signed.covers_repository(name));
    let foreign = context.receiver.foreign(&payload.ids(), |name| signed.covers_repository(name)).await;
    payload.foreign = foreign.map_err(|error| Refusal::NotDurable(error.to_string()))?;
    match &payload.repository {
        Some(repository) if payload.foreign.contains(&repository.id) => Err(Refusal::WrongScope),
        _ => Ok(()),
    }
}

/// Names that others chose, short and without control characters.
fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(64).collect()
}

/// Label values must not grow without bound: only what looks like one of GitHub's events is named.
fn metric_label(event: &str) -> &'static str {
    const KNOWN: &[&str] = &[
        "create",
        "delete",
        "fork",
        "installation",
        "installation_repositories",
        "installation_target",
        "issue_comment",
        "issue_dependencies",
        "issues",
        "label",
        "meta",
        "milestone",
        "organization",
        "ping",
        "public",
        "pull_request",
        "pull_request_review",
        "pull_request_review_comment",
        "pull_request_review_thread",
        "push",
        "release",
        "repository",
        "star",
        "sub_issues",
        "watch",
    ];
    KNOWN.iter().find(|known| **known == event).copied().unwrap_or("other")
}

/// Why a delivery was not taken.
#[derive(Debug)]
enum Refusal {
    NotADelivery,
    Compressed,
    TooLarge(usize),
    TooSlow,
    Busy,
    BrokenBody,
    Unsigned,
    NoSecret,
    WrongSignature,
    WrongScope,
    Payload(PayloadError),
    NotDurable(String),
}

impl Refusal {
    fn name(&self) -> &'static str {
        match self {
            Self::NotADelivery => "not_a_delivery",
            Self::Compressed => "compressed",
            Self::TooLarge(_) => "too_large",
            Self::TooSlow => "too_slow",
            Self::Busy => "busy",
            Self::BrokenBody => "broken_body",
            Self::Unsigned => "unsigned",
            Self::NoSecret => "no_secret",
            Self::WrongSignature => "wrong_signature",
            Self::WrongScope => "wrong_scope",
            Self::Payload(_) => "bad_payload",
            Self::NotDurable(_) => "not_durable",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, detail) = match self {
            Self::NotADelivery => {
                (StatusCode::BAD_REQUEST, "X-GitHub-Event and X-GitHub-Delivery are missing or malformed".to_owned())
            }
            Self::Compressed => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "compressed bodies are not taken: GitHub sends none".to_owned())
            }
            Self::TooLarge(limit) => (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {limit} bytes")),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".to_owned()),
            Self::BrokenBody => (StatusCode::BAD_REQUEST, "the body broke off".to_owned()),
            Self::Unsigned => {
                (StatusCode::UNAUTHORIZED, "the delivery is not signed: set a secret on the hook".to_owned())
            }
            Self::NoSecret => (
                StatusCode::UNAUTHORIZED,
                "no secret is set here: set [webhook] secrets to the hook's secret".to_owned(),
            ),
            Self::WrongSignature => (StatusCode::FORBIDDEN, "the signature does not match".to_owned()),
            Self::WrongScope => {
                (StatusCode::FORBIDDEN, "the secret that signed it is not one for this owner or repository".to_owned())
            }
            Self::Payload(error @ PayloadError::ContentType(_)) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string())
            }
            Self::Payload(error) => (StatusCode::BAD_REQUEST, error.to_string()),
            Self::Busy => return later("busy", "too many long bodies come at once: send it again"),
            Self::NotDurable(why) => {
                tracing::error!(error = why, "a delivery was refused because not all of it could be made durable");
                return later("not_durable", "not all of the delivery could be stored: send it again");
            }
        };
        (status, Json(json!({ "outcome": "refused", "detail": detail }))).into_response()
    }
}

/// It counts as not delivered, and may be sent again.
fn later(outcome: &'static str, detail: &'static str) -> Response {
    let body = Json(json!({ "outcome": outcome, "detail": detail }));
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "30")], body).into_response()
}
