//! A trace follows one job: a collector on loopback sees the delivery, the download that it caused, and the indexing.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use gharvest_github_simulator::{Change, Webhook};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message as _;

use crate::scene::{MIRRORED, SECRET, Scene, Serving, TOKEN, until};

type Spans = Arc<Mutex<Vec<Span>>>;

async fn take(State(spans): State<Spans>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    spans.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
    StatusCode::OK
}

/// A collector that keeps what it is sent, and its address.
async fn collector() -> (String, Spans) {
    let spans = Spans::default();
    let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&spans));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), spans)
}

fn says<'a>(span: &'a Span, name: &str) -> &'a str {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == name);
    match attribute.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_followed_from_the_receiver_to_the_index() {
    let scene = Scene::new(8);
    let (url, spans) = collector().await;
    let mut command = scene.command(&["mirror", MIRRORED, "--listen", "127.0.0.1:0"]);
    command.env("GHARVEST_TRACE__URL", &url);
    let serving = Serving::start(command).await;
    until("it is mirrored", async || scene.differences(MIRRORED).await.is_empty()).await;
    scene.control.set_webhook(Some(Webhook::new(format!("{}/webhooks/github", serving.url), SECRET)));
    let number = scene.control.truth_numbers(&scene.called())[2];
    let body = "Quicksilver leaves a trace.".to_owned();
    scene.control.change(&scene.called(), Change::Comment { number, body }).unwrap();
    scene.control.webhooks_settled().await;
    until("what was said is found", async || scene.total("quicksilver").await == 1).await;
    assert_eq!(serving.end("TERM").await.0, Some(0), "what is left of the spans is sent before the end");

    let spans = spans.lock().unwrap();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    let webhook = spans.iter().find(|span| span.name == "webhook" && says(span, "event") == "issue_comment");
    let webhook = webhook.unwrap_or_else(|| panic!("no delivery among {names:?}"));
    let delivery = scene.control.deliveries()[0].guid.clone();
    assert_eq!(says(webhook, "delivery"), delivery);
    let child = |parent: &Span, name: &str| {
        let is_child = |span: &&Span| span.parent_span_id == parent.span_id && span.name == name;
        let found = spans.iter().find(is_child).unwrap_or_else(|| panic!("no {name} among {names:?}"));
        assert_eq!(found.trace_id, webhook.trace_id);
        assert_eq!(says(found, "job"), format!("{}#{number}", scene.id));
        found.clone()
    };
    let download = child(webhook, "download");
    let index = child(&download, "index");
    assert!(webhook.start_time_unix_nano < download.start_time_unix_nano);
    assert!(download.start_time_unix_nano < index.start_time_unix_nano && index.end_time_unix_nano > 0);
    let told = format!("{spans:?}");
    assert!(!told.contains(SECRET) && !told.contains(TOKEN) && !told.contains("Quicksilver"), "spans say no secrets");
}

/// Also where the collector is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_said_once_and_stops_nothing() {
    let scene = Scene::new(4);
    let mut command = scene.command(&["mirror", MIRRORED, "--once", "--no-web"]);
    command.env("GHARVEST_TRACE__URL", "http://127.0.0.1:9");
    let mirrored = crate::scene::finish(command).await;
    assert_eq!(mirrored.code, Some(0), "{mirrored:?}");
    assert_eq!(mirrored.stderr.matches("takes no traces").count(), 1, "{mirrored:?}");
    assert_eq!(scene.differences(MIRRORED).await, Vec::<String>::new());
}
