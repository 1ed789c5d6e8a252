//! Sends signed deliveries to one address, and remembers them as GitHub's delivery log does.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::{change::Announcement, lock::Lock, random::mix};

/// Where deliveries go, and how unreliable the way is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    /// The receiver's address.
    pub url: String,
    /// The secret that deliveries are signed with; empty for unsigned ones.
    #[serde(default)]
    pub secret: String,
    /// The share that never arrives (0 to 1). Those stand in the delivery log as failed.
    #[serde(default)]
    pub lost: f64,
    /// The share that arrives twice.
    #[serde(default)]
    pub doubled: f64,
    /// The share that is overtaken by the next ones.
    #[serde(default)]
    pub delayed: f64,
}

impl Webhook {
    /// A reliable way to a receiver.
    pub fn new(url: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { url: url.into(), secret: secret.into(), lost: 0.0, doubled: 0.0, delayed: 0.0 }
    }
}

/// The id of the one hook of every repository.
pub(crate) const HOOK: u64 = 4_711;
/// The id of the one hook of every organisation.
pub const ORGANIZATION_HOOK: u64 = 4_712;

/// One delivery as sent, or not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Delivery {
    /// Its number in the log.
    pub id: u64,
    /// `X-GitHub-Delivery`: the same when delivered again.
    pub guid: String,
    /// What it says.
    pub announcement: Announcement,
    /// Seconds since 1970.
    pub delivered_at: i64,
    /// The receiver's answer; 0 when there was none.
    pub status_code: u16,
    /// Whether it was sent again.
    pub redelivery: bool,
}

impl Delivery {
    /// `OK` or what went wrong, in GitHub's words.
    pub fn status(&self) -> &'static str {
        match self.status_code {
            200..=299 => "OK",
            0 => "failed to connect to host",
            504 => "timed out",
            _ => "Invalid HTTP Response",
        }
    }

    /// The item of the delivery log.
    pub(crate) fn item(&self) -> Value {
        json!({
            "id": self.id,
            "guid": self.guid,
            "delivered_at": crate::objects::time(self.delivered_at),
            "redelivery": self.redelivery,
            "duration": 0.03,
            "status": self.status(),
            "status_code": self.status_code,
            "event": self.announcement.event,
            "action": self.announcement.action,
            "installation_id": null,
            "repository_id": self.announcement.repository,
            "throttled_at": null,
        })
    }

    /// The item with what was sent.
    pub(crate) fn full(&self, url: &str) -> Value {
        let mut item = self.item();
        item["url"] = json!(url);
        item["request"] = json!({
            "headers": {"X-GitHub-Event": self.announcement.event, "X-GitHub-Delivery": self.guid},
            "payload": self.announcement.payload,
        });
        item["response"] = json!({"headers": {}, "payload": ""});
        item
    }
}

#[derive(Debug, Default)]
struct Book {
    target: Option<Webhook>,
    log: Vec<Delivery>,
    /// How many were handed in.
    accepted: u64,
}

/// A cheap handle of the sender.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    book: Arc<Lock<Book>>,
    queue: mpsc::UnboundedSender<Delivery>,
    settled: watch::Receiver<u64>,
    seed: u64,
}

impl Sender {
    /// Starts the sender's task on the current runtime.
    pub(crate) fn start(seed: u64) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        let (settle, settled) = watch::channel(0);
        let book = Arc::new(Lock::new(Book::default()));
        let task = Task { book: book.clone(), settle, random: fastrand::Rng::with_seed(seed), held: Vec::new() };
        tokio::spawn(task.run(waiting));
        Self { book, queue, settled, seed }
    }

    pub(crate) fn aim(&self, target: Option<Webhook>) {
        self.book.lock().target = target;
    }

    /// Takes announcements for sending. Without a target they are forgotten, as without a hook.
    pub(crate) fn send(&self, announcements: &[Announcement], now: i64) {
        for announcement in announcements {
            let mut book = self.book.lock();
            if book.target.is_none() {
                return;
            }
            book.accepted += 1;
            let number = book.accepted;
            let delivery = Delivery {
                id: 90_000_000 + number,
                guid: guid(self.seed, number),
                announcement: announcement.clone(),
                delivered_at: now,
                status_code: 0,
                redelivery: false,
            };
            if self.queue.send(delivery).is_err() {
                tracing::debug!("a webhook was announced after the simulator stopped");
            }
        }
    }

    /// Sends a logged delivery again. False when there is none of this id.
    pub(crate) fn again(&self, id: u64, now: i64) -> bool {
        let mut book = self.book.lock();
        let Some(mut delivery) = book.log.iter().find(|delivery| delivery.id == id).cloned() else { return false };
        book.accepted += 1;
        delivery.id = 90_000_000 + book.accepted;
        delivery.delivered_at = now;
        delivery.redelivery = true;
        self.queue.send(delivery).is_ok()
    }

    /// The log, newest first.
    pub(crate) fn log(&self) -> Vec<Delivery> {
        let mut log = self.book.lock().log.clone();
        log.reverse();
        log
    }

    /// Waits until everything handed in so far was sent or lost.
    pub(crate) async fn settled(&self) {
        let accepted = self.book.lock().accepted;
        let mut settled = self.settled.clone();
        if settled.wait_for(|count| *count >= accepted).await.is_err() {
            tracing::debug!("the webhook sender has stopped");
        }
    }
}

fn guid(seed: u64, number: u64) -> String {
    let (a, b) = (mix(seed, &[90, number]), mix(seed, &[91, number]));
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}

/// Sends one delivery after the other.
struct Task {
    book: Arc<Lock<Book>>,
    settle: watch::Sender<u64>,
    random: fastrand::Rng,
    /// Overtaken deliveries.
    held: Vec<Delivery>,
}

impl Task {
    async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<Delivery>) {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
        let Ok(client) = client else {
            tracing::error!("the webhook sender has no HTTP client and sends nothing");
            return;
        };
        while let Some(delivery) = waiting.recv().await {
            let delayed = self.book.lock().target.as_ref().map_or(0.0, |target| target.delayed);
            if self.random.f64() < delayed {
                self.held.push(delivery);
            } else {
                self.deliver(&client, delivery).await;
            }
            if waiting.is_empty() || self.held.len() > 5 {
                for held in std::mem::take(&mut self.held) {
                    self.deliver(&client, held).await;
                }
            }
        }
    }

    async fn deliver(&mut self, client: &reqwest::Client, mut delivery: Delivery) {
        let target = self.book.lock().target.clone();
        if let Some(target) = target {
            let lost = self.random.f64() < target.lost;
            let copies = if self.random.f64() < target.doubled { 2 } else { 1 };
            for _ in 0..copies {
                delivery.status_code = if lost { 0 } else { post(client, &target, &delivery).await };
            }
        }
        self.book.lock().log.push(delivery);
        self.settle.send_modify(|count| *count += 1);
    }
}

/// Sends a delivery with GitHub's headers. The answer's status, 0 for none.
async fn post(client: &reqwest::Client, target: &Webhook, delivery: &Delivery) -> u16 {
    let body = delivery.announcement.payload.to_string();
    let mut request = client
        .post(&target.url)
        .header("Content-Type", "application/json")
        .header("User-Agent", "GitHub-Hookshot/5111a17")
        .header("X-GitHub-Hook-ID", HOOK.to_string())
        .header("X-GitHub-Event", &delivery.announcement.event)
        .header("X-GitHub-Delivery", &delivery.guid)
        .header("X-GitHub-Hook-Installation-Target-Type", "repository")
        .header("X-GitHub-Hook-Installation-Target-ID", delivery.announcement.repository.to_string());
    if !target.secret.is_empty() {
        let secret = target.secret.as_bytes();
        let sha1 = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
        let old = hex::encode(ring::hmac::sign(&sha1, body.as_bytes()));
        request = request
            .header("X-Hub-Signature", format!("sha1={old}"))
            .header("X-Hub-Signature-256", signature(secret, body.as_bytes()));
    }
    match request.body(body).send().await {
        Ok(answer) => answer.status().as_u16(),
        Err(error) if error.is_timeout() => 504,
        Err(error) => {
            tracing::debug!(%error, "a webhook delivery failed");
            0
        }
    }
}

/// The value of `X-Hub-Signature-256` for a body.
pub fn signature(secret: &[u8], body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    format!("sha256={}", hex::encode(ring::hmac::sign(&key, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_that_github_documents() {
        assert_eq!(
            signature(b"It's a Secret to Everybody", b"Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }
}
