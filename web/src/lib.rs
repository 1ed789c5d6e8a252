//! Search pages, JSON API and live feed.
//!
//! [`router`] lists every route. Pages and API share the request functions in [`requests`]: a page needs no data that
//! the API does not give. Everything works without JavaScript; one small script of our own makes it quicker.

pub mod access;
mod api;
mod assets;
mod attachments;
mod code;
mod data_access;
pub mod error;
mod extract;
mod feeds;
mod icons;
mod known;
mod labels;
mod links;
mod live;
mod markdown;
pub mod operations;
mod pages;
mod plot;
mod rates;
pub mod requests;
mod state;
mod thread;

use std::{any::Any, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, OriginalUri, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use gharvest_service_kit::{health, process, serve};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer, compression::CompressionLayer, set_header::SetResponseHeaderLayer,
    timeout::TimeoutLayer,
};

pub use access::{Caller, Role, check_listen, hash_key};
pub use error::{ApiError, ApiResult};
pub use state::{Backends, Budget, Clock, OperationError, Operations, WebState};

/// The longest body of a request, bytes: lists of subjects are the longest.
const LONGEST_BODY: usize = 512 * 1024;

/// The longest time for one answer. Live events and exports only begin within it.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);

/// Nothing is loaded from elsewhere, nothing runs but our own script, nobody frames us.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// All routes of the web front.
///
/// Serve it with connection info (`into_make_service_with_connect_info::<SocketAddr>`), else headers of proxies count
/// for nothing. What is merged into it later is outside its checks of access and origin.
pub fn router(state: WebState) -> Router {
    // An alert on what a counter grows by does not see one that begins with its first panic.
    metrics::counter!("gharvest_web_panics_total").increment(0);
    let (api, description) = api::router();
    let health = state.metrics.clone().map(|metrics| health::router(state.readiness.clone(), metrics));
    let router = Router::new()
        .merge(api)
        .route("/api/v1/openapi.json", get(move || async move { Json(description) }))
        .route("/api/{*rest}", get(api::unknown).fallback(api::unknown))
        .merge(pages())
        .fallback(fallback)
        .with_state(state.clone())
        .merge(health.unwrap_or_default())
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, LONGEST_ANSWER))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .layer(middleware::from_fn_with_state(state.clone(), access::authenticate))
        .layer(middleware::from_fn_with_state(state.clone(), pages::dress_errors))
        // Browsers ask whether they may ask before they bring a key, and read refusals too.
        .layer(middleware::from_fn_with_state(state, cors));
    let fixed = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    let outer = ServiceBuilder::new()
        .layer(fixed(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::REFERRER_POLICY, "same-origin"))
        .layer(fixed(header::X_FRAME_OPTIONS, "DENY"))
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::custom(panicked));
    router.layer(outer)
}

fn pages() -> Router<WebState> {
    let of_owners = Router::new()
        .route("/{owner}", get(pages::repository::owner))
        .route("/{owner}/{name}", get(pages::repository::page))
        .route("/{owner}/{name}/issues", get(pages::repository::issues))
        .route("/{owner}/{name}/pulls", get(pages::repository::pulls))
        .route("/{owner}/{name}/issues/{number}", get(pages::thread::issue))
        .route("/{owner}/{name}/pull/{number}", get(pages::thread::pull));
    Router::new()
        .route("/", get(pages::search::page))
        .route("/status", get(pages::status::page))
        .route("/events", get(live::events))
        .route("/favicon.ico", get(assets::favicon))
        .route("/-/assets/{name}", get(assets::serve))
        .route("/-/opensearch.xml", get(open_search))
        .route("/-/data-access", get(data_access::check))
        .route("/-/help/search", get(pages::help::page))
        .route("/-/jobs/retry", post(pages::status::retry))
        .route("/-/jobs/revive", post(pages::status::revive))
        .route("/-/{owner}/{name}/{number}/attachments/{attachment}", get(attachments::serve))
        .route("/-/{owner}/{name}/audit", get(pages::audit::page))
        .merge(of_owners.clone())
        .nest("/-", of_owners)
}

/// Any other path may be one of GitHub's: the page links there.
async fn fallback(OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::not_found(uri.path())
}

/// Lets browsers search from their address bar.
async fn open_search(State(state): State<WebState>) -> Response {
    let base = match state.settings.public_url.trim_end_matches('/') {
        "" => format!("http://{}", state.settings.listen),
        url => url.to_owned(),
    };
    let text = maud::html! {
        (maud::PreEscaped("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"))
        OpenSearchDescription xmlns="http://a9.com/-/spec/opensearch/1.1/" {
            ShortName { "gharvest" }
            Description { "Issues and pull requests" }
            Url type="text/html" template=(format_args!("{base}/?q={{searchTerms}}")) {}
        }
    };
    ([(header::CONTENT_TYPE, "application/opensearchdescription+xml")], text.into_string()).into_response()
}

/// Lets the websites that the operator named read the API.
async fn cors(State(state): State<WebState>, request: axum::extract::Request, next: middleware::Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin.filter(|origin| {
        is_api && origin.to_str().is_ok_and(|origin| state.settings.cors_origins.iter().any(|known| known == origin))
    });
    let Some(origin) = allowed else { return next.run(request).await };
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, if-none-match"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    response
}

/// A panic costs its request, never the process.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    metrics::counter!("gharvest_web_panics_total").increment(1);
    (StatusCode::INTERNAL_SERVER_ERROR, "something failed; the log says what\n").into_response()
}

/// The routes, if the address may be listened on.
///
/// # Errors
/// If the address can be reached by others and nothing says who they may be, see [`check_listen`].
pub async fn checked_router(state: WebState) -> anyhow::Result<Router> {
    let keys = state.backends.archive.keys_ever().await?;
    check_listen(&state.settings, keys.as_deref()).map_err(process::Usage)?;
    Ok(router(state))
}

/// Serves the web front on a listener of the caller's; the caller has checked the address.
pub async fn serve_on(listener: TcpListener, state: WebState) -> anyhow::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "the web front listens");
    let shutdown = state.shutdown.clone();
    serve::serve(listener, router(state), serve::Limits::default(), shutdown).await;
    Ok(())
}
