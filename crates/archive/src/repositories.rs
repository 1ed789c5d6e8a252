//! Repositories: their file, their named parts, and the links of their names.

use gharvest_model::{
    RepositoryId, RepositoryName,
    job::part,
    labels::{LabelRename, LabelRenames},
    tracking::Tracked,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::{Archive, Error, ErrorKind, HeardPrivate, Repository, Result, corrupt, from_bytes, to_bytes};

impl Archive {
    /// A repository's file.
    pub async fn repository(&self, id: RepositoryId) -> Result<Option<Repository>> {
        self.read(&repository_key(id)).await
    }

    /// All repositories in the archive, tracked or not, by id.
    pub async fn repositories(&self) -> Result<Vec<RepositoryId>> {
        let names = self.store().list("repositories").await?;
        let mut ids: Vec<_> = names.iter().filter_map(|name| name.parse().ok().map(RepositoryId)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Stores a repository's file, unless what is stored was fetched later; names that only the stored file knows stay
    /// known. Moves the link in `current/`: an old name stays as a redirect until it is used again.
    ///
    /// One that became private is so in what is tracked before anything else, and its documents are noted as still to be
    /// made ([`HeardPrivate::pending`]).
    pub async fn put_repository(&self, repository: &Repository) -> Result<()> {
        self.check_known(repository.id).await?;
        let is_newer = |stored: &Repository| stored.fetched_at > repository.fetched_at;
        if self.repository(repository.id).await?.as_ref().is_some_and(is_newer) {
            return Ok(());
        }
        let is_news = repository.is_private() && self.change_tracked(repository.id, &hide).await?;
        // Before the file that says the name: so the name in a file always leads to it, wherever a crash comes.
        self.link(repository).await?;
        let key = repository_key(repository.id);
        let change = |stored: Option<bytes::Bytes>| {
            let stored = stored.map(|bytes| from_bytes::<Repository>(&key, &bytes)).transpose()?;
            match stored {
                Some(stored) if is_newer(&stored) => Ok(None),
                Some(stored) => to_bytes(&key, &merge(stored, repository.clone(), is_news)).map(Some),
                None => to_bytes(&key, repository).map(Some),
            }
        };
        self.swap(&key, &change).await.map(|_| ())
    }

    /// Points a repository's name to it, unless the name was seen at another repository later.
    async fn link(&self, repository: &Repository) -> Result<()> {
        let link = link_key(&repository.full_name);
        let target = format!("repositories/{}", repository.id);
        let held = self.store().read_link(&link).await?;
        if held.as_ref() == Some(&target) {
            return Ok(());
        }
        if let Some(other) = held.as_deref().and_then(repository_of)
            && let Some(other) = self.repository(other).await?
            && other.full_name.key() == repository.full_name.key()
            && other.fetched_at > repository.fetched_at
        {
            return Ok(());
        }
        self.store().link(&link, &target).await
    }

    /// Whose name this is or was: current names before former ones.
    pub async fn resolve(&self, name: &RepositoryName) -> Result<Option<RepositoryId>> {
        // A link stays at its old name until another repository takes it: so there is one answer.
        let key = link_key(name);
        let Some(target) = self.store().read_link(&key).await? else { return Ok(None) };
        match repository_of(&target) {
            Some(id) => Ok(Some(id)),
            None => Err(Error::new(ErrorKind::Corrupt, "resolve", key, format!("it points to `{target}`"))),
        }
    }

    /// Keeps what a list of labels tells of renames beside the stored one, which stays: it is to be stored
    /// ([`Archive::put_part`]) once everything is done that follows from renames. Returns all renames if there is any
    /// with which no documents have been made: by the lists, or told by a webhook.
    pub async fn learn_label_renames(
        &self,
        id: RepositoryId,
        labels: &Value,
        at: Timestamp,
    ) -> Result<Option<LabelRenames>> {
        let Some(before) = self.part(id, part::LABELS).await? else { return Ok(None) };
        let lists_differ = LabelRenames::default().learn(&before, labels, at);
        let learn = |repository: &mut Repository| repository.label_renames.learn(&before, labels, at);
        let is_new = self.change_repository(id, &learn).await?;
        let renames = self.repository(id).await?.map(|repository| repository.label_renames);
        Ok(renames.filter(|renames| lists_differ || is_new || renames.is_pending()))
    }

    /// Keeps a rename that a webhook told of, durably; no list ever says what a label was called in between. Says whether
    /// it was new to a repository that is there.
    pub async fn hear_label_rename(&self, id: RepositoryId, rename: &LabelRename) -> Result<bool> {
        self.change_repository(id, &|repository| repository.label_renames.hear(rename.clone())).await
    }

    /// Notes with which renames all documents of a repository were, or certainly will be, made.
    pub async fn settle_label_renames(&self, id: RepositoryId, made_with: &LabelRenames) -> Result<()> {
        let settle = |repository: &mut Repository| {
            let was_pending = repository.label_renames.is_pending();
            repository.label_renames.settle(made_with);
            was_pending
        };
        self.change_repository(id, &settle).await.map(|_| ())
    }

    /// Keeps a webhook's word, said at this time, that a repository is private: durably, in its file and in what is
    /// tracked. Nothing follows if it was fetched later.
    pub async fn hear_private(&self, id: RepositoryId, at: Timestamp) -> Result<()> {
        let hear = |repository: &mut Repository| {
            let before = repository.heard_private;
            if at < repository.fetched_at || before.is_some_and(|before| before.at >= at) {
                return false;
            }
            let pending = before.is_some_and(|before| before.pending) || !repository.is_private();
            repository.heard_private = Some(HeardPrivate { at, pending });
            true
        };
        self.change_repository(id, &hear).await?;
        if self.repository(id).await?.is_none_or(|repository| repository.is_private()) {
            self.change_tracked(id, &hide).await?;
        }
        Ok(())
    }

    /// Notes that all documents of a repository were, or certainly will be, made since this word was heard.
    pub async fn settle_private(&self, id: RepositoryId, heard: &HeardPrivate) -> Result<()> {
        let settle = |repository: &mut Repository| {
            let is_same = repository.heard_private.as_ref() == Some(heard);
            if is_same {
                repository.heard_private = Some(HeardPrivate { pending: false, ..*heard });
            }
            is_same
        };
        self.change_repository(id, &settle).await.map(|_| ())
    }

    /// Changes a repository's file, if there is one and `change` says that it did. Says whether it changed.
    async fn change_repository(
        &self,
        id: RepositoryId,
        change: &(dyn Fn(&mut Repository) -> bool + Sync),
    ) -> Result<bool> {
        let key = repository_key(id);
        let change = |stored: Option<bytes::Bytes>| {
            let Some(stored) = stored else { return Ok(None) };
            let mut repository = from_bytes::<Repository>(&key, &stored)?;
            if change(&mut repository) { to_bytes(&key, &repository).map(Some) } else { Ok(None) }
        };
        self.swap(&key, &change).await
    }

    /// A named list of a repository (`labels`, `milestones`, `releases`), as GitHub gave it.
    pub async fn part(&self, id: RepositoryId, part: &str) -> Result<Option<Value>> {
        self.read(&part_key(id, part, "json")?).await
    }

    /// Stores a named list. Says whether it changed.
    pub async fn put_part(&self, id: RepositoryId, part: &str, value: &Value) -> Result<bool> {
        let key = part_key(id, part, "json")?;
        self.check_known(id).await?;
        let bytes = to_bytes(&key, value)?;
        self.swap(&key, &|stored| Ok((stored.as_ref() != Some(&bytes)).then(|| bytes.clone()))).await
    }

    /// Appends one line to a named `.jsonl` of a repository, once a `day` (`2026-11-21`): asked again for the same
    /// day it replaces that line.
    pub async fn put_daily_line(&self, id: RepositoryId, part: &str, day: &str, line: &Value) -> Result<()> {
        let key = part_key(id, part, "jsonl")?;
        self.check_known(id).await?;
        let mut line = line.clone();
        if let Value::Object(fields) = &mut line {
            fields.insert("day".to_owned(), day.into());
        }
        let line = line.to_string();
        let is_of_day = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|line| line["day"] == day);
        let change = |stored: Option<bytes::Bytes>| {
            let stored =
                String::from_utf8(stored.unwrap_or_default().to_vec()).map_err(|error| corrupt(&key, error))?;
            let kept = stored.lines().filter(|line| !is_of_day(line)).chain([line.as_str()]);
            Ok(Some(kept.flat_map(|line| [line, "\n"]).collect::<String>().into()))
        };
        self.swap(&key, &change).await.map(|_| ())
    }

    /// Removes everything of a repository: records, ledger and links, what webhooks said of it, how far its feeds were
    /// read. From then on whoever still works on it is refused ([`ErrorKind::Forgotten`]), until it is tracked again or
    /// [`Archive::remember`] is called.
    pub async fn purge_repository(&self, id: RepositoryId) -> Result<()> {
        self.write(&forgotten_key(id), &Timestamp::now()).await?;
        // Most of it first, while its name still leads to it: should this be interrupted, it can be asked for again.
        self.store().delete_all(&format!("repositories/{id}/items")).await?;
        self.store().delete_all(&format!("repositories/{id}/attachments")).await?;
        self.purge_inbox(id).await?;
        self.forget_cursors(id).await?;
        if let Some(repository) = self.repository(id).await? {
            for name in repository.former_names.iter().chain([&repository.full_name]) {
                if self.resolve(name).await? == Some(id) {
                    self.store().delete(&link_key(name)).await?;
                }
            }
        }
        self.store().delete_all(&format!("staging/hints/{id}")).await?;
        self.store().delete_all(&format!("repositories/{id}")).await
    }
}

impl Archive {
    /// Lets a repository that was purged be archived again.
    pub async fn remember(&self, id: RepositoryId) -> Result<()> {
        self.store().delete(&forgotten_key(id)).await
    }

    /// Whether a repository was purged, or is being purged, and not tracked again since.
    pub async fn is_forgotten(&self, id: RepositoryId) -> Result<bool> {
        Ok(self.store().get(&forgotten_key(id)).await?.is_some())
    }

    /// Refuses what would bring a repository back that was purged.
    pub(crate) async fn check_known(&self, id: RepositoryId) -> Result<()> {
        if self.is_forgotten(id).await? {
            let message = "it was purged: track it again to mirror it";
            return Err(Error::new(ErrorKind::Forgotten, "write", forgotten_key(id), message));
        }
        Ok(())
    }
}

fn hide(tracked: &mut Tracked) {
    tracked.private = true;
}

/// What is fetched, with what only the stored file knows. `is_news` says that what is tracked called it public.
fn merge(stored: Repository, mut fetched: Repository, is_news: bool) -> Repository {
    let became_private = fetched.is_private() && (is_news || !stored.is_private());
    let at = stored.heard_private.map_or(stored.fetched_at, |heard| heard.at);
    fetched.heard_private =
        if became_private { Some(HeardPrivate { at, pending: true }) } else { stored.heard_private };
    let is_new = |name: &RepositoryName, fetched: &Repository| {
        fetched.former_names.iter().chain([&fetched.full_name]).all(|known| known.key() != name.key())
    };
    if is_new(&stored.full_name, &fetched) {
        fetched.former_names.insert(0, stored.full_name);
    }
    for name in stored.former_names {
        if is_new(&name, &fetched) {
            fetched.former_names.push(name);
        }
    }
    fetched.daily_version = fetched.daily_version.max(stored.daily_version);
    fetched.label_renames = stored.label_renames;
    for (field, value) in stored.unknown {
        fetched.unknown.entry(field).or_insert(value);
    }
    fetched
}

fn repository_key(id: RepositoryId) -> String {
    format!("repositories/{id}/repository.json")
}

fn forgotten_key(id: RepositoryId) -> String {
    format!("staging/forgotten/{id}")
}

/// The repository that a link points to.
fn repository_of(target: &str) -> Option<RepositoryId> {
    target.strip_prefix("repositories/")?.parse().ok().map(RepositoryId)
}

fn link_key(name: &RepositoryName) -> String {
    format!("current/{}", name.key())
}

fn part_key(id: RepositoryId, part: &str, ending: &str) -> Result<String> {
    let is_name =
        |part: &str| part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if part.is_empty() || part == "repository" || !is_name(part) {
        return Err(Error::new(
            ErrorKind::Refused,
            "name",
            part,
            "not the name of a part: lower-case letters, digits, `-`",
        ));
    }
    Ok(format!("repositories/{id}/{part}.{ending}"))
}
