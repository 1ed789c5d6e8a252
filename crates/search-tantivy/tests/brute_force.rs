//! Random documents and queries: tantivy finds what the plain reading of the query finds, nothing else, whoever asks.
#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::{collections::BTreeSet, time::Duration};

use gharvest_model::{Kind, RepositoryId};
use gharvest_search::{
    Access, Facet, SearchIndex, SearchRequest, Start,
    document::{ItemDocument, ThreadDocuments},
    query::{ParseContext, Query, evaluate},
    sample::{at, comment, interval, item, thread},
};
use gharvest_search_tantivy::TantivyIndex;
use proptest::{prelude::*, sample::select};

const WORDS: &[&str] = &[
    "parser",
    "crash",
    "crashes",
    "FooBar",
    "foo",
    "bar",
    "foo_bar",
    "std::vec",
    "src/lib.rs",
    "out",
    "of",
    "memory",
    "#3",
    "v1.2.3",
    "検索",
    "Über",
    "it's",
    "c++",
    "--flag",
];
const NAMES: &[&str] = &["alice", "Bob", "carol", "dependabot[bot]"];
const LABELS: &[&str] = &["bug", "Bug fix", "ui", "needs info"];

fn text(most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(select(WORDS), 0..=most).prop_map(|words| words.join(" "))
}

fn some(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::sample::subsequence(names.to_vec(), 0..=names.len().min(2))
        .prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

/// A day of January 2024, at midnight or the last second.
fn time() -> impl Strategy<Value = jiff::Timestamp> {
    (1..28_u8, any::<bool>())
        .prop_map(|(day, late)| at(&format!("2024-01-{day:02}T{}Z", if late { "23:59:59" } else { "00:00:00" })))
}

type Spans = Vec<(&'static str, &'static str, jiff::Timestamp, Option<jiff::Timestamp>, Option<&'static str>)>;

fn spans() -> impl Strategy<Value = Spans> {
    let value = prop_oneof![
        select(&["open", "closed", "merged"][..]).prop_map(|value| ("state", value)),
        select(LABELS).prop_map(|value| ("label", value)),
        select(NAMES).prop_map(|value| ("assignee", value)),
        Just(("milestone", "v1")),
    ];
    let span = (value, time(), prop::option::of(time()), prop::option::of(select(LABELS)));
    let span = span.prop_map(|((dimension, value), from, to, now)| {
        (dimension, value, from, to, now.filter(|_| dimension == "label"))
    });
    prop::collection::vec(span, 0..6)
}

fn document() -> impl Strategy<Value = ThreadDocuments> {
    let texts = (text(4), text(6), prop::collection::vec(text(5), 0..3));
    let names = (some(LABELS), prop::option::of(select(NAMES)), some(NAMES), some(NAMES));
    let states = (
        select(&["open", "closed", "merged"][..]),
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
    );
    let values = (time(), time(), 0..5_u32, 0..3_u32, prop::option::of(0.0..300.0_f32));
    (1..4_u64, texts, names, states, values, spans()).prop_map(
        |(
            repository,
            (title, body, remarks),
            (labels, author, assignees, actors),
            (state, pull, private, deleted),
            values,
            spans,
        )| {
            let (created_at, updated_at, comments, reactions, first) = values;
            let mut document = item(1);
            document.repository_id = RepositoryId(repository);
            document.repository = format!("octo/Box{repository}");
            document.kind = if pull { Kind::PullRequest } else { Kind::Issue };
            document.metrics.h_first_response = first;
            let document = ItemDocument {
                title,
                body,
                labels,
                author: author.map(str::to_owned),
                assignees,
                actors,
                state: state.to_owned(),
                private,
                deleted,
                created_at,
                updated_at,
                comments,
                reactions,
                interactions: comments + reactions,
                locked: comments == 1,
                refs: vec!["octo/Box1#3".into()].into_iter().filter(|_| reactions == 1).collect(),
                ..document
            };
            let remarks = remarks.iter().map(|body| comment(&document, 0, body)).collect();
            let intervals = spans.into_iter().map(|(dimension, value, from, to, now)| {
                let mut interval = interval(&document, 0, dimension, value);
                (interval.from, interval.to, interval.value_now) = (from, to, now.map(str::to_owned));
                interval
            });
            let intervals = intervals.collect();
            thread(document, remarks, intervals, 1)
        },
    )
}

/// Numbers and keys, once the whole list is known.
fn documents() -> impl Strategy<Value = Vec<ThreadDocuments>> {
    prop::collection::vec(document(), 1..40).prop_map(|mut threads| {
        for (number, thread) in (1_u64..).zip(&mut threads) {
            let key = format!("{}:{number}", thread.item.repository_id);
            thread.item.number = number;
            for (ordinal, comment) in thread.comments.iter_mut().enumerate() {
                comment.key = format!("{key}:c{ordinal}");
                comment.number = number;
            }
            for (ordinal, interval) in thread.intervals.iter_mut().enumerate() {
                interval.key = format!("{key}:i{ordinal}");
                interval.number = number;
            }
            thread.item.key = key;
        }
        threads
    })
}

fn term() -> impl Strategy<Value = String> {
    let day = || (1..29_u8).prop_map(|day| format!("2024-01-{day:02}"));
    let sign = || select(&["", ">", ">=", "<", "<="][..]);
    prop_oneof![
        3 => select(WORDS).prop_map(str::to_owned),
        1 => text(3).prop_map(|text| format!("\"{text}\"")),
        1 => select(LABELS).prop_map(|label| format!("label:\"{label}\"")),
        1 => (select(LABELS), day()).prop_map(|(label, day)| format!("label:\"{label}\"@{day}")),
        1 => (select(&["open", "closed", "merged"][..]), day()).prop_map(|(state, day)| format!("is:{state}@{day}")),
        1 => (select(NAMES), day()).prop_map(|(name, day)| format!("assignee:{name}@{day}")),
        1 => select(LABELS).prop_map(|label| format!("was:label:\"{label}\"")),
        1 => select(&["is:open", "is:closed", "is:merged", "is:unmerged", "is:pr", "is:issue", "is:locked", "is:private", "is:public",
            "no:label", "no:assignee", "repo:octo/box1", "org:octo", "in:title", "in:comments", "first-response:*", "#3", "#7",
            "milestone:v1@2024-01-09"][..]).prop_map(str::to_owned),
        1 => (select(&["author", "assignee", "touched-by", "involves"][..]), select(NAMES)).prop_map(|(q, name)| format!("{q}:{name}")),
        1 => (sign(), 0..5_u8).prop_map(|(sign, count)| format!("comments:{sign}{count}")),
        1 => (sign(), day()).prop_map(|(sign, day)| format!("created:{sign}{day}")),
        1 => (sign(), 0..10_u8).prop_map(|(sign, days)| format!("first-response:{sign}{days}d")),
    ]
}

fn query() -> impl Strategy<Value = String> {
    let leaf = (term(), any::<bool>())
        .prop_map(|(term, not)| if not && !term.starts_with('-') { format!("-{term}") } else { term });
    leaf.prop_recursive(3, 8, 3, |inner| {
        (prop::collection::vec(inner, 1..4), any::<bool>())
            .prop_map(|(members, or)| format!("({})", members.join(if or { " OR " } else { " " })))
    })
}

fn may_see(access: &Access, item: &ItemDocument) -> bool {
    match access {
        Access::Public => !item.private,
        Access::Some { and, except } => {
            let id = &item.repository_id;
            (!item.private || and.contains(id)) && !except.contains(id)
        }
        Access::All => true,
    }
}

fn but(and: &[u64], except: &[u64]) -> Access {
    let ids = |ids: &[u64]| ids.iter().copied().map(RepositoryId).collect();
    Access::Some { and: ids(and), except: ids(except) }
}

async fn check(threads: &[ThreadDocuments], queries: &[String], access: &Access) {
    let folder = tempfile::TempDir::new().unwrap();
    let index = TantivyIndex::open(folder.path()).await.unwrap();
    index.ensure("archive").await.unwrap();
    // Two commits, and some threads written twice: several segments, with deleted documents.
    let half = threads.len() / 2;
    index.apply(threads.to_vec()).await.unwrap();
    index.commit().await.unwrap();
    index.apply(threads[half..].to_vec()).await.unwrap();
    index.commit().await.unwrap();
    let context = ParseContext { now: at("2024-06-15T12:00:00Z"), me: None };
    for text in queries {
        let query = Query::parse(text, &context).query;
        let matching =
            threads.iter().filter(|thread| may_see(access, &thread.item) && evaluate::matches(query.node(), thread));
        let expected: BTreeSet<_> = matching.map(|thread| thread.item.number).collect();
        let request = SearchRequest {
            query: query.clone(),
            access: access.clone(),
            per_page: 100,
            start: Start::Page(1),
            facets: vec![Facet::Label],
            snippets: true,
            timeout: Duration::from_secs(60),
        };
        let reply = index.search(&request).await.unwrap();
        let found: BTreeSet<_> = reply.hits.iter().map(|hit| hit.item.number).collect();
        assert_eq!(found, expected, "`{text}` as {access:?}: {:?}", query.node());
        assert_eq!(reply.total, expected.len() as u64, "`{text}`");
        let labels: usize = reply.hits.iter().map(|hit| hit.item.labels.len()).sum();
        assert_eq!(reply.facets[0].values.iter().map(|value| value.count).sum::<u64>(), labels as u64, "`{text}`");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn tantivy_finds_what_the_query_says(
        threads in documents(),
        queries in prop::collection::vec(query(), 40),
        access in prop_oneof![Just(Access::All), Just(Access::Public), Just(but(&[2], &[])), Just(but(&[2], &[1]))],
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(check(&threads, &queries, &access));
    }
}
