//! Generations of the index on disk.
//!
//! ```text
//! index/lock                  held by the one process that writes
//! index/current               the name of the generation that is searched; replaced by a rename
//! index/{generation}/generation.json   whose archive it is, and what it was made with
//! index/{generation}/…        tantivy's files
//! ```
//! A rebuild fills a second generation. When it is complete, `current` is replaced and the old folder removed: a crash
//! before leaves the old one, a crash after the new one, and the next start removes whichever is not named. One that is
//! given up takes no more writes, whoever still holds it.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use gharvest_search::{Error, ErrorKind, Result, given_up};
use serde::{Deserialize, Serialize};
use tantivy::{
    Index, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, Searcher,
    directory::MmapDirectory,
    indexer::{LogMergePolicy, UserOperation},
};

use crate::{
    error::{corrupt, from_io, from_tantivy},
    schema::{Fields, MAPPING},
    tokenizer,
};

/// The engine, as generations name it: another version of it may read its files differently.
pub(crate) const ENGINE: &str = "tantivy 0.27";

/// Memory for documents not yet written, for all threads together.
const WRITER_MEMORY: usize = 96 << 20;
/// The share of deleted documents at which a segment is merged with others; by itself tantivy never does.
const DELETED_BEFORE_MERGE: f32 = 0.3;

/// How often documents were lost in this process. Each loss has a number of its own, whatever generation it befalls, so
/// that the last one of several generations is told from all before.
static LOSSES: AtomicU64 = AtomicU64::new(0);

/// What a generation says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) archive: String,
    pub(crate) mapping: u32,
    pub(crate) engine: String,
}

impl Description {
    pub(crate) fn of(archive: &str) -> Self {
        Self { archive: archive.to_owned(), mapping: MAPPING, engine: ENGINE.to_owned() }
    }

    /// Whether this build can read and write its documents.
    pub(crate) fn is_ours(&self) -> bool {
        self.mapping == MAPPING && self.engine == ENGINE
    }
}

/// One index on disk.
pub(crate) struct Generation {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) description: Description,
    reader: IndexReader,
    /// None where it is only read.
    pub(crate) writer: Option<Mutex<Writer>>,
    last_loss: Arc<AtomicU64>,
    is_given_up: AtomicBool,
}

/// tantivy's writer, and what was given to it since the last commit.
pub(crate) struct Writer {
    engine: Index,
    /// tantivy's writer ends at its first failure (a full disk): none until it can be begun again.
    index: Option<IndexWriter>,
    /// Versions of heads given since the last commit, by key; older ones are read from the index.
    pub(crate) pending: HashMap<String, u64>,
    is_dirty: bool,
    /// The number of the last failure that took with it what was given before; its generation's as well.
    last_loss: Arc<AtomicU64>,
}

impl Generation {
    /// Makes a generation of a new name.
    pub(crate) fn create(root: &Path, archive: &str, fields: &Fields) -> Result<Self> {
        let name = unused_name(root)?;
        let folder = root.join(&name);
        fs::create_dir_all(&folder).map_err(from_io("create", &folder))?;
        let description = Description::of(archive);
        let json = serde_json::to_vec(&description).expect("a description has text keys only");
        write_durably(&folder.join("generation.json"), &json)?;
        let directory = MmapDirectory::open(&folder).map_err(|error| from_tantivy("create")(error.into()))?;
        Index::create(directory, fields.schema.clone(), IndexSettings::default()).map_err(from_tantivy("create"))?;
        Self::open(root, &name, true)
    }

    /// Opens a generation that this build can read.
    pub(crate) fn open(root: &Path, name: &str, writing: bool) -> Result<Self> {
        let folder = root.join(name);
        let description = describe(root, name)?;
        let mut index = Index::open_in_dir(&folder).map_err(from_tantivy("open"))?;
        index.set_tokenizers(tokenizer::manager());
        let reader =
            index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(from_tantivy("open"))?;
        let last_loss = Arc::default();
        let writer = if writing { Some(Mutex::new(Writer::open(&index, Arc::clone(&last_loss))?)) } else { None };
        let (name, is_given_up) = (name.to_owned(), AtomicBool::new(false));
        Ok(Self { name, folder, description, reader, writer, last_loss, is_given_up })
    }

    pub(crate) fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }

    /// Shows what was committed since.
    pub(crate) fn reload(&self) -> Result<()> {
        self.reader.reload().map_err(from_tantivy("reload"))
    }

    /// The writer, for one step. A panic in an earlier step leaves nothing half done that a commit would not.
    pub(crate) fn lock_writer(&self) -> Result<MutexGuard<'_, Writer>> {
        let Some(writer) = &self.writer else {
            return Err(Error::new(ErrorKind::Refused, "write", "the index is open for reading only"));
        };
        let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_given_up() { Err(given_up("write")) } else { Ok(writer) }
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }

    /// Ends all writing and removes the files.
    pub(crate) fn give_up(&self) -> Result<()> {
        self.is_given_up.store(true, Ordering::Release);
        if let Some(writer) = &self.writer {
            writer.lock().unwrap_or_else(PoisonError::into_inner).index = None;
        }
        remove(&self.folder)
    }

    /// The number of the last failure that took with it what was given and not yet committed.
    pub(crate) fn last_loss(&self) -> u64 {
        self.last_loss.load(Ordering::Acquire)
    }

    /// Makes everything given durable and searchable.
    pub(crate) fn commit(&self) -> Result<()> {
        self.commit_writer(&mut *self.lock_writer()?)
    }

    pub(crate) fn commit_writer(&self, writer: &mut Writer) -> Result<()> {
        if writer.is_dirty {
            if let Err(error) = writer.index()?.commit() {
                writer.begin_again();
                return Err(from_tantivy("commit")(error));
            }
            self.reload()?;
            writer.pending.clear();
            writer.is_dirty = false;
        }
        Ok(())
    }

    /// Bytes of its files.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let files = fs::read_dir(&self.folder).ok()?;
        Some(files.filter_map(|file| file.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum())
    }
}

impl Writer {
    fn open(engine: &Index, last_loss: Arc<AtomicU64>) -> Result<Self> {
        let index = Some(open_writer(engine)?);
        Ok(Self { engine: engine.clone(), index, pending: HashMap::new(), is_dirty: false, last_loss })
    }

    fn index(&mut self) -> Result<&mut IndexWriter> {
        let writer = match self.index.take() {
            Some(writer) => writer,
            None => open_writer(&self.engine)?,
        };
        Ok(self.index.insert(writer))
    }

    /// Gives operations to tantivy, in one step.
    pub(crate) fn run(&mut self, operations: Vec<UserOperation>) -> Result<()> {
        if let Err(error) = self.index()?.run(operations) {
            self.begin_again();
            return Err(from_tantivy("write")(error));
        }
        self.is_dirty = true;
        Ok(())
    }

    /// Goes back to the last commit. The next write begins a new writer, and fails if that fails.
    fn begin_again(&mut self) {
        if self.is_dirty {
            self.last_loss.store(LOSSES.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Release);
        }
        self.pending.clear();
        self.is_dirty = false;
        self.index = None;
    }
}

fn open_writer(engine: &Index) -> Result<IndexWriter> {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2));
    let writer: IndexWriter =
        engine.writer_with_num_threads(threads, WRITER_MEMORY).map_err(from_tantivy("open for writing"))?;
    let mut policy = LogMergePolicy::default();
    policy.set_del_docs_ratio_before_merge(DELETED_BEFORE_MERGE);
    writer.set_merge_policy(Box::new(policy));
    // tantivy gives the first operation the stamp of the last commit. A deletion with that stamp counts as committed:
    // a merge that begins now may skip it for one segment and pass it by for the merged one, and the old document
    // stays beside the new one for ever. An empty step uses that stamp up.
    writer.run(Vec::<UserOperation>::new()).map_err(from_tantivy("open for writing"))?;
    Ok(writer)
}

/// What a generation says of itself.
pub(crate) fn describe(root: &Path, name: &str) -> Result<Description> {
    let path = root.join(name).join("generation.json");
    let bytes = fs::read(&path).map_err(from_io("open", &path))?;
    serde_json::from_slice(&bytes).map_err(|error| corrupt("open", format!("{}: {error}", path.display())))
}

/// The name of the generation that is searched, if there is one.
pub(crate) fn current(root: &Path) -> Result<Option<String>> {
    let path = root.join("current");
    match fs::read_to_string(&path) {
        Ok(name) if is_name(name.trim()) => Ok(Some(name.trim().to_owned())),
        Ok(name) => Err(corrupt("open", format!("{}: `{name}` is no generation", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(from_io("open", &path)(error)),
    }
}

/// Names the generation that is searched from now on.
pub(crate) fn set_current(root: &Path, name: &str) -> Result<()> {
    write_durably(&root.join("current"), name.as_bytes())
}

/// Takes the lock of the one process that writes; it is given back when the file is closed, also by a crash.
pub(crate) fn lock(root: &Path) -> Result<File> {
    fs::create_dir_all(root).map_err(from_io("open", root))?;
    let path = root.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(from_io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            let message =
                format!("{} is written by another process; stop it, or open the index for reading", root.display());
            Err(Error::new(ErrorKind::Refused, "open", message))
        }
        Err(fs::TryLockError::Error(error)) => Err(from_io("lock", &path)(error)),
    }
}

/// Removes generations that a crash left behind. The lock must be held.
pub(crate) fn sweep(root: &Path, keep: Option<&str>) -> Result<()> {
    for entry in fs::read_dir(root).map_err(from_io("sweep", root))? {
        let name = entry.map_err(from_io("sweep", root))?.file_name();
        let name = name.to_string_lossy();
        if is_name(&name) && Some(&*name) != keep {
            remove(&root.join(&*name))?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        // A merge of the old generation that was still at work wrote a last file: it goes at the next opening.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            tracing::debug!(folder = %folder.display(), "Old generation is removed later");
            Ok(())
        }
        removed => removed.map_err(from_io("sweep", folder)),
    }
}

/// Generations are called `g1`, `g2` …
fn is_name(name: &str) -> bool {
    name.strip_prefix('g').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn unused_name(root: &Path) -> Result<String> {
    let mut highest = 0_u64;
    for entry in fs::read_dir(root).map_err(from_io("create", root))? {
        let name = entry.map_err(from_io("create", root))?.file_name();
        let number = name.to_string_lossy().strip_prefix('g').and_then(|digits| digits.parse().ok());
        highest = highest.max(number.unwrap_or(0));
    }
    Ok(format!("g{}", highest + 1))
}

/// Writes a small file so that it is there as a whole or not at all, also after a power cut.
fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let staged = path.with_extension("staged");
    let folder = path.parent().expect("the file lies in a folder");
    let write = || {
        let mut file = File::create(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&staged, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(from_io("write", path))
}

#[cfg(test)]
mod tests {
    use tantivy::{
        Term, doc,
        index::SegmentId,
        merge_policy::NoMergePolicy,
        schema::{INDEXED, Schema},
    };

    use super::*;

    /// Two committed segments, each with a document deleted by the last commit or not, opened again by a new writer
    /// whose first operation is a deletion, while the segments are merged.
    #[test]
    fn the_first_deletion_of_a_new_writer_outlives_a_merge() {
        let mut schema = Schema::builder();
        let key = schema.add_u64_field("key", INDEXED);
        let index = Index::create_in_ram(schema.build());
        let add = |writer: &mut IndexWriter, keys: &[u64]| {
            for value in keys {
                writer.delete_term(Term::from_field_u64(key, *value));
                writer.add_document(doc!(key => *value)).unwrap();
            }
            writer.commit().unwrap();
        };
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 15 << 20).unwrap();
        writer.set_merge_policy(Box::new(NoMergePolicy));
        add(&mut writer, &[1, 2]);
        add(&mut writer, &[3]);
        add(&mut writer, &[4, 2]);
        writer.wait_merging_threads().unwrap();

        // What was deleted last is stamped as the last commit: its segment counts as up to date.
        let metas = index.searchable_segment_metas().unwrap();
        let (stamped, others): (Vec<_>, Vec<_>) = metas.iter().partition(|meta| meta.delete_opstamp().is_some());
        assert_eq!((stamped.len(), others.len()), (1, 2));
        let order: Vec<SegmentId> = others.iter().chain(&stamped).map(|meta| meta.id()).collect();
        let mut writer = open_writer(&index).unwrap();
        writer.set_merge_policy(Box::new(NoMergePolicy));
        writer.delete_term(Term::from_field_u64(key, 1));
        writer.merge(&order).wait().unwrap();
        writer.add_document(doc!(key => 1_u64)).unwrap();
        writer.commit().unwrap();
        assert_eq!(index.reader().unwrap().searcher().num_docs(), 4);
    }
}
