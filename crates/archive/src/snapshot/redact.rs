//! A snapshot without anything private.
//!
//! Left out are repositories that are not known to be public with all that is theirs, items that are flagged private or
//! carry the content of a private twin, images, receipts of deletions, API keys, cursors and the inbox; whatever a later
//! version adds is left out until it is named here. Numbers of items left out are unknown in the ledger. The copy has an
//! archive id of its own, so that nobody's index mixes the two; it is always the same one for the same archive.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use bytes::Bytes;
use gharvest_model::{RepositoryId, ledger::NumberState, record::Visibility, tracking::Tracked};
use jiff::Timestamp;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{AHEAD, IDENTITY, Manifest, Snapshot, blocking, file, make};
use crate::{
    Error, ErrorKind, Repository, Result, from_bytes,
    ledger::{decode, to_file},
    records::{number_of, unpack},
    to_bytes,
};

/// What of a snapshot must stay private.
#[derive(Debug, Default)]
struct Private {
    /// Whether a tracked repository is private.
    tracked: BTreeMap<RepositoryId, bool>,
    /// Whether a repository is private by GitHub's own object.
    fetched: BTreeMap<RepositoryId, bool>,
    items: BTreeMap<RepositoryId, BTreeSet<u64>>,
}

/// Makes in `folder` a copy of a snapshot without anything private. Its name is that of the original, so `folder` is
/// another one.
pub async fn redact(path: &Path, folder: &Path) -> Result<(Snapshot, Manifest)> {
    if path.parent().is_some_and(|of_path| is_same(of_path, folder)) {
        let message = "the copy goes into another folder than the original";
        return Err(Error::new(ErrorKind::Refused, "redact", folder.display().to_string(), message));
    }
    let looked = blocking("redact", path, |path| {
        let mut private = Private::default();
        let manifest = file::read(path, &mut |key, bytes| private.look(key, bytes.into()).map_err(damaged))?;
        Ok((private, manifest))
    });
    let (private, manifest) = looked.await?;
    let (objects, queue) = mpsc::channel(AHEAD);
    let reader = async {
        let read = blocking("redact", path, move |path| {
            file::read(path, &mut |key, bytes| match private.redacted(key, bytes.into()).map_err(damaged)? {
                Some(bytes) => objects.blocking_send((key.to_owned(), bytes)).map_err(io::Error::other),
                None => Ok(()),
            })
        });
        read.await.map(|_| ())
    };
    make(folder, &redacted_id(&manifest.archive), manifest.created_at, reader, queue).await
}

fn is_same(one: &Path, other: &Path) -> bool {
    let one = if one.as_os_str().is_empty() { Path::new(".") } else { one };
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn damaged(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn redacted_id(id: &str) -> String {
    file::hash(format!("redacted {id}").as_bytes())[..32].to_owned()
}

/// The repository that a key lies in, and its name there.
fn below_repository(key: &str) -> Option<(RepositoryId, &str)> {
    let (id, name) = key.strip_prefix("repositories/")?.split_once('/')?;
    Some((RepositoryId(id.parse().ok()?), name))
}

impl Private {
    fn look(&mut self, key: &str, bytes: Bytes) -> Result<()> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            visibility: Visibility,
            #[serde(default)]
            twin: Option<IgnoredAny>,
        }
        if key == "tracking.json" {
            let tracked: Vec<Tracked> = from_bytes(key, &bytes)?;
            self.tracked.extend(tracked.into_iter().map(|tracked| (tracked.id, tracked.private)));
        }
        match below_repository(key) {
            Some((id, "repository.json")) => {
                let repository: Repository = from_bytes(key, &bytes)?;
                if let Some(private) = repository.repository["private"].as_bool() {
                    let is_internal =
                        matches!(repository.repository["visibility"].as_str(), Some("private" | "internal"));
                    self.fetched.insert(id, private || is_internal || repository.is_heard_private());
                }
            }
            Some((id, name)) if name.starts_with("items/") => {
                let head: Head = from_bytes(key, &unpack(key, bytes)?)?;
                if head.visibility == Visibility::Private || head.twin.is_some() {
                    let number = number_of(&name["items/".len()..]);
                    self.items.entry(id).or_default().extend(number);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Both GitHub and what is tracked may say that it is private; nobody saying anything is no permission.
    fn is_public(&self, id: RepositoryId) -> bool {
        let said = [self.fetched.get(&id), self.tracked.get(&id)];
        said.iter().any(Option::is_some) && said.into_iter().flatten().all(|private| !private)
    }

    /// What of an object the copy holds; none if nothing.
    fn redacted(&self, key: &str, bytes: Bytes) -> Result<Option<Bytes>> {
        if key == IDENTITY {
            let mut identity: Value = from_bytes(key, &bytes)?;
            identity["id"] = json!(redacted_id(identity["id"].as_str().unwrap_or_default()));
            return to_bytes(key, &identity).map(Some);
        }
        if key == "tracking.json" {
            let mut tracked: Vec<Tracked> = from_bytes(key, &bytes)?;
            tracked.retain(|tracked| self.is_public(tracked.id));
            return to_bytes(key, &tracked).map(Some);
        }
        if key.starts_with("current/") {
            let target = String::from_utf8_lossy(&bytes).into_owned();
            let leads_to = below_repository(&format!("{target}/")).map(|(id, _)| id);
            return Ok(leads_to.is_some_and(|id| self.is_public(id)).then_some(bytes));
        }
        let Some((id, name)) = below_repository(key).filter(|(id, _)| self.is_public(*id)) else { return Ok(None) };
        let none = BTreeSet::new();
        let private = self.items.get(&id).unwrap_or(&none);
        match name {
            "ledger" => {
                let mut ledger = decode(key, Some(bytes))?;
                for number in private {
                    ledger.set(*number, NumberState::Unknown, Timestamp::UNIX_EPOCH);
                }
                to_file(key, &ledger).map(Some)
            }
            "repository.json" | "labels.json" | "milestones.json" | "releases.json" | "stars.jsonl" => Ok(Some(bytes)),
            _ => {
                let number = name.strip_prefix("items/").and_then(number_of);
                Ok(number.is_some_and(|number| !private.contains(&number)).then_some(bytes))
            }
        }
    }
}
