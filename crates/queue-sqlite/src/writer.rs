//! The one thread that writes.
//!
//! Callers send operations; the thread takes all that wait (up to [`GROUP`]) into one transaction, and answers after the
//! commit. So what was answered is durable, and under load many operations share one sync of the disk.
//!
//! An operation may fail alone. That is so rare that a group is first done without savepoints, for which SQLite would
//! copy every page that an operation touches; if one fails, all is rolled back and done again, each in a savepoint of
//! its own.
//!
//! The counters are read again only when another process wrote meanwhile.

use std::thread;

use fail::fail_point;
use gharvest_queue::{Clock, Error, ErrorKind, Policy, Result};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::{error::from_sqlite, head::Heads, unit::Unit};

/// The most operations in one transaction.
const GROUP: usize = 256;
/// The most operations that wait for the thread; more callers wait to be let in.
const WAITING: usize = 1_024;

/// An operation and who waits for it.
trait Operation: Send {
    /// Does it, and says whether it succeeded; called once more if the transaction has to be begun anew.
    fn run(&mut self, unit: &mut Unit<'_>) -> bool;

    /// Answers, once it is known whether the transaction was committed.
    fn answer(self: Box<Self>, committed: Result<(), &Error>);
}

type Group = Vec<Box<dyn Operation>>;

struct Asked<T, F> {
    name: &'static str,
    operation: F,
    result: Option<rusqlite::Result<T>>,
    sender: oneshot::Sender<Result<T>>,
}

impl<T: Send, F> Operation for Asked<T, F>
where
    F: FnMut(&mut Unit<'_>) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, unit: &mut Unit<'_>) -> bool {
        self.result.insert((self.operation)(unit)).is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<(), &Error>) {
        let answer = match (committed, self.result) {
            (Ok(()), Some(result)) => result.map_err(|error| from_sqlite(self.name, error)),
            (Ok(()), None) => Err(stopped(self.name)),
            (Err(error), _) => Err(Error::new(error.kind(), self.name, error.to_string())),
        };
        // Who asked may have gone away; the operation stands.
        drop(self.sender.send(answer));
    }
}

fn stopped(name: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, name, "the writer's thread has ended")
}

/// Sends operations to the thread, which ends when all senders are gone.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    operations: mpsc::Sender<Box<dyn Operation>>,
}

impl Writer {
    /// Starts the thread. `committed` is called after each commit.
    pub(crate) fn start(
        connection: Connection,
        policy: Policy,
        clock: Clock,
        committed: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let (operations, waiting) = mpsc::channel(WAITING);
        thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || run(&connection, &policy, &clock, waiting, &committed))
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "open", "the writer's thread cannot be started").with_source(error)
            })?;
        Ok(Self { operations })
    }

    /// Runs one operation atomically, and returns when it is durable.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        operation: impl FnMut(&mut Unit<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let asked = Asked { name, operation, result: None, sender };
        self.operations.send(Box::new(asked)).await.map_err(|_| stopped(name))?;
        receiver.await.map_err(|_| stopped(name))?
    }
}

fn run(
    connection: &Connection,
    policy: &Policy,
    clock: &Clock,
    mut waiting: mpsc::Receiver<Box<dyn Operation>>,
    committed: &dyn Fn(),
) {
    let mut known = None;
    let mut group = Group::new();
    while waiting.blocking_recv_many(&mut group, GROUP) > 0 {
        let result = commit(connection, policy, clock, &mut group, &mut known);
        if let Err(error) = &result {
            known = None;
            tracing::warn!(%error, "the queue could not be written");
            roll_back(connection);
        } else {
            committed();
        }
        for operation in group.drain(..) {
            operation.answer(result.as_ref().copied());
        }
    }
}

/// The counters as they were committed last, and the version of the file as this connection saw it then.
type Known = Option<(i64, Heads)>;

/// Begins a transaction as a writer: a reader that becomes one is refused at once instead of waiting its turn.
fn begin(connection: &Connection, known: &mut Known) -> rusqlite::Result<(i64, Heads)> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    // Changes with what others commit, and not with what this connection does.
    let version = connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
    match known.take().filter(|(seen, _)| *seen == version) {
        Some(known) => Ok(known),
        None => Ok((version, Heads::load(connection)?)),
    }
}

/// Does a group of operations in one transaction. Each keeps its own result, which counts if this succeeds.
fn commit(connection: &Connection, policy: &Policy, clock: &Clock, group: &mut Group, known: &mut Known) -> Result<()> {
    let failed = |error| from_sqlite("write", error);
    let (mut version, mut loaded) = begin(connection, known).map_err(failed)?;
    let mut unit = Unit::new(connection, policy, clock, loaded.clone());
    if !together(&mut unit, group).map_err(failed)? {
        check_alive(connection)?;
        roll_back(connection);
        // The only operation failed, and its answer says so.
        if group.len() == 1 {
            return Ok(());
        }
        (version, loaded) = begin(connection, known).map_err(failed)?;
        unit = Unit::new(connection, policy, clock, loaded.clone());
        for operation in group {
            unit.in_savepoint(|unit| operation.run(unit)).map_err(failed)?;
        }
    }
    check_alive(connection)?;
    let heads = unit.into_heads();
    heads
        .save(connection, &loaded)
        .and_then(|()| {
            fail_point!("queue-written");
            connection.prepare_cached("COMMIT")?.execute([])
        })
        .map_err(failed)?;
    *known = Some((version, heads));
    Ok(())
}

/// Does operations until one fails, and says whether none did. After a failure all have to be rolled back.
fn together(unit: &mut Unit<'_>, group: &mut Group) -> rusqlite::Result<bool> {
    for operation in group {
        unit.look_at_clock();
        if !operation.run(unit) {
            return Ok(false);
        }
    }
    unit.write_tally()?;
    Ok(true)
}

/// A full disk makes SQLite give up the whole transaction, with the operations before the one that failed.
fn check_alive(connection: &Connection) -> Result<()> {
    if connection.is_autocommit() {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "write",
            "the transaction was given up: the disk is full or failing; nothing was changed",
        ));
    }
    Ok(())
}

fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "a transaction of the queue could not be rolled back");
    }
}
