//! The operations that write, each a part of the writer's transaction.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use gharvest_model::{Lane, QueueName, RepositoryId};
use gharvest_queue::{
    Clock, Extended, Filter, JobState, Outcome, Policy, Purged, Pushed, RangePushed, Settled, Settlement, Timing,
    Token, Trigger,
    clock::{milliseconds, timestamp},
    key::{Key, Name},
    model::DELIVERIES_KEPT,
    rules::{Record, Request},
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    head::{Head, Heads},
    row::{self, COLUMNS, NameColumn, Stored, queue_number, signed, slot, state_number},
    select,
};

mod lease;

/// How many jobs one step of a purge looks at: other callers get their turn between steps.
const PURGED: usize = 5_000;

/// What an operation works with.
pub(crate) struct Unit<'w> {
    connection: &'w Connection,
    policy: &'w Policy,
    clock: &'w Clock,
    heads: Heads,
    /// The time of the operation under way.
    now: i64,
    /// Changes of the tally's slots without a virtual time, written at the end of the transaction or savepoint: nothing
    /// in between reads them.
    tally: BTreeMap<(QueueName, u64, usize), i64>,
    /// Deliveries that are too old were looked for.
    forgot: bool,
}

impl<'w> Unit<'w> {
    pub(crate) fn new(connection: &'w Connection, policy: &'w Policy, clock: &'w Clock, heads: Heads) -> Self {
        Self { connection, policy, clock, heads, now: 0, tally: BTreeMap::new(), forgot: false }
    }

    pub(crate) fn into_heads(self) -> Heads {
        self.heads
    }

    /// Whatever is done next happens now.
    pub(crate) fn look_at_clock(&mut self) {
        self.now = self.clock.now();
    }

    /// Does an operation so that it leaves no trace if it fails.
    pub(crate) fn in_savepoint(&mut self, operation: impl FnOnce(&mut Self) -> bool) -> rusqlite::Result<()> {
        // Outside a transaction (SQLite gives it up on a full disk) the operation must not run on its own.
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.look_at_clock();
        let before = self.heads.clone();
        self.connection.prepare_cached("SAVEPOINT operation")?.execute([])?;
        if operation(self) {
            self.write_tally()?;
        } else {
            self.heads = before;
            self.tally.clear();
            if !self.connection.is_autocommit() {
                self.connection.prepare_cached("ROLLBACK TO operation")?.execute([])?;
            }
        }
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("RELEASE operation")?.execute([])?;
        }
        Ok(())
    }

    fn head(&mut self, queue: QueueName) -> &mut Head {
        self.heads.of_mut(queue)
    }

    fn get(&self, queue: QueueName, key: &Key) -> rusqlite::Result<Option<Stored>> {
        select::job(self.connection, queue, key)
    }

    /// The only way a single job changes: keeps the counters in step, and appends to a lane what enters it.
    fn store(
        &mut self,
        queue: QueueName,
        key: &Key,
        old: Option<&Stored>,
        record: Option<&Record>,
    ) -> rusqlite::Result<()> {
        let left = old.map(|stored| slot(&stored.record));
        let entered = record.map(slot);
        if left != entered {
            if let Some(slot) = left {
                self.leave(queue, key.repository, slot, 1)?;
            }
            if let Some(slot) = entered {
                self.enter(queue, key.repository, slot, 1)?;
            }
        }
        let Some(record) = record else {
            let mut delete =
                self.connection.prepare_cached("DELETE FROM job WHERE queue = ?1 AND repository = ?2 AND name = ?3")?;
            delete.execute(params![queue_number(queue), signed(key.repository), NameColumn(&key.name)])?;
            return Ok(());
        };
        let joins = left != entered && record.ready_lane().is_some();
        let sequence = if joins { self.next_sequence(queue) } else { old.map_or(0, |stored| stored.sequence) };
        self.write(queue, key, record, sequence)
    }

    fn next_sequence(&mut self, queue: QueueName) -> u64 {
        let head = self.head(queue);
        head.last_sequence += 1;
        head.last_sequence
    }

    fn write(&self, queue: QueueName, key: &Key, record: &Record, sequence: u64) -> rusqlite::Result<()> {
        let mut write = self.connection.prepare_cached(
            "INSERT INTO job (queue, repository, name, state, lane, attempts, at, sequence, token, extra)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT DO UPDATE SET state = excluded.state, lane = excluded.lane, attempts = excluded.attempts,
                 at = excluded.at, sequence = excluded.sequence, token = excluded.token, extra = excluded.extra",
        )?;
        write.execute(params![
            queue_number(queue),
            signed(key.repository),
            NameColumn(&key.name),
            state_number(record.state),
            record.request.lane.index(),
            record.attempts,
            record.at,
            signed(sequence),
            (record.token > 0).then(|| signed(record.token)),
            row::extra(record)?,
        ])?;
        Ok(())
    }

    /// Counts jobs in. A repository that joins a lane begins at the virtual time of who was served there last.
    fn enter(&mut self, queue: QueueName, repository: u64, slot: usize, jobs: u64) -> rusqlite::Result<()> {
        let head = self.head(queue);
        head.jobs[slot] += jobs;
        let Some(time) = head.schedule.ring.get(slot).copied() else {
            *self.tally.entry((queue, repository, slot)).or_default() += signed(jobs);
            return Ok(());
        };
        let mut enter = self.connection.prepare_cached(
            "INSERT INTO tally (queue, repository, slot, jobs, time) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs",
        )?;
        enter.execute(params![queue_number(queue), signed(repository), slot, signed(jobs), signed(time)])?;
        Ok(())
    }

    /// Counts jobs out.
    fn leave(&mut self, queue: QueueName, repository: u64, slot: usize, jobs: u64) -> rusqlite::Result<()> {
        let head = self.head(queue);
        head.jobs[slot] = head.jobs[slot].saturating_sub(jobs);
        if slot >= Lane::ALL.len() {
            *self.tally.entry((queue, repository, slot)).or_default() -= signed(jobs);
            return Ok(());
        }
        self.add_to_tally(queue, repository, slot, -signed(jobs))
    }

    pub(crate) fn write_tally(&mut self) -> rusqlite::Result<()> {
        for ((queue, repository, slot), change) in std::mem::take(&mut self.tally) {
            if change != 0 {
                self.add_to_tally(queue, repository, slot, change)?;
            }
        }
        Ok(())
    }

    /// A row whose count reaches nothing goes, so the table is as large as what is in the queue.
    fn add_to_tally(&self, queue: QueueName, repository: u64, slot: usize, change: i64) -> rusqlite::Result<()> {
        let at = (queue_number(queue), signed(repository), slot);
        let emptied = change < 0
            && self
                .connection
                .prepare_cached(
                    "DELETE FROM tally WHERE queue = ?1 AND repository = ?2 AND slot = ?3 AND jobs + ?4 <= 0",
                )?
                .execute(params![at.0, at.1, at.2, change])?
                > 0;
        if !emptied {
            let mut add = self.connection.prepare_cached(
                "INSERT INTO tally (queue, repository, slot, jobs, time) VALUES (?1, ?2, ?3, ?4, 0)
                 ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs",
            )?;
            add.execute(params![at.0, at.1, at.2, change])?;
        }
        Ok(())
    }

    pub(crate) fn push(
        &mut self,
        triggers: &[Trigger],
        keys: &[Key],
        delivery: Option<&str>,
    ) -> rusqlite::Result<Vec<Pushed>> {
        if let Some(id) = delivery
            && !self.mark_delivery(id)?
        {
            for trigger in triggers {
                self.head(trigger.queue).totals.duplicate += 1;
            }
            return Ok(vec![Pushed::Duplicate; triggers.len()]);
        }
        keys.iter().zip(triggers).map(|(key, trigger)| self.push_one(key, trigger)).collect()
    }

    /// Marks a delivery as seen, and says whether it is new. Once a transaction it forgets some that are too old, more
    /// than one transaction adds, so that they never pile up.
    fn mark_delivery(&mut self, id: &str) -> rusqlite::Result<bool> {
        let oldest = self.now - DELIVERIES_KEPT;
        if !self.forgot {
            self.forgot = true;
            self.connection
                .prepare_cached(
                    "DELETE FROM delivery WHERE id IN (SELECT id FROM delivery WHERE at <= ?1 ORDER BY at LIMIT 300)",
                )?
                .execute([oldest])?;
        }
        let marked = self
            .connection
            .prepare_cached(
                "INSERT INTO delivery (id, at) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET at = excluded.at WHERE delivery.at <= ?3",
            )?
            .execute(params![id, self.now, oldest])?;
        Ok(marked > 0)
    }

    fn push_one(&mut self, key: &Key, trigger: &Trigger) -> rusqlite::Result<Pushed> {
        let request = Request::new(trigger, self.now);
        let old = self.get(trigger.queue, key)?;
        self.merge(trigger.queue, key, old.as_ref(), request, trigger.timing == Timing::Now)
    }

    fn merge(
        &mut self,
        queue: QueueName,
        key: &Key,
        old: Option<&Stored>,
        request: Request,
        hurry: bool,
    ) -> rusqlite::Result<Pushed> {
        let (record, pushed) = match old {
            None => (Record::new(request, self.now, self.policy), Pushed::New),
            Some(stored) => {
                let mut record = stored.record.clone();
                let pushed = record.trigger(request, hurry, self.now, self.policy);
                (record, pushed)
            }
        };
        let totals = &mut self.head(queue).totals;
        match pushed {
            Pushed::New => totals.new += 1,
            Pushed::Merged | Pushed::Revived => totals.merged += 1,
            Pushed::Dirty => totals.dirty += 1,
            Pushed::Duplicate => totals.duplicate += 1,
        }
        if old.is_none_or(|stored| stored.record != record) {
            self.store(queue, key, old, Some(&record))?;
        }
        Ok(pushed)
    }

    /// Pushes a part of a range. New jobs come in one statement; only those there already that a backfill's trigger
    /// changes are looked at one by one.
    pub(crate) fn push_range(
        &mut self,
        queue: QueueName,
        repository: RepositoryId,
        numbers: RangeInclusive<u64>,
        lane: Lane,
    ) -> rusqlite::Result<RangePushed> {
        let (first, last) = (*numbers.start(), *numbers.end());
        let begin = self.head(queue).last_sequence;
        let looked_at = self.changed_by_range(queue, repository, &numbers, lane)?;
        for (key, stored) in &looked_at {
            // A job that enters the lane takes the place that belongs to its number.
            if let Name::Number(number) = key.name {
                self.head(queue).last_sequence = begin + (number - first);
            }
            self.merge(queue, key, Some(stored), Request::lean(lane), false)?;
        }
        let mut insert = self.connection.prepare_cached(
            "WITH RECURSIVE numbers (number) AS (
                 SELECT ?3 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?4)
             INSERT INTO job (queue, repository, name, state, lane, attempts, sequence)
             SELECT ?1, ?2, number, 1, ?5, 0, ?6 + number - ?3 + 1 FROM numbers WHERE true
             ON CONFLICT DO NOTHING",
        )?;
        let new = insert.execute(params![
            queue_number(queue),
            signed(repository.0),
            signed(first),
            signed(last),
            lane.index(),
            signed(begin),
        ])? as u64;
        drop(insert);
        if new > 0 {
            self.enter(queue, repository.0, lane.index(), new)?;
        }
        let merged = last - first + 1 - new;
        let head = self.head(queue);
        head.last_sequence = begin + (last - first + 1);
        head.totals.new += new;
        head.totals.merged += merged - looked_at.len() as u64;
        Ok(RangePushed { new, merged })
    }

    /// The jobs of a range that a backfill's trigger may change: all but those ready for nothing else in a lane that
    /// is urgent enough.
    fn changed_by_range(
        &self,
        queue: QueueName,
        repository: RepositoryId,
        numbers: &RangeInclusive<u64>,
        lane: Lane,
    ) -> rusqlite::Result<Vec<(Key, Stored)>> {
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM job WHERE queue = ?1 AND repository = ?2 AND name BETWEEN ?3 AND ?4
             AND NOT (state = 1 AND lane <= ?5 AND extra IS NULL)"
        ))?;
        let at = (signed(*numbers.start()), signed(*numbers.end()));
        select
            .query_map(params![queue_number(queue), signed(repository.0), at.0, at.1, lane.index()], row::read)?
            .collect()
    }

    pub(crate) fn extend(&mut self, queue: QueueName, token: Token, hold: Duration) -> rusqlite::Result<Extended> {
        let expires_at = self.now + milliseconds(hold);
        let extended = self
            .connection
            .prepare_cached("UPDATE lease SET expires_at = ?3 WHERE queue = ?1 AND token = ?2")?
            .execute(params![queue_number(queue), signed(token.0), expires_at])?;
        Ok(if extended > 0 { Extended::Until(timestamp(expires_at)) } else { Extended::Lost })
    }

    pub(crate) fn settle(
        &mut self,
        queue: QueueName,
        token: Token,
        settlements: &[Settlement],
        keys: &[(Key, Option<Key>)],
    ) -> rusqlite::Result<Vec<Settled>> {
        let mut replies = Vec::with_capacity(settlements.len());
        for (settlement, (key, follow_up)) in settlements.iter().zip(keys) {
            let settled = self.settle_one(queue, token, key, &settlement.outcome)?;
            if !matches!(settled, Settled::Stale | Settled::Gone)
                && let Some((trigger, key)) = settlement.follow_up.as_ref().zip(follow_up.as_ref())
            {
                self.push_one(key, trigger)?;
            }
            replies.push(settled);
        }
        self.connection
            .prepare_cached(
                "DELETE FROM lease WHERE queue = ?1 AND token = ?2 AND NOT EXISTS (
                     SELECT 1 FROM job INDEXED BY job_leased WHERE queue = ?1 AND token = ?2 AND state = 2)",
            )?
            .execute(params![queue_number(queue), signed(token.0)])?;
        Ok(replies)
    }

    fn settle_one(
        &mut self,
        queue: QueueName,
        token: Token,
        key: &Key,
        outcome: &Outcome,
    ) -> rusqlite::Result<Settled> {
        let Some(old) = self.get(queue, key)? else { return Ok(Settled::Gone) };
        if old.record.state != JobState::Leased || old.record.token != token.0 {
            self.head(queue).totals.stale += 1;
            return Ok(Settled::Stale);
        }
        let verdict = old.record.clone().settle(outcome, &key.subject().to_string(), self.now, self.policy);
        if verdict.settled != Settled::Gone {
            let totals = &mut self.head(queue).totals;
            totals.finished += u64::from(*outcome == Outcome::Finish);
            totals.retried += u64::from(matches!(outcome, Outcome::Retry { .. }));
            totals.buried += u64::from(verdict.settled == Settled::Buried);
        }
        self.store(queue, key, Some(&old), verdict.record.as_ref())?;
        Ok(verdict.settled)
    }

    pub(crate) fn pause(
        &mut self,
        queue: QueueName,
        repository: Option<u64>,
        until: i64,
        reason: &str,
    ) -> rusqlite::Result<()> {
        // So many as are in force, and no more.
        self.connection.prepare_cached("DELETE FROM pause WHERE until <= ?1")?.execute([self.now])?;
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO pause (queue, repository, until, reason) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![queue_number(queue), select::pause_number(repository), until, reason])?;
        Ok(())
    }

    pub(crate) fn resume(&mut self, queue: QueueName, repository: Option<u64>) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("DELETE FROM pause WHERE queue = ?1 AND repository = ?2")?
            .execute(params![queue_number(queue), select::pause_number(repository)])?;
        Ok(())
    }

    pub(crate) fn remove(&mut self, queue: QueueName, key: &Key) -> rusqlite::Result<bool> {
        let Some(old) = self.get(queue, key)? else { return Ok(false) };
        let record = old.record.clone().remove(None);
        self.store(queue, key, Some(&old), record.as_ref())?;
        Ok(true)
    }

    /// One piece of a purge: of the next [`PURGED`] jobs those that match go, or are doomed while somebody works on them.
    pub(crate) fn purge(&mut self, queue: QueueName, filter: &Filter, after: Option<&Key>) -> rusqlite::Result<Purged> {
        let (begin, end) = filter.bounds();
        let begin = after.cloned().into_iter().fold(begin, Key::max);
        // Those being worked on have an index of their own, and are as few as workers.
        if filter.state == Some(JobState::Leased) {
            let doomed = self.doom(queue, filter, &begin, &end)?;
            return Ok(Purged { doomed, ..Purged::default() });
        }
        let source = match filter.state {
            Some(JobState::Buried) => "job INDEXED BY job_buried WHERE state = 3 AND",
            _ => "job NOT INDEXED WHERE",
        };
        let last = self.last_of_piece(queue, source, &begin, &end)?;
        let end = last.as_ref().unwrap_or(&end);
        let removed = self.delete_between(queue, source, filter, &begin, end)?;
        let doomed = self.doom(queue, filter, &begin, end)?;
        Ok(Purged { removed, doomed, next: last.map(|key| key.subject().to_string()) })
    }

    /// Marks the matching jobs behind `begin` up to `end` that are being worked on for removal, and says how many.
    fn doom(&mut self, queue: QueueName, filter: &Filter, begin: &Key, end: &Key) -> rusqlite::Result<u64> {
        if filter.state.is_some_and(|state| state != JobState::Leased) {
            return Ok(0);
        }
        let leased = Filter { state: Some(JobState::Leased), ..filter.clone() };
        let mut leased = select::list(self.connection, queue, &leased, Some(begin), usize::MAX)?;
        leased.retain(|(key, _)| key <= end);
        for (key, old) in &leased {
            let record = old.record.clone().remove(filter.lane);
            self.store(queue, key, Some(old), record.as_ref())?;
        }
        Ok(leased.len() as u64)
    }

    /// The last one of the next [`PURGED`] jobs, matching or not; none if there are fewer.
    fn last_of_piece(&self, queue: QueueName, source: &str, begin: &Key, end: &Key) -> rusqlite::Result<Option<Key>> {
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM {source} queue = ?1 AND (repository, name) > (?2, ?3)
             AND (repository, name) <= (?4, ?5) ORDER BY repository, name LIMIT 1 OFFSET {}",
            PURGED - 1
        ))?;
        let last = select.query_row(between(queue, begin, end), row::read).optional()?;
        Ok(last.map(|(key, _)| key))
    }

    /// Removes the matching jobs behind `begin` up to `end` that nobody works on, and says how many.
    fn delete_between(
        &mut self,
        queue: QueueName,
        source: &str,
        filter: &Filter,
        begin: &Key,
        end: &Key,
    ) -> rusqlite::Result<u64> {
        // The bounds say which repository, so that nothing keeps SQLite from going by both of them.
        let condition = select::Matching::new(&Filter { repository: None, ..filter.clone() }).condition;
        let mut delete = self.connection.prepare_cached(&format!(
            "DELETE FROM {source} queue = ?1 AND (repository, name) > (?2, ?3) AND (repository, name) <= (?4, ?5)
             {condition} AND state <> 2 RETURNING {COLUMNS}"
        ))?;
        let mut rows = delete.query(between(queue, begin, end))?;
        let mut removed = BTreeMap::<(u64, usize), u64>::new();
        while let Some(row) = rows.next()? {
            let (key, stored) = row::read(row)?;
            *removed.entry((key.repository, slot(&stored.record))).or_default() += 1;
        }
        drop(rows);
        drop(delete);
        for ((repository, slot), jobs) in &removed {
            self.leave(queue, *repository, *slot, *jobs)?;
        }
        Ok(removed.values().sum())
    }

    pub(crate) fn revive(&mut self, queue: QueueName, filter: &Filter, limit: usize) -> rusqlite::Result<u64> {
        if filter.state.is_some_and(|state| state != JobState::Buried) {
            return Ok(0);
        }
        let filter = Filter { state: Some(JobState::Buried), ..filter.clone() };
        let buried = select::list(self.connection, queue, &filter, None, limit)?;
        for (key, old) in &buried {
            let mut record = old.record.clone();
            record.revive(self.now);
            self.store(queue, key, Some(old), Some(&record))?;
        }
        Ok(buried.len() as u64)
    }
}

/// The parameters of what goes by two keys.
fn between<'k>(queue: QueueName, begin: &'k Key, end: &'k Key) -> impl rusqlite::Params + 'k {
    let place = |key: &'k Key| (signed(key.repository), NameColumn(&key.name));
    let ((from, first), (to, last)) = (place(begin), place(end));
    (queue_number(queue), from, first, to, last)
}
