//! The repository behind a job: its name now, whether it can be seen, and what is wrong with it.

use gharvest_archive::{Archive, Repository};
use gharvest_github::{Answer, Client, Found, Purpose, Resource, Sort};
use gharvest_model::{Lane, QueueName, RepositoryId, RepositoryName, tracking::Tracked};
use gharvest_queue::Queue;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{fetch::repository_trouble, outcome::Failure};

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
    if let Answer::Moved { location } = &answer {
        answer = client.get(&Resource::Address(location.clone()), None, purpose).await?;
    }
    match answer {
        Answer::Found(found) => Ok(Seen::Repository(Box::new(found))),
        Answer::NotModified => Ok(Seen::NotModified),
        other => Err(repository_trouble(&other).unwrap_or_else(|| {
            Failure::Repository(format!(
                "GitHub shows no repository {name}: it is deleted or private, or the token may not see it"
            ))
        })),
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
        daily_version: 0,
        label_renames: Default::default(),
        unknown: Map::new(),
    })
}

/// Whether only some may see it.
pub(crate) fn is_private(repository: &Repository) -> bool {
    repository.repository.get("private").and_then(Value::as_bool).unwrap_or(false)
}

/// Fetches a repository's object again and stores it under the name it has now. `etag` makes an unchanged one cheap.
///
/// A new name or another visibility stands in every document, whoever notices it first: all of them are made again.
/// Returns the stored file and whether GitHub's object was given anew.
pub(crate) async fn refresh(
    archive: &Archive,
    client: &Client,
    queue: &dyn Queue,
    known: &Repository,
    etag: Option<&str>,
    purpose: Purpose,
) -> Result<(Repository, bool), Failure> {
    let found = match ask(client, &known.full_name, etag, purpose).await? {
        Seen::NotModified => {
            follow(archive, queue, known).await?;
            return Ok((known.clone(), false));
        }
        Seen::Repository(found) => found,
    };
    let fresh = from_body(found.body, found.etag, Timestamp::now())
        .ok_or_else(|| Failure::Again(format!("GitHub's object of {} has no id or no name", known.full_name)))?;
    if fresh.id != known.id {
        return Err(Failure::Repository(format!(
            "the name {} belongs to another repository now (id {} instead of {})",
            known.full_name, fresh.id, known.id
        )));
    }
    let repository = merge(known, fresh);
    archive.put_repository(&repository).await?;
    follow(archive, queue, &repository).await?;
    Ok((repository, true))
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
    let Repository { daily_version, label_renames, unknown, .. } = known.clone();
    Repository { former_names: former, daily_version, label_renames, unknown, ..fresh }
}

/// Keeps the tracking entry's name and visibility those of the repository, and its documents too. The entry is written
/// last: after a crash in between, the next look does both again.
async fn follow(archive: &Archive, queue: &dyn Queue, repository: &Repository) -> Result<(), Failure> {
    let Some(tracked) = tracked(archive, repository.id).await? else { return Ok(()) };
    let now = Tracked { name: repository.full_name.clone(), private: is_private(repository), ..tracked.clone() };
    if now != tracked {
        index_everything(archive, queue, repository.id).await?;
        archive.track(now).await?;
    }
    Ok(())
}

/// Makes all documents of a repository again.
pub(crate) async fn index_everything(archive: &Archive, queue: &dyn Queue, id: RepositoryId) -> Result<(), Failure> {
    let highest = archive.ledger(id).await?.highest();
    if highest > 0 {
        queue.push_range(QueueName::Index, id, 1..=highest, Lane::Reconcile).await?;
    }
    Ok(())
}

/// A repository's tracking entry.
pub(crate) async fn tracked(archive: &Archive, id: RepositoryId) -> Result<Option<Tracked>, Failure> {
    Ok(archive.tracking().await?.into_iter().find(|tracked| tracked.id == id))
}

/// Notes what is wrong with a repository, or that all is well again. The first time of a trouble is kept.
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
        entry.trouble_since = trouble.and(entry.trouble_since.or(Some(now)));
        entry.trouble = trouble.map(str::to_owned);
    };
    archive.change_tracked(id, &note).await?;
    Ok(())
}

/// Whether the token sees the repository and at least one item of it: only then does a 404 say something about an item.
pub(crate) async fn shows_items(client: &Client, name: &RepositoryName, purpose: Purpose) -> Result<bool, Failure> {
    ask(client, name, None, purpose).await?;
    let list = Resource::Issues { repository: name.clone(), since: None, sort: Sort::Created };
    match client.get(&list, None, purpose).await? {
        Answer::Found(found) => Ok(found.body.as_array().is_some_and(|items| !items.is_empty())),
        other => repository_trouble(&other).map_or(Ok(false), Err),
    }
}
