//! Copies of snapshots elsewhere, in a folder or in object storage, that share what they have in common.
//!
//! ```text
//! objects/{month}/{ab}/{sha256}.zst    what was stored, under the SHA-256 of its content before compression
//! backups/{name}.json                  the manifest of one snapshot, and the files that came with it
//! ```
//! The month is that of the snapshot, `2026-11`. In a month an object is written once, whatever snapshots hold it, and
//! is checked by its own name; a manifest is written last, so one that is there is whole. No copy needs another one.
//! Months are there so that old copies can be removed while new ones are made: nobody writes into one that is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{AHEAD, FORMAT, Manifest, PREFIX, SUFFIX, Snapshot, blocking, file, make};
use crate::{
    Error, ErrorKind, Result, corrupt, read_json,
    store::{Condition, Durability, Store},
    to_bytes,
};

/// Objects that are read or written at once.
const AT_ONCE: usize = 16;
/// The largest file that may come with a snapshot, bytes.
const LARGEST_FILE: u64 = 1 << 28;

/// One copy of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Where its objects are.
    pub month: String,
    /// The snapshot's manifest.
    pub snapshot: Manifest,
    /// Files that came with it, such as exported dashboards: SHA-256 by name.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// Copies a snapshot into `store`, with more files. It is checked while it is read: a damaged one leaves no backup.
/// Says its name, and how many objects were not there before.
pub async fn backup(path: &Path, files: &[PathBuf], store: &dyn Store) -> Result<(String, u64)> {
    let name = name_of(path)?;
    let month = &month_of(super::time_of(&format!("{name}{SUFFIX}")).unwrap_or_default());
    let known = known_objects(store, month).await?;
    let (objects, queue) = mpsc::channel(AHEAD);
    let reader = blocking("back up", path, move |path| {
        let mut seen = known;
        file::read(path, &mut |_, bytes| {
            let digest = file::hash(&bytes);
            if !seen.insert(digest.clone()) {
                return Ok(());
            }
            objects.blocking_send((digest, Bytes::from(bytes))).map_err(io::Error::other)
        })
    });
    let incoming = futures::stream::unfold(queue, |mut queue| async { Some((queue.recv().await?, queue)) });
    let writer = incoming
        .map(|(digest, bytes)| async move { put_object(store, month, &digest, bytes).await })
        .buffer_unordered(AT_ONCE)
        .try_fold(0, |count, ()| std::future::ready(Ok(count + 1)));
    let (read, written) = tokio::join!(reader, writer);
    let written: u64 = written?;
    let mut backup = Backup { month: month.clone(), snapshot: read?, files: BTreeMap::new() };
    for path in files {
        let (name, bytes) = blocking("back up", path, read_file).await?;
        let digest = file::hash(&bytes);
        put_object(store, month, &digest, bytes.into()).await?;
        backup.files.insert(name, digest);
    }
    let key = backup_key(&name);
    store.put(&key, to_bytes(&key, &backup)?, Condition::Any, Durability::Durable).await?;
    Ok((name, written))
}

/// The names of all backups, latest first.
pub async fn backups(store: &dyn Store) -> Result<Vec<String>> {
    let names = store.list("backups").await?;
    let mut names: Vec<_> = names.iter().filter_map(|name| name.strip_suffix(".json")).map(str::to_owned).collect();
    // Names begin with the time.
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

/// Reads every object of a backup and checks it. The first that is missing or damaged is named.
pub async fn verify_backup(store: &dyn Store, name: &str) -> Result<Backup> {
    let backup = read_backup(store, name).await?;
    let digests: BTreeSet<&String> = backup.snapshot.objects.values().chain(backup.files.values()).collect();
    let checks =
        futures::stream::iter(digests).map(|digest| get_object(store, &backup.month, digest)).buffer_unordered(AT_ONCE);
    checks.try_for_each(|_| std::future::ready(Ok(()))).await?;
    Ok(backup)
}

/// Makes a snapshot in `folder` of a backup, and puts the files that came with it beside it.
pub async fn fetch(store: &dyn Store, name: &str, folder: &Path) -> Result<(Snapshot, Manifest)> {
    let backup = read_backup(store, name).await?;
    let (objects, queue) = mpsc::channel(AHEAD);
    let (expected, month) = (&backup.snapshot, &backup.month);
    let sender = async move {
        let read = async |(key, digest): (&String, &String)| Ok((key.clone(), get_object(store, month, digest).await?));
        let mut read = futures::stream::iter(&expected.objects).map(read).buffered(AT_ONCE);
        while let Some(object) = read.try_next().await? {
            // Nobody takes it any more: the writer failed, and tells why itself.
            if objects.send(object).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let (made, manifest) = make(folder, &expected.archive, expected.created_at, sender, queue).await?;
    for (file, digest) in &backup.files {
        let bytes = get_object(store, month, digest).await?;
        let path = folder.join(format!("{name}.{file}"));
        blocking("fetch", &path, move |path| fs::write(path, &bytes)).await?;
    }
    Ok((made, manifest))
}

/// Removes copies of snapshots made before `oldest`, but never the latest one whose objects are all there, and the
/// months that no copy needs any more. Says which copies.
pub async fn prune_backups(store: &dyn Store, oldest: Timestamp) -> Result<Vec<String>> {
    let mut has_whole = false;
    let mut removed = Vec::new();
    let mut needed = BTreeSet::from([month_of(oldest)]);
    for name in backups(store).await? {
        let is_young = super::time_of(&format!("{name}{SUFFIX}")).is_none_or(|made| made >= oldest);
        // One that cannot be read needs no objects.
        let backup = read_backup(store, &name).await.ok();
        let is_last_whole = !has_whole && is_whole(store, backup.as_ref()).await?;
        has_whole = has_whole || is_last_whole;
        if is_young || is_last_whole {
            needed.extend(backup.map(|backup| backup.month));
            continue;
        }
        store.delete(&backup_key(&name)).await?;
        removed.push(name);
    }
    for month in store.list("objects").await? {
        if month < month_of(oldest) && !needed.contains(&month) {
            store.delete_all(&format!("objects/{month}")).await?;
        }
    }
    Ok(removed)
}

/// Whether every object of a backup is there; what is in them is not looked at.
async fn is_whole(store: &dyn Store, backup: Option<&Backup>) -> Result<bool> {
    let Some(backup) = backup else { return Ok(false) };
    let known = known_objects(store, &backup.month).await?;
    Ok(backup.snapshot.objects.values().chain(backup.files.values()).all(|digest| known.contains(digest)))
}

async fn known_objects(store: &dyn Store, month: &str) -> Result<BTreeSet<String>> {
    let mut known = BTreeSet::new();
    let folder = format!("objects/{month}");
    for part in store.list(&folder).await? {
        let names = store.list(&format!("{folder}/{part}")).await?;
        known.extend(names.iter().filter_map(|name| name.strip_suffix(".zst")).map(str::to_owned));
    }
    Ok(known)
}

async fn put_object(store: &dyn Store, month: &str, digest: &str, bytes: Bytes) -> Result<()> {
    let key = object_key(month, digest);
    let packed = zstd::encode_all(&*bytes, 3).map_err(|error| corrupt(&key, error))?;
    store.put(&key, packed.into(), Condition::Any, Durability::Durable).await.map(|_| ())
}

async fn get_object(store: &dyn Store, month: &str, digest: &str) -> Result<Bytes> {
    let key = object_key(month, digest);
    let missing = || Error::new(ErrorKind::Corrupt, "read", &key, "a backup needs it and it is not there");
    let (packed, _) = store.get(&key).await?.ok_or_else(missing)?;
    let bytes = crate::records::unpack(&key, packed)?;
    if file::hash(&bytes) != digest {
        return Err(Error::new(ErrorKind::Corrupt, "read", key, "its content is not what its name says"));
    }
    Ok(bytes)
}

async fn read_backup(store: &dyn Store, name: &str) -> Result<Backup> {
    let key = backup_key(name);
    let backup: Option<Backup> = read_json(store, &key).await?;
    let backup = backup.ok_or_else(|| Error::new(ErrorKind::Refused, "read", &key, "there is no such backup"))?;
    if backup.snapshot.format > FORMAT {
        let message = format!("format {} is newer than this program's {FORMAT}", backup.snapshot.format);
        return Err(Error::new(ErrorKind::Refused, "read", key, message));
    }
    Ok(backup)
}

fn read_file(path: &Path) -> io::Result<(String, Vec<u8>)> {
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| crate::store::check_key(name).is_ok());
    let name = name.ok_or_else(|| io::Error::other("it has no name that can be stored"))?;
    if fs::metadata(path)?.len() > LARGEST_FILE {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok((name.to_owned(), fs::read(path)?))
}

fn name_of(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SUFFIX));
    match name.filter(|name| name.starts_with(PREFIX)) {
        Some(name) => Ok(name.to_owned()),
        None => {
            let message = format!("expected a snapshot, {PREFIX}TIME{SUFFIX}");
            Err(Error::new(ErrorKind::Refused, "back up", path.display().to_string(), message))
        }
    }
}

fn backup_key(name: &str) -> String {
    format!("backups/{name}.json")
}

fn month_of(time: Timestamp) -> String {
    time.strftime("%Y-%m").to_string()
}

fn object_key(month: &str, digest: &str) -> String {
    format!("objects/{month}/{}/{digest}.zst", digest.get(..2).unwrap_or("other"))
}
