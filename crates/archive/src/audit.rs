//! What is accounted for of a repository, what is not, and what drifted: for `audit`, pages, badges and metrics.

use std::collections::BTreeMap;

use gharvest_model::{
    RepositoryId, RepositoryName,
    drift::Drift,
    ledger::NumberState,
    progress::{Completeness, ItemsCursor, UpdatesCursor, runs},
    tracking::Tracked,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Archive, Result, from_bytes, to_bytes};

/// The most runs of numbers listed of one state: a report stays bounded, the counts are exact.
const MOST_RUNS: usize = 10_000;

/// A tracked repository of which GitHub was not asked what is new for so long stands still, whatever the reason.
const HEARD_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// Silent changes of one kind that were found and healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drifted {
    /// How often.
    pub count: u64,
    /// When last.
    pub last_at: Timestamp,
    /// The number of the item where that was.
    pub number: u64,
}

/// Whether a repository is complete, and what stands against it: the one answer for reports, pages and metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether every number up to the highest is accounted for, and the highest is known: the list of items was read to
    /// its end, and what comes after it is heard of. A repository that is gone for certain gets no more numbers.
    pub complete: bool,
    /// Why what GitHub has new is not known, in words: it cannot be fetched, or nobody asked for a day. None when all is
    /// well, and of what is not tracked.
    pub trouble: Option<String>,
    /// Since when that is so.
    pub trouble_since: Option<Timestamp>,
    /// The counts.
    #[serde(flatten)]
    pub counts: Completeness,
    /// When the number verified longest ago was verified; none if one never was.
    pub oldest_verification: Option<Timestamp>,
}

impl Verdict {
    /// Whether all that was heard of is accounted for, and what is new is not heard of.
    pub fn stands_still(&self) -> bool {
        !self.complete && self.counts.is_complete()
    }

    /// The share of numbers that are accounted for, 0 to 1: 1 only if the repository is complete.
    pub fn share(&self) -> f64 {
        // A repository that is not complete never looks as if it were.
        if self.complete { 1.0 } else { self.counts.share().min(0.999) }
    }
}

/// A repository's gap report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Its name now.
    pub repository: RepositoryName,
    /// Its id.
    pub id: RepositoryId,
    /// Whether it is complete.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Numbers of which nothing is known, or nothing for certain, as first and last of each run; the first 10,000 runs.
    pub unknown_numbers: Vec<(u64, u64)>,
    /// Numbers that could not be fetched, likewise; why stands with the buried jobs.
    pub failed_numbers: Vec<(u64, u64)>,
    /// Gone numbers by state.
    pub gone_by_state: BTreeMap<NumberState, u64>,
    /// Silent changes that were found and healed, by kind.
    pub drift: BTreeMap<Drift, Drifted>,
}

impl Audit {
    /// A badge for people, as SVG.
    pub fn badge(&self) -> String {
        let verdict = &self.verdict;
        let percent = format!("{:.1}%", (verdict.share() * 1000.0).floor() / 10.0);
        let value = match verdict.complete {
            true => "complete",
            false if verdict.stands_still() => "stands still",
            false => percent.as_str(),
        };
        let color = if verdict.complete { "#1a7f37" } else { "#9a6700" };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"130\" height=\"20\" role=\"img\" \
             aria-label=\"mirror: {value}\"><rect width=\"50\" height=\"20\" fill=\"#555\"/>\
             <rect x=\"50\" width=\"80\" height=\"20\" fill=\"{color}\"/>\
             <g fill=\"#fff\" font-family=\"Verdana,sans-serif\" font-size=\"11\" text-anchor=\"middle\">\
             <text x=\"25\" y=\"14\">mirror</text><text x=\"90\" y=\"14\">{value}</text></g></svg>"
        )
    }
}

impl Archive {
    /// Says whether a repository is complete, as of `now`, from the archive alone; `tracked` is its entry in the tracking,
    /// if it has one. Costs the reading of its ledger.
    pub async fn verdict(&self, id: RepositoryId, tracked: Option<&Tracked>, now: Timestamp) -> Result<Verdict> {
        let cursor = ItemsCursor::read(self.cursor(&ItemsCursor::feed(id)).await?);
        let ledger = self.ledger(id).await?;
        let counts = Completeness::new(&ledger, cursor.as_ref());
        let is_gone = self.repository(id).await?.is_some_and(|repository| repository.gone_at.is_some());
        let (trouble, trouble_since) = match tracked {
            Some(Tracked { trouble: Some(trouble), trouble_since, .. }) => (Some(trouble.clone()), *trouble_since),
            Some(_) if !is_gone => {
                let heard_at = UpdatesCursor::read(self.cursor(&UpdatesCursor::feed(id)).await?);
                let heard_at = heard_at.and_then(|cursor| cursor.heard_at);
                silence(heard_at.max(cursor.and_then(|cursor| cursor.finished_at)), now).unzip()
            }
            _ => (None, None),
        };
        let hears = trouble.is_none() || is_gone;
        let complete = counts.is_complete() && hears;
        Ok(Verdict { complete, trouble, trouble_since, counts, oldest_verification: ledger.oldest_verification() })
    }

    /// Audits a repository from the archive alone, as of `now`; none if it is not there. Costs the reading of its ledger.
    pub async fn audit(&self, id: RepositoryId, now: Timestamp) -> Result<Option<Audit>> {
        let Some(repository) = self.repository(id).await? else { return Ok(None) };
        let tracked = self.tracking().await?.into_iter().find(|tracked| tracked.id == id);
        let verdict = self.verdict(id, tracked.as_ref(), now).await?;
        let ledger = self.ledger(id).await?;
        let listed = |state| {
            let runs = runs(ledger.numbers(state)).take(MOST_RUNS);
            runs.map(|run| (*run.start(), *run.end())).collect()
        };
        let all = ledger.counts();
        let gone = [NumberState::Deleted, NumberState::Transferred, NumberState::Hidden];
        Ok(Some(Audit {
            repository: repository.full_name,
            id,
            verdict,
            unknown_numbers: listed(NumberState::Unknown),
            failed_numbers: listed(NumberState::Failed),
            gone_by_state: gone.into_iter().map(|state| (state, all[state as usize])).collect(),
            drift: self.read(&drift_key(id)).await?.unwrap_or_default(),
        }))
    }

    /// Counts silent changes that were found and healed in an item.
    pub async fn add_drift(&self, id: RepositoryId, number: u64, kinds: &[Drift], at: Timestamp) -> Result<()> {
        let key = drift_key(id);
        let change = |stored: Option<bytes::Bytes>| {
            let stored = stored.map(|bytes| from_bytes(&key, &bytes)).transpose()?;
            let mut drift: BTreeMap<Drift, Drifted> = stored.unwrap_or_default();
            for kind in kinds {
                let count = drift.get(kind).map_or(0, |known| known.count) + 1;
                drift.insert(*kind, Drifted { count, last_at: at, number });
            }
            to_bytes(&key, &drift).map(Some)
        };
        self.swap(&key, &change).await.map(|_| ())
    }
}

/// What is wrong, and since when, with a repository of which GitHub was last heard then.
fn silence(heard_at: Option<Timestamp>, now: Timestamp) -> Option<(String, Timestamp)> {
    let at = heard_at.filter(|at| now.duration_since(*at) > HEARD_WITHIN)?;
    Some((format!("GitHub was last asked at {at} what is new: see that seeder and downloader run"), at))
}

fn drift_key(id: RepositoryId) -> String {
    format!("repositories/{id}/drift.json")
}
