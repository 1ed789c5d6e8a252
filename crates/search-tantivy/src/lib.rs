//! The search index on embedded tantivy.
//!
//! One index holds all documents ([`schema`]), in a folder per generation ([`generation`]); one process writes it, and
//! any number read it. tantivy's calls block, so every operation runs on a thread for blocking work.
//!
//! **What a search finds.** An item matches a word that stands in its title, its body or any of its comments and
//! reviews; a phrase must stand within one of them. Every word of a query may stand in another part, as on GitHub.
//! **In which order** by relevance: the words that are the whole title come first; otherwise a word counts 4 in the
//! title, 1 in the body, 0.4 in comments by BM25, and again 6, 2 and 0.8 where it is typed as the whole identifier that
//! stands there; times 1 to 1.5 by how recently the item was updated (halved each year), and more by a tenth for each
//! e-fold of comments and reactions.

mod error;
mod excluded;
mod generation;
mod held;
mod lower;
mod read;
mod schema;
mod search;
mod similar;
mod snippet;
mod suggest;
mod tokenizer;
mod write;

use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use gharvest_model::{ItemId, RepositoryId};
use gharvest_search::{
    Access, Applied, Error, ErrorKind, Hit, IndexStatus, Rebuild, Result, SearchIndex, SearchReply, SearchRequest,
    StoredThread, Suggestion,
    document::{DailyDocument, IntervalDocument, ReleaseDocument, RepositoryDocument, ThreadDocuments, Version},
    given_up,
    query::suggest::SuggestRequest,
};

use generation::{Description, ENGINE, Generation};
use schema::{Fields, MAPPING};
use write::Writing;

/// How many items' intervals are read at a time.
const ITEMS_AT_A_TIME: usize = 200;

/// The search index in a folder.
#[derive(Clone)]
pub struct TantivyIndex {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    fields: Fields,
    state: RwLock<State>,
    /// Held as long as this process writes; none where it only reads.
    lock: Option<Arc<File>>,
}

/// What is served, and what is being built.
#[derive(Default)]
struct State {
    /// None where there is no index yet, or one that this build cannot read.
    current: Option<Arc<Generation>>,
    /// What an index that this build cannot read says of itself.
    outdated: Option<Description>,
    building: Option<Arc<Generation>>,
}

impl fmt::Debug for TantivyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TantivyIndex").field("root", &self.inner.root).finish_non_exhaustive()
    }
}

impl TantivyIndex {
    /// Opens the index in a folder for reading and writing; the folder is made. Refused while another process writes
    /// it. What a crash left half built is removed.
    pub async fn open(folder: &Path) -> Result<Arc<Self>> {
        let root = folder.to_owned();
        blocking(move || {
            let lock = generation::lock(&root)?;
            let state = State::open(&root, true)?;
            generation::sweep(&root, generation::current(&root)?.as_deref())?;
            Ok(Arc::new(Self::new(root, state, Some(Arc::new(lock)))))
        })
        .await
    }

    /// Opens the index in a folder for reading, beside the process that writes it. Each operation sees what was last
    /// committed; writing is refused.
    pub async fn open_read_only(folder: &Path) -> Result<Arc<Self>> {
        let root = folder.to_owned();
        blocking(move || {
            let state = State::open(&root, false)?;
            Ok(Arc::new(Self::new(root, state, None)))
        })
        .await
    }

    fn new(root: PathBuf, state: State, lock: Option<Arc<File>>) -> Self {
        Self { inner: Arc::new(Inner { root, fields: Fields::new(), state: RwLock::new(state), lock }) }
    }

    /// Runs blocking work on the index.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner)).await
    }

    /// Writes to the index that serves, and to the one being built, which may be given up meanwhile. The answers are in
    /// this order.
    async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(Writing<'_>) -> Result<T> + Send + 'static,
    ) -> Result<Vec<T>> {
        self.run(move |inner| {
            let mut answers = Vec::new();
            for generation in inner.written()? {
                match work(Writing { generation: &generation, fields: &inner.fields }) {
                    Err(_) if generation.is_given_up() => {}
                    answer => answers.push(answer?),
                }
            }
            if answers.is_empty() { Err(given_up("write")) } else { Ok(answers) }
        })
        .await
    }
}

/// An index being built.
struct TantivyRebuild {
    serving: TantivyIndex,
    /// As if the new generation were the one that serves.
    index: TantivyIndex,
    built: Arc<Generation>,
}

impl fmt::Debug for TantivyRebuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TantivyRebuild").field("folder", &self.built.folder).finish_non_exhaustive()
    }
}

/// What tantivy is given for some threads: for measuring the engine alone.
pub struct EngineDocuments {
    /// The schema of the index.
    pub schema: tantivy::schema::Schema,
    /// The tokenizers that it names.
    pub tokenizers: tantivy::tokenizer::TokenizerManager,
    /// The documents; those of items that the index refuses are left out.
    pub documents: Vec<tantivy::TantivyDocument>,
}

impl fmt::Debug for EngineDocuments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineDocuments").field("documents", &self.documents.len()).finish_non_exhaustive()
    }
}

impl EngineDocuments {
    /// Builds the documents of threads, as `apply` does.
    pub fn of(threads: &[ThreadDocuments]) -> Self {
        let fields = Fields::new();
        let builder = schema::Builder { fields: &fields };
        let known = threads.iter().filter_map(|thread| Some((schema::ordinal(thread.item.id())?, thread)));
        let documents = known.flat_map(|(item, thread)| builder.thread(item, thread)).collect();
        Self { schema: fields.schema.clone(), tokenizers: tokenizer::manager(), documents }
    }
}

/// Runs blocking work; a panic in it goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::new(ErrorKind::Unavailable, "run", "the process is stopping")),
        },
    }
}

impl State {
    fn open(root: &Path, writing: bool) -> Result<Self> {
        let Some(name) = generation::current(root)? else { return Ok(Self::default()) };
        let description = generation::describe(root, &name)?;
        if !description.is_ours() {
            return Ok(Self { outdated: Some(description), ..Self::default() });
        }
        let current = Some(Arc::new(Generation::open(root, &name, writing)?));
        Ok(Self { current, ..Self::default() })
    }
}

impl Inner {
    fn read_state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_state(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation that answers. A reader looks whether the writer has moved on. Where the old one cannot be read,
    /// what was committed of the one being built answers.
    fn served(&self) -> Result<Arc<Generation>> {
        if self.lock.is_none() {
            self.follow_writer()?;
        }
        let state = self.read_state();
        state.current.clone().or_else(|| state.building.clone()).ok_or_else(|| state.nothing_to_serve(&self.root))
    }

    fn follow_writer(&self) -> Result<()> {
        let named = generation::current(&self.root)?;
        let known = self.read_state().current.as_ref().map(|generation| generation.name.clone());
        if named != known {
            let opened = State::open(&self.root, false)?;
            *self.change_state() = opened;
        } else if let Some(generation) = &self.read_state().current {
            generation.reload()?;
        }
        Ok(())
    }

    /// The generations that are written: the one that serves, and the one being built.
    fn written(&self) -> Result<Vec<Arc<Generation>>> {
        if self.lock.is_none() {
            return Err(Error::new(ErrorKind::Refused, "write", "the index is open for reading only"));
        }
        let state = self.read_state();
        let written: Vec<_> = state.current.iter().chain(&state.building).cloned().collect();
        if written.is_empty() { Err(state.nothing_to_serve(&self.root)) } else { Ok(written) }
    }

    /// The last loss of those generations. One that is swapped out or given up takes its losses along.
    fn epoch(&self) -> u64 {
        let state = self.read_state();
        state.current.iter().chain(&state.building).map(|generation| generation.last_loss()).max().unwrap_or_default()
    }

    fn ensure(&self, archive: &str) -> Result<()> {
        let mut state = self.change_state();
        match state.known() {
            Some(description) => check_owner(description, archive, &self.root),
            None if self.lock.is_none() => Err(state.nothing_to_serve(&self.root)),
            None => {
                let generation = Generation::create(&self.root, archive, &self.fields)?;
                generation::set_current(&self.root, &generation.name)?;
                state.current = Some(Arc::new(generation));
                Ok(())
            }
        }
    }

    fn begin_rebuild(&self, archive: &str) -> Result<Arc<Generation>> {
        if self.lock.is_none() {
            return Err(Error::new(ErrorKind::Refused, "rebuild", "the index is open for reading only"));
        }
        let mut state = self.change_state();
        if let Some(description) = state.known() {
            check_owner(description, archive, &self.root)?;
        }
        // Under another name than the one that is given up.
        let built = Arc::new(Generation::create(&self.root, archive, &self.fields)?);
        if let Some(former) = state.building.replace(Arc::clone(&built)) {
            former.give_up()?;
        }
        Ok(built)
    }

    fn finish_rebuild(&self, built: &Arc<Generation>) -> Result<()> {
        built.commit()?;
        let mut state = self.change_state();
        if !state.is_building(built) {
            return Err(given_up("rebuild"));
        }
        // What was written between the commit above and this lock is committed with the next one.
        generation::set_current(&self.root, &built.name)?;
        let old = state.current.replace(Arc::clone(built));
        state.building = None;
        state.outdated = None;
        drop(state);
        drop(old);
        generation::sweep(&self.root, generation::current(&self.root)?.as_deref())
    }

    fn abort_rebuild(&self, built: &Arc<Generation>) -> Result<()> {
        let mut state = self.change_state();
        if !state.is_building(built) {
            return Ok(());
        }
        state.building = None;
        // A swap that failed in its last step may count all the same from the next start on.
        if generation::current(&self.root)?.as_deref() == Some(built.name.as_str()) { Ok(()) } else { built.give_up() }
    }

    fn status(&self) -> Result<IndexStatus> {
        if self.lock.is_none() {
            self.follow_writer()?;
        }
        let state = self.read_state();
        let rebuilding = state.building.is_some();
        let Some(generation) = state.current.clone() else {
            let description = state.outdated.clone().unwrap_or(Description { mapping: 0, ..Description::of("") });
            return Ok(IndexStatus {
                outdated: state.outdated.is_some(),
                engine: description.engine,
                archive: description.archive,
                // An engine that reads its files differently asks for a rebuild as well.
                mapping: if description.mapping == MAPPING { 0 } else { description.mapping },
                documents: Vec::new(),
                bytes: None,
                rebuilding,
                trouble: None,
            });
        };
        drop(state);
        Ok(IndexStatus {
            outdated: false,
            engine: ENGINE.to_owned(),
            archive: generation.description.archive.clone(),
            mapping: generation.description.mapping,
            documents: read::counts(&generation.searcher(), &self.fields)?,
            bytes: generation.bytes(),
            rebuilding,
            trouble: None,
        })
    }
}

impl State {
    fn nothing_to_serve(&self, root: &Path) -> Error {
        let message = match &self.outdated {
            Some(old) => format!(
                "{} was made by {} with mapping {}; this build needs {ENGINE} with mapping {MAPPING}: start `gharvest up`, or run `gharvest rebuild`",
                root.display(),
                old.engine,
                old.mapping
            ),
            None => format!("{} holds no index yet; start `gharvest up`, or run `gharvest rebuild`", root.display()),
        };
        Error::new(ErrorKind::Refused, "open", message)
    }

    /// What the index says of itself, whether it can be read or not.
    fn known(&self) -> Option<&Description> {
        self.current.as_ref().map(|generation| &generation.description).or(self.outdated.as_ref())
    }

    fn is_building(&self, generation: &Arc<Generation>) -> bool {
        self.building.as_ref().is_some_and(|building| Arc::ptr_eq(building, generation))
    }
}

/// Refuses another archive's index, and one of a later build.
fn check_owner(description: &Description, archive: &str, root: &Path) -> Result<()> {
    if description.archive != archive {
        let message = format!(
            "{} belongs to archive {}, not to {archive}; name another folder in `[search] url`",
            root.display(),
            description.archive
        );
        return Err(Error::new(ErrorKind::Refused, "ensure", message));
    }
    if description.mapping > MAPPING {
        let message = format!("{} was made by a later version of gharvest; use that one", root.display());
        return Err(Error::new(ErrorKind::Refused, "ensure", message));
    }
    Ok(())
}

#[async_trait]
impl SearchIndex for TantivyIndex {
    async fn ensure(&self, archive: &str) -> Result<()> {
        let archive = archive.to_owned();
        self.run(move |inner| inner.ensure(&archive)).await
    }

    async fn apply(&self, threads: Vec<ThreadDocuments>) -> Result<Vec<Applied>> {
        let mut answers = self.write(move |writing| writing.threads(&threads)).await?.into_iter();
        let serving = answers.next().unwrap_or_default();
        Ok(answers.fold(serving, |serving, next| {
            serving.into_iter().zip(next).map(|(serving, next)| serving.and_in_next(next)).collect()
        }))
    }

    async fn apply_repositories(&self, documents: Vec<RepositoryDocument>) -> Result<()> {
        self.write(move |writing| writing.repositories(&documents)).await.map(drop)
    }

    async fn apply_releases(
        &self,
        repository: RepositoryId,
        version: Version,
        documents: Vec<ReleaseDocument>,
    ) -> Result<()> {
        self.write(move |writing| writing.releases(repository, version, &documents)).await.map(drop)
    }

    async fn apply_daily(&self, repository: RepositoryId, documents: Vec<DailyDocument>, replace: bool) -> Result<()> {
        self.write(move |writing| writing.daily(repository, &documents, replace)).await.map(drop)
    }

    async fn purge_repository(&self, repository: RepositoryId) -> Result<()> {
        self.write(move |writing| writing.purge(repository)).await.map(drop)
    }

    async fn epoch(&self) -> Result<u64> {
        self.run(|inner| Ok(inner.epoch())).await
    }

    async fn commit(&self) -> Result<()> {
        self.write(|writing| writing.generation.commit()).await.map(drop)
    }

    async fn search(&self, request: &SearchRequest) -> Result<SearchReply> {
        let request = request.clone();
        self.run(move |inner| search::search(&inner.served()?.searcher(), &inner.fields, &request)).await
    }

    async fn suggest(&self, request: &SuggestRequest, access: &Access, limit: usize) -> Result<Vec<Suggestion>> {
        let (request, access) = (request.clone(), access.clone());
        self.run(move |inner| {
            suggest::suggest(&inner.served()?.searcher(), &inner.fields, &request, &access, limit.min(100))
        })
        .await
    }

    async fn similar(&self, item: ItemId, access: &Access, limit: usize) -> Result<Vec<Hit>> {
        let access = access.clone();
        self.run(move |inner| {
            similar::similar(&inner.served()?.searcher(), &inner.fields, item, &access, limit.min(100))
        })
        .await
    }

    async fn thread(&self, item: ItemId) -> Result<Option<StoredThread>> {
        self.run(move |inner| read::thread(&inner.served()?.searcher(), &inner.fields, item)).await
    }

    fn numbers(&self, repository: RepositoryId) -> BoxStream<'static, Result<u64>> {
        let index = self.clone();
        let read = async move {
            let items =
                index.run(move |inner| read::items(&inner.served()?.searcher(), &inner.fields, repository)).await?;
            Ok(stream::iter(items).map(|item| Ok(schema::number_of(item))))
        };
        stream::once(read).try_flatten().boxed()
    }

    fn intervals(&self, repository: RepositoryId) -> BoxStream<'static, Result<IntervalDocument>> {
        let index = self.clone();
        let read = async move {
            // One searcher for the whole stream: later commits change nothing in it.
            let found = index.run(move |inner| {
                let searcher = inner.served()?.searcher();
                Ok((read::items(&searcher, &inner.fields, repository)?, searcher))
            });
            let (items, searcher) = found.await?;
            let groups: Vec<Vec<u64>> = items.chunks(ITEMS_AT_A_TIME).map(<[u64]>::to_vec).collect();
            let intervals = stream::iter(groups).then(move |group| {
                let (index, searcher) = (index.clone(), searcher.clone());
                async move { index.run(move |inner| read::intervals(&searcher, &inner.fields, &group)).await }
            });
            Ok(intervals.map_ok(|found| stream::iter(found).map(Ok)).try_flatten())
        };
        stream::once(read).try_flatten().boxed()
    }

    async fn daily(
        &self,
        repository: RepositoryId,
        dimension: &str,
        value: Option<&str>,
    ) -> Result<Vec<DailyDocument>> {
        let group = schema::daily_dimension(repository, dimension, value);
        self.run(move |inner| read::daily(&inner.served()?.searcher(), &inner.fields, &group)).await
    }

    async fn repository(&self, repository: RepositoryId) -> Result<Option<RepositoryDocument>> {
        self.run(move |inner| read::repository(&inner.served()?.searcher(), &inner.fields, repository)).await
    }

    async fn begin_rebuild(&self, archive: &str) -> Result<Box<dyn Rebuild>> {
        let archive = archive.to_owned();
        let built = self.run(move |inner| inner.begin_rebuild(&archive)).await?;
        let state = State { current: Some(Arc::clone(&built)), ..State::default() };
        let index = Self::new(self.inner.root.clone(), state, self.inner.lock.clone());
        Ok(Box::new(TantivyRebuild { serving: self.clone(), index, built }))
    }

    async fn status(&self) -> Result<IndexStatus> {
        self.run(Inner::status).await
    }
}

#[async_trait]
impl Rebuild for TantivyRebuild {
    fn index(&self) -> &dyn SearchIndex {
        &self.index
    }

    async fn finish(&self) -> Result<()> {
        let built = Arc::clone(&self.built);
        self.serving.run(move |inner| inner.finish_rebuild(&built)).await
    }

    async fn abort(&self) -> Result<()> {
        let built = Arc::clone(&self.built);
        self.serving.run(move |inner| inner.abort_rebuild(&built)).await
    }
}
