//! Budgets shared between processes through the State port.
//!
//! One key for each token and resource, `budget/{identity}/{resource}`, holds the latest reading as JSON and dies with
//! its hour. Each process reads all of them at most every two seconds and writes a key at most every second, at once
//! when GitHub told a token to wait. The truth is in every answer's headers: losing this state costs a few requests.
//!
//! `trouble/{identity}` says of a token that GitHub does not accept it, until it is tried again: so one process is told,
//! and not each of them. For an installation it is `trouble/{identity}-{key}` with the fingerprint of the App's private
//! key: a process that was given another key asks by itself. That the key's proof was refused is not told: it holds the
//! time, and another host's clock may be right.
//!
//! The pace and how many requests are under way have no header, so they are divided: each process that asks GitHub renews
//! `pace/{process}` every 20 seconds for a minute, and takes its share by how many such keys there are. An idle process
//! has none.
//!
//! `narrowed/{process}` says for people to what a process narrowed its requests at once after GitHub refused some as too
//! much: `{"to": 4, "of": 8, "quiet_from": TIME}`, one more each minute after that time. It dies with the last of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use gharvest_state::State;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    clock::Clock,
    credential::Source,
    gate::{Gate, Narrowing},
    limits::{LONGEST_LIMIT, later},
    tokens::{Token, Tokens, Trouble, Window},
};

const PREFIX: &str = "budget/";
const TROUBLE: &str = "trouble/";
const READ_EVERY: Duration = Duration::from_secs(2);
const WRITE_EVERY: Duration = Duration::from_secs(1);
const PACE: &str = "pace/";
const NARROWED: &str = "narrowed/";
const ANNOUNCE_EVERY: Duration = Duration::from_secs(20);
const PRESENT_FOR: Duration = Duration::from_secs(60);
const KEPT_FOR: Duration = Duration::from_secs(2 * 60 * 60);

#[derive(Debug)]
pub(crate) struct Sharing {
    state: Option<Arc<dyn State>>,
    /// This process's name among those that share.
    process: String,
    announced_at: Mutex<Option<Instant>>,
    read_at: Mutex<Option<Instant>>,
    written: Mutex<BTreeMap<String, (Instant, Window)>>,
}

impl Sharing {
    pub(crate) fn new(state: Option<Arc<dyn State>>) -> Self {
        Self {
            state,
            process: format!("{:016x}", fastrand::u64(..)),
            announced_at: Mutex::default(),
            read_at: Mutex::default(),
            written: Mutex::default(),
        }
    }

    /// Says that this process asks GitHub, and takes its share of what the gates let in, if it is time to.
    pub(crate) async fn announce(&self, gates: [&Gate; 2]) {
        let Some(state) = &self.state else { return };
        if !is_due(&self.announced_at, ANNOUNCE_EVERY) {
            return;
        }
        if let Err(error) = state.put(&format!("{PACE}{}", self.process), b"", None, Some(PRESENT_FOR)).await {
            return report(&error);
        }
        match state.list(PACE).await {
            Ok(present) => gates.into_iter().for_each(|gate| gate.share(present.len())),
            Err(error) => report(&error),
        }
    }

    /// Says that this process lets fewer requests in at once.
    pub(crate) async fn write_narrowing(&self, narrowing: Narrowing, now: Timestamp) {
        let Some(state) = &self.state else { return };
        let Narrowing { to, of, wait } = narrowing;
        let quiet_from = later(now, SignedDuration::try_from(wait).unwrap_or(LONGEST_LIMIT));
        let value = json!({"to": to, "of": of, "quiet_from": quiet_from}).to_string();
        let key = format!("{NARROWED}{}", self.process);
        if let Err(error) = state.put(&key, value.as_bytes(), None, Some(narrowing.lasts())).await {
            report(&error);
        }
    }

    /// Learns what other processes know, if it is time to.
    pub(crate) async fn read(&self, tokens: &Tokens, clock: &Clock) {
        let Some(state) = &self.state else { return };
        if !is_due(&self.read_at, READ_EVERY) {
            return;
        }
        self.read_trouble(state.as_ref(), tokens, clock).await;
        let entries = match state.list(PREFIX).await {
            Ok(entries) => entries,
            Err(error) => return report(&error),
        };
        for (key, value) in entries {
            let Some((identity, resource)) = key.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')) else {
                continue;
            };
            let Some(token) = tokens.all().iter().find(|token| token.identity == identity) else { continue };
            // What a newer version may have written is no reason to fail: the next answer tells as well.
            if let Ok(window) = serde_json::from_slice::<Window>(&value) {
                token.learn(resource, window, clock.now());
            }
        }
    }

    /// Tells other processes that a token is set aside.
    pub(crate) async fn write_trouble(&self, token: &Token, clock: &Clock) {
        let (Some(state), Some(trouble)) = (&self.state, token.trouble(clock.now())) else { return };
        let Some(key) = trouble_key(token) else { return };
        let left = trouble.until.duration_since(clock.now()).unsigned_abs();
        let value = serde_json::to_vec(&trouble).expect("a text and a time are plain data");
        if let Err(error) = state.put(&key, &value, None, Some(left)).await {
            report(&error);
        }
    }

    /// Learns which tokens other processes set aside.
    async fn read_trouble(&self, state: &dyn State, tokens: &Tokens, clock: &Clock) {
        let entries = match state.list(TROUBLE).await {
            Ok(entries) => entries,
            Err(error) => return report(&error),
        };
        for (key, value) in entries {
            let token = tokens.all().iter().find(|token| trouble_key(token).as_ref() == Some(&key));
            if let (Some(token), Ok(trouble)) = (token, serde_json::from_slice::<Trouble>(&value)) {
                token.learn_trouble(trouble, clock.now());
            }
        }
    }

    /// Tells other processes what is known of one budget, if it is time to or if it is urgent.
    pub(crate) async fn write(&self, token: &Token, resource: &str, clock: &Clock, urgent: bool) {
        let Some(state) = &self.state else { return };
        let Some(window) = token.shared(resource, clock.now()) else { return };
        let key = format!("{PREFIX}{}/{resource}", token.identity);
        if !self.is_time_to_write(&key, window, urgent) {
            return;
        }
        let value = serde_json::to_vec(&window).expect("a window is plain numbers and times");
        if let Err(error) = state.put(&key, &value, None, Some(KEPT_FOR)).await {
            report(&error);
        }
    }

    fn is_time_to_write(&self, key: &str, window: Window, urgent: bool) -> bool {
        let mut written = self.written.lock().expect("nothing panics while this is locked");
        let due =
            urgent || written.get(key).is_none_or(|(at, before)| *before != window && at.elapsed() >= WRITE_EVERY);
        if due {
            written.insert(key.to_owned(), (Instant::now(), window));
        }
        due
    }
}

/// Under what a token's trouble is shared; nobody has none.
fn trouble_key(token: &Token) -> Option<String> {
    match &*token.source {
        Source::Anonymous => None,
        Source::Fixed(_) => Some(format!("{TROUBLE}{}", token.identity)),
        Source::Installation(installation) => {
            Some(format!("{TROUBLE}{}-{}", token.identity, installation.key_fingerprint))
        }
    }
}

/// Whether so much time has passed since it was last due; if so, it counts as done now.
pub(crate) fn is_due(done_at: &Mutex<Option<Instant>>, every: Duration) -> bool {
    let mut done_at = done_at.lock().expect("nothing panics while this is locked");
    let due = done_at.is_none_or(|at| at.elapsed() >= every);
    if due {
        *done_at = Some(Instant::now());
    }
    due
}

/// Work goes on by the headers alone.
pub(crate) fn report(error: &gharvest_state::Error) {
    metrics::counter!("gharvest_github_sharing_failures_total").increment(1);
    tracing::debug!(%error, "budgets are not shared with other processes for now");
}
