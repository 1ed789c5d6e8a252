//! `/events`: server-sent events and WebSockets of one bus.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use futures::{SinkExt, StreamExt};
use gharvest_model::record::Visibility;
use gharvest_web::Clock;
use jiff::SignedDuration;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue},
};
use tower::ServiceExt;

use crate::mirror::{Mirror, now};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn served(mirror: &Mirror) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(gharvest_web::serve_on(listener, mirror.state.clone()));
    address
}

async fn listen(address: SocketAddr, query: &str) -> Socket {
    connect_async(format!("ws://{address}/events{query}")).await.unwrap().0
}

/// The next change; pings are passed over.
async fn heard(socket: &mut Socket) -> Value {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn live_events_are_replayed_after_the_last_one_heard() {
    let mirror = Mirror::new().await;
    for number in 1..=3 {
        mirror.publish((1, "octo/box"), number, Visibility::Public).await;
    }
    let known = mirror.get("/api/v1/recent?limit=3").await.json()["events"][2]["sequence"].as_u64().unwrap();
    let request = Request::get("/events").header("last-event-id", known.to_string()).body(Body::empty()).unwrap();
    let response = mirror.router().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    while !text.contains("Event of 3") {
        text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(!text.contains("Event of 1") && text.contains("Event of 2"), "{text}");
    let first = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    assert!(text.contains("event: change") && first.parse::<u64>().unwrap() > known, "{text}");
    mirror.state.shutdown.cancel();
    while let Some(part) = body.next().await {
        part.unwrap();
    }
}

#[tokio::test]
async fn a_socket_hears_the_same_and_goes_on_where_it_left() {
    let mirror = Mirror::new().await;
    let address = served(&mirror).await;
    mirror.publish((1, "octo/box"), 1, Visibility::Public).await;
    let mut socket = listen(address, "?after=0").await;
    let first = heard(&mut socket).await;
    assert_eq!((first["number"].as_u64(), first["item"].as_str()), (Some(1), Some("1#1")));
    assert_eq!(first["url"], "/octo/box/issues/1");
    mirror.publish((1, "octo/box"), 2, Visibility::Public).await;
    assert_eq!(heard(&mut socket).await["number"], 2);
    // What it says is not listened to, and a long message is not taken in.
    socket.send(Message::text("hello")).await.unwrap();
    mirror.publish((1, "octo/box"), 3, Visibility::Public).await;
    let third = heard(&mut socket).await;
    socket.close(None).await.unwrap();
    mirror.publish((1, "octo/box"), 4, Visibility::Public).await;
    let mut again = listen(address, &format!("?after={}", third["sequence"])).await;
    assert_eq!(heard(&mut again).await["number"], 4);
    // The end of the process is the end of the conversation.
    mirror.state.shutdown.cancel();
    while let Some(Ok(message)) = again.next().await {
        assert!(!message.is_text(), "{message}");
    }
}

#[tokio::test]
async fn who_listens_by_a_key_that_was_revoked_hears_no_more() {
    let mut mirror = Mirror::with_settings(&[("GHARVEST_WEB__LISTEN", "0.0.0.0:8080")]).await;
    mirror.key("some", "read", &["octo/vault"]).await;
    mirror.key("other", "read", &[]).await;
    let passed = Arc::new(AtomicI64::new(0));
    let seconds = Arc::clone(&passed);
    mirror.state.clock = Clock::new(move || now() + SignedDuration::from_secs(seconds.load(Ordering::SeqCst)));
    let request = Request::get("/events?after=0").header("authorization", "Bearer some").body(Body::empty()).unwrap();
    let mut body = mirror.router().oneshot(request).await.unwrap().into_body().into_data_stream();
    mirror.publish((2, "octo/vault"), 1, Visibility::Private).await;
    let mut text = String::new();
    while !text.contains("Event of 1") {
        text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }
    mirror.revoke("some").await;
    passed.store(6, Ordering::SeqCst);
    mirror.publish((2, "octo/vault"), 2, Visibility::Private).await;
    while let Some(part) = body.next().await {
        let part = part.unwrap();
        assert!(!part.windows(5).any(|word| word == b"Event"), "{part:?}");
    }
}

#[tokio::test]
async fn another_website_cannot_open_a_socket() {
    let mirror = Mirror::new().await;
    let address = served(&mirror).await;
    for (origin, status) in
        [("https://evil.example", Some(StatusCode::FORBIDDEN)), (&*format!("http://{address}"), None)]
    {
        let mut request = format!("ws://{address}/events").into_client_request().unwrap();
        request.headers_mut().insert("origin", HeaderValue::from_str(origin).unwrap());
        match (connect_async(request).await, status) {
            (Ok(_), None) => {}
            (Err(tungstenite::Error::Http(answer)), Some(status)) => assert_eq!(answer.status(), status.as_u16()),
            (other, _) => panic!("{origin}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn too_many_live_readers_are_turned_away() {
    let settings = [("GHARVEST_WEB__LIVE_READERS", "2"), ("GHARVEST_WEB__LIVE_READERS_PER_CLIENT", "1")];
    let mirror = Mirror::with_settings(&settings).await;
    let request = |peer: &str| {
        let peer: SocketAddr = format!("{peer}:1").parse().unwrap();
        Request::get("/events").extension(axum::extract::ConnectInfo(peer)).body(Body::empty()).unwrap()
    };
    let first = mirror.router().oneshot(request("192.0.2.1")).await.unwrap();
    let refused = mirror.send(request("192.0.2.1")).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    refused.shows("live_readers_per_client");
    let second = mirror.router().oneshot(request("192.0.2.2")).await.unwrap();
    let refused = mirror.send(request("192.0.2.3")).await;
    assert_eq!(
        (refused.status, refused.header("content-type")),
        (StatusCode::SERVICE_UNAVAILABLE, "application/problem+json")
    );
    drop(first);
    assert_eq!(mirror.router().oneshot(request("192.0.2.3")).await.unwrap().status(), StatusCode::OK);
    drop(second);
}
