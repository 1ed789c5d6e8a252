//! What a worker's word makes of a job.

use std::time::Duration;

use gharvest_model::{Lane, QueueName, Subject};

use super::{HOLD, QUEUE, item, numbers, retry, trigger};
use crate::{ErrorKind, Extended, JobState, Outcome, Pushed, Settled, Settlement, Timing, Token, Trigger};

behaviours! { $
    queue_contract_settling in settling:

    async fn finishing_removes_the_job(f) {
        f.manual(1).await;
        assert_eq!(f.run(1, Outcome::Finish).await, Settled::Finished);
        assert_eq!(f.view(1).await, None);
        let counts = f.counts().await;
        assert_eq!((counts.outstanding(), counts.totals.finished), (0, 1));
    }

    async fn what_was_done_of_a_job_that_was_removed_meanwhile_has_its_follow_up(f) {
        let index = Trigger { queue: QueueName::Index, ..trigger(item(1), Lane::Manual, Timing::Now) };
        let settlement = |outcome| Settlement { subject: item(1), outcome, follow_up: Some(index.clone()) };
        let fail = Outcome::Retry { after: None, reason: "x".to_owned() };
        for (outcome, again, settled, follow_ups) in [
            // Nothing was done, and nobody wants it any more.
            (fail, false, Settled::Gone, 0),
            (Outcome::Finish, false, Settled::Finished, 1),
            // Asked for after its removal it runs once more.
            (Outcome::Finish, true, Settled::Waiting, 1),
        ] {
            f.manual(1).await;
            let lease = f.lease(1).await;
            assert!(f.queue.remove(QUEUE, &item(1)).await.expect("remove"));
            if again {
                f.manual(1).await;
            }
            let settled_as = f.queue.settle(QUEUE, lease.token, &[settlement(outcome)]).await.expect("settle");
            assert_eq!(settled_as, [settled]);
            assert_eq!(f.queue.counts(QueueName::Index).await.expect("counts").outstanding(), follow_ups, "{settled:?}");
            f.queue.remove(QueueName::Index, &item(1)).await.expect("remove");
        }
    }

    async fn finishing_twice_is_gone(f) {
        f.manual(1).await;
        let lease = f.lease(1).await;
        f.settle(lease.token, 1, Outcome::Finish).await;
        assert_eq!(f.settle(lease.token, 1, Outcome::Finish).await, Settled::Gone);
        assert_eq!(f.counts().await.totals.finished, 1);
    }

    async fn a_token_that_is_none_is_stale(f) {
        f.manual(1).await;
        assert_eq!(f.settle(Token(1), 1, Outcome::Finish).await, Settled::Stale);
        f.lease(1).await;
        assert_eq!(f.settle(Token(0), 1, Outcome::Finish).await, Settled::Stale);
        assert_eq!(f.settle(Token(u64::MAX), 1, Outcome::Finish).await, Settled::Stale);
        assert_eq!(f.state(1).await, Some(JobState::Leased));
    }

    async fn a_thousand_triggers_while_leased_make_one_more_run(f) {
        f.manual(1).await;
        let lease = f.lease(1).await;
        for _ in 0..1_000 {
            assert_eq!(f.manual(1).await, Pushed::Dirty);
        }
        assert_eq!(f.state(1).await, Some(JobState::Leased));
        assert_eq!(f.settle(lease.token, 1, Outcome::Finish).await, Settled::Waiting);
        assert_eq!(f.run(1, Outcome::Finish).await, Settled::Finished);
        f.assert_nothing_to_do().await;
    }

    async fn the_one_more_run_has_fresh_attempts_and_the_new_request(f) {
        f.manual(1).await;
        f.run(1, Outcome::Retry { after: Some(Duration::ZERO), reason: "x".to_owned() }).await;
        let lease = f.lease(1).await;
        assert_eq!(lease.jobs[0].attempt, 2);
        f.push(item(1), Lane::Reconcile, Timing::Now).await;
        f.settle(lease.token, 1, Outcome::Finish).await;
        let job = f.lease(1).await.jobs.remove(0);
        assert_eq!((job.attempt, job.lane, job.reasons), (1, Lane::Reconcile, vec!["reconcile".to_owned()]));
    }

    async fn a_failure_waits_between_half_and_all_of_the_pause(f) {
        f.manual(1).await;
        assert_eq!(f.run(1, retry()).await, Settled::Waiting);
        let at = f.view(1).await.expect("there").at.expect("a time");
        let pause = at.duration_since(f.clock.timestamp()).as_millis();
        assert!((7_500..=15_000).contains(&pause), "{pause}");
        f.seconds(7);
        f.assert_nothing_to_do().await;
        f.seconds(8);
        assert_eq!(f.lease(1).await.jobs[0].attempt, 2);
    }

    async fn a_failure_waits_as_long_as_the_worker_says(f) {
        f.manual(1).await;
        f.run(1, Outcome::Retry { after: Some(Duration::from_secs(500)), reason: "limit".to_owned() }).await;
        f.seconds(499);
        f.assert_nothing_to_do().await;
        f.seconds(1);
        f.lease(1).await;
    }

    async fn the_last_failure_buries_with_its_reason(f) {
        f.manual(1).await;
        for attempt in 1..=4 {
            let settled = f.run(1, Outcome::Retry { after: None, reason: format!("failure {attempt}") }).await;
            assert_eq!(settled, if attempt == 4 { Settled::Buried } else { Settled::Waiting });
            f.seconds(3600);
        }
        let view = f.view(1).await.expect("there");
        assert_eq!((view.state, view.reason.as_deref()), (JobState::Buried, Some("failure 4")));
        let totals = f.counts().await.totals;
        assert_eq!((totals.retried, totals.buried), (4, 1));
    }

    async fn a_trigger_during_the_last_failure_buys_one_more_attempt(f) {
        f.manual(1).await;
        for _ in 0..3 {
            f.run(1, retry()).await;
            f.seconds(3600);
        }
        let lease = f.lease(1).await;
        f.webhook(1).await;
        assert_eq!(f.settle(lease.token, 1, retry()).await, Settled::Waiting);
        f.seconds(3600);
        let lease = f.lease(1).await;
        assert_eq!(lease.jobs[0].attempt, 4);
        assert_eq!(f.settle(lease.token, 1, retry()).await, Settled::Buried);
    }

    async fn a_trigger_during_a_failure_survives(f) {
        f.push(item(1), Lane::Backfill, Timing::WhenFree).await;
        let lease = f.lease(1).await;
        f.webhook(1).await;
        f.settle(lease.token, 1, retry()).await;
        f.seconds(60);
        let job = f.lease(1).await.jobs.remove(0);
        assert_eq!((job.attempt, job.lane), (2, Lane::Webhook));
    }

    async fn burying_is_at_once(f) {
        f.bury(1).await;
        let view = f.view(1).await.expect("there");
        assert_eq!((view.state, view.reason.as_deref()), (JobState::Buried, Some("hopeless")));
        assert_eq!(view.at, Some(f.clock.timestamp()));
        f.seconds(86_400);
        f.assert_nothing_to_do().await;
    }

    async fn a_trigger_survives_burying(f) {
        f.manual(1).await;
        let lease = f.lease(1).await;
        f.webhook(1).await;
        let bury = Outcome::Bury { reason: "hopeless".to_owned() };
        assert_eq!(f.settle(lease.token, 1, bury).await, Settled::Waiting);
        f.seconds(3600);
        assert_eq!(f.run(1, Outcome::Finish).await, Settled::Finished);
    }

    async fn long_reasons_are_cut(f) {
        f.manual(1).await;
        f.run(1, Outcome::Bury { reason: "ü".repeat(10_000) }).await;
        assert_eq!(f.view(1).await.expect("there").reason.expect("kept").len(), 500);
    }

    async fn releasing_costs_no_attempt(f) {
        f.manual(1).await;
        for _ in 0..10 {
            assert_eq!(f.run(1, Outcome::Release { after: Duration::ZERO }).await, Settled::Waiting);
        }
        assert_eq!(f.lease(1).await.jobs[0].attempt, 1);
    }

    async fn a_released_job_waits_as_long_as_the_worker_says(f) {
        f.manual(1).await;
        f.run(1, Outcome::Release { after: Duration::from_secs(30) }).await;
        f.seconds(29);
        f.assert_nothing_to_do().await;
        f.seconds(1);
        f.lease(1).await;
    }

    async fn a_trigger_survives_a_release(f) {
        f.backfill(1).await;
        let lease = f.lease(1).await;
        f.webhook(1).await;
        f.settle(lease.token, 1, Outcome::Release { after: Duration::ZERO }).await;
        assert_eq!(f.lease(1).await.jobs[0].lane, Lane::Webhook);
    }

    async fn a_webhook_does_not_shorten_the_wait_after_a_failure(f) {
        f.manual(1).await;
        f.run(1, Outcome::Retry { after: Some(Duration::from_secs(500)), reason: "x".to_owned() }).await;
        f.webhook(1).await;
        f.backfill(1).await;
        f.seconds(499);
        f.assert_nothing_to_do().await;
        f.seconds(1);
        assert_eq!(f.lease(1).await.jobs[0].attempt, 2);
    }

    async fn a_person_ends_the_wait_after_a_failure(f) {
        f.manual(1).await;
        f.run(1, Outcome::Retry { after: Some(Duration::from_secs(500)), reason: "x".to_owned() }).await;
        f.manual(1).await;
        assert_eq!(f.lease(1).await.jobs[0].attempt, 2);
    }

    async fn triggers_do_not_reset_attempts(f) {
        f.manual(1).await;
        for _ in 0..4 {
            f.run(1, retry()).await;
            if f.state(1).await == Some(JobState::Delayed) {
                f.webhook(1).await;
                f.seconds(3600);
            }
        }
        assert_eq!(f.state(1).await, Some(JobState::Buried));
    }

    async fn a_trigger_revives_a_buried_job_for_one_attempt(f) {
        f.bury(1).await;
        assert_eq!(f.manual(1).await, Pushed::Revived);
        let lease = f.lease(1).await;
        assert_eq!(lease.jobs[0].attempt, 4);
        assert_eq!(f.settle(lease.token, 1, retry()).await, Settled::Buried);
        assert_eq!(f.webhook(1).await, Pushed::Revived);
        assert_eq!(f.webhook(1).await, Pushed::Merged);
        assert_eq!(f.state(1).await, Some(JobState::Delayed));
    }

    async fn a_batch_is_settled_job_by_job(f) {
        for number in 1..=5 {
            f.backfill(number).await;
        }
        let lease = f.lease(5).await;
        let outcomes = [
            Outcome::Finish,
            retry(),
            Outcome::Bury { reason: "no".to_owned() },
            Outcome::Release { after: Duration::ZERO },
        ];
        let mut settlements: Vec<_> = (1..)
            .zip(outcomes)
            .map(|(number, outcome)| Settlement { subject: item(number), outcome, follow_up: None })
            .collect();
        settlements.push(Settlement { subject: item(99), outcome: Outcome::Finish, follow_up: None });
        let settled = f.queue.settle(QUEUE, lease.token, &settlements).await.expect("settle");
        let expected = [Settled::Finished, Settled::Waiting, Settled::Buried, Settled::Waiting, Settled::Gone];
        assert_eq!(settled, expected);
        let until = f.clock.timestamp() + HOLD;
        assert_eq!(f.queue.extend(QUEUE, lease.token, HOLD).await.expect("extend"), Extended::Until(until));
        let counts = f.counts().await;
        assert_eq!((counts.leased, counts.delayed, counts.buried, counts.ready), (1, 1, 1, [0, 0, 0, 1, 0]));
    }

    async fn a_follow_up_comes_with_the_settlement(f) {
        f.manual(1).await;
        let lease = f.lease(1).await;
        let follow_up = Trigger { queue: QueueName::Index, ..trigger(item(1), Lane::Manual, Timing::Now) };
        let settlement = Settlement { subject: item(1), outcome: Outcome::Finish, follow_up: Some(follow_up) };
        let settlements = [settlement];
        assert_eq!(f.queue.settle(QUEUE, lease.token, &settlements).await.expect("settle"), [Settled::Finished]);
        assert_eq!(f.queue.counts(QueueName::Index).await.expect("counts").totals.new, 1);
        // Repeated after a lost reply it changes nothing.
        assert_eq!(f.queue.settle(QUEUE, lease.token, &settlements).await.expect("settle"), [Settled::Gone]);
        assert_eq!(f.queue.counts(QueueName::Index).await.expect("counts").totals.merged, 0);
    }

    async fn a_stale_settlement_has_no_follow_up(f) {
        f.manual(1).await;
        f.lease(1).await;
        let follow_up = Trigger { queue: QueueName::Index, ..trigger(item(1), Lane::Manual, Timing::Now) };
        let settlement = Settlement { subject: item(1), outcome: Outcome::Finish, follow_up: Some(follow_up) };
        assert_eq!(f.queue.settle(QUEUE, Token(7), &[settlement]).await.expect("settle"), [Settled::Stale]);
        assert_eq!(f.queue.counts(QueueName::Index).await.expect("counts").totals.new, 0);
    }

    async fn a_follow_up_of_the_same_subject_on_the_same_queue_is_a_new_job(f) {
        f.manual(1).await;
        let lease = f.lease(1).await;
        let follow_up = Some(trigger(item(1), Lane::Backfill, Timing::WhenFree));
        let settlement = Settlement { subject: item(1), outcome: Outcome::Finish, follow_up };
        assert_eq!(f.queue.settle(QUEUE, lease.token, &[settlement]).await.expect("settle"), [Settled::Finished]);
        assert_eq!(numbers(&f.lease(1).await.jobs), [1]);
    }

    async fn a_refused_follow_up_settles_nothing(f) {
        f.manual(1).await;
        let lease = f.lease(1).await;
        let bad = trigger(Subject::Text(String::new()), Lane::Manual, Timing::Now);
        let settlement = Settlement { subject: item(1), outcome: Outcome::Finish, follow_up: Some(bad) };
        let error = f.queue.settle(QUEUE, lease.token, &[settlement]).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(f.state(1).await, Some(JobState::Leased));
    }

    async fn of_many_workers_no_two_share_a_job(f) {
        f.queue.push_range(QUEUE, gharvest_model::RepositoryId(1), 1..=200, Lane::Backfill).await.expect("push");
        let working = (0..8).map(|_| async {
            let mut done = Vec::new();
            while let Some(lease) = f.ask(7).await.lease {
                for number in numbers(&lease.jobs) {
                    assert_eq!(f.settle(lease.token, number, Outcome::Finish).await, Settled::Finished);
                    done.push(number);
                }
            }
            done
        });
        let mut done: Vec<u64> = futures::future::join_all(working).await.into_iter().flatten().collect();
        done.sort_unstable();
        assert_eq!(done, (1..=200).collect::<Vec<_>>());
    }
}
