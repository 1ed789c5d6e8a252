//! Objects as files of a folder.
//!
//! A put writes `staging/{random}`, syncs it, renames it to its place and syncs the folder it is in. Conditions are
//! checked under a lock on one of [`LOCKS`] files in `staging/locks/`, chosen by the key: so they hold across
//! processes, and the operating system frees the lock of a process that dies. A version is the SHA-256 of the content.
//!
//! A journal is a second file, `{key}.journal`: `GHJOURN`, a format byte (1), 16 random bytes that name this journal
//! and no other, then entries of length (4 bytes, little endian), the first 4 bytes of the entry's SHA-256, and the entry.
//! What follows the last whole entry was torn by a crash before it was answered, and is cut off by the next append.
//! A journal of [`JOURNAL_LIMIT`] bytes is folded into the object before the next entry, and replaced by a new one that
//! begins with this entry, in this order and under the lock; a crash in between folds the same entries again, which
//! changes nothing. So whoever has read a journal up to some length needs only what follows, as long as the journal has
//! the same name: a reader its mark, and a writer the end of the last entry that it wrote or checked.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use fail::fail_point;

use super::{Base, Condition, Durability, Fold, Journal, Mark, Store, Version, check_key};
use crate::{Error, ErrorKind, Result, blocking};

/// How many lock files there are: more than writers that ever run at once.
const LOCKS: usize = 64;
/// A journal of this size is folded into its object: thousands of entries, and still read in a millisecond.
const JOURNAL_LIMIT: u64 = 64 * 1024;
/// How many journals' ends are remembered; they are found again by reading.
const KNOWN_ENDS: usize = 10_000;
/// How often a journal is read again that was replaced meanwhile.
const READ_ATTEMPTS: usize = 100;
const JOURNAL_MAGIC: &[u8; 8] = b"GHJOURN\x01";
/// The magic and the journal's name.
const JOURNAL_HEAD: usize = 24;

/// Whether there is a file in a folder, which need not be there itself.
pub(super) async fn holds(root: &Path, key: &str) -> Result<bool> {
    let file = root.join(key);
    blocking(move || file.try_exists().map_err(|error| failed("open", &file.display().to_string(), error))).await
}

/// A folder on disk.
#[derive(Debug, Clone)]
pub struct FolderStore {
    root: PathBuf,
    /// Where the whole entries of journals end, by key.
    ends: Arc<Mutex<HashMap<String, Mark>>>,
}

impl FolderStore {
    /// Opens the folder, makes it if there is none, and sweeps staged files older than `stale_after`.
    pub async fn open(root: &Path, stale_after: Duration) -> Result<Self> {
        let root = root.to_owned();
        blocking(move || {
            let named = root.display().to_string();
            let open = || -> io::Result<Self> {
                fs::create_dir_all(root.join("staging").join("locks"))?;
                let store = Self { root: root.canonicalize()?, ends: Arc::default() };
                sweep(&store.root.join("staging"), stale_after)?;
                Ok(store)
            };
            open().map_err(|error| failed("open", &named, error))
        })
        .await
    }

    /// The file of a key, if nothing on the way to it is a link out of the folder.
    fn path(&self, key: &str) -> Result<PathBuf> {
        check_key(key)?;
        let path = self.root.join(key);
        let mut ancestor = path.parent();
        while let Some(folder) = ancestor {
            match folder.canonicalize() {
                Ok(real) if real.starts_with(&self.root) => return Ok(path),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => ancestor = folder.parent(),
                Err(error) => return Err(failed("find", key, error)),
            }
        }
        Err(Error::new(ErrorKind::Refused, "find", key, "a symbolic link on the way leads out of the archive"))
    }

    /// Holds the lock of a key until the file is dropped.
    fn lock(&self, key: &str) -> Result<File> {
        let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
        let number = usize::from(digest.as_ref()[0]) % LOCKS;
        let path = self.root.join("staging").join("locks").join(number.to_string());
        let lock = || -> io::Result<File> {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|error| failed("lock", key, error))
    }

    fn staged(&self) -> PathBuf {
        self.root.join("staging").join(format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)))
    }

    fn write(&self, path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
        let staged = self.staged();
        let written = write_staged(&staged, bytes, durability).and_then(|()| {
            fail_point!("archive-staged");
            self.move_to(&staged, path, durability)
        });
        fail_point!("archive-written");
        if written.is_err() {
            discard(&staged);
        }
        written
    }

    /// Renames into place. A folder that somebody emptied and removed meanwhile is made again.
    fn move_to(&self, staged: &Path, path: &Path, durability: Durability) -> io::Result<()> {
        let folder = path.parent().expect("every object lies in the folder of the archive");
        for _ in 0..8 {
            self.make_folder(folder, durability)?;
            match fs::rename(staged, path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok(()) if durability == Durability::Durable => return sync_folder(folder),
                Ok(()) => return Ok(()),
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "the folder vanishes as often as it is made"))
    }

    fn make_folder(&self, folder: &Path, durability: Durability) -> io::Result<()> {
        if folder == self.root || folder.try_exists()? {
            return Ok(());
        }
        let parent = folder.parent().expect("a folder below the root has a parent");
        self.make_folder(parent, durability)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if durability == Durability::Durable { sync_folder(parent) } else { Ok(()) }
    }

    fn put_now(&self, key: &str, bytes: &[u8], condition: &Condition, durability: Durability) -> Result<bool> {
        let path = self.path(key)?;
        let _lock = self.lock(key)?;
        let holds = match condition {
            Condition::Any => true,
            Condition::Absent => read(&path).map_err(|error| failed("read", key, error))?.is_none(),
            Condition::Matches(expected) => {
                let found = read(&path).map_err(|error| failed("read", key, error))?;
                found.is_some_and(|bytes| version(&bytes) == *expected)
            }
        };
        if holds {
            self.write(&path, bytes, durability).map_err(|error| failed("write", key, error))?;
        }
        Ok(holds)
    }

    fn journal_now(&self, key: &str, entry: &[u8], fold: &Fold) -> Result<()> {
        let path = self.path(key)?;
        let journal = self.path(&journal_key(key))?;
        let unreadable = |error| failed("read", key, error);
        let framed = frame(entry).map_err(|error| failed("append to", key, error))?;
        let _lock = self.lock(key)?;
        let end = self.end_of(key, &journal).map_err(unreadable)?;
        let is_full = end.as_ref().is_some_and(|end| end.length >= JOURNAL_LIMIT);
        if is_full {
            let bytes = read(&journal).map_err(unreadable)?.unwrap_or_default();
            let (entries, _) = whole_entries(split_head(&bytes).map_err(unreadable)?.1);
            let folded = fold(read(&path).map_err(unreadable)?, entries.into())?;
            self.write(&path, &folded, Durability::Durable).map_err(|error| failed("write", key, error))?;
            fail_point!("archive-folded");
        }
        let appended = match end.filter(|_| !is_full) {
            Some(end) => append(&journal, &end, &framed),
            None => {
                let head = new_head();
                let begun = self.write(&journal, &[&head[..], &framed].concat(), Durability::Durable);
                begun.map(|()| Mark {
                    generation: hex::encode(&head[JOURNAL_MAGIC.len()..]),
                    length: (JOURNAL_HEAD + framed.len()) as u64,
                })
            }
        };
        let end = appended.map_err(|error| failed("append to", key, error))?;
        let mut ends = self.ends();
        if ends.len() >= KNOWN_ENDS {
            ends.clear();
        }
        ends.insert(key.to_owned(), end);
        Ok(())
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<String, Mark>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which journal there is, and where its whole entries end; none if there is no journal. Under its lock. What was
    /// checked before is not read again.
    fn end_of(&self, key: &str, journal: &Path) -> io::Result<Option<Mark>> {
        let known = self.ends().get(key).cloned();
        if let Some(known) = known
            && !journal.is_symlink()
            && let Some(appended) = read_appended(journal, &known)?
        {
            return Ok(appended.mark);
        }
        let Some(bytes) = read(journal)? else { return Ok(None) };
        let (name, framed) = split_head(&bytes)?;
        let (_, whole) = whole_entries(framed);
        Ok(Some(Mark { generation: hex::encode(name), length: (JOURNAL_HEAD + whole) as u64 }))
    }

    /// Takes no lock, so that it needs no more than to read.
    fn read_journal_now(&self, key: &str, since: Option<&Mark>) -> Result<Journal> {
        let path = self.path(key)?;
        let journal = self.path(&journal_key(key))?;
        let unreadable = |error| failed("read", key, error);
        // Entries are only ever added to a journal of one name, and a torn one is told by its checksum.
        if let Some(mark) = since
            && let Some(appended) = read_appended(&journal, mark).map_err(unreadable)?
        {
            return Ok(appended);
        }
        for _ in 0..READ_ATTEMPTS {
            let before = read_name(&journal).map_err(unreadable)?;
            let base = Base::Read(read(&path).map_err(unreadable)?);
            let Some(bytes) = read(&journal).map_err(unreadable)? else {
                match before {
                    None => return Ok(Journal { base, entries: Bytes::new(), mark: None }),
                    Some(_) => continue,
                }
            };
            let (name, framed) = split_head(&bytes).map_err(unreadable)?;
            // The same journal before and after: the base is the one it belongs to, or has all its entries already,
            // which may be applied twice.
            if before.as_deref() == Some(name) {
                let (entries, whole) = whole_entries(framed);
                let mark = Mark { generation: hex::encode(name), length: (JOURNAL_HEAD + whole) as u64 };
                return Ok(Journal { base, entries: entries.into(), mark: Some(mark) });
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "read", key, "its journal was begun anew each time; try again"))
    }
}

#[async_trait]
impl Store for FolderStore {
    async fn get(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        let (store, key) = (self.clone(), key.to_owned());
        blocking(move || {
            let found = read(&store.path(&key)?).map_err(|error| failed("read", &key, error))?;
            Ok(found.map(|bytes| {
                let version = version(&bytes);
                (bytes, version)
            }))
        })
        .await
    }

    async fn put(&self, key: &str, bytes: Bytes, condition: Condition, durability: Durability) -> Result<bool> {
        let (store, key) = (self.clone(), key.to_owned());
        blocking(move || store.put_now(&key, &bytes, &condition, durability)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let (store, key) = (self.clone(), key.to_owned());
        blocking(move || {
            let path = store.path(&key)?;
            let _lock = store.lock(&key)?;
            let remove = || -> io::Result<()> {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    removed => removed?,
                }
                let folder = path.parent().expect("every object lies in the folder of the archive");
                sync_folder(folder)
            };
            remove().map_err(|error| failed("remove", &key, error))?;
            // Only an emptied folder goes; one in use refuses, which is as it should be.
            if let Some(folder) = path.parent().filter(|folder| folder.parent() != Some(&store.root)) {
                fs::remove_dir(folder).ok();
            }
            Ok(())
        })
        .await
    }

    async fn delete_all(&self, folder: &str) -> Result<()> {
        let (store, folder) = (self.clone(), folder.to_owned());
        blocking(move || match fs::remove_dir_all(store.path(&folder)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &folder, error)),
            _ => Ok(()),
        })
        .await
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>> {
        let (store, folder) = (self.clone(), folder.to_owned());
        blocking(move || {
            let names = || -> io::Result<Vec<String>> {
                let entries = match fs::read_dir(store.root.join(&folder)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                    entries => entries?,
                };
                entries
                    .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
                    .collect()
            };
            store.path(&folder)?;
            names().map_err(|error| failed("list", &folder, error))
        })
        .await
    }

    async fn list_all(&self, folder: &str) -> Result<Vec<String>> {
        let (store, folder) = (self.clone(), folder.to_owned());
        blocking(move || files_below(&store.path(&folder)?).map_err(|error| failed("list", &folder, error))).await
    }

    async fn link(&self, key: &str, target: &str) -> Result<()> {
        check_key(target)?;
        let (store, key, target) = (self.clone(), key.to_owned(), target.to_owned());
        blocking(move || {
            let path = store.path(&key)?;
            let up = "../".repeat(key.matches('/').count());
            let staged = store.staged();
            let linked = std::os::unix::fs::symlink(format!("{up}{target}"), &staged)
                .and_then(|()| store.move_to(&staged, &path, Durability::Durable));
            if linked.is_err() {
                discard(&staged);
            }
            linked.map_err(|error| failed("link", &key, error))
        })
        .await
    }

    async fn read_link(&self, key: &str) -> Result<Option<String>> {
        let (store, key) = (self.clone(), key.to_owned());
        blocking(move || match fs::read_link(store.path(&key)?) {
            Ok(target) => Ok(target.to_str().map(|target| target.trim_start_matches("../").to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read the link", &key, error)),
        })
        .await
    }

    async fn journal(&self, key: &str, entry: Bytes, fold: Fold) -> Result<()> {
        let (store, key) = (self.clone(), key.to_owned());
        blocking(move || store.journal_now(&key, &entry, &fold)).await
    }

    async fn read_journal(&self, key: &str, since: Option<&Mark>) -> Result<Journal> {
        let (store, key, since) = (self.clone(), key.to_owned(), since.cloned());
        blocking(move || store.read_journal_now(&key, since.as_ref())).await
    }

    async fn free(&self) -> Result<Option<u64>> {
        let root = self.root.clone();
        blocking(move || {
            let space = rustix::fs::statvfs(&root).map_err(|error| failed("measure", ".", error.into()))?;
            Ok(Some(space.f_bavail.saturating_mul(space.f_frsize)))
        })
        .await
    }
}

fn journal_key(key: &str) -> String {
    format!("{key}.journal")
}

fn version(bytes: &[u8]) -> Version {
    Version(hex::encode(ring::digest::digest(&ring::digest::SHA256, bytes)))
}

fn checksum(entry: &[u8]) -> [u8; 4] {
    let digest = ring::digest::digest(&ring::digest::SHA256, entry);
    digest.as_ref()[..4].try_into().expect("a digest has 32 bytes")
}

/// An entry as it stands in a journal.
fn frame(entry: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(entry.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    Ok([&length.to_le_bytes()[..], &checksum(entry), entry].concat())
}

/// Appends behind the last whole entry, and cuts off what was torn there. Answers the new end.
fn append(journal: &Path, end: &Mark, framed: &[u8]) -> io::Result<Mark> {
    let mut file = OpenOptions::new().append(true).open(journal)?;
    if file.metadata()?.len() > end.length {
        file.set_len(end.length)?;
    }
    file.write_all(framed)?;
    file.sync_all()?;
    Ok(Mark { generation: end.generation.clone(), length: end.length + framed.len() as u64 })
}

/// Makes the names in a folder durable. One that is gone has none: whoever removes the last file removes the folder.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        folder => folder?.sync_all(),
    }
}

/// The head of a new journal, with a name that no other has.
fn new_head() -> [u8; JOURNAL_HEAD] {
    let mut head = [0; JOURNAL_HEAD];
    head[..8].copy_from_slice(JOURNAL_MAGIC);
    head[8..].copy_from_slice(&fastrand::u128(..).to_le_bytes());
    head
}

/// A journal's name and its entries. It appears with its head or not at all, so another head is damage.
fn split_head(bytes: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(JOURNAL_MAGIC).and_then(|rest| rest.split_at_checked(JOURNAL_HEAD - 8));
    rest.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its journal does not begin as one of this version"))
}

/// The name of a journal; none if there is none.
fn read_name(journal: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match File::open(journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut head = [0; JOURNAL_HEAD];
    file.read_exact(&mut head)?;
    Ok(Some(split_head(&head)?.0.to_vec()))
}

/// What was appended to a journal after a mark; none if it is another journal by now.
fn read_appended(journal: &Path, mark: &Mark) -> io::Result<Option<Journal>> {
    let mut file = match File::open(journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut head = [0; JOURNAL_HEAD];
    file.read_exact(&mut head)?;
    if hex::encode(split_head(&head)?.0) != mark.generation || file.metadata()?.len() < mark.length {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(mark.length))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (entries, whole) = whole_entries(&bytes);
    let mark = Mark { generation: mark.generation.clone(), length: mark.length + whole as u64 };
    Ok(Some(Journal { base: Base::Known, entries: entries.into(), mark: Some(mark) }))
}

/// The entries up to the first that is torn, without their frames; and where the torn one begins.
fn whole_entries(bytes: &[u8]) -> (Vec<u8>, usize) {
    let (mut entries, mut at) = (Vec::new(), 0);
    while let Some((length, rest)) = bytes[at..].split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((sum, rest)) = rest.split_first_chunk::<4>() else { break };
        let Some(entry) = rest.get(..length).filter(|entry| checksum(entry) == *sum) else { break };
        entries.extend_from_slice(entry);
        at += 8 + length;
    }
    (entries, at)
}

fn read(path: &Path) -> io::Result<Option<Bytes>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "a symbolic link"));
        }
        _ => {}
    }
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_staged(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).open(path)?;
    file.write_all(bytes)?;
    if durability == Durability::Durable { file.sync_all() } else { Ok(()) }
}

/// Removes a staged file that did not get to its place; the sweep takes what even this leaves.
fn discard(staged: &Path) {
    if let Err(error) = fs::remove_file(staged)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, file = %staged.display(), "a staged file stays until it is swept");
    }
}

fn sweep(staging: &Path, stale_after: Duration) -> io::Result<()> {
    let now = SystemTime::now();
    for entry in fs::read_dir(staging)? {
        let entry = entry?;
        let Ok(found) = entry.metadata() else { continue };
        let age = found.modified().ok().and_then(|modified| now.duration_since(modified).ok());
        if !found.is_dir() && age.is_some_and(|age| age >= stale_after) {
            discard(&entry.path());
        }
    }
    Ok(())
}

/// The files below a folder, relative to it. What goes meanwhile may be among them or not.
fn files_below(root: &Path) -> io::Result<Vec<String>> {
    let (mut files, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(root.join(&folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let kind = if entry.file_type()?.is_dir() { &mut folders } else { &mut files };
            kind.push(path);
        }
    }
    Ok(files)
}

fn failed(operation: &'static str, key: &str, error: io::Error) -> Error {
    let (kind, message) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Full, "no space is left; free some, the work continues by itself".to_owned())
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotADirectory => {
            (ErrorKind::Refused, error.to_string())
        }
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => (ErrorKind::Corrupt, error.to_string()),
        _ => (ErrorKind::Unavailable, error.to_string()),
    };
    Error::new(kind, operation, key, message).with_source(error)
}
