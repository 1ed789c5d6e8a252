//! The repository behind a job: its name now, whether it can be seen, and what is wrong with it.

use gharvest_archive::{Archive, Repository};
use gharvest_github::{Answer, Client, Found, Purpose, Resource, Sort};
use gharvest_model::{
    Lane, QueueName, RepositoryId, RepositoryName, Subject,
    job::part,
    tracking::{GONE, Tracked},
};
use gharvest_queue::{Queue, Timing, Trigger};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{fetch::repository_trouble, item::is_confirmed, location, outcome::Failure};

/// What GitHub said about a repository.
#[derive(Debug)]
pub(crate) enum Seen {
    Repository(Box<Found>),
    NotModified,
}

/// Asks for a repository by its name, and follows one rename by its address.
pub(crate) async fn ask(
    client: &Client,
    name: &RepositoryName,
    etag: Option<&str>,
    purpose: Purpose,
) -> Result<Seen, Failure> {
    let mut answer = client.get(&Resource::Repository(name.clone()), etag, purpose).await?;
    if let Answer::Moved { location } = &answer
        && location::parse(location).is_some()
    {
        answer = client.get(&Resource::Address(location.clone()), None, purpose).await?;
    }
    match answer {
        Answer::Found(found) => Ok(Seen::Repository(Box::new(found))),
        Answer::NotModified => Ok(Seen::NotModified),
        Answer::Moved { location } => Err(Failure::Again(format!("GitHub moves {name} to no repository: {location}"))),
        other => Err(repository_trouble(&other).unwrap_or_else(|| Failure::Gone(name.clone()))),
    }
}

/// GitHub's repository object as a file of the archive; none if it has no id or no name.
pub(crate) fn from_body(body: Value, etag: Option<String>, now: Timestamp) -> Option<Repository> {
    Some(Repository {
        id: RepositoryId(body.get("id")?.as_u64()?),
        full_name: body.get("full_name")?.as_str()?.parse().ok()?,
        former_names: Vec::new(),
        repository: body,
        etag,
        fetched_at: now,
        gone_at: None,
        daily_version: 0,
        label_renames: Default::default(),
        heard_private: None,
        unknown: Map::new(),
    })
}

/// Fetches a repository's object again and stores it under the name it has now. `etag` makes an unchanged one cheap.
///
/// A new name or another visibility stands in every document, whoever notices it first: all of them are made again.
/// What a webhook called private is fetched whole: that GitHub's object is as it was says nothing of the time between.
/// Returns the stored file and whether GitHub's object was given anew.
pub(crate) async fn refresh(
    archive: &Archive,
    client: &Client,
    queue: &dyn Queue,
    known: &Repository,
    etag: Option<&str>,
    purpose: Purpose,
) -> Result<(Repository, bool), Failure> {
    let etag = etag.filter(|_| !known.is_heard_private());
    let found = match ask(client, &known.full_name, etag, purpose).await? {
        Seen::NotModified => {
            let repository = Repository { gone_at: None, ..known.clone() };
            shown(archive, queue, known, &repository).await?;
            return Ok((repository, false));
        }
        Seen::Repository(found) => found,
    };
    let mut fresh = read(*found, known)?;
    if fresh.id != known.id {
        tracing::warn!(repo.name = %known.full_name, repo.id = %known.id, other = %fresh.id, "Another repository has the name");
        fresh = by_id(client, known, purpose).await?;
    }
    let repository = merge(known, fresh);
    shown(archive, queue, known, &repository).await?;
    Ok((repository, true))
}

fn read(found: Found, known: &Repository) -> Result<Repository, Failure> {
    from_body(found.body, found.etag, Timestamp::now())
        .ok_or_else(|| Failure::Again(format!("GitHub's object of {} has no id or no name", known.full_name)))
}

/// Asks for a repository whose name belongs to another one by now: it has a new name, or it is gone.
async fn by_id(client: &Client, known: &Repository, purpose: Purpose) -> Result<Repository, Failure> {
    match client.get(&Resource::RepositoryById(known.id), None, purpose).await? {
        Answer::Found(found) => match read(found, known)? {
            fresh if fresh.id == known.id => Ok(fresh),
            other => Err(Failure::Again(format!("GitHub answers {} where {} was asked for", other.id, known.id))),
        },
        other => Err(repository_trouble(&other).unwrap_or_else(|| Failure::Gone(known.full_name.clone()))),
    }
}

/// Whether an issue object seems to be of another repository, made anew under the name of this one: an issue's id never
/// changes, and its node id mostly names its repository. Only a hint: the repository itself tells.
pub(crate) fn is_of_another(id: RepositoryId, known: Option<&Value>, issue: &Value) -> bool {
    let number = |issue: &Value| issue.get("id").and_then(Value::as_u64);
    let is_new = known.and_then(number).zip(number(issue)).is_some_and(|(known, now)| known != now);
    let told = issue.get("node_id").and_then(Value::as_str).and_then(gharvest_github::repository_in);
    is_new || told.is_some_and(|told| told != id)
}

/// Stores a repository that GitHub shows; if it was gone, its items are searchable again.
async fn shown(archive: &Archive, queue: &dyn Queue, known: &Repository, now: &Repository) -> Result<(), Failure> {
    if now != known {
        archive.put_repository(now).await?;
    }
    if known.gone_at.is_some() {
        index_everything(archive, queue, now.id).await?;
    }
    follow(archive, queue, now).await
}

/// A repository as it is now, with what the mirror knew of it before.
pub(crate) fn merge(known: &Repository, fresh: Repository) -> Repository {
    let mut former = known.former_names.clone();
    if known.full_name != fresh.full_name {
        tracing::info!(repo.id = %known.id, from = %known.full_name, to = %fresh.full_name, "Repository renamed");
        former.insert(0, known.full_name.clone());
    }
    former.retain(|name| name.key() != fresh.full_name.key());
    former.dedup();
    let Repository { daily_version, label_renames, heard_private, unknown, .. } = known.clone();
    Repository { former_names: former, daily_version, label_renames, heard_private, unknown, ..fresh }
}

/// Keeps the tracking entry's name and visibility those of the repository that GitHub shows, and its documents too: also
/// those that had left search while it was gone. What became private is so in the entry already, and noted in the file:
/// to make its documents again takes long, and a full queue refuses it. All else is written to the entry last: after a
/// crash in between, the next look does both again.
async fn follow(archive: &Archive, queue: &dyn Queue, repository: &Repository) -> Result<(), Failure> {
    let Some(stored) = archive.repository(repository.id).await? else { return Ok(()) };
    let is_told = hide(archive, queue, &stored).await?;
    let Some(tracked) = tracked(archive, repository.id).await? else { return Ok(()) };
    let mut now = Tracked { name: repository.full_name.clone(), private: repository.is_private(), ..tracked.clone() };
    if tracked.is_gone() {
        (now.trouble, now.trouble_since) = (None, None);
    }
    if now != tracked {
        if !is_told {
            index_everything(archive, queue, repository.id).await?;
        }
        // Not tracked anew, should it have been untracked meanwhile.
        let change = |entry: &mut Tracked| {
            (entry.name, entry.private) = (now.name.clone(), now.private);
            (entry.trouble, entry.trouble_since) = (now.trouble.clone(), now.trouble_since);
        };
        archive.change_tracked(repository.id, &change).await?;
        // A webhook may have told meanwhile that it is private: that word stands in the file first.
        if archive.repository(repository.id).await?.is_some_and(|stored| stored.is_heard_private()) {
            archive.change_tracked(repository.id, &|entry| entry.private = true).await?;
        }
    }
    Ok(())
}

/// Makes all documents of a repository again: of its items, and of its parts.
pub(crate) async fn index_everything(archive: &Archive, queue: &dyn Queue, id: RepositoryId) -> Result<(), Failure> {
    let trigger = |part, lane| Trigger {
        queue: QueueName::Index,
        subject: Subject::part(id, part),
        lane,
        timing: Timing::WhenFree,
        reason: "repository".to_owned(),
    };
    // Ahead of the items: where it became private, an index of what is public hides all of them with it.
    queue.push(&[trigger(part::METADATA, Lane::Manual)], None).await?;
    let highest = archive.ledger(id).await?.highest();
    if highest > 0 {
        queue.push_range(QueueName::Index, id, 1..=highest, Lane::Reconcile).await?;
    }
    queue.push(&[part::RELEASES, part::DAILY].map(|part| trigger(part, Lane::Reconcile)), None).await?;
    Ok(())
}

/// Makes all documents again once the repository became private: also where GitHub shows it to no token of ours any more,
/// so that nothing else is ever heard of it. Says whether there was need to.
pub(crate) async fn hide(archive: &Archive, queue: &dyn Queue, repository: &Repository) -> Result<bool, Failure> {
    let Some(heard) = repository.heard_private.filter(|heard| heard.pending) else { return Ok(false) };
    tracing::info!(repo.name = %repository.full_name, "Repository is private now, all its documents are made again");
    index_everything(archive, queue, repository.id).await?;
    archive.settle_private(repository.id, &heard).await?;
    Ok(true)
}

/// A repository's tracking entry.
pub(crate) async fn tracked(archive: &Archive, id: RepositoryId) -> Result<Option<Tracked>, Failure> {
    Ok(archive.tracking().await?.into_iter().find(|tracked| tracked.id == id))
}

/// Notes that GitHub shows no such repository. When it has said so for a day, its items leave search; the archive keeps
/// them, and [`revive`] brings them back.
///
/// A private repository is never certain to be gone: a token that may not see it any more gets the same answer. The
/// tracking entry is written last: after a crash in between, the next look does all of it again.
pub(crate) async fn note_gone(
    archive: &Archive,
    client: &Client,
    queue: &dyn Queue,
    id: RepositoryId,
    reason: &str,
) -> Result<(), Failure> {
    let Some(tracked) = tracked(archive, id).await?.filter(|tracked| !tracked.is_gone()) else { return Ok(()) };
    let now = Timestamp::now();
    let since = tracked.trouble_since.filter(|_| tracked.trouble.as_deref() == Some(reason));
    let confirmed = since.is_some_and(|since| is_confirmed(since, now));
    if !confirmed || tracked.private || !shows_anything(archive, client, id).await? {
        return note_trouble(archive, id, Some(reason)).await;
    }
    let Some(repository) = archive.repository(id).await? else { return Ok(()) };
    tracing::warn!(repo.name = %tracked.name, "Repository is gone from GitHub, its items leave search");
    archive.put_repository(&Repository { gone_at: Some(now), ..repository }).await?;
    index_everything(archive, queue, id).await?;
    let trouble = format!("{GONE} since {}", since.unwrap_or(now).strftime("%Y-%m-%d"));
    archive.change_tracked(id, &|entry| entry.trouble = Some(trouble.clone())).await?;
    Ok(())
}

/// Whether GitHub shows another repository that is tracked and well. Where none is well it must show what it shows
/// everybody: several may be gone together, and then none speaks for another.
async fn shows_anything(archive: &Archive, client: &Client, id: RepositoryId) -> Result<bool, Failure> {
    /// Enough to tell an outage from a repository that is gone.
    const ASKED: usize = 3;
    let mut others = archive.tracking().await?;
    others.retain(|other| other.id != id && other.trouble.is_none());
    for other in others.iter().take(ASKED) {
        let answer = client.get(&Resource::Repository(other.name.clone()), None, Purpose::Scheduled).await?;
        if matches!(answer, Answer::Found(_) | Answer::Moved { .. }) {
            return Ok(true);
        }
    }
    if !others.is_empty() {
        return Ok(false);
    }
    Ok(matches!(client.get(&Resource::Meta, None, Purpose::Scheduled).await?, Answer::Found(_)))
}

/// GitHub shows items of the repository: if it was gone, they are searchable again, and nothing is wrong any more.
pub(crate) async fn revive(archive: &Archive, queue: &dyn Queue, id: RepositoryId) -> Result<(), Failure> {
    if let Some(known) = archive.repository(id).await?.filter(|known| known.gone_at.is_some()) {
        shown(archive, queue, &known, &Repository { gone_at: None, ..known.clone() }).await?;
    }
    note_trouble(archive, id, None).await
}

/// Notes what is wrong with a repository, or that all is well again. The first time of a trouble is kept; another
/// trouble begins anew.
pub(crate) async fn note_trouble(archive: &Archive, id: RepositoryId, trouble: Option<&str>) -> Result<(), Failure> {
    let Some(tracked) = tracked(archive, id).await? else { return Ok(()) };
    if tracked.trouble.as_deref() == trouble {
        return Ok(());
    }
    match trouble {
        Some(trouble) => tracing::error!(repo.name = %tracked.name, trouble, "Repository cannot be fetched"),
        None => tracing::info!(repo.name = %tracked.name, "Repository can be fetched again"),
    }
    let now = Timestamp::now();
    let note = |entry: &mut Tracked| {
        entry.trouble_since = trouble.map(|_| now);
        entry.trouble = trouble.map(str::to_owned);
    };
    archive.change_tracked(id, &note).await?;
    Ok(())
}

/// Whether the token sees at least one item of the repository: only then does a 404 say something about an item.
pub(crate) async fn shows_items(client: &Client, name: &RepositoryName, purpose: Purpose) -> Result<bool, Failure> {
    let list = Resource::Issues { repository: name.clone(), since: None, sort: Sort::Created };
    match client.get(&list, None, purpose).await? {
        Answer::Found(found) => Ok(found.body.as_array().is_some_and(|items| !items.is_empty())),
        other => repository_trouble(&other).map_or(Ok(false), Err),
    }
}
