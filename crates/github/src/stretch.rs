//! Lists that are sorted by when their entries were updated, read in stretches.
//!
//! A page by its number is what stands there now: when an earlier entry changes, those behind it move up, and one slips
//! to a page that was read already. So each stretch begins with the last one's time. Only where more entries are of one
//! second than stand on a page is the next one asked for by its address; then those before it are asked for once more,
//! for nothing while they are the same.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{Answer, Client, Error, ErrorKind, Found, Purpose, Resource, Result};

/// Pages of entries of one second: nobody writes more.
const MOST_OF_A_SECOND: usize = 30;
/// How often entries of one second are read when they change meanwhile.
const MOST_READINGS: usize = 4;

/// Entries in the order of their updates, from one time to a later one.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    /// The entries.
    pub entries: Vec<Value>,
    /// When the last of them was updated; the time that was to be passed, if none was later.
    pub latest: Option<Timestamp>,
    /// Whether the list ends with them.
    pub is_last: bool,
    /// The ETag of the answer, if it was the whole list in one page.
    pub etag: Option<String>,
    /// How many pages the list has, as GitHub said of the first.
    pub pages: u64,
    /// How many calls were made that count.
    pub calls: u64,
}

/// What came of asking for a stretch.
#[derive(Debug, Clone, PartialEq)]
pub enum Stretched {
    /// The stretch.
    Read(Stretch),
    /// The list is as it was when the ETag was given.
    NotModified,
    /// More pages are of one second than anybody writes: the list cannot be read on from there.
    TooLong,
    /// There is no list.
    NoList(Answer),
}

/// A page as it was read.
struct Page {
    resource: Resource,
    etag: Option<String>,
    entries: Vec<Value>,
}

impl Client {
    /// Reads a list on, from a resource that asks for what was updated since a time, up to a page that passes the time
    /// `past`. What follows is asked for from [`Stretch::latest`] on.
    ///
    /// # Errors
    /// As [`Client::get`]; and [`ErrorKind::BadAnswer`] if what was read changed each time that it was read.
    pub async fn stretch(
        &self,
        first: &Resource,
        past: Option<Timestamp>,
        etag: Option<&str>,
        purpose: Purpose,
    ) -> Result<Stretched> {
        let mut calls = 0;
        for reading in 0..MOST_READINGS {
            let etag = etag.filter(|_| reading == 0);
            let (pages, mut stretch) = match self.pages_past(first, past, etag, purpose).await? {
                Ok(read) => read,
                Err(other) => return Ok(other),
            };
            calls += pages.len() as u64;
            let (last, before) = pages.split_last().expect("a stretch has a page");
            if self.still_stand(before, &mut calls, purpose).await? {
                stretch.etag = last.etag.clone().filter(|_| before.is_empty() && stretch.is_last);
                stretch.calls = calls;
                stretch.entries = pages.into_iter().flat_map(|page| page.entries).collect();
                return Ok(Stretched::Read(stretch));
            }
        }
        Err(Error::new(ErrorKind::BadAnswer, first.name(), "the list changes as often as it is read"))
    }

    /// Pages up to the one that passes a time, and the stretch that they make, still without its entries. The inner error
    /// is another end.
    async fn pages_past(
        &self,
        first: &Resource,
        past: Option<Timestamp>,
        etag: Option<&str>,
        purpose: Purpose,
    ) -> Result<Result<(Vec<Page>, Stretch), Stretched>> {
        let (mut resource, mut pages, mut listed) = (first.clone(), Vec::new(), 1);
        while pages.len() < MOST_OF_A_SECOND {
            let etag = etag.filter(|_| pages.is_empty());
            let (entries, etag, next, last_page) = match self.get(&resource, etag, purpose).await? {
                Answer::Found(Found { body: Value::Array(entries), etag, next, last_page }) => {
                    (entries, etag, next, last_page)
                }
                Answer::NotModified => return Ok(Err(Stretched::NotModified)),
                other => return Ok(Err(Stretched::NoList(other))),
            };
            if pages.is_empty() {
                listed = last_page.unwrap_or(1);
            }
            let latest = entries.iter().rev().find_map(updated_at);
            let further = next.map(|address| resource.next_page(address));
            let is_last = further.is_none();
            pages.push(Page { resource, etag, entries });
            match further {
                Some(further) if latest <= past => resource = further,
                _ => {
                    let (entries, etag) = (Vec::new(), None);
                    let stretch = Stretch { entries, latest: latest.max(past), is_last, etag, pages: listed, calls: 0 };
                    return Ok(Ok((pages, stretch)));
                }
            }
        }
        Ok(Err(Stretched::TooLong))
    }

    /// Whether the same entries stand on these pages as when they were read.
    async fn still_stand(&self, pages: &[Page], calls: &mut u64, purpose: Purpose) -> Result<bool> {
        let ids = |entries: &[Value]| entries.iter().map(|entry| entry["id"].as_u64()).collect::<Vec<_>>();
        for page in pages {
            let now = match self.get(&page.resource, page.etag.as_deref(), purpose).await? {
                Answer::NotModified => continue,
                now => now,
            };
            *calls += 1;
            match now {
                Answer::Found(Found { body: Value::Array(now), .. }) if ids(&now) == ids(&page.entries) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

impl Stretch {
    /// The time to ask for the next stretch from: GitHub does not say whether its `since` takes in the second itself.
    pub fn next_since(latest: Option<Timestamp>) -> Option<Timestamp> {
        latest.map(|latest| latest - SignedDuration::from_secs(1))
    }
}

fn updated_at(entry: &Value) -> Option<Timestamp> {
    entry.get("updated_at")?.as_str()?.parse().ok()
}
