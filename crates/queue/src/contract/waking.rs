//! When a wait ends. The fallback of ten seconds would hide a missed signal, so every wait here has five.

use std::time::Duration;

use futures::FutureExt;
use gharvest_model::{Lane, RepositoryId};
use jiff::Timestamp;

use super::{Fixture, QUEUE, item_of, request};
use crate::{Filter, LeaseRequest, Outcome, Scope, Timing};

behaviours! { $
    queue_contract_waking in waking:

    async fn a_wait_does_not_begin_while_there_is_work(f) {
        f.manual(1).await;
        f.wakes(async {}).await;
    }

    async fn a_push_ends_a_wait(f) {
        f.wakes(async { assert_eq!(f.backfill(1).await, crate::Pushed::New) }).await;
    }

    async fn a_range_ends_a_wait(f) {
        f.wakes(async {
            f.queue.push_range(QUEUE, RepositoryId(1), 1..=3, Lane::Backfill).await.expect("push");
        })
        .await;
    }

    async fn a_push_between_a_fruitless_lease_and_the_wait_is_not_missed(f) {
        f.assert_nothing_to_do().await;
        f.manual(1).await;
        f.wakes(async {}).await;
    }

    async fn a_wait_ends_when_a_job_becomes_due(f) {
        f.webhook(1).await;
        f.wakes(async { f.seconds(60) }).await;
    }

    async fn a_push_that_is_due_earlier_shortens_a_wait(f) {
        f.manual(1).await;
        f.run(1, Outcome::Retry { after: Some(Duration::from_secs(5_000)), reason: String::new() }).await;
        f.wakes(async {
            f.webhook(2).await;
            f.seconds(60);
        })
        .await;
    }

    async fn a_wait_ends_when_a_lease_runs_out(f) {
        f.manual(1).await;
        f.lease(1).await;
        f.wakes(async { f.seconds(60) }).await;
    }

    async fn a_release_ends_a_wait(f) {
        f.manual(1).await;
        let lease = f.lease(1).await;
        f.wakes(async {
            f.settle(lease.token, 1, Outcome::Release { after: Duration::ZERO }).await;
        })
        .await;
    }

    async fn finishing_a_dirty_job_ends_a_wait(f) {
        f.manual(1).await;
        let lease = f.lease(1).await;
        f.manual(1).await;
        f.wakes(async {
            f.settle(lease.token, 1, Outcome::Finish).await;
        })
        .await;
    }

    async fn a_revival_ends_a_wait(f) {
        f.bury(1).await;
        f.wakes(async {
            f.queue.revive(QUEUE, &Filter::default(), 10).await.expect("revive");
        })
        .await;
    }

    async fn resuming_ends_a_wait(f) {
        f.manual(1).await;
        let scope = Scope::Queue(QUEUE);
        f.queue.pause(&scope, Timestamp::MAX, "for ever").await.expect("pause");
        f.wakes(async { f.queue.resume(&scope).await.expect("resume") }).await;
    }

    async fn the_end_of_a_pause_ends_a_wait(f) {
        f.manual(1).await;
        let until = f.clock.timestamp() + Duration::from_secs(100);
        f.queue.pause(&Scope::Queue(QUEUE), until, "a while").await.expect("pause");
        f.wakes(async { f.seconds(100) }).await;
    }

    async fn the_end_of_a_repositorys_pause_ends_a_wait(f) {
        f.push(item_of(5, 1), Lane::Manual, Timing::Now).await;
        let until = f.clock.timestamp() + Duration::from_secs(100);
        f.queue.pause(&Scope::Repository(QUEUE, RepositoryId(5)), until, "a while").await.expect("pause");
        f.wakes(async { f.seconds(100) }).await;
    }

    async fn a_wait_ends_at_the_time_given(f) {
        let until = f.clock.timestamp() + Duration::from_secs(5);
        let waiting = f.queue.wait(QUEUE, Some(until));
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        f.seconds(5);
        tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("in time").expect("wait");
    }

    async fn a_wait_for_one_queue_is_not_ended_by_the_other(f) {
        f.manual(1).await;
        let waiting = f.queue.wait(gharvest_model::QueueName::Index, None);
        assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
    }
}

impl Fixture {
    /// Begins a wait, does something, and expects the wait to end; and then that there is work.
    async fn wakes(&self, event: impl Future<Output = ()>) {
        let waiting = async {
            let waiting = tokio::time::timeout(Duration::from_secs(5), self.queue.wait(QUEUE, None));
            waiting.await.expect("woken in time").expect("wait");
        };
        let event = async {
            tokio::task::yield_now().await;
            event.await;
        };
        tokio::join!(waiting, event);
        let any = LeaseRequest { max: 1, ..request(1) };
        let found = self.queue.lease(&any).await.expect("lease");
        // A lost lease is recovered by the call, and its job waits for a while.
        assert!(found.lease.is_some() || self.counts().await.totals.lost > 0);
    }
}
