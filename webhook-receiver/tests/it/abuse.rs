//! What strangers and broken clients send: a clear refusal, and nothing held for long.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures::{StreamExt, stream};
use gharvest_service_kit::serve::{Limits, serve};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::scene::{SECRET, Scene, issue, send, signature, signed, unsigned};

/// A receiver on a real socket; stopped when dropped.
struct Server {
    address: SocketAddr,
    scene: Scene,
    stop: CancellationToken,
}

impl Server {
    async fn start() -> Self {
        let scene = Scene::new().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let limits = Limits { header_deadline: Duration::from_millis(200), ..Limits::default() };
        tokio::spawn(serve(listener, scene.router.clone(), limits, stop.clone()));
        Self { address, scene, stop }
    }

    /// Sends bytes as they are, and reads the answer to its end.
    async fn raw(&self, parts: &[&[u8]]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        for part in parts {
            // Refused before everything was sent, as it should be.
            if stream.write_all(part).await.is_err() {
                break;
            }
        }
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn head(length: &str, more: &str) -> String {
    format!(
        "POST /webhooks/github HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         X-GitHub-Event: issues\r\nX-GitHub-Delivery: d-1\r\n{length}\r\n{more}\r\n"
    )
}

#[tokio::test]
async fn broken_requests_get_a_clear_refusal_and_the_next_one_is_served() {
    let server = Server::start().await;
    let mut huge = head("Content-Length: 2", "").into_bytes();
    huge.truncate(huge.len() - 2);
    huge.extend_from_slice(b"X: ");
    huge.resize(huge.len() + 100_000, b'a');
    assert!(server.raw(&[&huge]).await.contains(" 431 "), "huge headers");
    assert_eq!(server.raw(&[b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\n"]).await, "", "headers that never end");
    let gzip =
        server.raw(&[head("Content-Length: 4", "Content-Encoding: gzip\r\n").as_bytes(), b"\x1f\x8b\x08\0"]).await;
    assert!(gzip.contains(" 415 ") && gzip.contains("compressed"), "{gzip}");

    let body = issue("opened").to_string();
    let sign = format!("X-Hub-Signature-256: {}\r\n", signature(SECRET, body.as_bytes()));
    let short = head("Content-Length: 10", &sign);
    let answer = server.raw(&[short.as_bytes(), body.as_bytes()]).await;
    assert!(answer.contains(" 403 ") && !answer.contains(" 202 "), "longer than declared: {answer}");
    let chunk = vec![b'x'; 1 << 20];
    let mut parts = vec![head("Transfer-Encoding: chunked", &sign).into_bytes()];
    for _ in 0..27 {
        parts.push(format!("{:x}\r\n", chunk.len()).into_bytes());
        parts.push(chunk.clone());
        parts.push(b"\r\n".to_vec());
    }
    parts.push(b"0\r\n\r\n".to_vec());
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let answer = server.raw(&parts).await;
    // The rest of what was sent may reset the connection before the answer is read.
    assert!(answer.is_empty() || answer.contains(" 413 "), "{answer}");

    let good = head(&format!("Content-Length: {}", body.len()), &sign);
    assert!(server.raw(&[good.as_bytes(), body.as_bytes()]).await.contains(" 202 "));
    assert_eq!(server.scene.triggers().await, 1);
}

#[tokio::test]
async fn signed_nonsense_is_a_bad_request_and_wrong_types_are_absent() {
    let scene = Scene::new().await;
    let deep = format!("{{\"issue\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let refused: [&[u8]; 10] = [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b"\"text\"",
        b"{\"action\":\"\xff\"}",
        deep.as_bytes(),
        b"{\"issue\":1e999}",
        b"{} {}",
        b"{\"action\":\"a\",\"action\":\"b\"}",
    ];
    for (number, body) in refused.into_iter().enumerate() {
        let answer = scene.send(signed("issues", &format!("d-{number}"), body.to_vec(), SECRET)).await;
        assert_eq!(answer.status.as_u16(), 400, "{}: {answer:?}", String::from_utf8_lossy(&body[..body.len().min(40)]));
        assert!(!answer.json["detail"].as_str().unwrap().is_empty());
    }
    for body in [
        r#"{"repository":{"id":9,"full_name":"octo/box"},"issue":{"number":18446744073709551616}}"#,
        r#"{"repository":{"id":-9,"full_name":"octo/box"},"issue":{"number":4}}"#,
        r#"{"repository":{"id":9,"full_name":"octo/../box"},"issue":{"number":4}}"#,
        r#"{"repository":"octo/box","issue":4,"changes":[],"sender":[{}]}"#,
    ] {
        assert_eq!(
            scene.send(signed("issues", "d-x", body.as_bytes().to_vec(), SECRET)).await.said(),
            (202, "ignored")
        );
    }
    for (event, delivery) in [("", "d-1"), ("issues", ""), ("issues", "../../etc"), ("issues", &"d".repeat(65))] {
        let request = signed(event, delivery, issue("opened").to_string().into_bytes(), SECRET);
        assert_eq!(scene.send(request).await.status.as_u16(), 400, "{event:?} {delivery:?}");
    }
    let text = unsigned("issues", "d-9").header("x-hub-signature-256", signature(SECRET, b"{}"));
    let mut text = text.body(Body::from("{}")).unwrap();
    text.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(scene.send(text).await.status.as_u16(), 415);
    assert_eq!((scene.triggers().await, scene.inbox().await.len()), (0, 0));
}

/// What no queue takes would be refused with all that is pushed beside it, at each look at all that is tracked.
#[tokio::test]
async fn an_id_that_no_repository_has_is_neither_tracked_nor_kept_for_later() {
    let variables = [("GHARVEST_WEBHOOK__SECRETS", SECRET), ("GHARVEST_WEBHOOK__UNTRACKED", "track")];
    let scene = Scene::with(&variables).await;
    let tracking = scene.archive.tracking().await.unwrap();
    for id in [0, 1 << 53, u64::MAX] {
        let repository = json!({"id": id, "full_name": "evil/x"});
        let issue_there = json!({"action": "opened", "repository": repository, "issue": {"number": 1}});
        assert_eq!(scene.deliver("issues", "d-1", &issue_there).await.said(), (202, "ignored"), "{id}");
        let added = json!({"action": "added", "repositories_added": [repository]});
        assert_eq!(scene.deliver("installation_repositories", "d-2", &added).await.said(), (202, "ignored"), "{id}");
        let mut moved = issue("transferred");
        moved["changes"] = json!({"new_issue": {"number": 8}, "new_repository": repository});
        assert_eq!(scene.deliver("issues", &format!("d-{id}"), &moved).await.said(), (202, "queued"), "{id}");
    }
    assert_eq!(scene.archive.tracking().await.unwrap(), tracking);
    assert_eq!(scene.jobs().await, ["9#4"]);
    assert!(scene.inbox().await.iter().all(|entry| entry.item.is_some()), "nothing is spooled");
}

/// The most bytes of a body, as GitHub has it.
const LIMIT: usize = 25 << 20;

/// A body without an announced length and without an end; counts its bytes as they are taken.
fn endless(chunk: &Bytes, taken: &Arc<AtomicU64>) -> Body {
    let taken = Arc::clone(taken);
    Body::from_stream(stream::repeat(chunk.clone()).map(move |chunk| {
        taken.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        Ok::<_, Infallible>(chunk)
    }))
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_while_it_is_read_and_nothing_of_it_is_kept() {
    let scene = Scene::new().await;
    let chunk = Bytes::from(vec![b' '; 100_000]);
    // More often than all large bodies have room together: what a refused one held is given back.
    for round in 1..=5 {
        let taken = Arc::new(AtomicU64::new(0));
        let request = unsigned("issues", &format!("d-{round}")).body(endless(&chunk, &taken)).unwrap();
        let answer = scene.send(request).await;
        assert_eq!(answer.status.as_u16(), 413, "{answer:?}");
        assert!(answer.json["detail"].as_str().unwrap().contains(&LIMIT.to_string()), "{answer:?}");
        let taken = usize::try_from(taken.load(Ordering::SeqCst)).unwrap();
        assert!(taken > LIMIT && taken <= LIMIT + chunk.len(), "not beyond the piece that was too much: {taken}");
    }
    assert_eq!((scene.triggers().await, scene.inbox().await.len()), (0, 0));
    let mut largest = issue("opened").to_string().into_bytes();
    largest.resize(LIMIT, b' ');
    assert_eq!(scene.send(signed("issues", "d-6", largest, SECRET)).await.said(), (202, "queued"));
}

#[tokio::test]
async fn a_length_beyond_the_limit_is_refused_before_a_byte_of_the_body_comes() {
    let server = Server::start().await;
    let declared = server.raw(&[head(&format!("Content-Length: {}", LIMIT + 1), "").as_bytes()]).await;
    assert!(declared.contains(" 413 ") && declared.contains(&LIMIT.to_string()), "{declared}");

    let mut chunked = head("Transfer-Encoding: chunked", "").into_bytes();
    chunked.extend_from_slice(format!("{LIMIT:x}\r\n").as_bytes());
    chunked.resize(chunked.len() + LIMIT, b' ');
    // One byte too many, and then nothing more: the answer comes before the body's end.
    chunked.extend_from_slice(b"\r\n1\r\n \r\n");
    let answer = server.raw(&[&chunked]).await;
    assert!(answer.contains(" 413 ") && answer.contains(&LIMIT.to_string()), "{answer}");
    assert_eq!((server.scene.triggers().await, server.scene.inbox().await.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up_in_time() {
    let scene = Scene::new().await;
    let begun = tokio::time::Instant::now();
    let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let answer = scene.send(unsigned("issues", "d-1").body(body).unwrap()).await;
    assert_eq!(answer.status.as_u16(), 408);
    assert!(begun.elapsed() < Duration::from_secs(10), "GitHub waits for ten seconds");
}

/// A body of 20 MiB that then hangs; counts its bytes as they are taken.
fn hanging(taken: &Arc<AtomicU64>) -> Body {
    let taken = Arc::clone(taken);
    let chunks = stream::repeat(Bytes::from(vec![b' '; 1 << 20])).take(20).map(move |chunk| {
        taken.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        Ok::<_, Infallible>(chunk)
    });
    Body::from_stream(chunks.chain(stream::pending()))
}

#[tokio::test(start_paused = true)]
async fn large_bodies_share_a_bounded_room_and_small_ones_pass() {
    let scene = Scene::new().await;
    let taken = Arc::new(AtomicU64::new(0));
    let large: Vec<_> = (0..40)
        .map(|_| {
            let (router, body) = (scene.router.clone(), hanging(&taken));
            tokio::spawn(async move { send(&router, unsigned("issues", "d-1").body(body).unwrap()).await })
        })
        .collect();
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.deliver("issues", "d-2", &issue("opened")).await.said(), (202, "queued"));
    // As long as payloads are that carry a pull request with a long text.
    let mut longer = issue("closed").to_string().into_bytes();
    longer.resize(200_000, b' ');
    assert_eq!(scene.send(signed("issues", "d-3", longer, SECRET)).await.status.as_u16(), 202);
    let held = taken.load(Ordering::SeqCst);
    assert!(held > 40 << 20, "they were being read: {held}");
    assert!(held <= (96 + 40) << 20, "no more than the room, and a chunk each: {held}");
    let mut refused = Vec::new();
    for large in large {
        let answer = large.await.unwrap();
        refused.push((answer.status.as_u16(), answer.json["outcome"].as_str().unwrap_or_default().to_owned()));
    }
    let hung = refused.iter().filter(|answer| **answer == (408, "refused".to_owned())).count();
    let waited = refused.iter().filter(|answer| **answer == (503, "busy".to_owned())).count();
    assert_eq!((hung, waited), (2, 38), "{refused:?}");
}
