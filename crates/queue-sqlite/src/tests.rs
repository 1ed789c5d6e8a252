//! What cannot be brought about from outside: a disk that is full.

use gharvest_model::{Lane, QueueName, RepositoryId};
use gharvest_queue::{Clock, ErrorKind, Filter, Policy, Queue, QueueAdmin};

use crate::{SqliteQueue, schema};

#[tokio::test]
async fn a_full_disk_refuses_whole_pushes_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.sqlite");
    let connection = schema::open_writer(&path).unwrap();
    // SQLite's own limit on the file gives the error that a full disk gives.
    connection.pragma_update(None, "max_page_count", 60).unwrap();
    let queue = SqliteQueue::start(connection, path.clone(), Policy::default(), Clock::System).unwrap();
    let mut pushed = 0;
    let error = loop {
        let numbers = pushed + 1..=pushed + 100;
        match queue.push_range(QueueName::Download, RepositoryId(1), numbers, Lane::Backfill).await {
            Ok(range) => pushed += range.new,
            Err(error) => break error,
        }
    };
    assert!(pushed > 0);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_eq!(queue.counts(QueueName::Download).await.unwrap().outstanding(), pushed);
    assert_eq!(queue.verify().await.unwrap(), Vec::<String>::new());
    // With room again it goes on.
    drop(queue);
    let queue = SqliteQueue::open(&path, Policy::default()).await.unwrap();
    let numbers = pushed + 1..=pushed + 100;
    queue.push_range(QueueName::Download, RepositoryId(1), numbers, Lane::Backfill).await.unwrap();
    let all = queue.list(QueueName::Download, &Filter::default(), None, usize::MAX).await.unwrap();
    assert_eq!(all.len() as u64, pushed + 100);
}
