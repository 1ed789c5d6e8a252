//! Reads folders that github-metadata-backup wrote: `issues/N.json` and `pulls/N.json`.
//!
//! An issue is `{"type":"issue","issue":{…},"events":[…]}`, a pull request
//! `{"type":"pull","pull":{…},"events":[…],"comments":[…]}`; `events` is the REST timeline. Pull request files have no
//! `issue` object: their records have none until the first fetch. One bad file is a problem of its own, never of the
//! import.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose};
use gharvest_model::{
    ItemId, Kind, Record, RepositoryId, RepositoryName,
    ledger::{Entry, NumberState},
    record::{Origin, Origins, RecordRepository},
    tracking::Tracked,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::{Archive, Error, ErrorKind, LedgerChange, Repository, Result, Written};

/// The largest file taken, bytes: larger ones are problems.
const LARGEST: u64 = 1 << 30;
/// Items whose ledger entries are written together.
const LEDGER_CHUNK: usize = 200;
/// Files looked at for the repository's id.
const SAMPLES: usize = 200;

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Files done.
    pub done: u64,
    /// Files in all.
    pub total: u64,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImportReport {
    /// Numbers whose records were written.
    pub imported: Vec<u64>,
    /// Records left alone, because what is archived is as new or newer.
    pub kept: u64,
    /// Files that were skipped, and why.
    pub problems: Vec<(PathBuf, String)>,
}

impl Archive {
    /// Fills the archive from a folder, without a request to GitHub. Records that are as new or newer stay as they
    /// are. The repository is tracked from then on; numbers without a file are unknown in the ledger.
    pub async fn import_folder(
        &self,
        folder: &Path,
        repository: &RepositoryName,
        id: RepositoryId,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<ImportReport> {
        let mut report = ImportReport::default();
        let files = files(folder, &mut report.problems).await?;
        self.introduce(repository, id).await?;
        let total = files.len() as u64;
        let ledger = self.ledger(id).await?;
        let mut changes = Vec::with_capacity(LEDGER_CHUNK);
        for (done, file) in (1..).zip(files) {
            match self.import_file(&file, repository, id).await {
                Ok(Imported::Written(change)) => {
                    report.imported.push(change.number);
                    changes.push(change);
                }
                Ok(Imported::Kept(fetched_at)) => {
                    report.kept += 1;
                    // An import that was stopped may have stored the record, and not said so.
                    changes.extend(fetched_at.filter(|_| ledger.get(file.number) == Entry::UNKNOWN).map(
                        |verified_at| LedgerChange { number: file.number, state: NumberState::Present, verified_at },
                    ));
                }
                Err(ImportError::File(why)) => report.problems.push((file.path, why)),
                Err(ImportError::Archive(error)) => return Err(error),
            }
            if changes.len() >= LEDGER_CHUNK {
                self.update_ledger(id, &std::mem::take(&mut changes)).await?;
            }
            progress(Progress { done, total });
        }
        self.update_ledger(id, &changes).await?;
        Ok(report)
    }

    /// Makes the repository known, unless it is.
    async fn introduce(&self, name: &RepositoryName, id: RepositoryId) -> Result<()> {
        let now = Timestamp::now();
        self.remember(id).await?;
        if self.repository(id).await?.is_none() {
            let repository = Repository {
                id,
                full_name: name.clone(),
                former_names: Vec::new(),
                repository: Value::Null,
                etag: None,
                fetched_at: now,
                gone_at: None,
                daily_version: 0,
                label_renames: Default::default(),
                heard_private: None,
                unknown: serde_json::Map::new(),
            };
            self.put_repository(&repository).await?;
        }
        if self.tracking().await?.iter().any(|tracked| tracked.id == id) {
            return Ok(());
        }
        self.track(Tracked {
            id,
            name: name.clone(),
            private: false,
            since: now,
            complete_at: None,
            trouble: None,
            trouble_since: None,
            deleted: gharvest_model::removal::DeletionPolicy::Keep,
        })
        .await
    }

    async fn import_file(&self, file: &File, name: &RepositoryName, id: RepositoryId) -> Result<Imported, ImportError> {
        let path = file.path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let value = read.map_err(|error| ImportError::File(error.to_string()))?.map_err(ImportError::File)?;
        let mut record = record(value, file, name, id).map_err(ImportError::File)?;
        let mut kept = None;
        for _ in 0..4 {
            if let Some(known) = self.record(ItemId { repository: id, number: file.number }).await? {
                kept = (!known.state.is_tombstone()).then_some(known.fetched_at);
                if updated_at(&known) >= updated_at(&record) {
                    return Ok(Imported::Kept(kept));
                }
                carry_over(&known, &mut record);
            }
            match self.put_record(record.clone()).await? {
                Written::Stored(_) => {
                    let verified_at = record.fetched_at;
                    return Ok(Imported::Written(LedgerChange {
                        number: file.number,
                        state: NumberState::Present,
                        verified_at,
                    }));
                }
                Written::Unchanged(_) | Written::Filled(_) => return Ok(Imported::Kept(kept)),
                Written::Conflict(_) => {}
            }
        }
        Ok(Imported::Kept(kept))
    }
}

enum Imported {
    Written(LedgerChange),
    /// With the time it was fetched, if the record says that GitHub shows the item.
    Kept(Option<Timestamp>),
}

enum ImportError {
    File(String),
    Archive(Error),
}

impl From<Error> for ImportError {
    fn from(error: Error) -> Self {
        Self::Archive(error)
    }
}

/// What only the mirror knows stays.
fn carry_over(known: &Record, record: &mut Record) {
    record.revision = known.revision;
    record.kept.clone_from(&known.kept);
    record.history.clone_from(&known.history);
    record.twin.clone_from(&known.twin);
    record.unknown.clone_from(&known.unknown);
    record.visibility = known.visibility;
    if record.issue.is_none() {
        record.issue.clone_from(&known.issue);
    }
}

fn updated_at(record: &Record) -> Option<Timestamp> {
    record.core()?.get("updated_at")?.as_str()?.parse().ok()
}

/// A file to import.
struct File {
    path: PathBuf,
    number: u64,
    kind: Kind,
}

/// The files of a folder by number; what is not one of the layout's is a problem.
async fn files(folder: &Path, problems: &mut Vec<(PathBuf, String)>) -> Result<Vec<File>> {
    let folder = folder.to_owned();
    let shown = folder.display().to_string();
    let listed = tokio::task::spawn_blocking(move || list(&folder)).await;
    let (mut files, unknown) = listed
        .map_err(|error| Error::new(ErrorKind::Unavailable, "import", &shown, error.to_string()))?
        .map_err(|error| Error::new(ErrorKind::Refused, "import", &shown, error.to_string()).with_source(error))?;
    if files.is_empty() {
        let message = "no issues/N.json and no pulls/N.json in it: is it a folder of github-metadata-backup?";
        return Err(Error::new(ErrorKind::Refused, "import", shown, message));
    }
    problems.extend(unknown.into_iter().map(|path| (path, "not a file of this layout".to_owned())));
    files.sort_by_key(|file| file.number);
    Ok(files)
}

fn list(folder: &Path) -> std::io::Result<(Vec<File>, Vec<PathBuf>)> {
    let (mut files, mut unknown) = (Vec::new(), Vec::new());
    for (name, kind) in [("issues", Kind::Issue), ("pulls", Kind::PullRequest)] {
        let entries = match fs::read_dir(folder.join(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            let path = entry?.path();
            let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")?.parse().ok());
            match number.filter(|number| (1..=gharvest_model::ledger::Ledger::LIMIT).contains(number)) {
                Some(number) => files.push(File { path, number, kind }),
                None => unknown.push(path),
            }
        }
    }
    Ok((files, unknown))
}

fn read(path: &Path) -> Result<Value, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > LARGEST {
        return Err(format!("{size} bytes are more than any thread has"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| format!("not JSON: {error}"))
}

/// The record of a file's content.
fn record(mut value: Value, file: &File, name: &RepositoryName, id: RepositoryId) -> Result<Record, String> {
    let mut list = |field: &str| match value.get_mut(field).map(Value::take) {
        Some(Value::Array(values)) => Ok(values),
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(_) => Err(format!("`{field}` is not a list")),
    };
    let (timeline, comments) = (list("events")?, list("comments")?);
    let part = if file.kind == Kind::Issue { "issue" } else { "pull" };
    let core = value.get_mut(part).map(Value::take).filter(Value::is_object).ok_or(format!("no `{part}` object"))?;
    let number = core.get("number").and_then(Value::as_u64);
    if number != Some(file.number) {
        return Err(format!("it says it is number {number:?}"));
    }
    let repository = RecordRepository { id, full_name: name.clone() };
    let import = Some(Origin::Import);
    let mut record = Record::new(repository, file.number, file.kind, Timestamp::now());
    record.timeline = timeline;
    record.origin = Origins { timeline: import, ..Origins::default() };
    match file.kind {
        Kind::Issue => {
            record.issue = Some(core);
            record.origin.issue = import;
        }
        Kind::PullRequest => {
            record.pull = Some(core);
            record.review_comments = comments;
            record.origin.pull = import;
            record.origin.review_comments = import;
        }
    }
    Ok(record)
}

/// Finds the numeric id of the repository that a folder is of: in the base of a pull request, or inside a node id.
pub async fn detect_repository_id(folder: &Path) -> Result<RepositoryId> {
    let shown = folder.display().to_string();
    let mut problems = Vec::new();
    let files = files(folder, &mut problems).await?;
    let searched = tokio::task::spawn_blocking(move || {
        let pulls = files.iter().filter(|file| file.kind == Kind::PullRequest).take(SAMPLES);
        let all = pulls.chain(files.iter().take(SAMPLES));
        all.filter_map(|file| read(&file.path).ok()).find_map(|value| repository_id(&value))
    })
    .await;
    let found = searched.ok().flatten();
    found.ok_or_else(|| {
        let message = "nothing in it tells the repository's id: mirror the repository first, or track it by its name";
        Error::new(ErrorKind::Refused, "import", shown, message)
    })
}

fn repository_id(value: &Value) -> Option<RepositoryId> {
    if let Some(id) = value.pointer("/pull/base/repo/id").and_then(Value::as_u64) {
        return Some(RepositoryId(id));
    }
    let events = value.get("events").and_then(Value::as_array).into_iter().flatten();
    let comments = events.filter(|event| event.get("event").and_then(Value::as_str) == Some("commented"));
    let mut ids = comments.filter_map(|event| event.get("node_id")?.as_str());
    ids.find_map(id_in_node_id)
}

/// The repository in a comment's node id: `IC_` and the base64url of the msgpack array `[0, repository, comment]`.
fn id_in_node_id(node_id: &str) -> Option<RepositoryId> {
    let bytes = general_purpose::URL_SAFE_NO_PAD.decode(node_id.strip_prefix("IC_")?.trim_end_matches('=')).ok()?;
    let rest = bytes.strip_prefix(&[0x93, 0x00])?;
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
    let id = match rest.first()? {
        0xcd => number(rest.get(1..3)?),
        0xce => number(rest.get(1..5)?),
        0xcf => number(rest.get(1..9)?),
        _ => return None,
    };
    Some(RepositoryId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_tells_its_repository() {
        assert_eq!(id_in_node_id("IC_kwDOEEET9c416Z4m"), Some(RepositoryId(272_700_405)));
        for text in ["", "IC_", "IC_####", "U_kgDOBpEBlQ", "IC_kwA"] {
            assert_eq!(id_in_node_id(text), None);
        }
    }

    #[tokio::test]
    async fn one_bad_file_does_not_spoil_the_import() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join("backup").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "issues/1.json",
            r#"{"type":"issue","issue":{"number":1,"title":"t","updated_at":"2026-01-01T00:00:00Z"},"events":[]}"#,
        );
        write("issues/2.json", "{");
        write("issues/3.json", r#"{"issue":{"number":4}}"#);
        write("issues/README", "x");
        write(
            "pulls/5.json",
            r#"{"type":"pull","pull":{"number":5,"base":{"repo":{"id":77}},"updated_at":"2026-01-01T00:00:00Z"},"events":[],"comments":[]}"#,
        );
        let backup = folder.path().join("backup");
        assert_eq!(detect_repository_id(&backup).await.unwrap(), RepositoryId(77));
        let url = format!("file:{}", folder.path().join("archive").display());
        let archive = Archive::open(&url, &crate::Options::default()).await.unwrap();
        let name: RepositoryName = "a/b".parse().unwrap();
        let report = archive.import_folder(&backup, &name, RepositoryId(77), &|_| {}).await.unwrap();
        assert_eq!((report.imported.as_slice(), report.problems.len()), ([1, 5].as_slice(), 3));
        let again = archive.import_folder(&backup, &name, RepositoryId(77), &|_| {}).await.unwrap();
        assert_eq!((again.imported.len(), again.kept), (0, 2));
        assert_eq!(archive.resolve(&name).await.unwrap(), Some(RepositoryId(77)));
        assert_eq!(archive.ledger(RepositoryId(77)).await.unwrap().get(5).state, NumberState::Present);
        assert_eq!(archive.ledger(RepositoryId(77)).await.unwrap().get(3).state, NumberState::Unknown);
    }
}
