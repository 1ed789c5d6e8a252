//! How much memory a long thread takes while its documents are made. A process of its own: its allocator counts.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use gharvest_model::{
    Kind, Record, RepositoryId,
    record::{RecordRepository, RecordText},
};
use gharvest_search::render::{self, RenderContext};
use jiff::Timestamp;
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What rendering takes beside text and documents, whatever the thread is like: expressions that are made at first use,
/// one entry's tree, the item.
const OVERHEAD: usize = 2 << 20;

/// Somebody as GitHub writes them out, twice in each entry.
fn user(login: &str) -> Value {
    let address = |part: &str| format!("https://api.github.com/users/{login}/{part}");
    let parts = ["followers", "following", "gists", "starred", "subscriptions", "orgs", "repos", "events"];
    let mut user: Value = parts.iter().map(|part| ((*part).to_owned(), Value::from(address(part)))).collect();
    user["login"] = login.into();
    user
}

fn comment(number: usize) -> Value {
    let who = user(&format!("somebody{}", number % 50));
    json!({
        "event": "commented", "id": number, "actor": who, "user": who, "created_at": "2026-01-01T00:00:00Z",
        "body": format!("Number {number} says that it fails in the same way. {}", "word ".repeat(20)),
    })
}

fn text_of_a_long_thread(comments: usize) -> String {
    let repository = RecordRepository { id: RepositoryId(7), full_name: "a/b".parse().unwrap() };
    let mut record = Record::new(repository, 3, Kind::Issue, Timestamp::UNIX_EPOCH);
    record.issue = Some(json!({"title": "It fails", "body": "Always.", "state": "open"}));
    record.timeline = (0..comments).map(comment).collect();
    serde_json::to_string(&record).unwrap()
}

#[test]
fn a_long_thread_takes_little_more_memory_than_its_documents() {
    let text = text_of_a_long_thread(4_000);
    let context = RenderContext {
        repository: "a/b".to_owned(),
        archived: false,
        label_renames: Default::default(),
        rendered_at: Timestamp::UNIX_EPOCH,
    };
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let record: RecordText<'_> = serde_json::from_str(&text).unwrap();
    let documents = render::thread_of_text(&record, &context).unwrap();
    let taken = ALLOCATOR.peak_usage() - before;
    let kept = ALLOCATOR.current_usage() - before;
    assert_eq!(documents.comments.len(), 4_000);
    eprintln!("{} bytes of text, {kept} kept as documents, {taken} taken at most", text.len());
    assert!(taken < kept + kept / 2 + OVERHEAD, "{taken} bytes for {kept} of documents");
    assert!(taken < 2 * text.len(), "{taken} bytes for {} of text", text.len());
    let tree: Record = serde_json::from_str(&text).unwrap();
    let tree_takes = ALLOCATOR.current_usage() - before - kept;
    assert!(tree_takes > 2 * taken, "a tree takes {tree_takes} bytes: then the test shows nothing");
    assert_eq!(render::thread(&tree, &context), documents);
}
