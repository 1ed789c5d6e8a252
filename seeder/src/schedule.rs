//! When a task is due. Pure: time comes in as an argument.

use std::time::Duration;

use gharvest_model::RepositoryId;
use gharvest_service_kit::cadence::Cadence;
use jiff::{SignedDuration, Timestamp};

/// When a task runs. A run missed while nobody ran is made up for once, not once for each time missed.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule(Cadence);

impl Schedule {
    /// A schedule by interval, of at least a second.
    pub fn every(every: Duration) -> Self {
        Self(Cadence::Every(every.max(Duration::from_secs(1))))
    }

    /// A schedule as set.
    pub fn new(cadence: &Cadence) -> Self {
        match cadence {
            Cadence::Every(every) => Self::every(*every),
            Cadence::At(_) => Self(cadence.clone()),
        }
    }

    /// When the next run is due: at once if there never was one.
    pub fn next(&self, last: Option<Timestamp>, now: Timestamp) -> Timestamp {
        match (last, &self.0) {
            (None, _) => now,
            (Some(last), Cadence::Every(every)) => later(last, *every),
            (Some(last), Cadence::At(times)) => times.next(last).unwrap_or(Timestamp::MAX),
        }
    }

    /// Whether a run is due.
    pub fn is_due(&self, last: Option<Timestamp>, now: Timestamp) -> bool {
        self.next(last, now) <= now
    }

    /// Whether a repository has its turn after `last`, up to and with `now`.
    ///
    /// Each repository has its own moment within an interval, so that a thousand of them are asked one after the
    /// other and not all at once; at times of the clock all have their turn. Without a `last` everybody has a turn,
    /// and after a gap of an interval as well.
    pub fn has_turn(&self, id: RepositoryId, last: Option<Timestamp>, now: Timestamp) -> bool {
        let (last, every) = match (last, &self.0) {
            (None, _) => return true,
            (Some(_), Cadence::At(_)) => return self.is_due(last, now),
            (Some(last), Cadence::Every(every)) => (last, every),
        };
        let turns = Turns::new(id, *every);
        turns.until(now) > turns.until(last)
    }

    /// When a repository has its first turn after `now`.
    pub fn next_turn(&self, id: RepositoryId, now: Timestamp) -> Timestamp {
        match &self.0 {
            Cadence::Every(every) => Turns::new(id, *every).next(now),
            Cadence::At(_) => self.next(Some(now), now),
        }
    }
}

/// The turns of one repository, in milliseconds since 1970.
struct Turns {
    every: i64,
    offset: i64,
}

impl Turns {
    fn new(id: RepositoryId, every: Duration) -> Self {
        let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
        Self { every, offset: (id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) % every.unsigned_abs()).cast_signed() }
    }

    /// How many there were up to and with a time.
    fn until(&self, at: Timestamp) -> i64 {
        (at.as_millisecond() - self.offset).div_euclid(self.every)
    }

    /// The first one after a time; the end of time if there is none.
    fn next(&self, after: Timestamp) -> Timestamp {
        let turn = (self.until(after) + 1).checked_mul(self.every).and_then(|turn| turn.checked_add(self.offset));
        turn.and_then(|turn| Timestamp::from_millisecond(turn).ok()).unwrap_or(Timestamp::MAX)
    }
}

/// A time later by a duration; the end of time if there is none.
pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// A time earlier by a duration; the beginning of time if there is none.
pub(crate) fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_sub(by).ok()).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn a_run_missed_while_down_happens_once() {
        let schedule = Schedule::every(Duration::from_secs(60));
        assert!(schedule.is_due(None, at(0)));
        assert!(!schedule.is_due(Some(at(0)), at(59)));
        assert!(schedule.is_due(Some(at(0)), at(60)));
        assert!(schedule.is_due(Some(at(0)), at(600)));
        assert!(!schedule.is_due(Some(at(600)), at(601)), "ten were missed, one was made up for");
    }

    #[test]
    fn a_time_of_the_clock_missed_while_down_happens_once_and_for_every_repository() {
        let schedule = Schedule::new(&"30 4 * * * Europe/Berlin".parse().unwrap());
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let last = Some(at("2026-01-01T03:30:00Z"));
        assert!(!schedule.is_due(last, at("2026-01-02T03:29:59Z")));
        assert!(schedule.is_due(last, at("2026-01-02T03:30:00Z")));
        // Three times were missed: one run makes up for them.
        let back = at("2026-01-04T12:00:00Z");
        assert!((1..100).all(|id| schedule.has_turn(RepositoryId(id), last, back)));
        assert!(!schedule.is_due(Some(back), at("2026-01-05T03:29:59Z")));
        assert_eq!(schedule.next(Some(back), back), at("2026-01-05T03:30:00Z"));
    }

    #[test]
    fn every_repository_has_one_turn_an_interval_whatever_the_steps_of_time() {
        let schedule = Schedule::every(Duration::from_secs(300));
        for id in 1..200 {
            for step in [1, 7, 60, 299] {
                let (mut last, mut turns) = (at(0), 0);
                while last < at(3000) {
                    let now = at((last.as_second() - at(0).as_second() + step).min(3000));
                    turns += u32::from(schedule.has_turn(RepositoryId(id), Some(last), now));
                    last = now;
                }
                assert_eq!(turns, 10, "repository {id}, step {step}");
            }
            assert!(schedule.has_turn(RepositoryId(id), Some(at(0)), at(300)));
            assert!(schedule.has_turn(RepositoryId(id), None, at(0)));
            let turn = schedule.next_turn(RepositoryId(id), at(0));
            let before = turn - SignedDuration::from_millis(1);
            assert!(turn > at(0) && turn <= at(300));
            assert!(schedule.has_turn(RepositoryId(id), Some(before), turn), "repository {id}");
            assert!(!schedule.has_turn(RepositoryId(id), Some(at(0)), before), "repository {id}");
        }
    }

    #[test]
    fn turns_are_spread_over_the_interval() {
        let schedule = Schedule::every(Duration::from_secs(300));
        let tenths = |tenth: i64| {
            let ids = (1..=1000).map(RepositoryId);
            ids.filter(|id| schedule.has_turn(*id, Some(at(30 * tenth)), at(30 * (tenth + 1)))).count()
        };
        assert!((0..10).map(tenths).all(|count| (50..200).contains(&count)));
    }
}
