//! What edited texts said before: GitHub's own edit history, as far as the budget allows.
//!
//! A follow-up of its own, pushed with a repository's data, never part of live work nor of a first mirror. It walks over
//! the records from its cursor on and asks twice: when were the texts that may have been edited last edited (twelve
//! hundred for a call and a point), and of those that were, what did they say (fifty). A record that is as it was at
//! the last walk is not asked about, and neither is a text whose last edit is known. A record whose number was not
//! verified since is not even read: whoever stores another revision verifies it. The walk stops when not more than
//! `[downloader] edits_reserve` of GraphQL's budget is left, or no token has any for it, and goes on there the next
//! time. It gives its lease back when its turn is over, and goes on when nothing more urgent waits.
//!
//! Part `edits-{block}` holds which revision of each of a thousand numbers was looked at, and when the ledger said that
//! it had been verified; cursor `edits/{repository}` behind which number the walk goes on. A record is stored by compare and swap as any; one that changed meanwhile
//! waits for the next walk, and so does one with a text about which GitHub said nothing.
//!
//! Metric: `gharvest_edits_left_out_total` (texts about which GitHub said nothing, even alone).

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt as _;
use gharvest_archive::{Repository, Written};
use gharvest_github::{EDITS_AT_ONCE, ErrorKind, Purpose};
use gharvest_model::{ItemId, Lane, QueueName, Record, Revision, Subject, job::part, ledger::Ledger};
use gharvest_queue::{Timing, Trigger};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::{Downloader, history, outcome::Failure, plan::Left, track};

/// The most records of one run: a repository of 150,000 items is walked over in eight.
const MOST_RECORDS: usize = 20_000;
/// The share of numbers that is accounted for when a first mirror is done: some may wait to be confirmed.
const MIRRORED: f64 = 0.99;
/// Texts whose last edit is asked for together.
const TEXTS_AT_ONCE: usize = 1_200;
/// Numbers whose revisions lie in one part.
const BLOCK: u64 = 1_000;

/// The place of the walk.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cursor {
    /// The last number that was looked at.
    after: u64,
    /// Records of this run so far, while it waits for its next turn.
    #[serde(default)]
    walked: usize,
}

/// How a turn of the walk ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    /// The run is over: the next one goes on.
    Enough,
    /// Its turn is over, the run is not.
    Interrupted,
}

/// A verification may be followed by another one in the same second, and by clocks that differ: so it says that nothing
/// was stored since only if it is older than this.
const SETTLED: SignedDuration = SignedDuration::from_mins(1);

/// What was looked at, by number.
type Looked = BTreeMap<u64, Seen>;

/// A record when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    revision: Revision,
    /// When the ledger said that the number was verified; none if that was too short ago to tell anything.
    verified_at: Option<Timestamp>,
}

/// A record with texts that may have been edited.
struct Candidate {
    number: u64,
    seen: Seen,
    texts: Vec<Text>,
}

/// A text by its node id.
struct Text {
    node: String,
    /// As a record's history names it.
    of: String,
    /// The last of its edits that GitHub told already.
    known_to: Option<Timestamp>,
}

impl Downloader {
    /// A turn of the walk over a repository's records, once its first mirror is done. The turn began with the lease.
    pub(crate) async fn walk_edits(&self, repository: &Repository, begun: Instant) -> Result<Walked, Failure> {
        let found = track::completeness(&self.archive, repository.id).await?;
        if !found.walked || found.share() < MIRRORED {
            return Ok(Walked::Enough);
        }
        let feed = format!("{}/{}", part::EDITS, repository.id);
        let stored = self.archive.cursor(&feed).await?.and_then(|cursor| serde_json::from_value(cursor).ok());
        let mut cursor: Cursor = stored.unwrap_or_default();
        let walked = match self.walk_on(repository, &feed, &mut cursor, begun).await {
            // Nobody waits for the past: what is reserved for live work is the end of a run, no trouble of the queue.
            Err(Failure::Github(error))
                if matches!(error.kind(), ErrorKind::RateLimited { .. } | ErrorKind::Unconfirmed { .. }) =>
            {
                Walked::Enough
            }
            walked => walked?,
        };
        if walked == Walked::Enough && cursor.walked > 0 {
            cursor.walked = 0;
            self.set_cursor(&feed, &cursor).await?;
        }
        Ok(walked)
    }

    async fn walk_on(
        &self,
        repository: &Repository,
        feed: &str,
        cursor: &mut Cursor,
        begun: Instant,
    ) -> Result<Walked, Failure> {
        let numbers: Vec<u64> = self.archive.numbers(repository.id, cursor.after).try_collect().await?;
        let mut rest = numbers.as_slice();
        while let Some(first) = rest.first() {
            if cursor.walked >= MOST_RECORDS || !self.may_ask_for_edits() {
                break;
            }
            let block = first / BLOCK;
            let mut looked = self.looked(repository, block).await?;
            let before = looked.clone();
            let most = rest.partition_point(|number| number / BLOCK == block).min(MOST_RECORDS - cursor.walked);
            let (candidates, walked) = self.gather(repository, &rest[..most], &mut looked).await?;
            let told = self.look_at(repository, candidates, &mut looked, begun).await;
            if looked != before {
                let value = serde_json::to_value(&looked).expect("numbers are plain data");
                self.archive.put_part(repository.id, &block_part(block), &value).await?;
            }
            if told? == Walked::Interrupted {
                return Ok(Walked::Interrupted);
            }
            let last = rest[walked - 1];
            rest = &rest[walked..];
            cursor.after = if rest.is_empty() { 0 } else { last };
            cursor.walked += walked;
            self.set_cursor(feed, cursor).await?;
            if !rest.is_empty() && self.is_over(begun) {
                return Ok(Walked::Interrupted);
            }
        }
        Ok(Walked::Enough)
    }

    /// The candidates among these numbers of one block, until their texts fill a request, and how many numbers these
    /// were: at least one.
    async fn gather(
        &self,
        repository: &Repository,
        numbers: &[u64],
        looked: &mut Looked,
    ) -> Result<(Vec<Candidate>, usize), Failure> {
        // Before the records: what is stored meanwhile is verified later than this says.
        let ledger = self.archive.ledger(repository.id).await?;
        let (mut candidates, mut texts): (Vec<Candidate>, usize) = (Vec::new(), 0);
        for (walked, number) in numbers.iter().enumerate() {
            if texts >= TEXTS_AT_ONCE {
                return Ok((candidates, walked));
            }
            let item = ItemId { repository: repository.id, number: *number };
            let candidate = self.candidate(item, &ledger, looked).await?;
            texts += candidate.as_ref().map_or(0, |candidate| candidate.texts.len());
            candidates.extend(candidate);
        }
        Ok((candidates, numbers.len()))
    }

    /// Whether so much of GraphQL's budget is left that texts of the past may have some of it.
    fn may_ask_for_edits(&self) -> bool {
        let reserve = self.options.edits_reserve;
        if reserve >= 1.0 || !self.client.can_graphql() {
            return false;
        }
        let left = Left::of(&self.client.budgets_for(Purpose::Backfill), "graphql");
        left.is_none_or(|left| left.remaining as f64 > left.limit as f64 * reserve)
    }

    async fn looked(&self, repository: &Repository, block: u64) -> Result<Looked, Failure> {
        let stored = self.archive.part(repository.id, &block_part(block)).await?;
        // What a newer program wrote, or a damage, only makes this block be asked about again.
        Ok(stored.and_then(|stored| serde_json::from_value(stored).ok()).unwrap_or_default())
    }

    /// A record that GitHub shows and that is not as it was when it was last looked at.
    async fn candidate(
        &self,
        item: ItemId,
        ledger: &Ledger,
        looked: &mut Looked,
    ) -> Result<Option<Candidate>, Failure> {
        let verified_at = ledger.get(item.number).verified_at;
        let before = looked.get(&item.number).copied();
        if before.is_some_and(|seen| seen.verified_at.is_some() && seen.verified_at == verified_at) {
            return Ok(None);
        }
        let Some(record) = self.archive.record(item).await? else { return Ok(None) };
        let is_settled = |at: &Timestamp| Timestamp::now().duration_since(*at) > SETTLED;
        let seen = Seen { revision: record.revision, verified_at: verified_at.filter(is_settled) };
        if record.state.is_tombstone() || before.is_some_and(|seen| seen.revision == record.revision) {
            looked.insert(item.number, seen);
            return Ok(None);
        }
        Ok(Some(Candidate { number: item.number, seen, texts: editable(&record) }))
    }

    /// Asks about these records, stores what is told, and notes those that are done.
    async fn look_at(
        &self,
        repository: &Repository,
        mut candidates: Vec<Candidate>,
        looked: &mut Looked,
        begun: Instant,
    ) -> Result<Walked, Failure> {
        let nodes: Vec<String> = candidates.iter().flat_map(|one| &one.texts).map(|text| text.node.clone()).collect();
        let edited = self.client.edited(&repository.full_name, &nodes, Purpose::Backfill).await?;
        count_left_out(repository, &edited.failed);
        candidates.retain(|one| !one.texts.iter().any(|text| edited.failed.contains(&text.node)));
        let mut waiting = Vec::new();
        for mut candidate in candidates {
            candidate.texts.retain(|text| edited.texts.contains_key(&text.node));
            if candidate.texts.is_empty() {
                looked.insert(candidate.number, candidate.seen);
                continue;
            }
            candidate.texts.retain(|text| text.known_to < edited.texts.get(&text.node).copied());
            waiting.push(candidate);
        }
        let mut portions = portions(waiting).into_iter().peekable();
        while let Some(portion) = portions.next() {
            self.take_edits(repository, portion, looked).await?;
            if portions.peek().is_some() && self.is_over(begun) {
                return Ok(Walked::Interrupted);
            }
        }
        Ok(Walked::Enough)
    }

    /// Asks what these texts said, and stores it. Their records are in memory at once: a portion.
    async fn take_edits(
        &self,
        repository: &Repository,
        candidates: Vec<Candidate>,
        looked: &mut Looked,
    ) -> Result<(), Failure> {
        let mut records: BTreeMap<u64, Record> = BTreeMap::new();
        for Candidate { number, seen, .. } in &candidates {
            let record = self.archive.record(ItemId { repository: repository.id, number: *number }).await?;
            records.extend(record.filter(|record| record.revision == seen.revision).map(|record| (*number, record)));
        }
        let seen: BTreeMap<u64, Seen> = candidates.iter().map(|one| (one.number, one.seen)).collect();
        let texts: Vec<(u64, &Text)> =
            candidates.iter().flat_map(|one| one.texts.iter().map(|text| (one.number, text))).collect();
        let mut left_out = BTreeSet::new();
        for texts in texts.chunks(EDITS_AT_ONCE) {
            let nodes: Vec<String> = texts.iter().map(|(_, text)| text.node.clone()).collect();
            let mut told = self.client.edits(&repository.full_name, &nodes, Purpose::Backfill).await?;
            count_left_out(repository, &told.failed);
            for (number, text) in texts {
                if told.failed.contains(&text.node) {
                    left_out.insert(*number);
                }
                if let (Some(record), Some(versions)) = (records.get_mut(number), told.texts.remove(&text.node)) {
                    history::merge_edits(record, &text.of, &versions, self.options.max_history);
                }
            }
        }
        let mut pushed = Vec::new();
        for (number, record) in records {
            let item = record.id();
            let written = self.archive.put_record(record).await?;
            if let Written::Stored(revision) | Written::Unchanged(revision) | Written::Filled(revision) = written {
                if !left_out.contains(&number) {
                    looked.insert(number, Seen { revision, ..seen[&number] });
                }
                // Also of an unchanged one: it may be our own work of a run that was killed before it told the index.
                pushed.push(index_trigger(item));
            }
        }
        self.queue.push(&pushed, None).await?;
        Ok(())
    }
}

/// Candidates in portions of as many texts as come in one request. One without a text counts as one: its record is read
/// as well, so that of records no more than that are in memory at once.
fn portions(candidates: Vec<Candidate>) -> Vec<Vec<Candidate>> {
    let (mut portions, mut room): (Vec<Vec<Candidate>>, usize) = (Vec::new(), 0);
    for candidate in candidates {
        let texts = candidate.texts.len().max(1);
        match portions.last_mut() {
            Some(last) if room > 0 => last.push(candidate),
            _ => {
                portions.push(vec![candidate]);
                room = EDITS_AT_ONCE;
            }
        }
        room = room.saturating_sub(texts);
    }
    portions
}

fn count_left_out(repository: &Repository, failed: &BTreeSet<String>) {
    if !failed.is_empty() {
        tracing::warn!(repo.name = %repository.full_name, texts = ?failed, "Edit histories wait for the next walk");
        metrics::counter!("gharvest_edits_left_out_total").increment(failed.len() as u64);
    }
}

fn block_part(block: u64) -> String {
    format!("{}-{block}", part::EDITS)
}

fn index_trigger(item: ItemId) -> Trigger {
    Trigger {
        queue: QueueName::Index,
        subject: Subject::Item(item),
        lane: Lane::Backfill,
        timing: Timing::WhenFree,
        reason: "edit history".to_owned(),
    }
}

/// The texts of a record that may have been edited. A comment that was has a later `updated_at`; of an item's body and
/// of a review nothing says so.
fn editable(record: &Record) -> Vec<Text> {
    let text = |object: &Value, of: Option<&str>| {
        let node = object.get("node_id")?.as_str()?;
        let of = of.unwrap_or(node).to_owned();
        Some(Text { node: node.to_owned(), known_to: history::told_to(record, &of), of })
    };
    let has_text = |object: &&Value| object["body"].as_str().is_some_and(|body| !body.is_empty());
    let is_later = |object: &&Value| object["updated_at"] != object["created_at"];
    let said = record.timeline.iter().filter(|entry| match entry["event"].as_str() {
        Some("commented") => is_later(entry),
        Some("reviewed") => has_text(entry),
        _ => false,
    });
    let comments = record.review_comments.iter().filter(is_later);
    let body = record.core().into_iter().filter_map(|core| text(core, Some("body")));
    body.chain(said.chain(comments).filter_map(|object| text(object, None))).collect()
}

#[cfg(test)]
mod tests {
    use gharvest_model::{Kind, RepositoryId, record::RecordRepository};
    use serde_json::json;

    use super::*;

    #[test]
    fn no_more_records_are_in_memory_than_texts_come_in_one_request() {
        let seen = Seen { revision: Revision(1), verified_at: None };
        let candidate = |number| Candidate { number, seen, texts: Vec::new() };
        let sizes = |portions: Vec<Vec<Candidate>>| portions.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(portions((0..120).map(candidate).collect())), [50, 50, 20]);
        let text = || Text { node: "IC_1".to_owned(), of: "IC_1".to_owned(), known_to: None };
        let long = |number| Candidate { texts: (0..20).map(|_| text()).collect(), ..candidate(number) };
        assert_eq!(sizes(portions((0..4).map(long).collect())), [3, 1]);
        assert_eq!(sizes(portions(Vec::new())), [0; 0]);
    }

    #[test]
    fn what_cannot_have_been_edited_is_not_asked_about() {
        let repository = RecordRepository { id: RepositoryId(7), full_name: "a/b".parse().unwrap() };
        let mut record = Record::new(repository, 1, Kind::PullRequest, Timestamp::UNIX_EPOCH);
        record.issue = Some(json!({"node_id": "PR_1", "body": null}));
        let comment = |node: &str, updated: &str| json!({"event": "commented", "node_id": node, "body": "x", "created_at": "1", "updated_at": updated});
        record.timeline = vec![
            comment("IC_1", "1"),
            comment("IC_2", "2"),
            json!({"event": "reviewed", "node_id": "PRR_1", "body": ""}),
            json!({"event": "reviewed", "node_id": "PRR_2", "body": "fine"}),
            json!({"event": "labeled", "node_id": "LE_1"}),
        ];
        record.review_comments = vec![comment("PRRC_1", "1"), comment("PRRC_2", "2")];
        let texts: Vec<_> = editable(&record).into_iter().map(|text| (text.node, text.of)).collect();
        let expected = [("PR_1", "body"), ("IC_2", "IC_2"), ("PRR_2", "PRR_2"), ("PRRC_2", "PRRC_2")];
        assert_eq!(texts, expected.map(|(node, of)| (node.to_owned(), of.to_owned())));
    }
}
