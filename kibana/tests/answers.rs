//! On a real engine: every field that a panel uses is in the mappings, in a type that serves, and what the engine
//! answers to each panel is what is counted by hand from the documents written.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gharvest_kibana::{Figure, Index, Panel, Shape, dashboards, searches};
use gharvest_model::{Kind, Lane, QueueName, Record, RepositoryId, Revision, record::RecordRepository};
use gharvest_search::{
    SearchIndex, daily,
    document::{DailyDocument, ThreadDocuments, WaitingOn},
    operations::{Observation, Seen},
    render::{self, RenderContext},
    sample,
};
use gharvest_search_elastic::{ElasticIndex, ElasticOperations, Options};
use gharvest_testkit::{recorded_data, recorded_records, search_server};
use serde_json::Value;

/// Buckets by time and by value; the empty text where a panel does not part by it.
type Bucket = (String, String);

async fn opened(url: &str) -> (Arc<dyn SearchIndex>, String) {
    let prefix = format!("boards-{:016x}", fastrand::u64(..));
    let options = Options::without_credentials(url, &prefix);
    let index = ElasticIndex::open(&options).await.unwrap();
    index.ensure("archive").await.unwrap();
    ElasticOperations::open(&options, "archive").unwrap().keep(&observations()).await.unwrap();
    let refresh = reqwest::Client::new().post(format!("{url}/{prefix}-operations/_refresh"));
    refresh.send().await.unwrap().error_for_status().unwrap();
    (index, prefix)
}

fn panels() -> impl Iterator<Item = Panel> {
    dashboards().into_iter().flat_map(|dashboard| dashboard.panels)
}

/// The alias of a test's own index in place of the one of dashboards.
fn alias(index: Index, prefix: &str) -> String {
    index.alias().replacen("gharvest", prefix, 1)
}

#[tokio::test]
async fn every_field_of_a_panel_is_mapped_in_a_type_that_serves() {
    let Some(url) = search_server("every_field_of_a_panel_is_mapped_in_a_type_that_serves") else { return };
    let (_index, prefix) = opened(&url).await;
    for index in Index::ALL {
        let answer = reqwest::get(format!("{url}/{}/_mapping", alias(index, &prefix))).await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let mapping = answer.as_object().unwrap().values().next().unwrap();
        let kind =
            |field: &str| mapping["mappings"]["properties"][field]["type"].as_str().unwrap_or("missing").to_owned();
        assert_eq!(kind(index.time_field()), "date", "{index:?} {}", index.time_field());
        for panel in panels().filter(|panel| panel.index == index) {
            for field in panel.fields() {
                assert_ne!(kind(field), "missing", "{}: {field}", panel.id);
            }
            if let Some(parts) = &panel.parts {
                assert_ne!(kind(parts.field), "object", "{}: {} can be there or not", panel.id, parts.field);
            }
            if let Some(split) = &panel.split {
                assert_eq!(kind(split.field), "keyword", "{}: {}", panel.id, split.field);
            }
            if let Shape::Over { field, .. } = panel.shape {
                assert_eq!(kind(field), "date", "{}: {field}", panel.id);
            }
            for figure in &panel.figures {
                let (Figure::Sum(field)
                | Figure::Median(field)
                | Figure::Percentile(field, _)
                | Figure::Most(field)
                | Figure::Least(field)) = figure
                else {
                    continue;
                };
                assert!(["long", "float"].contains(&kind(field).as_str()), "{}: {field}", panel.id);
            }
        }
        for search in searches().iter().filter(|search| search.index == index) {
            assert_eq!(kind(search.sort), "date", "{}", search.id);
            let asked = search.query.split([' ', '(', ')']).filter_map(|word| word.strip_suffix(':'));
            for field in search.columns.iter().copied().chain(asked) {
                assert_ne!(kind(field), "missing", "{}: {field}", search.id);
            }
        }
    }
}

/// `_docs/available-data.md` promises every field.
#[tokio::test]
async fn every_mapped_field_stands_on_the_page_of_available_data() {
    let Some(url) = search_server("every_mapped_field_stands_on_the_page_of_available_data") else { return };
    let (_index, prefix) = opened(&url).await;
    let page = include_str!("../../_docs/available-data.md");
    let mut named: BTreeSet<&str> = page.split('`').skip(1).step_by(2).collect();
    // Names of one sort may share their code.
    named.extend(page.split('`').skip(1).step_by(2).flat_map(str::split_whitespace));
    let answer = reqwest::get(format!("{url}/{prefix}-*/_mapping")).await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let mut fields = BTreeSet::new();
    for (index, mapping) in answer.as_object().unwrap() {
        let properties = mapping["mappings"]["properties"].as_object().unwrap();
        fields.extend(properties.keys().map(|field| (field.as_str(), index.as_str())));
    }
    assert!(fields.len() > 80, "{fields:?}");
    let missing: Vec<_> = fields.iter().filter(|(field, _)| !named.contains(field)).collect();
    assert!(missing.is_empty(), "_docs/available-data.md does not name {missing:?}");
}

#[tokio::test]
async fn every_panel_shows_the_figures_counted_by_hand() {
    let Some(url) = search_server("every_panel_shows_the_figures_counted_by_hand") else { return };
    let (index, prefix) = opened(&url).await;
    let threads: Vec<_> = (1..=60).map(thread).collect();
    let daily: Vec<_> = (0..80).map(day).collect();
    index.apply(threads.clone()).await.unwrap();
    index.apply_daily(RepositoryId(1), daily.clone(), true).await.unwrap();
    index.commit().await.unwrap();

    compare_all(&url, &prefix, &threads, &daily).await;
}

/// What a real repository's archive holds, rendered as the indexer renders it.
#[tokio::test]
async fn every_panel_shows_the_figures_of_a_recorded_repository() {
    let test = "every_panel_shows_the_figures_of_a_recorded_repository";
    let (Some(folder), Some(url)) = (recorded_data(test), search_server(test)) else { return };
    let (index, prefix) = opened(&url).await;
    let context = RenderContext {
        repository: "recorded/repository".to_owned(),
        archived: false,
        label_renames: Default::default(),
        rendered_at: sample::at("2026-01-01T00:00:00Z"),
    };
    let name = RecordRepository { id: RepositoryId(1), full_name: "recorded/repository".parse().unwrap() };
    let empty = |kind| Record {
        revision: Revision(1),
        ..Record::new(name.clone(), 0, kind, sample::at("2026-01-01T00:00:00Z"))
    };
    let records = recorded_records(&folder, empty);
    let threads: Vec<_> = records.iter().map(|record| render::thread(record, &context)).collect();
    let mut builder = daily::Builder::new();
    threads.iter().flat_map(|thread| &thread.intervals).for_each(|interval| builder.add(interval.clone()));
    let counted = daily::DailyContext {
        repository_id: RepositoryId(1),
        repository: "recorded/repository".to_owned(),
        private: false,
        version: 1,
    };
    let until = daily::day_of(threads.iter().map(|thread| thread.item.updated_at).max().unwrap());
    let daily: Vec<_> = builder.finish(counted, until).collect();
    // Side by side: while one waits for the engine the other makes its bytes.
    let write_threads = async {
        for some in threads.chunks(200) {
            index.apply(some.to_vec()).await.unwrap();
        }
    };
    let write_days = async {
        for some in daily.chunks(5000) {
            index.apply_daily(RepositoryId(1), some.to_vec(), false).await.unwrap();
        }
    };
    tokio::join!(write_threads, write_days);
    index.commit().await.unwrap();
    compare_all(&url, &prefix, &threads, &daily).await;
}

/// Asks each panel's question and compares what it shows with what is counted here.
async fn compare_all(url: &str, prefix: &str, threads: &[ThreadDocuments], daily: &[DailyDocument]) {
    let client = reqwest::Client::new();
    for index in Index::ALL {
        let documents = documents(index, threads, daily);
        for panel in panels().filter(|panel| panel.index == index) {
            let answer = client.post(format!("{url}/{}/_search", alias(panel.index, prefix)));
            let answer: Value = answer.json(&panel.aggregation()).send().await.unwrap().json().await.unwrap();
            assert!(answer["error"].is_null(), "{}: {answer}", panel.id);
            compare(&panel, &answer, &by_hand(&panel, &documents));
        }
    }
}

/// Threads of all sorts: states, kinds, labels, bots, comments and reviews, spread over ten months.
fn thread(number: u64) -> ThreadDocuments {
    let mut item = sample::item(number);
    item.created_at = sample::at(&format!("2024-{:02}-{:02}T05:06:07Z", 1 + number % 10, 1 + number % 28));
    item.fetched_at = sample::at(&format!("2025-01-{:02}T00:00:00Z", 1 + number % 9));
    item.kind = if number.is_multiple_of(3) { Kind::PullRequest } else { Kind::Issue };
    item.state = ["open", "closed", "merged"][number as usize % 3].to_owned();
    item.author = Some(format!("reporter-{}", number % 7));
    item.author_is_bot = number.is_multiple_of(7);
    item.labels = (0..number % 4).map(|label| format!("label-{label}")).collect();
    item.metrics.h_first_response = (!number.is_multiple_of(5)).then_some(number as f32 / 2.0);
    item.metrics.h_to_close = (item.state != "open").then_some(number as f32);
    item.metrics.h_to_merge = (item.state == "merged").then_some(number as f32 * 3.0);
    if item.state == "open" {
        let author = number.is_multiple_of(2);
        item.metrics.waiting_on = Some(if author { WaitingOn::Author } else { WaitingOn::Maintainers });
    }
    let comments = (0..number as usize % 6).map(|ordinal| {
        let mut comment = sample::comment(&item, ordinal, "text");
        comment.part = if ordinal % 2 == 0 { "comment" } else { "review" }.to_owned();
        comment.author = Some(format!("person-{}", (number as usize + ordinal) % 9));
        comment.author_is_bot = ordinal == 4;
        comment
    });
    let comments = comments.collect();
    let labels = item.labels.iter().enumerate();
    let intervals = labels.map(|(ordinal, label)| {
        let mut interval = sample::interval(&item, ordinal, "label", label);
        interval.hours = (ordinal % 2 == 0).then_some(number as f32 / 4.0);
        interval
    });
    let intervals = intervals.collect();
    sample::thread(item, comments, intervals, 1)
}

fn day(number: u32) -> DailyDocument {
    let (dimension, value) = if number.is_multiple_of(2) { ("all", "") } else { ("label", "label-1") };
    DailyDocument {
        key: format!("1:{number}"),
        repository_id: RepositoryId(1),
        repository: "octo/box".into(),
        private: false,
        day: format!("2024-{:02}-{:02}", 1 + number % 5, 1 + number % 20),
        dimension: dimension.into(),
        value: value.into(),
        kind: if number % 4 < 2 { Kind::Issue } else { Kind::PullRequest },
        open: number,
        opened: number % 3,
        closed: number % 2 + 1,
        merged: 0,
        reopened: 0,
        version: 1,
    }
}

/// Two days of a system: queues and lanes that grow and shrink, two tokens that are used up, repositories in each state.
fn observations() -> Vec<Observation> {
    let begin = sample::at("2026-10-31T00:10:00Z");
    let mut observations = Vec::new();
    for step in 0..96_u64 {
        let at = begin + jiff::SignedDuration::from_mins(step.cast_signed() * 30);
        let mut see = |seen| observations.push(Observation { at, seen });
        for (position, queue) in (0..).zip(QueueName::ALL) {
            let ready = step * (position + 3) % 17;
            let (finished, retried) = ((step > 0).then_some(step * 2 + position), (step > 0).then_some(step % 4));
            let (buried, lag_seconds) = (step / 10, step * 31 % 101 + position);
            see(Seen::Queue { queue, ready, delayed: 1, leased: 2, buried, lag_seconds, finished, retried });
            for lane in Lane::ALL {
                let ready = step * (lane.index() as u64 + 2) % 13;
                see(Seen::Lane { queue, lane, ready, lag_seconds: ready * 7 });
            }
        }
        for (token, resource, limit) in
            [("token 1", "core", 5000), ("token 2", "core", 60), ("token 1", "graphql", 5000)]
        {
            let used = step * 37 % limit;
            let (token, resource) = (token.to_owned(), resource.to_owned());
            see(Seen::Budget { token, resource, limit, remaining: limit - used, used, trouble: None });
        }
        for id in 1..=3 {
            see(Seen::Repository {
                repository_id: RepositoryId(id),
                repository: format!("octo/box-{id}"),
                private: id == 3,
                completeness: 1.0 - (step % 8) as f64 / 64.0,
                unaccounted: step * id % 11,
                failed: step % 5,
                missed_deliveries: step / 7 * id,
                recovered_deliveries: step / 8,
                trouble: (id == 2).then(|| "451: blocked".to_owned()),
            });
        }
    }
    observations
}

fn documents(index: Index, threads: &[ThreadDocuments], daily: &[DailyDocument]) -> Vec<Value> {
    let json = |value: &dyn Fn(&ThreadDocuments) -> Vec<Value>| threads.iter().flat_map(value).collect();
    match index {
        Index::Items => json(&|thread| vec![serde_json::to_value(&thread.item).unwrap()]),
        Index::Comments => json(&|thread| thread.comments.iter().map(|c| serde_json::to_value(c).unwrap()).collect()),
        Index::Intervals => json(&|thread| thread.intervals.iter().map(|i| serde_json::to_value(i).unwrap()).collect()),
        Index::Daily => daily.iter().map(|day| serde_json::to_value(day).unwrap()).collect(),
        Index::Operations => observations().iter().map(|one| serde_json::to_value(one).unwrap()).collect(),
    }
}

/// The values of a field as texts: none, one, or each of a list.
fn values(document: &Value, field: &str) -> Vec<String> {
    match &document[field] {
        Value::Null => Vec::new(),
        Value::Array(list) => list.iter().map(|value| value.as_str().unwrap().to_owned()).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

fn by_hand<'a>(panel: &Panel, documents: &'a [Value]) -> BTreeMap<Bucket, Vec<&'a Value>> {
    let mut buckets: BTreeMap<Bucket, Vec<&Value>> = BTreeMap::new();
    for document in documents {
        if panel.filter.iter().any(|(field, wanted)| !values(document, field).iter().any(|value| value == wanted)) {
            continue;
        }
        let over = match panel.shape {
            Shape::Over { field, interval } => start(&document[field], interval),
            Shape::Number | Shape::Table | Shape::Donut => String::new(),
        };
        let splits = match (&panel.split, &panel.parts) {
            (Some(split), _) => values(document, split.field),
            (_, Some(parts)) if document[parts.field].is_null() => vec![parts.lacking.to_owned()],
            (_, Some(parts)) => vec![parts.having.to_owned()],
            _ => vec![String::new()],
        };
        for split in splits {
            buckets.entry((over.clone(), split)).or_default().push(document);
        }
    }
    buckets
}

/// The first day of the interval that a time is in.
fn start(time: &Value, interval: &str) -> String {
    let time = time.as_str().unwrap();
    match interval {
        "hour" => time[..13].to_owned(),
        "day" => time[..10].to_owned(),
        "month" => format!("{}-01", &time[..7]),
        other => panic!("no panel is known to show every {other}"),
    }
}

fn compare(panel: &Panel, answer: &Value, expected: &BTreeMap<Bucket, Vec<&Value>>) {
    if panel.split.is_none() && panel.parts.is_none() && !matches!(panel.shape, Shape::Over { .. }) {
        let count: usize = expected.values().map(Vec::len).sum();
        assert_eq!(answer["hits"]["total"]["value"], count, "{}", panel.id);
        return;
    }
    let mut found = BTreeMap::new();
    let root = &answer["aggregations"];
    match panel.shape {
        Shape::Over { interval, .. } => {
            let length = if interval == "hour" { 13 } else { 10 };
            for bucket in root["over"]["buckets"].as_array().unwrap() {
                let key = bucket["key_as_string"].as_str().unwrap()[..length].to_owned();
                gather(panel, &key, bucket, &mut found);
            }
        }
        Shape::Number | Shape::Table | Shape::Donut => gather(panel, "", root, &mut found),
    }
    assert!(!found.is_empty(), "{} shows nothing: the test's documents do not reach it", panel.id);
    compare_buckets(panel, &found, expected);
    for (key, bucket) in &found {
        let documents = &expected[key];
        assert_eq!(bucket["doc_count"], documents.len(), "{} {key:?}", panel.id);
        for (position, figure) in panel.figures.iter().enumerate() {
            assert_figure(*figure, &bucket[format!("figure{position}")], documents, panel.id);
        }
    }
}

/// All are shown; where there are more values than a panel shows, the largest.
fn compare_buckets(panel: &Panel, found: &BTreeMap<Bucket, Value>, expected: &BTreeMap<Bucket, Vec<&Value>>) {
    let most = panel.split.as_ref().map_or(usize::MAX, |split| split.size as usize);
    let weight = |documents: &[&Value]| {
        let numbers = |field: &'static str| documents.iter().filter_map(move |document| document[field].as_u64());
        match panel.figures[0] {
            Figure::Sum(field) => numbers(field).sum(),
            Figure::Most(field) => numbers(field).max().unwrap_or_default(),
            Figure::Least(field) => numbers(field).min().unwrap_or_default(),
            _ => documents.len() as u64,
        }
    };
    // Of each bucket by time: the weights of what is shown, and of what is left out.
    let mut weights: BTreeMap<&str, (Vec<u64>, Vec<u64>)> = BTreeMap::new();
    for (key, documents) in expected {
        let (shown, left_out) = weights.entry(&key.0).or_default();
        let place = if found.contains_key(key) { shown } else { left_out };
        place.push(weight(documents));
    }
    for (over, (shown, left_out)) in weights {
        let all = shown.len() + left_out.len();
        assert_eq!(shown.len(), all.min(most), "{} {over}: {} are left out", panel.id, left_out.len());
        assert!(left_out.iter().max() <= shown.iter().min(), "{} {over}: a larger one is left out", panel.id);
    }
    assert!(found.keys().all(|key| expected.contains_key(key)), "{}", panel.id);
}

fn gather(panel: &Panel, over: &str, level: &Value, found: &mut BTreeMap<Bucket, Value>) {
    if let Some(parts) = level["parts"]["buckets"].as_object() {
        let filled = parts.iter().filter(|(_, bucket)| bucket["doc_count"] != 0);
        found.extend(filled.map(|(name, bucket)| ((over.to_owned(), name.clone()), bucket.clone())));
        return;
    }
    if panel.split.is_none() {
        found.insert((over.to_owned(), String::new()), level.clone());
        return;
    }
    for bucket in level["split"]["buckets"].as_array().unwrap() {
        found.insert((over.to_owned(), bucket["key"].as_str().unwrap().to_owned()), bucket.clone());
    }
}

fn assert_figure(figure: Figure, answer: &Value, documents: &[&Value], panel: &str) {
    let numbers = |field: &str| {
        let mut numbers: Vec<_> = documents.iter().filter_map(|document| document[field].as_f64()).collect();
        numbers.sort_by(f64::total_cmp);
        numbers
    };
    match figure {
        Figure::Count => {}
        Figure::Sum(field) => assert_eq!(answer["value"].as_f64(), Some(numbers(field).iter().sum()), "{panel}"),
        Figure::Distinct(field) => {
            let different: BTreeSet<_> = documents.iter().flat_map(|document| values(document, field)).collect();
            assert_eq!(answer["value"], different.len(), "{panel}");
        }
        Figure::Most(field) => assert_eq!(answer["value"].as_f64(), numbers(field).last().copied(), "{panel}"),
        Figure::Least(field) => assert_eq!(answer["value"].as_f64(), numbers(field).first().copied(), "{panel}"),
        Figure::Median(field) => assert_percentile(50, answer, &numbers(field), panel),
        Figure::Percentile(field, percent) => assert_percentile(percent, answer, &numbers(field), panel),
    }
}

/// Engines interpolate between neighbours, each in its way: the answer lies between the values around the rank.
fn assert_percentile(percent: u8, answer: &Value, numbers: &[f64], panel: &str) {
    let answer = answer["values"].as_object().unwrap().values().next().unwrap().as_f64();
    let Some(last) = numbers.len().checked_sub(1) else { return assert_eq!(answer, None, "{panel}") };
    let rank = last * usize::from(percent) / 100;
    // Of many numbers engines keep a digest: one in a hundred more or less.
    let slack = numbers.len() / 100;
    let (least, most) = (numbers[rank.saturating_sub(1 + slack)], numbers[(rank + 2 + slack).min(last)]);
    let (answer, rounding) = (answer.unwrap(), 1e-9);
    let is_around = answer >= least - rounding && answer <= most + rounding;
    assert!(is_around, "{panel}: p{percent} {answer} is not between {least} and {most}");
}
