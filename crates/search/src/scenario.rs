//! Parity scenarios: documents, queries, and what every engine must answer.
//!
//! Each file of `scenarios/` is one JSON object: `about`, and `queries`. All ask the documents of
//! `scenarios/corpus.json`, unless the file has `documents` of its own. A query is a row:
//! `{"query": "label:bug", "items": [3, 7]}`. Items are named by number, or `[repository id, number]` outside repository
//! 1; they are compared as a set where the query sorts by relevance, and in their order otherwise. `facets`, `suggest`
//! (what is typed, in place of `query`), `first` (the best hits in their order), `access` and `notes` (how many) are
//! optional.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use gharvest_model::RepositoryId;
use serde::Deserialize;

use crate::{
    Access, Facet, SearchIndex, SearchRequest, Start,
    document::ThreadDocuments,
    query::{ParseContext, Parsed, Query, suggest, tree::SortKey},
    sample::{Sample, at},
};

/// A file of scenarios.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows.
    pub about: String,
    /// Its own documents; the corpus otherwise.
    #[serde(default)]
    pub documents: Vec<Sample>,
    /// The rows.
    pub queries: Vec<Row>,
    /// The file's name.
    #[serde(skip)]
    pub name: String,
}

/// A query, or something typed, and what must come.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The query.
    pub query: Option<String>,
    /// What is being typed.
    pub suggest: Option<String>,
    /// The items that match.
    pub items: Option<Vec<Name>>,
    /// The first hits, in their order.
    pub first: Option<Vec<Name>>,
    /// The facets' values and counts, in their order.
    #[serde(default)]
    pub facets: BTreeMap<String, Vec<(String, u64)>>,
    /// Suggestions: kind, value, count; items by their titles, without a count.
    #[serde(default)]
    pub suggestions: Vec<(String, String, Option<u64>)>,
    /// Who asks; the public by default.
    #[serde(default = "public")]
    pub access: Access,
    /// How many notes the parser has.
    #[serde(default)]
    pub notes: usize,
}

fn public() -> Access {
    Access::Public
}

/// An item by its number in repository 1, or by its repository and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged)]
pub enum Name {
    /// In repository 1.
    Number(u64),
    /// In another.
    Elsewhere(u64, u64),
}

impl Name {
    fn of(repository: RepositoryId, number: u64) -> Self {
        if repository.0 == 1 { Self::Number(number) } else { Self::Elsewhere(repository.0, number) }
    }
}

/// When and by whom scenarios are asked: noon of 15 June 2024, octocat.
pub fn context() -> ParseContext {
    ParseContext { now: at("2024-06-15T12:00:00Z"), me: Some("octocat".into()) }
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios"))
}

/// The documents that most scenarios ask.
///
/// # Panics
/// When the file is missing or wrong.
pub fn corpus() -> Vec<ThreadDocuments> {
    let path = folder().join("corpus.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let samples: Vec<Sample> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    samples.iter().map(|sample| sample.documents(1)).collect()
}

/// Every scenario, in the order of the files' names.
///
/// # Panics
/// When a file cannot be read or is wrong.
pub fn all() -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for entry in fs::read_dir(folder()).expect("the folder of scenarios is part of the crate") {
        let path = entry.expect("a folder can be listed").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name == "corpus" || path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let scenario: Scenario =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        scenarios.push(Scenario { name, ..scenario });
    }
    scenarios.sort_by(|one, other| one.name.cmp(&other.name));
    scenarios
}

impl Scenario {
    /// The documents that it asks.
    pub fn threads(&self) -> Vec<ThreadDocuments> {
        if self.documents.is_empty() {
            corpus()
        } else {
            self.documents.iter().map(|sample| sample.documents(1)).collect()
        }
    }

    /// Asks an index that holds the documents, and says what differs, a line each.
    ///
    /// # Panics
    /// When the index fails.
    pub async fn differences(&self, index: &dyn SearchIndex) -> Vec<String> {
        let mut found = Vec::new();
        for row in &self.queries {
            let differences = match (&row.query, &row.suggest) {
                (Some(query), None) => row.search(index, query).await,
                (None, Some(typed)) => row.suggest(index, typed).await,
                _ => vec!["a row has either `query` or `suggest`".to_owned()],
            };
            let asked = row.query.as_ref().or(row.suggest.as_ref()).cloned().unwrap_or_default();
            found.extend(differences.into_iter().map(|difference| format!("{}: `{asked}`: {difference}", self.name)));
        }
        found
    }
}

impl Row {
    async fn search(&self, index: &dyn SearchIndex, text: &str) -> Vec<String> {
        let Parsed { query, notes } = Query::parse(text, &context());
        let by_relevance = query.sort().key == SortKey::Relevance;
        let request = SearchRequest {
            query,
            access: self.access.clone(),
            per_page: 100,
            start: Start::Page(1),
            facets: Facet::ALL.to_vec(),
            snippets: true,
            timeout: Duration::from_secs(30),
        };
        let reply = index.search(&request).await.unwrap_or_else(|error| panic!("`{text}`: {error}"));
        let mut differences = Vec::new();
        if notes.len() != self.notes {
            differences.push(format!("expected {} notes, got {notes:?}", self.notes));
        }
        let mut got: Vec<_> = reply.hits.iter().map(|hit| Name::of(hit.item.repository_id, hit.item.number)).collect();
        if reply.total != got.len() as u64 {
            differences.push(format!("a total of {} for {} hits", reply.total, got.len()));
        }
        if let Some(first) = &self.first
            && !got.starts_with(first)
        {
            differences.push(format!("expected {first:?} first, got {got:?}"));
        }
        if let Some(expected) = &self.items {
            let mut expected = expected.clone();
            if by_relevance {
                expected.sort_unstable();
                got.sort_unstable();
            }
            if got != expected {
                differences.push(format!("expected {expected:?}, got {got:?}"));
            }
        }
        for (name, expected) in &self.facets {
            let facet = reply.facets.iter().find(|facet| facet_name(facet.facet) == *name);
            let got: Option<Vec<_>> =
                facet.map(|facet| facet.values.iter().map(|value| (value.value.clone(), value.count)).collect());
            if got.as_ref() != Some(expected) {
                differences.push(format!("facet {name}: expected {expected:?}, got {got:?}"));
            }
        }
        differences
    }

    async fn suggest(&self, index: &dyn SearchIndex, typed: &str) -> Vec<String> {
        let request = suggest::at_end(typed);
        let suggestions = index.suggest(&request, &self.access, 16).await;
        let suggestions = suggestions.unwrap_or_else(|error| panic!("`{typed}`: {error}"));
        let got: Vec<_> = suggestions.into_iter().map(|one| (one.kind, one.value, one.count)).collect();
        if got == self.suggestions { Vec::new() } else { vec![format!("expected {:?}, got {got:?}", self.suggestions)] }
    }
}

/// A facet's name in scenarios and in the API.
pub fn facet_name(facet: Facet) -> String {
    let name = serde_json::to_value(facet).expect("a facet has a name");
    name.as_str().unwrap_or_default().to_owned()
}
