//! A glimpse of every number once a period: many in one request.

use std::collections::{BTreeMap, btree_map::Entry};

use gharvest_archive::LedgerChange;
use gharvest_github::{Glimpse, PROBED_AT_ONCE, PROBED_BLINDLY, Probe, Probed, Purpose};
use gharvest_model::{
    ItemId, Kind, Lane,
    ledger::{Ledger, NumberState},
    lossy::is_always_told,
    record::RecordText,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Pace, Sweep};
use crate::{Failure, schedule::earlier};

/// A request and its point.
const COST: u64 = 2;
/// The same for numbers of which nobody knows what they would be.
const COST_BLINDLY: u64 = 3;
/// The most numbers of one run.
const MOST: usize = 3_000;
/// Calls that the verification of one item costs without GraphQL: its issue, its timeline, half a pull request.
const CALLS_AN_ITEM: u64 = 3;
/// Numbers whose glimpses lie in one file.
const BLOCK: u64 = 1_000;

/// What a record says of what a glimpse tells too: of a batch of records no more is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    kind: Kind,
    revision: u32,
    /// None of a tombstone.
    updated_at: Option<Timestamp>,
    /// How many entries of its timeline GraphQL counts.
    entries: u64,
}

/// What says whether an entry is counted.
#[derive(Deserialize)]
struct Named {
    event: String,
}

impl Known {
    fn of(record: &RecordText<'_>) -> Self {
        let is_counted = |entry: &&&RawValue| {
            serde_json::from_str(entry.get()).is_ok_and(|entry: Named| is_always_told(&entry.event))
        };
        let issue = record.issue.as_ref().filter(|_| !record.state.is_tombstone());
        Self {
            kind: record.kind,
            revision: record.revision.0,
            updated_at: issue.and_then(|issue| issue["updated_at"].as_str()?.parse().ok()),
            entries: record.timeline.iter().filter(is_counted).count() as u64,
        }
    }
}

/// How an item looked at the last probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// The record's revision then: of a later one this says nothing.
    revision: u32,
    entries: u64,
    timeline_updated_at: Option<Timestamp>,
    /// Where it differed, when it had been verified before that: it is known only once a later download saw it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    differed: Option<Timestamp>,
}

type Block = BTreeMap<u64, Seen>;

/// The numbers to look at now: nothing until the oldest is due, then whole batches, the oldest first.
fn due(ledger: &Ledger, states: &[NumberState], batch: usize, pace: Pace, now: Timestamp) -> Vec<u64> {
    let soon = earlier(now, pace.period.mul_f64(0.75));
    let late = earlier(now, pace.period.mul_f64(0.9));
    let mut old: Vec<(Timestamp, u64)> = states
        .iter()
        .flat_map(|state| ledger.numbers(*state))
        .filter_map(|number| Some((ledger.get(number).verified_at?, number)))
        .filter(|(at, _)| *at <= soon)
        .collect();
    old.sort_unstable();
    let whole = if old.first().is_some_and(|(at, _)| *at <= late) { old.len() } else { old.len() / batch * batch };
    old.into_iter().take(whole.min(MOST)).map(|(_, number)| number).collect()
}

impl Sweep<'_> {
    pub(crate) async fn probes(&mut self) -> Result<u64, Failure> {
        let ledger = self.archive.ledger(self.tracked.id).await?;
        let present = due(&ledger, &[NumberState::Present], PROBED_AT_ONCE, self.pace, self.now);
        let gone = [NumberState::Deleted, NumberState::Hidden, NumberState::Transferred, NumberState::NotAnItem];
        let gone = due(&ledger, &gone, PROBED_BLINDLY, self.pace, self.now);
        if !self.client.can_graphql() {
            return self.fetch_all(present.into_iter().chain(gone)).await;
        }
        let mut pushed = 0;
        for numbers in present.chunks(PROBED_AT_ONCE) {
            if !self.spend(COST) {
                return Ok(pushed);
            }
            pushed += self.probe_present(numbers, &ledger).await?;
        }
        for numbers in gone.chunks(PROBED_BLINDLY) {
            if !self.spend(COST_BLINDLY) {
                return Ok(pushed);
            }
            pushed += self.probe_gone(numbers, &ledger).await?;
        }
        Ok(pushed)
    }

    /// Has downloaded what cannot be looked at otherwise, as far as it is affordable, and one at least, so that nothing
    /// stands still; mostly answered by 304.
    async fn fetch_all(&mut self, numbers: impl Iterator<Item = u64>) -> Result<u64, Failure> {
        let most = usize::try_from(self.left / CALLS_AN_ITEM).unwrap_or(usize::MAX).max(1);
        let mut numbers: Vec<u64> = numbers.take(most).collect();
        self.charge(numbers.len() as u64 * CALLS_AN_ITEM);
        numbers.sort_unstable();
        self.push(&numbers, "fetch", Lane::Backfill, Vec::new()).await
    }

    async fn probe_present(&mut self, numbers: &[u64], ledger: &Ledger) -> Result<u64, Failure> {
        let mut records = BTreeMap::new();
        for number in numbers {
            let item = ItemId { repository: self.tracked.id, number: *number };
            if let Some(stored) = self.archive.stored(item).await? {
                records.insert(*number, Known::of(&stored.text()?));
            }
        }
        let kind = |number: &u64| records.get(number).map(|record| record.kind);
        let asked: Vec<(u64, Option<Kind>)> = numbers.iter().map(|number| (*number, kind(number))).collect();
        let Probed { probes, requests } = self.client.probe(&self.tracked.name, &asked, Purpose::Backfill).await?;
        self.charge(requests.saturating_sub(1) * COST);
        let mut blocks: BTreeMap<u64, Block> = BTreeMap::new();
        let (mut differ, mut verified, mut untold) = (Vec::new(), Vec::new(), Vec::new());
        for Probe { number, seen } in probes {
            let Glimpse::Present { updated_at, entries, timeline_updated_at, .. } = seen else {
                if seen == Glimpse::Unknown { &mut untold } else { &mut differ }.push(number);
                continue;
            };
            let Some(record) = records.get(&number) else {
                differ.push(number);
                continue;
            };
            let block = number / BLOCK;
            let known = match blocks.entry(block) {
                Entry::Occupied(loaded) => loaded.into_mut(),
                Entry::Vacant(place) => place.insert(self.load(&part(block)).await?),
            };
            let mut now = Seen { revision: record.revision, entries, timeline_updated_at, differed: None };
            let last = ledger.get(number).verified_at.unwrap_or(Timestamp::UNIX_EPOCH);
            if is_same(record, known.get(&number), now, updated_at, last) {
                verified.push(LedgerChange { number, state: NumberState::Present, verified_at: self.now });
            } else {
                differ.push(number);
                now.differed = Some(last);
            }
            known.insert(number, now);
        }
        for (block, known) in &blocks {
            self.save(&part(*block), known).await?;
        }
        self.archive.confirm_ledger(self.tracked.id, &verified).await?;
        let fetched = self.fetch_all(untold.into_iter()).await?;
        Ok(fetched + self.push(&differ, "probe", Lane::Reconcile, Vec::new()).await?)
    }

    /// What is gone may be back.
    async fn probe_gone(&mut self, numbers: &[u64], ledger: &Ledger) -> Result<u64, Failure> {
        let asked: Vec<(u64, Option<Kind>)> = numbers.iter().map(|number| (*number, None)).collect();
        let Probed { probes, requests } = self.client.probe(&self.tracked.name, &asked, Purpose::Backfill).await?;
        self.charge(requests.saturating_sub(1) * COST_BLINDLY);
        let (mut differ, mut verified, mut untold) = (Vec::new(), Vec::new(), Vec::new());
        for Probe { number, seen } in probes {
            let state = ledger.get(number).state;
            let is_as_before = match seen {
                Glimpse::Present { .. } => false,
                Glimpse::Discussion => state == NumberState::NotAnItem,
                Glimpse::NotFound => state != NumberState::NotAnItem,
                Glimpse::Unknown => {
                    untold.push(number);
                    continue;
                }
            };
            if is_as_before {
                verified.push(LedgerChange { number, state, verified_at: self.now });
            } else {
                differ.push(number);
            }
        }
        self.archive.confirm_ledger(self.tracked.id, &verified).await?;
        let fetched = self.fetch_all(untold.into_iter()).await?;
        Ok(fetched + self.push(&differ, "probe", Lane::Reconcile, Vec::new()).await?)
    }
}

fn part(block: u64) -> String {
    format!("sweep-probes-{block}")
}

/// Whether an item looks as it did, or as a download since has seen it. Without an earlier look at this revision GraphQL
/// must count just what is stored; where it counts something else for good, one download says that nothing is missing.
fn is_same(record: &Known, before: Option<&Seen>, now: Seen, updated_at: Timestamp, verified_at: Timestamp) -> bool {
    if record.updated_at != Some(updated_at) {
        return false;
    }
    match before.filter(|before| before.revision == now.revision) {
        Some(before) => {
            let is_known = before.differed.is_none_or(|last| last < verified_at);
            is_known && Seen { differed: None, ..*before } == now
        }
        None => now.timeline_updated_at.is_none_or(|at| at <= verified_at) && record.entries == now.entries,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    const DAY: i64 = 24 * 3600;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + day * DAY).unwrap()
    }

    fn pace() -> Pace {
        let day = Duration::from_secs(DAY.unsigned_abs());
        Pace { every: day / 24, period: day * 30, cost_per_hour: 1000.0, by_graphql: true }
    }

    #[test]
    fn whole_batches_are_probed_and_every_number_within_the_period() {
        let mut ledger = Ledger::default();
        for number in 1..=250 {
            ledger.set(number, NumberState::Present, day(0));
        }
        ledger.set(251, NumberState::Deleted, day(0));
        let states = [NumberState::Present];
        assert_eq!(due(&ledger, &states, 100, pace(), day(22)), Vec::<u64>::new());
        assert_eq!(due(&ledger, &states, 100, pace(), day(23)).len(), 200, "whole batches first");
        for number in 1..=200 {
            ledger.set(number, NumberState::Present, day(23));
        }
        assert_eq!(due(&ledger, &states, 100, pace(), day(26)), Vec::<u64>::new(), "half a batch waits for more");
        assert_eq!(due(&ledger, &states, 100, pace(), day(27)).len(), 50, "but not longer than the period");
    }

    #[test]
    fn a_glimpse_that_differs_is_known_only_once_a_download_has_seen_it() {
        let stored = json!({
            "schema": 1, "repository": {"id": 7, "full_name": "owner/name"}, "number": 4, "kind": "pull_request", "revision": 2,
            "state": {"is": "present"}, "visibility": "public", "fetched_at": day(1), "changed_at": day(1), "origin": {},
            "api_version": "2022-11-28", "etags": {}, "issue": {"updated_at": day(0)},
            "timeline": [{"event": "closed"}, {"event": "line-commented"}, {"event": "labeled"}, {"event": "new"}, {}],
        })
        .to_string();
        let record = Known::of(&serde_json::from_str(&stored).unwrap());
        let glimpse = |entries| Seen { revision: 2, entries, timeline_updated_at: Some(day(0)), differed: None };
        let is_same =
            |before: Option<Seen>, now, verified| is_same(&record, before.as_ref(), now, day(0), day(verified));
        // Without an earlier look: what is stored is what there is.
        assert!(is_same(None, glimpse(2), 1));
        assert!(!is_same(None, glimpse(3), 1), "GraphQL counts nothing else");
        let moved = Seen { timeline_updated_at: Some(day(2)), ..glimpse(2) };
        assert!(!is_same(None, moved, 1), "it moved since the download");
        assert!(is_same(None, moved, 3));
        // With one, also of an older revision.
        assert!(is_same(Some(glimpse(5)), glimpse(5), 1));
        assert!(!is_same(Some(glimpse(5)), glimpse(6), 1));
        assert!(is_same(Some(Seen { revision: 1, ..glimpse(5) }), glimpse(2), 1));
        let differed = Seen { differed: Some(day(1)), ..glimpse(6) };
        assert!(!is_same(Some(differed), glimpse(6), 1), "nobody has looked since");
        assert!(is_same(Some(differed), glimpse(6), 2), "a download found no more");
        assert!(!is_same(Some(differed), glimpse(7), 2));
    }
}
