//! The whole list of items, page by page, by ETag: a page that is the same costs nothing.

use std::{collections::BTreeSet, time::Duration};

use gharvest_archive::Hint;
use gharvest_github::{Answer, ErrorKind, Found, PAGE, Purpose, Resource, Sort};
use gharvest_model::{
    ItemId, Lane,
    ledger::{Ledger, NumberState},
    listed::is_same,
    progress::runs,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Sweep;
use crate::{Failure, schedule::later};

/// A pass over the list begins so long after the last one began, so that each page is looked at once in this time.
pub const EVERY: Duration = Duration::from_secs(24 * 3600);
/// The archive's part that holds the pass.
const PART: &str = "sweep-lists";
/// Pages read in one run, unless the list is so long that a pass would then take more than half of [`EVERY`].
const PAGES_OF_A_RUN: usize = 40;

/// A pass over the list.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Pass {
    begun_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    /// The page to read next.
    at: usize,
    pages: Vec<Page>,
}

/// What is known of one page.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Page {
    /// None for the first.
    address: Option<String>,
    etag: Option<String>,
    next: Option<String>,
    /// The numbers on it, as first and last of each run.
    numbers: Vec<(u64, u64)>,
}

impl Pass {
    /// Whether there are pages to read: of this pass, or of a new one that begins now.
    fn is_due(&mut self, now: Timestamp) -> bool {
        match (self.begun_at, self.finished_at) {
            (Some(_), None) => true,
            (Some(begun), Some(_)) if later(begun, EVERY) > now => false,
            _ => {
                (self.at, self.begun_at, self.finished_at) = (0, Some(now), None);
                true
            }
        }
    }

    /// How many pages a run reads, when there is one in this time.
    fn pages_of_a_run(&self, every: Duration) -> usize {
        let runs = (EVERY.as_secs() / 2 / every.as_secs().max(1)).max(1);
        let runs = usize::try_from(runs).unwrap_or(usize::MAX);
        self.pages.len().div_ceil(runs).max(PAGES_OF_A_RUN)
    }
}

impl Page {
    /// The ETag to ask with. Of a last page that is full it says nothing: what is added stands behind it. The client gives
    /// none for such a page, but one may have been kept by a program that did.
    fn usable_etag(&self) -> Option<&str> {
        let entries: u64 = self.numbers.iter().map(|(first, last)| last - first + 1).sum();
        self.etag.as_deref().filter(|_| self.next.is_some() || entries < PAGE as u64)
    }
}

impl Sweep<'_> {
    pub(crate) async fn lists(&mut self) -> Result<u64, Failure> {
        let mut pass: Pass = self.load(PART).await?;
        if !pass.is_due(self.now) {
            return Ok(0);
        }
        let mut pushed = 0;
        let read = self.read_on(&mut pass, &mut pushed).await;
        // What was read is known, whatever stopped it.
        self.save(PART, &pass).await?;
        read.map(|()| pushed)
    }

    /// Reads the pages of a run, and adds up how many jobs were pushed.
    async fn read_on(&mut self, pass: &mut Pass, pushed: &mut u64) -> Result<(), Failure> {
        for _ in 0..pass.pages_of_a_run(self.pace.every) {
            if !self.spend(1) {
                break;
            }
            let asked_at = Timestamp::now();
            let address = pass.at.checked_sub(1).and_then(|before| pass.pages[before].next.clone());
            let known = pass.pages.get(pass.at).filter(|page| page.address == address).cloned();
            let page = match self.page(address, known).await {
                Ok(Some((page, entries))) => {
                    *pushed += self.compare(entries, asked_at).await?;
                    page
                }
                // What the repository's state is, the other walks say.
                Ok(None) => break,
                Err(Failure::Github(error)) if *error.kind() == ErrorKind::Refused && pass.at > 0 => {
                    // An address kept for too long: the pass begins again.
                    *pass = Pass { begun_at: Some(self.now), ..Pass::default() };
                    continue;
                }
                Err(error) => return Err(error),
            };
            let is_last = page.next.is_none();
            match pass.pages.get_mut(pass.at) {
                Some(place) => *place = page,
                None => pass.pages.push(page),
            }
            pass.at += 1;
            if is_last {
                pass.pages.truncate(pass.at);
                *pushed += self.vanished(pass).await?;
                pass.finished_at = Some(self.now);
                break;
            }
        }
        Ok(())
    }

    /// One page: what is known of it, with its entries if it is not the same any more. None if there is no list.
    async fn page(
        &mut self,
        address: Option<String>,
        known: Option<Page>,
    ) -> Result<Option<(Page, Vec<Value>)>, Failure> {
        let first = || Resource::Issues { repository: self.tracked.name.clone(), since: None, sort: Sort::Created };
        let page = |address| Resource::Page(self.tracked.name.clone(), address);
        let resource = address.clone().map_or_else(first, page);
        let etag = known.as_ref().and_then(Page::usable_etag);
        match (self.client.get(&resource, etag, Purpose::Backfill).await?, known) {
            (Answer::NotModified, Some(known)) => {
                self.was_free();
                Ok(Some((known, Vec::new())))
            }
            (Answer::Found(Found { body: Value::Array(entries), etag, next, .. }), _) => {
                let mut numbers: Vec<u64> = entries.iter().filter_map(|entry| entry["number"].as_u64()).collect();
                numbers.sort_unstable();
                let numbers = runs(numbers).map(|run| (*run.start(), *run.end())).collect();
                Ok(Some((Page { address, etag, next, numbers }, entries)))
            }
            (Answer::Moved { .. }, _) => self.ask_for_repository().await.map(|()| None),
            _ => Ok(None),
        }
    }

    /// Pushes the entries whose records differ. The page was asked for then.
    async fn compare(&self, entries: Vec<Value>, asked_at: Timestamp) -> Result<u64, Failure> {
        let (mut numbers, mut hints) = (Vec::new(), Vec::new());
        for entry in entries {
            let Some(number) = entry["number"].as_u64().filter(|number| (1..=Ledger::LIMIT).contains(number)) else {
                continue;
            };
            let record = self.archive.record(ItemId { repository: self.tracked.id, number }).await?;
            let known = record.filter(|record| !record.state.is_tombstone()).and_then(|record| record.issue);
            if known.is_none_or(|known| !is_same(&known, &entry)) {
                numbers.push(number);
                hints.push(Hint::new(asked_at, entry));
            }
        }
        if let Some(highest) = numbers.iter().max() {
            self.archive.reach(self.tracked.id, *highest).await?;
        }
        self.push(&numbers, "list", Lane::Reconcile, hints).await
    }

    /// Pushes what is present here and was on no page.
    async fn vanished(&self, pass: &Pass) -> Result<u64, Failure> {
        let listed: BTreeSet<u64> =
            pass.pages.iter().flat_map(|page| &page.numbers).flat_map(|(first, last)| *first..=*last).collect();
        let ledger = self.archive.ledger(self.tracked.id).await?;
        let is_older = |number: &u64| ledger.get(*number).verified_at <= pass.begun_at;
        let gone: Vec<u64> = ledger
            .numbers(NumberState::Present)
            .filter(|number| !listed.contains(number) && is_older(number))
            .collect();
        self.push(&gone, "list", Lane::Reconcile, Vec::new()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + hour * 3600).unwrap()
    }

    #[test]
    fn a_pass_begins_a_day_after_the_last_one_began_however_long_that_took() {
        let mut pass = Pass::default();
        assert!(pass.is_due(at(0)));
        assert_eq!((pass.begun_at, pass.at), (Some(at(0)), 0));
        pass.at = 1_500;
        assert!(pass.is_due(at(6)), "it is under way");
        assert_eq!((pass.begun_at, pass.at), (Some(at(0)), 1_500));
        pass.finished_at = Some(at(7));
        assert!(!pass.is_due(at(23)));
        assert!(pass.is_due(at(24)));
        assert_eq!((pass.begun_at, pass.at, pass.finished_at), (Some(at(24)), 0, None));
    }

    #[test]
    fn a_pass_takes_half_a_day_at_most() {
        let every = Duration::from_secs(600);
        let of = |pages| Pass { pages: vec![Page::default(); pages], ..Pass::default() }.pages_of_a_run(every);
        assert_eq!((of(0), of(1_500), of(2_880), of(2_881), of(72_000)), (40, 40, 40, 41, 1_000));
    }

    #[test]
    fn a_full_last_page_is_asked_for_without_the_etag_of_an_earlier_program() {
        let page = |last, next: Option<&str>| Page {
            etag: Some("1:x".to_owned()),
            next: next.map(str::to_owned),
            numbers: vec![(1, 50), (61, last)],
            ..Page::default()
        };
        assert_eq!(page(109, None).usable_etag(), Some("1:x"));
        assert_eq!(page(110, None).usable_etag(), None);
        assert_eq!(page(110, Some("https://api.github.com/next")).usable_etag(), Some("1:x"));
    }
}
