//! What operators do.

use std::time::Duration;

use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use jiff::Timestamp;

use super::{QUEUE, item, item_of, numbers, request};
use crate::{ErrorKind, Filter, JobState, LeaseRequest, Outcome, Paused, Pushed, Scope, Settled, Timing};

behaviours! { $
    queue_contract_operating in operating:

    async fn a_paused_queue_accepts_and_hands_out_nothing(f) {
        f.manual(1).await;
        let until = f.clock.timestamp() + Duration::from_secs(100);
        f.queue.pause(&Scope::Queue(QUEUE), until, "the disk is full").await.expect("pause");
        assert_eq!(f.manual(2).await, Pushed::New);
        let reply = f.ask(1).await;
        assert_eq!((reply.lease, reply.next_at), (None, Some(until)));
        let paused = Paused { until, reason: "the disk is full".to_owned() };
        assert_eq!(f.counts().await.paused, Some(paused));
        let other = LeaseRequest { queue: QueueName::Index, ..request(1) };
        assert_eq!(f.queue.lease(&other).await.expect("lease").next_at, None);
    }

    async fn a_pause_ends_by_itself(f) {
        f.manual(1).await;
        let until = f.clock.timestamp() + Duration::from_secs(100);
        f.queue.pause(&Scope::Queue(QUEUE), until, "x").await.expect("pause");
        f.seconds(99);
        f.assert_nothing_to_do().await;
        f.seconds(1);
        assert_eq!(f.counts().await.paused, None);
        f.lease(1).await;
    }

    async fn resuming_ends_a_pause(f) {
        f.manual(1).await;
        f.queue.pause(&Scope::Queue(QUEUE), Timestamp::MAX, "x").await.expect("pause");
        f.queue.resume(&Scope::Queue(QUEUE)).await.expect("resume");
        f.queue.resume(&Scope::Queue(QUEUE)).await.expect("resume again");
        f.lease(1).await;
    }

    async fn work_in_hand_goes_on_during_a_pause(f) {
        f.manual(1).await;
        let lease = f.lease(1).await;
        f.queue.pause(&Scope::Queue(QUEUE), Timestamp::MAX, "x").await.expect("pause");
        assert_eq!(f.settle(lease.token, 1, Outcome::Finish).await, Settled::Finished);
    }

    async fn a_paused_repository_stands_aside_alone(f) {
        f.push(item_of(1, 1), Lane::Webhook, Timing::Now).await;
        f.push(item_of(2, 2), Lane::Backfill, Timing::WhenFree).await;
        let scope = Scope::Repository(QUEUE, RepositoryId(1));
        let until = f.clock.timestamp() + Duration::from_secs(100);
        f.queue.pause(&scope, until, "no access").await.expect("pause");
        assert_eq!(numbers(&f.lease(9).await.jobs), [2]);
        f.assert_nothing_to_do().await;
        let only = LeaseRequest { repository: Some(RepositoryId(1)), ..request(1) };
        assert_eq!(f.queue.lease(&only).await.expect("lease").lease, None);
        let paused = Paused { until, reason: "no access".to_owned() };
        assert_eq!(f.queue.pauses().await.expect("pauses"), [(scope.clone(), paused.clone())]);
        let counts = f.queue.repository_counts(QUEUE, RepositoryId(1)).await.expect("counts");
        assert_eq!(counts.paused, Some(paused));
        assert_eq!(f.counts().await.paused, None);
        f.queue.resume(&scope).await.expect("resume");
        assert_eq!(numbers(&f.lease(9).await.jobs), [1]);
    }

    async fn a_repository_that_was_paused_catches_nothing_up(f) {
        for repository in [1, 2] {
            f.queue.push_range(QUEUE, RepositoryId(repository), 1..=1_000, Lane::Backfill).await.expect("push");
        }
        f.queue.pause(&Scope::Repository(QUEUE, RepositoryId(1)), Timestamp::MAX, "x").await.expect("pause");
        for _ in 0..10 {
            assert_eq!(f.lease(10).await.jobs[0].subject.repository(), Some(RepositoryId(2)));
        }
        f.queue.resume(&Scope::Repository(QUEUE, RepositoryId(1))).await.expect("resume");
        let mut first = 0;
        for _ in 0..10 {
            first += u64::from(f.lease(10).await.jobs[0].subject.repository() == Some(RepositoryId(1)));
        }
        assert!((4..=6).contains(&first), "{first}");
    }

    async fn counts_are_by_state_and_lane(f) {
        f.bury(1).await;
        f.webhook(2).await;
        f.manual(3).await;
        f.lease(1).await;
        f.backfill(4).await;
        f.push(item_of(2, 1), Lane::Discovery, Timing::WhenFree).await;
        let counts = f.counts().await;
        assert_eq!((counts.ready, counts.delayed, counts.leased, counts.buried), ([0, 0, 0, 1, 1], 1, 1, 1));
        let counts = f.queue.repository_counts(QUEUE, RepositoryId(1)).await.expect("counts");
        assert_eq!((counts.ready, counts.delayed, counts.leased, counts.buried), ([0, 0, 0, 1, 0], 1, 1, 1));
        assert_eq!(counts.totals, crate::Totals::default());
    }

    async fn a_job_can_be_looked_at(f) {
        assert_eq!(f.view(1).await, None);
        f.webhook(1).await;
        let view = f.view(1).await.expect("there");
        assert_eq!((view.queue, view.subject, view.attempts, view.dirty), (QUEUE, item(1), 0, false));
    }

    async fn jobs_are_listed_in_order_page_by_page(f) {
        let subjects = [
            Subject::Text("z".to_owned()),
            item_of(9, 5),
            item_of(9, 10),
            Subject::part(RepositoryId(9), "labels"),
            item_of(10, 1),
        ];
        for subject in subjects.iter().rev() {
            f.push(subject.clone(), Lane::Backfill, Timing::WhenFree).await;
        }
        let mut listed: Vec<Subject> = Vec::new();
        loop {
            let page = f.queue.list(QUEUE, &Filter::default(), listed.last(), 2).await.expect("list");
            if page.is_empty() {
                break;
            }
            listed.extend(page.into_iter().map(|view| view.subject));
        }
        assert_eq!(listed, subjects);
    }

    async fn listings_are_filtered(f) {
        f.bury(1).await;
        f.webhook(2).await;
        f.manual(4).await;
        f.lease(1).await;
        f.backfill(3).await;
        f.push(item_of(2, 7), Lane::Backfill, Timing::WhenFree).await;
        let state = |state| Filter { state: Some(state), ..Filter::default() };
        for (filter, expected) in [
            (state(JobState::Buried), vec![1]),
            (state(JobState::Delayed), vec![2]),
            (state(JobState::Ready), vec![3, 7]),
            (state(JobState::Leased), vec![4]),
            (Filter { lane: Some(Lane::Backfill), ..Filter::default() }, vec![3, 7]),
            (Filter { repository: Some(RepositoryId(2)), ..Filter::default() }, vec![7]),
            (Filter { repository: Some(RepositoryId(1)), ..state(JobState::Delayed) }, vec![2]),
            (Filter { lane: Some(Lane::Webhook), ..state(JobState::Buried) }, vec![]),
        ] {
            assert_eq!(f.listed(&filter).await, expected, "{filter:?}");
        }
    }

    async fn purging_a_repository_leaves_the_others(f) {
        f.queue.push_range(QUEUE, RepositoryId(1), 1..=20_000, Lane::Backfill).await.expect("push");
        f.webhook(20_001).await;
        f.bury(20_002).await;
        f.push(item_of(2, 1), Lane::Backfill, Timing::WhenFree).await;
        let filter = Filter { repository: Some(RepositoryId(1)), ..Filter::default() };
        assert_eq!(f.queue.purge(QUEUE, &filter).await.expect("purge"), 20_002);
        assert_eq!(f.counts().await.outstanding(), 1);
        assert_eq!(numbers(&f.lease(9).await.jobs), [1]);
        f.assert_nothing_to_do().await;
    }

    async fn purging_by_state_and_lane_leaves_the_rest(f) {
        f.bury(1).await;
        f.backfill(2).await;
        f.manual(3).await;
        let buried = Filter { state: Some(JobState::Buried), ..Filter::default() };
        assert_eq!(f.queue.purge(QUEUE, &buried).await.expect("purge"), 1);
        let lane = Filter { lane: Some(Lane::Backfill), ..Filter::default() };
        assert_eq!(f.queue.purge(QUEUE, &lane).await.expect("purge"), 1);
        assert_eq!(f.listed(&Filter::default()).await, [3]);
        f.lease(1).await;
        f.manual(4).await;
        let leased = Filter { state: Some(JobState::Leased), ..Filter::default() };
        assert_eq!(f.queue.purge(QUEUE, &leased).await.expect("purge"), 1);
        assert_eq!(f.listed(&Filter::default()).await, [3, 4], "one goes when it is settled");
    }

    async fn a_piece_of_a_purge_looks_at_so_many_jobs_and_no_more(f) {
        f.queue.push_range(QUEUE, RepositoryId(1), 1..=20_000, Lane::Backfill).await.expect("push");
        f.webhook(20_001).await;
        let webhook = Filter { lane: Some(Lane::Webhook), ..Filter::default() };
        let piece = f.queue.purge_some(QUEUE, &webhook, None).await.expect("purge");
        assert_eq!((piece.removed, piece.doomed, piece.next.is_some()), (0, 0, true), "the one that matches is far");
        assert_eq!(f.queue.purge(QUEUE, &webhook).await.expect("purge"), 1);
        assert_eq!(f.counts().await.outstanding(), 20_000);
    }

    async fn what_changed_since_a_purge_began_is_judged_as_it_is_now(f) {
        f.queue.push_range(QUEUE, RepositoryId(1), 1..=20_000, Lane::Backfill).await.expect("push");
        let backfill = Filter { lane: Some(Lane::Backfill), ..Filter::default() };
        let mut piece = f.queue.purge_some(QUEUE, &backfill, None).await.expect("purge");
        let mut removed = piece.removed;
        assert!((1..19_998).contains(&removed), "not all at once: {removed}");
        // Before their turn comes, some are asked for by others, and some are worked on.
        assert_eq!(f.webhook(19_999).await, Pushed::Merged);
        assert_eq!(f.manual(20_000).await, Pushed::Merged);
        let leases = [f.lease(1).await, f.lease(1).await, f.lease(1).await];
        assert_eq!(f.webhook(19_998).await, Pushed::Merged);
        while let Some(next) = piece.next {
            piece = f.queue.purge_some(QUEUE, &backfill, Some(&next)).await.expect("purge");
            removed += piece.removed;
        }
        let leased: Vec<u64> = leases.iter().flat_map(|lease| numbers(&lease.jobs)).collect();
        let [19_999, 20_000, begun] = leased[..] else { panic!("{leased:?}") };
        assert_eq!(f.listed(&Filter::default()).await, [begun, 19_998, 19_999, 20_000]);
        assert_eq!(removed, 19_996);
        // What was not meant is not removed either once the work on it is done.
        for (lease, (number, settled)) in
            leases.iter().zip([(19_999, Settled::Waiting), (20_000, Settled::Waiting), (begun, Settled::Gone)])
        {
            assert_eq!(f.settle(lease.token, number, super::retry()).await, settled, "{number}");
        }
    }

    async fn a_purge_goes_on_only_where_it_ended(f) {
        f.manual(1).await;
        for place in ["nonsense", "1#0", "0000000000000001|x", "0000000000000001|1|p", "x|p"] {
            let error = f.queue.purge_some(QUEUE, &Filter::default(), Some(place)).await.expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Refused, "{place}");
        }
        assert_eq!(f.state(1).await, Some(JobState::Ready));
    }

    async fn purging_a_range_of_numbers_leaves_the_rest(f) {
        f.queue.push_range(QUEUE, RepositoryId(1), 1..=1_000, Lane::Backfill).await.expect("push");
        f.push(item_of(2, 500), Lane::Backfill, Timing::WhenFree).await;
        f.push(Subject::part(RepositoryId(1), "labels"), Lane::Backfill, Timing::WhenFree).await;
        let numbers = |numbers| Filter { repository: Some(RepositoryId(1)), numbers: Some(numbers), ..Filter::default() };
        assert_eq!(f.queue.purge(QUEUE, &numbers(300..=899)).await.expect("purge"), 600);
        assert_eq!(f.queue.purge(QUEUE, &numbers(899..=900)).await.expect("purge"), 1);
        assert_eq!(f.queue.purge(QUEUE, &numbers(2_000..=5_000_000_000)).await.expect("purge"), 0);
        assert_eq!(f.counts().await.outstanding(), 401);
        assert_eq!((f.state(299).await, f.state(300).await), (Some(JobState::Ready), None));
        assert_eq!((f.state(900).await, f.state(901).await), (None, Some(JobState::Ready)));
    }

    async fn purging_a_lane_keeps_what_another_lane_asks_for_meanwhile(f) {
        f.backfill(1).await;
        let lease = f.lease(1).await;
        f.webhook(1).await;
        let backfill = Filter { lane: Some(Lane::Backfill), ..Filter::default() };
        assert_eq!(f.queue.purge(QUEUE, &backfill).await.expect("purge"), 1);
        assert_eq!(f.settle(lease.token, 1, Outcome::Finish).await, Settled::Waiting);
        f.seconds(60);
        assert_eq!(f.lease(1).await.jobs[0].lane, Lane::Webhook);
    }

    async fn purging_what_is_buried_leaves_what_was_revived(f) {
        for number in 1..=3 {
            f.bury(number).await;
        }
        f.manual(2).await;
        let buried = Filter { state: Some(JobState::Buried), ..Filter::default() };
        let of_another = Filter { repository: Some(RepositoryId(2)), ..buried.clone() };
        assert_eq!(f.queue.purge(QUEUE, &of_another).await.expect("purge"), 0);
        assert_eq!(f.queue.purge(QUEUE, &buried).await.expect("purge"), 2);
        assert_eq!(f.listed(&Filter::default()).await, [2]);
    }

    async fn a_job_purged_while_worked_on_goes_when_it_is_settled(f) {
        for (number, outcome, settled) in [
            (1, Outcome::Finish, Settled::Finished),
            (2, super::retry(), Settled::Gone),
            (3, Outcome::Bury { reason: String::new() }, Settled::Gone),
            (4, Outcome::Release { after: Duration::ZERO }, Settled::Gone),
        ] {
            f.manual(number).await;
            let lease = f.lease(1).await;
            f.webhook(number).await;
            assert_eq!(f.queue.purge(QUEUE, &Filter::default()).await.expect("purge"), 1);
            assert_eq!(f.state(number).await, Some(JobState::Leased));
            assert_eq!(f.settle(lease.token, number, outcome).await, settled);
            assert_eq!(f.state(number).await, None);
        }
    }

    async fn a_trigger_after_a_purge_is_not_lost(f) {
        f.manual(1).await;
        let lease = f.lease(1).await;
        f.queue.purge(QUEUE, &Filter::default()).await.expect("purge");
        assert_eq!(f.manual(1).await, Pushed::Dirty);
        assert_eq!(f.settle(lease.token, 1, super::retry()).await, Settled::Waiting);
        assert_eq!(f.lease(1).await.jobs[0].attempt, 1);
    }

    async fn a_purged_job_whose_lease_runs_out_is_gone(f) {
        f.manual(1).await;
        f.lease(1).await;
        f.queue.purge(QUEUE, &Filter::default()).await.expect("purge");
        f.seconds(60);
        f.assert_nothing_to_do().await;
        assert_eq!(f.state(1).await, None);
    }

    async fn one_job_can_be_removed(f) {
        f.backfill(1).await;
        f.backfill(2).await;
        assert!(f.queue.remove(QUEUE, &item(1)).await.expect("remove"));
        assert!(!f.queue.remove(QUEUE, &item(1)).await.expect("remove"));
        assert_eq!(numbers(&f.lease(9).await.jobs), [2]);
        assert!(f.queue.remove(QUEUE, &item(2)).await.expect("remove"));
        assert_eq!(f.state(2).await, Some(JobState::Leased));
    }

    async fn reviving_makes_buried_jobs_ready_with_fresh_attempts(f) {
        for number in 1..=3 {
            f.bury(number).await;
        }
        assert_eq!(f.queue.revive(QUEUE, &Filter::default(), 2).await.expect("revive"), 2);
        let counts = f.counts().await;
        assert_eq!((counts.ready, counts.buried), ([0, 2, 0, 0, 0], 1));
        let job = f.lease(1).await.jobs.remove(0);
        assert_eq!((numbers(std::slice::from_ref(&job)), job.lane, job.attempt), (vec![1], Lane::Manual, 1));
        let ready = Filter { state: Some(JobState::Ready), ..Filter::default() };
        assert_eq!(f.queue.revive(QUEUE, &ready, 9).await.expect("revive"), 0);
    }

    async fn a_revived_suspect_stays_one(f) {
        f.manual(1).await;
        for _ in 0..3 {
            f.lease(1).await;
            f.seconds(60);
            f.assert_nothing_to_do().await;
            f.seconds(3600);
        }
        f.queue.revive(QUEUE, &Filter::default(), 9).await.expect("revive");
        f.manual(2).await;
        let lease = f.lease(9).await;
        assert_eq!((numbers(&lease.jobs), lease.jobs[0].lost), (vec![1], 1));
    }

    async fn the_oldest_job_of_each_lane_is_known(f) {
        let begin = f.clock.timestamp();
        f.webhook(1).await;
        f.manual(2).await;
        f.backfill(3).await;
        f.seconds(10);
        f.manual(4).await;
        assert_eq!(f.queue.oldest(QUEUE).await.expect("oldest"), [None, Some(begin), None, None, None]);
        f.seconds(60);
        let due = begin + Duration::from_secs(60);
        assert_eq!(f.queue.oldest(QUEUE).await.expect("oldest")[0], Some(due));
    }

    async fn scopes_that_are_none_are_refused(f) {
        let scope = Scope::Repository(QUEUE, RepositoryId(0));
        let error = f.queue.pause(&scope, Timestamp::MAX, "x").await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Refused);
        let error = f.queue.resume(&scope).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Refused);
    }

    async fn what_a_crash_can_lose_is_said(f) {
        assert!(!f.queue.durability().await.expect("durability").loss.is_empty());
        assert_eq!(f.queue.now().await.expect("now"), f.clock.timestamp());
    }
}
