//! What cannot be brought about from outside: a disk that is full, an operation that fails beside others.

use std::{sync::mpsc, time::Duration};

use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use gharvest_queue::{Clock, ErrorKind, Filter, Policy, Pushed, Queue, QueueAdmin, Scope, Timing, Trigger, check};

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

#[tokio::test]
async fn a_file_of_version_1_goes_on_without_its_indices_of_leases() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.sqlite");
    let connection = schema::open_writer(&path).unwrap();
    connection
        .execute_batch(
            "CREATE INDEX lease_end ON lease (queue, expires_at, token);
             CREATE INDEX lease_request ON lease (queue, request);
             PRAGMA user_version = 1;",
        )
        .unwrap();
    drop(connection);
    let queue = SqliteQueue::open(&path, Policy::default()).await.unwrap();
    queue.push_range(QueueName::Download, RepositoryId(1), 1..=3, Lane::Backfill).await.unwrap();
    drop(queue);
    let connection = schema::open_reader(&path).unwrap();
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'lease_%'"), 0);
    assert_eq!(number("PRAGMA user_version"), schema::VERSION);
    assert_eq!(number("SELECT count(*) FROM job"), 3);
}

#[tokio::test]
async fn pauses_that_have_ended_do_not_pile_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.sqlite");
    let queue = SqliteQueue::open(&path, Policy::default()).await.unwrap();
    let ended = queue.now().await.unwrap() - Duration::from_secs(1);
    for repository in 1..=20 {
        let scope = Scope::Repository(QueueName::Download, RepositoryId(repository));
        queue.pause(&scope, ended, "a test").await.unwrap();
    }
    let connection = schema::open_reader(&path).unwrap();
    let pauses: i64 = connection.query_row("SELECT count(*) FROM pause", [], |row| row.get(0)).unwrap();
    assert_eq!(pauses, 1);
}

fn trigger(number: u64) -> Trigger {
    Trigger {
        queue: QueueName::Download,
        subject: Subject::item(RepositoryId(1), number),
        lane: Lane::Webhook,
        timing: Timing::Settled,
        reason: "issues".to_owned(),
    }
}

#[tokio::test]
async fn an_operation_that_fails_leaves_no_trace_and_those_beside_it_stand() {
    let folder = tempfile::tempdir().unwrap();
    let queue = SqliteQueue::open(&folder.path().join("queue.sqlite"), Policy::default()).await.unwrap();
    let (go, wait) = mpsc::channel();
    // Holds the thread until the others wait together.
    let holding = queue.writer.run("hold", move |_| {
        // Once more at once, should the whole group be done again.
        wait.recv().unwrap_or_default();
        Ok(())
    });
    let (one, two, three) = ([trigger(1)], [trigger(2)], [trigger(3)]);
    let before = queue.push(&one, Some("d-1"));
    let failing = queue.writer.run("fail", move |unit| {
        let keys = check::triggers(&two, None).expect("its subject is fine");
        unit.push(&two, &keys, Some("d-2"))?;
        Err::<(), _>(rusqlite::Error::InvalidQuery)
    });
    let after = queue.push(&three, Some("d-3"));
    let release = async move { go.send(()) };
    let (held, before, failed, after, released) = tokio::join!(holding, before, failing, after, release);
    assert!(held.is_ok() && failed.is_err() && released.is_ok());
    assert_eq!((before.unwrap(), after.unwrap()), (vec![Pushed::New], vec![Pushed::New]));
    let jobs = queue.list(QueueName::Download, &Filter::default(), None, 9).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.subject.to_string()).collect::<Vec<_>>(), ["1#1", "1#3"]);
    assert_eq!(queue.verify().await.unwrap(), Vec::<String>::new());
    // What failed was not remembered as delivered, what stands was.
    assert_eq!(queue.push(&[trigger(2)], Some("d-2")).await.unwrap(), [Pushed::New]);
    assert_eq!(queue.push(&[trigger(3)], Some("d-3")).await.unwrap(), [Pushed::Duplicate]);
}
