//! Records and ledgers on disk, over bare files with the same bytes.
//!
//! A write by ours reads what is stored, compares revision and content, takes a lock, stages, syncs, renames and syncs
//! the folder; the bare write of a new record does the last four. That of a changed one does them over the file that is
//! there, which frees the old one's blocks, and reads and parses that first: a record is replaced only by a newer one
//! that differs, and nobody can tell either without reading. A scan by ours lists, sorts, reads and parses; the bare
//! scan reads (and decompresses, and parses, where ours does) files whose names it knows.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use gharvest_archive::{Archive, LedgerChange, Options, Written};
use gharvest_github_simulator::{Simulator, Truth, World};
use gharvest_model::{
    ItemId, Kind, Record, RepositoryId, RepositoryName, Revision, ledger::NumberState, record::RecordRepository,
};
use jiff::Timestamp;

use crate::{
    measure::{Scale, in_turns, rate, timed},
    memory,
    table::Row,
};

const REPOSITORY: RepositoryId = RepositoryId(1);
/// Tasks that write at once, as downloaders do.
const WRITERS: usize = 8;

/// Writes, scans and looks up.
pub async fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let records = generated(scale.pick(100, 1_000, 5_000))?;
    let mut rows = writes(scale, &records).await?;
    for compress in [false, true] {
        rows.extend(scans(scale, &records, compress).await?);
    }
    rows.extend(ledger(scale).await?);
    Ok(rows)
}

/// Records of threads as the simulated GitHub shows them.
pub(crate) fn generated(count: u64) -> Result<Vec<Record>> {
    let name: RepositoryName = "octo/box".parse()?;
    let world = World::generated(7, name.clone(), count + count / 4 + 10);
    let simulator = Simulator::start(world, gharvest_github_simulator::Options::unlimited())?;
    let control = simulator.control();
    let numbers = control.truth_numbers(&name).into_iter();
    let records: Vec<_> = numbers
        .filter_map(|number| record(&name, number, control.truth(&name, number)?))
        .take(count as usize)
        .collect();
    ensure!(records.len() == count as usize, "the simulated GitHub shows {} items only", records.len());
    Ok(records)
}

fn record(name: &RepositoryName, number: u64, truth: Truth) -> Option<Record> {
    let Truth::Present { issue, timeline, pull, review_comments } = truth else { return None };
    let kind = if pull.is_some() { Kind::PullRequest } else { Kind::Issue };
    let repository = RecordRepository { id: REPOSITORY, full_name: name.clone() };
    let mut record = Record::new(repository, number, kind, Timestamp::now());
    (record.issue, record.timeline) = (Some(issue), timeline);
    (record.pull, record.review_comments) = (pull, review_comments);
    Some(record)
}

async fn open(folder: &Path, compress: bool) -> Result<Archive> {
    let options = Options { compress, ..Options::default() };
    Ok(Archive::open(&format!("file:{}", folder.display()), &options).await?)
}

async fn put_all(archive: &Archive, records: Vec<Record>, at_once: usize) -> Result<()> {
    let puts = stream::iter(records).map(|record| async move {
        let written = archive.put_record(record).await?;
        ensure!(matches!(written, Written::Stored(_)), "a record was not stored: {written:?}");
        Ok(())
    });
    puts.buffer_unordered(at_once).try_collect().await
}

async fn writes(scale: &Scale, records: &[Record]) -> Result<Vec<Row>> {
    let count = records.len() as u64;
    let bodies: Vec<_> = records.iter().map(serde_json::to_vec).collect::<serde_json::Result<_>>()?;
    let bytes = bodies.iter().map(Vec::len).sum::<usize>() as f64 / count as f64;
    let mut rows = vec![Row::new("a record's mean size", bytes, "bytes")];
    let rounds = scale.of(1, 3, 3);
    for at_once in [1, WRITERS] {
        let ours = async || {
            let folder = tempfile::tempdir()?;
            let (archive, records) = (open(folder.path(), false).await?, records.to_vec());
            Ok(timed(put_all(&archive, records, at_once)).await?.1)
        };
        let bare = async || {
            let folder = bare_folder()?;
            tokio::task::block_in_place(|| bare_writes(folder.path(), &bodies, at_once, Over::Nothing))
        };
        let (ours, bare) = in_turns(rounds, ours, bare).await?;
        rows.push(
            Row::new(format!("new records, {at_once} at once"), rate(count, ours), "records/s")
                .over("bare stage, sync, rename, sync the folder", rate(count, bare))
                .at_least(0.6),
        );
    }
    let folder = tempfile::tempdir()?;
    let archive = open(folder.path(), false).await?;
    put_all(&archive, records.to_vec(), WRITERS).await?;
    let mut revision = Revision::NONE;
    let changed = async || {
        revision = revision.next();
        let changed: Vec<_> = records.iter().map(|record| change(record, revision)).collect();
        Ok(timed(put_all(&archive, changed, WRITERS)).await?.1)
    };
    let replaced = bare_folder()?;
    bare_writes(replaced.path(), &bodies, WRITERS, Over::Nothing)?;
    let bare =
        async || tokio::task::block_in_place(|| bare_writes(replaced.path(), &bodies, WRITERS, Over::ReadAndParsed));
    let (changed, bare) = in_turns(rounds, changed, bare).await?;
    rows.push(
        Row::new(format!("changed records, {WRITERS} at once"), rate(count, changed), "records/s")
            .over("bare read and parse, stage, sync, rename over it, sync the folder", rate(count, bare))
            .at_least(0.5),
    );
    let same = records.iter().map(|record| Record { revision: revision.next(), ..change(record, revision) });
    let same: Vec<_> = same.collect();
    rows.push(unchanged(&archive, &same, rounds, folder.path()).await?);
    Ok(rows)
}

/// The record with another title, to be stored over `revision`.
fn change(record: &Record, revision: Revision) -> Record {
    let mut record = record.clone();
    if let Some(issue) = &mut record.issue {
        issue["title"] = format!("Title {revision:?}").into();
    }
    record.revision = revision;
    record
}

/// What comes again as it is stored is read, parsed and compared, and not written.
async fn unchanged(archive: &Archive, records: &[Record], rounds: usize, folder: &Path) -> Result<Row> {
    let ours = async || {
        let again = records.to_vec();
        let begun = Instant::now();
        for record in again {
            let written = archive.put_record(record).await?;
            ensure!(matches!(written, Written::Unchanged(_)), "an unchanged record was stored: {written:?}");
        }
        Ok(begun.elapsed())
    };
    let paths = paths(folder, records, false);
    let bare = async || tokio::task::block_in_place(|| bare_scan(&paths, true));
    let (ours, bare) = in_turns(rounds, ours, bare).await?;
    let count = records.len() as u64;
    Ok(Row::new("unchanged records, 1 at once", rate(count, ours), "records/s")
        .over("bare read and parse", rate(count, bare))
        .at_least(0.4))
}

/// What a bare write finds in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Nothing,
    /// A record, which is read and parsed first.
    ReadAndParsed,
}

fn bare_folder() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("items"))?;
    Ok(folder)
}

fn bare_writes(folder: &Path, bodies: &[Vec<u8>], at_once: usize, over: Over) -> Result<Duration> {
    let place = folder.join("items");
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let writer = |first: usize| {
            let (place, staging) = (&place, folder);
            move || -> Result<()> {
                for (number, body) in bodies.iter().enumerate().skip(first).step_by(at_once) {
                    let (staged, target) = (staging.join(number.to_string()), place.join(number.to_string()));
                    if over == Over::ReadAndParsed {
                        let old: Record = serde_json::from_slice(&fs::read(&target)?)?;
                        ensure!(old.number > 0, "items begin at 1");
                    }
                    let mut file = File::create_new(&staged)?;
                    file.write_all(body)?;
                    file.sync_all()?;
                    fs::rename(&staged, &target)?;
                    File::open(place)?.sync_all()?;
                }
                Ok(())
            }
        };
        let writers: Vec<_> = (0..at_once).map(|first| scope.spawn(writer(first))).collect();
        writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })?;
    Ok(begun.elapsed())
}

async fn scans(scale: &Scale, records: &[Record], compress: bool) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let archive = open(folder.path(), compress).await?;
    put_all(&archive, records.to_vec(), WRITERS).await?;
    let (count, rounds) = (records.len() as u64, scale.of(1, 3, 3));
    let paths = paths(folder.path(), records, compress);
    let form = if compress { "zstd" } else { "plain" };
    let size = paths.iter().map(|path| Ok(fs::metadata(path)?.len())).sum::<std::io::Result<u64>>()?;
    let before = memory::reset_peak();
    let parsed = async || {
        let begun = Instant::now();
        let read = archive.records(REPOSITORY, 0).try_fold(0, |sum, _| async move { Ok(sum + 1) }).await?;
        ensure!(read == count, "a scan of {count} records gave {read}");
        Ok(begun.elapsed())
    };
    let bare = async || tokio::task::block_in_place(|| bare_scan(&paths, true));
    let (parsed, bare_parsed) = in_turns(rounds, parsed, bare).await?;
    let grown = memory::peak().saturating_sub(before);
    let raw = async || {
        let begun = Instant::now();
        for record in records {
            archive.record_bytes(record.id()).await?.context("a record that was stored")?;
        }
        Ok(begun.elapsed())
    };
    let bare = async || tokio::task::block_in_place(|| bare_scan(&paths, false));
    let (raw, bare_raw) = in_turns(rounds, raw, bare).await?;
    let unpack = if compress { "read and decompress" } else { "read" };
    Ok(vec![
        Row::new(format!("scan, {form}"), rate(count, parsed), "records/s")
            .over(format!("bare {unpack}, parse"), rate(count, bare_parsed))
            .at_least(0.6),
        Row::new(format!("read as bytes, {form}"), rate(count, raw), "records/s")
            .over(format!("bare {unpack}"), rate(count, bare_raw)),
        Row::new(format!("memory of the scan, {form}"), memory::mebibytes(grown), "MiB").at_most(32.0),
        Row::new(format!("a record on disk, {form}"), size as f64 / count as f64, "bytes"),
    ])
}

fn paths(folder: &Path, records: &[Record], compress: bool) -> Vec<PathBuf> {
    let items = folder.join("repositories").join(REPOSITORY.to_string()).join("items");
    let ending = if compress { "json.zst" } else { "json" };
    records.iter().map(|record| items.join(format!("{}.{ending}", record.number))).collect()
}

fn bare_scan(paths: &[PathBuf], parse: bool) -> Result<Duration> {
    let begun = Instant::now();
    for path in paths {
        let mut bytes = fs::read(path)?;
        if path.extension().is_some_and(|ending| ending == "zst") {
            bytes = zstd::decode_all(&bytes[..])?;
        }
        if parse {
            let record: Record = serde_json::from_slice(&bytes)?;
            ensure!(record.number > 0, "items begin at 1");
        }
    }
    Ok(begun.elapsed())
}

/// Changes of single numbers, and look-ups in a ledger of a large repository.
async fn ledger(scale: &Scale) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let archive = open(folder.path(), false).await?;
    let (numbers, changes) = (scale.of(1_000, 150_000, 150_000), scale.of(50, 500, 2_000));
    archive.update_ledger(REPOSITORY, &(1..=numbers).map(present).collect::<Vec<_>>()).await?;
    let ours = async || {
        let begun = Instant::now();
        for number in 1..=changes {
            archive.update_ledger(REPOSITORY, &[present(number)]).await?;
        }
        Ok(begun.elapsed())
    };
    let bare = async || tokio::task::block_in_place(|| bare_appends(changes));
    let (ours, bare) = in_turns(scale.of(1, 3, 3), ours, bare).await?;
    let looked_up = timed(async {
        for number in 1..=changes {
            let entry = archive.ledger(REPOSITORY).await?.get(number);
            ensure!(entry.state == NumberState::Present, "number {number} is {:?}", entry.state);
        }
        Ok(())
    });
    let look_up = looked_up.await?.1;
    let looked_up_after_change = async {
        for number in 1..=changes {
            archive.update_ledger(REPOSITORY, &[present(number)]).await?;
            archive.ledger(REPOSITORY).await?;
        }
        Ok(())
    };
    let with_change = timed(looked_up_after_change).await?.1;
    let item = ItemId { repository: REPOSITORY, number: numbers + 1 };
    ensure!(archive.record(item).await?.is_none(), "a ledger makes no records");
    Ok(vec![
        Row::new(format!("ledger of {numbers}: change of one number"), rate(changes, ours), "changes/s")
            .over("bare append and sync", rate(changes, bare))
            .at_least(0.5),
        Row::new(format!("ledger of {numbers}: look-up"), rate(changes, look_up), "look-ups/s"),
        Row::new(format!("ledger of {numbers}: change, then look-up"), rate(changes, with_change), "pairs/s")
            .over("bare append and sync", rate(changes, bare))
            .at_least(0.4),
    ])
}

fn present(number: u64) -> LedgerChange {
    LedgerChange { number, state: NumberState::Present, verified_at: Timestamp::UNIX_EPOCH }
}

fn bare_appends(count: u64) -> Result<Duration> {
    let folder = tempfile::tempdir()?;
    let mut file = File::create_new(folder.path().join("journal"))?;
    let begun = Instant::now();
    for _ in 0..count {
        file.write_all(&[7; 28])?;
        file.sync_all()?;
    }
    Ok(begun.elapsed())
}
