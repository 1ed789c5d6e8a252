//! Deliveries that GitHub could not hand over: read from its log and taken as if they had arrived.
//!
//! GitHub does not deliver again by itself, but keeps each delivery with its payload for three days. Whoever may
//! administrate the hook can read them: a token with that right for a repository's or an organisation's hook, an App for
//! its own. Without that right what was missed is found by polling, and the status says so. No list that a repository's
//! administrator may read names an organisation's hook: it is known by its ping and its deliveries.
//!
//! The cursor `deliveries/{repository}` (or `deliveries/organization/{login}`, `deliveries/app`) keeps how far the log was
//! read. The log is not strictly in order of time, so the last minutes are read again each time, and what was handled is
//! remembered by its GUID. A log that is longer than one look reads has a gap then, behind its newest part: the next looks
//! go on in it.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use gharvest_archive::Archive;
use gharvest_github::{Answer, Client, ErrorKind, Found, Purpose, Resource};
use gharvest_model::{RepositoryId, tracking::Tracked};
use gharvest_service_kit::settings::DeliveryLog;
use gharvest_state::{
    State,
    feed::{self, Checked},
};
use gharvest_webhook_receiver::{
    Headers, Outcome, Payload, Receiver,
    hooks::{hook_feed, organization_hook_feed},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Failure, Outage,
    schedule::{earlier, later},
};

/// GitHub keeps deliveries for three days.
const KEPT: Duration = Duration::from_secs(3 * 24 * 3600);
/// What was delivered this lately is looked at again next time.
const SETTLES: Duration = Duration::from_secs(15 * 60);
/// How long a found hook, or the lack of rights, counts before GitHub is asked again.
const HOOK_LIVES: Duration = Duration::from_secs(3600);
/// An organisation's log is read again after this time: its repositories have their turns one by one.
const ORGANIZATION_EVERY: Duration = Duration::from_secs(60);
/// Pages of a hundred that one look reads at most; the next look goes on with what is older.
pub const MOST_PAGES: usize = 100;
/// Handled deliveries that are remembered at most.
const MOST_REMEMBERED: usize = 10_000;

const NO_RIGHT: &str = "no token may read this repository's hooks: failed deliveries are found by polling";
const NO_APP: &str = "[seeder] deliveries_of is \"app\", but there is no GitHub App: failed deliveries are found by \
                      polling; set the App in [github], or deliveries_of = \"hooks\"";
const NO_OWNER: &str = "no token may read the log of the organisation's hook, which needs its owner's with the scope \
                        admin:org_hook: failed deliveries are found by polling";
const NO_HOOK: &str = "no webhook of this repository leads here: changes are found by polling";

/// How far one log was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// Everything up to this delivery was handled.
    #[serde(default)]
    after: u64,
    /// What behind `after` was not read yet.
    #[serde(default)]
    gap: Option<Gap>,
    /// Failed deliveries behind both that were handled.
    #[serde(default)]
    handled: BTreeSet<String>,
    /// Our hook; none if there is none, or none that may be seen.
    #[serde(default)]
    hook: Option<u64>,
    /// When the hook was looked for.
    #[serde(default)]
    looked_at: Option<Timestamp>,
    /// ETag of the log's first page.
    #[serde(default)]
    etag: Option<String>,
    /// Why an organisation's log could not be read.
    #[serde(default)]
    trouble: Option<String>,
}

/// The part of a log that lies between what was read long ago and what is newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    /// The address at which it begins; it goes on to older deliveries.
    next: String,
    /// Everything from its begin up to this delivery was handled.
    above: u64,
}

/// An entry of the log.
#[derive(Debug, Clone, Deserialize)]
struct Entry {
    id: u64,
    guid: String,
    delivered_at: Timestamp,
    status: String,
    #[serde(default)]
    status_code: u16,
    event: String,
    #[serde(default)]
    repository_id: Option<u64>,
}

impl Entry {
    fn has_arrived(&self) -> bool {
        self.status == "OK" || (200..300).contains(&self.status_code)
    }
}

/// Whose log is read.
#[derive(Debug, Clone, Copy)]
enum Log<'a> {
    Repository(&'a Tracked, u64),
    Organization(&'a str, u64),
    App,
}

impl Log<'_> {
    fn deliveries(self) -> Resource {
        match self {
            Self::Repository(tracked, hook) => Resource::Deliveries(tracked.name.clone(), hook),
            Self::Organization(login, hook) => Resource::OrganizationDeliveries(login.to_owned(), hook),
            Self::App => Resource::AppDeliveries,
        }
    }

    fn delivery(self, id: u64) -> Resource {
        match self {
            Self::Repository(tracked, hook) => Resource::Delivery(tracked.name.clone(), hook, id),
            Self::Organization(login, hook) => Resource::OrganizationDelivery(login.to_owned(), hook, id),
            Self::App => Resource::AppDelivery(id),
        }
    }
}

/// A part of a log, newest first.
#[derive(Debug)]
struct Part {
    entries: Vec<Entry>,
    /// Where it goes on, if it was not read to its end.
    next: Option<String>,
}

/// How many deliveries were missed, and how many of them recovered, by repository.
type Tally = HashMap<RepositoryId, (u64, u64)>;

/// What became of one delivery that failed.
#[derive(Debug)]
enum Taken {
    /// Something followed that had not yet.
    Recovered,
    /// Nothing was missed.
    Nothing,
    /// It cannot be had, or not be read.
    Lost(String),
}

/// Recovers deliveries.
#[derive(Debug, Clone, Copy)]
pub struct Recovery<'a> {
    /// Keeps cursors.
    pub archive: &'a Archive,
    /// Takes what was missed.
    pub receiver: &'a Receiver,
    /// Keeps the health of feeds.
    pub state: &'a dyn State,
    /// Asks GitHub.
    pub client: &'a Client,
    /// Whose log is read.
    pub log: DeliveryLog,
    /// Pages of a hundred that one look reads at most: [`MOST_PAGES`].
    pub most_pages: usize,
}

impl Recovery<'_> {
    /// Looks through the App's log or through those of these repositories' hooks, as set. Says how many deliveries were
    /// recovered. What stands against one repository does not stop the others; it is their trouble. Where GitHub is silent
    /// the rest waits for its next turn.
    ///
    /// # Errors
    /// When archive or state do not answer, or GitHub says wait.
    pub async fn run(&self, turns: &[&Tracked], now: Timestamp) -> Result<u64, Failure> {
        if turns.is_empty() {
            return Ok(0);
        }
        let app = match self.log {
            DeliveryLog::Hooks => None,
            DeliveryLog::Auto => self.of_app(now).await?,
            DeliveryLog::App => Some(self.of_app(now).await?.unwrap_or_else(|| (0, Some(NO_APP.to_owned())))),
        };
        if let Some((recovered, trouble)) = app {
            for tracked in turns {
                self.note(tracked.id, trouble.clone(), now).await?;
            }
            return Ok(recovered);
        }
        let (mut recovered, mut outage, mut organizations) = (0, Outage::default(), HashMap::new());
        for tracked in turns {
            let owner = tracked.name.owner();
            if !organizations.contains_key(owner) {
                let (own, read) = self.of_organization(owner, now).await?;
                recovered += own;
                organizations.insert(owner, read);
            }
            let (own, met_silence) = self.of_repository(tracked, organizations[owner].as_ref(), now).await?;
            recovered += own;
            if outage.is_certain(met_silence) {
                break;
            }
        }
        Ok(recovered)
    }

    /// How many deliveries of the App's hook were recovered, and why its log cannot be read; none if there is no App.
    async fn of_app(&self, now: Timestamp) -> Result<Option<(u64, Option<String>)>, Failure> {
        let feed = "deliveries/app";
        let mut cursor = self.cursor(feed).await?;
        let first = match self.client.get_as_app(&Resource::AppDeliveries).await {
            Ok(None) => return Ok(None),
            Ok(Some(Answer::Found(found))) => found,
            Ok(Some(other)) => return Ok(Some((0, Some(said(&other))))),
            Err(error) => return Ok(Some((0, Some(passing(error)?)))),
        };
        let mut tally = Tally::new();
        let read = self.read(Log::App, first, &mut cursor, &mut tally, now).await;
        let recovered = self.keep(feed, &cursor, &tally).await?;
        let trouble = read.err().map(stopped).transpose()?;
        Ok(Some((recovered, trouble)))
    }

    /// How many deliveries of an organisation's hook were recovered, and why its log cannot be read; no word without a
    /// hook that was heard.
    async fn of_organization(&self, login: &str, now: Timestamp) -> Result<(u64, Option<Result<(), String>>), Failure> {
        let Some(hook) = self.heard(&organization_hook_feed(login)).await? else { return Ok((0, None)) };
        let feed = format!("deliveries/organization/{}", login.to_ascii_lowercase());
        let mut cursor = self.cursor(&feed).await?;
        if cursor.hook != Some(hook) {
            cursor = Cursor { hook: Some(hook), ..Cursor::default() };
        }
        let mut tally = Tally::new();
        let outcome = self.look_at_organization(login, hook, &mut cursor, &mut tally, now).await;
        let recovered = self.keep(&feed, &cursor, &tally).await?;
        outcome?;
        Ok((recovered, Some(cursor.trouble.map_or(Ok(()), Err))))
    }

    /// Looks through the log of an organisation's hook if that is due. The cursor says why that cannot be done.
    async fn look_at_organization(
        &self,
        login: &str,
        hook: u64,
        cursor: &mut Cursor,
        tally: &mut Tally,
        now: Timestamp,
    ) -> Result<(), Failure> {
        if cursor.looked_at.is_some_and(|at| later(at, ORGANIZATION_EVERY) > now) {
            return Ok(());
        }
        cursor.looked_at = Some(now);
        cursor.trouble = match self.look(Log::Organization(login, hook), cursor, tally, now).await {
            Ok(None) => None,
            Ok(Some(Answer::NotFound)) => Some(NO_OWNER.to_owned()),
            Ok(Some(other)) => Some(said(&other)),
            Err(error) => Some(stopped(error)?),
        };
        Ok(())
    }

    /// How many deliveries were recovered, and whether GitHub was silent. A repository without a hook of its own has its
    /// organisation's.
    async fn of_repository(
        &self,
        tracked: &Tracked,
        organization: Option<&Result<(), String>>,
        now: Timestamp,
    ) -> Result<(u64, bool), Failure> {
        let feed = format!("deliveries/{}", tracked.id);
        let mut cursor = self.cursor(&feed).await?;
        let mut tally = Tally::new();
        let outcome = self.look_at_own(tracked, &mut cursor, &mut tally, now).await;
        let recovered = self.keep(&feed, &cursor, &tally).await?;
        let met_silence = outcome.as_ref().is_err_and(Failure::is_silence);
        let trouble = match (outcome, organization) {
            (Ok(Ok(())), _) => None,
            (Ok(Err(trouble)), None) => Some(trouble),
            (Ok(Err(_)), Some(read)) => read.clone().err(),
            (Err(error), _) => Some(stopped(error)?),
        };
        self.note(tracked.id, trouble, now).await?;
        Ok((recovered, met_silence))
    }

    /// Looks through the log of a repository's own hook, or says why that cannot be done.
    async fn look_at_own(
        &self,
        tracked: &Tracked,
        cursor: &mut Cursor,
        tally: &mut Tally,
        now: Timestamp,
    ) -> Result<Result<(), String>, Failure> {
        if cursor.looked_at.is_none_or(|at| later(at, HOOK_LIVES) <= now) {
            match self.find_hook(tracked).await? {
                Ok(hook) => (cursor.hook, cursor.etag) = (Some(hook), None),
                Err(trouble) => {
                    // Not having the right is asked about hourly, so that it costs next to nothing.
                    (cursor.hook, cursor.looked_at) = (None, Some(now));
                    return Ok(Err(trouble));
                }
            }
            cursor.looked_at = Some(now);
        }
        let Some(hook) = cursor.hook else {
            let known: Option<Checked> = feed::get(self.state, tracked.id).await?;
            return Ok(Err(known.and_then(|health| health.trouble).unwrap_or_else(|| NO_RIGHT.to_owned())));
        };
        match self.look(Log::Repository(tracked, hook), cursor, tally, now).await? {
            None => Ok(Ok(())),
            Some(other) => {
                // The hook was removed, or the right was taken away: looked for again next time.
                cursor.looked_at = None;
                Ok(Err(said(&other)))
            }
        }
    }

    /// Looks through a hook's log from its newest page on. Gives back an answer that is none.
    async fn look(
        &self,
        log: Log<'_>,
        cursor: &mut Cursor,
        tally: &mut Tally,
        now: Timestamp,
    ) -> Result<Option<Answer>, Failure> {
        // What is open is gone on with, though nothing is new.
        let etag = cursor.etag.clone().filter(|_| cursor.gap.is_none());
        match self.client.get(&log.deliveries(), etag.as_deref(), Purpose::Scheduled).await? {
            Answer::Found(first) => {
                let etag = first.etag.clone();
                self.read(log, first, cursor, tally, now).await?;
                cursor.etag = etag;
                Ok(None)
            }
            Answer::NotModified => Ok(None),
            other => Ok(Some(other)),
        }
    }

    /// The hook that was heard last, by a ping or a delivery, and was not removed since.
    async fn heard(&self, feed: &str) -> Result<Option<u64>, Failure> {
        let known = self.archive.cursor(feed).await?;
        Ok(known.filter(|hook| hook["removed_at"].is_null()).and_then(|hook| hook["hook_id"].as_u64()))
    }

    /// The hook of a repository that leads here: the one that was heard, or one with a receiver's path.
    async fn find_hook(&self, tracked: &Tracked) -> Result<Result<u64, String>, Failure> {
        let heard = self.heard(&hook_feed(tracked.id)).await?;
        let found = match self.client.get(&Resource::Hooks(tracked.name.clone()), None, Purpose::Scheduled).await {
            Ok(Answer::Found(found)) => found,
            Ok(_) => return Ok(Err(NO_RIGHT.to_owned())),
            Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::Unauthorized) => {
                return Ok(Err(NO_RIGHT.to_owned()));
            }
            Err(error) => return Err(error.into()),
        };
        let hooks = found.body.as_array().cloned().unwrap_or_default();
        let leads_here = |hook: &&Value| {
            let url = hook.pointer("/config/url").and_then(Value::as_str).unwrap_or_default();
            let path = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
            path.ends_with("/webhooks/github") || path.ends_with("/webhooks/github/receive")
        };
        let by_word = hooks.iter().find(|hook| heard.is_some() && hook["id"].as_u64() == heard);
        let hook = by_word.or_else(|| hooks.iter().find(leads_here));
        Ok(hook.and_then(|hook| hook["id"].as_u64()).ok_or_else(|| NO_HOOK.to_owned()))
    }

    /// Reads a log back to where it was read last, and takes what failed, oldest first.
    async fn read(
        &self,
        log: Log<'_>,
        first: Found,
        cursor: &mut Cursor,
        tally: &mut Tally,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let read_to = cursor.gap.as_ref().map_or(cursor.after, |gap| gap.above);
        let mut part = self.part(log, first, read_to, now).await?;
        if part.next.is_none()
            && let Some(gap) = &cursor.gap
        {
            let Some(found) = self.page(log, &gap.next).await? else {
                // Its address is too old: read anew from `after` on, at the next look.
                cursor.gap = None;
                return Ok(());
            };
            let older = self.part(log, found, cursor.after, now).await?;
            part.entries.extend(older.entries);
            part.next = older.next;
        }
        self.take_missed(log, &part.entries, cursor, tally, now).await?;
        let settled = part.entries.iter().filter(|entry| entry.delivered_at <= earlier(now, SETTLES));
        let above = settled.map(|entry| entry.id).fold(read_to, u64::max);
        cursor.gap = part.next.map(|next| Gap { next, above });
        if cursor.gap.is_none() {
            cursor.after = above;
        }
        let recent: BTreeSet<&str> =
            part.entries.iter().filter(|entry| entry.id > above).map(|entry| entry.guid.as_str()).collect();
        cursor.handled.retain(|guid| recent.contains(guid.as_str()));
        Ok(())
    }

    /// Takes those of these entries, newest first, that failed and were not handled, and counts them: what was handled
    /// before an error is not handled again. What could not be kept, or is not shown yet, stops no other; the next look
    /// tries it again.
    async fn take_missed(
        &self,
        log: Log<'_>,
        entries: &[Entry],
        cursor: &mut Cursor,
        tally: &mut Tally,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let arrived: HashSet<&str> =
            entries.iter().filter(|entry| entry.has_arrived()).map(|entry| entry.guid.as_str()).collect();
        let (mut done, mut put_off): (HashSet<&str>, _) = (HashSet::new(), None);
        for entry in entries.iter().rev() {
            let is_missed = !entry.has_arrived() && !arrived.contains(entry.guid.as_str());
            if !is_missed || cursor.handled.contains(&entry.guid) || !done.insert(&entry.guid) {
                continue;
            }
            let taken = match self.take(log, entry, now).await {
                Err(error @ (Failure::NotDurable(_) | Failure::Partly(_))) => {
                    put_off = Some(error);
                    continue;
                }
                taken => taken?,
            };
            count(log, entry, &taken, tally);
            if cursor.handled.len() < MOST_REMEMBERED {
                cursor.handled.insert(entry.guid.clone());
            }
        }
        put_off.map_or(Ok(()), Err)
    }

    /// The entries of the log from a page on, back to behind a delivery, as far as their payloads are kept.
    async fn part(&self, log: Log<'_>, first: Found, after: u64, now: Timestamp) -> Result<Part, Failure> {
        let oldest = earlier(now, KEPT);
        let (mut entries, mut page, mut pages) = (Vec::new(), first, 1);
        loop {
            // What a newer GitHub may write otherwise is passed over: polling finds it.
            let listed = page.body.as_array().cloned().unwrap_or_default();
            let read: Vec<Entry> = listed.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect();
            let ends = read.iter().any(|entry| entry.id <= after || entry.delivered_at < oldest);
            entries.extend(read.into_iter().filter(|entry| entry.id > after && entry.delivered_at >= oldest));
            let Some(next) = page.next.filter(|_| !ends) else { return Ok(Part { entries, next: None }) };
            if pages >= self.most_pages {
                return Ok(Part { entries, next: Some(next) });
            }
            match self.page(log, &next).await? {
                Some(found) => page = found,
                None => return Ok(Part { entries, next: Some(next) }),
            }
            pages += 1;
        }
    }

    /// A page of the log by its address; none if GitHub does not take the address, or not any more.
    async fn page(&self, log: Log<'_>, address: &str) -> Result<Option<Found>, Failure> {
        match self.ask(log, &Resource::Address(address.to_owned())).await {
            Ok(Some(Answer::Found(found))) => Ok(Some(found)),
            Ok(_) => Ok(None),
            Err(error) if *error.kind() == ErrorKind::Refused => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn ask(&self, log: Log<'_>, resource: &Resource) -> gharvest_github::Result<Option<Answer>> {
        match log {
            Log::Repository(..) | Log::Organization(..) => {
                self.client.get(resource, None, Purpose::Scheduled).await.map(Some)
            }
            Log::App => self.client.get_as_app(resource).await,
        }
    }

    /// Fetches one delivery and takes it. One that GitHub lists and does not show may come while the log settles.
    async fn take(&self, log: Log<'_>, entry: &Entry, now: Timestamp) -> Result<Taken, Failure> {
        let found = match self.ask(log, &log.delivery(entry.id)).await? {
            Some(Answer::Found(found)) => found,
            _ if entry.delivered_at > earlier(now, SETTLES) => {
                return Err(Failure::Partly(format!(
                    "GitHub lists the failed delivery {} and does not show it",
                    entry.guid
                )));
            }
            other => return Ok(Taken::Lost(format!("GitHub lists it and does not show it: {other:?}"))),
        };
        let payload = match found.body.pointer("/request/payload") {
            // Hooks that send forms show the form's field as text.
            Some(Value::String(text)) => text.clone(),
            Some(payload) => payload.to_string(),
            None => return Ok(Taken::Lost("GitHub shows it without its payload".to_owned())),
        };
        let payload = match Payload::read("application/json", payload.as_bytes()) {
            Ok(payload) => payload,
            Err(error) => return Ok(Taken::Lost(error.to_string())),
        };
        let headers = Headers { event: &entry.event, delivery: &entry.guid, hook: None };
        let received = self.receiver.receive_at(headers, &payload, entry.delivered_at).await?;
        tracing::info!(
            delivery = entry.guid,
            event = entry.event,
            subject = received.subject,
            outcome = received.outcome.as_str(),
            "Missed delivery recovered"
        );
        let outcome = received.outcome.as_str();
        metrics::counter!("gharvest_webhook_recovered_total", "outcome" => outcome).increment(1);
        Ok(match received.outcome {
            Outcome::Queued | Outcome::Spooled | Outcome::TrackingChanged => Taken::Recovered,
            Outcome::Duplicate | Outcome::Untracked | Outcome::Pong | Outcome::Ignored => Taken::Nothing,
        })
    }

    /// Notes how a repository's feed is.
    async fn note(&self, repository: RepositoryId, trouble: Option<String>, now: Timestamp) -> Result<(), Failure> {
        let before: Checked = feed::get(self.state, repository).await?.unwrap_or_default();
        if let Some(trouble) = trouble.as_ref().filter(|trouble| before.trouble.as_ref() != Some(*trouble)) {
            tracing::warn!(repository = repository.0, trouble, "Failed deliveries of a hook cannot be recovered");
        }
        let checked = Checked { checked_at: Some(now), trouble, ..before };
        Ok(feed::put(self.state, repository, &checked).await?)
    }

    /// Adds to the counts of tracked repositories. Says how many deliveries were recovered in all.
    async fn count(&self, tally: &Tally) -> Result<u64, Failure> {
        if tally.is_empty() {
            return Ok(0);
        }
        for tracked in self.archive.tracking().await? {
            let Some((failures, recovered)) = tally.get(&tracked.id) else { continue };
            let mut checked: Checked = feed::get(self.state, tracked.id).await?.unwrap_or_default();
            checked.failures += failures;
            checked.recovered += recovered;
            feed::put(self.state, tracked.id, &checked).await?;
        }
        Ok(tally.values().map(|(_, recovered)| recovered).sum())
    }

    async fn cursor(&self, feed: &str) -> Result<Cursor, Failure> {
        let stored = self.archive.cursor(feed).await?;
        Ok(stored.and_then(|stored| serde_json::from_value(stored).ok()).unwrap_or_default())
    }

    /// Keeps how far a log was read, where that changed, and counts what was handled in it. Says how many deliveries were
    /// recovered.
    async fn keep(&self, feed: &str, cursor: &Cursor, tally: &Tally) -> Result<u64, Failure> {
        if self.cursor(feed).await? != *cursor {
            let value = serde_json::to_value(cursor).expect("plain data");
            self.archive.set_cursor(feed, value).await?;
        }
        self.count(tally).await
    }
}

/// Counts what became of one delivery. That one is lost is said here.
fn count(log: Log<'_>, entry: &Entry, taken: &Taken, tally: &mut Tally) {
    let repository = match log {
        Log::Repository(tracked, _) => tracked.id,
        Log::Organization(..) | Log::App => RepositoryId(entry.repository_id.unwrap_or_default()),
    };
    let recovered = match taken {
        Taken::Nothing => return,
        Taken::Recovered => 1,
        Taken::Lost(why) => {
            tracing::warn!(delivery = entry.guid, event = entry.event, why, "Missed delivery is lost");
            metrics::counter!("gharvest_webhook_recovered_total", "outcome" => "lost").increment(1);
            0
        }
    };
    let (all_missed, all_recovered) = tally.entry(repository).or_default();
    *all_missed += 1;
    *all_recovered += recovered;
}

/// What an answer without a log means.
fn said(answer: &Answer) -> String {
    match answer {
        Answer::NotFound => NO_RIGHT.to_owned(),
        other => format!("GitHub does not show the hook's deliveries: {other:?}"),
    }
}

/// An error of GitHub as this feed's trouble, unless every feed has it.
fn passing(error: gharvest_github::Error) -> Result<String, Failure> {
    match error.kind() {
        ErrorKind::RateLimited { .. } => Err(error.into()),
        ErrorKind::Forbidden | ErrorKind::Unauthorized => Ok(NO_RIGHT.to_owned()),
        _ => Ok(error.to_string()),
    }
}

fn stopped(failure: Failure) -> Result<String, Failure> {
    match failure {
        Failure::Github(error) => passing(error),
        error @ (Failure::NotDurable(_) | Failure::Partly(_)) => Ok(error.to_string()),
        other => Err(other),
    }
}
