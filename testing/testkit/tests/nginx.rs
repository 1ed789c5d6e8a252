//! The front of a deployment: a real nginx with the shipped configuration, in front of upstreams that say what reached
//! them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::StatusCode,
    response::IntoResponse,
    routing::any,
};
use gharvest_testkit::{redis::free_port, skip};

/// A running nginx; stopped when dropped.
struct Nginx {
    child: Child,
    base: String,
    _folder: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A killed master would leave its workers behind; asked to end, it takes them along.
        drop(Command::new("kill").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
    }
}

/// What reached an upstream: method, path with query, length of the body.
async fn upstream(name: &'static str) -> SocketAddr {
    let echo = move |request: Request| async move {
        let (parts, body) = request.into_parts();
        if parts.uri.path() == "/-/data-access" {
            let asked = parts.headers["x-original-uri"].to_str().unwrap().to_owned();
            return if asked.contains("private") { StatusCode::FORBIDDEN } else { StatusCode::NO_CONTENT }
                .into_response();
        }
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if parts.uri.path() == "/events" && header("connection") == "upgrade" {
            return format!("{} for {}", header("upgrade"), header("host")).into_response();
        }
        if parts.uri.path() == "/events" {
            let first = futures_chunk();
            return Body::from_stream(first).into_response();
        }
        let length = axum::body::to_bytes(body, 64 << 20).await.unwrap().len();
        let forwarded = parts.headers.get("x-forwarded-for").and_then(|value| value.to_str().ok()).unwrap_or_default();
        format!("{name} {} {} {length} {forwarded}", parts.method, parts.uri).into_response()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(echo))).await });
    address
}

/// One event at once, and then nothing for ever: a proxy that buffers would show nothing.
fn futures_chunk() -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    use futures::StreamExt;
    futures::stream::once(async { Ok(Bytes::from_static(b"data: first\n\n")) }).chain(futures::stream::pending())
}

async fn start(test: &str) -> Option<Nginx> {
    if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
        skip(test, "no nginx: install Debian's package nginx");
        return None;
    }
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../nginx");
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let port = free_port();
    fill_archive(&at.join("archive"));
    fs::create_dir(at.join("conf.d")).unwrap();
    let own = |text: String| {
        let text = text.replace(" /tmp/", &format!(" {}/", at.display())).replace("/dev/stdout gharvest", "off");
        text.replace("/etc/nginx/conf.d", &format!("{}/conf.d", at.display()))
    };
    let main = own(fs::read_to_string(shipped.join("nginx.conf")).unwrap());
    fs::write(at.join("nginx.conf"), format!("daemon off;\n{main}")).unwrap();
    let server = fs::read_to_string(shipped.join("conf.d/10-gharvest.conf")).unwrap();
    fs::write(at.join("conf.d/10-gharvest.conf"), server.replace("listen 8080", &format!("listen 127.0.0.1:{port}")))
        .unwrap();
    let (web, receiver) = (upstream("web").await, upstream("receiver").await);
    let upstreams = fs::read_to_string(shipped.join("conf.d/00-upstreams.conf")).unwrap();
    let upstreams = upstreams.replace("http://web:8080", &format!("http://{web}"));
    let upstreams = upstreams.replace("http://webhook-receiver:8081", &format!("http://{receiver}"));
    let upstreams = upstreams.replace("http://kibana:5601", &format!("http://{web}"));
    fs::write(
        at.join("conf.d/00-upstreams.conf"),
        upstreams.replace("/data/archive", &format!("{}/archive", at.display())),
    )
    .unwrap();

    let command = |extra: &[&str]| {
        let mut command = Command::new("nginx");
        command.args(extra).args(["-e", "stderr", "-p"]).arg(at).arg("-c").arg(at.join("nginx.conf"));
        command
    };
    let checked = command(&["-t"]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let child = command(&[]).stderr(Stdio::null()).spawn().unwrap();
    let mut nginx = Nginx { child, base: format!("http://127.0.0.1:{port}"), _folder: folder };
    wait(&mut nginx, port);
    Some(nginx)
}

fn wait(nginx: &mut Nginx, port: u16) {
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            nginx.child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(10),
            "nginx does not answer"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn fill_archive(archive: &Path) {
    for name in ["octo/.github", "octo/private"] {
        let id = name.len();
        fs::create_dir_all(archive.join(format!("repositories/{id}/items"))).unwrap();
        fs::write(archive.join(format!("repositories/{id}/items/1.json")), "{\"number\":1}\n").unwrap();
        fs::create_dir_all(archive.join("current/octo")).unwrap();
        std::os::unix::fs::symlink(format!("../../repositories/{id}"), archive.join("current").join(name)).unwrap();
    }
    for (file, text) in [
        ("keys.json", "secret"),
        ("inbox/a.json", "secret"),
        ("staging/a", "secret"),
        ("snapshots/a.tar.zst", "snapshot"),
    ] {
        let path = archive.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    // nginx' workers may run as another user than this test's.
    open_to_all(archive.parent().unwrap());
}

fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

async fn get(nginx: &Nginx, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("{}{path}", nginx.base)).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn every_route_reaches_its_component() {
    let Some(nginx) = start("every_route_reaches_its_component").await else { return };
    for (path, expected) in [
        ("/", "web GET / 0 127.0.0.1"),
        ("/api/v1/search?q=is%3Aopen", "web GET /api/v1/search?q=is%3Aopen 0 127.0.0.1"),
        ("/octo/.github/issues/1", "web GET /octo/.github/issues/1 0 127.0.0.1"),
        ("/kibana/app/dashboards", "web GET /kibana/app/dashboards 0 127.0.0.1"),
        ("/webhooks/github", "receiver GET /webhooks/github 0 127.0.0.1"),
        ("/webhooks/github/receive", "receiver GET /webhooks/github/receive 0 127.0.0.1"),
    ] {
        assert_eq!(get(&nginx, path).await, (200, expected.to_owned()), "{path}");
    }
    for path in ["/metrics", "/webhooks/other", "/-/data-access"] {
        assert_eq!(get(&nginx, path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn deliveries_may_be_large_and_other_bodies_may_not() {
    let Some(nginx) = start("deliveries_may_be_large_and_other_bodies_may_not").await else { return };
    let client = reqwest::Client::new();
    let body = vec![b'x'; 20 << 20];
    let taken = client.post(format!("{}/webhooks/github", nginx.base)).body(body.clone()).send().await.unwrap();
    assert_eq!(taken.text().await.unwrap(), format!("receiver POST /webhooks/github {} 127.0.0.1", body.len()));
    for (path, length) in [("/webhooks/github", 26 << 20), ("/api/v1/jobs", 2 << 20)] {
        let refused = client.post(format!("{}{path}", nginx.base)).body(vec![b'x'; length]).send().await;
        // nginx may close before a client has sent everything.
        assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status() == 413), "{path}");
    }
}

#[tokio::test]
async fn live_events_arrive_while_the_answer_goes_on() {
    let Some(nginx) = start("live_events_arrive_while_the_answer_goes_on").await else { return };
    let mut answer = reqwest::get(format!("{}/events", nginx.base)).await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(10), answer.chunk()).await.expect("nginx does not buffer");
    assert_eq!(first.unwrap().unwrap(), "data: first\n\n");
}

#[tokio::test]
async fn who_asks_for_a_socket_is_passed_on_with_the_wish() {
    let Some(nginx) = start("who_asks_for_a_socket_is_passed_on_with_the_wish").await else { return };
    let request = reqwest::Client::new().get(format!("{}/events", nginx.base));
    let answer = request.header("connection", "Upgrade").header("upgrade", "websocket").send().await.unwrap();
    let host = nginx.base.trim_start_matches("http://");
    assert_eq!(answer.text().await.unwrap(), format!("websocket for {host}"));
}

#[tokio::test]
async fn the_raw_archive_is_shown_to_whom_the_web_front_lets_in() {
    let Some(nginx) = start("the_raw_archive_is_shown_to_whom_the_web_front_lets_in").await else { return };
    assert_eq!(get(&nginx, "/data/current/octo/.github/items/1.json").await, (200, "{\"number\":1}\n".to_owned()));
    assert!(get(&nginx, "/data/current/octo/.github/items/").await.1.contains("1.json"), "folders are listed");
    assert_eq!(get(&nginx, "/data/snapshots/a.tar.zst").await, (200, "snapshot".to_owned()));
    let part =
        reqwest::Client::new().get(format!("{}/data/snapshots/a.tar.zst", nginx.base)).header("Range", "bytes=0-3");
    let part = part.send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.text().await.unwrap().as_str()), (206, "snap"));
    assert_eq!(get(&nginx, "/data/current/octo/private/items/1.json").await.0, 403);
    for path in ["/data/keys.json", "/data/inbox/a.json", "/data/staging/a", "/data/archive/keys.json"] {
        assert_eq!(get(&nginx, path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn no_path_leaves_what_is_served() {
    let Some(nginx) = start("no_path_leaves_what_is_served").await else { return };
    let port: u16 = nginx.base.rsplit(':').next().unwrap().parse().unwrap();
    for path in [
        "/data/current/../keys.json",
        "/data/current/%2e%2e/keys.json",
        "/data/snapshots/..%2fkeys.json",
        "/data/../../etc/passwd",
    ] {
        let answer = raw(port, path).await;
        assert!(!answer.contains("secret") && !answer.contains("root:"), "{path}: {answer}");
    }
}

/// Asks for a path as it is written: clients would normalise it.
async fn raw(port: u16, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
