//! The tables, and how a connection is set up.
//!
//! | table | one row per |
//! | --- | --- |
//! | `job` | job; `name` is an item's number as an integer, or the rest of another subject as a text |
//! | `tally` | (repository, slot) that is not empty: ready jobs by lane (slots 0 to 4) with the virtual time in that lane, then delayed, leased and buried ones |
//! | `lease` | lease that still holds a job |
//! | `pause` | pause; repository -1 stands for the whole queue |
//! | `delivery` | delivery id of the last four days |
//! | `head` | queue: its counters and scheduling state as JSON |
//!
//! Leases are as few as workers, so they are found by looking through them: an index would cost a page more at each.
//! Files of version 1 had two, which go when the file is opened.
//!
//! A backfill's job takes some 55 bytes: what only few jobs have (times, reasons, losses, a dirty request) lies as
//! JSON in `extra`, which is NULL for all others. The file may hold other components' tables beside these.

use std::{path::Path, time::Duration};

use gharvest_queue::{Error, ErrorKind, Result};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::from_sqlite;

/// The version that this code reads and writes, kept in `user_version`.
pub(crate) const VERSION: i64 = 2;

/// Pages of the write-ahead log at which a commit itself brings it into the file: the keeper is before that, as a rule.
const LONGEST_LOG: &str = "4000";

/// How long a statement waits for another process that writes.
const BUSY: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE job (
    queue INTEGER NOT NULL, repository INTEGER NOT NULL, name ANY NOT NULL,
    state INTEGER NOT NULL, lane INTEGER NOT NULL, attempts INTEGER NOT NULL,
    at INTEGER, sequence INTEGER NOT NULL, token INTEGER, extra TEXT,
    PRIMARY KEY (queue, repository, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_delayed ON job (queue, lane, at) WHERE state = 0;
CREATE INDEX job_ready ON job (queue, repository, lane, sequence) WHERE state = 1;
CREATE INDEX job_waiting_since ON job (queue, lane, at) WHERE state = 1 AND at IS NOT NULL;
CREATE INDEX job_leased ON job (queue, token) WHERE state = 2;
CREATE INDEX job_buried ON job (queue) WHERE state = 3;
CREATE TABLE tally (
    queue INTEGER NOT NULL, repository INTEGER NOT NULL, slot INTEGER NOT NULL,
    jobs INTEGER NOT NULL, time INTEGER NOT NULL,
    PRIMARY KEY (queue, repository, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX tally_ring ON tally (queue, slot, time, repository) WHERE slot < 5;
CREATE TABLE lease (
    queue INTEGER NOT NULL, token INTEGER NOT NULL, request TEXT NOT NULL, expires_at INTEGER NOT NULL,
    PRIMARY KEY (queue, token)
) STRICT, WITHOUT ROWID;
CREATE TABLE pause (
    queue INTEGER NOT NULL, repository INTEGER NOT NULL, until INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (queue, repository)
) STRICT, WITHOUT ROWID;
CREATE TABLE delivery (id TEXT NOT NULL PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_at ON delivery (at);
CREATE TABLE head (queue INTEGER NOT NULL PRIMARY KEY, data TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

/// Opens the connection that writes, and makes the tables if there are none.
pub(crate) fn open_writer(path: &Path) -> Result<Connection> {
    let mut connection = open_bare(path)?;
    create(&mut connection).map_err(|error| opening(path, error))?;
    let version: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(|error| opening(path, error))?;
    if version > VERSION {
        let message = format!(
            "`{}` was written by a newer version of gharvest (format {version}, this one knows {VERSION}): update gharvest",
            path.display()
        );
        return Err(Error::new(ErrorKind::Refused, "open", message));
    }
    Ok(connection)
}

/// Opens a connection with the settings of the one that writes.
pub(crate) fn open_bare(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path).map_err(|error| opening(path, error))?;
    set_up(&connection).map_err(|error| opening(path, error))?;
    Ok(connection)
}

/// Opens the connection that brings the write-ahead log into the file, so that commits need not.
pub(crate) fn open_keeper(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| opening(path, error))?;
    connection.busy_timeout(BUSY).map_err(|error| opening(path, error))?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(|error| opening(path, error))?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(crate) fn open_reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| opening(path, error))?;
    connection.busy_timeout(BUSY).map_err(|error| opening(path, error))?;
    Ok(connection)
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    let set = |pragma, value| connection.pragma_update(None, pragma, value);
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Readers never wait for the writer; what was committed survives a power cut.
    set("journal_mode", "WAL")?;
    set("synchronous", "FULL")?;
    set("temp_store", "MEMORY")?;
    set("cache_size", "-32000")?;
    set("wal_autocheckpoint", LONGEST_LOG)?;
    set("journal_size_limit", "67108864")
}

/// Makes the tables; of two processes that try at once, the second finds them made.
fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        0 => transaction.execute_batch(TABLES)?,
        1 => transaction.execute_batch("DROP INDEX lease_end; DROP INDEX lease_request;")?,
        _ => return transaction.commit(),
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn opening(path: &Path, error: rusqlite::Error) -> Error {
    let error = from_sqlite("open", error);
    Error::new(error.kind(), "open", format!("`{}` cannot be used", path.display())).with_source(error)
}
