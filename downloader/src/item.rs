//! One item: from what GitHub says about its number to the record, the ledger and the index job.
//!
//! The revision is read before GitHub is asked, and the record is stored only if that is still the revision: a slow
//! worker never replaces what a faster one stored. Record, then ledger, then inbox, then the job's settlement with its
//! index job. A crash between the first and the last is met by [`index_needed`].
//!
//! # What a number can be
//! | GitHub says | there is a record | there is none |
//! | --- | --- | --- |
//! | 200 | stored if it changed | stored |
//! | 200 about another repository's item | the repository has a new name, once more; or it is gone | the same |
//! | 410 deleted | tombstone | ledger only |
//! | 301 of the repository | the repository is renamed, once more | the same |
//! | 301 of the item | tombstone with the target | the same |
//! | any other redirect | nothing, tried again | nothing, tried again |
//! | 404, and GraphQL shows a discussion | tombstone with the discussion's address | not an item in the ledger |
//! | 404, and a webhook said what happened | tombstone | ledger only |
//! | 404, the token sees no other item | nothing, tried again | nothing, tried again |
//! | 404, and GitHub's own list showed it | suspected in the ledger (unknown, with the time); a tombstone if so again a day later, and no list showed it since | the same; then hidden in the ledger |
//! | 404 | the same | hidden in the ledger: nothing can be lost, and the sweep asks again |
//!
//! What a 404 means is decided in `unshown`.
//!
//! States of the repository (disabled, blocked, not to be seen) change no item.

use std::{collections::BTreeMap, time::Duration};

use fail::fail_point;
use gharvest_archive::{Hint, InboxEntry, LedgerChange, Repository, Written};
use gharvest_github::{Answer, ErrorKind, Listed, Purpose, Resource};
use gharvest_model::{
    ItemId, Kind, Lane, Record, RepositoryName,
    drift::{self, Drift},
    job::reason::is_swept,
    ledger::NumberState,
    progress::ItemsCursor,
    record::{Fact, RecordRepository, RecordState, Visibility},
};
use gharvest_queue::Job;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    Downloader, SHOWN_FOR,
    fetch::{Fetched, Thread, Wanted},
    history,
    location::{self, Location, Place},
    outcome::Failure,
    repository, twin,
    unshown::{Meaning, Unshown},
    walk::time_of,
};

/// A 404 of an item that was there must be seen again after this time before it counts.
pub const CONFIRM_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How often a webhook's word is believed more than a 404: GitHub's own copies lag a little.
const BELIEVED_ATTEMPTS: u32 = 3;

/// What is at hand before GitHub is asked.
#[derive(Debug)]
pub(crate) struct Prepared {
    item: ItemId,
    existing: Option<Record>,
    inbox: Vec<InboxEntry>,
    /// When a list of GitHub's showed it last, if it was not stored since.
    listed_at: Option<Timestamp>,
}

/// How one round ended.
#[derive(Debug)]
pub(crate) enum Round {
    /// Done; whether the index must be told.
    Done { index: bool },
    /// Somebody else stored a revision meanwhile, or the repository has a new name: once more.
    Again,
}

impl Downloader {
    /// Reads what is known of an item, before GitHub is asked.
    pub(crate) async fn prepare(
        &self,
        repository: &Repository,
        job: &Job,
        number: u64,
    ) -> Result<(Prepared, Wanted), Failure> {
        let item = ItemId { repository: repository.id, number };
        let existing = self.archive.record(item).await?;
        let known = existing.clone().filter(|record| !record.state.is_tombstone());
        let known = known.map(|known| self.options.twins.without_what_hides_a_link(repository, known));
        let inbox = self.archive.inbox(item).await?;
        let hint = self.archive.hint(item).await?;
        let listed_at = hint.as_ref().map(|hint| hint.seen_at);
        let hint = hint.filter(|hint| {
            let newer_than_stored = existing.as_ref().is_none_or(|record| is_newer(hint, record));
            newer_than_stored && (job.lane >= Lane::Reconcile || job.last_at.is_some_and(|last| hint.seen_at > last))
        });
        let hint = hint.map(|hint| {
            let review_comments = hint.has_all_review_comments.then_some(&hint.review_comments);
            Listed::new(&hint.issue, review_comments)
        });
        let wanted = Wanted { number, hint, known };
        Ok((Prepared { item, existing, inbox, listed_at }, wanted))
    }

    /// Stores what GitHub said.
    pub(crate) async fn finish(
        &self,
        repository: &Repository,
        job: &Job,
        prepared: &Prepared,
        fetched: Fetched,
        purpose: Purpose,
    ) -> Result<Round, Failure> {
        fail_point!("downloader-fetched");
        match fetched {
            Fetched::Thread(thread) => {
                let known = prepared.existing.as_ref().and_then(|existing| existing.issue.as_ref());
                if self.is_misnamed(repository, known, &thread.issue, purpose).await? {
                    return Ok(Round::Again);
                }
                let mut record = self.record_of(repository, prepared, *thread);
                self.take_twin(repository, prepared.existing.as_ref(), &mut record, purpose).await?;
                if let Some(images) = &self.images {
                    images.keep(&self.archive, &record).await?;
                }
                self.store(job, prepared, record, NumberState::Present).await
            }
            Fetched::Deleted => self.bury_item(repository, job, prepared, RecordState::Deleted).await,
            Fetched::Moved { location } => self.moved(repository, job, prepared, &location, purpose).await,
            Fetched::Missing => self.missing(repository, job, prepared, purpose).await,
        }
    }

    pub(crate) fn record_of(&self, repository: &Repository, prepared: &Prepared, thread: Thread) -> Record {
        let now = Timestamp::now();
        let name = RecordRepository { id: repository.id, full_name: repository.full_name.clone() };
        let mut record = Record::new(name, prepared.item.number, thread.kind(), now);
        record.origin = thread.origin;
        record.etags = thread.etags;
        record.issue = Some(thread.issue);
        record.timeline = thread.timeline;
        record.pull = thread.pull;
        record.review_comments = thread.review_comments;
        if let Some(existing) = &prepared.existing {
            record.revision = existing.revision;
            history::carry_over(existing, &mut record, self.options.max_history, now);
        }
        history::merge_facts(&mut record, prepared.facts());
        record
    }

    /// The number is a discussion's now, or always was.
    async fn discussion(&self, repository: &Repository, job: &Job, prepared: &Prepared) -> Result<Round, Failure> {
        let Some(existing) = &prepared.existing else {
            self.account(prepared, NumberState::NotAnItem).await?;
            return Ok(Round::Done { index: false });
        };
        let page = repository.repository.get("html_url").and_then(Value::as_str);
        let to = page.map(|page| format!("{page}/discussions/{}", prepared.item.number));
        let mut record = existing.clone();
        record.state = RecordState::Transferred { to };
        record.fetched_at = Timestamp::now();
        history::merge_facts(&mut record, prepared.facts());
        self.store(job, prepared, record, NumberState::NotAnItem).await
    }

    /// Makes a tombstone of what is stored. Without a record only a transfer leaves one: its target stands nowhere else.
    async fn bury_item(
        &self,
        repository: &Repository,
        job: &Job,
        prepared: &Prepared,
        state: RecordState,
    ) -> Result<Round, Failure> {
        let number_state = match state {
            RecordState::Present => NumberState::Present,
            RecordState::Deleted => NumberState::Deleted,
            RecordState::Hidden => NumberState::Hidden,
            RecordState::Transferred { .. } => NumberState::Transferred,
        };
        let mut record = match &prepared.existing {
            Some(existing) => existing.clone(),
            None if number_state == NumberState::Transferred => {
                let name = RecordRepository { id: repository.id, full_name: repository.full_name.clone() };
                // Pull requests cannot be transferred.
                Record::new(name, prepared.item.number, Kind::Issue, Timestamp::now())
            }
            None => {
                self.account(prepared, number_state).await?;
                return Ok(Round::Done { index: false });
            }
        };
        record.state = state;
        record.visibility = record.visibility_in(visibility(repository));
        record.fetched_at = Timestamp::now();
        history::merge_facts(&mut record, prepared.facts());
        self.store(job, prepared, record, number_state).await
    }

    async fn store(
        &self,
        job: &Job,
        prepared: &Prepared,
        mut record: Record,
        state: NumberState,
    ) -> Result<Round, Failure> {
        self.withhold(&mut record).await?;
        let drift = swept_drift(job, prepared.existing.as_ref(), &record);
        let written = self.archive.put_record(record).await?;
        fail_point!("downloader-stored");
        if matches!(written, Written::Stored(_)) && !drift.is_empty() {
            let ItemId { repository, number } = prepared.item;
            for kind in &drift {
                metrics::counter!("gharvest_drift_total", "kind" => kind.as_str()).increment(1);
            }
            self.archive.add_drift(repository, number, &drift, Timestamp::now()).await?;
        }
        if let Written::Conflict(_) = written {
            return Ok(Round::Again);
        }
        self.account(prepared, state).await?;
        let index = match written {
            Written::Stored(_) | Written::Filled(_) => true,
            _ => index_needed(job, prepared.existing.as_ref().map(|existing| existing.changed_at), Timestamp::now()),
        };
        Ok(Round::Done { index })
    }

    /// Takes out of a record what may not be kept.
    pub(crate) async fn withhold(&self, record: &mut Record) -> Result<(), Failure> {
        twin::withhold_private(record);
        Ok(self.archive.follow_deletion_policy(record).await?)
    }

    /// What follows a durable record: the ledger, and the end of facts and hints that are merged.
    pub(crate) async fn account(&self, prepared: &Prepared, state: NumberState) -> Result<(), Failure> {
        let ItemId { repository, number } = prepared.item;
        let change = LedgerChange { number, state, verified_at: Timestamp::now() };
        self.archive.update_ledger(repository, &[change]).await?;
        fail_point!("downloader-accounted");
        for entry in &prepared.inbox {
            self.archive.remove_inbox(&entry.fact.delivery).await?;
        }
        self.archive.forget_hint(prepared.item).await?;
        Ok(())
    }

    /// 301: of the repository, which has a new name then, or of the item. An address without a number of an issue or a
    /// discussion is none of GitHub's.
    async fn moved(
        &self,
        repository: &Repository,
        job: &Job,
        prepared: &Prepared,
        address: &str,
        purpose: Purpose,
    ) -> Result<Round, Failure> {
        let Some(Location { place, number: Some(number), discussion }) = location::parse(address) else {
            return Err(Failure::Again(format!("GitHub moves {} to what is no item: {address}", prepared.item)));
        };
        if discussion {
            return self.discussion(repository, job, prepared).await;
        }
        let same_repository = match &place {
            Place::Id(id) => *id == repository.id,
            Place::Name(name) => self.is_name_of(repository, name, purpose).await?,
        };
        if same_repository && number == prepared.item.number {
            let (fresh, _) = self.refresh(repository, None, purpose).await?;
            if fresh.full_name == repository.full_name {
                return Err(Failure::Again(format!("GitHub moves {} to itself: {address}", prepared.item)));
            }
            return Ok(Round::Again);
        }
        let to = self.target(place, number, address, purpose).await?;
        self.bury_item(repository, job, prepared, RecordState::Transferred { to }).await
    }

    async fn is_name_of(
        &self,
        repository: &Repository,
        name: &RepositoryName,
        purpose: Purpose,
    ) -> Result<bool, Failure> {
        if name.key() == repository.full_name.key() {
            return Ok(true);
        }
        let answer = self.client.get(&Resource::Repository(name.clone()), None, purpose).await?;
        Ok(matches!(answer, Answer::Found(found) if found.body["id"].as_u64() == Some(repository.id.0)))
    }

    /// A transfer's target for people, `owner/name#12`; the address, which has ids, where GitHub does not show it. None if
    /// the target is private: whoever may see this item need not know of it.
    async fn target(
        &self,
        place: Place,
        number: u64,
        address: &str,
        purpose: Purpose,
    ) -> Result<Option<String>, Failure> {
        let elsewhere = self.elsewhere_of(&place, purpose).await?;
        Ok(match (elsewhere, place) {
            (Elsewhere::Public(name), _) => Some(format!("{name}#{number}")),
            (Elsewhere::Unseen, Place::Id(_)) => Some(address.to_owned()),
            (Elsewhere::Unseen, Place::Name(_)) | (Elsewhere::Private, _) => None,
        })
    }

    /// Another repository by what the archive knows of it, or else GitHub.
    async fn elsewhere_of(&self, place: &Place, purpose: Purpose) -> Result<Elsewhere, Failure> {
        let known = match place {
            Place::Id(id) => Some(*id),
            Place::Name(name) => self.archive.resolve(name).await?,
        };
        if let Some(id) = known
            && let Some(known) = self.archive.repository(id).await?
        {
            return Ok(Elsewhere::of(&known));
        }
        let asked_before = self.elsewhere().get(place).filter(|(at, _)| at.elapsed() < SHOWN_FOR).cloned();
        if let Some((_, asked_before)) = asked_before {
            return Ok(asked_before);
        }
        let resource = match place {
            Place::Id(id) => Resource::RepositoryById(*id),
            Place::Name(name) => Resource::Repository(name.clone()),
        };
        let found = match self.client.get(&resource, None, purpose).await? {
            Answer::Found(found) => repository::from_body(found.body, None, Timestamp::now()),
            _ => None,
        };
        let elsewhere = found.as_ref().map_or(Elsewhere::Unseen, Elsewhere::of);
        let mut asked = self.elsewhere();
        asked.retain(|_, (at, _)| at.elapsed() < SHOWN_FOR);
        asked.insert(place.clone(), (Instant::now(), elsewhere.clone()));
        Ok(elsewhere)
    }

    /// Which of these numbers GraphQL tells to be discussions; none where it cannot be asked at all. It alone tells, so the
    /// job waits for its budget, and a failure that passes is one of the job.
    pub(crate) async fn discussions(
        &self,
        repository: &Repository,
        numbers: &[u64],
        purpose: Purpose,
    ) -> Result<Option<BTreeMap<u64, bool>>, Failure> {
        if !self.client.can_graphql() {
            return Ok(None);
        }
        match self.client.discussions(&repository.full_name, numbers, purpose).await {
            Ok(found) => Ok(Some(found)),
            Err(error) => match error.kind() {
                // REST may have budget: nothing else need wait.
                ErrorKind::RateLimited { until } => Err(Failure::Later { until: *until, reason: error.to_string() }),
                ErrorKind::Forbidden | ErrorKind::Refused => {
                    tracing::warn!(repo.name = %repository.full_name, error = %error, "Nobody tells what is a discussion");
                    Ok(None)
                }
                _ => Err(error.into()),
            },
        }
    }

    /// 404: see [`Unshown`].
    async fn missing(
        &self,
        repository: &Repository,
        job: &Job,
        prepared: &Prepared,
        purpose: Purpose,
    ) -> Result<Round, Failure> {
        let ItemId { number, .. } = prepared.item;
        let last_word = prepared.last_word();
        // Where a webhook said it, nothing is asked.
        let (shows_others, discussion) = match last_word {
            Some(_) => (true, None),
            None if !self.shows_items(repository, purpose).await? => (false, None),
            None if self.was_asked_for_by_walk(prepared, purpose).await? => (true, None),
            None => {
                let found = self.discussions(repository, &[number], purpose).await?;
                (true, found.and_then(|found| found.get(&number).copied()))
            }
        };
        let entry = self.archive.ledger(repository.id).await?.get(number);
        let known = Unshown {
            last_word,
            record: prepared.existing.as_ref().map(|record| record.state.clone()),
            listed_at: prepared.listed_at,
            shows_others,
            discussion,
            entry,
            is_named: job.lane == Lane::Webhook && job.attempt < BELIEVED_ATTEMPTS,
        };
        let now = Timestamp::now();
        match known.meaning(now) {
            Meaning::Ended(state) => self.bury_item(repository, job, prepared, state).await,
            Meaning::Discussion => self.discussion(repository, job, prepared).await,
            Meaning::Suspected => Ok(Round::Done { index: false }),
            Meaning::Suspect => {
                let change = LedgerChange { number, state: NumberState::Unknown, verified_at: now };
                self.archive.update_ledger(repository.id, &[change]).await?;
                tracing::warn!(item = %prepared.item, "Item answers 404, to be confirmed in a day");
                Ok(Round::Done { index: false })
            }
            Meaning::Unseen => Err(Failure::Again(format!(
                "{} answers 404, but the token sees no other item of {} either",
                prepared.item, repository.full_name
            ))),
            Meaning::TooEarly => {
                Err(Failure::Again(format!("a webhook named {}, but GitHub answers 404", prepared.item)))
            }
        }
    }
}

impl Downloader {
    /// Whether the walk of a first mirror asked what this number is: it asks at once for all that its list left out. What
    /// was opened since is above.
    async fn was_asked_for_by_walk(&self, prepared: &Prepared, purpose: Purpose) -> Result<bool, Failure> {
        if purpose != Purpose::Backfill || prepared.existing.is_some() {
            return Ok(false);
        }
        let ItemId { repository, number } = prepared.item;
        let walk = ItemsCursor::read(self.archive.cursor(&ItemsCursor::feed(repository)).await?);
        Ok(walk.is_some_and(|walk| number <= walk.discussions_told))
    }
}

impl Prepared {
    /// Whether there is a record, also one of a tombstone.
    pub(crate) fn has_record(&self) -> bool {
        self.existing.is_some()
    }

    /// Whether webhooks said something that is not in the record yet.
    pub(crate) fn has_facts(&self) -> bool {
        !self.inbox.is_empty()
    }

    fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.inbox.iter().map(|entry| &entry.fact)
    }

    /// What webhooks said of the item's end, the latest first: GitHub says no more than 404 afterwards.
    fn last_word(&self) -> Option<RecordState> {
        let kept = self.existing.iter().flat_map(|record| &record.kept);
        let mut facts: Vec<&Fact> = kept.chain(self.facts()).filter(|fact| fact.event == "issues").collect();
        facts.sort_by_key(|fact| fact.received_at);
        facts.into_iter().rev().find_map(|fact| match fact.action.as_str() {
            "deleted" => Some(RecordState::Deleted),
            "transferred" => Some(RecordState::Transferred { to: twin::told_target(&fact.facts) }),
            _ => None,
        })
    }
}

/// What is known of a repository that an item was transferred to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// Everybody may see it, under this name.
    Public(RepositoryName),
    /// Only some may see it.
    Private,
    /// GitHub does not show it.
    Unseen,
}

impl Elsewhere {
    fn of(repository: &Repository) -> Self {
        match repository.visibility() {
            Visibility::Public => Self::Public(repository.full_name.clone()),
            Visibility::Private => Self::Private,
        }
    }
}

pub(crate) fn visibility(repository: &Repository) -> Visibility {
    if repository.is_private() { Visibility::Private } else { Visibility::Public }
}

pub(crate) fn is_confirmed(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since).unsigned_abs() >= CONFIRM_AFTER
}

/// Whether a list may say more of an item than its record. What GitHub answers is sometimes older than what it answered
/// before.
fn is_newer(hint: &Hint, record: &Record) -> bool {
    let updated_at = |issue: &Value| time_of(issue, "updated_at");
    hint.seen_at > record.fetched_at && updated_at(&hint.issue) >= record.issue.as_ref().and_then(updated_at)
}

/// What had changed in silence, if the sweep asked for this download.
fn swept_drift(job: &Job, existing: Option<&Record>, record: &Record) -> Vec<Drift> {
    match existing {
        Some(existing) if job.reasons.iter().any(|reason| is_swept(reason)) => {
            drift::between(existing, record).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// Whether an unchanged record must be indexed all the same.
///
/// The record is stored in one step and the index job pushed in another, with the job's settlement. If the first was
/// done and the second not, the job comes again and finds its own work: unchanged. So an unchanged record is indexed
/// if this is not the job's first attempt, or if the stored revision is younger than the job (a release costs no
/// attempt). Jobs of backfills have no times; for them a day is taken. Too many index jobs cost a little work, one too
/// few would leave a thread out of search.
pub(crate) fn index_needed(job: &Job, changed_at: Option<Timestamp>, now: Timestamp) -> bool {
    /// The queue's clock and ours may differ.
    const SKEW: SignedDuration = SignedDuration::from_mins(1);
    let since = job.first_at.map_or(now - SignedDuration::from_hours(24), |first| first - SKEW);
    job.attempt > 1 || job.lost > 0 || changed_at.is_some_and(|changed| changed >= since)
}

#[cfg(test)]
mod tests {
    use gharvest_model::{RepositoryId, Subject};

    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3600).unwrap()
    }

    #[test]
    fn an_unchanged_record_is_indexed_when_its_index_job_may_be_missing() {
        let job = |attempt, lost, first_at| Job {
            subject: Subject::item(RepositoryId(7), 1),
            lane: Lane::Webhook,
            attempt,
            lost,
            first_at,
            last_at: first_at,
            reasons: Vec::new(),
        };
        let (now, changed) = (at(1000), Some(at(900)));
        assert!(!index_needed(&job(1, 0, Some(at(950))), changed, now), "an old change was indexed by its own job");
        assert!(index_needed(&job(1, 0, Some(at(899))), changed, now), "changed since the trigger: a released run");
        assert!(index_needed(&job(2, 0, Some(at(950))), changed, now));
        assert!(index_needed(&job(1, 1, Some(at(950))), changed, now));
        assert!(!index_needed(&job(1, 0, None), changed, now));
        assert!(index_needed(&job(1, 0, None), Some(at(990)), now));
    }

    #[test]
    fn a_404_is_confirmed_after_a_day() {
        assert!(!is_confirmed(at(0), at(23)));
        assert!(is_confirmed(at(0), at(24)));
    }
}
