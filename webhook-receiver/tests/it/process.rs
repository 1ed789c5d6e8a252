//! The receiver as a process: replaced under load behind nginx, killed under load with each backend.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use gharvest_archive::{Archive, Options};
use gharvest_model::{QueueName, RepositoryId, Subject};
use gharvest_queue::QueueAdmin;
use gharvest_service_kit::{Settings, load::Sources};
use gharvest_testkit::{
    NameServer,
    nginx::{Nginx, nginx_program},
    redis::{RedisServer, free_port},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::scene::{SECRET, TRACKED, issue, signature, track};

const PATIENCE: Duration = Duration::from_secs(30);

/// Where the processes of a test work.
struct Deployment {
    folder: TempDir,
    queue_url: Option<String>,
}

impl Deployment {
    async fn new(queue_url: Option<String>) -> Self {
        let deployment = Self { folder: tempfile::tempdir().unwrap(), queue_url };
        track(&deployment.archive().await, TRACKED, "octo/box").await;
        deployment
    }

    fn environment(&self) -> Vec<(String, String)> {
        let mut environment = vec![("GHARVEST_WEBHOOK__SECRETS".to_owned(), SECRET.to_owned())];
        environment.extend(self.queue_url.clone().map(|url| ("GHARVEST_QUEUE__URL".to_owned(), url)));
        environment
    }

    fn settings(&self) -> Settings {
        let environment = self.environment().into_iter().collect();
        let sources = Sources { config: None, data_dir: Some(self.folder.path().to_owned()), environment };
        sources.load().unwrap().settings
    }

    async fn archive(&self) -> Archive {
        Archive::open(&self.settings().archive_url(), &Options::default()).await.unwrap()
    }

    async fn queue(&self) -> Arc<dyn QueueAdmin> {
        gharvest_backends::queue(&self.settings()).await.unwrap()
    }

    fn start(&self, address: SocketAddr) -> Process {
        let log = fs::File::create(self.folder.path().join(format!("log-{address}"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_webhook-receiver"))
            .arg("--data-dir")
            .arg(self.folder.path())
            .envs(self.environment())
            .env("GHARVEST_WEBHOOK__LISTEN", address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Process { child, address }
    }

    /// Numbers whose download waits on the queue or in the inbox.
    async fn known(&self, numbers: &[u64]) -> Vec<u64> {
        let queue = self.queue().await;
        let entries: Vec<_> = self.archive().await.inbox_all().try_collect().await.unwrap();
        let spooled = |subject: &Subject| {
            let subject = Value::String(subject.to_string());
            entries.iter().any(|entry| entry.triggers.get(0).is_some_and(|trigger| trigger["subject"] == subject))
        };
        let mut known = Vec::new();
        for number in numbers {
            let subject = Subject::item(RepositoryId(TRACKED), *number);
            if queue.job(QueueName::Download, &subject).await.unwrap().is_some() || spooled(&subject) {
                known.push(*number);
            }
        }
        known
    }
}

/// A receiver; killed when dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    async fn ready(mut self) -> Self {
        let begun = Instant::now();
        while readiness(self.address).await != Some(200) {
            assert!(
                self.child.try_wait().unwrap().is_none() && begun.elapsed() < PATIENCE,
                "the receiver does not start"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    async fn wait(mut self) {
        tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn readiness(address: SocketAddr) -> Option<u16> {
    let answer = reqwest::Client::new().get(format!("http://{address}/readyz")).send().await;
    answer.ok().map(|answer| answer.status().as_u16())
}

/// Delivers one number after the other until stopped: one a millisecond as far as the senders, each with one delivery on
/// its way, get answers.
struct Load {
    begun: Instant,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    senders: Vec<tokio::task::JoinHandle<Vec<(u64, u16)>>>,
}

impl Load {
    fn start(base: &str, senders: u64) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        let url = format!("{base}/webhooks/github");
        // What could not be sent in time is sent as soon as a sender is free.
        let pace = Arc::new(tokio::sync::Mutex::new(tokio::time::interval(Duration::from_millis(1))));
        let sender = |_| {
            let (client, url, stop, sent) = (client.clone(), url.clone(), Arc::clone(&stop), Arc::clone(&sent));
            let pace = Arc::clone(&pace);
            tokio::spawn(async move {
                let mut answers = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    pace.lock().await.tick().await;
                    let number = sent.fetch_add(1, Ordering::SeqCst) + 1;
                    answers.push((number, deliver(&client, &url, number).await));
                }
                answers
            })
        };
        let senders = (0..senders).map(sender).collect();
        Self { begun: Instant::now(), stop, sent, senders }
    }

    /// Returns when so many more were begun.
    async fn go_on(&self, more: u64) {
        let (until, begun) = (self.sent.load(Ordering::SeqCst) + more, Instant::now());
        while self.sent.load(Ordering::SeqCst) < until {
            assert!(begun.elapsed() < PATIENCE, "deliveries do not get on");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Number and status of every delivery; 0 for no answer.
    async fn end(self) -> Vec<(u64, u16)> {
        self.stop.store(true, Ordering::SeqCst);
        let mut answers = Vec::new();
        for sender in self.senders {
            answers.extend(sender.await.unwrap());
        }
        let millis = self.begun.elapsed().as_millis().max(1);
        let (sent, accepted) = (answers.len() as u128, accepted(&answers).len() as u128);
        eprintln!("{} deliveries a second, {} of them accepted", sent * 1000 / millis, accepted * 1000 / millis);
        answers
    }
}

async fn deliver(client: &reqwest::Client, url: &str, number: u64) -> u16 {
    let mut payload = issue("opened");
    payload["issue"]["number"] = number.into();
    let body = payload.to_string();
    let request = client
        .post(url)
        .header("content-type", "application/json")
        .header("x-github-event", "issues")
        .header("x-github-delivery", format!("d-{number}"))
        .header("x-hub-signature-256", signature(SECRET, body.as_bytes()))
        .body(body);
    request.send().await.map_or(0, |answer| answer.status().as_u16())
}

fn accepted(answers: &[(u64, u16)]) -> Vec<u64> {
    answers.iter().filter(|(_, status)| (200..300).contains(status)).map(|(number, _)| *number).collect()
}

/// What the container engine calls the receivers, and where they listen in their containers.
const RECEIVERS: &str = "webhook-receivers";
const LISTEN: &str = "webhook-receivers:8081";

/// nginx with the configuration as it is shipped, but for the ports and the address of the name server.
fn nginx(program: &Path, folder: &Path, names: &NameServer, port: u16) -> Nginx {
    let here = [
        ("resolver 127.0.0.11", format!("resolver {}", names.address())),
        (LISTEN, format!("{RECEIVERS}:{port}")),
        ("/data/archive", folder.display().to_string()),
        // The opt-in port's, which nobody asks here.
        ("/secrets/ca.crt", "/etc/ssl/certs/ca-certificates.crt".to_owned()),
    ];
    let here: Vec<_> = here.map(|(name, here)| (name.to_owned(), here)).into();
    Nginx::start(program, folder, &here)
}

/// As `scripts/upgrade` does it with the two services of the compose file: one container ends, loses its name and comes
/// back at another address, and then the other one.
#[tokio::test(flavor = "multi_thread")]
async fn two_receivers_behind_nginx_are_replaced_under_load_and_no_delivery_is_refused() {
    let test = "two_receivers_behind_nginx_are_replaced_under_load_and_no_delivery_is_refused";
    let (Some(program), Some(redis)) = (nginx_program(test), RedisServer::start(test, &[])) else { return };
    let deployment = Deployment::new(Some(redis.url())).await;
    let (port, names) = (free_port(), NameServer::start());
    let place = |host: u8| Ipv4Addr::new(127, 0, 0, host);
    let start = async |host| deployment.start((place(host), port).into()).ready().await;
    let first = [start(2).await, start(3).await];
    names.set(RECEIVERS, &[place(2), place(3)]);
    let folder = tempfile::tempdir().unwrap();
    let nginx = nginx(&program, folder.path(), &names, port);
    let load = Load::start(&nginx.url(), 4);
    let mut second = Vec::new();
    // The next one is replaced when this one is back.
    for (receiver, (other, next)) in first.into_iter().zip([(3, 4), (4, 5)]) {
        load.go_on(50).await;
        receiver.signal("-TERM");
        // Not ready at once, and still taking deliveries.
        let begun = Instant::now();
        while readiness(receiver.address).await != Some(503) {
            assert!(begun.elapsed() < Duration::from_secs(2), "readiness is withdrawn first");
        }
        let direct = format!("http://{}/webhooks/github", receiver.address);
        assert_eq!(deliver(&reqwest::Client::new(), &direct, 1_000_000).await, 202);
        receiver.wait().await;
        load.go_on(50).await;
        names.set(RECEIVERS, &[place(other)]);
        second.push(start(next).await);
        names.set(RECEIVERS, &[place(other), place(next)]);
    }
    // One that just dies is left to the other one as well.
    load.go_on(50).await;
    second.pop().unwrap().kill();
    load.go_on(200).await;
    let answers = load.end().await;
    let refused: Vec<_> = answers.iter().filter(|(_, status)| *status != 202).collect();
    assert!(refused.is_empty(), "{refused:?} of {}", answers.len());
    let numbers = accepted(&answers);
    assert_eq!(deployment.known(&numbers).await, numbers);
}

/// Enough to have 1,000 deliveries a second on their way.
const SENDERS: u64 = 32;
/// Deliveries between two kills.
const BETWEEN: u64 = 300;

/// Kills the receiver under load, three times.
async fn kill_the_receiver(queue_url: Option<String>) {
    let deployment = Deployment::new(queue_url).await;
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut receiver = deployment.start(address).ready().await;
    let load = Load::start(&format!("http://{address}"), SENDERS);
    for _ in 0..3 {
        load.go_on(BETWEEN).await;
        receiver.kill();
        receiver = deployment.start(address).ready().await;
    }
    load.go_on(BETWEEN).await;
    let answers = load.end().await;
    receiver.kill();
    let numbers = accepted(&answers);
    assert!(numbers.len() > 100 && numbers.len() < answers.len(), "some were accepted, some met no receiver");
    assert_eq!(deployment.known(&numbers).await, numbers);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_survives_the_death_of_the_receiver_on_sqlite() {
    kill_the_receiver(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_survives_the_death_of_the_receiver_on_redis() {
    let test = "what_was_accepted_survives_the_death_of_the_receiver_on_redis";
    let Some(redis) = RedisServer::start(test, DURABLE) else { return };
    kill_the_receiver(Some(redis.url())).await;
}

/// With `everysec` Redis answers before it writes while a slow disk still syncs what came earlier: killed just then, it
/// forgets up to two seconds of what it said it had.
const DURABLE: &[&str] = &["--appendfsync", "always"];

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_survives_the_death_of_redis() {
    let test = "what_was_accepted_survives_the_death_of_redis";
    let Some(mut redis) = RedisServer::start(test, DURABLE) else { return };
    let deployment = Deployment::new(Some(redis.url())).await;
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let receiver = deployment.start(address).ready().await;
    let load = Load::start(&format!("http://{address}"), SENDERS);
    for _ in 0..3 {
        load.go_on(BETWEEN).await;
        redis = tokio::task::spawn_blocking(move || {
            redis.crash_and_restart(DURABLE);
            redis
        })
        .await
        .unwrap();
    }
    load.go_on(BETWEEN).await;
    let answers = load.end().await;
    receiver.kill();
    let refused: Vec<_> = answers.iter().filter(|(_, status)| *status != 202).collect();
    assert!(refused.is_empty(), "the inbox takes what the queue cannot: {refused:?}");
    let numbers = accepted(&answers);
    assert_eq!(deployment.known(&numbers).await, numbers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_starts_while_redis_is_away_keeps_deliveries_until_it_is_back() {
    let test = "a_receiver_that_starts_while_redis_is_away_keeps_deliveries_until_it_is_back";
    let Some(mut redis) = RedisServer::start(test, DURABLE) else { return };
    let deployment = Deployment::new(Some(redis.url())).await;
    redis.crash();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let receiver = deployment.start(address).ready().await;
    let (client, url) = (reqwest::Client::new(), format!("http://{address}/webhooks/github"));
    assert_eq!(deliver(&client, &url, 1).await, 202);
    let redis = tokio::task::spawn_blocking(move || {
        redis.restart(DURABLE);
        redis
    });
    let redis = redis.await.unwrap();
    assert_eq!(deliver(&client, &url, 2).await, 202);
    receiver.kill();
    let entries: Vec<_> = deployment.archive().await.inbox_all().try_collect().await.unwrap();
    let spooled: Vec<_> = entries.iter().map(|entry| entry.fact.delivery.as_str()).collect();
    assert_eq!(spooled, ["d-1-spool"], "the second one is on the queue");
    assert_eq!(deployment.known(&[1, 2]).await, [1, 2]);
    drop(redis);
}
