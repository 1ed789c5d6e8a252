//! The state in a SQLite file, which may be the queue's: its tables have names of their own.
//!
//! | table | one row per |
//! | --- | --- |
//! | `state_value` | stored value, until it expires |
//! | `state_lead` | name that somebody leads |
//! | `state_live` | live event, the latest [`HISTORY`](crate::HISTORY); without gaps by `ordinal` |
//! | `state_format` | the version of these tables |
//!
//! Subscribers in this process hear of an event when it was committed; those of other processes within a quarter of a
//! second, by SQLite's `data_version`. Either way they read it from the table, so order and gaps are the table's.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use gharvest_model::live::LiveEvent;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};
use tokio::sync::Notify;

use crate::{Error, HISTORY, Published, Result, State, Versioned};

/// The version that this code reads and writes.
const FORMAT: i64 = 1;
/// How long a statement waits for another process that writes.
const BUSY: Duration = Duration::from_secs(5);
/// How often the file is asked whether another process changed it.
const WATCHED: Duration = Duration::from_millis(250);
/// How many events a subscriber reads at once.
const PAGE: usize = 256;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS state_format (version INTEGER NOT NULL PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS state_value (
    key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL, expires_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS state_value_end ON state_value (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS state_lead (
    name TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL, expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
DROP TABLE IF EXISTS state_event;
CREATE TABLE IF NOT EXISTS state_live (
    ordinal INTEGER PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE, event TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS state_version (only_row INTEGER NOT NULL PRIMARY KEY, last INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO state_version (only_row, last) VALUES (1, 0);
";

/// Where the state reads the time, in milliseconds since 1970.
type Time = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The state in a SQLite file.
#[derive(Debug)]
pub struct SqliteState {
    shared: Arc<Shared>,
    /// Ends the watching thread when it is dropped.
    _watch: mpsc::Sender<()>,
}

struct Shared {
    connection: Mutex<Connection>,
    changed: Notify,
    time: Time,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl SqliteState {
    /// Opens the state in a file, and makes it if there is none; its folder must exist.
    pub async fn open(path: &Path) -> Result<Arc<Self>> {
        Self::open_with_time(path, || Timestamp::now().as_millisecond()).await
    }

    /// The same with a clock of one's own, in milliseconds since 1970.
    pub async fn open_with_time(path: &Path, time: impl Fn() -> i64 + Send + Sync + 'static) -> Result<Arc<Self>> {
        let path = path.to_owned();
        let time: Time = Arc::new(time);
        blocking("open", move || {
            let opening = |error| failed("open", error).at(&path);
            let connection = open(&path).map_err(opening)?;
            check_format(&connection, &path)?;
            let shared = Arc::new(Shared { connection: Mutex::new(connection), changed: Notify::new(), time });
            let watched = Connection::open(&path).map_err(opening)?;
            let watch = watch(watched, Arc::downgrade(&shared))?;
            Ok(Arc::new(Self { shared, _watch: watch }))
        })
        .await
    }

    /// Runs one operation on a thread where it may block.
    async fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        operation: impl FnOnce(&mut Connection, i64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.shared.run(name, operation).await
    }
}

impl Shared {
    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        operation: impl FnOnce(&mut Connection, i64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(self);
        blocking(name, move || {
            let mut connection = shared.connection.lock().unwrap_or_else(PoisonError::into_inner);
            operation(&mut connection, (shared.time)()).map_err(|error| failed(name, error))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    name: &'static str,
    operation: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let running = tokio::task::spawn_blocking(operation);
    running.await.map_err(|error| Error::new(name, "the operation was interrupted").with_source(error))?
}

fn failed(name: &'static str, error: rusqlite::Error) -> Error {
    let message = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process has been writing to the file for too long"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "the file is damaged or no SQLite file",
        Some(ErrorCode::CannotOpen) => "the file cannot be opened: check that its folder exists and can be written",
        _ => "SQLite failed",
    };
    Error::new(name, message).with_source(error)
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What is here may be lost: a power cut may take the last moments, and never damages the file.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.execute(
        "INSERT INTO state_format (version) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM state_format)",
        [FORMAT],
    )?;
    transaction.commit()?;
    Ok(connection)
}

fn check_format(connection: &Connection, path: &Path) -> Result<()> {
    let format: i64 = connection
        .query_row("SELECT max(version) FROM state_format", [], |row| row.get(0))
        .map_err(|error| failed("open", error).at(path))?;
    if format > FORMAT {
        let message = format!(
            "the state in `{}` was written by a newer version of gharvest (format {format}, this one knows {FORMAT}): \
             update gharvest",
            path.display()
        );
        return Err(Error::new("open", message));
    }
    Ok(())
}

/// Starts a thread that notices what other processes wrote. It ends with the sender that is returned.
fn watch(connection: Connection, shared: Weak<Shared>) -> Result<mpsc::Sender<()>> {
    let (running, ended) = mpsc::channel();
    thread::Builder::new()
        .name("state-watch".to_owned())
        .spawn(move || {
            let mut seen = None;
            while ended.recv_timeout(WATCHED) == Err(mpsc::RecvTimeoutError::Timeout) {
                let Some(shared) = shared.upgrade() else { return };
                let version: Option<i64> = connection.pragma_query_value(None, "data_version", |row| row.get(0)).ok();
                if version != seen {
                    seen = version;
                    shared.changed.notify_waiters();
                }
            }
        })
        .map_err(|error| Error::new("open", "the watching thread cannot be started").with_source(error))?;
    Ok(running)
}

/// A duration in milliseconds, at most a hundred years.
fn milliseconds(duration: Duration) -> i64 {
    const LONGEST: i64 = 100 * 366 * 86_400_000;
    i64::try_from(duration.as_millis()).map_or(LONGEST, |value| value.min(LONGEST))
}

#[async_trait]
impl State for SqliteState {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        let key = key.to_owned();
        self.run("get", move |connection, now| {
            connection
                .prepare_cached(
                    "SELECT value, version FROM state_value
                     WHERE key = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
                )?
                .query_row(params![key, now], |row| Ok(Versioned { value: row.get(0)?, version: row.get(1)? }))
                .optional()
        })
        .await
    }

    async fn put(&self, key: &str, value: &[u8], expected: Option<u64>, ttl: Option<Duration>) -> Result<bool> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.run("put", move |connection, now| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.prepare_cached("DELETE FROM state_value WHERE expires_at <= ?1")?.execute([now])?;
            let stored: u64 = transaction
                .prepare_cached("SELECT version FROM state_value WHERE key = ?1")?
                .query_row([&key], |row| row.get(0))
                .optional()?
                .unwrap_or(0);
            if expected.is_some_and(|expected| expected != stored) {
                transaction.commit()?;
                return Ok(false);
            }
            // Versions come from one counter, so that a value removed and stored again is not taken for the old one.
            let version: u64 = transaction
                .prepare_cached("UPDATE state_version SET last = last + 1 RETURNING last")?
                .query_row([], |row| row.get(0))?;
            let expires_at = ttl.map(|ttl| now + milliseconds(ttl));
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO state_value (key, value, version, expires_at) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![key, value, version, expires_at])?;
            transaction.commit()?;
            Ok(true)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let key = key.to_owned();
        self.run("delete", move |connection, _| {
            connection.prepare_cached("DELETE FROM state_value WHERE key = ?1")?.execute([key])?;
            Ok(())
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let prefix = prefix.to_owned();
        self.run("list", move |connection, now| {
            let mut select = connection.prepare_cached(
                "SELECT key, value FROM state_value
                 WHERE key >= ?1 AND key < ?1 || char(1114111) AND (expires_at IS NULL OR expires_at > ?2)
                 ORDER BY key",
            )?;
            let rows = select.query_map(params![prefix, now], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
        .await
    }

    async fn lead(&self, name: &str, holder: &str, hold: Duration) -> Result<bool> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.run("lead", move |connection, now| {
            let led = connection
                .prepare_cached(
                    "INSERT INTO state_lead (name, holder, expires_at) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
                     WHERE state_lead.holder = excluded.holder OR state_lead.expires_at <= ?4",
                )?
                .execute(params![name, holder, now + milliseconds(hold), now])?;
            Ok(led > 0)
        })
        .await
    }

    async fn resign(&self, name: &str, holder: &str) -> Result<()> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.run("resign", move |connection, _| {
            connection
                .prepare_cached("DELETE FROM state_lead WHERE name = ?1 AND holder = ?2")?
                .execute(params![name, holder])?;
            Ok(())
        })
        .await
    }

    async fn publish(&self, events: &[LiveEvent]) -> Result<()> {
        let events: Vec<String> = events
            .iter()
            .map(serde_json::to_string)
            .collect::<Result<_, _>>()
            .map_err(|error| Error::new("publish", "an event cannot be written as JSON").with_source(error))?;
        self.run("publish", move |connection, now| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for event in &events {
                // Beyond what was told before, also if this file has lost that: readers go on after their place.
                transaction
                    .prepare_cached(
                        "INSERT INTO state_live (sequence, event)
                         SELECT max(coalesce(max(sequence), 0) + 1, ?1 * 1024), ?2 FROM state_live",
                    )?
                    .execute(params![now, event])?;
            }
            transaction
                .prepare_cached("DELETE FROM state_live WHERE ordinal <= (SELECT max(ordinal) FROM state_live) - ?1")?
                .execute([HISTORY])?;
            transaction.commit()
        })
        .await?;
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn history(&self, after: u64, limit: usize) -> Result<Vec<Published>> {
        self.run("history", move |connection, _| {
            let mut select = connection.prepare_cached(
                "SELECT sequence, event FROM (
                     SELECT sequence, event FROM state_live WHERE sequence > ?1 ORDER BY sequence DESC LIMIT ?2)
                 ORDER BY sequence",
            )?;
            select.query_map(params![signed(after), signed_length(limit)], read_event)?.collect()
        })
        .await
    }

    async fn subscribe(&self, after: Option<u64>) -> Result<BoxStream<'static, Result<Published>>> {
        let (place, ordinal) = match after {
            Some(place) => (place, None),
            None => {
                let last = self.run("subscribe", |connection, _| last(connection)).await?;
                (last.0, Some(last.1))
            }
        };
        let shared = Arc::downgrade(&self.shared);
        let reader = Reader { shared, place, ordinal, page: Vec::new().into_iter(), ended: false };
        Ok(Box::pin(stream::unfold(reader, async |mut reader| Some((reader.next().await?, reader)))))
    }
}

/// A subscriber: reads pages of the table, and sleeps when it has read all.
struct Reader {
    shared: Weak<Shared>,
    /// The sequence read last.
    place: u64,
    /// The ordinal read last, once it began: everything after it must still be there, and what is missing was not read
    /// in time.
    ordinal: Option<u64>,
    page: std::vec::IntoIter<Placed>,
    ended: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Published>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(placed) = self.page.next() {
                return Some(self.check(placed));
            }
            // The state is not kept alive by those who only listen: without it nothing will come.
            let shared = self.shared.upgrade()?;
            let mut changed = std::pin::pin!(shared.changed.notified());
            changed.as_mut().enable();
            let place = self.place;
            let page = shared.run("subscribe", move |connection, _| page(connection, place)).await;
            match page {
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                Ok(page) if page.is_empty() => changed.await,
                Ok(page) => self.page = page.into_iter(),
            }
        }
    }

    /// Ordinals have no gaps but where old events were dropped; whoever meets one while reading was too slow.
    fn check(&mut self, Placed { ordinal, published }: Placed) -> Result<Published> {
        if self.ordinal.is_some_and(|read| ordinal != read + 1) {
            self.ended = true;
            let message =
                format!("too slow: events after {} are gone, the next one kept is {}", self.place, published.sequence);
            return Err(Error::new("subscribe", message));
        }
        self.ordinal = Some(ordinal);
        self.place = published.sequence;
        Ok(published)
    }
}

/// An event with its number without gaps.
struct Placed {
    ordinal: u64,
    published: Published,
}

/// The sequence and the ordinal of the last event, 0 if there was none.
fn last(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let last = connection
        .prepare_cached("SELECT sequence, ordinal FROM state_live ORDER BY ordinal DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(last.unwrap_or_default())
}

fn page(connection: &Connection, after: u64) -> rusqlite::Result<Vec<Placed>> {
    let mut select = connection.prepare_cached(
        "SELECT sequence, event, ordinal FROM state_live WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let read = |row: &rusqlite::Row<'_>| Ok(Placed { ordinal: row.get(2)?, published: read_event(row)? });
    select.query_map(params![signed(after), PAGE], read)?.collect()
}

fn read_event(row: &rusqlite::Row<'_>) -> rusqlite::Result<Published> {
    let event: String = row.get(1)?;
    let event: LiveEvent = serde_json::from_str(&event)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error)))?;
    Ok(Published { sequence: row.get(0)?, event })
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn signed_length(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
