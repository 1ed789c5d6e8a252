//! Makes a delivery's consequences durable before it is answered.

use std::{collections::HashSet, sync::Arc};

use fail::fail_point;
use gharvest_archive::{Archive, InboxEntry};
use gharvest_model::{
    Lane, QueueName, RepositoryId, RepositoryName, Subject, job::part, record::Fact, tracking::Tracked,
};
use gharvest_queue::{Pushed, Queue, Timing, Trigger};
use gharvest_service_kit::settings::Untracked;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::RwLock;

use crate::{
    classify::{Classified, Headers, TrackingChange, classify},
    payload::Payload,
};

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its triggers are on the queue.
    Queued,
    /// The queue is away; its triggers are in the inbox and will be pushed later.
    Spooled,
    /// It was delivered before.
    Duplicate,
    /// Its repository is not tracked.
    Untracked,
    /// What is tracked changed.
    TrackingChanged,
    /// A ping.
    Pong,
    /// It means nothing to us.
    Ignored,
}

impl Outcome {
    /// The outcome's name in answers, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Spooled => "spooled",
            Self::Duplicate => "duplicate",
            Self::Untracked => "untracked",
            Self::TrackingChanged => "tracking_changed",
            Self::Pong => "pong",
            Self::Ignored => "ignored",
        }
    }
}

/// Neither queue nor inbox took the delivery: nothing was done, GitHub has to hear that.
#[derive(Debug, thiserror::Error)]
#[error("neither queue nor inbox takes deliveries: {queue}; {inbox}")]
pub(crate) struct NotDurable {
    queue: String,
    inbox: String,
}

/// Takes deliveries of one deployment.
#[derive(Debug)]
pub struct Receiver {
    queue: Arc<dyn Queue>,
    archive: Archive,
    untracked: Untracked,
    /// Repositories known to be tracked. A miss asks the archive, so a repository counts from the moment it is tracked.
    tracked: RwLock<HashSet<RepositoryId>>,
}

impl Receiver {
    /// A receiver that pushes to this queue and keeps facts in this archive.
    pub fn new(queue: Arc<dyn Queue>, archive: Archive, untracked: Untracked) -> Self {
        Self { queue, archive, untracked, tracked: RwLock::default() }
    }

    /// Makes everything that follows from a delivery durable.
    pub(crate) async fn receive(&self, headers: Headers<'_>, payload: &Payload) -> Result<Outcome, NotDurable> {
        let now = Timestamp::now();
        let mut classified = classify(headers, payload, now);
        if classified.meaning == "ping" {
            self.record_ping(headers, payload, now).await;
            return Ok(Outcome::Pong);
        }
        if !classified.tracking.is_empty() {
            return self.change_tracking(headers, classified.tracking, now).await;
        }
        let Some(repository) = classified.repository.filter(|_| !classified.triggers.is_empty()) else {
            return Ok(Outcome::Ignored);
        };
        if !self.is_tracked(repository).await {
            match (self.untracked, &payload.repository) {
                (Untracked::Track, Some(found)) => {
                    self.track(found.id, &found.full_name, found.private, now).await?;
                    classified.triggers.extend(first_triggers(found.id));
                }
                _ => return Ok(Outcome::Untracked),
            }
        }
        self.make_durable(headers, classified, now).await
    }

    /// Facts first, then triggers: a trigger whose facts are missing would merge them too late.
    async fn make_durable(
        &self,
        headers: Headers<'_>,
        classified: Classified,
        now: Timestamp,
    ) -> Result<Outcome, NotDurable> {
        if let Some((item, fact)) = classified.facts {
            let entry = InboxEntry { item: Some(item), fact, triggers: Value::Null };
            self.archive
                .put_inbox(&entry)
                .await
                .map_err(|error| NotDurable { queue: "not asked".to_owned(), inbox: error.to_string() })?;
        }
        fail_point!("receiver-kept");
        let outcome = self.push_or_spool(headers, &classified.triggers, now).await;
        fail_point!("receiver-pushed");
        outcome
    }

    async fn push_or_spool(
        &self,
        headers: Headers<'_>,
        triggers: &[Trigger],
        now: Timestamp,
    ) -> Result<Outcome, NotDurable> {
        let queue_error = match self.queue.push(triggers, Some(headers.delivery)).await {
            Ok(pushed) if pushed.contains(&Pushed::Duplicate) => return Ok(Outcome::Duplicate),
            Ok(_) => return Ok(Outcome::Queued),
            Err(error) => error,
        };
        tracing::warn!(delivery = headers.delivery, error = %queue_error, "the queue is away, spooling the delivery");
        metrics::counter!("gharvest_webhook_spooled_total").increment(1);
        let triggers = serde_json::to_value(triggers).expect("triggers are plain data");
        let entry = InboxEntry { item: None, fact: spool_fact(headers, now), triggers };
        match self.archive.put_inbox(&entry).await {
            Ok(()) => Ok(Outcome::Spooled),
            Err(error) => Err(NotDurable { queue: queue_error.to_string(), inbox: error.to_string() }),
        }
    }

    async fn is_tracked(&self, repository: RepositoryId) -> bool {
        if self.tracked.read().await.contains(&repository) {
            return true;
        }
        match self.archive.tracking().await {
            Ok(tracking) => {
                let ids: HashSet<_> = tracking.into_iter().map(|tracked| tracked.id).collect();
                let found = ids.contains(&repository);
                *self.tracked.write().await = ids;
                found
            }
            // Without the list, a download too many is better than a trigger lost.
            Err(error) => {
                tracing::warn!(repository = repository.0, error = %error, "tracking cannot be read, taking the delivery");
                true
            }
        }
    }

    async fn track(
        &self,
        id: RepositoryId,
        name: &RepositoryName,
        private: bool,
        now: Timestamp,
    ) -> Result<(), NotDurable> {
        let tracked = Tracked {
            id,
            name: name.clone(),
            private,
            since: now,
            complete_at: None,
            trouble: None,
            trouble_since: None,
        };
        self.archive
            .track(tracked)
            .await
            .map_err(|error| NotDurable { queue: "not asked".to_owned(), inbox: error.to_string() })?;
        self.tracked.write().await.insert(id);
        Ok(())
    }

    async fn change_tracking(
        &self,
        headers: Headers<'_>,
        changes: Vec<TrackingChange>,
        now: Timestamp,
    ) -> Result<Outcome, NotDurable> {
        let mut triggers = Vec::new();
        for change in changes {
            match change {
                TrackingChange::Added(id, name, private) if self.untracked == Untracked::Track => {
                    let Ok(name) = name.parse::<RepositoryName>() else { continue };
                    if !self.is_tracked(id).await {
                        self.track(id, &name, private, now).await?;
                        triggers.extend(first_triggers(id));
                    }
                }
                // What can no longer be fetched says so at its next download; nothing is forgotten here.
                TrackingChange::Removed(id) if self.is_tracked(id).await => {
                    triggers.push(part_trigger(id, part::METADATA));
                }
                TrackingChange::Added(..) | TrackingChange::Removed(_) => {}
            }
        }
        if triggers.is_empty() {
            return Ok(Outcome::Untracked);
        }
        self.push_or_spool(headers, &triggers, now).await.map(|outcome| match outcome {
            Outcome::Queued => Outcome::TrackingChanged,
            other => other,
        })
    }

    /// A ping proves that the hook works: kept for `status`, and never a reason to fail.
    async fn record_ping(&self, headers: Headers<'_>, payload: &Payload, now: Timestamp) {
        let hook = serde_json::json!({ "hook_id": payload.hook_id, "at": now, "delivery": headers.delivery });
        let feed = match &payload.repository {
            Some(repository) => format!("hook/{}", repository.id),
            None => "hook/app".to_owned(),
        };
        if let Err(error) = self.archive.set_cursor(&feed, hook).await {
            tracing::warn!(error = %error, "the ping of a hook cannot be recorded");
        }
    }
}

/// A repository tracked from now on is fetched as a whole.
fn first_triggers(repository: RepositoryId) -> impl Iterator<Item = Trigger> {
    [part::METADATA, part::LABELS, part::MILESTONES, part::RELEASES, part::ITEMS]
        .into_iter()
        .map(move |part| part_trigger(repository, part))
}

fn part_trigger(repository: RepositoryId, part: &str) -> Trigger {
    Trigger {
        queue: QueueName::Download,
        subject: Subject::part(repository, part),
        lane: Lane::Webhook,
        timing: Timing::WhenFree,
        reason: "installation".to_owned(),
    }
}

fn spool_fact(headers: Headers<'_>, now: Timestamp) -> Fact {
    Fact {
        // An entry of its own: the facts of the same delivery are merged and removed by another hand.
        delivery: format!("{}-spool", headers.delivery),
        event: headers.event.to_owned(),
        action: String::new(),
        received_at: now,
        actor: None,
        facts: Value::Null,
    }
}
