//! The gate that every request passes: how many at once, how many a minute, and who goes first.
//!
//! Waiters stand in one order: by purpose, then by arrival. Only the first of them looks at the limits; whoever changes
//! something (takes a place, leaves, gives up) wakes the first. So a live trigger that arrives last goes next.
//! The pace is a bucket that fills evenly and holds an eighth of a minute's points: no minute sees more than 9/8.
//!
//! Of GitHub's secondary limits nobody is told how near they are, so when it refuses as too much at once or too fast,
//! half as many requests are let in, and one more after each quiet minute behind the wait that it asked for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::Notify, time::Instant};

use crate::Purpose;

/// GitHub's limit of requests at once, REST and GraphQL together.
pub(crate) const MOST_AT_ONCE: usize = 100;
/// After so long without a refusal one more request is let in.
const WIDENED_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Gate {
    /// The most that this process has in flight, alone or not.
    concurrency: usize,
    /// Points a second.
    rate: f64,
    /// The most points that can be saved up.
    burst: f64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Among how many processes the limits are divided.
    sharers: u32,
    /// The most that all these have in flight together.
    together: usize,
    in_flight: usize,
    /// What GitHub's refusals left of the requests at once; none while all that is set is allowed.
    narrowed: Option<Narrowed>,
    points: f64,
    filled_at: Instant,
    arrivals: u64,
    waiting: BTreeMap<Place, Arc<Notify>>,
}

/// How many requests are let in after GitHub refused some.
#[derive(Debug, Clone, Copy)]
struct Narrowed {
    to: usize,
    /// When it was refused: what was sent before says nothing new.
    refused_at: Timestamp,
    /// From when on a quiet time counts.
    quiet_from: Instant,
}

/// What a refusal left, as it is told to people and other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Narrowing {
    /// So many requests are let in at once now.
    pub(crate) to: usize,
    /// So many without it.
    pub(crate) of: usize,
    /// After this wait quiet minutes count, each for one more.
    pub(crate) wait: Duration,
}

impl Narrowing {
    /// How long until nothing is left of it, if GitHub refuses no more.
    pub(crate) fn lasts(&self) -> Duration {
        let steps = u32::try_from(self.of.saturating_sub(self.to)).unwrap_or(u32::MAX);
        self.wait.saturating_add(WIDENED_EVERY.saturating_mul(steps))
    }
}

type Place = (Purpose, u64);

/// The right to have one request in flight; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
}

/// A place in the row; left when dropped, so that a caller that gives up holds nobody up.
struct Waiter<'a> {
    gate: &'a Gate,
    place: Place,
    called: Arc<Notify>,
}

impl Gate {
    /// Of so many requests at once in this process, in all processes together, and so many points a minute.
    pub(crate) fn new(concurrency: usize, together: usize, points_per_minute: u32) -> Self {
        let points = f64::from(points_per_minute.max(1));
        let burst = (points / 8.0).max(1.0);
        Self {
            concurrency: concurrency.clamp(1, MOST_AT_ONCE),
            rate: points / 60.0,
            burst,
            inner: Mutex::new(Inner {
                sharers: 1,
                together,
                in_flight: 0,
                narrowed: None,
                points: burst,
                filled_at: Instant::now(),
                arrivals: 0,
                waiting: BTreeMap::new(),
            }),
        }
    }

    /// So many points an hour is its pace.
    pub(crate) fn points_an_hour(&self) -> u64 {
        (self.rate * 3600.0).round() as u64
    }

    /// Waits for a place in flight and one point.
    pub(crate) async fn enter(self: &Arc<Self>, purpose: Purpose) -> Permit {
        let waiter = self.stand(purpose);
        loop {
            match self.step(waiter.place) {
                Step::Go => return Permit { gate: Arc::clone(self) },
                Step::After(pause) => {
                    // Woken or refilled: either way the limits are looked at again.
                    let _elapsed = tokio::time::timeout(pause, waiter.called.notified()).await;
                }
                Step::Stand => waiter.called.notified().await,
            }
        }
    }

    /// Divides the limits among so many processes.
    pub(crate) fn share(&self, sharers: usize) {
        let mut inner = self.lock();
        inner.sharers = u32::try_from(sharers.max(1)).unwrap_or(u32::MAX);
        inner.call_first();
    }

    /// Lets in so many at once from now on, all processes together; what is in flight above that ends as it is.
    pub(crate) fn allow(&self, together: usize) {
        let mut inner = self.lock();
        inner.together = together;
        inner.call_first();
    }

    /// GitHub refused what was sent at `sent_at` as too much, and asked for a wait: half as many from now on. Several
    /// answers of one storm count once. Says how it is now.
    pub(crate) fn narrow(&self, sent_at: Timestamp, now: Timestamp, wait: Duration) -> Narrowing {
        let mut inner = self.lock();
        let allowed = self.allowed(&mut inner, Instant::now());
        let is_news = inner.narrowed.is_none_or(|narrowed| sent_at > narrowed.refused_at);
        let to = if is_news { (allowed / 2).max(1) } else { allowed };
        let refused_at = if is_news { now } else { inner.narrowed.map_or(now, |narrowed| narrowed.refused_at) };
        inner.narrowed = Some(Narrowed { to, refused_at, quiet_from: Instant::now() + wait });
        Narrowing { to, of: self.most(&inner), wait }
    }

    /// How many requests are let in at once.
    pub(crate) fn width(&self) -> usize {
        self.allowed(&mut self.lock(), Instant::now())
    }

    fn allowed(&self, inner: &mut Inner, now: Instant) -> usize {
        let most = self.most(inner);
        let Some(narrowed) = &mut inner.narrowed else { return most };
        let quiet = now.saturating_duration_since(narrowed.quiet_from);
        let more = u32::try_from(quiet.as_secs() / WIDENED_EVERY.as_secs()).unwrap_or(u32::MAX);
        if more > 0 {
            narrowed.to = narrowed.to.saturating_add(more as usize);
            narrowed.quiet_from += WIDENED_EVERY * more;
        }
        let to = narrowed.to;
        if to >= most {
            inner.narrowed = None;
        }
        to.min(most)
    }

    /// How many requests this process lets in while GitHub refuses none.
    fn most(&self, inner: &Inner) -> usize {
        self.concurrency.min(inner.together / inner.sharers as usize).max(1)
    }

    fn stand(&self, purpose: Purpose) -> Waiter<'_> {
        let mut inner = self.lock();
        inner.arrivals += 1;
        let place = (purpose, inner.arrivals);
        let called = Arc::new(Notify::new());
        inner.waiting.insert(place, Arc::clone(&called));
        Waiter { gate: self, place, called }
    }

    fn step(&self, place: Place) -> Step {
        let mut inner = self.lock();
        let sharers = inner.sharers;
        let concurrency = self.allowed(&mut inner, Instant::now());
        if inner.waiting.first_key_value().map(|(first, _)| *first) != Some(place) || inner.in_flight >= concurrency {
            return Step::Stand;
        }
        let (rate, burst) = (self.rate / f64::from(sharers), (self.burst / f64::from(sharers)).max(1.0));
        let now = Instant::now();
        inner.points = (inner.points + (now - inner.filled_at).as_secs_f64() * rate).min(burst);
        inner.filled_at = now;
        if inner.points < 1.0 {
            return Step::After(Duration::from_secs_f64((1.0 - inner.points) / rate) + Duration::from_millis(1));
        }
        inner.points -= 1.0;
        inner.in_flight += 1;
        Step::Go
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while the gate is locked")
    }
}

enum Step {
    Go,
    After(Duration),
    Stand,
}

impl Inner {
    fn call_first(&self) {
        if let Some((_, first)) = self.waiting.first_key_value() {
            first.notify_one();
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        inner.waiting.remove(&self.place);
        inner.call_first();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        inner.in_flight -= 1;
        inner.call_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn live_goes_ahead_of_scheduled_ahead_of_backfill() {
        let gate = Arc::new(Gate::new(1, MOST_AT_ONCE, 60_000));
        let held = gate.enter(Purpose::Backfill).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for purpose in [Purpose::Backfill, Purpose::Scheduled, Purpose::Backfill, Purpose::Live] {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            tasks.spawn(async move {
                let _permit = gate.enter(purpose).await;
                order.lock().unwrap().push(purpose);
            });
            tokio::task::yield_now().await;
        }
        drop(held);
        while tasks.join_next().await.is_some() {}
        let expected = [Purpose::Live, Purpose::Scheduled, Purpose::Backfill, Purpose::Backfill];
        assert_eq!(*order.lock().unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_sees_more_points_than_the_limit_and_an_eighth() {
        let gate = Arc::new(Gate::new(100, MOST_AT_ONCE, 80));
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..400 {
            drop(gate.enter(Purpose::Backfill).await);
            times.push(start.elapsed());
        }
        for (index, begin) in times.iter().enumerate() {
            let within = times[index..].iter().filter(|time| **time - *begin < Duration::from_secs(60)).count();
            assert!(within <= 90, "{within} points in one minute");
        }
        assert!(start.elapsed() > Duration::from_secs(280), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_halves_what_is_let_in_and_quiet_minutes_widen_it_again() {
        let gate = Gate::new(8, MOST_AT_ONCE, 60_000);
        let at = |second| Timestamp::from_second(second).unwrap();
        let minutes = |minutes: u64| tokio::time::advance(Duration::from_secs(60 * minutes));
        let wait = Duration::from_secs(30);
        let narrow = |sent: i64| gate.narrow(at(sent), at(sent + 1), wait).to;
        let first = gate.narrow(at(1), at(2), wait);
        assert_eq!(first, Narrowing { to: 4, of: 8, wait });
        assert_eq!(first.lasts(), Duration::from_secs(30 + 4 * 60));
        assert_eq!(narrow(1), 4, "of the same storm");
        assert_eq!(narrow(4), 2);
        minutes(1).await;
        assert_eq!(gate.width(), 2, "the wait is no quiet time");
        minutes(1).await;
        assert_eq!(gate.width(), 3);
        assert_eq!((narrow(200), narrow(300)), (1, 1), "never none");
        minutes(60).await;
        assert_eq!(gate.width(), 8, "and never more than is set");
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_holds_nobody_up() {
        let gate = Arc::new(Gate::new(1, MOST_AT_ONCE, 60_000));
        let held = gate.enter(Purpose::Live).await;
        let impatient = tokio::time::timeout(Duration::from_secs(1), gate.enter(Purpose::Live)).await;
        assert!(impatient.is_err());
        drop(held);
        drop(gate.enter(Purpose::Backfill).await);
        assert!(gate.lock().waiting.is_empty());
        assert_eq!(gate.lock().in_flight, 0);
    }
}
