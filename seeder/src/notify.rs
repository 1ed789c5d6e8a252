//! Tells a person what needs one: for who looks twice a year.
//!
//! Every minute the leader of all seeders looks at what [`mod@alarms`] lists. An alarm that has held for `[notify] after`
//! is posted to `[notify] url`, again once a day while it lasts, and once more when it is over:
//! ```json
//! {"event": "alarm", "about": "buried/download", "since": "2026-11-21T10:00:00Z", "archive": "…", "text": "…"}
//! ```
//! `event` is `alarm`, `reminder` or `resolved`; `text` is a sentence that chat services show as it is. What was said
//! stands in the state, so that a restart repeats nothing; if it cannot be delivered, it is tried at the next look.
//!
//! `[notify] ping_url` is fetched after each look that succeeded: a dead-man's switch elsewhere notices when it stops.
//!
//! Metrics: `gharvest_alarms` (how many hold), `gharvest_notifications_total` (`result`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gharvest_archive::Archive;
use gharvest_github::Client;
use gharvest_queue::QueueAdmin;
use gharvest_service_kit::settings::Settings;
use gharvest_state::State;
use jiff::Timestamp;
use metrics::{counter, gauge};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::schedule::later;

pub mod alarms;

use alarms::{Alarm, Limits, alarms};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long the lead lasts without renewal.
const LEAD: Duration = Duration::from_secs(180);
/// For one message.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where the state keeps what was said.
const SAID: &str = "notify";

/// Whom to tell, and when.
#[derive(Debug, Clone)]
pub struct Options {
    /// Messages are posted here; none: nobody is told.
    pub url: Option<SecretString>,
    /// Fetched after each look; none: nobody counts them.
    pub ping_url: Option<SecretString>,
    /// An alarm is told when it has held for so long.
    pub after: Duration,
    /// And again after so long, while it lasts.
    pub remind_every: Duration,
    /// What counts as an alarm.
    pub limits: Limits,
}

impl Options {
    /// The options as set.
    pub fn new(settings: &Settings) -> Self {
        let given = |url: &SecretString| (!url.expose_secret().is_empty()).then(|| url.clone());
        Self {
            url: given(&settings.notify.url),
            ping_url: given(&settings.notify.ping_url),
            after: settings.notify.after,
            remind_every: settings.notify.remind_every,
            limits: Limits { lag: settings.notify.lag, min_free_bytes: settings.archive.min_free_bytes },
        }
    }

    fn is_set(&self) -> bool {
        self.url.is_some() || self.ping_url.is_some()
    }
}

/// An alarm as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    since: Timestamp,
    text: String,
    /// When a person was last told; none if never.
    told_at: Option<Timestamp>,
}

/// What is posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Message {
    event: &'static str,
    about: String,
    since: Timestamp,
    text: String,
}

/// Looks at everything that may need a person.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<dyn QueueAdmin>,
    archive: Archive,
    state: Arc<dyn State>,
    client: Client,
    options: Options,
    http: reqwest::Client,
    /// Names this process to the others.
    holder: String,
}

/// Looks until `shutdown`, whenever this process has the lead; only waits if nobody wants to be told.
pub async fn run(watch: Watch, shutdown: CancellationToken) {
    if !watch.options.is_set() {
        return shutdown.cancelled().await;
    }
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let look = async {
            looks.tick().await;
            watch.look(Timestamp::now()).await;
        };
        // Whom to tell may take its time; what was not told is told by the next leader.
        if shutdown.run_until_cancelled(look).await.is_none() {
            break;
        }
    }
    // A lead that is not given back ends by itself.
    drop(watch.state.resign(SAID, &watch.holder).await);
}

impl Watch {
    /// A watch over these backends.
    ///
    /// # Errors
    /// If no client for HTTP can be made here.
    pub fn new(
        queue: Arc<dyn QueueAdmin>,
        archive: Archive,
        state: Arc<dyn State>,
        client: Client,
        options: Options,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()?;
        let holder = format!("{}-{:08x}", std::process::id(), fastrand::u32(..));
        Ok(Self { queue, archive, state, client, options, http, holder })
    }

    /// One look, if this process leads. What fails is logged, and tried again at the next look.
    pub async fn look(&self, now: Timestamp) {
        match self.state.lead(SAID, &self.holder, LEAD).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::error!(%error, "State does not answer, nobody is told of alarms"),
        }
        if let Err(error) = self.tell(now).await {
            return tracing::error!(%error, "Alarms could not be told, tried again in a minute");
        }
        if let Some(url) = &self.options.ping_url {
            self.send(self.http.get(url.expose_secret()), "ping").await;
        }
    }

    async fn tell(&self, now: Timestamp) -> Result<(), crate::Failure> {
        let (limits, state) = (&self.options.limits, self.state.as_ref());
        let alarms = alarms(self.queue.as_ref(), &self.archive, state, &self.client, limits, now).await?;
        gauge!("gharvest_alarms").set(alarms.len() as f64);
        let stored = self.state.get(SAID).await?;
        let known = stored.and_then(|stored| serde_json::from_slice(&stored.value).ok()).unwrap_or_default();
        let (mut next, messages) = decide(&known, alarms, &self.options, now);
        for message in messages {
            if !self.post(&message).await {
                // As it was: so it is told at the next look.
                match known.get(&message.about) {
                    Some(before) => next.insert(message.about, before.clone()),
                    None => next.remove(&message.about),
                };
            }
        }
        let value = serde_json::to_vec(&next).expect("alarms are plain data");
        self.state.put(SAID, &value, None, None).await?;
        Ok(())
    }

    async fn post(&self, message: &Message) -> bool {
        let Some(url) = &self.options.url else { return true };
        let mut body = serde_json::to_value(message).expect("a message is plain data");
        body["archive"] = self.archive.id().into();
        self.send(self.http.post(url.expose_secret()).json(&body), "notification").await
    }

    /// Says whether it arrived. The address is a secret, so it is named by its setting only.
    async fn send(&self, request: reqwest::RequestBuilder, what: &'static str) -> bool {
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        let result = if answer.is_ok() { "sent" } else { "failed" };
        counter!("gharvest_notifications_total", "result" => result).increment(1);
        if let Err(error) = answer {
            tracing::error!(what, error = %error.without_url(), "The address in [notify] does not take it, tried again");
            return false;
        }
        true
    }
}

/// What to remember of alarms, and what to tell. Pure: what was known, what is, and the time come in as arguments.
fn decide(
    known: &BTreeMap<String, Known>,
    alarms: Vec<Alarm>,
    options: &Options,
    now: Timestamp,
) -> (BTreeMap<String, Known>, Vec<Message>) {
    let mut next = BTreeMap::new();
    let mut messages = Vec::new();
    for Alarm { about, text } in alarms {
        let before = known.get(&about);
        let since = before.map_or(now, |before| before.since);
        let mut told_at = before.and_then(|before| before.told_at);
        let event = match told_at {
            None if later(since, options.after) <= now => Some("alarm"),
            Some(told_at) if later(told_at, options.remind_every) <= now => Some("reminder"),
            _ => None,
        };
        if let Some(event) = event {
            told_at = Some(now);
            messages.push(Message { event, about: about.clone(), since, text: text.clone() });
        }
        next.insert(about, Known { since, text, told_at });
    }
    for (about, over) in known {
        if !next.contains_key(about) && over.told_at.is_some() {
            let text = format!("Over: {}", over.text);
            messages.push(Message { event: "resolved", about: about.clone(), since: over.since, text });
        }
    }
    (next, messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + 60 * minute).unwrap()
    }

    fn options() -> Options {
        Options {
            url: None,
            ping_url: None,
            after: Duration::from_secs(15 * 60),
            remind_every: Duration::from_secs(24 * 3600),
            limits: Limits { lag: Duration::from_secs(3600), min_free_bytes: 0 },
        }
    }

    #[test]
    fn an_alarm_is_told_when_it_has_held_once_a_day_and_when_it_is_over() {
        let mut known = BTreeMap::new();
        let mut told = Vec::new();
        for minute in 0..=(24 * 60 + 40) {
            let holds = (10..24 * 60 + 30).contains(&minute);
            let alarm = Alarm { about: "disk".to_owned(), text: "nearly full".to_owned() };
            let (next, messages) = decide(&known, holds.then_some(alarm).into_iter().collect(), &options(), at(minute));
            told.extend(messages.into_iter().map(|message| (minute, message.event, message.since)));
            known = next;
        }
        let since = at(10);
        assert_eq!(told, [(25, "alarm", since), (25 + 24 * 60, "reminder", since), (24 * 60 + 30, "resolved", since)],);
    }

    #[test]
    fn what_passes_quickly_is_never_told() {
        let alarm = Alarm { about: "lag/index".to_owned(), text: "late".to_owned() };
        let (known, messages) = decide(&BTreeMap::new(), vec![alarm], &options(), at(0));
        assert_eq!(messages, []);
        let (known, messages) = decide(&known, Vec::new(), &options(), at(14));
        assert_eq!((known.len(), messages.len()), (0, 0));
    }
}
