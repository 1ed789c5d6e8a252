//! Reading documents back: for `verify`, daily counts and pages.

use gharvest_model::{ItemId, RepositoryId};
use gharvest_search::{
    Error, ErrorKind, Result, StoredThread,
    document::{
        CommentDocument, DailyDocument, EventDocument, IntervalDocument, ItemDocument, RepositoryDocument, Version,
        digest,
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use tantivy::{
    DocAddress, Searcher, TantivyDocument, Term,
    query::{BooleanQuery, EnableScoring, Occur, Query, TermQuery, TermSetQuery},
    schema::{IndexRecordOption, Value as _},
};

use crate::{
    error::from_tantivy,
    schema::{Fields, kind, ordinal, repository_key},
    search, write,
};

fn term(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn parse<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| {
        let message = format!("a stored document is none of ours ({error}); rebuild the index");
        Error::new(ErrorKind::Document, "read", message)
    })
}

fn stored<T: DeserializeOwned>(searcher: &Searcher, fields: &Fields, address: DocAddress) -> Result<T> {
    parse(&search::json(searcher, fields, address)?)
}

/// Which document a stored one is.
#[derive(Deserialize)]
struct Key {
    key: String,
    /// The item's key, in its children.
    item: Option<String>,
}

impl Key {
    /// The digest of the stored document, read as what it is, so that numbers are those that were rendered.
    fn digest(&self, json: &str) -> Result<String> {
        let ordinal = self.key.rsplit(':').next().unwrap_or_default();
        Ok(match (&self.item, ordinal.chars().next()) {
            (None, _) => digest(&parse::<ItemDocument>(json)?),
            (Some(_), Some('c')) => digest(&parse::<CommentDocument>(json)?),
            (Some(_), Some('e')) => digest(&parse::<EventDocument>(json)?),
            (Some(_), _) => digest(&parse::<IntervalDocument>(json)?),
        })
    }
}

/// The documents of one thread.
pub(crate) fn thread(searcher: &Searcher, fields: &Fields, item: ItemId) -> Result<Option<StoredThread>> {
    let Some(own) = ordinal(item) else { return Ok(None) };
    let mut documents = Vec::new();
    let mut head = None;
    for address in search::addresses(searcher, term(fields.item_term(own)).as_ref())? {
        let json = search::json(searcher, fields, address)?;
        let key: Key = parse(&json)?;
        if key.item.is_none() {
            head = Some(address);
        }
        documents.push((key.key.clone(), key.digest(&json)?));
    }
    documents.sort_unstable();
    let Some(head) = head else {
        // Children without their item are damage that verify has to see.
        let none = StoredThread { item, version: Version(0), digest: String::new(), documents };
        return Ok((!none.documents.is_empty()).then_some(none));
    };
    let stored: TantivyDocument = searcher.doc(head).map_err(from_tantivy("read"))?;
    let digest = stored.get_first(fields.digest).and_then(|digest| digest.as_str().map(str::to_owned));
    let columns = searcher.segment_reader(head.segment_ord).fast_fields();
    let version = columns.u64("version").map_err(from_tantivy("read"))?.first(head.doc_id).unwrap_or(0);
    Ok(Some(StoredThread { item, version: Version(version), digest: digest.unwrap_or_default(), documents }))
}

/// The items of a repository, tombstones included, in the order of their numbers.
pub(crate) fn items(searcher: &Searcher, fields: &Fields, repository: RepositoryId) -> Result<Vec<u64>> {
    let heads = TermSetQuery::new([fields.kind_term(kind::ITEM), fields.kind_term(kind::TOMBSTONE)]);
    let query = BooleanQuery::new(vec![
        (Occur::Must, Box::new(heads)),
        (Occur::Must, term(Term::from_field_u64(fields.repository_id, repository.0))),
    ]);
    let mut items = Vec::new();
    let weight = query.weight(EnableScoring::disabled_from_searcher(searcher)).map_err(from_tantivy("read"))?;
    for segment in searcher.segment_readers() {
        let column = segment.fast_fields().u64("item").map_err(from_tantivy("read"))?;
        let mut each = |doc, _score| {
            if !segment.is_deleted(doc) {
                items.extend(column.first(doc));
            }
        };
        weight.for_each(segment, &mut each).map_err(from_tantivy("read"))?;
    }
    items.sort_unstable();
    Ok(items)
}

/// The intervals of some items, in the order of the items and of the intervals in each; tombstones have none to count.
pub(crate) fn intervals(searcher: &Searcher, fields: &Fields, items: &[u64]) -> Result<Vec<IntervalDocument>> {
    let of_items = TermSetQuery::new(items.iter().map(|item| fields.item_term(*item)));
    let query = BooleanQuery::new(vec![
        (Occur::Must, term(fields.kind_term(kind::INTERVAL))),
        (Occur::Must, Box::new(of_items)),
    ]);
    let mut found: Vec<IntervalDocument> = Vec::new();
    for address in search::addresses(searcher, &query)? {
        found.push(stored(searcher, fields, address)?);
    }
    found.sort_by_key(|interval| (interval.number, ordinal_in_thread(&interval.key)));
    Ok(found)
}

/// The `5` of `12:34:i5`.
fn ordinal_in_thread(key: &str) -> u64 {
    key.rsplit_once(":i").and_then(|(_, ordinal)| ordinal.parse().ok()).unwrap_or(u64::MAX)
}

/// Daily counts of a group, in the order of days.
pub(crate) fn daily(searcher: &Searcher, fields: &Fields, group: &str) -> Result<Vec<DailyDocument>> {
    let mut found: Vec<DailyDocument> = Vec::new();
    for address in search::addresses(searcher, term(Term::from_field_text(fields.group, group)).as_ref())? {
        found.push(stored(searcher, fields, address)?);
    }
    found.sort_by(|one, other| (&one.day, &one.value, &one.key).cmp(&(&other.day, &other.value, &other.key)));
    Ok(found)
}

/// A repository's document.
pub(crate) fn repository(
    searcher: &Searcher,
    fields: &Fields,
    repository: RepositoryId,
) -> Result<Option<RepositoryDocument>> {
    let address = write::find(searcher, fields, &repository_key(repository))?;
    address.map(|address| stored(searcher, fields, address)).transpose()
}

/// How many documents each alias has.
pub(crate) fn counts(searcher: &Searcher, fields: &Fields) -> Result<Vec<(String, u64)>> {
    let kinds = [
        ("gharvest-items", kind::ITEM),
        ("gharvest-comments", kind::COMMENT),
        ("gharvest-events", kind::EVENT),
        ("gharvest-intervals", kind::INTERVAL),
        ("gharvest-daily", kind::DAILY),
        ("gharvest-repositories", kind::REPOSITORY),
        ("gharvest-releases", kind::RELEASE),
    ];
    let mut counts = Vec::with_capacity(kinds.len());
    for (alias, kind) in kinds {
        let query = term(fields.kind_term(kind));
        let weight = query.weight(EnableScoring::disabled_from_searcher(searcher)).map_err(from_tantivy("read"))?;
        let mut count = 0;
        for segment in searcher.segment_readers() {
            count += u64::from(weight.count(segment).map_err(from_tantivy("read"))?);
        }
        counts.push((alias.to_owned(), count));
    }
    Ok(counts)
}
