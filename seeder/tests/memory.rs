//! How much memory a probe of long threads takes. A process of its own: its allocator counts.
#![allow(clippy::unwrap_used, dead_code, reason = "a test may panic; not all of the world is needed here")]

use gharvest_model::{ItemId, Record, ledger::NumberState};
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};

#[path = "drift/world.rs"]
mod world;

use world::{PERIOD, Setting, World};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const ITEMS: u64 = 149;
/// Entries that make a thread long.
const ENTRIES: usize = 1_500;
/// What a run of the sweep takes beside records, the simulated GitHub's answers included.
const OVERHEAD: usize = 64 << 20;

/// An entry that GraphQL does not know, so that it is not counted.
fn entry(number: usize) -> Value {
    let keys: Vec<String> = (0..8).map(|key| format!("key{key}")).collect();
    let mut entry: Value = keys.iter().map(|key| (key.clone(), json!(format!("{key} of {number}")))).collect();
    entry["event"] = json!("copilot_work_started");
    entry
}

#[tokio::test]
async fn a_probe_holds_one_of_its_long_threads_at_a_time() {
    let mut world = World::mirrored(Setting { items: ITEMS, ..Setting::default() }).await;
    let numbers = world.numbers(|_, _, _| true);
    let (mut text, mut a_tree) = (0, 0);
    for number in &numbers {
        let item = ItemId { repository: world.id, number: *number };
        let mut record = world.archive.record(item).await.unwrap().unwrap();
        record.timeline.extend((0..ENTRIES).map(entry));
        world.archive.put_record(record).await.unwrap();
        let stored = world.archive.record_bytes(item).await.unwrap().unwrap();
        text += stored.len();
        let before = ALLOCATOR.current_usage();
        let tree: Record = serde_json::from_slice(&stored).unwrap();
        a_tree = ALLOCATOR.current_usage() - before;
        drop(tree);
    }
    let trees = a_tree * numbers.len();
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let begun = world.now();
    world.look(PERIOD).await;
    let taken = ALLOCATOR.peak_usage() - before;
    eprintln!("{text} bytes of text, {trees} as trees, {taken} taken at most");
    let ledger = world.archive.ledger(world.id).await.unwrap();
    let is_verified = |number: &&u64| ledger.get(**number).verified_at.is_some_and(|at| at > begun);
    assert_eq!(ledger.numbers(NumberState::Present).count(), numbers.len());
    assert!(numbers.iter().filter(is_verified).count() > numbers.len() / 2, "they were probed");
    assert!(taken < OVERHEAD, "{taken} bytes for threads of {trees}");
    assert!(trees > 3 * OVERHEAD, "all trees take {trees} bytes: then the test shows nothing");
}
