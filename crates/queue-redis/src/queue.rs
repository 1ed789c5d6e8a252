//! The Queue port on Redis.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc, time::Duration};

use async_trait::async_trait;
use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use gharvest_queue::{
    Counts, Durability, Extended, Filter, Job, JobState, JobView, Lease, LeaseReply, LeaseRequest, Paused, Policy,
    Purged, Pushed, Queue, QueueAdmin, RangePushed, Result, Scope, Settled, Settlement, Token, Totals, Trigger, check,
    clock::{Clock, milliseconds, timestamp},
    key::{Key, Name},
    wake::{self, Outlook},
};
use jiff::Timestamp;
use redis::{FromRedisValue, Script};
use tokio::sync::Notify;

use crate::{
    arguments::{self, Kind, Kinds},
    caller::Caller,
    connection::{Connections, field},
    error::{queue_error, unexpected},
    listener::{Listener, Signals},
    push::{Push, Pusher},
    record::{self, member, padded},
    scripts::Scripts,
};

/// Numbers of a range pushed by one script: milliseconds of Redis' time, so that nobody waits long.
const RANGE_CHUNK: u64 = 512;
/// Numbers whose records share a key, as the scripts have it.
const BUCKET: u64 = 64;
/// Members changed by one script.
const MEMBER_CHUNK: usize = 200;

/// The queue on Redis.
#[derive(Debug)]
pub struct RedisQueue {
    caller: Caller,
    /// For what goes through many jobs.
    bulk: Caller,
    scripts: Scripts,
    pusher: Pusher,
    signals: Signals,
    _listener: Listener,
}

impl RedisQueue {
    /// Connects to `redis://HOST:PORT/DB`, to a cluster by one or several of its nodes separated by commas, or to a
    /// primary and its replicas so separated, and checks that the server is new enough and throws nothing away.
    pub async fn connect(url: &str, namespace: &str, policy: Policy) -> Result<Arc<Self>> {
        Self::connect_with_clock(url, namespace, policy, Clock::System).await
    }

    /// The same with a clock of a test's own.
    pub async fn connect_with_clock(
        url: &str,
        namespace: &str,
        policy: Policy,
        clock: impl Into<Clock>,
    ) -> Result<Arc<Self>> {
        policy.validate()?;
        let connections = Connections::open(url).await.map_err(|trouble| queue_error("connect", trouble))?;
        let queue = Self::over(connections, namespace, &policy, clock.into());
        // On a cluster this finds the node that has our keys.
        queue.now().await?;
        Ok(Arc::new(queue))
    }

    /// A queue that connects once it is used, for who can do without it for a while. Whether the server is there, and fit,
    /// is said by each use.
    ///
    /// # Errors
    /// When the address or the policy cannot be right.
    pub fn connect_later(url: &str, namespace: &str, policy: Policy) -> Result<Arc<Self>> {
        policy.validate()?;
        let connections = Connections::to(url).map_err(|trouble| queue_error("connect", trouble))?;
        Ok(Arc::new(Self::over(connections, namespace, &policy, Clock::System)))
    }

    fn over(connections: Connections, namespace: &str, policy: &Policy, clock: Clock) -> Self {
        let prefix = format!("gharvest:{{{namespace}}}:");
        let signals = Signals::default();
        let heard = signals.clone();
        let channel = format!("{prefix}wake");
        let listener = Listener::start(connections.clone(), channel, move |queue| heard_of(&heard, queue.as_deref()));
        let caller = Caller::new(connections, prefix, policy, clock);
        let scripts = Scripts::new();
        let pusher = Pusher::start(caller.clone(), scripts.push.clone());
        let bulk = caller.in_bulk();
        Self { caller, bulk, scripts, pusher, signals, _listener: listener }
    }

    /// Runs a script that changes something. Our own waiters look again at once; other processes hear of it by `wake`.
    async fn run<T: FromRedisValue + Send>(
        &self,
        caller: &Caller,
        operation: &'static str,
        script: &Script,
        queue: QueueName,
        arguments: &[String],
    ) -> Result<T> {
        let reply = caller.run(operation, script, queue, arguments).await;
        self.signal(queue).notify_waiters();
        reply
    }

    fn signal(&self, queue: QueueName) -> &Notify {
        match queue {
            QueueName::Download => &self.signals.download,
            QueueName::Index => &self.signals.index,
        }
    }

    async fn outlook(&self, operation: &'static str, queue: QueueName) -> Result<Outlook> {
        let (work, next_at, now): (String, String, String) =
            self.caller.run(operation, &self.scripts.outlook, queue, &[]).await?;
        let now = now.parse().map_err(|_| unexpected(operation, &now))?;
        Ok(Outlook { now, work: work == "1", next_at: next_at.parse().ok() })
    }

    /// All jobs of a repository, or of all, from a place on; `take` says whether to go on.
    async fn browse(
        &self,
        queue: QueueName,
        repository: Option<RepositoryId>,
        from: Option<&Key>,
        mut take: impl FnMut(JobView) -> bool,
    ) -> Result<()> {
        let mut place = match (repository, from) {
            (_, Some(key)) => (padded(key.repository), bucket(&key.name)),
            (Some(repository), None) => (padded(repository.0), "0".to_owned()),
            (None, None) => (String::new(), "0".to_owned()),
        };
        let only = if repository.is_some() { "1" } else { "" }.to_owned();
        loop {
            let arguments = [place.0, place.1, only.clone()];
            let reply: Vec<String> = self.bulk.run("list", &self.scripts.browse, queue, &arguments).await?;
            let [next, bucket, found @ ..] = reply.as_slice() else {
                return Err(unexpected("list", "too little"));
            };
            for job in found.chunks_exact(4) {
                if !take(shown(queue, job)?) {
                    return Ok(());
                }
            }
            if next.is_empty() {
                return Ok(());
            }
            place = (next.clone(), bucket.clone());
        }
    }

    /// The members of the jobs that match, in order, at most `limit`.
    async fn matching(
        &self,
        queue: QueueName,
        filter: &Filter,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<JobView>> {
        if filter.state == Some(JobState::Buried) {
            return self.matching_buried(queue, filter, after, limit).await;
        }
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        // Where the place is in another repository than the one asked for, that one is walked whole or not at all.
        let within = after.filter(|after| filter.repository.is_none_or(|repository| repository.0 == after.repository));
        self.browse(queue, filter.repository, within, |job| {
            let key = Key::new("list", &job.subject).ok();
            if filter.matches(&job.subject, job.lane, job.state) && after.is_none_or(|after| key.as_ref() > Some(after))
            {
                found.push(job);
            }
            found.len() < limit
        })
        .await?;
        Ok(found)
    }

    /// Buried jobs are few and have an index of their own.
    async fn matching_buried(
        &self,
        queue: QueueName,
        filter: &Filter,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<JobView>> {
        let mut found = Vec::new();
        let mut from = after.map(member).unwrap_or_default();
        while found.len() < limit {
            let reply: Vec<String> =
                self.bulk.run("list", &self.scripts.dead, queue, std::slice::from_ref(&from)).await?;
            let Some([last, ..]) = reply.chunks_exact(4).last() else { break };
            from.clone_from(last);
            for job in reply.chunks_exact(4) {
                let job = shown(queue, job)?;
                if found.len() < limit && filter.matches(&job.subject, job.lane, job.state) {
                    found.push(job);
                }
            }
        }
        Ok(found)
    }

    async fn job_of(&self, queue: QueueName, member: &str) -> Result<Option<JobView>> {
        let reply: Vec<String> = self.caller.run("job", &self.scripts.job, queue, &[member.to_owned()]).await?;
        let [packed, failure, lease_end] = reply.as_slice() else { return Ok(None) };
        let view = record::view(queue, member, packed, failure, lease_end);
        view.map(Some).ok_or_else(|| unexpected("job", packed))
    }
}

/// Where browsing finds a name: its bucket, or `p` for parts and texts.
fn bucket(name: &Name) -> String {
    match name {
        Name::Number(number) => (number / BUCKET).to_string(),
        Name::Text(_) => "p".to_owned(),
    }
}

fn heard_of(signals: &Signals, queue: Option<&str>) {
    if queue != Some(QueueName::Index.as_str()) {
        signals.download.notify_waiters();
    }
    if queue != Some(QueueName::Download.as_str()) {
        signals.index.notify_waiters();
    }
}

/// A job of a list: member, record, failure and lease end.
fn shown(queue: QueueName, job: &[String]) -> Result<JobView> {
    let view = record::view(queue, &job[0], &job[1], &job[2], &job[3]);
    view.ok_or_else(|| unexpected("list", &job[1]))
}

/// The repository and the place within it at which a piece of a purge begins, see `scripts/purge.lua`.
fn purge_from(filter: &Filter, after: Option<&str>) -> Result<(String, String)> {
    let wanted = filter.repository.map(|repository| padded(repository.0)).unwrap_or_default();
    let is_buried = filter.state == Some(JobState::Buried);
    let Some(after) = after else {
        let first = filter.numbers.as_ref().map_or(0, |numbers| numbers.start() / BUCKET);
        return Ok((wanted, if is_buried { String::new() } else { first.to_string() }));
    };
    let is_place = |place: &str| match is_buried {
        true => record::key(place).is_some(),
        false => place == "p" || place.parse::<u64>().is_ok(),
    };
    match after.split_once('|') {
        Some((repository, place))
            if is_place(place)
                && (wanted.is_empty() || wanted == repository)
                && (repository.is_empty() || record::repository(repository).is_some()) =>
        {
            Ok((repository.to_owned(), place.to_owned()))
        }
        _ => Err(check::no_place("purge", after)),
    }
}

fn settled(letter: u8) -> Result<Settled> {
    Ok(match letter {
        b'f' => Settled::Finished,
        b'w' => Settled::Waiting,
        b'b' => Settled::Buried,
        b's' => Settled::Stale,
        b'g' => Settled::Gone,
        other => return Err(unexpected("settle", &char::from(other).to_string())),
    })
}

/// A job of a lease: numbers and its reasons as JSON (nothing for none) by `|`, and behind the end of the line its
/// member.
fn job(text: &str) -> Option<Job> {
    let (fields, member) = text.split_once('\n')?;
    let mut fields = fields.splitn(6, '|');
    let mut next = || fields.next();
    Some(Job {
        lane: *Lane::ALL.get(next()?.parse::<usize>().ok()?)?,
        attempt: next()?.parse().ok()?,
        lost: next()?.parse().ok()?,
        first_at: next()?.parse().ok().map(timestamp),
        last_at: next()?.parse().ok().map(timestamp),
        subject: record::key(member)?.subject(),
        reasons: match next()? {
            "" => Vec::new(),
            reasons => serde_json::from_str(reasons).ok()?,
        },
    })
}

#[async_trait]
impl Queue for RedisQueue {
    async fn push(&self, triggers: &[Trigger], delivery: Option<&str>) -> Result<Vec<Pushed>> {
        let keys = check::triggers(triggers, delivery)?;
        if triggers.is_empty() && delivery.is_none() {
            return Ok(Vec::new());
        }
        let pushed = self.pusher.push(Push::new(triggers, &keys, delivery)).await;
        self.signals.download.notify_waiters();
        self.signals.index.notify_waiters();
        pushed
    }

    async fn push_range(
        &self,
        queue: QueueName,
        repository: RepositoryId,
        numbers: RangeInclusive<u64>,
        lane: Lane,
    ) -> Result<RangePushed> {
        let count = check::range(repository, &numbers)?;
        let mut sum = RangePushed::default();
        let (mut from, last) = numbers.into_inner();
        if count == 0 {
            return Ok(sum);
        }
        while from <= last {
            let to = last.min(from + RANGE_CHUNK - 1);
            let arguments = [padded(repository.0), from.to_string(), to.to_string(), lane.index().to_string()];
            let (new, merged): (u64, u64) =
                self.run(&self.bulk, "push_range", &self.scripts.push_range, queue, &arguments).await?;
            sum.new += new;
            sum.merged += merged;
            from = to + 1;
        }
        Ok(sum)
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<LeaseReply> {
        let max = check::lease(request)?;
        let repository = request.repository.map(|repository| padded(repository.0)).unwrap_or_default();
        let arguments = [max.to_string(), milliseconds(request.hold).to_string(), repository, request.request.clone()];
        let reply: Vec<String> =
            self.run(&self.caller, "lease", &self.scripts.lease, request.queue, &arguments).await?;
        let [next_at, held @ ..] = reply.as_slice() else { return Err(unexpected("lease", "nothing")) };
        let next_at = next_at.parse().ok().map(timestamp);
        let [token, expires_at, jobs @ ..] = held else { return Ok(LeaseReply { lease: None, next_at }) };
        let lease = (|| {
            let jobs: Option<Vec<Job>> = jobs.iter().map(|text| job(text)).collect();
            Some(Lease {
                token: Token(token.parse().ok()?),
                expires_at: timestamp(expires_at.parse().ok()?),
                jobs: jobs?,
            })
        })();
        Ok(LeaseReply {
            lease: Some(lease.ok_or_else(|| unexpected("lease", "a lease that cannot be read"))?),
            next_at,
        })
    }

    async fn extend(&self, queue: QueueName, token: Token, hold: Duration) -> Result<Extended> {
        let arguments = [format!("{:016}", token.0), milliseconds(hold).to_string()];
        let reply: String = self.run(&self.caller, "extend", &self.scripts.extend, queue, &arguments).await?;
        Ok(reply.parse().map_or(Extended::Lost, |until| Extended::Until(timestamp(until))))
    }

    async fn settle(&self, queue: QueueName, token: Token, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let keys = check::settlements(settlements)?;
        let mut kinds = Kinds::default();
        let mut said = Vec::with_capacity(settlements.len());
        for (settlement, (key, follow_up)) in settlements.iter().zip(&keys) {
            let follow_up = settlement.follow_up.as_ref().zip(follow_up.as_ref());
            said.extend(arguments::outcome(&settlement.outcome, follow_up.is_some(), key));
            let told = |(trigger, key)| [kinds.number(Kind::of(trigger)).to_string(), member(key)];
            said.extend(follow_up.map(told).into_iter().flatten());
        }
        let token = std::iter::once(format!("{:016}", token.0));
        let arguments: Vec<String> = token.chain(kinds.into_arguments()).chain(said).collect();
        let replies: String = self.run(&self.caller, "settle", &self.scripts.settle, queue, &arguments).await?;
        self.signals.index.notify_waiters();
        replies.bytes().map(settled).collect()
    }

    async fn pause(&self, scope: &Scope, until: Timestamp, reason: &str) -> Result<()> {
        check::scope("pause", scope)?;
        let (queue, repository) = split(scope);
        let reason = check::cut(reason, check::LONGEST_FAILURE).to_owned();
        let arguments = [repository, until.as_millisecond().max(1).to_string(), reason];
        self.run::<String>(&self.caller, "pause", &self.scripts.pause, queue, &arguments).await.map(drop)
    }

    async fn resume(&self, scope: &Scope) -> Result<()> {
        check::scope("resume", scope)?;
        let (queue, repository) = split(scope);
        let arguments = [repository, String::new(), String::new()];
        self.run::<String>(&self.caller, "resume", &self.scripts.pause, queue, &arguments).await.map(drop)
    }

    async fn wait(&self, queue: QueueName, until: Option<Timestamp>) -> Result<()> {
        let until = until.map(|until| until.as_millisecond());
        wake::wait(self.caller.clock(), self.signal(queue), until, || self.outlook("wait", queue)).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.outlook("now", QueueName::Download).await.map(|outlook| timestamp(outlook.now))
    }
}

/// The queue of a scope, and the padded repository if only that is meant.
fn split(scope: &Scope) -> (QueueName, String) {
    match scope {
        Scope::Queue(queue) => (*queue, String::new()),
        Scope::Repository(queue, repository) => (*queue, padded(repository.0)),
    }
}

fn counts_of((pairs, until, reason): (Vec<String>, String, String)) -> Counts {
    let values: BTreeMap<&str, u64> =
        pairs.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].parse().unwrap_or(0))).collect();
    let value = |name: &str| values.get(name).copied().unwrap_or(0);
    Counts {
        ready: [value("R0"), value("R1"), value("R2"), value("R3"), value("R4")],
        delayed: value("D"),
        leased: value("L"),
        buried: value("X"),
        totals: Totals {
            new: value("new"),
            merged: value("merged"),
            dirty: value("dirty"),
            duplicate: value("duplicate"),
            finished: value("finished"),
            retried: value("retried"),
            buried: value("buried_total"),
            lost: value("lost"),
            stale: value("stale"),
        },
        paused: until.parse().ok().map(|until| Paused { until: timestamp(until), reason }),
    }
}

#[async_trait]
impl QueueAdmin for RedisQueue {
    async fn counts(&self, queue: QueueName) -> Result<Counts> {
        Ok(counts_of(self.caller.run("counts", &self.scripts.counts, queue, &[String::new()]).await?))
    }

    async fn repository_counts(&self, queue: QueueName, repository: RepositoryId) -> Result<Counts> {
        check::repository_id("counts", repository)?;
        let arguments = [repository.0.to_string()];
        Ok(counts_of(self.caller.run("counts", &self.scripts.counts, queue, &arguments).await?))
    }

    async fn job(&self, queue: QueueName, subject: &Subject) -> Result<Option<JobView>> {
        self.job_of(queue, &member(&Key::new("job", subject)?)).await
    }

    async fn list(
        &self,
        queue: QueueName,
        filter: &Filter,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<Vec<JobView>> {
        let after = after.map(|subject| Key::new("list", subject)).transpose()?;
        self.matching(queue, filter, after.as_ref(), limit).await
    }

    async fn purge_some(&self, queue: QueueName, filter: &Filter, after: Option<&str>) -> Result<Purged> {
        let (repository, place) = purge_from(filter, after)?;
        let numbers = filter.numbers.as_ref();
        let arguments = [
            repository,
            place,
            if filter.repository.is_some() { "1" } else { "" }.to_owned(),
            filter.lane.map(|lane| lane.index().to_string()).unwrap_or_default(),
            filter.state.map(record::letter).unwrap_or_default().to_owned(),
            numbers.map(|numbers| numbers.start().to_string()).unwrap_or_default(),
            numbers.map(|numbers| numbers.end().to_string()).unwrap_or_default(),
        ];
        let (repository, place, removed, doomed): (String, String, u64, u64) =
            self.run(&self.bulk, "purge", &self.scripts.purge, queue, &arguments).await?;
        Ok(Purged { removed, doomed, next: (!place.is_empty()).then(|| format!("{repository}|{place}")) })
    }

    async fn remove(&self, queue: QueueName, subject: &Subject) -> Result<bool> {
        let key = Key::new("remove", subject)?;
        Ok(self.run::<u64>(&self.caller, "remove", &self.scripts.remove, queue, &[member(&key)]).await? > 0)
    }

    async fn revive(&self, queue: QueueName, filter: &Filter, limit: usize) -> Result<u64> {
        if filter.state.is_some_and(|state| state != JobState::Buried) {
            return Ok(0);
        }
        let filter = Filter { state: Some(JobState::Buried), ..filter.clone() };
        let found = self.matching(queue, &filter, None, limit).await?;
        let mut revived = 0;
        for chunk in found.chunks(MEMBER_CHUNK) {
            let keys: Result<Vec<Key>> = chunk.iter().map(|job| Key::new("revive", &job.subject)).collect();
            let members: Vec<String> = keys?.iter().map(member).collect();
            revived += self.run::<u64>(&self.bulk, "revive", &self.scripts.revive, queue, &members).await?;
        }
        Ok(revived)
    }

    async fn pauses(&self) -> Result<Vec<(Scope, Paused)>> {
        let mut all = Vec::new();
        for queue in QueueName::ALL {
            let reply: Vec<String> = self.caller.run("pauses", &self.scripts.pauses, queue, &[]).await?;
            for pause in reply.chunks_exact(3) {
                let scope = match record::repository(&pause[0]) {
                    Some(repository) => Scope::Repository(queue, repository),
                    None => Scope::Queue(queue),
                };
                let until = pause[1].parse().map(timestamp).map_err(|_| unexpected("pauses", &pause[1]))?;
                all.push((scope, Paused { until, reason: pause[2].clone() }));
            }
        }
        Ok(all)
    }

    async fn oldest(&self, queue: QueueName) -> Result<[Option<Timestamp>; 5]> {
        let reply: Vec<String> = self.caller.run("oldest", &self.scripts.oldest, queue, &[]).await?;
        Ok(std::array::from_fn(|lane| reply.get(lane).and_then(|at| at.parse().ok()).map(timestamp)))
    }

    async fn verify(&self) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        for queue in QueueName::ALL {
            let mut recounted = Counts::default();
            self.browse(queue, None, None, |job| {
                match job.state {
                    JobState::Delayed => recounted.delayed += 1,
                    JobState::Ready => recounted.ready[job.lane.index()] += 1,
                    JobState::Leased => recounted.leased += 1,
                    JobState::Buried => recounted.buried += 1,
                }
                true
            })
            .await?;
            let counted = self.counts(queue).await?;
            recounted.totals = counted.totals;
            recounted.paused.clone_from(&counted.paused);
            if recounted != counted {
                problems.push(format!("{queue}: counted {counted:?}, found {recounted:?}"));
            }
        }
        Ok(problems)
    }

    async fn durability(&self) -> Result<Durability> {
        // On a cluster this finds the node that has our keys.
        self.now().await?;
        let info: String = self.caller.command("durability", redis::cmd("INFO").arg("persistence")).await?;
        let appends = field(&info, "aof_enabled") == "1";
        let fsync = self.setting("appendfsync").await;
        let saves = self.setting("save").await;
        Ok(durability_of(appends, fsync.as_deref(), saves.as_deref()))
    }
}

impl RedisQueue {
    /// A setting of the server; none where a hosted Redis does not tell.
    async fn setting(&self, name: &str) -> Option<String> {
        let pair: Result<Vec<String>> =
            self.caller.command("durability", redis::cmd("CONFIG").arg("GET").arg(name)).await;
        pair.ok()?.into_iter().nth(1)
    }
}

/// What a crash can lose, by what the server is set to.
fn durability_of(appends: bool, fsync: Option<&str>, saves: Option<&str>) -> Durability {
    let loss = match (appends, fsync, saves) {
        (true, Some("always"), _) => {
            "Redis, appendfsync always: nothing accepted is lost while the disk keeps its word"
        }
        (true, Some("everysec"), _) => {
            "Redis, appendfsync everysec: a crash of the process loses nothing while the disk keeps up, else up to two \
             seconds, and so does a power cut; appendfsync always loses nothing"
        }
        (true, Some("no"), _) => {
            "Redis, appendfsync no: a crash of the process loses nothing, a power cut half a minute; set appendfsync \
             everysec"
        }
        (true, _, _) => "Redis with an append-only file: a crash of the process loses nothing",
        (false, _, Some("")) => "this Redis keeps nothing on disk, a restart loses all jobs",
        (false, _, _) => "this Redis keeps snapshots only, a crash loses all jobs since the latest",
    };
    Durability { loss, remedy: (!appends).then_some("set appendonly yes in Redis' settings") }
}
