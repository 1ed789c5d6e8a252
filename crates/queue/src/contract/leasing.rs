//! What a lease hands out, and what becomes of one that ends.

use std::time::Duration;

use gharvest_model::{Lane, RepositoryId, Subject};

use super::{HOLD, QUEUE, item, item_of, numbers, request, retry};
use crate::{ErrorKind, Extended, JobState, LeaseRequest, Outcome, Settled, Timing, Token};

behaviours! { $
    queue_contract_leasing in leasing:

    async fn an_empty_queue_leases_nothing_and_knows_no_time(f) {
        let reply = f.ask(1).await;
        assert_eq!((reply.lease, reply.next_at), (None, None));
    }

    async fn a_lease_has_at_most_as_many_jobs_as_asked_for(f) {
        for number in 1..=5 {
            f.backfill(number).await;
        }
        assert_eq!(numbers(&f.lease(2).await.jobs), [1, 2]);
        assert_eq!(numbers(&f.lease(9).await.jobs), [3, 4, 5]);
        f.assert_nothing_to_do().await;
    }

    async fn jobs_of_one_lane_keep_their_order(f) {
        for number in [7, 2, 9, 4] {
            f.manual(number).await;
        }
        assert_eq!(numbers(&f.lease(9).await.jobs), [7, 2, 9, 4]);
    }

    async fn jobs_due_at_once_are_ordered_by_repository_and_number_as_numbers(f) {
        for (repository, number) in [(10, 2), (9, 10), (9, 9), (10, 1)] {
            f.push(item_of(repository, number), Lane::Webhook, Timing::Settled).await;
        }
        f.seconds(60);
        let first: Vec<_> = f.lease(9).await.jobs.into_iter().map(|job| job.subject).collect();
        assert_eq!(first, [item_of(9, 9), item_of(9, 10)]);
        let second: Vec<_> = f.lease(9).await.jobs.into_iter().map(|job| job.subject).collect();
        assert_eq!(second, [item_of(10, 1), item_of(10, 2)]);
    }

    async fn a_batch_is_of_one_repository(f) {
        for (repository, number) in [(1, 1), (2, 1), (1, 2), (2, 2)] {
            f.push(item_of(repository, number), Lane::Backfill, Timing::WhenFree).await;
        }
        for expected in [1, 2] {
            let lease = f.lease(10).await;
            assert_eq!(lease.jobs.len(), 2);
            assert!(lease.jobs.iter().all(|job| job.subject.repository() == Some(RepositoryId(expected))));
        }
    }

    async fn subjects_without_a_repository_are_a_batch_of_their_own(f) {
        f.push(Subject::Text("b".to_owned()), Lane::Manual, Timing::Now).await;
        f.push(item(1), Lane::Manual, Timing::Now).await;
        f.push(Subject::Text("a".to_owned()), Lane::Manual, Timing::Now).await;
        let first: Vec<_> = f.lease(10).await.jobs.into_iter().map(|job| job.subject.to_string()).collect();
        assert_eq!(first, ["~b", "~a"]);
        assert_eq!(numbers(&f.lease(10).await.jobs), [1]);
    }

    async fn a_batch_is_filled_from_less_urgent_lanes_of_its_repository(f) {
        f.backfill(1).await;
        f.backfill(2).await;
        f.push(item_of(2, 9), Lane::Webhook, Timing::Now).await;
        f.push(item(3), Lane::Webhook, Timing::Now).await;
        let lease = f.lease(10).await;
        assert_eq!(numbers(&lease.jobs), [3, 1, 2]);
        assert_eq!(lease.jobs[1].lane, Lane::Backfill);
    }

    async fn jobs_of_one_repository_can_be_asked_for(f) {
        f.push(item_of(1, 1), Lane::Webhook, Timing::Now).await;
        f.push(item_of(2, 2), Lane::Backfill, Timing::WhenFree).await;
        let of = |repository| LeaseRequest { repository: Some(RepositoryId(repository)), ..request(10) };
        let lease = f.queue.lease(&of(2)).await.expect("lease").lease.expect("a lease");
        assert_eq!(numbers(&lease.jobs), [2]);
        assert_eq!(f.queue.lease(&of(3)).await.expect("lease").lease, None);
        assert_eq!(numbers(&f.lease(10).await.jobs), [1]);
    }

    async fn tokens_strictly_increase(f) {
        let mut last = Token(0);
        for number in 1..=20 {
            f.manual(number).await;
            let token = f.lease(1).await.token;
            assert!(token > last);
            last = token;
            // A clock that steps back must not bring an old token again.
            f.clock.set(f.clock.now() - 10);
        }
    }

    async fn a_request_asked_again_gets_the_same_lease(f) {
        for number in 1..=4 {
            f.backfill(number).await;
        }
        let named = LeaseRequest { request: "worker-1/7".to_owned(), ..request(2) };
        let first = f.queue.lease(&named).await.expect("lease").lease;
        let again = f.queue.lease(&named).await.expect("lease").lease;
        assert_eq!(first, again);
        assert_eq!(f.counts().await.leased, 2);
        let other = LeaseRequest { request: "worker-1/8".to_owned(), ..request(2) };
        assert_eq!(numbers(&f.queue.lease(&other).await.expect("lease").lease.expect("a lease").jobs), [3, 4]);
    }

    async fn a_request_is_new_after_its_lease(f) {
        f.backfill(1).await;
        f.backfill(2).await;
        let named = LeaseRequest { request: "name".to_owned(), ..request(1) };
        let first = f.queue.lease(&named).await.expect("lease").lease.expect("a lease");
        f.settle(first.token, 1, Outcome::Finish).await;
        let second = f.queue.lease(&named).await.expect("lease").lease.expect("a lease");
        assert_eq!(numbers(&second.jobs), [2]);
        f.seconds(60);
        let third = f.queue.lease(&named).await.expect("lease").lease;
        assert_ne!(third.map(|lease| lease.token), Some(second.token));
    }

    async fn a_replayed_lease_holds_what_is_not_settled_yet(f) {
        for number in 1..=3 {
            f.backfill(number).await;
        }
        let named = LeaseRequest { request: "name".to_owned(), ..request(3) };
        let first = f.queue.lease(&named).await.expect("lease").lease.expect("a lease");
        f.settle(first.token, 2, Outcome::Finish).await;
        f.seconds(1);
        let again = f.queue.lease(&named).await.expect("lease").lease.expect("a lease");
        assert_eq!((again.token, again.expires_at, numbers(&again.jobs)), (first.token, first.expires_at, vec![1, 3]));
    }

    async fn unusable_requests_are_refused(f) {
        for bad in [
            LeaseRequest { max: 0, ..request(1) },
            LeaseRequest { hold: Duration::ZERO, ..request(1) },
            LeaseRequest { request: "x".repeat(41), ..request(1) },
            LeaseRequest { repository: Some(RepositoryId(0)), ..request(1) },
        ] {
            assert_eq!(f.queue.lease(&bad).await.expect_err("refused").kind(), ErrorKind::Refused, "{bad:?}");
        }
        f.manual(1).await;
        let huge = LeaseRequest { max: usize::MAX, hold: Duration::MAX, ..request(1) };
        assert_eq!(f.queue.lease(&huge).await.expect("lease").lease.expect("a lease").jobs.len(), 1);
    }

    async fn extending_holds_the_whole_batch(f) {
        f.backfill(1).await;
        f.backfill(2).await;
        let lease = f.lease(2).await;
        f.seconds(50);
        let until = f.clock.timestamp() + HOLD;
        assert_eq!(f.queue.extend(QUEUE, lease.token, HOLD).await.expect("extend"), Extended::Until(until));
        f.seconds(59);
        f.assert_nothing_to_do().await;
        assert_eq!(f.state(2).await, Some(JobState::Leased));
        assert_eq!(f.view(1).await.expect("there").at, Some(until));
    }

    async fn extending_a_lease_that_is_none_says_lost(f) {
        assert_eq!(f.queue.extend(QUEUE, Token(5), HOLD).await.expect("extend"), Extended::Lost);
        f.manual(1).await;
        let lease = f.lease(1).await;
        f.settle(lease.token, 1, Outcome::Finish).await;
        assert_eq!(f.queue.extend(QUEUE, lease.token, HOLD).await.expect("extend"), Extended::Lost);
    }

    async fn a_lease_that_ran_out_hands_its_job_out_again_after_a_pause(f) {
        f.manual(1).await;
        let lost = f.lease(1).await;
        f.seconds(60);
        f.assert_nothing_to_do().await;
        assert_eq!(f.queue.extend(QUEUE, lost.token, HOLD).await.expect("extend"), Extended::Lost);
        assert_eq!(f.state(1).await, Some(JobState::Delayed));
        f.seconds(15);
        let job = f.lease(1).await.jobs.remove(0);
        assert_eq!((job.attempt, job.lost), (2, 1));
        assert_eq!(f.counts().await.totals.lost, 1);
    }

    async fn a_late_answer_counts_while_nobody_else_has_the_job(f) {
        f.manual(1).await;
        let lease = f.lease(1).await;
        f.seconds(600);
        assert_eq!(f.settle(lease.token, 1, Outcome::Finish).await, Settled::Finished);
        assert_eq!(f.counts().await.outstanding(), 0);
    }

    async fn a_frozen_worker_changes_nothing_when_it_thaws(f) {
        f.manual(1).await;
        let frozen = f.lease(1).await;
        f.seconds(60);
        f.assert_nothing_to_do().await;
        f.seconds(15);
        let second = f.lease(1).await;
        assert!(second.token > frozen.token);
        f.webhook(1).await;
        for outcome in [Outcome::Finish, retry(), Outcome::Bury { reason: String::new() }] {
            assert_eq!(f.settle(frozen.token, 1, outcome).await, Settled::Stale);
        }
        assert_eq!(f.settle(frozen.token, 1, Outcome::Release { after: Duration::ZERO }).await, Settled::Stale);
        assert_eq!(f.counts().await.totals.stale, 4);
        assert!(f.view(1).await.expect("there").dirty);
        assert_eq!(f.settle(second.token, 1, Outcome::Finish).await, Settled::Waiting);
    }

    async fn a_suspect_is_leased_alone(f) {
        for number in 1..=3 {
            f.manual(number).await;
        }
        f.lease(1).await;
        f.seconds(60);
        f.assert_lost_then_wait().await;
        f.manual(4).await;
        // 2 and 3 wait before it, 4 behind it.
        assert_eq!(numbers(&f.lease(10).await.jobs), [2, 3]);
        assert_eq!(numbers(&f.lease(10).await.jobs), [1]);
        assert_eq!(numbers(&f.lease(10).await.jobs), [4]);
    }

    async fn a_job_that_loses_every_lease_is_buried_as_poison(f) {
        f.manual(1).await;
        for _ in 0..3 {
            f.lease(1).await;
            f.seconds(60);
            f.assert_nothing_to_do().await;
            f.seconds(3600);
        }
        let view = f.view(1).await.expect("there");
        assert_eq!(view.state, JobState::Buried);
        assert!(view.reason.expect("a reason").contains("poison"));
        assert_eq!(f.counts().await.totals.buried, 1);
    }

    async fn innocent_jobs_survive_a_poisonous_one(f) {
        for number in 1..=10 {
            f.backfill(number).await;
        }
        // Whoever works on 7 dies and takes its batch along.
        for _ in 0..100 {
            let Some(lease) = f.ask(5).await.lease else {
                f.seconds(3600);
                continue;
            };
            if numbers(&lease.jobs).contains(&7) {
                f.seconds(60);
                continue;
            }
            for number in numbers(&lease.jobs) {
                f.settle(lease.token, number, Outcome::Finish).await;
            }
        }
        let counts = f.counts().await;
        assert_eq!((counts.buried, counts.outstanding(), counts.totals.finished), (1, 0, 9));
        assert_eq!(f.state(7).await, Some(JobState::Buried));
    }

    async fn a_success_clears_the_suspicion(f) {
        f.manual(1).await;
        f.lease(1).await;
        f.seconds(60);
        f.assert_lost_then_wait().await;
        assert_eq!(f.run(1, Outcome::Finish).await, Settled::Finished);
        f.manual(1).await;
        assert_eq!(f.lease(1).await.jobs[0].lost, 0);
    }

    async fn a_trigger_during_a_lost_lease_survives(f) {
        f.manual(1).await;
        for _ in 0..2 {
            f.lease(1).await;
            f.seconds(60);
            f.assert_nothing_to_do().await;
            f.seconds(3600);
        }
        f.lease(1).await;
        f.webhook(1).await;
        f.seconds(60);
        f.assert_nothing_to_do().await;
        assert_eq!(f.state(1).await, Some(JobState::Delayed));
        f.seconds(3600);
        let job = f.lease(1).await.jobs.remove(0);
        assert_eq!((job.lost, job.lane), (3, Lane::Webhook));
    }

    async fn more_lost_leases_than_one_call_recovers_are_all_recovered(f) {
        for number in 1..=30 {
            f.manual(number).await;
            f.lease(1).await;
        }
        f.seconds(60);
        for _ in 0..4 {
            f.ask(1).await;
        }
        assert_eq!(f.counts().await.totals.lost, 30);
    }

    async fn more_due_jobs_than_one_call_promotes_all_come(f) {
        for number in 1..=450 {
            f.webhook(number).await;
        }
        f.seconds(60);
        let mut leased = 0;
        while let Some(lease) = f.ask(100).await.lease {
            leased += lease.jobs.len();
        }
        assert_eq!(leased, 450);
    }

    async fn the_next_time_is_the_first_due_time(f) {
        f.webhook(1).await;
        f.seconds(10);
        f.webhook(2).await;
        let expected = f.clock.timestamp() + Duration::from_secs(50);
        assert_eq!(f.ask(1).await.next_at, Some(expected));
    }

    async fn the_next_time_is_the_end_of_a_lease(f) {
        f.manual(1).await;
        f.lease(1).await;
        assert_eq!(f.ask(1).await.next_at, Some(f.clock.timestamp() + HOLD));
    }
}

impl super::Fixture {
    /// Lets the queue notice a lost lease, and the pause after it pass.
    async fn assert_lost_then_wait(&self) {
        let before = self.counts().await.totals.lost;
        let other = LeaseRequest { repository: Some(RepositoryId(999)), ..request(1) };
        assert_eq!(self.queue.lease(&other).await.expect("lease").lease, None);
        assert_eq!(self.counts().await.totals.lost, before + 1);
        self.seconds(15);
        assert_eq!(self.queue.lease(&other).await.expect("lease").lease, None);
    }
}
