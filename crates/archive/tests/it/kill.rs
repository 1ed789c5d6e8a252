//! Processes that are killed at any moment, and processes that race: what was answered is kept, and nothing is half.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use gharvest_archive::{Archive, Options, Written};
use gharvest_model::{Record, Revision, ledger::NumberState};
use serde_json::json;

use crate::place::{ID, item, present, record};

/// Names the folder to the child, which is this test binary again.
const FOLDER: &str = "GHARVEST_TEST_ARCHIVE_FOLDER";
/// How many times a process is killed.
const KILLS: usize = 12;
const RECORDS: u64 = 5;
/// How many changes each of two racing processes makes.
const CHANGES: u64 = 60;

fn child(test: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([&format!("kill::{test}"), "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// The archive that a child was told; none if this is no child.
async fn open_child() -> Option<Archive> {
    let folder = std::env::var_os(FOLDER)?;
    Some(open(Path::new(&folder), Duration::from_secs(3600)).await)
}

async fn open(folder: &Path, stale_after: Duration) -> Archive {
    let options = Options { stale_after, ..Options::default() };
    Archive::open(&format!("file:{}", folder.display()), &options).await.unwrap()
}

/// Counts one up in a record, from the revision that was read; says what became of it.
async fn count_up(archive: &Archive, number: u64) -> Written {
    let mut changed = archive.record(item(number)).await.unwrap().unwrap_or_else(|| record(number, ""));
    let next = changed.revision.0 + 1;
    // Large enough to be written in several pieces.
    changed.issue = Some(json!({"number": number, "count": next, "body": "x".repeat(40_000), "again": next}));
    archive.put_record(changed).await.unwrap()
}

fn count_of(record: &Record) -> u64 {
    let issue = record.issue.as_ref().unwrap();
    assert_eq!((issue["count"].clone(), issue["body"].as_str().unwrap().len()), (issue["again"].clone(), 40_000));
    issue["count"].as_u64().unwrap()
}

fn say(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "done {line}").unwrap();
    out.flush().unwrap();
}

/// What a child said: which number got which revision.
fn said(line: &str) -> Option<(u64, u32)> {
    let (number, revision) = line.split("done ").nth(1)?.split_once(' ')?;
    Some((number.parse().ok()?, revision.parse().ok()?))
}

#[tokio::test]
#[ignore = "a process of its own, run by the tests beside it"]
async fn write_until_killed() {
    let Some(archive) = open_child().await else { return };
    loop {
        for number in 1..=RECORDS {
            if let Written::Stored(revision) = count_up(&archive, number).await {
                archive.update_ledger(ID, &[present(number)]).await.unwrap();
                archive.reach(ID, u64::from(revision.0)).await.unwrap();
                say(format_args!("{number} {revision}"));
            }
        }
    }
}

#[tokio::test]
#[ignore = "a process of its own, run by the tests beside it"]
async fn write_and_race() {
    let Some(archive) = open_child().await else { return };
    let mut made = 0;
    while made < CHANGES {
        let number = made % RECORDS + 1;
        if let Written::Stored(revision) = count_up(&archive, number).await {
            archive.update_ledger(ID, &[present(100 * number + u64::from(revision.0))]).await.unwrap();
            say(format_args!("{number} {revision}"));
            made += 1;
        }
    }
}

#[tokio::test]
async fn a_process_killed_at_any_moment_leaves_no_half_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<u64, u32> = BTreeMap::new();
    let mut staged = 0;
    for kill in 0..KILLS {
        let mut writer = child("write_until_killed", folder.path());
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        // The first gets through all records once.
        let mut left = if kill == 0 { 12 } else { fastrand::usize(..12) };
        // Some are killed before they have done anything.
        while kill % 4 != 3 && left > 0 {
            acknowledged.extend(said(&lines.next().unwrap().unwrap()).inspect(|_| left -= 1));
        }
        std::thread::sleep(Duration::from_micros(fastrand::u64(..8000)));
        writer.kill().unwrap();
        writer.wait().unwrap();
        acknowledged.extend(lines.filter_map(|line| said(&line.unwrap())));
        staged += staged_files(folder.path());

        let archive = open(folder.path(), Duration::ZERO).await;
        assert_eq!(staged_files(folder.path()), 0, "what was staged is swept");
        let ledger = archive.ledger(ID).await.unwrap();
        for (number, revision) in &acknowledged {
            let stored = archive.record(item(*number)).await.unwrap().unwrap();
            assert!(stored.revision.0 >= *revision, "kill {kill}: {number} fell back from {revision}");
            assert_eq!(count_of(&stored), u64::from(stored.revision.0));
            assert_eq!(ledger.get(*number).state, NumberState::Present);
            assert!(ledger.highest() >= u64::from(*revision));
            let late = Record { revision: Revision(stored.revision.0 - 1), ..record(*number, "late") };
            assert_eq!(archive.put_record(late).await.unwrap(), Written::Conflict(stored.revision));
        }
    }
    assert!(acknowledged.len() as u64 == RECORDS, "some work was done: {acknowledged:?}");
    eprintln!("{KILLS} kills, {staged} staged files left behind and swept, revisions {acknowledged:?}");
}

fn staged_files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder.join("staging")) else { return 0 };
    entries.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_file()).count()
}

#[tokio::test]
async fn two_processes_on_the_same_records_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let writers = [child("write_and_race", folder.path()), child("write_and_race", folder.path())];
    let mut made = Vec::new();
    for mut writer in writers {
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        made.extend(lines.filter_map(|line| said(&line.unwrap())));
        assert!(writer.wait().unwrap().success());
    }
    assert_eq!(made.len() as u64, 2 * CHANGES);
    made.sort_unstable();
    let archive = open(folder.path(), Duration::ZERO).await;
    let ledger = archive.ledger(ID).await.unwrap();
    for number in 1..=RECORDS {
        let revisions: Vec<u32> = made.iter().filter(|(at, _)| *at == number).map(|(_, revision)| *revision).collect();
        let stored = archive.record(item(number)).await.unwrap().unwrap();
        assert_eq!(revisions, (1..=stored.revision.0).collect::<Vec<_>>(), "each revision was made once");
        assert_eq!(count_of(&stored), u64::from(stored.revision.0));
        assert!(revisions.iter().all(|at| ledger.get(100 * number + u64::from(*at)).state == NumberState::Present));
    }
}
