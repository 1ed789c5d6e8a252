//! Faults on real sockets: bodies that are cut, slow, zipped, huge, and servers that are none.

use std::{io::Write, net::SocketAddr, time::Duration};

use axum::{Router, http::HeaderMap, routing::get};
use flate2::{Compression, write::GzEncoder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

use super::stub::{config, issue};
use crate::{Answer, Client, Config, Error, ErrorKind, Purpose};

fn client(address: SocketAddr, timeout: Duration) -> Client {
    let config = Config {
        api_url: format!("http://{address}/api/v3"),
        request_timeout: timeout,
        max_body_bytes: 1 << 20,
        backoff: Duration::from_millis(1),
        ..config(&["t"])
    };
    Client::new(config).unwrap()
}

const PATIENT: Duration = Duration::from_secs(60);

/// A server that reads a request's head and answers each connection with raw bytes, then closes it or keeps it open.
async fn raw(answer: Vec<u8>, keep_open: bool) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            let mut piece = [0; 4096];
            while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                match stream.read(&mut piece).await {
                    Ok(read) if read > 0 => head.extend_from_slice(&piece[..read]),
                    _ => break,
                }
            }
            // The client may hang up in the middle of what it refuses.
            if stream.write_all(&answer).await.is_ok() && keep_open {
                open.push(stream);
            }
        }
    });
    (address, server)
}

async fn fault(answer: impl Into<Vec<u8>>) -> Error {
    let (address, server) = raw(answer.into(), false).await;
    let error = client(address, PATIENT).get(&issue(7), None, Purpose::Live).await.unwrap_err();
    server.abort();
    error
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn answer_with(headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

#[tokio::test]
async fn a_real_server_is_asked_and_its_gzip_unzipped() {
    let app = Router::new().route(
        "/api/v3/repos/rust-lang/log/issues/7",
        get(|headers: HeaderMap| async move {
            assert_eq!(headers["accept-encoding"], "gzip");
            assert_eq!(headers.get_all("user-agent").iter().count(), 1);
            ([("content-encoding", "gzip"), ("content-type", "application/json")], gzip(br#"{"number":7}"#))
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let Answer::Found(found) = client(address, PATIENT).get(&issue(7), None, Purpose::Live).await.unwrap() else {
        panic!("not found")
    };
    assert_eq!(found.body["number"], 7);
    server.abort();
}

#[tokio::test]
async fn broken_connections_and_bodies_end_as_unavailable() {
    for answer in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"number\":7}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"a\":",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 999999 What\r\n\r\n",
        b"\x00\x01\x02\x03",
    ] {
        let error = fault(answer).await;
        assert_eq!(*error.kind(), ErrorKind::Unavailable, "{:?}: {error}", String::from_utf8_lossy(answer));
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let error = client(address, PATIENT).get(&issue(7), None, Purpose::Live).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn huge_headers_are_refused_without_filling_memory() {
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "a".repeat(4 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-many: 1\r\n".repeat(5000));
    for answer in [long, many] {
        assert_eq!(*fault(answer).await.kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_zipped_or_not() {
    let large = vec![b' '; (1 << 20) + 1];
    let error = fault(answer_with("", &large)).await;
    assert_eq!(*error.kind(), ErrorKind::BadAnswer);
    assert!(error.to_string().contains("max_body_bytes"), "{error}");

    let bomb = gzip(&vec![b' '; 200 << 20]);
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    let error = fault(answer_with("content-encoding: gzip\r\n", &bomb)).await;
    assert_eq!(*error.kind(), ErrorKind::BadAnswer);
    assert!(error.to_string().contains("max_body_bytes"), "{error}");
}

#[tokio::test]
async fn zipped_bodies_that_break_off_or_lie_are_bad_answers() {
    let zipped = gzip(br#"{"number":7,"title":"a title that is long enough to be cut"}"#);
    for (headers, body) in [
        ("content-encoding: gzip\r\n", &zipped[..zipped.len() - 12]),
        ("content-encoding: gzip\r\n", &zipped[..5]),
        ("content-encoding: gzip\r\n", b"not gzip at all"),
        ("content-encoding: br\r\n", b"brotli was not asked for"),
        ("content-encoding: gzip, gzip\r\n", &zipped[..]),
    ] {
        let error = fault(answer_with(headers, body)).await;
        assert_eq!(*error.kind(), ErrorKind::BadAnswer, "{headers} {error}");
    }
}

#[tokio::test]
async fn a_server_that_never_finishes_is_left_after_the_time_limit() {
    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"] {
        let (address, server) = raw(answer.to_vec(), true).await;
        let error = client(address, Duration::from_millis(50)).get(&issue(7), None, Purpose::Live).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("within 0.05 s"), "{error}");
        server.abort();
    }
}
