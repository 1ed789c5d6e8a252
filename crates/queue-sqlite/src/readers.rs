//! Connections that only read, beside the writer, and the watch for what other processes write.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
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

/// Ends the watch when it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    _running: mpsc::Sender<()>,
}

/// Starts a thread that notifies when the file was changed by anybody. It ends with the watch.
pub(crate) fn watch(connection: Connection, changed: Weak<Notify>) -> Result<Watch> {
    let (running, ended) = mpsc::channel();
    thread::Builder::new()
        .name("queue-watch".to_owned())
        .spawn(move || {
            let mut seen = None;
            while ended.recv_timeout(WATCHED) == Err(mpsc::RecvTimeoutError::Timeout) {
                let Some(changed) = changed.upgrade() else { return };
                let version: Option<i64> = connection.pragma_query_value(None, "data_version", |row| row.get(0)).ok();
                if version != seen {
                    seen = version;
                    changed.notify_waiters();
                }
            }
        })
        .map_err(|error| {
            Error::new(ErrorKind::Unavailable, "open", "the watching thread cannot be started").with_source(error)
        })?;
    Ok(Watch { _running: running })
}
