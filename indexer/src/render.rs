//! From what the archive holds to what the index holds, under the name and visibility that the repository has now.

use std::borrow::Cow;

use gharvest_archive::Repository;
use gharvest_model::{
    labels::LabelRenames,
    record::{RecordState, RecordText, Visibility},
};
use gharvest_search::{
    document::{ReleaseDocument, RepositoryDocument, ThreadDocuments, Version},
    render::{self, RenderContext},
};
use jiff::Timestamp;
use serde_json::Value;

/// All documents of a record. A repository that became private since the record was written hides its items at once; one
/// that is gone from GitHub takes them out of search.
pub(crate) fn thread(
    record: &RecordText<'_>,
    repository: Option<&Repository>,
    now: Timestamp,
) -> serde_json::Result<ThreadDocuments> {
    let mut record = Cow::Borrowed(record);
    let mut context = RenderContext {
        repository: record.repository.full_name.to_string(),
        archived: false,
        label_renames: LabelRenames::default(),
        rendered_at: now,
    };
    if let Some(repository) = repository {
        context.repository = repository.full_name.to_string();
        context.archived = flag(repository, "archived");
        context.label_renames = repository.label_renames.clone();
        let visibility = record.visibility_in(repository.visibility());
        let is_known = !repository.repository.is_null() || visibility == Visibility::Private;
        if record.visibility != visibility && is_known {
            record.to_mut().visibility = visibility;
        }
        if repository.gone_at.is_some() && !record.state.is_tombstone() {
            record.to_mut().state = RecordState::Hidden;
        }
    }
    render::thread_of_text(&record, &context)
}

/// A repository's document.
pub(crate) fn repository(repository: &Repository, version: Version) -> RepositoryDocument {
    let (id, name) = (repository.id, repository.full_name.to_string());
    let private = is_private(repository);
    let document = render::repository(id, &name, &repository.repository, repository.fetched_at, version);
    RepositoryDocument { private, ..document }
}

/// The documents of a repository's releases.
pub(crate) fn releases(repository: &Repository, releases: &Value, version: Version) -> Vec<ReleaseDocument> {
    let (name, private) = (repository.full_name.to_string(), is_private(repository));
    render::releases(repository.id, &name, private, releases, repository.fetched_at, version)
}

fn is_private(repository: &Repository) -> bool {
    repository.visibility() == Visibility::Private
}

fn flag(repository: &Repository, name: &str) -> bool {
    repository.repository.get(name).and_then(Value::as_bool).unwrap_or(false)
}
