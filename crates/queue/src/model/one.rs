//! One of the two queues of the model.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use gharvest_model::{Lane, QueueName, RepositoryId};

use super::{PROMOTED, PURGED, SWEPT};
use crate::{
    Counts, Extended, Filter, JobState, JobView, Lease, LeaseReply, LeaseRequest, Outcome, Paused, Policy, Purged,
    Pushed, RangePushed, Settled, Timing, Token, Totals, Trigger,
    clock::{milliseconds, timestamp},
    key::{Key, Name},
    rules::{Record, Request},
    schedule::Schedule,
    wake::Outlook,
};

/// Everything about one queue.
#[derive(Debug, Clone, Default)]
pub(super) struct One {
    jobs: BTreeMap<Key, Stored>,
    leases: BTreeMap<u64, Held>,
    /// The repositories with ready jobs, by lane.
    ring: BTreeMap<(Lane, u64), Turn>,
    schedule: Schedule,
    /// Until when and why: the whole queue (none), or one repository.
    pub(super) pauses: BTreeMap<Option<u64>, (i64, String)>,
    pub(super) totals: Totals,
    last_token: u64,
    last_sequence: u64,
}

#[derive(Debug, Clone)]
struct Stored {
    record: Record,
    /// Its place among the ready jobs of its repository and lane; kept while it is leased.
    sequence: u64,
}

#[derive(Debug, Clone)]
struct Held {
    request: String,
    expires_at: i64,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    ready: u64,
    time: u64,
}

impl One {
    pub(super) fn push(&mut self, key: Key, trigger: &Trigger, now: i64, policy: &Policy) -> Pushed {
        self.merge(key, Request::new(trigger, now), trigger.timing == Timing::Now, now, policy)
    }

    pub(super) fn push_range(
        &mut self,
        repository: RepositoryId,
        numbers: RangeInclusive<u64>,
        lane: Lane,
        now: i64,
        policy: &Policy,
    ) -> RangePushed {
        let mut pushed = RangePushed::default();
        for number in numbers {
            let key = Key { repository: repository.0, name: Name::Number(number) };
            match self.merge(key, Request::lean(lane), false, now, policy) {
                Pushed::New => pushed.new += 1,
                _ => pushed.merged += 1,
            }
        }
        pushed
    }

    fn merge(&mut self, key: Key, request: Request, hurry: bool, now: i64, policy: &Policy) -> Pushed {
        let (record, pushed) = match self.jobs.get(&key) {
            None => (Record::new(request, now, policy), Pushed::New),
            Some(stored) => {
                let mut record = stored.record.clone();
                let pushed = record.trigger(request, hurry, now, policy);
                (record, pushed)
            }
        };
        match pushed {
            Pushed::New => self.totals.new += 1,
            Pushed::Merged | Pushed::Revived => self.totals.merged += 1,
            Pushed::Dirty => self.totals.dirty += 1,
            Pushed::Duplicate => self.totals.duplicate += 1,
        }
        self.store(key, Some(record));
        pushed
    }

    /// The only way a job changes: keeps the ring in step, and appends to a lane what enters it.
    fn store(&mut self, key: Key, record: Option<Record>) {
        let old = self.jobs.get(&key);
        let sequence = old.map_or(0, |stored| stored.sequence);
        let left = old.and_then(|stored| stored.record.ready_lane());
        let entered = record.as_ref().and_then(Record::ready_lane);
        if left != entered {
            if let Some(lane) = left {
                self.leave(lane, key.repository);
            }
            if let Some(lane) = entered {
                self.enter(lane, key.repository);
            }
        }
        match record {
            None => {
                self.jobs.remove(&key);
            }
            Some(record) if left != entered && entered.is_some() => {
                self.last_sequence += 1;
                self.jobs.insert(key, Stored { record, sequence: self.last_sequence });
            }
            Some(record) => {
                self.jobs.insert(key, Stored { record, sequence });
            }
        }
    }

    /// A repository that joins a lane begins at the virtual time of who was served there last.
    fn enter(&mut self, lane: Lane, repository: u64) {
        let time = self.schedule.ring[lane.index()];
        self.ring.entry((lane, repository)).or_insert(Turn { ready: 0, time }).ready += 1;
    }

    fn leave(&mut self, lane: Lane, repository: u64) {
        if let Some(turn) = self.ring.get_mut(&(lane, repository)) {
            turn.ready -= 1;
            if turn.ready == 0 {
                self.ring.remove(&(lane, repository));
            }
        }
    }

    pub(super) fn lease(&mut self, request: &LeaseRequest, max: usize, now: i64, policy: &Policy) -> LeaseReply {
        if let Some(lease) = self.replay(&request.request, now) {
            return LeaseReply { lease: Some(lease), next_at: self.next_at(now) };
        }
        self.sweep(now, policy);
        self.promote(now);
        let keys = self.take(request.repository, max, now);
        if keys.is_empty() {
            return LeaseReply { lease: None, next_at: self.next_at(now) };
        }
        let token = (self.last_token + 1).max(now.max(0).unsigned_abs() * 1024);
        self.last_token = token;
        let expires_at = now + milliseconds(request.hold);
        self.leases.insert(token, Held { request: request.request.clone(), expires_at });
        let mut jobs = Vec::with_capacity(keys.len());
        for key in keys {
            let mut record = self.jobs[&key].record.clone();
            record.lease(token);
            jobs.push(record.job(key.subject()));
            self.store(key, Some(record));
        }
        let lease = Lease { token: Token(token), expires_at: timestamp(expires_at), jobs };
        LeaseReply { lease: Some(lease), next_at: self.next_at(now) }
    }

    fn replay(&self, request: &str, now: i64) -> Option<Lease> {
        let alive = |held: &Held| !request.is_empty() && held.request == request && held.expires_at > now;
        let (token, held) = self.leases.iter().find(|(_, held)| alive(held))?;
        let mut jobs: Vec<_> = self.jobs.iter().filter(|(_, stored)| stored.record.token == *token).collect();
        jobs.sort_by_key(|(_, stored)| (stored.record.request.lane, stored.sequence));
        let jobs = jobs.into_iter().map(|(key, stored)| stored.record.job(key.subject())).collect();
        Some(Lease { token: Token(*token), expires_at: timestamp(held.expires_at), jobs })
    }

    fn sweep(&mut self, now: i64, policy: &Policy) {
        let mut ended: Vec<_> = self.leases.iter().filter(|(_, held)| held.expires_at <= now).collect();
        ended.sort_by_key(|(token, held)| (held.expires_at, **token));
        let tokens: Vec<u64> = ended.into_iter().take(SWEPT).map(|(token, _)| *token).collect();
        for token in tokens {
            self.leases.remove(&token);
            let held = |(_, stored): &(&Key, &Stored)| stored.record.token == token;
            let jobs: Vec<_> =
                self.jobs.iter().filter(held).map(|(key, stored)| (key.clone(), stored.record.clone())).collect();
            for (key, record) in jobs {
                let name = key.subject().to_string();
                let verdict = record.expire(&name, now, policy);
                self.totals.lost += 1;
                self.totals.buried += u64::from(verdict.settled == Settled::Buried);
                self.store(key, verdict.record);
            }
        }
    }

    fn promote(&mut self, now: i64) {
        let mut due = self.delayed().filter(|(at, _)| *at <= now).collect::<Vec<_>>();
        due.sort();
        let keys: Vec<Key> = due.into_iter().take(PROMOTED).map(|(_, key)| key.clone()).collect();
        for key in keys {
            let mut record = self.jobs[&key].record.clone();
            record.promote();
            self.store(key, Some(record));
        }
    }

    fn delayed(&self) -> impl Iterator<Item = (i64, &Key)> {
        let delayed = self.jobs.iter().filter(|(_, stored)| stored.record.state == JobState::Delayed);
        delayed.map(|(key, stored)| (stored.record.at.unwrap_or(0), key))
    }

    /// Chooses the jobs of a lease and charges their lanes.
    fn take(&mut self, repository: Option<RepositoryId>, max: usize, now: i64) -> Vec<Key> {
        if self.is_paused(None, now) {
            return Vec::new();
        }
        let Some((lane, chosen)) = self.choose(repository, now) else { return Vec::new() };
        if repository.is_none() {
            self.schedule.begin_turn(lane, self.ring[&(lane, chosen)].time);
        }
        let mut waiting: Vec<_> = self
            .jobs
            .iter()
            .filter(|(key, _)| key.repository == chosen)
            .filter_map(|(key, stored)| Some((stored.record.ready_lane()?, stored, key)))
            .filter(|(found, _, _)| *found >= lane)
            .collect();
        waiting.sort_by_key(|(lane, stored, _)| (*lane, stored.sequence));
        let innocent = waiting.iter().take_while(|(_, stored, _)| stored.record.lost == 0).count();
        let taken: Vec<(Lane, Key)> =
            waiting.into_iter().take(innocent.max(1).min(max)).map(|(lane, _, key)| (lane, key.clone())).collect();
        for lane in Lane::ALL {
            let jobs = taken.iter().filter(|(from, _)| *from == lane).count() as u64;
            if jobs > 0
                && let Some(turn) = self.ring.get_mut(&(lane, chosen))
            {
                turn.time = self.schedule.charge(lane, turn.time, jobs);
            }
        }
        taken.into_iter().map(|(_, key)| key).collect()
    }

    fn choose(&self, repository: Option<RepositoryId>, now: i64) -> Option<(Lane, u64)> {
        let open =
            |(_, id): &(Lane, u64)| repository.is_none_or(|wanted| wanted.0 == *id) && !self.is_paused(Some(*id), now);
        let lane = self.schedule.choose(self.ring.keys().filter(|turn| open(turn)).map(|(lane, _)| *lane))?;
        let mut turns = self.ring.iter().filter(|(turn, _)| turn.0 == lane && open(turn)).collect::<Vec<_>>();
        turns.sort_by_key(|((_, id), turn)| (turn.time, *id));
        turns.first().map(|((_, id), _)| (lane, *id))
    }

    fn is_paused(&self, repository: Option<u64>, now: i64) -> bool {
        self.pauses.get(&repository).is_some_and(|(until, _)| *until > now)
    }

    /// The end of the queue's pause; else the first due time, lease end or end of a repository's pause.
    fn next_at(&self, now: i64) -> Option<jiff::Timestamp> {
        self.outlook(now).next_at.map(timestamp)
    }

    pub(super) fn outlook(&self, now: i64) -> Outlook {
        if let Some((until, _)) = self.pauses.get(&None).filter(|(until, _)| *until > now) {
            return Outlook { now, work: false, next_at: Some(*until) };
        }
        let due = self.delayed().map(|(at, _)| at).min();
        let ends = self.leases.values().map(|held| held.expires_at).min();
        let pauses = self.pauses.values().map(|(until, _)| *until).filter(|until| *until > now).min();
        let work = self.choose(None, now).is_some() || due.into_iter().chain(ends).any(|at| at <= now);
        Outlook { now, work, next_at: due.into_iter().chain(ends).chain(pauses).min() }
    }

    pub(super) fn extend(&mut self, token: Token, hold: Duration, now: i64) -> Extended {
        match self.leases.get_mut(&token.0) {
            None => Extended::Lost,
            Some(held) => {
                held.expires_at = now + milliseconds(hold);
                Extended::Until(timestamp(held.expires_at))
            }
        }
    }

    pub(super) fn settle(&mut self, key: &Key, token: Token, outcome: &Outcome, now: i64, policy: &Policy) -> Settled {
        let Some(stored) = self.jobs.get(key) else { return Settled::Gone };
        if stored.record.state != JobState::Leased || stored.record.token != token.0 {
            self.totals.stale += 1;
            return Settled::Stale;
        }
        let verdict = stored.record.clone().settle(outcome, &key.subject().to_string(), now, policy);
        if verdict.settled != Settled::Gone {
            self.totals.finished += u64::from(*outcome == Outcome::Finish);
            self.totals.retried += u64::from(matches!(outcome, Outcome::Retry { .. }));
            self.totals.buried += u64::from(verdict.settled == Settled::Buried);
        }
        self.store(key.clone(), verdict.record);
        if !self.jobs.values().any(|stored| stored.record.token == token.0) {
            self.leases.remove(&token.0);
        }
        verdict.settled
    }

    /// The keys of the jobs that match, in order.
    pub(super) fn matching(&self, filter: &Filter) -> Vec<Key> {
        let matches = |(key, stored): &(&Key, &Stored)| {
            filter.matches(&key.subject(), stored.record.request.lane, stored.record.state)
        };
        self.jobs.iter().filter(matches).map(|(key, _)| key.clone()).collect()
    }

    /// Removes a job, and says whether somebody works on it; none if there is none.
    pub(super) fn remove(&mut self, key: &Key, lane: Option<Lane>) -> Option<bool> {
        let record = self.jobs.get(key)?.record.clone().remove(lane);
        let doomed = record.is_some();
        self.store(key.clone(), record);
        Some(doomed)
    }

    /// One piece of a purge.
    pub(super) fn purge(&mut self, filter: &Filter, after: Option<&Key>) -> Purged {
        let (from, to) = filter.bounds();
        let is_next = |key: &&Key| *key > after.unwrap_or(&from).max(&from) && **key <= to;
        let keys: Vec<Key> = self.jobs.keys().filter(is_next).take(PURGED).cloned().collect();
        let mut purged = Purged::default();
        for key in &keys {
            let stored = &self.jobs[key];
            if filter.matches(&key.subject(), stored.record.request.lane, stored.record.state) {
                match self.remove(key, filter.lane) {
                    Some(true) => purged.doomed += 1,
                    _ => purged.removed += 1,
                }
            }
        }
        purged.next = keys.last().filter(|_| keys.len() == PURGED).map(|key| key.subject().to_string());
        purged
    }

    pub(super) fn revive(&mut self, filter: &Filter, limit: usize, now: i64) -> u64 {
        let mut revived = 0;
        for key in self.matching(filter) {
            let mut record = self.jobs[&key].record.clone();
            if record.state == JobState::Buried && revived < limit as u64 {
                record.revive(now);
                self.store(key, Some(record));
                revived += 1;
            }
        }
        revived
    }

    /// Counts without totals; `paused` is the pause of what is counted.
    pub(super) fn counts(&self, repository: Option<u64>, now: i64) -> Counts {
        let mut counts = Counts::default();
        for (key, stored) in &self.jobs {
            if repository.is_none_or(|repository| repository == key.repository) {
                match stored.record.state {
                    JobState::Delayed => counts.delayed += 1,
                    JobState::Ready => counts.ready[stored.record.request.lane.index()] += 1,
                    JobState::Leased => counts.leased += 1,
                    JobState::Buried => counts.buried += 1,
                }
            }
        }
        counts.paused = self.pauses_in_force(now).remove(&repository);
        counts
    }

    pub(super) fn pauses_in_force(&self, now: i64) -> BTreeMap<Option<u64>, Paused> {
        let in_force = self.pauses.iter().filter(|(_, (until, _))| *until > now);
        in_force
            .map(|(repository, (until, reason))| {
                (*repository, Paused { until: timestamp(*until), reason: reason.clone() })
            })
            .collect()
    }

    pub(super) fn view(&self, queue: QueueName, key: &Key) -> Option<JobView> {
        let record = &self.jobs.get(key)?.record;
        let lease_end = self.leases.get(&record.token).map(|held| held.expires_at);
        Some(record.view(queue, key.subject(), lease_end))
    }

    pub(super) fn oldest(&self, now: i64) -> [Option<i64>; 5] {
        let mut oldest: [Option<i64>; 5] = [None; 5];
        for Stored { record, .. } in self.jobs.values() {
            if matches!(record.state, JobState::Ready | JobState::Delayed)
                && let Some(at) = record.at.filter(|at| *at <= now)
            {
                let slot = &mut oldest[record.request.lane.index()];
                *slot = Some(slot.map_or(at, |known| known.min(at)));
            }
        }
        oldest
    }

    /// What is kept twice must agree: ready jobs and the ring, leased jobs and leases.
    pub(super) fn verify(&self, queue: QueueName) -> Vec<String> {
        let mut problems = Vec::new();
        let mut ready = BTreeMap::<(Lane, u64), u64>::new();
        for (key, stored) in &self.jobs {
            if let Some(lane) = stored.record.ready_lane() {
                *ready.entry((lane, key.repository)).or_default() += 1;
            }
            if stored.record.state == JobState::Leased && !self.leases.contains_key(&stored.record.token) {
                problems.push(format!("{queue}: {} is leased, but there is no such lease", key.subject()));
            }
        }
        if ready != self.ring.iter().map(|(turn, state)| (*turn, state.ready)).collect() {
            problems.push(format!("{queue}: the ring does not hold the ready jobs"));
        }
        for token in self.leases.keys() {
            if !self.jobs.values().any(|stored| stored.record.token == *token) {
                problems.push(format!("{queue}: the lease {token} holds no job"));
            }
        }
        problems
    }
}
