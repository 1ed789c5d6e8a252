//! How lanes and repositories share the work.

use std::collections::BTreeMap;

use gharvest_model::{Lane, RepositoryId};

use super::{QUEUE, item, item_of};
use crate::{Outcome, Timing};

behaviours! { $
    queue_contract_sharing in sharing:

    async fn lanes_share_by_weight(f) {
        for (repository, lane) in (1..).zip(Lane::ALL) {
            f.queue.push_range(QUEUE, RepositoryId(repository), 1..=700, lane).await.expect("push");
        }
        let mut served = BTreeMap::<Lane, u64>::new();
        for _ in 0..682 {
            *served.entry(f.lease(1).await.jobs[0].lane).or_default() += 1;
        }
        // Twice the sum of the weights.
        let expected: BTreeMap<Lane, u64> = Lane::ALL.map(|lane| (lane, 2 * lane.weight())).into();
        for (lane, jobs) in &expected {
            assert!(served[lane].abs_diff(*jobs) <= 2, "{served:?}");
        }
    }

    async fn a_backfill_goes_on_under_a_flood_of_webhooks(f) {
        f.queue.push_range(QUEUE, RepositoryId(1), 1..=100, Lane::Backfill).await.expect("push");
        f.queue.push_range(QUEUE, RepositoryId(2), 1..=1_000, Lane::Webhook).await.expect("push");
        let mut backfilled = 0;
        for _ in 0..130 {
            backfilled += u64::from(f.lease(1).await.jobs[0].lane == Lane::Backfill);
        }
        assert!((2..=4).contains(&backfilled), "{backfilled}");
    }

    async fn a_webhook_overtakes_a_backfill(f) {
        f.queue.push_range(QUEUE, RepositoryId(1), 1..=1_000, Lane::Backfill).await.expect("push");
        for _ in 0..10 {
            f.lease(50).await;
        }
        f.push(item_of(2, 7), Lane::Webhook, Timing::Now).await;
        assert_eq!(f.lease(50).await.jobs[0].subject, item_of(2, 7));
    }

    async fn an_idle_lane_saves_up_no_credit(f) {
        f.queue.push_range(QUEUE, RepositoryId(1), 1..=2_000, Lane::Backfill).await.expect("push");
        for _ in 0..100 {
            f.lease(1).await;
        }
        f.queue.push_range(QUEUE, RepositoryId(2), 1..=100, Lane::Discovery).await.expect("push");
        let mut discovered = 0;
        for _ in 0..50 {
            discovered += u64::from(f.lease(1).await.jobs[0].lane == Lane::Discovery);
        }
        assert!((9..=12).contains(&discovered), "{discovered}");
    }

    async fn repositories_share_a_lane_equally(f) {
        for repository in 1..=20 {
            f.queue.push_range(QUEUE, RepositoryId(repository), 1..=300, Lane::Backfill).await.expect("push");
        }
        let mut served = BTreeMap::<RepositoryId, usize>::new();
        for _ in 0..100 {
            let lease = f.lease(50).await;
            *served.entry(lease.jobs[0].subject.repository().expect("an item")).or_default() += lease.jobs.len();
        }
        assert_eq!(served, (1..=20).map(|id| (RepositoryId(id), 250)).collect());
    }

    async fn a_small_repository_does_not_wait_behind_a_large_one(f) {
        f.queue.push_range(QUEUE, RepositoryId(1), 1..=10_000, Lane::Backfill).await.expect("push");
        for _ in 0..20 {
            f.lease(50).await;
        }
        f.push(item_of(2, 1), Lane::Backfill, Timing::WhenFree).await;
        let repositories = [f.lease(50).await, f.lease(50).await].map(|lease| lease.jobs[0].subject.clone());
        assert!(repositories.contains(&item_of(2, 1)), "{repositories:?}");
    }

    async fn a_repository_that_comes_late_gets_no_more_than_its_share(f) {
        f.queue.push_range(QUEUE, RepositoryId(1), 1..=1_000, Lane::Backfill).await.expect("push");
        for _ in 0..10 {
            f.lease(50).await;
        }
        f.queue.push_range(QUEUE, RepositoryId(2), 1..=1_000, Lane::Backfill).await.expect("push");
        let mut late = 0;
        for _ in 0..10 {
            late += usize::from(f.lease(50).await.jobs[0].subject.repository() == Some(RepositoryId(2)));
        }
        assert!((4..=6).contains(&late), "{late}");
    }

    async fn what_a_batch_takes_from_other_lanes_is_charged_to_them(f) {
        f.queue.push_range(QUEUE, RepositoryId(1), 1..=100, Lane::Discovery).await.expect("push");
        f.push(item(1_000), Lane::Webhook, Timing::Now).await;
        // One webhook's job and 99 of discovery, paid by discovery's lane.
        assert_eq!(f.lease(100).await.jobs.len(), 100);
        f.push(item_of(2, 1), Lane::Discovery, Timing::WhenFree).await;
        f.push(item_of(3, 1), Lane::Webhook, Timing::Now).await;
        let lease = f.lease(1).await;
        assert_eq!(lease.jobs[0].subject, item_of(3, 1));
        f.queue.settle(QUEUE, lease.token, &[super::Fixture::finish_of(&lease)]).await.expect("settle");
    }
}

impl super::Fixture {
    /// Finishes the first job of a lease.
    fn finish_of(lease: &crate::Lease) -> crate::Settlement {
        crate::Settlement { subject: lease.jobs[0].subject.clone(), outcome: Outcome::Finish, follow_up: None }
    }
}
