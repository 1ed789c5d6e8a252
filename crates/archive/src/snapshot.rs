//! Snapshots: one compressed file that restores everything but the queues.
//!
//! `gharvest-{time}.tar.zst` holds every object of the archive under its key, links as files with their target, and
//! last `MANIFEST.json` with the SHA-256 of each. It is written under another name, read again and checked, and only
//! then published; `latest` moves last. Writers go on meanwhile: each object is as of one instant, and what changed
//! after it was read is in the next snapshot. What is being written, hints, the inbox and older snapshots stay out.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use jiff::Timestamp;
use ring::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{
    Archive, Error, ErrorKind, Result,
    ledger::to_file,
    store::{Condition, Durability, Store},
};

/// The format that this code writes.
const FORMAT: u32 = 1;
const MANIFEST: &str = "MANIFEST.json";
const PREFIX: &str = "gharvest-";
const SUFFIX: &str = ".tar.zst";
/// Objects read ahead of the compressor.
const AHEAD: usize = 16;
/// An object larger than this is no object of ours: bounds what a damaged snapshot can make us read.
const LARGEST: u64 = 2 << 30;

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
    /// Makes a snapshot in `folder`, checks it, publishes it, and says what is in it. While another process makes one
    /// there, this one waits.
    pub async fn snapshot(&self, folder: &Path) -> Result<(Snapshot, Manifest)> {
        let begun = Timestamp::now();
        let lock = blocking("snapshot", folder, |folder| {
            fs::create_dir_all(folder)?;
            let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(".lock"))?;
            lock.lock()?;
            Ok(lock)
        })
        .await?;
        let partial = folder.join(".partial");
        let (objects, queue) = mpsc::channel(AHEAD);
        let archive = self.id().to_owned();
        let writer = blocking("snapshot", &partial, move |path| write(path, queue, archive, begun));
        let reader = self.send_all(objects);
        let (read, written) = tokio::join!(reader, writer);
        read?;
        let manifest = written?;
        let checked = verify(&partial).await?;
        debug_assert_eq!(checked, manifest);
        let name = format!("{PREFIX}{}{SUFFIX}", begun.strftime("%Y%m%dT%H%M%SZ"));
        let path = folder.join(&name);
        let published = path.clone();
        blocking("publish", &partial, move |partial| publish(partial, &published, &name)).await?;
        drop(lock);
        let bytes = blocking("measure", &path, |path| Ok(fs::metadata(path)?.len())).await?;
        Ok((Snapshot { path, created_at: begun, bytes }, manifest))
    }

    /// Sends every object; an error of the writer shows as a closed channel and is told by the writer.
    async fn send_all(&self, objects: mpsc::Sender<(String, Bytes)>) -> Result<()> {
        let store = self.store();
        for key in ["archive.json", "tracking.json", "keys.json"] {
            send(store, key.to_owned(), &objects).await?;
        }
        for feed in store.list("cursors").await? {
            self.send_below(format!("cursors/{feed}"), &objects).await?;
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
            for name in store.list(&folder).await? {
                if name.starts_with("ledger") {
                    continue;
                }
                self.send_below(format!("{folder}/{name}"), &objects).await?;
            }
            // The ledger as one object, whatever is still in its journal.
            let key = format!("{folder}/ledger");
            let ledger = to_file(&key, &*self.ledger(id).await?)?;
            drop(objects.send((key, ledger)).await);
        }
        Ok(())
    }

    /// Sends an object, or the objects of a folder.
    async fn send_below(&self, key: String, objects: &mpsc::Sender<(String, Bytes)>) -> Result<()> {
        if Path::new(&key).extension().is_some() {
            return send(self.store(), key, objects).await;
        }
        for name in self.store().list(&key).await? {
            send(self.store(), format!("{key}/{name}"), objects).await?;
        }
        Ok(())
    }
}

/// Sends an object, if it is still there.
async fn send(store: &dyn Store, key: String, objects: &mpsc::Sender<(String, Bytes)>) -> Result<()> {
    if let Some((bytes, _)) = store.get(&key).await? {
        // A closed channel means that the writer failed, which its own error tells.
        drop(objects.send((key, bytes)).await);
    }
    Ok(())
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

fn write(
    path: &Path,
    mut queue: mpsc::Receiver<(String, Bytes)>,
    archive: String,
    created_at: Timestamp,
) -> io::Result<Manifest> {
    let file = BufWriter::new(File::create(path)?);
    let mut tar = tar::Builder::new(zstd::Encoder::new(file, 6)?);
    let mut manifest = Manifest { format: FORMAT, archive, created_at, records: 0, bytes: 0, objects: BTreeMap::new() };
    while let Some((key, bytes)) = queue.blocking_recv() {
        append(&mut tar, &key, &bytes)?;
        manifest.records += u64::from(key.contains("/items/"));
        manifest.bytes += bytes.len() as u64;
        manifest.objects.insert(key, hash(&bytes));
    }
    append(&mut tar, MANIFEST, &serde_json::to_vec(&manifest)?)?;
    let file = tar.into_inner()?.finish()?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(manifest)
}

fn append(tar: &mut tar::Builder<impl io::Write>, key: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, key, bytes)
}

fn publish(partial: &Path, path: &Path, name: &str) -> io::Result<()> {
    fs::rename(partial, path)?;
    let folder = path.parent().expect("a snapshot lies in a folder");
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

/// Reads the objects one by one, and at the end the manifest, which must agree.
fn read(path: &Path, each: &mut dyn FnMut(&str, Vec<u8>) -> io::Result<()>) -> io::Result<Manifest> {
    let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut tar = tar::Archive::new(zstd::Decoder::new(BufReader::new(File::open(path)?))?);
    let mut found = BTreeMap::new();
    let mut manifest: Option<Manifest> = None;
    for entry in tar.entries()? {
        let mut entry = entry?;
        let key = entry.path()?.to_str().map(str::to_owned).ok_or_else(|| damaged("a name is not text".to_owned()))?;
        if entry.size() > LARGEST {
            return Err(damaged(format!("`{key}` is larger than anything an archive holds")));
        }
        let mut bytes = Vec::with_capacity(entry.size() as usize);
        entry.read_to_end(&mut bytes)?;
        if key == MANIFEST {
            manifest = Some(serde_json::from_slice(&bytes)?);
            continue;
        }
        found.insert(key.clone(), hash(&bytes));
        each(&key, bytes)?;
    }
    let manifest = manifest.ok_or_else(|| damaged("it is not whole: the manifest is missing".to_owned()))?;
    if manifest.format > FORMAT {
        return Err(damaged(format!("format {} is newer than this program's {FORMAT}", manifest.format)));
    }
    let keys = manifest.objects.keys().chain(found.keys());
    match keys.into_iter().find(|key| manifest.objects.get(*key) != found.get(*key)) {
        Some(key) => Err(damaged(format!("`{key}` is not as the manifest says"))),
        None => Ok(manifest),
    }
}

/// Restores a snapshot into an empty store. It is checked as a whole before anything is written.
pub async fn restore(path: &Path, store: &dyn Store) -> Result<Manifest> {
    if store.get("archive.json").await?.is_some() {
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
            if key == "archive.json" {
                identity = Some(bytes);
            } else if key.starts_with("current/") {
                store.link(&key, String::from_utf8_lossy(&bytes).trim()).await?;
            } else {
                store.put(&key, bytes, Condition::Any, Durability::Durable).await?;
            }
        }
        // Last: an archive with an identity is whole.
        if let Some(bytes) = identity {
            store.put("archive.json", bytes, Condition::Any, Durability::Durable).await?;
        }
        Ok::<(), Error>(())
    };
    let (read, written) = tokio::join!(reader, writer);
    written?;
    read?;
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
    let mut good = false;
    let mut removed = Vec::new();
    for snapshot in list(folder).await? {
        if snapshot.created_at >= oldest {
            // Young ones stay in any case; whether one of them is good decides about the old ones.
            good = good || verify(&snapshot.path).await.is_ok();
            continue;
        }
        if !good && verify(&snapshot.path).await.is_ok() {
            good = true;
            continue;
        }
        blocking("remove", &snapshot.path, |path| fs::remove_file(path)).await?;
        removed.push(snapshot);
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
