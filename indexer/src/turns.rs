//! Whose daily counts this process makes when: one repository's at a time, and none so often that it does little else.
//! Another indexer does not know of it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use gharvest_model::RepositoryId;
use tokio::{
    sync::{Mutex as Turn, Semaphore},
    time::Instant,
};

use crate::outcome::Failure;

/// Repositories that may wait for their turn or have it; each keeps its lease meanwhile.
const MOST_WAITING: usize = 32;
/// One that finds no room is given back for this long.
const NO_ROOM: Duration = Duration::from_secs(5);
/// A repository is not counted again for this many times what its last count took: however large it is, a small part of
/// the engine's time goes into counting it.
const REST: u32 = 20;

/// The turns of repositories.
#[derive(Debug)]
pub(crate) struct Turns {
    /// The shortest time between two counts of a repository; if there is none it does not matter either what they take.
    shortest: Duration,
    not_before: Mutex<HashMap<RepositoryId, Instant>>,
    room: Semaphore,
    turn: Turn<()>,
}

impl Turns {
    pub(crate) fn new(shortest: Duration) -> Self {
        Self { shortest, not_before: Mutex::default(), room: Semaphore::new(MOST_WAITING), turn: Turn::new(()) }
    }

    /// Counts a repository when it has its turn, unless too many wait or it is too early, which it never is for somebody
    /// who asked. `waits` is called before the wait. The next one need not wait until the days are durable; who fails to
    /// count or to make them so may come again at once.
    pub(crate) async fn count<C>(
        &self,
        id: RepositoryId,
        is_asked_for: bool,
        waits: impl FnOnce(),
        count: impl Future<Output = Result<C, Failure>>,
        make_durable: impl AsyncFnOnce(C) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied();
        let early = not_before.map(|at| at.saturating_duration_since(Instant::now())).unwrap_or_default();
        if !early.is_zero() && !is_asked_for {
            return Err(Failure::NotYet(early));
        }
        let _room = self.room.try_acquire().map_err(|_| Failure::NotYet(NO_ROOM))?;
        waits();
        let turn = self.turn.lock().await;
        let began = Instant::now();
        let counted = count.await?;
        let rest = if self.shortest.is_zero() { Duration::ZERO } else { self.shortest.max(began.elapsed() * REST) };
        drop(turn);
        make_durable(counted).await?;
        self.not_before.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Instant::now() + rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::{FutureExt, future::join_all};
    use tokio::time::{advance, sleep};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    /// So long it takes until what was counted is durable.
    const DURABLE: Duration = Duration::from_millis(500);

    async fn count(turns: &Turns, id: u64, seconds: u64) -> Option<Duration> {
        let counting = async {
            sleep(Duration::from_secs(seconds)).await;
            Ok(())
        };
        let make_durable = async |()| {
            sleep(DURABLE).await;
            Ok(())
        };
        match turns.count(RepositoryId(id), false, || (), counting, make_durable).await {
            Err(Failure::NotYet(wait)) => Some(wait),
            counted => {
                counted.unwrap();
                None
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_that_took_long_waits_longer_for_the_next_one() {
        let turns = Turns::new(MINUTE);
        assert_eq!(count(&turns, 1, 1).await, None);
        assert_eq!(count(&turns, 1, 1).await, Some(MINUTE));
        turns.count(RepositoryId(1), true, || (), ready(Ok(())), async |()| Ok(())).await.unwrap();
        assert_eq!(count(&turns, 2, 30).await, None);
        assert_eq!(count(&turns, 2, 30).await, Some(10 * MINUTE));
        advance(MINUTE).await;
        assert_eq!((count(&turns, 1, 1).await, count(&turns, 3, 1).await), (None, None));
        assert_eq!(count(&turns, 2, 30).await, Some(9 * MINUTE - 2 * (Duration::from_secs(1) + DURABLE)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_that_fails_may_come_again_at_once() {
        let turns = Turns::new(MINUTE);
        let failing = || ready(Err(Failure::Hopeless("made to fail".to_owned())));
        turns.count(RepositoryId(1), false, || (), failing(), async |()| Ok(())).await.unwrap_err();
        turns.count(RepositoryId(1), false, || (), ready(Ok(())), async |()| failing().await).await.unwrap_err();
        assert_eq!(count(&turns, 1, 1).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_counted_at_a_time_and_whoever_finds_no_room_is_given_back() {
        let turns = Turns::new(MINUTE);
        let began = Instant::now();
        assert_eq!(join_all((1..=32).map(|id| count(&turns, id, 1))).await, [None; 32]);
        assert_eq!(began.elapsed(), Duration::from_secs(32) + DURABLE, "nobody waits until another's days are durable");
        let endless = (101..=132).map(|id| turns.count(RepositoryId(id), false, || (), pending(), async |()| Ok(())));
        let mut endless = join_all(endless);
        assert!((&mut endless).now_or_never().is_none());
        assert_eq!(count(&turns, 200, 1).await, Some(NO_ROOM));
        drop(endless);
        assert_eq!(count(&turns, 200, 1).await, None);
    }
}
