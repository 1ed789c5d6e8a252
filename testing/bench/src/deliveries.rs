//! The webhook receiver under load, over the least that accepts a signed delivery durably.
//!
//! The limit is an axum handler that reads the body, verifies the signature and does one write of the delivery's id: an
//! `RPUSH` to the same Redis, or an insert into SQLite by one thread that commits in groups, as the queue's does. It
//! parses nothing, knows no delivery ids, merges nothing. Both are served by the same server on loopback, and the same
//! client loads them; all of it shares the processors, so the ratio is one of all work together, and what the client and
//! the kernel do for a delivery counts on both sides. The receiver of the older Node program is no fair peer: it
//! verifies no signature, and answers before anything is kept.
//!
//! Deliveries are about [`ITEMS`] items again and again, so most merge into a job that waits: what a burst of a living
//! project does. The receiver records its metrics and sums them up as in production, with nobody who asks for them: that is
//! how most run. Nobody reads a log here, so neither side writes one.
//!
//! Redis has its append-only file on with a sync a second, as docker-compose.yml sets it; the pushes are acknowledged
//! before that. SQLite syncs before it answers.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use bytes::Bytes;
use gharvest_archive::Archive;
use gharvest_queue::{Policy, Queue};
use gharvest_queue_redis::RedisQueue;
use gharvest_queue_sqlite::{Bare, SqliteQueue};
use gharvest_service_kit::{
    serve::{Limits, serve},
    settings::{Untracked, WebhookSettings},
    telemetry,
};
use gharvest_testkit::redis::RedisServer;
use gharvest_webhook_receiver::Receiver;
use jiff::Timestamp;
use ring::hmac;
use secrecy::SecretString;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    load::{MakeRequest, closed_loop, open_loop},
    measure::{Scale, in_turns, rate},
    memory,
    table::Row,
};

const SECRET: &str = "a secret of the bench";
const PATH: &str = "/webhooks/github";
/// Connections of the client: GitHub delivers from many machines at once.
const CONNECTIONS: usize = 64;
/// The fixed rate, deliveries a second.
const STEADY: u64 = 1_000;
/// Items that deliveries are about: a burst of a living project.
const ITEMS: u64 = 5_000;
/// The share of the bare handler's deliveries that the receiver should accept.
const GOAL: f64 = 0.8;

/// Loads the receiver on SQLite and on Redis.
pub async fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let _nobody_asks = telemetry::init_metrics()?;
    let mut rows = on_sqlite(scale).await?;
    // A run of its own needs no `CI`: without Redis its rows are missing, and that is said.
    match RedisServer::start("deliveries on Redis", &[]) {
        Some(redis) => rows.extend(on_redis(scale, &redis).await?),
        None => eprintln!("deliveries on Redis are not measured"),
    }
    Ok(rows)
}

async fn on_sqlite(scale: &Scale) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let queue = SqliteQueue::open(&folder.path().join("queue.sqlite"), Policy::default()).await?;
    let receiver = Served::start(receiver(queue, &folder.path().join("archive")).await?).await?;
    let bare = Served::start(bare(Keep::Sqlite(group_commits(&folder.path().join("bare.sqlite"))?))).await?;
    compare(scale, "SQLite", "one insert, committed in groups", &receiver, &bare).await
}

async fn on_redis(scale: &Scale, redis: &RedisServer) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let queue = RedisQueue::connect(&redis.url(), "bench", Policy::default()).await?;
    let receiver = Served::start(receiver(queue, &folder.path().join("archive")).await?).await?;
    let connection = ::redis::Client::open(redis.url())?.get_multiplexed_async_connection().await?;
    let bare = Served::start(bare(Keep::Redis(connection))).await?;
    compare(scale, "Redis", "one RPUSH", &receiver, &bare).await
}

async fn compare(scale: &Scale, name: &str, limit: &str, receiver: &Served, bare: &Served) -> Result<Vec<Row>> {
    let count = scale.pick(200, 20_000, 20_000);
    let (mut ours_at, mut bare_at) = (0, 0);
    let signed = signed_bodies();
    let run = async |served: &Served, from: &mut u64| {
        let make = deliveries(&signed, *from);
        *from += count;
        closed_loop(served.address, CONNECTIONS, count, StatusCode::ACCEPTED.as_u16(), &make).await
    };
    let ours = async || run(receiver, &mut ours_at).await;
    let least = async || run(bare, &mut bare_at).await;
    let (ours, least) = in_turns(scale.of(1, 3, 3), ours, least).await?;
    let mut rows = vec![
        Row::new(format!("deliveries accepted, {name}, {CONNECTIONS} connections"), rate(count, ours), "deliveries/s")
            .over(format!("bare axum, HMAC, {limit}"), rate(count, least))
            .at_least(GOAL),
    ];
    let lasting = Duration::from_secs(scale.of(1, 20, 600));
    let steady = async |first: u64, lasting: Duration| {
        open_loop(receiver.address, CONNECTIONS, STEADY, lasting, 202, &deliveries(&signed, first)).await
    };
    let warming = lasting / 10;
    steady(ours_at, warming).await?;
    let before = memory::resident();
    let times = steady(ours_at + STEADY * (warming.as_secs() + 1), lasting).await?;
    let grown = memory::resident() as f64 - before as f64;
    let at = format!("{name}, {STEADY} deliveries/s for {} s", lasting.as_secs());
    rows.push(Row::new(format!("{at}: p50"), times.percentile(0.5), "ms"));
    rows.push(Row::new(format!("{at}: p99"), times.percentile(0.99), "ms").at_most(10.0));
    rows.push(Row::new(format!("{at}: memory grown"), grown.max(0.0) / f64::from(1 << 20), "MiB").at_most(16.0));
    Ok(rows)
}

/// A router on loopback.
struct Served {
    address: SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl Served {
    async fn start(router: Router) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, Limits::default(), shutdown.clone()));
        Ok(Self { address, shutdown, server })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.server.abort();
    }
}

async fn receiver(queue: Arc<dyn Queue>, archive: &Path) -> Result<Router> {
    let archive = Archive::open(&format!("file:{}", archive.display()), &gharvest_archive::Options::default()).await?;
    let tracked = json!({ "id": 1, "name": "octo/box", "since": Timestamp::now() });
    archive.track(serde_json::from_value(tracked)?).await?;
    let environment = std::collections::BTreeMap::new();
    let sources = gharvest_service_kit::load::Sources { config: None, data_dir: None, environment };
    let settings = WebhookSettings { secrets: vec![SecretString::from(SECRET)], ..sources.load()?.settings.webhook };
    Ok(gharvest_webhook_receiver::router(Receiver::new(queue, archive, Untracked::Ignore), &settings))
}

/// A body for each item and its signature, made before anything is measured.
type SignedBodies = Arc<Vec<(String, String)>>;

fn signed_bodies() -> SignedBodies {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signed = (1..=ITEMS).map(body).map(|body| {
        let signature = hex::encode(hmac::sign(&key, body.as_bytes()));
        (body, signature)
    });
    Arc::new(signed.collect())
}

/// Deliveries of comments, numbered from `first`; each has an id of its own.
fn deliveries(bodies: &SignedBodies, first: u64) -> MakeRequest {
    let bodies = Arc::clone(bodies);
    Arc::new(move |number| {
        let id = first + number;
        let (body, signature) = &bodies[(id % ITEMS) as usize];
        let length = body.len();
        format!(
            "POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             X-GitHub-Event: issue_comment\r\nX-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-{id:012x}\r\n\
             X-Hub-Signature-256: sha256={signature}\r\n\r\n{body}"
        )
        .into_bytes()
    })
}

/// About 8 KiB, as GitHub sends them: most of it addresses that nobody reads here.
fn body(item: u64) -> String {
    let user = json!({
        "login": "ann", "id": 1, "type": "User", "site_admin": false,
        "url": "https://api.github.com/users/ann", "html_url": "https://github.com/ann",
        "followers_url": "https://api.github.com/users/ann/followers",
        "repos_url": "https://api.github.com/users/ann/repos",
        "events_url": "https://api.github.com/users/ann/events{/privacy}",
    });
    let addresses: serde_json::Map<_, _> = (0..65)
        .map(|at| {
            (format!("address_{at}_url"), json!(format!("https://api.github.com/repos/octo/box/part{at}{{/sha}}")))
        })
        .collect();
    let mut repository = json!({ "id": 1, "name": "box", "full_name": "octo/box", "private": false, "owner": user, "default_branch": "main" });
    if let Some(fields) = repository.as_object_mut() {
        fields.extend(addresses);
    }
    json!({
        "action": "created",
        "issue": {
            "id": 1_000 + item, "number": item, "title": "It crashes", "user": user, "labels": [], "state": "open",
            "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-05-01T00:00:00Z", "body": "word ".repeat(200),
        },
        "comment": {
            "id": 2_000 + item, "user": user, "created_at": "2024-05-01T00:00:00Z", "body": "more ".repeat(200),
        },
        "repository": repository,
        "sender": user,
    })
    .to_string()
}

/// Where the bare handler writes.
#[derive(Clone)]
enum Keep {
    Redis(::redis::aio::MultiplexedConnection),
    Sqlite(mpsc::Sender<(String, oneshot::Sender<()>)>),
}

/// The least that accepts a delivery.
fn bare(keep: Keep) -> Router {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    Router::new().route(PATH, post(accept)).with_state(Arc::new((key, keep)))
}

async fn accept(State(state): State<Arc<(hmac::Key, Keep)>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    match keep(&state.0, state.1.clone(), &headers, &body).await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

async fn keep(key: &hmac::Key, keep: Keep, headers: &HeaderMap, body: &[u8]) -> Result<()> {
    let signature = headers.get("x-hub-signature-256").context("no signature")?.to_str()?;
    let signature = hex::decode(signature.strip_prefix("sha256=").context("another signature")?)?;
    if hmac::verify(key, body, &signature).is_err() {
        bail!("a wrong signature");
    }
    let id = headers.get("x-github-delivery").context("no delivery id")?.to_str()?;
    match keep {
        Keep::Redis(mut connection) => {
            ::redis::cmd("RPUSH").arg("bare").arg(id).query_async::<u64>(&mut connection).await?;
        }
        Keep::Sqlite(inserts) => {
            let (done, kept) = oneshot::channel();
            inserts.send((id.to_owned(), done)).await?;
            kept.await?;
        }
    }
    Ok(())
}

/// One thread that inserts what waits in one transaction, and answers after its commit.
fn group_commits(path: &Path) -> Result<mpsc::Sender<(String, oneshot::Sender<()>)>> {
    let mut bare = Bare::open(path)?;
    bare.connection.execute_batch("CREATE TABLE delivery (id TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;")?;
    let (inserts, mut waiting) = mpsc::channel::<(String, oneshot::Sender<()>)>(1_024);
    let commit = |bare: &mut Bare, group: &[(String, oneshot::Sender<()>)]| -> rusqlite::Result<()> {
        let transaction = bare.connection.transaction()?;
        for (id, _) in group {
            transaction.prepare_cached("INSERT INTO delivery (id) VALUES (?1)")?.execute([id])?;
        }
        transaction.commit()?;
        bare.committed();
        Ok(())
    };
    std::thread::spawn(move || {
        while let Some(first) = waiting.blocking_recv() {
            let mut group = vec![first];
            while group.len() < 256
                && let Ok(next) = waiting.try_recv()
            {
                group.push(next);
            }
            // A group that is not kept is not answered: its callers see their channels close.
            if commit(&mut bare, &group).is_ok() {
                // Who asked may have gone away; what was kept stays.
                group.into_iter().for_each(|(_, done)| done.send(()).unwrap_or_default());
            }
        }
    });
    Ok(inserts)
}
