//! Snapshots: one compressed file that restores everything but the queues.
//!
//! `gharvest-{time}.tar.zst` holds every object of the archive under its key, links as files with their target, and
//! last `MANIFEST.json` with the SHA-256 of each. It is written under another name, read again and checked, and only
//! then published; `latest` moves last. Writers go on meanwhile: each object is as of one instant, and what changed
//! after it was read is in the next snapshot. What is being written, hints and older snapshots stay out.
//!
//! [`redact()`] makes a snapshot without anything private of one. [`backup()`] copies one elsewhere, where copies share
//! what they have in common, and [`fetch`] makes a snapshot of such a copy again.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{
    Archive, Error, ErrorKind, Result,
    ledger::to_file,
    store::{Condition, Durability, Store},
};

mod backup;
mod file;
mod redact;

pub use backup::{Backup, backup, backups, fetch, prune_backups, verify_backup};
use file::{read, write};
pub use redact::redact;

/// The format that this code writes.
const FORMAT: u32 = 1;
const IDENTITY: &str = "archive.json";
const PREFIX: &str = "gharvest-";
const SUFFIX: &str = ".tar.zst";
/// Objects read ahead of the compressor.
const AHEAD: usize = 16;

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of the snapshot.
    pub format: u32,
    /// The archive's id.
    pub archive: String,
    /// When it was begun.
    pub created_at: Timestamp,
    /// How many records there are.
    pub records: u64,
    /// Bytes before compression.
    pub bytes: u64,
    /// SHA-256 of each object by key, hex.
    pub objects: BTreeMap<String, String>,
}

/// A snapshot in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its file.
    pub path: PathBuf,
    /// When it was begun, by its name.
    pub created_at: Timestamp,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A key and what is stored under it; of a link its target.
type Object = (String, Bytes);

fn failed(operation: &'static str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::PermissionDenied => ErrorKind::Refused,
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, operation, path.display().to_string(), error.to_string()).with_source(error)
}

async fn blocking<T: Send + 'static>(
    operation: &'static str,
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let owned = path.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&owned)).await;
    match done {
        Ok(result) => result.map_err(|error| failed(operation, path, error)),
        Err(error) => Err(failed(operation, path, io::Error::other(error))),
    }
}

impl Archive {
    /// Makes a snapshot in `folder`, checks it, publishes it, and says what is in it. Refused while another process
    /// makes one there.
    pub async fn snapshot(&self, folder: &Path) -> Result<(Snapshot, Manifest)> {
        let (objects, queue) = mpsc::channel(AHEAD);
        make(folder, self.id(), Timestamp::now(), self.send_all(objects), queue).await
    }

    /// Sends every object; an error of the writer shows as a closed channel and is told by the writer.
    async fn send_all(&self, objects: mpsc::Sender<Object>) -> Result<()> {
        let store = self.store();
        for key in [IDENTITY, "tracking.json", "keys.json"] {
            send(store, key.to_owned(), &objects).await?;
        }
        for feed in store.list("cursors").await? {
            self.send_below(format!("cursors/{feed}"), &objects).await?;
        }
        // Before the records: a fact that is merged meanwhile is in the record, or in the inbox, or in both.
        for waiting in store.list("inbox").await? {
            self.send_below(format!("inbox/{waiting}"), &objects).await?;
        }
        for owner in store.list("current").await? {
            for name in store.list(&format!("current/{owner}")).await? {
                let key = format!("current/{owner}/{name}");
                if let Some(target) = store.read_link(&key).await? {
                    drop(objects.send((key, Bytes::from(target))).await);
                }
            }
        }
        for id in self.repositories().await? {
            let folder = format!("repositories/{id}");
            // As one object, whatever is still in its journal; and before the records, which are stored before the
            // ledger says so: what it calls present is in the snapshot.
            let key = format!("{folder}/ledger");
            let ledger = to_file(&key, &*self.ledger(id).await?)?;
            drop(objects.send((key, ledger)).await);
            for name in store.list(&folder).await?.into_iter().filter(|name| !name.starts_with("ledger")) {
                let below = format!("{folder}/{name}");
                if name == "attachments" {
                    for item in store.list(&below).await? {
                        self.send_below(format!("{below}/{item}"), &objects).await?;
                    }
                } else {
                    self.send_below(below, &objects).await?;
                }
            }
        }
        Ok(())
    }

    /// Sends an object, or the objects of a folder; a few are read ahead.
    async fn send_below(&self, key: String, objects: &mpsc::Sender<Object>) -> Result<()> {
        if Path::new(&key).extension().is_some() {
            return send(self.store(), key, objects).await;
        }
        let names = self.store().list(&key).await?;
        let read = |name: String| {
            let key = format!("{key}/{name}");
            async move { Ok::<_, Error>((self.store().get(&key).await?, key)) }
        };
        let mut found = futures::stream::iter(names).map(read).buffered(AHEAD);
        while let Some((object, key)) = found.try_next().await? {
            if let Some((bytes, _)) = object {
                drop(objects.send((key, bytes)).await);
            }
        }
        Ok(())
    }
}

/// Writes what `sender` sends into the queue, checks it, and only then publishes it in `folder`.
async fn make(
    folder: &Path,
    archive: &str,
    created_at: Timestamp,
    sender: impl Future<Output = Result<()>>,
    queue: mpsc::Receiver<Object>,
) -> Result<(Snapshot, Manifest)> {
    let lock = lock(folder).await?;
    let partial = folder.join(".partial");
    let written = write_and_verify(&partial, archive, created_at, sender, queue).await;
    if written.is_err() {
        // Room is short where this often happens.
        drop(blocking("remove", &partial, |path| fs::remove_file(path)).await);
    }
    let manifest = written?;
    let name = format!("{PREFIX}{}{SUFFIX}", created_at.strftime("%Y%m%dT%H%M%SZ"));
    let path = folder.join(&name);
    let published = path.clone();
    blocking("publish", &partial, move |partial| publish(partial, &published, &name)).await?;
    drop(lock);
    let bytes = blocking("measure", &path, |path| Ok(fs::metadata(path)?.len())).await?;
    Ok((Snapshot { path, created_at, bytes }, manifest))
}

async fn write_and_verify(
    path: &Path,
    archive: &str,
    created_at: Timestamp,
    sender: impl Future<Output = Result<()>>,
    queue: mpsc::Receiver<Object>,
) -> Result<Manifest> {
    let archive = archive.to_owned();
    let writer = blocking("write", path, move |path| write(path, queue, archive, created_at));
    let (sent, written) = tokio::join!(sender, writer);
    // Of two errors the writer's is the cause: a sender only sees that nobody takes its objects.
    let manifest = written?;
    sent?;
    if verify(path).await? == manifest {
        return Ok(manifest);
    }
    let message = "what was written is not what is read again: is the disk damaged?";
    Err(Error::new(ErrorKind::Corrupt, "snapshot", path.display().to_string(), message))
}

/// The lock of a folder, held until this is dropped.
struct FolderLock(File);

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing alone would leave it to a child process that was forked meanwhile and has not begun its program yet.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the lock of a folder of snapshots is freed with its process only");
        }
    }
}

/// Makes the folder and takes its lock.
async fn lock(folder: &Path) -> Result<FolderLock> {
    let opened = blocking("lock", folder, |folder| {
        fs::create_dir_all(folder)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(".lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(FolderLock(lock))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    });
    opened.await?.ok_or_else(|| {
        let message = "another process makes or removes snapshots here now: try again when it is done";
        Error::new(ErrorKind::Unavailable, "lock", folder.display().to_string(), message)
    })
}

/// Sends an object, if it is still there.
async fn send(store: &dyn Store, key: String, objects: &mpsc::Sender<Object>) -> Result<()> {
    if let Some((bytes, _)) = store.get(&key).await? {
        // A closed channel means that the writer failed, which its own error tells.
        drop(objects.send((key, bytes)).await);
    }
    Ok(())
}

fn publish(partial: &Path, path: &Path, name: &str) -> io::Result<()> {
    fs::rename(partial, path)?;
    point_latest(path.parent().expect("a snapshot lies in a folder"), name)
}

/// Moves `latest`, as a whole.
fn point_latest(folder: &Path, name: &str) -> io::Result<()> {
    let staged = folder.join(".latest");
    drop(fs::remove_file(&staged));
    std::os::unix::fs::symlink(name, &staged)?;
    fs::rename(&staged, folder.join("latest"))?;
    File::open(folder)?.sync_all()
}

/// Reads a snapshot as a whole and compares every object with the manifest. The first that differs is named.
pub async fn verify(path: &Path) -> Result<Manifest> {
    blocking("verify", path, |path| read(path, &mut |_, _| Ok(()))).await
}

/// Restores a snapshot into an empty store. It is checked as a whole before anything is written.
pub async fn restore(path: &Path, store: &dyn Store) -> Result<Manifest> {
    if store.get(IDENTITY).await?.is_some() {
        let message = "there is an archive already: restore into an empty place";
        return Err(Error::new(ErrorKind::Refused, "restore", path.display().to_string(), message));
    }
    let manifest = verify(path).await?;
    let (objects, mut queue) = mpsc::channel(AHEAD);
    let reader = blocking("restore", path, move |path| {
        read(path, &mut |key, bytes| {
            let sent = objects.blocking_send((key.to_owned(), Bytes::from(bytes)));
            sent.map_err(|_| io::Error::other("the archive does not take it"))
        })
    });
    let writer = async {
        let mut identity = None;
        while let Some((key, bytes)) = queue.recv().await {
            if key == IDENTITY {
                identity = Some(bytes);
            } else if key.starts_with("current/") {
                store.link(&key, String::from_utf8_lossy(&bytes).trim()).await?;
            } else {
                store.put(&key, bytes, Condition::Any, Durability::Durable).await?;
            }
        }
        Ok::<_, Error>(identity)
    };
    let (read, written) = tokio::join!(reader, writer);
    let identity = written?;
    read?;
    let identity = identity.ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "restore", path.display().to_string(), "it has no archive.json")
    })?;
    // Last, when all was read and found good: an archive with an identity is whole.
    store.put(IDENTITY, identity, Condition::Any, Durability::Durable).await?;
    Ok(manifest)
}

/// The snapshots of a folder, latest first.
pub async fn list(folder: &Path) -> Result<Vec<Snapshot>> {
    blocking("list", folder, |folder| {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut snapshots = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let Some(created_at) = entry.file_name().to_str().and_then(time_of) {
                snapshots.push(Snapshot { path: entry.path(), created_at, bytes: entry.metadata()?.len() });
            }
        }
        snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.created_at));
        Ok(snapshots)
    })
    .await
}

fn time_of(name: &str) -> Option<Timestamp> {
    let text = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// Removes snapshots made before `oldest`, but never the latest one that is good. Says which.
pub async fn prune(folder: &Path, oldest: Timestamp) -> Result<Vec<Snapshot>> {
    let _lock = lock(folder).await?;
    let mut last_good = None;
    let mut removed = Vec::new();
    for snapshot in list(folder).await? {
        let is_last_good = last_good.is_none() && verify(&snapshot.path).await.is_ok();
        if is_last_good {
            last_good = snapshot.path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        }
        // Young ones stay in any case, good or not.
        if is_last_good || snapshot.created_at >= oldest {
            continue;
        }
        blocking("remove", &snapshot.path, |path| fs::remove_file(path)).await?;
        removed.push(snapshot);
    }
    if let Some(name) = last_good {
        let mend = move |folder: &Path| match folder.join("latest").try_exists()? {
            true => Ok(()),
            false => point_latest(folder, &name),
        };
        blocking("point to the latest in", folder, mend).await?;
    }
    Ok(removed)
}

/// SHA-256 of a file, hex: for lists of what was copied elsewhere.
pub async fn checksum(path: &Path) -> Result<String> {
    blocking("read", path, |path| {
        let mut file = BufReader::new(File::open(path)?);
        let mut context = Context::new(&SHA256);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                return Ok(hex::encode(context.finish()));
            }
            context.update(&buffer[..length]);
        }
    })
    .await
}
