//! The receiver over HTTP.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use gharvest_service_kit::settings::WebhookSettings;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::json;

use crate::{
    classify::Headers,
    payload::{Payload, PayloadError},
    receive::{Outcome, Receiver},
    signature::Secrets,
};

/// GitHub gives up after ten seconds; a body that is not here by then never counts.
const BODY_DEADLINE: Duration = Duration::from_secs(9);

/// The longest delivery id: GitHub's are GUIDs of 36 characters.
const LONGEST_DELIVERY_ID: usize = 64;

#[derive(Debug)]
struct Context {
    receiver: Receiver,
    secrets: Secrets,
    allow_unsigned: bool,
    max_body_bytes: usize,
}

/// All routes of the receiver. Hooks of older deployments point to the second.
pub fn router(receiver: Receiver, settings: &WebhookSettings) -> Router {
    let context = Context {
        receiver,
        secrets: Secrets::new(&settings.secrets),
        allow_unsigned: settings.allow_unsigned,
        max_body_bytes: settings.max_body_bytes,
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

async fn deliver(State(context): State<Arc<Context>>, headers: HeaderMap, body: Body) -> Response {
    let begun = Instant::now();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (event, delivery) = (text("x-github-event"), text("x-github-delivery"));
    let result = accept(&context, &headers, Headers { event, delivery }, body).await;
    let outcome = match &result {
        Ok((outcome, _)) => outcome.as_str(),
        Err(refusal) => refusal.name(),
    };
    let milliseconds = begun.elapsed().as_millis() as u64;
    let action = result.as_ref().ok().and_then(|(_, action)| action.as_deref()).unwrap_or_default();
    let event = printable(event);
    tracing::info!(
        delivery = printable(delivery),
        event,
        action = printable(action),
        outcome,
        milliseconds,
        "delivery"
    );
    metrics::counter!("gharvest_webhook_deliveries_total", "event" => metric_label(&event), "outcome" => outcome)
        .increment(1);
    metrics::histogram!("gharvest_webhook_seconds").record(begun.elapsed().as_secs_f64());
    match result {
        Ok((outcome, _)) => (StatusCode::ACCEPTED, Json(json!({ "outcome": outcome }))).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Verify first, decode later: nothing unsigned is looked into.
async fn accept(
    context: &Context,
    http: &HeaderMap,
    headers: Headers<'_>,
    body: Body,
) -> Result<(Outcome, Option<String>), Refusal> {
    if headers.event.is_empty() || !is_delivery_id(headers.delivery) {
        return Err(Refusal::NotADelivery);
    }
    if http.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Refusal::Compressed);
    }
    let body = read(body, context.max_body_bytes).await?;
    verify(context, http, &body)?;
    let content_type = http.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let payload = Payload::read(content_type, &body).map_err(Refusal::Payload)?;
    drop(body);
    let outcome =
        context.receiver.receive(headers, &payload).await.map_err(|error| Refusal::NotDurable(error.to_string()))?;
    Ok((outcome, payload.action))
}

fn is_delivery_id(text: &str) -> bool {
    (1..=LONGEST_DELIVERY_ID).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(BODY_DEADLINE, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge(limit)),
        Ok(Err(_)) => Err(Refusal::BrokenBody),
        Err(_) => Err(Refusal::TooSlow),
    }
}

fn verify(context: &Context, http: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
    match http.get("x-hub-signature-256").map(|value| value.to_str()) {
        Some(Ok(signature)) if context.secrets.verify(signature, body) => Ok(()),
        Some(_) if !context.secrets.is_empty() => Err(Refusal::WrongSignature),
        _ if context.allow_unsigned => Ok(()),
        _ if context.secrets.is_empty() => Err(Refusal::NoSecret),
        _ => Err(Refusal::Unsigned),
    }
}

/// Names that others chose, short and without control characters.
fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(64).collect()
}

/// Label values must not grow without bound: only what looks like one of GitHub's events is named.
fn metric_label(event: &str) -> String {
    const KNOWN: &[&str] = &[
        "create",
        "delete",
        "fork",
        "installation",
        "installation_repositories",
        "issue_comment",
        "issue_dependencies",
        "issues",
        "label",
        "meta",
        "milestone",
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
    if KNOWN.contains(&event) { event.to_owned() } else { "other".to_owned() }
}

/// Why a delivery was not taken.
#[derive(Debug)]
enum Refusal {
    NotADelivery,
    Compressed,
    TooLarge(usize),
    TooSlow,
    BrokenBody,
    Unsigned,
    NoSecret,
    WrongSignature,
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
            Self::BrokenBody => "broken_body",
            Self::Unsigned => "unsigned",
            Self::NoSecret => "no_secret",
            Self::WrongSignature => "wrong_signature",
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
            Self::Payload(error @ PayloadError::ContentType(_)) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string())
            }
            Self::Payload(error) => (StatusCode::BAD_REQUEST, error.to_string()),
            Self::NotDurable(why) => {
                tracing::error!(error = why, "a delivery was refused because it could not be made durable");
                let retry = [(header::RETRY_AFTER, "30")];
                let body = Json(
                    json!({ "outcome": "not_durable", "detail": "the delivery could not be stored: send it again" }),
                );
                return (StatusCode::SERVICE_UNAVAILABLE, retry, body).into_response();
            }
        };
        (status, Json(json!({ "outcome": "refused", "detail": detail }))).into_response()
    }
}
