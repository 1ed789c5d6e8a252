//! Connections beside the writer's: those that read, and the keeper's.
//!
//! The keeper watches for what other processes write, and brings the write-ahead log into the file while the writer
//! goes on: within a commit that would hold up everybody who waits for it.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use gharvest_queue::{Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::sync::Notify;

use crate::{error::from_sqlite, schema};

/// The most connections kept for the next reader.
const KEPT: usize = 4;
/// How often the file is asked whether another process changed it: a few microseconds each.
const WATCHED: Duration = Duration::from_millis(250);
/// After so many commits the write-ahead log is brought into the file.
const COMMITS: u64 = 40;

/// Reads in snapshots of the file.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, idle: Mutex::new(Vec::new()) })
    }

    /// Runs one reading operation in one snapshot.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        operation: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let readers = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            let idle = readers.lock().pop();
            let connection = idle.map_or_else(|| schema::open_reader(&readers.path), Ok)?;
            let result = snapshot(&connection, operation).map_err(|error| from_sqlite(name, error))?;
            let mut idle = readers.lock();
            if idle.len() < KEPT {
                idle.push(connection);
            }
            Ok(result)
        });
        reading
            .await
            .map_err(|error| Error::new(ErrorKind::Unavailable, name, "reading was interrupted").with_source(error))?
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn snapshot<T>(
    connection: &Connection,
    operation: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.unchecked_transaction()?;
    let result = operation(&transaction)?;
    transaction.finish()?;
    Ok(result)
}

/// Ends the keeper when it is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    _running: mpsc::Sender<()>,
}

/// Starts the keeper's thread: notifies when the file was changed by anybody, and keeps the log short by the number of
/// our own commits.
pub(crate) fn keep(connection: Connection, changed: Weak<Notify>, commits: Arc<AtomicU64>) -> Result<Keeper> {
    let (running, ended) = mpsc::channel();
    thread::Builder::new()
        .name("queue-keeper".to_owned())
        .spawn(move || {
            let (mut seen, mut kept) = (None, 0);
            while ended.recv_timeout(WATCHED) == Err(mpsc::RecvTimeoutError::Timeout) {
                let Some(changed) = changed.upgrade() else { return };
                let version: Option<i64> = connection.pragma_query_value(None, "data_version", |row| row.get(0)).ok();
                if version != seen {
                    seen = version;
                    changed.notify_waiters();
                }
                let made = commits.load(Ordering::Relaxed);
                if made >= kept + COMMITS {
                    kept = made;
                    if let Err(error) = check_point(&connection) {
                        tracing::debug!(%error, "the write-ahead log is brought in by a later commit");
                    }
                }
            }
        })
        .map_err(|error| {
            Error::new(ErrorKind::Unavailable, "open", "the keeper's thread cannot be started").with_source(error)
        })?;
    Ok(Keeper { _running: running })
}

/// Waits for nobody: what a reader still needs stays for the next time.
fn check_point(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}
