//! Leasing, in the steps that the reference model names.

use gharvest_model::{Lane, QueueName, RepositoryId};
use gharvest_queue::{
    Lease, LeaseReply, LeaseRequest, Settled, Token,
    clock::{milliseconds, timestamp},
    key::Key,
    model::{PROMOTED, SWEPT},
};
use rusqlite::{Row, params};

use super::Unit;
use crate::{
    row::{self, COLUMNS, Stored, queue_number, signed},
    select,
};

/// A lease that holds jobs.
struct Held {
    token: u64,
    request: String,
    expires_at: i64,
}

impl Unit<'_> {
    pub(crate) fn lease(&mut self, request: &LeaseRequest, max: usize) -> rusqlite::Result<LeaseReply> {
        let (queue, now) = (request.queue, self.now);
        let mut leases = self.leases(queue)?;
        let pauses = select::paused(self.connection, queue, now)?;
        let asked_before =
            |held: &&Held| !request.request.is_empty() && held.request == request.request && held.expires_at > now;
        let lease = match leases.iter().filter(asked_before).min_by_key(|held| held.token) {
            Some(held) => Some(self.replay(queue, held.token, held.expires_at)?),
            None => {
                self.sweep(queue, &mut leases)?;
                self.promote(queue)?;
                self.take(request, max, &pauses)?
            }
        };
        let ends = leases.first().map(|held| held.expires_at);
        let next_at = match pauses.iter().find(|(repository, _)| repository.is_none()) {
            Some((_, until)) => Some(*until),
            None => {
                let due = select::first_due(self.connection, queue, self.heads.of(queue))?;
                let own = lease.as_ref().map(|lease| lease.expires_at.as_millisecond());
                let pause = pauses.iter().map(|(_, until)| *until).min();
                due.into_iter().chain(ends).chain(own).chain(pause).min()
            }
        };
        Ok(LeaseReply { lease, next_at: next_at.map(timestamp) })
    }

    /// All leases, the one that ends first at the front.
    fn leases(&self, queue: QueueName) -> rusqlite::Result<Vec<Held>> {
        let mut select = self.connection.prepare_cached(
            "SELECT token, request, expires_at FROM lease WHERE queue = ?1 ORDER BY expires_at, token",
        )?;
        let read = |row: &Row<'_>| Ok(Held { token: row.get(0)?, request: row.get(1)?, expires_at: row.get(2)? });
        select.query_map([queue_number(queue)], read)?.collect()
    }

    fn replay(&self, queue: QueueName, token: u64, expires_at: i64) -> rusqlite::Result<Lease> {
        let mut jobs = self.held(queue, token)?;
        jobs.sort_by_key(|(_, stored)| (stored.record.request.lane, stored.sequence));
        let jobs = jobs.into_iter().map(|(key, stored)| stored.record.job(key.subject())).collect();
        Ok(Lease { token: Token(token), expires_at: timestamp(expires_at), jobs })
    }

    /// The jobs of a lease, in the order of their keys.
    fn held(&self, queue: QueueName, token: u64) -> rusqlite::Result<Vec<(Key, Stored)>> {
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM job INDEXED BY job_leased WHERE queue = ?1 AND token = ?2 AND state = 2
             ORDER BY repository, name"
        ))?;
        select.query_map(params![queue_number(queue), signed(token)], row::read)?.collect()
    }

    /// Recovers the jobs of leases that ran out, some at once.
    fn sweep(&mut self, queue: QueueName, leases: &mut Vec<Held>) -> rusqlite::Result<()> {
        let ended = leases.iter().take(SWEPT).take_while(|held| held.expires_at <= self.now).count();
        for Held { token, .. } in leases.drain(..ended) {
            for (key, old) in self.held(queue, token)? {
                let verdict = old.record.clone().expire(&key.subject().to_string(), self.now, self.policy);
                let totals = &mut self.head(queue).totals;
                totals.lost += 1;
                totals.buried += u64::from(verdict.settled == Settled::Buried);
                self.store(queue, &key, Some(&old), verdict.record.as_ref())?;
            }
            self.connection
                .prepare_cached("DELETE FROM lease WHERE queue = ?1 AND token = ?2")?
                .execute(params![queue_number(queue), signed(token)])?;
        }
        Ok(())
    }

    /// Makes delayed jobs ready whose time has come.
    fn promote(&mut self, queue: QueueName) -> rusqlite::Result<()> {
        if self.head(queue).jobs[5] == 0 {
            return Ok(());
        }
        let mut due = Vec::new();
        for lane in Lane::ALL {
            let mut select = self.connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM job INDEXED BY job_delayed
                 WHERE queue = ?1 AND lane = ?2 AND at <= ?3 AND state = 0 ORDER BY at, repository, name LIMIT ?4"
            ))?;
            let rows = select.query_map(params![queue_number(queue), lane.index(), self.now, PROMOTED], row::read)?;
            for row in rows {
                due.push(row?);
            }
        }
        due.sort_by(|(a_key, a), (b_key, b)| (a.record.at, a_key).cmp(&(b.record.at, b_key)));
        for (key, old) in due.iter().take(PROMOTED) {
            let mut record = old.record.clone();
            record.promote();
            self.store(queue, key, Some(old), Some(&record))?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        request: &LeaseRequest,
        max: usize,
        pauses: &[(Option<u64>, i64)],
    ) -> rusqlite::Result<Option<Lease>> {
        let queue = request.queue;
        let wanted = request.repository.map(|repository| repository.0);
        if pauses.iter().any(|(paused, _)| paused.is_none() || *paused == wanted) {
            return Ok(None);
        }
        let Some((lane, repository)) = self.choose(queue, request.repository)? else { return Ok(None) };
        let jobs = self.waiting(queue, lane, repository, max)?;
        if jobs.is_empty() {
            return Ok(None);
        }
        let now = self.now;
        let head = self.head(queue);
        let token = (head.last_token + 1).max(now.max(0).unsigned_abs() * 1024);
        head.last_token = token;
        let expires_at = now + milliseconds(request.hold);
        self.connection
            .prepare_cached("INSERT INTO lease (queue, token, request, expires_at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![queue_number(queue), signed(token), request.request, expires_at])?;
        self.charge(queue, repository, &jobs)?;
        let mut leased = Vec::with_capacity(jobs.len());
        for (key, old) in jobs {
            let mut record = old.record;
            record.lease(token);
            self.write(queue, &key, &record, old.sequence)?;
            leased.push(record.job(key.subject()));
        }
        self.enter(queue, repository, 6, leased.len() as u64)?;
        Ok(Some(Lease { token: Token(token), expires_at: timestamp(expires_at), jobs: leased }))
    }

    /// The lane and the repository whose turn it is.
    fn choose(&mut self, queue: QueueName, wanted: Option<RepositoryId>) -> rusqlite::Result<Option<(Lane, u64)>> {
        let now = self.now;
        if let Some(RepositoryId(repository)) = wanted {
            let jobs = select::tally(self.connection, queue, repository)?;
            let lanes = Lane::ALL.into_iter().filter(|lane| jobs[lane.index()] > 0);
            return Ok(self.head(queue).schedule.choose(lanes).map(|lane| (lane, repository)));
        }
        let mut turns = Vec::with_capacity(Lane::ALL.len());
        for lane in Lane::ALL {
            if self.head(queue).jobs[lane.index()] > 0
                && let Some((repository, time)) = select::turn(self.connection, queue, lane, now)?
            {
                turns.push((lane, repository, time));
            }
        }
        let schedule = &mut self.head(queue).schedule;
        let Some(lane) = schedule.choose(turns.iter().map(|(lane, ..)| *lane)) else { return Ok(None) };
        let turn = turns.into_iter().find(|(found, ..)| *found == lane);
        Ok(turn.map(|(lane, repository, time)| {
            schedule.begin_turn(lane, time);
            (lane, repository)
        }))
    }

    /// The jobs of a batch: the lane's in their order, then those of less urgent lanes; a suspect alone or not at all.
    fn waiting(
        &self,
        queue: QueueName,
        first: Lane,
        repository: u64,
        max: usize,
    ) -> rusqlite::Result<Vec<(Key, Stored)>> {
        let mut jobs = Vec::new();
        let ready = self.heads.of(queue).jobs;
        for lane in Lane::ALL.into_iter().filter(|lane| *lane >= first && ready[lane.index()] > 0) {
            let mut select = self.connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM job INDEXED BY job_ready
                 WHERE queue = ?1 AND repository = ?2 AND lane = ?3 AND state = 1 ORDER BY sequence LIMIT ?4"
            ))?;
            let room = max - jobs.len();
            let at = params![queue_number(queue), signed(repository), lane.index(), room];
            for row in select.query_map(at, row::read)? {
                let (key, stored) = row?;
                let suspect = stored.record.lost > 0;
                if suspect && !jobs.is_empty() {
                    return Ok(jobs);
                }
                jobs.push((key, stored));
                if suspect {
                    return Ok(jobs);
                }
            }
            if jobs.len() == max {
                break;
            }
        }
        Ok(jobs)
    }

    /// Charges each lane for what is taken from it, and counts that out.
    fn charge(&mut self, queue: QueueName, repository: u64, jobs: &[(Key, Stored)]) -> rusqlite::Result<()> {
        for lane in Lane::ALL {
            let taken = jobs.iter().filter(|(_, stored)| stored.record.request.lane == lane).count() as u64;
            if taken == 0 {
                continue;
            }
            let (number, id, slot) = (queue_number(queue), signed(repository), lane.index());
            let (ready, time): (u64, u64) = self
                .connection
                .prepare_cached("SELECT jobs, time FROM tally WHERE queue = ?1 AND repository = ?2 AND slot = ?3")?
                .query_row((number, id, slot), |row| Ok((row.get(0)?, row.get(1)?)))?;
            let head = self.head(queue);
            let time = head.schedule.charge(lane, time, taken);
            head.jobs[slot] = head.jobs[slot].saturating_sub(taken);
            if ready > taken {
                self.connection
                    .prepare_cached(
                        "UPDATE tally SET jobs = ?4, time = ?5 WHERE queue = ?1 AND repository = ?2 AND slot = ?3",
                    )?
                    .execute((number, id, slot, signed(ready - taken), signed(time)))?;
            } else {
                self.connection
                    .prepare_cached("DELETE FROM tally WHERE queue = ?1 AND repository = ?2 AND slot = ?3")?
                    .execute((number, id, slot))?;
            }
        }
        Ok(())
    }
}
