//! The ledger that is kept in memory answers as the stored one, whoever wrote it.

use std::{sync::Arc, time::Duration};

use gharvest_archive::{
    Archive, LedgerChange, Options,
    store::{Store, folder::FolderStore, object::BucketStore},
};
use gharvest_model::{
    RepositoryId,
    ledger::{Ledger, NumberState},
};
use jiff::Timestamp;
use object_store::memory::InMemory;
use proptest::prelude::*;

const ID: RepositoryId = RepositoryId(7);
/// So many changes fill a journal in a folder, which is then folded.
const FOLDED: u64 = 7300;

#[derive(Debug, Clone)]
enum Step {
    Update { writer: usize, changes: Vec<(u64, usize, i64)> },
    Confirm { writer: usize, changes: Vec<(u64, usize, i64)> },
    Reach { writer: usize, highest: u64 },
    Fold { writer: usize, second: i64 },
    Purge { writer: usize },
    Read { reader: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (1u64..200, 0usize..7, 0i64..4_000_000_000);
    let step = prop_oneof![
        8 => (0usize..2, prop::collection::vec(change.clone(), 1..5))
            .prop_map(|(writer, changes)| Step::Update { writer, changes }),
        4 => (0usize..2, prop::collection::vec(change, 1..50))
            .prop_map(|(writer, changes)| Step::Confirm { writer, changes }),
        2 => (0usize..2, 1u64..300).prop_map(|(writer, highest)| Step::Reach { writer, highest }),
        2 => (0usize..2, 0i64..4_000_000_000).prop_map(|(writer, second)| Step::Fold { writer, second }),
        1 => (0usize..2).prop_map(|writer| Step::Purge { writer }),
        4 => (0usize..2).prop_map(|reader| Step::Read { reader }),
    ];
    prop::collection::vec(step, 1..25)
}

fn change(number: u64, state: usize, second: i64) -> LedgerChange {
    LedgerChange { number, state: NumberState::ALL[state], verified_at: Timestamp::from_second(second).unwrap() }
}

/// Runs the steps on two archives that share a store; `open` makes one more.
async fn run(steps: Vec<Step>, store: impl Fn() -> Arc<dyn Store>) {
    let open = async || Archive::with_store(store(), &Options::default()).await.unwrap();
    let archives = [open().await, open().await];
    let mut model = Ledger::default();
    for step in steps {
        match step {
            Step::Update { writer, changes } => {
                let changes: Vec<_> =
                    changes.into_iter().map(|(number, state, at)| change(number, state, at)).collect();
                archives[writer].update_ledger(ID, &changes).await.unwrap();
                for change in &changes {
                    model.set(change.number, change.state, change.verified_at);
                }
            }
            Step::Confirm { writer, changes } => {
                let changes: Vec<_> =
                    changes.into_iter().map(|(number, state, at)| change(number, state, at)).collect();
                archives[writer].confirm_ledger(ID, &changes).await.unwrap();
                for seen in &changes {
                    let known = model.get(seen.number);
                    let is_there = seen.number <= model.highest() && known.state == seen.state;
                    if is_there && known.verified_at < Some(seen.verified_at) {
                        model.set(seen.number, seen.state, seen.verified_at);
                    }
                }
            }
            Step::Reach { writer, highest } => {
                archives[writer].reach(ID, highest).await.unwrap();
                model.reach(highest);
            }
            Step::Fold { writer, second } => {
                let changes: Vec<_> = (1..=FOLDED).map(|at| change(at % 50 + 1, at as usize % 7, second)).collect();
                archives[writer].update_ledger(ID, &changes).await.unwrap();
                for change in &changes {
                    model.set(change.number, change.state, change.verified_at);
                }
            }
            Step::Purge { writer } => {
                archives[writer].purge_repository(ID).await.unwrap();
                archives[writer].remember(ID).await.unwrap();
                model = Ledger::default();
            }
            Step::Read { reader } => assert_eq!(*archives[reader].ledger(ID).await.unwrap(), model),
        }
    }
    for archive in archives.iter().chain([&open().await]) {
        assert_eq!(*archive.ledger(ID).await.unwrap(), model);
    }
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn two_archives_in_one_folder_read_what_either_wrote(steps in steps()) {
        block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let store = FolderStore::open(folder.path(), Duration::from_secs(60)).await.unwrap();
            run(steps, || Arc::new(store.clone())).await;
        });
    }

    #[test]
    fn two_archives_in_one_bucket_read_what_either_wrote(steps in steps()) {
        let objects = Arc::new(InMemory::new());
        block_on(run(steps, || Arc::new(BucketStore::new(objects.clone(), "some/prefix"))));
    }
}

#[tokio::test]
async fn a_reader_keeps_its_ledger_while_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(&format!("file:{}", folder.path().display()), &Options::default()).await.unwrap();
    archive.update_ledger(ID, &[change(1, 1, 100)]).await.unwrap();
    let before = archive.ledger(ID).await.unwrap();
    archive.update_ledger(ID, &[change(1, 2, 200)]).await.unwrap();
    let after = archive.ledger(ID).await.unwrap();
    assert_eq!((before.get(1).state, after.get(1).state), (NumberState::Present, NumberState::Deleted));
    assert!(Arc::ptr_eq(&after, &archive.ledger(ID).await.unwrap()), "unchanged, it is not even copied");
}

#[tokio::test]
async fn more_ledgers_than_fit_in_memory_are_read_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(&format!("file:{}", folder.path().display()), &Options::default()).await.unwrap();
    for repository in 1..=5 {
        archive.reach(RepositoryId(repository), 1_500_000 + repository).await.unwrap();
    }
    for repository in (1..=5).chain(1..=5) {
        assert_eq!(archive.ledger(RepositoryId(repository)).await.unwrap().highest(), 1_500_000 + repository);
    }
    let first = archive.ledger(RepositoryId(5)).await.unwrap();
    assert!(Arc::ptr_eq(&first, &archive.ledger(RepositoryId(5)).await.unwrap()));
    drop(archive.ledger(RepositoryId(1)).await.unwrap());
    drop(archive.ledger(RepositoryId(2)).await.unwrap());
    assert!(!Arc::ptr_eq(&first, &archive.ledger(RepositoryId(5)).await.unwrap()), "it was forgotten meanwhile");
}

#[tokio::test]
async fn an_older_look_changes_nothing_that_is_another_by_now() {
    let store = Arc::new(InMemory::new());
    let open = async || {
        let store = Arc::new(BucketStore::new(Arc::clone(&store) as _, "some/prefix"));
        Archive::with_store(store, &Options::default()).await.unwrap()
    };
    let (sweeping, downloading) = (open().await, open().await);
    let (present, deleted) = (NumberState::Present as usize, NumberState::Deleted as usize);
    downloading.update_ledger(ID, &[change(1, present, 10), change(2, present, 10)]).await.unwrap();
    // A glimpse of both is on its way while one is deleted, and one is verified by somebody else.
    downloading.update_ledger(ID, &[change(1, deleted, 21), change(2, present, 22)]).await.unwrap();
    sweeping.confirm_ledger(ID, &[change(1, present, 20), change(2, present, 20), change(9, 0, 20)]).await.unwrap();
    for archive in [&sweeping, &downloading, &open().await] {
        let ledger = archive.ledger(ID).await.unwrap();
        let entry = |number| (ledger.get(number).state as usize, ledger.get(number).verified_at.unwrap().as_second());
        assert_eq!((entry(1), entry(2), ledger.highest()), ((deleted, 21), (present, 22), 2));
    }
    sweeping.confirm_ledger(ID, &[change(2, present, 30)]).await.unwrap();
    let ledger = downloading.ledger(ID).await.unwrap();
    assert_eq!(ledger.get(2).verified_at.unwrap().as_second(), 30);
}
