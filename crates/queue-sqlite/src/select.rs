//! What is read, by the writer within its transaction and by readers beside it.

use gharvest_model::{Lane, QueueName};
use gharvest_queue::{Counts, Filter, JobState, JobView, Paused, Totals, clock::timestamp, key::Key, wake::Outlook};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    head::{self, Head},
    row::{self, COLUMNS, NameColumn, Stored, queue_number, signed, state_number},
};

/// One job.
pub(crate) fn job(connection: &Connection, queue: QueueName, key: &Key) -> rusqlite::Result<Option<Stored>> {
    let mut select = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM job WHERE queue = ?1 AND repository = ?2 AND name = ?3"))?;
    let at = params![queue_number(queue), signed(key.repository), NameColumn(&key.name)];
    Ok(select.query_row(at, row::read).optional()?.map(|(_, stored)| stored))
}

/// A filter as a part of a statement: numbers only, written out, so that partial indexes are found.
pub(crate) struct Matching {
    /// The table, and the index that keeps other jobs out.
    source: &'static str,
    /// Conditions, each after an `AND`.
    pub(crate) condition: String,
}

impl Matching {
    pub(crate) fn new(filter: &Filter) -> Self {
        let source = match filter.state {
            Some(JobState::Buried) => "job INDEXED BY job_buried",
            Some(JobState::Leased) => "job INDEXED BY job_leased",
            Some(JobState::Delayed) if filter.repository.is_none() => "job INDEXED BY job_delayed",
            _ => "job",
        };
        let mut condition = String::new();
        if let Some(repository) = filter.repository {
            condition += &format!(" AND repository = {}", signed(repository.0));
        }
        if let Some(lane) = filter.lane {
            condition += &format!(" AND lane = {}", lane.index());
        }
        if let Some(state) = filter.state {
            condition += &format!(" AND state = {}", state_number(state));
        }
        if let Some(numbers) = &filter.numbers {
            // Names that are texts are greater than every number.
            condition += &format!(" AND name BETWEEN {} AND {}", signed(*numbers.start()), signed(*numbers.end()));
        }
        Self { source, condition }
    }
}

/// Matching jobs after a key, in the order of keys.
pub(crate) fn list(
    connection: &Connection,
    queue: QueueName,
    filter: &Filter,
    after: Option<&Key>,
    limit: usize,
) -> rusqlite::Result<Vec<(Key, Stored)>> {
    let Matching { source, condition } = Matching::new(filter);
    let beyond = if after.is_some() { "AND (repository, name) > (?2, ?3)" } else { "" };
    let mut select = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM {source} WHERE queue = ?1 {condition} {beyond}
         ORDER BY repository, name LIMIT {}",
        i64::try_from(limit).unwrap_or(i64::MAX)
    ))?;
    match after {
        None => select.query_map([queue_number(queue)], row::read)?.collect(),
        Some(key) => {
            let at = params![queue_number(queue), signed(key.repository), NameColumn(&key.name)];
            select.query_map(at, row::read)?.collect()
        }
    }
}

/// A job as people see it.
pub(crate) fn view(connection: &Connection, queue: QueueName, key: &Key, stored: &Stored) -> rusqlite::Result<JobView> {
    let lease_end = match stored.record.state {
        JobState::Leased => connection
            .prepare_cached("SELECT expires_at FROM lease WHERE queue = ?1 AND token = ?2")?
            .query_row(params![queue_number(queue), signed(stored.record.token)], |row| row.get(0))
            .optional()?,
        _ => None,
    };
    Ok(stored.record.view(queue, key.subject(), lease_end))
}

/// How a pause's scope is stored: the whole queue as -1.
pub(crate) fn pause_number(repository: Option<u64>) -> i64 {
    repository.map_or(-1, signed)
}

/// The pause in force of a queue or of a repository on it.
pub(crate) fn pause(
    connection: &Connection,
    queue: QueueName,
    repository: Option<u64>,
    now: i64,
) -> rusqlite::Result<Option<(i64, String)>> {
    connection
        .prepare_cached("SELECT until, reason FROM pause WHERE queue = ?1 AND repository = ?2 AND until > ?3")?
        .query_row(params![queue_number(queue), pause_number(repository), now], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// The pauses in force without their reasons: the repository or none for the whole queue, and the end.
pub(crate) fn paused(connection: &Connection, queue: QueueName, now: i64) -> rusqlite::Result<Vec<(Option<u64>, i64)>> {
    connection
        .prepare_cached("SELECT repository, until FROM pause WHERE queue = ?1 AND until > ?2")?
        .query_map(params![queue_number(queue), now], |row| {
            Ok((u64::try_from(row.get::<_, i64>(0)?).ok(), row.get(1)?))
        })?
        .collect()
}

/// All pauses in force: the queue, the repository or none for the whole queue, and the pause.
pub(crate) fn pauses(
    connection: &Connection,
    queue: QueueName,
    now: i64,
) -> rusqlite::Result<Vec<(Option<u64>, Paused)>> {
    connection
        .prepare_cached(
            "SELECT repository, until, reason FROM pause WHERE queue = ?1 AND until > ?2 ORDER BY repository",
        )?
        .query_map(params![queue_number(queue), now], |row| {
            let repository = u64::try_from(row.get::<_, i64>(0)?).ok();
            Ok((repository, Paused { until: timestamp(row.get(1)?), reason: row.get(2)? }))
        })?
        .collect()
}

/// The repository whose turn it is in a lane, and its virtual time. Paused ones stand aside.
pub(crate) fn turn(
    connection: &Connection,
    queue: QueueName,
    lane: Lane,
    now: i64,
) -> rusqlite::Result<Option<(u64, u64)>> {
    connection
        .prepare_cached(
            "SELECT repository, time FROM tally INDEXED BY tally_ring
             WHERE queue = ?1 AND slot = ?2 AND slot < 5 AND NOT EXISTS (
                 SELECT 1 FROM pause WHERE pause.queue = tally.queue AND pause.repository = tally.repository
                 AND pause.until > ?3)
             ORDER BY time, repository LIMIT 1",
        )?
        .query_row(params![queue_number(queue), lane.index(), now], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Jobs of a repository by slot.
pub(crate) fn tally(connection: &Connection, queue: QueueName, repository: u64) -> rusqlite::Result<[u64; 8]> {
    let mut jobs = [0; 8];
    let mut select = connection.prepare_cached("SELECT slot, jobs FROM tally WHERE queue = ?1 AND repository = ?2")?;
    let mut rows = select.query(params![queue_number(queue), signed(repository)])?;
    while let Some(row) = rows.next()? {
        if let Some(count) = jobs.get_mut(row.get::<_, usize>(0)?) {
            *count = row.get(1)?;
        }
    }
    Ok(jobs)
}

/// The counts of a queue, or of one repository on it without totals.
pub(crate) fn counts(
    connection: &Connection,
    queue: QueueName,
    repository: Option<u64>,
    now: i64,
) -> rusqlite::Result<Counts> {
    let counts = match repository {
        None => head::load(connection, queue)?.counts(),
        Some(repository) => {
            Counts { totals: Totals::default(), ..head::counts(&tally(connection, queue, repository)?) }
        }
    };
    let paused = pause(connection, queue, repository, now)?;
    Ok(Counts { paused: paused.map(|(until, reason)| Paused { until: timestamp(until), reason }), ..counts })
}

/// Whether there is work, and when there may be some.
pub(crate) fn outlook(connection: &Connection, queue: QueueName, head: &Head, now: i64) -> rusqlite::Result<Outlook> {
    if let Some((until, _)) = pause(connection, queue, None, now)? {
        return Ok(Outlook { now, work: false, next_at: Some(until) });
    }
    let due = first_due(connection, queue, head)?;
    let ends: Option<i64> = connection
        .prepare_cached("SELECT min(expires_at) FROM lease WHERE queue = ?1")?
        .query_row([queue_number(queue)], |row| row.get(0))?;
    let pauses: Option<i64> = connection
        .prepare_cached("SELECT min(until) FROM pause WHERE queue = ?1 AND until > ?2")?
        .query_row(params![queue_number(queue), now], |row| row.get(0))?;
    let mut work = due.into_iter().chain(ends).any(|at| at <= now);
    for lane in Lane::ALL {
        work = work || (head.jobs[lane.index()] > 0 && turn(connection, queue, lane, now)?.is_some());
    }
    Ok(Outlook { now, work, next_at: due.into_iter().chain(ends).chain(pauses).min() })
}

/// When the first delayed job is due.
pub(crate) fn first_due(connection: &Connection, queue: QueueName, head: &Head) -> rusqlite::Result<Option<i64>> {
    let mut first = None;
    if head.jobs[5] == 0 {
        return Ok(first);
    }
    for lane in Lane::ALL {
        let at: Option<i64> = connection
            .prepare_cached(
                "SELECT min(at) FROM job INDEXED BY job_delayed WHERE queue = ?1 AND lane = ?2 AND state = 0",
            )?
            .query_row(params![queue_number(queue), lane.index()], |row| row.get(0))?;
        first = first.into_iter().chain(at).min();
    }
    Ok(first)
}

/// Since when the oldest job of each lane could have started.
pub(crate) fn oldest(connection: &Connection, queue: QueueName, now: i64) -> rusqlite::Result<[Option<i64>; 5]> {
    let mut oldest = [None; 5];
    for lane in Lane::ALL {
        let at = params![queue_number(queue), lane.index(), now];
        let ready: Option<i64> = connection
            .prepare_cached(
                "SELECT min(at) FROM job INDEXED BY job_waiting_since
                 WHERE queue = ?1 AND lane = ?2 AND at <= ?3 AND state = 1 AND at IS NOT NULL",
            )?
            .query_row(at, |row| row.get(0))?;
        let overdue: Option<i64> = connection
            .prepare_cached(
                "SELECT min(at) FROM job INDEXED BY job_delayed
                 WHERE queue = ?1 AND lane = ?2 AND at <= ?3 AND state = 0",
            )?
            .query_row(at, |row| row.get(0))?;
        oldest[lane.index()] = ready.into_iter().chain(overdue).min();
    }
    Ok(oldest)
}
