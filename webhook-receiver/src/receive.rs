//! Makes a delivery's consequences durable before it is answered.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fail::fail_point;
use gharvest_archive::{Archive, InboxEntry};
use gharvest_model::{
    ItemId, Lane, QueueName, RepositoryId, RepositoryName, Subject, job::part, labels::LabelRename, record::Fact,
    removal::DeletionPolicy, tracking::Tracked,
};
use gharvest_queue::{Pushed, Queue, Timing, Trigger};
use gharvest_service_kit::{settings::Untracked, trace};
use gharvest_state::{
    State,
    feed::{self, Heard},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tracing::Span;

use crate::{
    classify::{Classified, Headers, TrackingChange, classify, trigger},
    hooks::Hooks,
    payload::Payload,
    tracking::{List, Tracking},
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

/// Not all of a delivery could be made durable: GitHub has to hear that.
#[derive(Debug, thiserror::Error)]
pub enum NotDurable {
    /// Its triggers are nowhere.
    #[error("neither queue nor inbox takes it: {queue}; {inbox}")]
    Nowhere {
        /// Why the queue did not take it.
        queue: String,
        /// Why the inbox did not.
        inbox: String,
    },
    /// What it tells, and GitHub never says again, is not kept. Its download may be on the queue all the same.
    #[error("what it tells cannot be kept: {0}")]
    Facts(String),
    /// What is tracked could not be read or changed. Its download may be on the queue all the same.
    #[error("what is tracked cannot be read or changed: {0}")]
    Tracking(String),
}

impl NotDurable {
    fn unknown() -> Self {
        Self::Tracking("the archive has not told it".to_owned())
    }
}

/// What became of a delivery, and what it was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What became of it.
    pub outcome: Outcome,
    /// The first job, or the repository; empty for neither.
    pub subject: String,
}

/// A queue that does not answer in this time counts as away: GitHub waits for ten seconds.
const PUSH_DEADLINE: Duration = Duration::from_secs(3);

/// The same of an archive that is to keep something.
const KEEP_DEADLINE: Duration = Duration::from_secs(3);

/// A queue that did not answer in time is left alone for so long; then one delivery tries it.
const HANGS_FOR: Duration = Duration::from_secs(5);

/// The most triggers of one installation that are pushed at once.
const MOST_TRIGGERS: usize = 2_500;

/// A repository's latest delivery is noted this often.
const NOTED_EVERY: Duration = Duration::from_secs(30);

/// The same triggers, and where this delivery is traced each once more for that reason: so the job keeps both.
fn with_trace(mut triggers: Vec<Trigger>) -> Vec<Trigger> {
    if let Some(parent) = trace::parent_of_next(&Span::current()) {
        let traced = triggers.iter().map(|trigger| Trigger { reason: parent.clone(), ..trigger.clone() });
        let traced: Vec<_> = traced.take(MOST_TRIGGERS - triggers.len().min(MOST_TRIGGERS)).collect();
        triggers.extend(traced);
    }
    triggers
}

/// Keeps something in time, or says why not.
pub(crate) async fn keep<T>(keeping: impl Future<Output = Result<T, gharvest_archive::Error>>) -> Result<T, String> {
    match timeout(KEEP_DEADLINE, keeping).await {
        Ok(kept) => kept.map_err(|error| error.to_string()),
        Err(_) => Err("the archive does not answer in time".to_owned()),
    }
}

/// Takes deliveries of one deployment.
#[derive(Debug)]
pub struct Receiver {
    queue: Arc<dyn Queue>,
    archive: Archive,
    state: Option<Arc<dyn State>>,
    untracked: Untracked,
    tracking: Tracking,
    hooks: Hooks,
    noted: Mutex<HashMap<RepositoryId, Instant>>,
    /// Until when the queue is not asked, because it did not answer in time.
    hangs_until: Mutex<Option<Instant>>,
}

impl Receiver {
    /// A receiver that pushes to this queue and keeps facts in this archive.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, in which it reads what is tracked.
    pub fn new(queue: Arc<dyn Queue>, archive: Archive, untracked: Untracked) -> Self {
        Self {
            queue,
            tracking: Tracking::of(archive.clone()),
            hooks: Hooks::of(archive.clone()),
            archive,
            state: None,
            untracked,
            noted: Mutex::default(),
            hangs_until: Mutex::default(),
        }
    }

    /// Notes in this state when a repository's hook was last heard, as [`Heard`].
    #[must_use]
    pub fn with_state(mut self, state: Arc<dyn State>) -> Self {
        self.state = Some(state);
        self
    }

    /// Makes everything that follows from a delivery durable. The caller has checked who sent it.
    ///
    /// # Errors
    /// When not all of it is durable. Its facts may be kept then already, or its download asked for: both do no harm if it
    /// comes again.
    pub async fn receive(&self, headers: Headers<'_>, payload: &Payload) -> Result<Received, NotDurable> {
        self.receive_at(headers, payload, Timestamp::now()).await
    }

    /// The same for a delivery that should have arrived earlier: its facts count from then.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub async fn receive_at(
        &self,
        headers: Headers<'_>,
        payload: &Payload,
        now: Timestamp,
    ) -> Result<Received, NotDurable> {
        let classified = classify(headers, payload, now);
        let repository = classified.repository;
        let subject = match (classified.triggers.first(), repository) {
            (Some(trigger), _) => trigger.subject.to_string(),
            (None, Some(repository)) => repository.to_string(),
            (None, None) => String::new(),
        };
        let outcome = self.take(headers, payload, classified, now).await?;
        if let Some(repository) = repository.filter(|_| !matches!(outcome, Outcome::Untracked | Outcome::Ignored)) {
            self.note(repository, headers, now);
            if let Some(hook) = headers.hook {
                self.hooks.heard(hook, payload, now);
            }
        }
        Ok(Received { outcome, subject })
    }

    async fn take(
        &self,
        headers: Headers<'_>,
        payload: &Payload,
        mut classified: Classified,
        now: Timestamp,
    ) -> Result<Outcome, NotDurable> {
        if classified.meaning == "ping" {
            self.hooks.pinged(payload, now).await;
            return Ok(Outcome::Pong);
        }
        if headers.event == "meta" && payload.action.as_deref() == Some("deleted") {
            self.hooks.gone(payload, now).await;
        }
        if !classified.tracking.is_empty() {
            return self.change_tracking(headers, classified.tracking, now).await;
        }
        let found = payload.repository.as_ref();
        if classified.triggers.is_empty() && found.is_none_or(|found| !found.private) {
            return Ok(Outcome::Ignored);
        }
        // Sub-issues and transfers name items elsewhere, which may be tracked or not.
        let named = classified.triggers.iter().filter_map(|trigger| trigger.subject.repository());
        let list = self.tracking.about(&named.chain(found.map(|found| found.id)).collect::<Vec<_>>()).await;
        if let Some(id) = self.hear_private(payload, &list, now).await? {
            // GitHub's own word ends what a delivery from long ago began.
            let metadata = trigger(Subject::part(id, part::METADATA), headers.event);
            if classified.triggers.iter().all(|trigger| trigger.subject != metadata.subject) {
                classified.triggers.push(metadata);
            }
        }
        if classified.triggers.is_empty() {
            return Ok(Outcome::Ignored);
        }
        let new = found.filter(|found| self.untracked == Untracked::Track && list.get(found.id).is_none());
        // Whether it is new is not known: its download is asked for, which begins nothing, and GitHub hears that.
        let is_known = new.is_none() || list.is_certain;
        if let Some(found) = new.filter(|_| is_known) {
            self.track(&[newly_tracked(found.id, &found.full_name, found.private, now)]).await?;
            classified.triggers.extend(first_triggers(found.id));
        }
        let is_tracked = |id: RepositoryId| list.may_have(id) || new.is_some_and(|new| new.id == id);
        let mut tracked = classified.triggers;
        tracked.retain(|trigger| trigger.subject.repository().is_some_and(is_tracked));
        if tracked.is_empty() {
            return Ok(Outcome::Untracked);
        }
        let about_tracked =
            |(item, _): &(ItemId, Fact)| tracked.iter().any(|trigger| trigger.subject == Subject::Item(*item));
        let facts = classified.facts.filter(about_tracked);
        let Classified { repository, label_rename, .. } = classified;
        let classified = Classified { repository, facts, triggers: tracked, label_rename, ..Classified::default() };
        self.make_durable(headers, classified, is_known, now).await
    }

    /// Keeps the word that a tracked repository is private before anything else follows: no later answer of GitHub may
    /// say so, because tokens can lose sight of it. Says of which repository that was news.
    async fn hear_private(
        &self,
        payload: &Payload,
        list: &List,
        now: Timestamp,
    ) -> Result<Option<RepositoryId>, NotDurable> {
        let Some(found) = payload.repository.as_ref().filter(|found| found.private) else { return Ok(None) };
        let is_told_now = payload.action.as_deref() == Some("privatized");
        let is_news = is_told_now || list.get(found.id).is_some_and(|known| !known.private);
        if !is_news || !list.may_have(found.id) {
            return Ok(None);
        }
        keep(self.archive.hear_private(found.id, now)).await.map_err(NotDurable::Tracking)?;
        // So that the next delivery does not write it again.
        self.tracking.younger().await;
        Ok(Some(found.id))
    }

    /// Those of these repositories that are known here, and by no name, present or former, that `covers` says yes to.
    pub(crate) async fn foreign(
        &self,
        ids: &[RepositoryId],
        covers: impl Fn(&RepositoryName) -> bool,
    ) -> Result<Vec<RepositoryId>, NotDurable> {
        let list = self.tracking.about(ids).await;
        let mut foreign = Vec::new();
        for id in ids {
            let known = list.get(*id);
            if known.is_some_and(|known| covers(&known.name)) {
                continue;
            }
            if known.is_none() && !list.is_certain {
                return Err(NotDurable::unknown());
            }
            let is_foreign = match keep(self.archive.repository(*id)).await.map_err(NotDurable::Tracking)? {
                Some(file) => !file.former_names.iter().chain([&file.full_name]).any(&covers),
                None => known.is_some(),
            };
            foreign.extend(is_foreign.then_some(*id));
        }
        Ok(foreign)
    }

    /// Notes that the hook works. It may be lost, so nobody waits for it.
    fn note(&self, repository: RepositoryId, headers: Headers<'_>, now: Timestamp) {
        let Some(state) = self.state.clone() else { return };
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.get(&repository).is_some_and(|at| at.elapsed() < NOTED_EVERY) {
                return;
            }
            noted.insert(repository, Instant::now());
        }
        let heard = Heard { at: now, event: headers.event.to_owned(), delivery: headers.delivery.to_owned() };
        tokio::spawn(async move {
            if let Err(error) = feed::put(&*state, repository, &heard).await {
                tracing::debug!(%error, "when a hook was last heard cannot be noted");
            }
        });
    }

    /// Facts first, then triggers: a trigger whose facts are missing would merge them too late. What is of a repository of
    /// which it is not known whether to begin it has to come again.
    async fn make_durable(
        &self,
        headers: Headers<'_>,
        classified: Classified,
        is_known: bool,
        now: Timestamp,
    ) -> Result<Outcome, NotDurable> {
        let about = classified.facts.as_ref().map(|(item, _)| *item);
        let kept = self.keep_facts(classified.facts, classified.repository.zip(classified.label_rename)).await;
        let triggers = with_trace(classified.triggers);
        let known = if is_known { Ok(()) } else { Err(NotDurable::unknown()) };
        if let Err(reason) = kept.map_err(NotDurable::Facts).and(known) {
            // The download need not wait as well. The delivery's id stays unseen: sent again, it may be taken whole.
            if let Err(error) = self.push(&triggers, None).await {
                tracing::debug!(delivery = headers.delivery, error, "nor can its download be asked for");
            }
            return Err(reason);
        }
        fail_point!("receiver-kept");
        let outcome = self.push_or_spool(headers, &triggers, now).await;
        fail_point!("receiver-pushed");
        if let (Ok(Outcome::Duplicate), Some(item)) = (&outcome, about) {
            self.forget_if_merged(item, headers.delivery).await;
        }
        outcome
    }

    async fn keep_facts(
        &self,
        facts: Option<(ItemId, Fact)>,
        rename: Option<(RepositoryId, LabelRename)>,
    ) -> Result<(), String> {
        if let Some((item, fact)) = facts {
            let entry = InboxEntry { item: Some(item), fact, triggers: Value::Null };
            keep(self.archive.put_inbox(&entry)).await?;
        }
        if let Some((repository, rename)) = rename {
            keep(self.archive.hear_label_rename(repository, &rename)).await?;
        }
        Ok(())
    }

    /// Facts that came again long after they were merged would wait in the inbox, and cause one more download.
    async fn forget_if_merged(&self, item: ItemId, delivery: &str) {
        let merged = match self.archive.record(item).await {
            Ok(record) => record.is_some_and(|record| record.kept.iter().any(|fact| fact.delivery == delivery)),
            Err(_) => false,
        };
        if merged && let Err(error) = self.archive.remove_inbox(delivery).await {
            tracing::debug!(delivery, %error, "facts that were merged already stay in the inbox for now");
        }
    }

    async fn push_or_spool(
        &self,
        headers: Headers<'_>,
        triggers: &[Trigger],
        now: Timestamp,
    ) -> Result<Outcome, NotDurable> {
        let queue_error = match self.push(triggers, Some(headers.delivery)).await {
            Ok(pushed) if pushed.contains(&Pushed::Duplicate) => return Ok(Outcome::Duplicate),
            Ok(_) => return Ok(Outcome::Queued),
            Err(error) => error,
        };
        tracing::warn!(delivery = headers.delivery, error = %queue_error, "the queue is away, spooling the delivery");
        metrics::counter!("gharvest_webhook_spooled_total").increment(1);
        let triggers = serde_json::to_value(triggers).expect("triggers are plain data");
        let entry = InboxEntry { item: None, fact: spool_fact(headers, now), triggers };
        match keep(self.archive.put_inbox(&entry)).await {
            Ok(()) => Ok(Outcome::Spooled),
            Err(inbox) => Err(NotDurable::Nowhere { queue: queue_error, inbox }),
        }
    }

    /// Pushes, or says why not. While the queue hangs only one delivery at a time waits for it: if each did, those behind
    /// them would find no connection to be heard on.
    async fn push(&self, triggers: &[Trigger], delivery: Option<&str>) -> Result<Vec<Pushed>, String> {
        if !self.may_ask_the_queue() {
            return Err("the queue did not answer in time a moment ago".to_owned());
        }
        let pushed = timeout(PUSH_DEADLINE, self.queue.push(triggers, delivery)).await;
        *self.hangs_until() = pushed.is_err().then(|| Instant::now() + HANGS_FOR);
        match pushed {
            Ok(pushed) => pushed.map_err(|error| error.to_string()),
            // It may have taken effect all the same: then the later push of what is spooled is a duplicate.
            Err(_) => Err("the queue does not answer in time".to_owned()),
        }
    }

    /// Whether the queue answered when it was last asked, or it is this delivery's turn to try.
    fn may_ask_the_queue(&self) -> bool {
        let mut hangs_until = self.hangs_until();
        match *hangs_until {
            Some(until) if until > Instant::now() => false,
            Some(_) => {
                *hangs_until = Some(Instant::now() + PUSH_DEADLINE + HANGS_FOR);
                true
            }
            None => true,
        }
    }

    fn hangs_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.hangs_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tracks repositories, all in one step: an installation may bring thousands.
    async fn track(&self, new: &[Tracked]) -> Result<(), NotDurable> {
        self.archive.track_new(new).await.map_err(|error| NotDurable::Tracking(error.to_string()))
    }

    async fn change_tracking(
        &self,
        headers: Headers<'_>,
        changes: Vec<TrackingChange>,
        now: Timestamp,
    ) -> Result<Outcome, NotDurable> {
        let list = self.tracking.younger().await;
        if !list.is_certain {
            return Err(NotDurable::unknown());
        }
        let (mut triggers, mut new, mut left_out) = (Vec::new(), Vec::new(), false);
        for change in changes {
            match change {
                TrackingChange::Added(id, ..) if list.may_have(id) => {}
                TrackingChange::Added(id, name, private) if self.untracked == Untracked::Track => {
                    let Ok(name) = name.parse::<RepositoryName>() else { continue };
                    new.push(newly_tracked(id, &name, private, now));
                    triggers.extend(first_triggers(id));
                }
                TrackingChange::Added(..) => left_out = true,
                // What can no longer be fetched says so at its next download; nothing is forgotten here.
                TrackingChange::Removed(id) => {
                    triggers.extend(list.may_have(id).then(|| part_trigger(id, part::METADATA)));
                }
                // GitHub answers old names with new ones; every repository of the owner has to ask.
                TrackingChange::Owner(login) => {
                    let owned = list.iter().filter(|(_, known)| known.name.owner().eq_ignore_ascii_case(&login));
                    triggers.extend(owned.map(|(id, _)| part_trigger(id, part::METADATA)));
                }
            }
        }
        if !new.is_empty() {
            self.track(&new).await?;
        }
        // GitHub waits for ten seconds. Whatever is left out here the seeder finds: not walked, not looked at.
        triggers.truncate(MOST_TRIGGERS);
        if triggers.is_empty() {
            return Ok(if left_out { Outcome::Untracked } else { Outcome::Ignored });
        }
        self.push_or_spool(headers, &triggers, now).await.map(|outcome| match outcome {
            Outcome::Queued => Outcome::TrackingChanged,
            other => other,
        })
    }
}

/// A repository as it is first tracked.
fn newly_tracked(id: RepositoryId, name: &RepositoryName, private: bool, now: Timestamp) -> Tracked {
    Tracked {
        id,
        name: name.clone(),
        private,
        since: now,
        complete_at: None,
        trouble: None,
        trouble_since: None,
        deleted: DeletionPolicy::Keep,
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

/// What the inbox's entry of a whole delivery is named behind the delivery's own id: the facts of the same delivery have
/// an entry of their own, which is merged and removed by another hand.
pub const SPOOL: &str = "-spool";

fn spool_fact(headers: Headers<'_>, now: Timestamp) -> Fact {
    Fact {
        delivery: format!("{}{SPOOL}", headers.delivery),
        event: headers.event.to_owned(),
        action: String::new(),
        received_at: now,
        actor: None,
        facts: Value::Null,
    }
}
