//! What triggers make.

use gharvest_model::{Lane, QueueName, RepositoryId, Subject};

use super::{QUEUE, item, item_of, numbers, trigger};
use crate::{ErrorKind, JobState, Outcome, Pushed, RangePushed, Timing, Trigger, rules::MOST_REASONS};

behaviours! { $
    queue_contract_pushing in pushing:

    async fn a_settled_trigger_waits_for_silence(f) {
        assert_eq!(f.webhook(1).await, Pushed::New);
        assert_eq!(f.state(1).await, Some(JobState::Delayed));
        f.seconds(59);
        f.assert_nothing_to_do().await;
        f.seconds(1);
        assert_eq!(numbers(&f.lease(1).await.jobs), [1]);
    }

    async fn a_trigger_for_now_is_ready_at_once(f) {
        f.manual(1).await;
        assert_eq!(f.state(1).await, Some(JobState::Ready));
        assert_eq!(numbers(&f.lease(1).await.jobs), [1]);
    }

    async fn a_backfill_stores_no_times_and_no_reasons(f) {
        f.backfill(1).await;
        let job = f.lease(1).await.jobs.remove(0);
        assert_eq!((job.first_at, job.last_at, job.reasons), (None, None, vec![]));
        assert_eq!((job.attempt, job.lost, job.lane), (1, 0, Lane::Backfill));
    }

    async fn many_triggers_make_one_job(f) {
        f.webhook(1).await;
        for _ in 0..20 {
            assert_eq!(f.webhook(1).await, Pushed::Merged);
        }
        f.seconds(60);
        assert_eq!(f.lease(10).await.jobs.len(), 1);
        let totals = f.counts().await.totals;
        assert_eq!((totals.new, totals.merged), (1, 20));
    }

    async fn a_trigger_while_waiting_begins_the_silence_anew(f) {
        f.webhook(1).await;
        f.seconds(59);
        f.webhook(1).await;
        f.seconds(59);
        f.assert_nothing_to_do().await;
        f.seconds(1);
        f.lease(1).await;
    }

    async fn a_busy_thread_starts_at_the_ceiling(f) {
        for _ in 0..30 {
            f.webhook(1).await;
            f.assert_nothing_to_do().await;
            f.seconds(30);
        }
        let job = f.lease(1).await.jobs.remove(0);
        let waited = f.clock.timestamp().duration_since(job.first_at.expect("kept")).as_secs();
        assert_eq!(waited, 900);
    }

    async fn the_window_begins_anew_after_a_lease(f) {
        f.webhook(1).await;
        f.seconds(60);
        let lease = f.lease(1).await;
        f.seconds(1);
        f.webhook(1).await;
        f.seconds(1);
        assert_eq!(f.webhook(1).await, Pushed::Dirty);
        f.seconds(8);
        f.settle(lease.token, 1, Outcome::Finish).await;
        f.seconds(51);
        f.assert_nothing_to_do().await;
        f.seconds(1);
        assert_eq!(numbers(&f.lease(5).await.jobs), [1]);
    }

    async fn a_trigger_for_now_ends_the_silence(f) {
        f.webhook(1).await;
        assert_eq!(f.manual(1).await, Pushed::Merged);
        assert_eq!(f.lease(1).await.jobs[0].lane, Lane::Webhook);
    }

    async fn a_backfill_of_a_waiting_job_ends_its_silence(f) {
        f.webhook(1).await;
        f.backfill(1).await;
        assert_eq!(f.lease(1).await.jobs[0].lane, Lane::Webhook);
    }

    async fn a_ready_job_never_waits_again(f) {
        f.backfill(1).await;
        f.webhook(1).await;
        assert_eq!(f.state(1).await, Some(JobState::Ready));
    }

    async fn a_more_urgent_trigger_moves_a_ready_job_to_the_tail_of_its_lane(f) {
        f.backfill(1).await;
        f.push(item(2), Lane::Webhook, Timing::Now).await;
        f.webhook(1).await;
        f.push(item(3), Lane::Webhook, Timing::Now).await;
        assert_eq!(f.counts().await.ready, [3, 0, 0, 0, 0]);
        assert_eq!(numbers(&f.lease(10).await.jobs), [2, 1, 3]);
    }

    async fn a_less_urgent_trigger_leaves_the_lane_and_the_place(f) {
        f.push(item(1), Lane::Webhook, Timing::Now).await;
        f.push(item(2), Lane::Webhook, Timing::Now).await;
        f.backfill(1).await;
        assert_eq!(numbers(&f.lease(10).await.jobs), [1, 2]);
    }

    async fn a_more_urgent_trigger_lifts_a_delayed_job(f) {
        f.push(item(1), Lane::Reconcile, Timing::Settled).await;
        f.webhook(1).await;
        assert_eq!(f.view(1).await.expect("there").lane, Lane::Webhook);
    }

    async fn first_and_latest_trigger_are_kept(f) {
        let begin = f.clock.timestamp();
        f.webhook(1).await;
        f.seconds(10);
        f.webhook(1).await;
        let view = f.view(1).await.expect("there");
        assert_eq!((view.first_at, view.last_at), (Some(begin), Some(f.clock.timestamp())));
        assert_eq!(view.at, Some(f.clock.timestamp() + std::time::Duration::from_secs(60)));
    }

    async fn reasons_are_merged_without_doubles(f) {
        for reason in ["issues", "issue_comment", "issues", ""] {
            let trigger = Trigger { reason: reason.to_owned(), ..trigger(item(1), Lane::Webhook, Timing::Now) };
            f.queue.push(&[trigger], None).await.expect("push");
        }
        assert_eq!(f.lease(1).await.jobs[0].reasons, ["issue_comment", "issues"]);
    }

    async fn reasons_are_bounded_in_number_and_length(f) {
        for number in 0..50 {
            let reason = format!("{number:02}{}", "ü".repeat(400));
            let trigger = Trigger { reason, ..trigger(item(1), Lane::Webhook, Timing::Now) };
            f.queue.push(&[trigger], None).await.expect("push");
        }
        let reasons = f.lease(1).await.jobs.remove(0).reasons;
        assert_eq!(reasons.len(), MOST_REASONS);
        assert!(reasons.iter().all(|reason| reason.len() <= Trigger::LONGEST_REASON), "{reasons:?}");
    }

    async fn every_trigger_of_a_push_gets_its_reply_in_order(f) {
        f.webhook(2).await;
        let triggers = [1, 2, 1].map(|number| trigger(item(number), Lane::Webhook, Timing::Settled));
        let pushed = f.queue.push(&triggers, None).await.expect("push");
        assert_eq!(pushed, [Pushed::New, Pushed::Merged, Pushed::Merged]);
        assert_eq!(f.queue.push(&[], None).await.expect("push"), []);
    }

    async fn the_queues_are_apart(f) {
        f.manual(1).await;
        let other = Trigger { queue: QueueName::Index, ..trigger(item(1), Lane::Manual, Timing::Now) };
        assert_eq!(f.queue.push(&[other], None).await.expect("push"), [Pushed::New]);
        assert_eq!(f.lease(10).await.jobs.len(), 1);
        assert_eq!(f.queue.counts(QueueName::Index).await.expect("counts").ready, [0, 1, 0, 0, 0]);
    }

    async fn a_delivery_seen_before_changes_nothing(f) {
        let triggers = [trigger(item(1), Lane::Webhook, Timing::Settled)];
        assert_eq!(f.queue.push(&triggers, Some("guid")).await.expect("push"), [Pushed::New]);
        f.seconds(59);
        assert_eq!(f.queue.push(&triggers, Some("guid")).await.expect("push"), [Pushed::Duplicate]);
        assert_eq!(f.queue.push(&triggers, Some("another")).await.expect("push"), [Pushed::Merged]);
        assert_eq!(f.counts().await.totals.duplicate, 1);
        f.seconds(4 * 86_400 - 60);
        assert_eq!(f.queue.push(&triggers, Some("guid")).await.expect("push"), [Pushed::Duplicate]);
    }

    async fn a_delivery_is_forgotten_after_four_days(f) {
        let triggers = [trigger(item(1), Lane::Webhook, Timing::Settled)];
        f.queue.push(&triggers, Some("guid")).await.expect("push");
        f.seconds(5 * 86_400);
        assert_eq!(f.queue.push(&triggers, Some("guid")).await.expect("push"), [Pushed::Merged]);
        assert_eq!(f.queue.push(&triggers, Some("guid")).await.expect("push"), [Pushed::Duplicate]);
    }

    async fn a_delivery_that_arrives_many_times_at_once_counts_once(f) {
        let triggers = [trigger(item(1), Lane::Webhook, Timing::Settled)];
        let arriving = (0..20).map(|_| f.queue.push(&triggers, Some("guid")));
        let replies = futures::future::join_all(arriving).await;
        let new = replies.into_iter().filter(|reply| reply.as_ref().expect("push")[0] == Pushed::New).count();
        assert_eq!(new, 1);
    }

    async fn a_refused_push_marks_no_delivery_and_pushes_nothing(f) {
        let bad = trigger(Subject::Text("line\nbreak".to_owned()), Lane::Webhook, Timing::Now);
        let good = trigger(item(1), Lane::Webhook, Timing::Now);
        let error = f.queue.push(&[good.clone(), bad], Some("guid")).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(f.state(1).await, None);
        assert_eq!(f.queue.push(&[good], Some("guid")).await.expect("push"), [Pushed::New]);
    }

    async fn subjects_that_are_none_are_refused(f) {
        let part = |part: &str| Subject::part(RepositoryId(1), part);
        let long = Subject::Text("x".repeat(500));
        for subject in [item(0), item_of(0, 1), item(u64::MAX), item_of(u64::MAX, 1), part(""), part("A b"), long] {
            let pushed = f.queue.push(&[trigger(subject.clone(), Lane::Manual, Timing::Now)], None).await;
            assert_eq!(pushed.expect_err("refused").kind(), ErrorKind::Refused, "{subject}");
        }
        let pushed = f.queue.push(&[trigger(item(1), Lane::Manual, Timing::Now)], Some("")).await;
        assert_eq!(pushed.expect_err("refused").kind(), ErrorKind::Refused);
    }

    async fn every_form_of_subject_is_kept(f) {
        let strange = "~'\"%_\\{x}:1|2;--🦀\u{202e}";
        let subjects = [
            item(1),
            item_of(crate::key::LARGEST, crate::key::LARGEST),
            Subject::part(RepositoryId(1), "labels"),
            Subject::Text(strange.to_owned()),
            Subject::Text("1".to_owned()),
            Subject::Text("labels".to_owned()),
        ];
        for subject in &subjects {
            assert_eq!(f.push(subject.clone(), Lane::Manual, Timing::Now).await, Pushed::New, "{subject}");
        }
        let mut leased = Vec::new();
        while let Some(lease) = f.ask(10).await.lease {
            leased.extend(lease.jobs.into_iter().map(|job| job.subject));
        }
        leased.sort();
        let mut expected = subjects.to_vec();
        expected.sort();
        assert_eq!(leased, expected);
    }

    async fn a_range_pushes_every_number_once(f) {
        f.backfill(3).await;
        let pushed = f.queue.push_range(QUEUE, RepositoryId(1), 1..=5, Lane::Backfill).await.expect("push");
        assert_eq!(pushed, RangePushed { new: 4, merged: 1 });
        assert_eq!(f.counts().await.ready, [0, 0, 0, 5, 0]);
        let mut leased = numbers(&f.lease(10).await.jobs);
        leased.sort_unstable();
        assert_eq!(leased, [1, 2, 3, 4, 5]);
    }

    async fn a_range_of_150_000_twice_changes_nothing_the_second_time(f) {
        let range = 1..=150_000;
        let first = f.queue.push_range(QUEUE, RepositoryId(1), range.clone(), Lane::Backfill).await.expect("push");
        assert_eq!(first, RangePushed { new: 150_000, merged: 0 });
        let second = f.queue.push_range(QUEUE, RepositoryId(1), range, Lane::Backfill).await.expect("push");
        assert_eq!(second, RangePushed { new: 0, merged: 150_000 });
        assert_eq!(f.counts().await.ready, [0, 0, 0, 150_000, 0]);
        assert_eq!(numbers(&f.lease(3).await.jobs), [1, 2, 3]);
    }

    async fn a_range_meets_jobs_in_every_state(f) {
        f.bury(1).await;
        f.push(item(2), Lane::Webhook, Timing::Now).await;
        let lease = f.lease(1).await;
        assert_eq!(numbers(&lease.jobs), [2]);
        f.webhook(3).await;
        f.push(item(4), Lane::Discovery, Timing::WhenFree).await;
        let pushed = f.queue.push_range(QUEUE, RepositoryId(1), 1..=5, Lane::Backfill).await.expect("push");
        assert_eq!(pushed, RangePushed { new: 1, merged: 4 });
        assert!(f.view(2).await.expect("there").dirty);
        // Buried: revived; delayed: due at once in its better lane; discovery: lifted, in the order of numbers. The
        // webhooks' lane has had its turn with item 2.
        assert_eq!(f.counts().await.ready, [1, 0, 0, 3, 0]);
        assert_eq!(numbers(&f.lease(10).await.jobs), [1, 4, 5]);
        assert_eq!(numbers(&f.lease(10).await.jobs), [3]);
    }

    async fn ranges_that_are_none_are_refused_and_empty_ones_do_nothing(f) {
        let repository = RepositoryId(1);
        for range in [0..=5, 1..=u64::MAX, 1..=crate::check::LARGEST_RANGE + 1] {
            let pushed = f.queue.push_range(QUEUE, repository, range.clone(), Lane::Backfill).await;
            assert_eq!(pushed.expect_err("refused").kind(), ErrorKind::Refused, "{range:?}");
        }
        #[expect(clippy::reversed_empty_ranges, reason = "what a caller with nothing to push computes")]
        let pushed = f.queue.push_range(QUEUE, repository, 1..=0, Lane::Backfill).await.expect("push");
        assert_eq!(pushed, RangePushed::default());
    }
}
