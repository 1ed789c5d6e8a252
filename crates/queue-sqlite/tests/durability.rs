//! What SQLite adds to the contract: a killed process, reopening, and two openings of one file.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use gharvest_queue::{
    ErrorKind, Job, LeaseRequest, Outcome, Policy, Queue, QueueAdmin, Settled, Settlement, Timing, Trigger,
};
use gharvest_queue_sqlite::SqliteQueue;

const QUEUE: QueueName = QueueName::Download;

fn trigger(number: u64) -> Trigger {
    Trigger {
        queue: QUEUE,
        subject: Subject::item(RepositoryId(1), number),
        lane: Lane::Webhook,
        timing: Timing::Now,
        reason: "test".to_owned(),
    }
}

fn request(max: usize) -> LeaseRequest {
    LeaseRequest { queue: QUEUE, max, hold: Duration::from_secs(60), repository: None, request: String::new() }
}

/// Not a test of its own: the process that `no_accepted_trigger_is_lost_by_a_kill` kills. It says each number once the
/// queue has accepted it.
#[tokio::test]
async fn the_process_to_be_killed() {
    let Some(path) = std::env::var_os("GHARVEST_TEST_PUSH_FOR_EVER") else { return };
    let queue = SqliteQueue::open(Path::new(&path), Policy::default()).await.expect("opening");
    let mut accepted = queue.counts(QUEUE).await.expect("counts").totals.new;
    loop {
        accepted += 1;
        queue.push(&[trigger(accepted)], None).await.expect("push");
        eprintln!("accepted {accepted}");
    }
}

#[tokio::test]
async fn no_accepted_trigger_is_lost_by_a_kill() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("queue.sqlite");
    let mut said = 0;
    for lines in [1, 7, 50, 200, 333] {
        let mut child = Command::new(std::env::current_exe().expect("this test's program"))
            .args(["--exact", "the_process_to_be_killed", "--nocapture"])
            .env("GHARVEST_TEST_PUSH_FOR_EVER", &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting");
        let output = BufReader::new(child.stderr.take().expect("piped"));
        let accepted = output.lines().filter_map(|line| line.ok()?.strip_prefix("accepted ")?.parse::<u64>().ok());
        said = accepted.take(lines).last().expect("it accepts triggers");
        child.kill().expect("killing");
        child.wait().expect("waiting for the end");
        let queue = SqliteQueue::open(&path, Policy::default()).await.expect("reopening");
        for number in 1..=said {
            let job = queue.job(QUEUE, &Subject::item(RepositoryId(1), number)).await.expect("job");
            assert!(job.is_some(), "{number} was accepted, and is not there");
        }
        assert_eq!(queue.verify().await.expect("verify"), Vec::<String>::new());
    }
    assert!(said >= 591, "{said}");
}

#[tokio::test]
async fn a_reopened_queue_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("queue.sqlite");
    let first = SqliteQueue::open(&path, Policy::default()).await.expect("opening");
    first.push(&[trigger(1), trigger(2)], Some("guid")).await.expect("push");
    let lease = first.lease(&request(1)).await.expect("lease").lease.expect("a lease");
    drop(first);
    let second = SqliteQueue::open(&path, Policy::default()).await.expect("reopening");
    let counts = second.counts(QUEUE).await.expect("counts");
    assert_eq!((counts.leased, counts.ready[0]), (1, 1));
    let next = second.lease(&request(1)).await.expect("lease").lease.expect("a lease");
    assert!(next.token > lease.token);
}

/// A second opening has connections and a writer of its own, as another process would.
#[tokio::test]
async fn two_openings_of_one_file_share_the_work() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("queue.sqlite");
    let here = SqliteQueue::open(&path, Policy::default()).await.expect("opening");
    let there = SqliteQueue::open(&path, Policy::default()).await.expect("opening again");
    let waiting = tokio::time::timeout(Duration::from_secs(5), here.wait(QUEUE, None));
    let pushing = async { there.push(&[trigger(1)], None).await.expect("push") };
    let (woken, _) = tokio::join!(waiting, pushing);
    woken.expect("woken before the fallback").expect("wait");
    there.push_range(QUEUE, RepositoryId(2), 1..=100, Lane::Backfill).await.expect("push");
    let take = async |queue: &SqliteQueue| {
        let mut taken = 0;
        while let Some(lease) = queue.lease(&request(3)).await.expect("lease").lease {
            taken += lease.jobs.len();
        }
        taken
    };
    let (a, b) = tokio::join!(take(&here), take(&there));
    assert_eq!(a + b, 101);
    assert_eq!(here.verify().await.expect("verify"), Vec::<String>::new());
}

#[tokio::test]
async fn files_that_are_no_queue_are_refused_with_a_sentence() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("queue.sqlite");
    drop(SqliteQueue::open(&path, Policy::default()).await.expect("opening"));
    let newer = rusqlite::Connection::open(&path).expect("opening the file");
    newer.pragma_update(None, "user_version", 99).expect("updating");
    let error = SqliteQueue::open(&path, Policy::default()).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("newer version"), "{error}");
    let damaged = folder.path().join("damaged.sqlite");
    std::fs::write(&damaged, "no database, but a text that is long enough ".repeat(200)).expect("writing");
    let error = SqliteQueue::open(&damaged, Policy::default()).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let causes = format!("{error}: {:?}", std::error::Error::source(&error));
    assert!(causes.contains("restore it, or move it away and seed anew"), "{causes}");
    let policy = Policy { max_delay: Duration::ZERO, ..Policy::default() };
    let error = SqliteQueue::open(&path, policy).await.expect_err("refused");
    assert!(error.to_string().contains("max_delay"), "{error}");
}

/// Not a test of its own: one of the two processes of `two_processes_share_one_file`. It finishes jobs until there are
/// none, and says each.
#[tokio::test]
async fn the_process_that_works() {
    let Some(path) = std::env::var_os("GHARVEST_TEST_WORK_OFF") else { return };
    let queue = SqliteQueue::open(Path::new(&path), Policy::default()).await.expect("opening");
    while let Some(lease) = queue.lease(&request(3)).await.expect("lease").lease {
        let settlement =
            |job: &Job| Settlement { subject: job.subject.clone(), outcome: Outcome::Finish, follow_up: None };
        let settlements: Vec<_> = lease.jobs.iter().map(settlement).collect();
        let settled = queue.settle(QUEUE, lease.token, &settlements).await.expect("settle");
        assert!(settled.iter().all(|settled| *settled == Settled::Finished), "{settled:?}");
        for job in lease.jobs {
            eprintln!("finished {}", job.subject);
        }
    }
}

#[tokio::test]
async fn two_processes_share_one_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("queue.sqlite");
    let queue = SqliteQueue::open(&path, Policy::default()).await.expect("opening");
    queue.push_range(QUEUE, RepositoryId(1), 1..=300, Lane::Backfill).await.expect("push");
    let start = || {
        let mut command = Command::new(std::env::current_exe().expect("this test's program"));
        command.args(["--exact", "the_process_that_works", "--nocapture"]).env("GHARVEST_TEST_WORK_OFF", &path);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starting")
    };
    let processes = [start(), start()];
    let mut finished = Vec::new();
    for process in processes {
        let output = process.wait_with_output().expect("waiting for the end");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        finished.extend(said.lines().filter_map(|line| line.strip_prefix("finished ").map(str::to_owned)));
    }
    let different: std::collections::BTreeSet<_> = finished.iter().collect();
    assert_eq!((finished.len(), different.len()), (300, 300));
    assert_eq!(queue.counts(QUEUE).await.expect("counts").totals.finished, 300);
    assert_eq!(queue.verify().await.expect("verify"), Vec::<String>::new());
}
