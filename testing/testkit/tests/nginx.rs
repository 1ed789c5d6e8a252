//! The front of a deployment: a real nginx with the shipped configuration, in front of upstreams that say what reached
//! them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::StatusCode,
    response::IntoResponse,
    routing::any,
};
use gharvest_testkit::{
    checkout,
    nginx::{Nginx, newer_nginx_program, nginx_program},
    redis::free_port,
};

/// A running front, and the folder it works in.
struct Front {
    base: String,
    nginx: Nginx,
    _folder: tempfile::TempDir,
}

/// What reached an upstream: method, path with query, length of the body.
async fn upstream(name: &'static str) -> SocketAddr {
    let echo = move |request: Request| async move {
        let (parts, body) = request.into_parts();
        let user = parts.headers.get("x-forwarded-user").map(|user| user.to_str().unwrap().to_owned());
        if let Some(user) = user {
            return (StatusCode::FORBIDDEN, format!("{name} hears of {user}")).into_response();
        }
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
        if name == "engine" {
            return format!("{name} {} {} 0 {}", parts.method, parts.uri, header("authorization")).into_response();
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

async fn start(test: &str) -> Option<Front> {
    Some(front(&nginx_program(test)?).await)
}

async fn front(program: &Path) -> Front {
    front_in(program, tempfile::tempdir().unwrap()).await
}

async fn front_in(program: &Path, folder: tempfile::TempDir) -> Front {
    fill_archive(&folder.path().join("archive"));
    let names = [
        ("http://web:8080", format!("http://{}", upstream("web").await)),
        ("http://webhook-receivers:8081", format!("http://{}", upstream("receiver").await)),
        ("http://kibana:5601", format!("http://{}", upstream("kibana").await)),
        ("https://elasticsearch:9200", format!("http://{}", upstream("engine").await)),
        ("/data/archive", folder.path().join("archive").display().to_string()),
        ("/secrets/ca.crt", certificate(folder.path()).0.display().to_string()),
    ];
    let names: Vec<_> = names.map(|(name, here)| (name.to_owned(), here)).into();
    let nginx = Nginx::start(program, folder.path(), &names);
    Front { base: nginx.url(), nginx, _folder: folder }
}

/// A certificate for localhost, and its key.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl starts: install Debian's package openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
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

async fn get(nginx: &Front, path: &str) -> (u16, String) {
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
        ("/kibana/app/dashboards", "kibana GET /kibana/app/dashboards 0 127.0.0.1"),
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
async fn a_newer_nginx_takes_the_same_files() {
    let Some(program) = newer_nginx_program("a_newer_nginx_takes_the_same_files") else { return };
    let front = front(&program).await;
    assert_eq!(get(&front, "/webhooks/github").await, (200, "receiver GET /webhooks/github 0 127.0.0.1".to_owned()));
    assert_eq!(get(&front, "/data/keys.json").await.0, 404);
}

/// As docker-compose.opensearch.yml mounts it.
#[tokio::test]
async fn dashboards_without_security_are_for_whom_the_web_front_lets_in() {
    let test = "dashboards_without_security_are_for_whom_the_web_front_lets_in";
    let Some(program) = nginx_program(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("kibana")).unwrap();
    let closes = checkout().join("nginx/kibana/access.conf");
    fs::copy(closes, folder.path().join("kibana/access.conf")).unwrap();
    let front = front_in(&program, folder).await;
    let expected = "kibana GET /kibana/app/home 0 127.0.0.1".to_owned();
    assert_eq!(get(&front, "/kibana/app/home").await, (200, expected));
    assert_eq!(get(&front, "/kibana/app/private").await.0, 403);
    assert_eq!(get(&front, "/").await.0, 200);
}

/// By an opt-in, as docker-compose.users.yml mounts it, the word of the proxy in front counts.
#[tokio::test]
async fn a_client_calls_himself_nothing_unless_a_proxy_in_front_answers_for_it() {
    let test = "a_client_calls_himself_nothing_unless_a_proxy_in_front_answers_for_it";
    let Some(program) = nginx_program(test) else { return };
    for is_opted_for in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        if is_opted_for {
            fs::create_dir(folder.path().join("users")).unwrap();
            fs::copy(checkout().join("nginx/users/forwarded.conf"), folder.path().join("users/forwarded.conf"))
                .unwrap();
        }
        let front = front_in(&program, folder).await;
        let client = reqwest::Client::new();
        for path in ["/", "/kibana/app/home", "/webhooks/github", "/events", "/data/current/octo/.github/items/1.json"]
        {
            let request = client.get(format!("{}{path}", front.base)).header("x-forwarded-user", "setup-admin");
            let status = request.header("x_forwarded_user", "setup-admin").send().await.unwrap().status();
            assert_eq!(status == StatusCode::FORBIDDEN, is_opted_for, "{path}: {status}");
        }
    }
}

/// The engine here is a stand-in that says what reached it: whether a key is good is the engine's own judgement.
#[tokio::test]
async fn the_engine_is_read_with_a_key_and_never_written() {
    let Some(front) = start("the_engine_is_read_with_a_key_and_never_written").await else { return };
    let client = reqwest::Client::new();
    let ask = async |method: &str, path: &str, authorization: Option<&str>| {
        let url = format!("{}{path}", front.nginx.engine_url());
        let mut request = client.request(method.parse().unwrap(), url);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let key = Some("ApiKey c29tZTprZXk=");
    for (method, path) in [
        ("GET", "/gharvest-items/_mapping"),
        ("POST", "/gharvest-items/_search"),
        ("POST", "/_msearch"),
        ("POST", "/_search/scroll"),
        ("DELETE", "/_pit"),
        ("POST", "/gharvest-items%2Cgharvest-comments/_search?size=1"),
        ("POST", "/gharvest-%2a/_count"),
    ] {
        let (status, said) = ask(method, path, key).await;
        assert_eq!((status, said.as_str()), (200, format!("engine {method} {path} 0 ApiKey c29tZTprZXk=").as_str()));
    }
    for (method, path) in [
        ("POST", "/gharvest-items/_doc"),
        ("POST", "/_bulk"),
        ("POST", "/gharvest-items/_delete_by_query"),
        ("PUT", "/gharvest-items"),
        ("DELETE", "/gharvest-items"),
        ("POST", "/gharvest-items/_doc/_search/x"),
        ("POST", "/_security/api_key"),
        ("POST", "/_bulk?x=/_search"),
    ] {
        assert_eq!(ask(method, path, key).await.0, 403, "{method} {path}");
    }
    // What nginx takes for one path is another one for who gets it as it was written.
    let port = port_of(&front.nginx.engine_url());
    for path in
        ["/gharvest-items/_doc/..%2f_search", "/gharvest-items/_doc/../_search", "/gharvest-items%2f_doc/_search"]
    {
        let head = format!("POST {path} HTTP/1.1\r\nAuthorization: ApiKey c29tZTprZXk=\r\nContent-Length: 0");
        let answer = raw_request(port, &head).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
    }
    for authorization in [None, Some("Basic ZWxhc3RpYzp4"), Some("ApiKey ")] {
        assert_eq!(ask("GET", "/", authorization).await.0, 401, "{authorization:?}");
    }
}

#[tokio::test]
async fn the_example_of_an_outer_server_ends_tls_before_the_front() {
    let test = "the_example_of_an_outer_server_ends_tls_before_the_front";
    let (Some(installed), Some(newer)) = (nginx_program(test), newer_nginx_program(test)) else { return };
    let upstream = upstream("web").await;
    for (program, is_newer) in [(installed, false), (newer, true)] {
        let folder = tempfile::tempdir().unwrap();
        let (plain, secure) = (free_port(), free_port());
        let (certificate, key) = certificate(folder.path());
        let example = fs::read_to_string(checkout().join("_docs/additional-files/external-nginx.conf")).unwrap();
        // Not every machine has IPv6.
        let example: String =
            example.lines().filter(|line| !line.contains("[::]")).map(|line| format!("{line}\n")).collect();
        let example = match is_newer {
            // As its first lines say.
            true => example.replace("listen 443 ssl http2;", "listen 443 ssl;\n    http2 on;"),
            false => example,
        };
        let example = example.replace("listen 80;", &format!("listen 127.0.0.1:{plain};"));
        let example = example.replace("listen 443 ssl", &format!("listen 127.0.0.1:{secure} ssl"));
        let example = example.replace("/etc/ssl/gharvest/fullchain.pem", &certificate.display().to_string());
        let example = example.replace("/etc/ssl/gharvest/privkey.pem", &key.display().to_string());
        let example = example.replace("http://127.0.0.1:8080", &format!("http://{upstream}"));
        let head = "daemon off; pid nginx.pid; error_log stderr; events {}\nhttp { access_log off; \
                    client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;\n";
        fs::write(folder.path().join("nginx.conf"), format!("{head}{example}}}\n")).unwrap();
        let _nginx = Nginx::run(&program, folder.path(), secure);
        let client = reqwest::Client::builder().danger_accept_invalid_certs(true);
        let client = client.redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let moved = client.get(format!("http://127.0.0.1:{plain}/octo/box?q=1")).send().await.unwrap();
        assert_eq!(moved.status().as_u16(), 301);
        assert_eq!(moved.headers()["location"], "https://127.0.0.1/octo/box?q=1");
        let answer = client.get(format!("https://127.0.0.1:{secure}/octo/box")).send().await.unwrap();
        assert_eq!(answer.version(), reqwest::Version::HTTP_2, "{}", program.display());
        assert!(answer.headers()["strict-transport-security"].to_str().unwrap().starts_with("max-age="));
        assert_eq!(answer.text().await.unwrap(), "web GET /octo/box 0 127.0.0.1");
        let client = reqwest::Client::builder().danger_accept_invalid_certs(true).http1_only().build().unwrap();
        let socket = client.get(format!("https://127.0.0.1:{secure}/events")).header("upgrade", "websocket");
        let answer = socket.header("connection", "Upgrade").send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "websocket for 127.0.0.1");
    }
}

#[tokio::test]
async fn answers_are_compressed_and_say_what_browsers_may_do_with_files() {
    let Some(front) = start("answers_are_compressed_and_say_what_browsers_may_do_with_files").await else { return };
    let client = reqwest::Client::builder().no_gzip().build().unwrap();
    let long = format!("{}/?q={}", front.base, "x".repeat(4000));
    let answer = client.get(long).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert!(answer.headers().get("server").is_none_or(|server| server == "nginx"), "no version is told");
    let file = client.get(format!("{}/data/current/octo/.github/items/1.json", front.base)).send().await.unwrap();
    assert_eq!(file.headers()["x-content-type-options"], "nosniff");
    assert!(file.headers()["content-security-policy"].to_str().unwrap().contains("sandbox"));
    let listed =
        client.get(format!("{}/data/current/octo/.github/items/?format=json", front.base)).send().await.unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed.text().await.unwrap()).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["size"]), (&"1.json".into(), &13.into()));
    for path in
        ["/-/data-json/current/octo/.github/items/1.json", "/-/data-json/snapshots/", "/data/staging/?format=json"]
    {
        assert_eq!(get(&front, path).await.0, 404, "{path}");
    }
    assert_eq!(get(&front, "/data/current/octo/private/items/?format=json").await.0, 403);
}

#[tokio::test]
async fn components_are_told_the_client_that_a_trusted_proxy_names() {
    let Some(front) = start("components_are_told_the_client_that_a_trusted_proxy_names").await else { return };
    let request = reqwest::Client::new().get(&front.base).header("x-forwarded-for", "198.51.100.1, 203.0.113.9");
    let said = request.send().await.unwrap().text().await.unwrap();
    assert_eq!(said, "web GET / 0 198.51.100.1, 203.0.113.9, 203.0.113.9", "the last one is nobody's claim");
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
    for path in [
        "/data/current/../keys.json",
        "/data/current/%2e%2e/keys.json",
        "/data/snapshots/..%2fkeys.json",
        "/data/../../etc/passwd",
    ] {
        let answer = raw_request(port_of(&nginx.base), &format!("GET {path} HTTP/1.1")).await;
        assert!(!answer.contains("secret") && !answer.contains("root:"), "{path}: {answer}");
    }
}

/// What one address may have on its way at once: any bodies, and those of more than a megabyte or of unknown length.
const BODIES: usize = 64;
const LARGE_BODIES: usize = 4;

#[tokio::test]
async fn nobody_holds_more_bodies_than_there_is_room_for() {
    let Some(front) = start("nobody_holds_more_bodies_than_there_is_room_for").await else { return };
    let port = port_of(&front.base);
    let begin = async |length: &str| begun_body(port, length).await;
    let small = async || reqwest::Client::new().post(format!("{}/webhooks/github", front.base)).body("{}").send().await;
    let mut held = Vec::new();
    for _ in 0..LARGE_BODIES {
        held.push(begin("Content-Length: 24000000").await.unwrap());
    }
    for length in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        assert_eq!(begin(length).await.unwrap_err(), 503, "{length}");
    }
    assert_eq!(small().await.unwrap().status(), 200, "who sends little is not in their way");
    while held.len() < BODIES {
        held.push(begin("Content-Length: 999999").await.unwrap());
    }
    assert_eq!(small().await.unwrap().status(), 503);
    assert_eq!(get(&front, "/").await.0, 200, "who sends nothing is not counted");
    held.truncate(BODIES - 1);
    // nginx learns a moment later that one has gone.
    while small().await.unwrap().status() != 200 {}
}

/// A delivery that was begun, once nginx waits for its body; or the status it was refused with.
async fn begun_body(port: u16, length: &str) -> Result<tokio::net::TcpStream, u16> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!("POST /webhooks/github HTTP/1.1\r\nHost: x\r\n{length}\r\nExpect: 100-continue\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = [0; 12];
    stream.read_exact(&mut said).await.unwrap();
    match String::from_utf8_lossy(&said).trim_start_matches("HTTP/1.1 ").parse().unwrap() {
        100 => Ok(stream),
        status => Err(status),
    }
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().unwrap()
}

/// Asks for a path as it is written: clients would normalise it. `head` is the request's first lines.
async fn raw_request(port: u16, head: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
