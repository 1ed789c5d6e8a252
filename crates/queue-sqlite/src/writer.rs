//! The one thread that writes.
//!
//! Callers send operations; the thread takes all that wait (up to [`GROUP`]) into one transaction, each in a savepoint
//! of its own so that one may fail alone, and answers after the commit. So what was answered is durable, and under
//! load many operations share one sync of the disk.
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

/// Does an operation, and gives back how to answer once it is known whether the transaction was committed.
type Operation = Box<dyn FnOnce(&mut Unit<'_>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), &Error>) + Send>;

/// Sends operations to the thread, which ends when all senders are gone.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    operations: mpsc::Sender<Operation>,
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
        operation: impl FnOnce(&mut Unit<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let operation: Operation = Box::new(move |unit| {
            let result = unit.in_savepoint(operation);
            Box::new(move |committed| {
                let answer = match committed {
                    Ok(()) => result.map_err(|error| from_sqlite(name, error)),
                    Err(error) => Err(Error::new(error.kind(), name, error.to_string())),
                };
                // Who asked may have gone away; the operation stands.
                drop(sender.send(answer));
            })
        });
        let stopped = || Error::new(ErrorKind::Unavailable, name, "the writer's thread has ended");
        self.operations.send(operation).await.map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())?
    }
}

fn run(
    connection: &Connection,
    policy: &Policy,
    clock: &Clock,
    mut waiting: mpsc::Receiver<Operation>,
    committed: &dyn Fn(),
) {
    let mut known = None;
    while let Some(first) = waiting.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = waiting.try_recv()
        {
            group.push(next);
        }
        let mut answers = Vec::with_capacity(group.len());
        let result = commit(connection, policy, clock, group, &mut known, &mut answers);
        if let Err(error) = &result {
            known = None;
            tracing::warn!(%error, "the queue could not be written");
            roll_back(connection);
        } else {
            committed();
        }
        for answer in answers {
            answer(result.as_ref().copied());
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

/// Runs a group of operations in one transaction. Every operation leaves its answer, also when this fails.
fn commit(
    connection: &Connection,
    policy: &Policy,
    clock: &Clock,
    group: Vec<Operation>,
    known: &mut Known,
    answers: &mut Vec<Answer>,
) -> Result<()> {
    let (version, loaded) = match begin(connection, known) {
        Ok(begun) => begun,
        Err(error) => {
            roll_back(connection);
            let mut dead = Unit::new(connection, policy, clock, Heads::default());
            dead.refuse();
            answers.extend(group.into_iter().map(|operation| operation(&mut dead)));
            return Err(from_sqlite("write", error));
        }
    };
    let mut unit = Unit::new(connection, policy, clock, loaded.clone());
    if group.len() == 1 {
        unit.be_alone();
    }
    for operation in group {
        answers.push(operation(&mut unit));
    }
    // A full disk makes SQLite give up the whole transaction, with the operations before the one that failed.
    if connection.is_autocommit() {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "write",
            "the transaction was given up: the disk is full or failing; nothing was changed",
        ));
    }
    // The only operation failed, and its answer says so.
    if unit.has_failed() {
        roll_back(connection);
        return Ok(());
    }
    let heads = unit.into_heads();
    heads
        .save(connection, &loaded)
        .and_then(|()| {
            fail_point!("queue-written");
            connection.prepare_cached("COMMIT")?.execute([])
        })
        .map_err(|error| from_sqlite("write", error))?;
    *known = Some((version, heads));
    Ok(())
}

fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "a transaction of the queue could not be rolled back");
    }
}
