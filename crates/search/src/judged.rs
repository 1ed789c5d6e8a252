//! Judgements: what people look for, and what must come, on recorded data and on a generated twin of it.
//!
//! `judged/ranking.json` holds queries and the items that must be among the first three. Recorded duplicates are read
//! from the data itself: "duplicate of #N" in a comment. Every engine is measured with the same functions; the twin
//! proves the same rules where no recorded data is at hand.

use std::{path::Path, sync::LazyLock, time::Duration};

use gharvest_model::{ItemId, Kind, Record, RepositoryId, record::RecordRepository};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Access, SearchIndex, SearchRequest, Start,
    document::{ItemDocument, ThreadDocuments},
    query::{ParseContext, Query},
    render::{self, RenderContext},
    sample::{at, comment, item, thread},
};

/// The moment at which recorded data is asked: recency is measured from here.
pub const ASKED_AT: &str = "2026-09-01T00:00:00Z";

/// The repository whose data was recorded, under an id of our own.
pub const RECORDED: (RepositoryId, &str) = (RepositoryId(7), "bitcoin-core/secp256k1");

/// A query and the items that must be among its first three hits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// What is typed.
    pub query: String,
    /// Numbers, in no order.
    pub first_three: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    queries: Vec<Judgement>,
}

/// The judgements on the recorded repository.
///
/// # Panics
/// When the file is wrong.
pub fn rankings() -> Vec<Judgement> {
    let file: File = serde_json::from_str(include_str!("../judged/ranking.json")).expect("judged/ranking.json");
    file.queries
}

/// Every record of a folder in github-metadata-backup's layout, in the order of numbers.
///
/// # Panics
/// When a file cannot be read or is wrong.
pub fn records(folder: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    for (part, kind) in [("issues", Kind::Issue), ("pulls", Kind::PullRequest)] {
        for entry in std::fs::read_dir(folder.join(part)).expect("a recorded repository") {
            let path = entry.expect("a folder can be listed").path();
            let bytes = std::fs::read(&path).expect("a recorded file");
            let file = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            records.push(record(file, kind));
        }
    }
    records.sort_by_key(|record| record.number);
    records
}

fn record(mut file: Value, kind: Kind) -> Record {
    let core = if kind == Kind::Issue { &file["issue"] } else { &file["pull"] };
    let number = core["number"].as_u64().expect("a recorded item has its number");
    let repository = RecordRepository { id: RECORDED.0, full_name: RECORDED.1.parse().expect("a name") };
    let mut record = Record::new(repository, number, kind, at(ASKED_AT));
    let list = |value: &mut Value| match value.take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    record.timeline = list(&mut file["events"]);
    record.review_comments = list(&mut file["comments"]);
    record.issue = Some(file["issue"].take()).filter(Value::is_object);
    record.pull = Some(file["pull"].take()).filter(Value::is_object);
    record
}

/// The documents of recorded records.
pub fn documents(records: &[Record]) -> Vec<ThreadDocuments> {
    let context = RenderContext {
        repository: RECORDED.1.into(),
        archived: false,
        label_renames: Default::default(),
        rendered_at: at(ASKED_AT),
    };
    records.iter().map(|record| render::thread(record, &context)).collect()
}

static DUPLICATE: LazyLock<Regex> = LazyLock::new(|| {
    let pattern =
        r"(?i)\bdup(?:licate|e)? of:?\s*(?:https://github\.com/bitcoin-core/secp256k1/(?:issues|pull)/|#)(\d+)";
    Regex::new(pattern).expect("a constant")
});

/// Recorded duplicates: items in which somebody said "duplicate of #N", and N.
pub fn duplicates(records: &[Record]) -> Vec<(ItemId, u64)> {
    let mut pairs = Vec::new();
    for record in records {
        let texts = record.timeline.iter().filter_map(|event| event["body"].as_str());
        let originals = texts.flat_map(|text| DUPLICATE.captures_iter(text)).filter_map(|found| found[1].parse().ok());
        let known = |number: &u64| *number != record.number && records.iter().any(|other| other.number == *number);
        pairs.extend(originals.filter(known).map(|original| (record.id(), original)));
    }
    pairs.dedup();
    pairs
}

/// Judgements that an index does not meet, each as a sentence.
///
/// # Panics
/// When the index does not answer.
pub async fn unmet(index: &dyn SearchIndex, judgements: &[Judgement]) -> Vec<String> {
    let mut unmet = Vec::new();
    for judgement in judgements {
        let context = ParseContext { now: at(ASKED_AT), me: None };
        let request = SearchRequest {
            query: Query::parse(&judgement.query, &context).query,
            access: Access::All,
            per_page: 3,
            start: Start::Page(1),
            facets: Vec::new(),
            snippets: false,
            timeout: Duration::from_secs(60),
        };
        let reply = index.search(&request).await.expect("an answer");
        let found: Vec<u64> = reply.hits.iter().map(|hit| hit.item.number).collect();
        if judgement.first_three.iter().any(|wanted| !found.contains(wanted)) {
            unmet.push(format!("`{}` finds {found:?}, not all of {:?}", judgement.query, judgement.first_three));
        }
    }
    unmet
}

/// Pairs of duplicate and original of which the original is not among the first five similar items of the duplicate.
///
/// # Panics
/// When the index does not answer.
pub async fn unseen_originals(index: &dyn SearchIndex, pairs: &[(ItemId, u64)]) -> Vec<(ItemId, u64)> {
    let mut unseen = Vec::new();
    for (duplicate, original) in pairs {
        let similar = index.similar(*duplicate, &Access::All, 5).await.expect("an answer");
        if similar.iter().all(|hit| hit.item.number != *original) {
            unseen.push((*duplicate, *original));
        }
    }
    unseen
}

/// What stands in for recorded data: threads, judgements on them, and duplicates among them.
#[derive(Debug)]
pub struct Twin {
    /// The threads.
    pub threads: Vec<ThreadDocuments>,
    /// What must come first.
    pub rankings: Vec<Judgement>,
    /// Duplicates and their originals.
    pub duplicates: Vec<(ItemId, u64)>,
}

/// Topics of the twin.
const TOPICS: u64 = 40;
/// Items of each topic.
const OF_A_TOPIC: u64 = 8;

/// A word that no other number gives, of syllables, so that stemming leaves it alone.
fn word(number: u64) -> String {
    const CONSONANTS: &[u8] = b"bdfgklmnprtv";
    const VOWELS: &[u8] = b"aiou";
    let mut rest = number + 500;
    let mut text = String::new();
    while rest > 0 {
        text.push(char::from(CONSONANTS[(rest % 12) as usize]));
        text.push(char::from(VOWELS[(rest / 12 % 4) as usize]));
        rest /= 48;
    }
    text + "k"
}

/// A generated corpus in which the rules of ranking can be told apart: of each topic one item has it as its whole
/// title, one in its title, the others in a body, in a comment, or in a body that nobody has touched for long.
pub fn twin() -> Twin {
    let mut twin = Twin { threads: Vec::new(), rankings: Vec::new(), duplicates: Vec::new() };
    for topic in 0..TOPICS {
        let own = |place: u64| word(topic * 10 + place);
        // What everybody writes: it tells nothing.
        let common: Vec<String> = (0..30).map(|place| word(10_000 + (topic + place) % 45)).collect();
        let common = common.join(" ");
        let about = format!("{} {}", own(0), own(1));
        let first = topic * OF_A_TOPIC + 1;
        let plain = |place: u64, title: &str, body: &str| {
            let updated_at = at("2024-01-01T00:00:00Z");
            ItemDocument { title: title.to_owned(), body: body.to_owned(), updated_at, ..item(first + place) }
        };
        let lively = |mut item: ItemDocument| {
            item.updated_at = at(ASKED_AT);
            item.interactions = 40;
            item
        };
        let in_comment = plain(4, &common, &common);
        let remark = comment(&in_comment, 0, &format!("{common} {about}"));
        let telling = (0..8).map(own).collect::<Vec<_>>().join(" ");
        let reworded = (2..10).map(own).collect::<Vec<_>>().join(" ");
        let items = [
            (plain(0, &about, &common), Vec::new()),
            (plain(1, &format!("{about} {}", own(9)), &common), Vec::new()),
            (lively(plain(2, &common, &format!("{common} {about}"))), Vec::new()),
            (plain(3, &common, &format!("{common} {about}")), Vec::new()),
            (in_comment, vec![remark]),
            (plain(5, &common, &common), Vec::new()),
            (plain(6, &format!("{} {}", own(2), own(3)), &format!("{common} {telling}")), Vec::new()),
            (plain(7, &format!("{} {}", own(4), own(5)), &format!("{reworded} {common}")), Vec::new()),
        ];
        twin.duplicates.push((items[7].0.id(), first + 6));
        twin.rankings.push(Judgement { query: about, first_three: vec![first, first + 1, first + 2] });
        let threads = items.into_iter().map(|(item, comments)| thread(item, comments, Vec::new(), 1));
        twin.threads.extend(threads);
    }
    twin
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_enough_judgements_and_each_asks_for_three_at_most() {
        let rankings = rankings();
        assert!(rankings.len() >= 40);
        assert!(rankings.iter().all(|judgement| (1..=3).contains(&judgement.first_three.len())));
        let queries: BTreeSet<_> = rankings.iter().map(|judgement| &judgement.query).collect();
        assert_eq!(queries.len(), rankings.len());
    }

    #[test]
    fn words_of_the_twin_differ() {
        let numbers = (0..TOPICS * 10).chain(10_000..10_045);
        let words: BTreeSet<_> = numbers.clone().map(word).collect();
        assert_eq!(words.len(), numbers.count());
    }

    #[test]
    fn duplicates_are_read_from_what_people_wrote() {
        let mut record = record(serde_json::json!({"issue": {"number": 5}}), Kind::Issue);
        record.timeline = vec![serde_json::json!({"body": "A Dupe of #4, duplicate of #4. Not of #5, duplicates #3."})];
        let mut original = record.clone();
        original.number = 4;
        original.timeline.clear();
        assert_eq!(duplicates(&[original, record.clone()]), [(record.id(), 4)]);
    }
}
